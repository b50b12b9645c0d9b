// SPDX-License-Identifier: Apache-2.0
// Linux AIO, io_setup(2): contexts, and their rings of events.
//
// A context belongs to an address space and is named by where its ring is mapped there. The ring is shared with the program, which may take
// events without a call (libaio does) by moving `head`. Nothing that is read there is believed: `head` is taken modulo the ring's size, all
// else the kernel has in struct aio_context. A program that lies loses events of its own.
//
// Lock order: take_lock -> mm.lock (copies to the program); mm.aio_lock -> aio_context.lock -> nothing.

#include "aio.h"

#include <linux/mman.h>

#include "eventfd.h"
#include "kernel/aio.h"
#include "kernel/init.h"
#include "kernel/leak.h"
#include "kernel/mm.h"
#include "kernel/slab.h"
#include "kernel/task.h"
#include "kernel/uaccess.h"

#define RING_MAGIC      0xa10a10a1u
#define EVENTS_PER_PAGE (PAGE_SIZE / sizeof(struct io_event))
#define RING_FLAGS      (VMA_READ | VMA_WRITE | VMA_SHARED | VMA_DONTDUMP | VMA_MAY_READ | VMA_MAY_WRITE)

uint32_t aio_max_nr = 65536;
static uint64_t aio_nr; // atomic

uint64_t aio_requests(void) { return __atomic_load_n(&aio_nr, __ATOMIC_RELAXED); }

static int64_t requests_left(void) { return (int64_t)aio_requests(); }
static struct leak_counter leak = { .name = "aio requests", .left = requests_left };

static void init(void) { leak_counter_register(&leak); }
KERNEL_INIT(1, init);

static struct aio_ring *ring_of(const struct aio_context *c) { return page_address(c->pages[0]); }

static struct io_event *event_at(const struct aio_context *c, uint32_t index)
{
	uint64_t slot = index + sizeof(struct aio_ring) / sizeof(struct io_event);

	return (struct io_event *)page_address(c->pages[slot / EVENTS_PER_PAGE]) + slot % EVENTS_PER_PAGE;
}

static uint32_t head_of(const struct aio_context *c)
{
	return __atomic_load_n(&ring_of(c)->head, __ATOMIC_ACQUIRE) % c->event_count;
}

// ---- contexts ----

static bool charge(uint32_t count)
{
	if (__atomic_add_fetch(&aio_nr, count, __ATOMIC_RELAXED) <= __atomic_load_n(&aio_max_nr, __ATOMIC_RELAXED))
		return true;
	__atomic_fetch_sub(&aio_nr, count, __ATOMIC_RELAXED);
	return false;
}

void aio_context_put(struct aio_context *c)
{
	if (!refcount_put(&c->refs))
		return;
	for (uint32_t i = 0; i < c->page_count; i++)
		page_put(c->pages[i]);
	__atomic_fetch_sub(&aio_nr, c->charged, __ATOMIC_RELAXED);
	kfree(c);
}

static struct aio_context *context_alloc(uint32_t count)
{
	// Twice as many as were asked for, as Linux, and the slot that tells full from empty.
	uint64_t bytes = sizeof(struct aio_ring) + (2 * (uint64_t)count + 1) * sizeof(struct io_event);
	uint64_t pages = align_up(bytes, PAGE_SIZE) / PAGE_SIZE;
	struct aio_context *c;

	if (!charge(count))
		return err_ptr(-EAGAIN);
	c = kalloc(sizeof(*c) + pages * sizeof(*c->pages));
	if (!c) {
		__atomic_fetch_sub(&aio_nr, count, __ATOMIC_RELAXED);
		return err_ptr(-ENOMEM);
	}
	refcount_set(&c->refs, 1);
	c->charged = count;
	c->event_count = (uint32_t)((pages * PAGE_SIZE - sizeof(struct aio_ring)) / sizeof(struct io_event));
	waitq_init(&c->wait);
	mutex_init(&c->take_lock);
	spin_init(&c->lock);
	list_init(&c->polls);
	return c;
}

static int map_ring(struct aio_context *c)
{
	uint64_t bytes = align_up(sizeof(struct aio_ring) + c->event_count * sizeof(struct io_event), PAGE_SIZE);
	struct mobj *o = mobj_create_anonymous(bytes);
	long address = o ? 0 : -ENOMEM;

	for (uint64_t i = 0; i < bytes / PAGE_SIZE && !address; i++) {
		address = mobj_get_page(o, i, true, &c->pages[i]);
		if (!address)
			c->page_count++;
	}
	if (!address) {
		*ring_of(c) = (struct aio_ring){ .nr = c->event_count,
						 .magic = RING_MAGIC,
						 .compat_features = 1,
						 .header_length = sizeof(struct aio_ring) };
		address = mm_map(current->mm, 0, bytes, RING_FLAGS, 0, NULL, o, 0, "/[aio] (deleted)");
	}
	if (o)
		mobj_put(o);
	if (address < 0)
		return (int)address;
	c->address = (uint64_t)address;
	return 0;
}

// The tree has at most one context an address: a program that unmapped a ring may get another one in its place. The older one goes unnamed
// until then, and is found again when the newer one is destroyed.
static void insert(struct mm *mm, struct aio_context *new)
{
	struct rb_node **link = &mm->aio_contexts.node, *parent = NULL;

	while (*link) {
		parent = *link;
		link = new->address < rb_entry(parent, struct aio_context, node)->address ? &parent->left
											  : &parent->right;
	}
	rb_insert(&mm->aio_contexts, &new->node, parent, link);
}

struct aio_context *aio_context_create(uint32_t count)
{
	struct mm *mm = current->mm;
	struct aio_context *c = context_alloc(count);
	int error;

	if (is_err(c))
		return c;
	error = map_ring(c);
	if (error) {
		aio_context_put(c);
		return err_ptr(error);
	}
	refcount_get(&c->refs);
	spin_lock(&mm->aio_lock);
	insert(mm, c);
	spin_unlock(&mm->aio_lock);
	return c;
}

static struct aio_context *find_locked(struct mm *mm, uint64_t address)
{
	struct rb_node *n = mm->aio_contexts.node;

	while (n) {
		struct aio_context *c = rb_entry(n, struct aio_context, node);

		if (c->address == address)
			return c;
		n = address < c->address ? n->left : n->right;
	}
	return NULL;
}

struct aio_context *aio_context_find(uint64_t address)
{
	struct mm *mm = current->mm;
	struct aio_context *c;

	spin_lock(&mm->aio_lock);
	c = find_locked(mm, address);
	if (c)
		refcount_get(&c->refs);
	spin_unlock(&mm->aio_lock);
	return c;
}

// From now on nobody finds it, and nobody waits for its events.
static bool end(struct mm *mm, struct aio_context *c)
{
	bool first;

	spin_lock(&mm->aio_lock);
	first = !c->dead;
	if (first)
		rb_remove(&mm->aio_contexts, &c->node);
	spin_lock(&c->lock);
	__atomic_store_n(&c->dead, true, __ATOMIC_RELEASE);
	spin_unlock(&c->lock);
	spin_unlock(&mm->aio_lock);
	if (!first)
		return false;
	waitq_wake_all(&c->wait);
	aio_poll_cancel_all(c);
	return true;
}

bool aio_context_destroy(struct aio_context *c)
{
	if (!end(current->mm, c))
		return false;
	(void)wait_event_killable(&c->wait, !__atomic_load_n(&c->in_flight, __ATOMIC_ACQUIRE));
	(void)mm_unmap(current->mm, c->address, c->page_count * PAGE_SIZE);
	aio_context_put(c);
	return true;
}

void aio_release(struct mm *mm)
{
	struct rb_node *n;

	while ((n = rb_first(&mm->aio_contexts))) { // nobody runs in it: no lock
		struct aio_context *c = rb_entry(n, struct aio_context, node);

		(void)end(mm, c);
		aio_context_put(c);
	}
}

// ---- events ----

bool aio_reserve(struct aio_context *c)
{
	uint32_t used;
	bool room;

	spin_lock(&c->lock);
	used = (c->tail + c->event_count - head_of(c)) % c->event_count;
	room = !c->dead && used + c->in_flight < c->event_count - 1;
	if (room)
		c->in_flight++;
	spin_unlock(&c->lock);
	return room;
}

static void one_less_locked(struct aio_context *c)
{
	__atomic_store_n(&c->in_flight, c->in_flight - 1, __ATOMIC_RELEASE);
}

void aio_unreserve(struct aio_context *c)
{
	spin_lock(&c->lock);
	one_less_locked(c);
	spin_unlock(&c->lock);
	waitq_wake_all(&c->wait);
}

void aio_complete(const struct aio_request *r, int64_t result)
{
	struct aio_context *c = r->context;
	uint32_t next;

	spin_lock(&c->lock);
	*event_at(c, c->tail) = (struct io_event){ .data = r->data, .obj = r->block, .res = result };
	next = (c->tail + 1) % c->event_count;
	__atomic_store_n(&c->tail, next, __ATOMIC_RELEASE); // both: the event before it
	__atomic_store_n(&ring_of(c)->tail, next, __ATOMIC_RELEASE);
	one_less_locked(c);
	spin_unlock(&c->lock);
	if (r->notify)
		eventfd_signal(r->notify);
	waitq_wake_all(&c->wait);
}

bool aio_has_events(struct aio_context *c) { return __atomic_load_n(&c->tail, __ATOMIC_ACQUIRE) != head_of(c); }

long aio_take(struct aio_context *c, struct uptr events, int64_t most)
{
	long taken = 0;
	int error = 0;

	mutex_lock(&c->take_lock);
	uint32_t head = head_of(c), tail = __atomic_load_n(&c->tail, __ATOMIC_ACQUIRE);
	while (taken < most && head != tail && !error) {
		error = copy_to_user(uptr_add(events, (uint64_t)taken * sizeof(struct io_event)), event_at(c, head),
				     sizeof(struct io_event));
		if (!error) {
			taken++;
			head = (head + 1) % c->event_count;
		}
	}
	if (taken)
		__atomic_store_n(&ring_of(c)->head, head, __ATOMIC_RELEASE);
	mutex_unlock(&c->take_lock);
	return taken ? taken : error;
}
