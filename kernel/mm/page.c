// SPDX-License-Identifier: Apache-2.0
// The page allocator: binary buddies per zone, a frontier of frames never used, and a small stack of single pages per CPU.
//
// Memory comes as ranges (port_memory_ranges()). Each range belongs to one of two zones: normal, and the shared window,
// the only memory devices can reach. A range has a frontier: frames at and above it were never handed out, their
// descriptors are garbage and are not touched, so that booting on 64 GiB costs no more than booting on 128 MiB.
// Descriptors lie in flat arrays, one per span (ranges with no large hole between them), carved from the largest range.
//
// Lock order: page_cpu.lock -> zone.lock. Both are leaves for everybody else. Any context, with PAGE_ATOMIC.
#include "kernel/page.h"

#include "internal.h"
#include "kernel/log.h"
#include "kernel/spinlock.h"
#include "lib/asan.h"
#include "lib/string.h"

#define RANGES_MAX          16u
#define SPANS_MAX           4u
#define SPAN_GAP_MAX_FRAMES 8192u // a hole this small gets descriptors rather than a span of its own

#define CPU_STACK_MAX 384u // single pages a CPU keeps per zone
#define CPU_BATCH     64u  // and moves at once

enum zone_id { ZONE_NORMAL, ZONE_SHARED, ZONES };

struct page_range {
	uint64_t start, next, end; // frame numbers; next: the frontier, zone lock
	enum zone_id zone;
};

struct page_zone {
	struct spinlock lock;
	struct list free[PAGE_ORDER_MAX + 1]; // lock
	uint64_t free_pages;                  // in lists and beyond frontiers; lock, racy reads
	uint64_t total_pages;
	uint64_t reserve_pages; // user memory may not go below
	struct page_range *ranges[RANGES_MAX];
	unsigned range_count;
};

struct page_span {
	uint64_t first, count; // frame numbers
	struct page *pages;
	char *address; // of the first frame
};

// A CPU's stack of single pages, linked by lru.next. Its lock is contended only by drains.
struct page_cpu {
	struct spinlock lock;
	unsigned count[ZONES];
	struct page *top[ZONES];
	int64_t charged; // PAGE_USER pages allocated minus freed here
	uint64_t allocations, frees;
} __attribute__((aligned(64)));

static struct page_range ranges[RANGES_MAX];
static unsigned range_count;
static struct page_span spans[SPANS_MAX];
static unsigned span_count;
static struct page_zone zones[ZONES];
static struct page_cpu *cpus;
static unsigned cpu_count;
int64_t mm_counters[MM_COUNTERS];

// ---- descriptors ----

static inline struct page_span *span_of_frame(uint64_t frame)
{
	for (unsigned i = 0; i < span_count; i++)
		if (frame - spans[i].first < spans[i].count)
			return &spans[i];
	return NULL;
}

static inline struct page_span *span_of_page(const struct page *p)
{
	for (unsigned i = 0; i < span_count - 1; i++)
		if (p >= spans[i].pages && p < spans[i].pages + spans[i].count)
			return &spans[i];
	return &spans[span_count - 1];
}

paddr_t page_to_frame(const struct page *p)
{
	struct page_span *s = span_of_page(p);
	return (s->first + (uint64_t)(p - s->pages)) << PAGE_SHIFT;
}

static inline uint64_t page_number(const struct page *p)
{
	struct page_span *s = span_of_page(p);
	return s->first + (uint64_t)(p - s->pages);
}

struct page *page_from_frame(paddr_t frame)
{
	struct page_span *s = span_of_frame(frame >> PAGE_SHIFT);
	return s ? s->pages + ((frame >> PAGE_SHIFT) - s->first) : NULL;
}

struct page *page_from_address(const void *address)
{
	for (unsigned i = 0; i < span_count; i++) {
		uint64_t offset = (uint64_t)((const char *)address - spans[i].address) >> PAGE_SHIFT;
		if ((const char *)address >= spans[i].address && offset < spans[i].count)
			return spans[i].pages + offset;
	}
	return NULL;
}

void *page_address(const struct page *p)
{
	struct page_span *s = span_of_page(p);
	return s->address + ((uint64_t)(p - s->pages) << PAGE_SHIFT);
}

static struct page_range *range_of_frame(struct page_zone *z, uint64_t frame)
{
	for (unsigned i = 0; i < z->range_count; i++)
		if (frame >= z->ranges[i]->start && frame < z->ranges[i]->end)
			return z->ranges[i];
	return NULL;
}

// ---- buddies; zone lock held ----

static void zone_link(struct page_zone *z, struct page *p, unsigned order)
{
	p->order = (uint16_t)order;
	__atomic_store_n(&p->flags, (p->flags & 1u << PAGE_SHARED_ZONE) | 1u << PAGE_BUDDY, __ATOMIC_RELAXED);
	list_add(&z->free[order], &p->lru);
}

static void zone_unlink(struct page *p)
{
	list_remove(&p->lru);
	p->flags &= ~(1u << PAGE_BUDDY);
}

// Frees a block and merges it with its buddies as far as they are free, within its range and below the frontier.
static void zone_release(struct page_zone *z, struct page *p, unsigned order)
{
	uint64_t frame = page_number(p);
	struct page_range *r = range_of_frame(z, frame);
	z->free_pages += UINT64_C(1) << order;
	while (order < PAGE_ORDER_MAX) {
		uint64_t buddy_frame = frame ^ UINT64_C(1) << order;
		if (buddy_frame < r->start || buddy_frame + (UINT64_C(1) << order) > r->next)
			break;
		struct page *buddy = p + ((int64_t)buddy_frame - (int64_t)frame);
		if (!page_test(buddy, PAGE_BUDDY) || buddy->order != order)
			break;
		zone_unlink(buddy);
		if (buddy_frame < frame) {
			frame = buddy_frame;
			p = buddy;
		}
		order++;
	}
	zone_link(z, p, order);
}

static void page_descriptor_init(struct page *p, enum zone_id zone)
{
	*p = (struct page){ .flags = zone == ZONE_SHARED ? 1u << PAGE_SHARED_ZONE : 0, .zone = (uint16_t)zone };
	list_init(&p->lru);
}

// Moves the frontier of `r` over a block of `order`; frames skipped for alignment become free blocks.
static struct page *frontier_take(struct page_zone *z, struct page_range *r, unsigned order)
{
	uint64_t size = UINT64_C(1) << order;
	uint64_t start = align_up(r->next, size);
	if (start > r->end || r->end - start < size)
		return NULL;
	struct page *base = page_from_frame(r->next << PAGE_SHIFT) - r->next;
	while (r->next < start) {
		unsigned skip = (unsigned)__builtin_ctzll(r->next);
		struct page *p = base + r->next;
		for (uint64_t i = 0; i < UINT64_C(1) << skip; i++)
			page_descriptor_init(p + i, r->zone);
		r->next += UINT64_C(1) << skip;
		zone_link(z, p, skip);
	}
	for (uint64_t i = 0; i < size; i++)
		page_descriptor_init(base + start + i, r->zone);
	r->next = start + size;
	z->free_pages -= size;
	return base + start;
}

static struct page *zone_take(struct page_zone *z, unsigned order)
{
	for (unsigned o = order; o <= PAGE_ORDER_MAX; o++) {
		if (list_empty(&z->free[o]))
			continue;
		struct page *p = list_first(&z->free[o], struct page, lru);
		zone_unlink(p);
		while (o > order) {
			o--;
			zone_link(z, p + (UINT64_C(1) << o), o);
		}
		z->free_pages -= UINT64_C(1) << order;
		return p;
	}
	for (unsigned i = 0; i < z->range_count; i++) {
		struct page *p = frontier_take(z, z->ranges[i], order);
		if (p)
			return p;
	}
	return NULL;
}

// ---- allocation ----

// How much of the zone an allocation with these flags must leave.
static uint64_t zone_floor(const struct page_zone *z, unsigned flags)
{
	bool shared = z == &zones[ZONE_SHARED];
	if (flags & PAGE_DEVICE)
		return 0;
	if (flags & PAGE_ATOMIC)
		return shared ? z->reserve_pages : z->reserve_pages / 8;
	if (flags & PAGE_USER)
		return z->reserve_pages;
	return shared ? z->reserve_pages : z->reserve_pages / 2;
}

// Fills this CPU's stack (locked), which is empty, from the zone. False: nothing above the floor. Frames come off it in the order in which
// the zone has them: pages of shared memory that are touched one after the other are then neighbours where the port maps them.
static bool cpu_refill(struct page_cpu *c, enum zone_id id, unsigned flags)
{
	struct page_zone *z = &zones[id];
	uint64_t floor = zone_floor(z, flags);
	struct page *last = NULL;

	spin_lock(&z->lock);
	while (c->count[id] < CPU_BATCH && z->free_pages > floor) {
		struct page *p = zone_take(z, 0);
		if (!p)
			break;
		p->lru.next = NULL;
		if (last)
			last->lru.next = (struct list *)p;
		else
			c->top[id] = p;
		last = p;
		c->count[id]++;
	}
	spin_unlock(&z->lock);
	return c->count[id] > 0;
}

static void cpu_spill(struct page_cpu *c, enum zone_id id, unsigned keep)
{
	struct page_zone *z = &zones[id];
	spin_lock(&z->lock);
	while (c->count[id] > keep) {
		struct page *p = c->top[id];
		c->top[id] = (struct page *)p->lru.next;
		c->count[id]--;
		zone_release(z, p, 0);
	}
	spin_unlock(&z->lock);
}

static inline struct page_cpu *this_cpu(void)
{
	unsigned cpu = port_cpu_index();
	return &cpus[likely(cpu < cpu_count) ? cpu : 0];
}

static struct page *take_single(enum zone_id id, unsigned flags)
{
	struct page_cpu *c = this_cpu();
	spin_lock(&c->lock);
	if (unlikely(!c->count[id]) && !cpu_refill(c, id, flags)) {
		spin_unlock(&c->lock);
		return NULL;
	}
	struct page *p = c->top[id];
	c->top[id] = (struct page *)p->lru.next;
	c->count[id]--;
	c->allocations++;
	if (flags & PAGE_USER)
		c->charged++;
	spin_unlock(&c->lock);
	return p;
}

static struct page *take_block(enum zone_id id, unsigned order, unsigned flags)
{
	struct page_zone *z = &zones[id];
	struct page *p = NULL;
	spin_lock(&z->lock);
	if (z->free_pages >= zone_floor(z, flags) + (UINT64_C(1) << order))
		p = zone_take(z, order);
	spin_unlock(&z->lock);
	if (p) {
		struct page_cpu *c = this_cpu();
		spin_lock(&c->lock);
		c->allocations++;
		if (flags & PAGE_USER)
			c->charged += INT64_C(1) << order;
		spin_unlock(&c->lock);
	}
	return p;
}

static struct page *take_from(enum zone_id id, unsigned order, unsigned flags)
{
	return likely(order == 0) ? take_single(id, flags) : take_block(id, order, flags);
}

static struct page *take_any(unsigned order, unsigned flags)
{
	if (flags & PAGE_DEVICE)
		return take_from(ZONE_SHARED, order, flags);
	enum zone_id first = flags & PAGE_SHARED ? ZONE_SHARED : ZONE_NORMAL;
	struct page *p = take_from(first, order, flags);
	return likely(p != NULL) ? p : take_from(first == ZONE_NORMAL ? ZONE_SHARED : ZONE_NORMAL, order, flags);
}

static struct page *page_ready(struct page *p, unsigned order, unsigned flags)
{
	p->flags = (p->flags & 1u << PAGE_SHARED_ZONE) | (flags & PAGE_USER ? 1u << PAGE_CHARGED : 0);
	p->order = (uint16_t)order;
	p->object = NULL;
	p->private = 0;
	list_init(&p->lru);
	refcount_set(&p->refs, 1);
	if (CLOISTER_ASAN)
		asan_unpoison(page_address(p), PAGE_SIZE << order);
	if (flags & PAGE_ZERO)
		for (unsigned i = 0; i < 1u << order; i++)
			port_zero_page((char *)page_address(p) + i * PAGE_SIZE);
	return p;
}

struct page *page_alloc(unsigned order, unsigned flags)
{
	assert(order <= PAGE_ORDER_MAX);
	for (unsigned attempt = 0;; attempt++) {
		struct page *p = take_any(order, flags);
		if (likely(p != NULL))
			return page_ready(p, order, flags);
		if (flags & PAGE_ATOMIC)
			return NULL;
		if (!reclaim_for_allocation(order, flags, attempt))
			return NULL;
	}
}

#if CLOISTER_DEBUG
static void free_check(struct page *p)
{
	assert(refcount_read(&p->refs) == 0);
	assert(!page_test(p, PAGE_LOCKED) && !page_test(p, PAGE_BUDDY) && !page_test(p, PAGE_SLAB) &&
	       !page_test(p, PAGE_WRITEBACK));
	asan_unpoison(page_address(p), PAGE_SIZE << p->order);
	memset(page_address(p), 0x6b, PAGE_SIZE << p->order);
	asan_poison(page_address(p), PAGE_SIZE << p->order, ASAN_PAGE_FREE);
}
#else
static inline void free_check(struct page *p) {}
#endif

// Puts one page on this CPU's (locked) stack.
static inline void free_single_locked(struct page_cpu *c, struct page *p)
{
	enum zone_id id = p->zone;
	free_check(p);
	c->frees++;
	if (p->flags & 1u << PAGE_CHARGED)
		c->charged--;
	p->lru.next = (struct list *)c->top[id];
	c->top[id] = p;
	if (unlikely(++c->count[id] > CPU_STACK_MAX))
		cpu_spill(c, id, CPU_STACK_MAX - CPU_BATCH);
}

static void free_block(struct page *p)
{
	unsigned order = p->order;
	struct page_zone *z = &zones[p->zone];
	struct page_cpu *c = this_cpu();
	free_check(p);
	spin_lock(&c->lock);
	c->frees++;
	if (p->flags & 1u << PAGE_CHARGED)
		c->charged -= INT64_C(1) << order;
	spin_unlock(&c->lock);
	spin_lock(&z->lock);
	zone_release(z, p, order);
	spin_unlock(&z->lock);
}

void page_free(struct page *p)
{
	if (unlikely(p->order > 0)) {
		free_block(p);
		return;
	}
	struct page_cpu *c = this_cpu();
	spin_lock(&c->lock);
	free_single_locked(c, p);
	spin_unlock(&c->lock);
}

// As page_free() of each, for pages that unmapping gave up; any order.
void page_free_batch(struct page **pages, unsigned count)
{
	struct page_cpu *c = this_cpu();
	spin_lock(&c->lock);
	for (unsigned i = 0; i < count; i++) {
		struct page *p = pages[i];
		if (unlikely(p->order > 0)) {
			spin_unlock(&c->lock);
			page_free(p);
			spin_lock(&c->lock);
			continue;
		}
		free_single_locked(c, p);
	}
	spin_unlock(&c->lock);
}

void page_charge_adjust(int64_t pages)
{
	struct page_cpu *c = this_cpu();
	spin_lock(&c->lock);
	c->charged += pages;
	spin_unlock(&c->lock);
}

void page_drain_caches(void)
{
	for (unsigned i = 0; i < cpu_count; i++) {
		struct page_cpu *c = &cpus[i];
		spin_lock(&c->lock);
		for (unsigned id = 0; id < ZONES; id++)
			cpu_spill(c, id, 0);
		spin_unlock(&c->lock);
	}
}

// ---- numbers ----

uint64_t page_free_count(void)
{
	uint64_t n = 0;
	for (unsigned id = 0; id < ZONES; id++)
		n += __atomic_load_n(&zones[id].free_pages, __ATOMIC_RELAXED);
	return n;
}

uint64_t page_total_count(void) { return zones[ZONE_NORMAL].total_pages + zones[ZONE_SHARED].total_pages; }

uint64_t page_low_watermark(void) { return 2 * (zones[ZONE_NORMAL].reserve_pages + zones[ZONE_SHARED].reserve_pages); }

static uint64_t counter_or_zero(int64_t n) { return n > 0 ? (uint64_t)n : 0; }

void page_stats_get(struct page_stats *out)
{
	int64_t charged = 0;
	*out = (struct page_stats){ .total_pages = page_total_count(), .free_pages = page_free_count() };
	for (unsigned i = 0; i < cpu_count; i++) {
		struct page_cpu *c = &cpus[i];
		spin_lock(&c->lock);
		charged += c->charged;
		out->allocations += c->allocations;
		out->frees += c->frees;
		for (unsigned id = 0; id < ZONES; id++)
			out->free_pages += c->count[id];
		spin_unlock(&c->lock);
	}
	for (unsigned i = 0; i < range_count; i++)
		out->untouched_pages += ranges[i].end - __atomic_load_n(&ranges[i].next, __ATOMIC_RELAXED);
	out->cached_pages = counter_or_zero(mm_counted(COUNT_CACHED));
	out->shmem_pages = counter_or_zero(mm_counted(COUNT_SHMEM));
	out->dirty_pages = counter_or_zero(mm_counted(COUNT_DIRTY));
	out->writeback_pages = counter_or_zero(mm_counted(COUNT_WRITEBACK));
	out->slab_pages = counter_or_zero(mm_counted(COUNT_SLAB));
	out->table_pages = counter_or_zero(mm_counted(COUNT_TABLES));
	out->anonymous_pages = counter_or_zero(charged - mm_counted(COUNT_CACHED));
	out->shared_pages = zones[ZONE_SHARED].total_pages;
	out->reclaimed = counter_or_zero(mm_counted(COUNT_RECLAIMED));
	out->oom_kills = counter_or_zero(mm_counted(COUNT_OOM_KILLS));
}

// ---- start ----

static void ranges_read(void)
{
	struct port_memory_range found[RANGES_MAX];
	unsigned count = port_memory_ranges(found, RANGES_MAX);
	for (unsigned i = 0; i < count; i++) {
		struct page_range r = { .start = align_up(found[i].start, PAGE_SIZE) >> PAGE_SHIFT,
					.end = found[i].end >> PAGE_SHIFT,
					.zone = found[i].shared_window ? ZONE_SHARED : ZONE_NORMAL };
		if (r.start >= r.end)
			continue;
		r.next = r.start;
		unsigned at = range_count++; // kept sorted by address
		for (; at > 0 && ranges[at - 1].start > r.start; at--)
			ranges[at] = ranges[at - 1];
		ranges[at] = r;
	}
}

static void spans_make(void)
{
	for (unsigned i = 0; i < range_count; i++) {
		struct page_span *last = span_count ? &spans[span_count - 1] : NULL;
		bool near = last && ranges[i].start - (last->first + last->count) <= SPAN_GAP_MAX_FRAMES;
		if (!near && span_count < SPANS_MAX)
			spans[span_count++] = (struct page_span){ .first = ranges[i].start };
		last = &spans[span_count - 1];
		last->count = ranges[i].end - last->first;
	}
}

// Takes `bytes` from the end of the largest normal range.
static void *memory_carve(uint64_t bytes)
{
	uint64_t frames = align_up(bytes, PAGE_SIZE) >> PAGE_SHIFT;
	struct page_range *best = NULL;
	for (unsigned i = 0; i < range_count; i++)
		if (ranges[i].zone == ZONE_NORMAL && (!best || ranges[i].end - ranges[i].next > best->end - best->next))
			best = &ranges[i];
	if (!best || best->end - best->next <= frames)
		panic("no memory for the page allocator: %lu KiB wanted", (unsigned long)(bytes >> 10));
	best->end -= frames;
	return port_frame_address(best->end << PAGE_SHIFT);
}

void page_init(void)
{
	ranges_read();
	spans_make();
	cpu_count = port_cpu_count();
	for (unsigned i = 0; i < span_count; i++) {
		spans[i].pages = memory_carve(spans[i].count * sizeof(struct page));
		spans[i].address = port_frame_address(spans[i].first << PAGE_SHIFT);
	}
	cpus = memory_carve(cpu_count * sizeof(*cpus));
	memset(cpus, 0, cpu_count * sizeof(*cpus));
	for (unsigned id = 0; id < ZONES; id++) {
		spin_init(&zones[id].lock);
		for (unsigned o = 0; o <= PAGE_ORDER_MAX; o++)
			list_init(&zones[id].free[o]);
	}
	for (unsigned i = 0; i < range_count; i++) {
		struct page_zone *z = &zones[ranges[i].zone];
		z->ranges[z->range_count++] = &ranges[i];
		z->total_pages += ranges[i].end - ranges[i].next;
	}
	for (unsigned id = 0; id < ZONES; id++) {
		struct page_zone *z = &zones[id];
		z->free_pages = z->total_pages;
		z->reserve_pages = min(max(z->total_pages / 64, UINT64_C(64)), UINT64_C(4096));
	}
}
