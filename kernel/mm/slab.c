// SPDX-License-Identifier: Apache-2.0
// Object caches (Bonwick's slabs with per-CPU magazines) and kalloc on top of them.
//
// A cache cuts blocks of pages ("slabs") into objects. The descriptor of a slab's first page says which cache it is of
// (object), where its free objects are linked (private) and how many are in use (count). A CPU keeps a magazine of free objects,
// so that the usual allocation is: lock the magazine, pop, unlock. Objects are zeroed when handed out.
//
// Lock order: slab_cpu.lock -> slab_cache.lock; page_alloc() is never called under either. Any context.
#include "kernel/slab.h"

#include "internal.h"
#include "kernel/log.h"
#include "kernel/spinlock.h"
#include "lib/asan.h"
#include "lib/string.h"

#define MAGAZINE    32u
#define CACHES_MAX  96u
#define EMPTY_KEPT  2u    // empty slabs a cache keeps for the next burst
#define LARGE_BYTES 4096u // above: whole pages
#define POISON_FREE 0x6b
#define QUARANTINE  64u // freed objects of a cache that a CPU keeps from reuse, so that who still uses one is found out

struct slab_cpu {
	struct spinlock lock; // contended only by slab_reclaim()
	uint32_t count;
	int64_t used; // objects handed out minus taken back here
	void *objects[MAGAZINE];
#if CLOISTER_ASAN
	uint32_t quarantined; // ever
	void *quarantine[QUARANTINE];
#endif
} __attribute__((aligned(64)));

struct slab_cache {
	struct spinlock lock; // guards all lists and counts below, and private/count of slab pages
	struct list partial;  // slabs with free and used objects; struct page.lru
	struct list empty;    // slabs with free objects only
	unsigned empty_count;
	uint64_t slabs;
	// constant
	struct slab_cpu *cpus;
	const char *name;
	uint32_t size; // of an object as laid out
	uint32_t object_bytes, zero_bytes;
	uint16_t order, per_slab;
};

static struct slab_cache caches[CACHES_MAX];
static unsigned caches_count; // boot only
static unsigned cpu_count;

// ---- slabs; cache lock held ----

static asan_exempt void *link_get(void *object) { return *(void **)object; }
static asan_exempt void link_set(void *object, void *next) { *(void **)object = next; }

static struct page *slab_of(void *object)
{
	struct page *p = page_from_address(object);
	return p - p->index; // slab_create() left each page's place in its slab there
}

static void slab_add_locked(struct slab_cache *c, struct page *slab)
{
	char *base = page_address(slab);
	void *head = NULL;
	for (unsigned i = c->per_slab; i-- > 0;) {
		void *object = base + (size_t)i * c->size;
		link_set(object, head);
		head = object;
	}
	slab->private = (uint64_t)(uintptr_t)head;
	slab->count = 0;
	list_add(&c->empty, &slab->lru);
	c->empty_count++;
	c->slabs++;
}

// Takes up to `want` objects into `out`; the number taken.
static unsigned slab_take_locked(struct slab_cache *c, void **out, unsigned want)
{
	unsigned got = 0;
	while (got < want) {
		struct list *from = !list_empty(&c->partial) ? &c->partial : &c->empty;
		if (list_empty(from))
			break;
		struct page *slab = list_first(from, struct page, lru);
		if (slab->count == 0) {
			c->empty_count--;
			list_remove(&slab->lru);
			list_add(&c->partial, &slab->lru);
		}
		void *object = (void *)(uintptr_t)slab->private;
		while (object && got < want) {
			out[got++] = object;
			slab->count++;
			object = link_get(object);
		}
		slab->private = (uint64_t)(uintptr_t)object;
		if (!object)
			list_remove(&slab->lru); // full slabs are on no list
	}
	return got;
}

// Puts one object back; a slab that becomes superfluous is unlinked onto `surplus`.
static void slab_return_locked(struct slab_cache *c, void *object, struct list *surplus)
{
	struct page *slab = slab_of(object);
	if (slab->private == 0)
		list_add(&c->partial, &slab->lru);
	link_set(object, (void *)(uintptr_t)slab->private);
	slab->private = (uint64_t)(uintptr_t)object;
	if (--slab->count)
		return;
	list_remove(&slab->lru);
	if (c->empty_count >= EMPTY_KEPT) {
		c->slabs--;
		list_add(surplus, &slab->lru);
		return;
	}
	list_add(&c->empty, &slab->lru);
	c->empty_count++;
}

// ---- slabs and the page allocator; no lock held ----

static struct page *slab_create(struct slab_cache *c, unsigned page_flags)
{
	struct page *slab = page_alloc(c->order, page_flags);
	if (!slab)
		return NULL;
	for (unsigned i = 0; i < 1u << c->order; i++) {
		slab[i].object = (struct mobj *)c;
		slab[i].index = i;
		__atomic_fetch_or(&slab[i].flags, 1u << PAGE_SLAB, __ATOMIC_RELAXED);
	}
	mm_count(COUNT_SLAB, INT64_C(1) << c->order);
	return slab;
}

static uint64_t slabs_destroy(struct list *surplus)
{
	uint64_t pages = 0;
	while (!list_empty(surplus)) {
		struct page *slab = list_first(surplus, struct page, lru);
		unsigned order = slab->order;
		list_remove(&slab->lru);
		for (unsigned i = 0; i < 1u << order; i++) {
			__atomic_fetch_and(&slab[i].flags, ~(1u << PAGE_SLAB), __ATOMIC_RELAXED);
			slab[i].object = NULL;
		}
		mm_count(COUNT_SLAB, -(INT64_C(1) << order));
		pages += UINT64_C(1) << order;
		page_put(slab);
	}
	return pages;
}

// ---- magazines ----

static inline struct slab_cpu *this_magazine(struct slab_cache *c)
{
	unsigned cpu = port_cpu_index();
	return &c->cpus[likely(cpu < cpu_count) ? cpu : 0];
}

#if CLOISTER_DEBUG
static void poison_set(const struct slab_cache *c, void *object)
{
	asan_check(object, 1, true); // what was freed before must not be
	asan_unpoison(object, c->size);
	memset((char *)object + sizeof(void *), POISON_FREE, c->size - sizeof(void *) - ASAN_REDZONE_BYTES);
	asan_object_free(object, c->size);
}
static void poison_check(const struct slab_cache *c, void *object)
{
	const uint8_t *b = object;
	asan_unpoison(object, c->size);
	for (size_t i = sizeof(void *); i < c->size - ASAN_REDZONE_BYTES; i++)
		if (b[i] != POISON_FREE)
			panic("slab %s: object %p written to at byte %zu after it was freed", c->name, object, i);
}
static void poison_slab(const struct slab_cache *c, struct page *slab)
{
	memset(page_address(slab), POISON_FREE, (size_t)c->per_slab * c->size);
	asan_poison(page_address(slab), PAGE_SIZE << c->order, ASAN_OBJECT_END);
}
#else
static inline void poison_set(const struct slab_cache *c, void *object) {}
static inline void poison_check(const struct slab_cache *c, void *object) {}
static inline void poison_slab(const struct slab_cache *c, struct page *slab) {}
#endif

#if CLOISTER_ASAN
// Takes one object in; the one that has been there longest comes out, NULL: none. Magazine locked.
static void *quarantine_pass(struct slab_cpu *m, void *object)
{
	void **place = &m->quarantine[m->quarantined++ % QUARANTINE], *oldest = *place;
	*place = object;
	return oldest;
}

static void quarantine_spill(struct slab_cache *c, struct slab_cpu *m, struct list *surplus)
{
	for (unsigned i = 0; i < QUARANTINE; i++) {
		if (m->quarantine[i])
			slab_return_locked(c, m->quarantine[i], surplus);
		m->quarantine[i] = NULL;
	}
}

const char *kernel_upcall_object(uintptr_t address, uintptr_t *start, size_t *room)
{
	struct page *p = page_from_address((void *)address);
	if (!p || !page_test(p, PAGE_SLAB))
		return NULL;
	const struct slab_cache *c = (struct slab_cache *)p->object;
	uintptr_t base = (uintptr_t)page_address(p - p->index);
	if ((address - base) / c->size >= c->per_slab)
		return NULL;
	*start = address - (address - base) % c->size;
	*room = c->size;
	return c->name;
}
#else
static inline void *quarantine_pass(struct slab_cpu *m, void *object) { return object; }
static inline void quarantine_spill(struct slab_cache *c, struct slab_cpu *m, struct list *surplus) {}
#endif

// Refills half a magazine. Called and returns with the magazine locked, which may then be another CPU's.
static struct slab_cpu *magazine_refill(struct slab_cache *c, struct slab_cpu *m, unsigned page_flags)
{
	spin_lock(&c->lock);
	m->count = slab_take_locked(c, m->objects, MAGAZINE / 2);
	spin_unlock(&c->lock);
	while (!m->count) {
		spin_unlock(&m->lock);
		struct page *slab = slab_create(c, page_flags);
		if (slab)
			poison_slab(c, slab);
		m = this_magazine(c);
		spin_lock(&m->lock);
		if (slab) {
			spin_lock(&c->lock);
			slab_add_locked(c, slab);
			if (!m->count)
				m->count = slab_take_locked(c, m->objects, MAGAZINE / 2);
			spin_unlock(&c->lock);
		}
		if (!slab)
			break;
	}
	return m;
}

static void *cache_alloc(struct slab_cache *c, size_t size, unsigned page_flags)
{
	struct slab_cpu *m = this_magazine(c);
	spin_lock(&m->lock);
	if (unlikely(!m->count))
		m = magazine_refill(c, m, page_flags);
	void *object = NULL;
	if (likely(m->count)) {
		object = m->objects[--m->count];
		m->used++;
	}
	spin_unlock(&m->lock);
	if (likely(object != NULL)) {
		poison_check(c, object);
		memset(object, 0, c->zero_bytes);
		asan_object_alloc(object, size, c->size);
	}
	return object;
}

void *slab_alloc(struct slab_cache *c) { return cache_alloc(c, c->object_bytes, 0); }

void *slab_alloc_atomic(struct slab_cache *c) { return cache_alloc(c, c->object_bytes, PAGE_ATOMIC); }

// Empties the magazine (locked) down to `keep`.
static void magazine_spill(struct slab_cache *c, struct slab_cpu *m, unsigned keep, struct list *surplus)
{
	spin_lock(&c->lock);
	while (m->count > keep)
		slab_return_locked(c, m->objects[--m->count], surplus);
	if (!keep)
		quarantine_spill(c, m, surplus);
	spin_unlock(&c->lock);
}

void slab_free(struct slab_cache *c, void *object)
{
	if (!object)
		return;
	struct list surplus = LIST_INIT(surplus);
#if CLOISTER_DEBUG
	struct page *slab = slab_of(object);
	assert(page_test(slab, PAGE_SLAB) && (struct slab_cache *)slab->object == c);
	assert(((uintptr_t)object - (uintptr_t)page_address(slab)) % c->size == 0);
	poison_set(c, object);
#endif
	struct slab_cpu *m = this_magazine(c);
	spin_lock(&m->lock);
	m->used--;
	object = quarantine_pass(m, object);
	if (unlikely(m->count == MAGAZINE))
		magazine_spill(c, m, MAGAZINE / 2, &surplus);
	if (likely(object != NULL))
		m->objects[m->count++] = object;
	spin_unlock(&m->lock);
	if (unlikely(!list_empty(&surplus)))
		slabs_destroy(&surplus);
}

uint64_t slab_reclaim(void)
{
	struct list surplus = LIST_INIT(surplus);
	for (unsigned i = 0; i < caches_count; i++) {
		struct slab_cache *c = &caches[i];
		for (unsigned cpu = 0; cpu < cpu_count; cpu++) {
			struct slab_cpu *m = &c->cpus[cpu];
			spin_lock(&m->lock);
			magazine_spill(c, m, 0, &surplus);
			spin_unlock(&m->lock);
		}
		spin_lock(&c->lock);
		while (!list_empty(&c->empty)) {
			struct page *slab = list_first(&c->empty, struct page, lru);
			list_remove(&slab->lru);
			list_add(&surplus, &slab->lru);
			c->empty_count--;
			c->slabs--;
		}
		spin_unlock(&c->lock);
	}
	return slabs_destroy(&surplus);
}

// ---- caches ----

struct slab_cache *slab_cache_create(const char *name, size_t object_size, size_t alignment)
{
	if (caches_count == CACHES_MAX || object_size > 4 * PAGE_SIZE)
		panic("slab cache %s: too many caches or too large objects", name);
	struct slab_cache *c = &caches[caches_count];
	alignment = max(alignment, (size_t)8);
	*c = (struct slab_cache){ .name = name,
				  .object_bytes = (uint32_t)object_size,
				  .zero_bytes = (uint32_t)align_up(object_size, (size_t)8) };
	c->size = (uint32_t)align_up(max(object_size, 2 * sizeof(void *)) + ASAN_REDZONE_BYTES, alignment);
	// A block that wastes at most an eighth, or the largest we want.
	while (c->order < 3 && (PAGE_SIZE << c->order) % c->size > (PAGE_SIZE << c->order) / 8)
		c->order++;
	while ((PAGE_SIZE << c->order) / c->size < 4 && c->order < 3)
		c->order++;
	c->per_slab = (uint16_t)((PAGE_SIZE << c->order) / c->size);
	list_init(&c->partial);
	list_init(&c->empty);

	size_t bytes = port_cpu_count() * sizeof(struct slab_cpu);
	unsigned order = 0;
	while (PAGE_SIZE << order < bytes)
		order++;
	// Magazines of several caches share a page: caches come by the dozen, and an idle cell should stay small.
	static char *left;
	static size_t left_bytes;
	if (left_bytes < bytes) {
		struct page *p = page_alloc(order, PAGE_ZERO);
		if (!p)
			panic("slab cache %s: no memory at boot", name);
		left = page_address(p);
		left_bytes = PAGE_SIZE << order;
	}
	c->cpus = (struct slab_cpu *)left;
	left += bytes;
	left_bytes -= bytes;
	caches_count++;
	return c;
}

bool slab_info_get(unsigned index, struct slab_info *out)
{
	if (index >= caches_count)
		return false;
	struct slab_cache *c = &caches[index];
	int64_t used = 0;
	for (unsigned cpu = 0; cpu < cpu_count; cpu++)
		used += __atomic_load_n(&c->cpus[cpu].used, __ATOMIC_RELAXED);
	*out = (struct slab_info){ .name = c->name,
				   .object_bytes = c->size,
				   .objects_per_slab = c->per_slab,
				   .pages_per_slab = 1u << c->order,
				   .slabs = __atomic_load_n(&c->slabs, __ATOMIC_RELAXED),
				   .objects_used = used > 0 ? (uint64_t)used : 0 };
	out->objects_total = out->slabs * c->per_slab;
	return true;
}

// ---- kalloc ----

static const uint16_t class_bytes[] = { 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1360, 2048, 4096 };
static const char *const class_names[] = { "kalloc-16",  "kalloc-32",   "kalloc-48",   "kalloc-64",   "kalloc-96",
					   "kalloc-128", "kalloc-192",  "kalloc-256",  "kalloc-384",  "kalloc-512",
					   "kalloc-768", "kalloc-1024", "kalloc-1360", "kalloc-2048", "kalloc-4096" };
#define CLASSES array_count(class_bytes)
static_assert(array_count(class_names) == CLASSES, "one name a class");
static struct slab_cache *classes[CLASSES];
static uint8_t class_of_16[LARGE_BYTES / 16 + 1]; // by size / 16, rounded up

void slab_init(void)
{
	cpu_count = port_cpu_count();
	for (unsigned i = 0; i < CLASSES; i++)
		classes[i] = slab_cache_create(class_names[i], class_bytes[i], class_bytes[i] % 64 ? 16 : 64);
	for (unsigned n = 0, class = 0; n < array_count(class_of_16); n++) {
		while (class_bytes[class] < n * 16)
			class ++;
		class_of_16[n] = (uint8_t) class;
	}
}

static void *large_alloc(size_t size, unsigned page_flags)
{
	unsigned order = 0;
	while (PAGE_SIZE << order < size)
		if (++order > PAGE_ORDER_MAX)
			return NULL;
	struct page *p = page_alloc(order, page_flags | PAGE_ZERO);
	if (!p)
		return NULL;
	p->private = size;
	asan_poison((char *)page_address(p) + size, (PAGE_SIZE << order) - size, ASAN_OBJECT_END);
	return page_address(p);
}

static void *kalloc_flags(size_t size, unsigned page_flags)
{
	if (unlikely(size > LARGE_BYTES))
		return size > PAGE_SIZE << PAGE_ORDER_MAX ? NULL : large_alloc(size, page_flags);
	return cache_alloc(classes[class_of_16[(size + 15) / 16]], size, page_flags);
}

void *kalloc(size_t size) { return kalloc_flags(size, 0); }

void *kalloc_atomic(size_t size) { return kalloc_flags(size, PAGE_ATOMIC); }

void kfree(void *object)
{
	if (!object)
		return;
	struct page *p = page_from_address(object);
	assert(p);
	if (likely(page_test(p, PAGE_SLAB)))
		slab_free((struct slab_cache *)p->object, object);
	else
		page_put(p);
}

size_t kalloc_size(const void *object)
{
	struct page *p = page_from_address(object);
	return page_test(p, PAGE_SLAB) ? ((struct slab_cache *)p->object)->size : PAGE_SIZE << p->order;
}

char *kstrdup(const char *s)
{
	size_t size = strlen(s) + 1;
	char *copy = kalloc(size);
	if (copy)
		memcpy(copy, s, size);
	return copy;
}
