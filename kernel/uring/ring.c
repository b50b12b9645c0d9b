// SPDX-License-Identifier: Apache-2.0
// Rings as files: their memory, and completions.
#include "internal.h"

#include "../ipc/eventfd.h"
#include "kernel/init.h"
#include "kernel/leak.h"
#include "kernel/mm.h"
#include "kernel/uring.h"
#include "lib/fmt.h"

#define SQ_ENTRIES_MAX 32768u
#define CQ_ENTRIES_MAX (2 * SQ_ENTRIES_MAX)

static uint64_t ring_count; // atomic

static int64_t rings_left(void) { return (int64_t)__atomic_load_n(&ring_count, __ATOMIC_RELAXED); }
static struct leak_counter leak = { .name = "io_uring rings", .left = rings_left };
static void init(void) { leak_counter_register(&leak); }
KERNEL_INIT(1, init);

// ---- memory ----

static int memory_create(struct uring_memory *m, uint64_t bytes)
{
	uint32_t pages = (uint32_t)(align_up(bytes, PAGE_SIZE) / PAGE_SIZE);
	int error = 0;

	m->object = mobj_create_anonymous(pages * PAGE_SIZE);
	m->pages = kalloc_array(pages, sizeof(*m->pages));
	if (!m->object || !m->pages)
		return -ENOMEM;
	while (m->page_count < pages && !error) {
		error = mobj_get_page(m->object, m->page_count, true, &m->pages[m->page_count]);
		m->page_count += !error;
	}
	return error;
}

static void memory_destroy(struct uring_memory *m)
{
	for (uint32_t i = 0; i < m->page_count; i++)
		page_put(m->pages[i]);
	kfree(m->pages);
	if (m->object)
		mobj_put(m->object);
}

static void *memory_at(const struct uring_memory *m, uint64_t offset)
{
	return (char *)page_address(m->pages[offset / PAGE_SIZE]) + offset % PAGE_SIZE;
}

static struct io_uring_cqe *cqe_at(const struct uring *u, uint32_t position)
{
	uint64_t slot = position & (u->cq_entries - 1);

	return memory_at(&u->rings, sizeof(struct uring_shared) + slot * u->cqe_bytes);
}

bool uring_copy_sqe(const struct uring *u, uint32_t position, struct io_uring_sqe *out)
{
	uint32_t *slot = memory_at(&u->rings, u->array_at + (position & (u->sq_entries - 1)) * sizeof(uint32_t));
	uint32_t index = __atomic_load_n(slot, __ATOMIC_RELAXED);

	if (index >= u->sq_entries)
		return false;
	memcpy(out, memory_at(&u->sqes, (uint64_t)index * u->sqe_bytes), sizeof(*out));
	return true;
}

// ---- completions ----

void uring_sq_flag(struct uring *u, uint32_t flag, bool on)
{
	struct uring_shared *s = uring_shared_of(u);

	if (on)
		__atomic_or_fetch(&s->sq_flags, flag, __ATOMIC_SEQ_CST);
	else
		__atomic_and_fetch(&s->sq_flags, ~flag, __ATOMIC_SEQ_CST);
}

uint32_t uring_available(struct uring *u)
{
	uint32_t head = __atomic_load_n(&uring_shared_of(u)->cq_head, __ATOMIC_ACQUIRE);

	return __atomic_load_n(&u->cq_tail, __ATOMIC_ACQUIRE) - head;
}

static void put_cqe(struct uring *u, const struct io_uring_cqe *c, const uint64_t extra[2])
{
	struct io_uring_cqe *slot = cqe_at(u, u->cq_tail);

	slot->user_data = c->user_data;
	slot->res = c->res;
	slot->flags = c->flags;
	if (u->flags & IORING_SETUP_CQE32)
		memcpy(slot + 1, extra, sizeof(*slot));
	__atomic_store_n(&u->cq_tail, u->cq_tail + 1, __ATOMIC_RELEASE); // both: the completion before it
	__atomic_store_n(&uring_shared_of(u)->cq_tail, u->cq_tail, __ATOMIC_RELEASE);
}

static bool has_room(struct uring *u) { return uring_available(u) < u->cq_entries; }

static void flush_locked(struct uring *u, struct list *flushed)
{
	while (!list_empty(&u->overflow) && has_room(u)) {
		struct uring_overflow *o = list_first(&u->overflow, struct uring_overflow, node);

		put_cqe(u, &o->cqe, o->more);
		list_remove(&o->node);
		list_add_tail(flushed, &o->node);
		u->count--;
	}
	if (list_empty(&u->overflow))
		uring_sq_flag(u, IORING_SQ_CQ_OVERFLOW, false);
}

void uring_flush_overflow(struct uring *u)
{
	struct list flushed = LIST_INIT(flushed);

	if (list_empty(&u->overflow)) // racy: whoever comes next sees it
		return;
	spin_lock(&u->spin);
	flush_locked(u, &flushed);
	spin_unlock(&u->spin);
	if (!list_empty(&flushed))
		uring_tell(u);
	while (!list_empty(&flushed)) {
		struct uring_overflow *o = list_first(&flushed, struct uring_overflow, node);

		list_remove(&o->node);
		kfree(o);
	}
}

static bool fits_locked(struct uring *u) { return list_empty(&u->overflow) && has_room(u); }

void uring_post_locked(struct uring *u, const struct io_uring_cqe *c, const uint64_t extra[2])
{
	struct uring_overflow *o;

	if (fits_locked(u)) {
		put_cqe(u, c, extra);
		return;
	}
	o = kalloc_atomic(sizeof(*o));
	if (!o) { // no memory to keep it: told as lost
		__atomic_fetch_add(&uring_shared_of(u)->cq_overflow, 1, __ATOMIC_RELAXED);
		return;
	}
	o->cqe = *c;
	memcpy(o->more, extra, sizeof(o->more));
	list_add_tail(&u->overflow, &o->node);
	u->count++;
	uring_sq_flag(u, IORING_SQ_CQ_OVERFLOW, true);
}

bool uring_post(struct uring *u, const struct io_uring_cqe *c, bool keep)
{
	static const uint64_t nothing[2];
	bool fits, counted = false;

	spin_lock(&u->spin);
	fits = !u->dead && (fits_locked(u) || (keep && u->count < URING_REQUESTS_MAX));
	if (fits) {
		u->posted++;
		uring_post_locked(u, c, nothing);
		counted = !list_empty(&u->counting);
	}
	spin_unlock(&u->spin);
	if (counted)
		uring_timeouts_counted(u);
	if (fits)
		uring_tell(u);
	return fits;
}

void uring_tell(struct uring *u)
{
	struct file *notify = NULL;
	bool off = __atomic_load_n(&uring_shared_of(u)->cq_flags, __ATOMIC_RELAXED) & IORING_CQ_EVENTFD_DISABLED;

	if (__atomic_load_n(&u->eventfd, __ATOMIC_RELAXED) && !off) {
		spin_lock(&u->spin);
		notify = u->eventfd;
		if (notify && u->eventfd_async && !(current->flags & TASK_WORKER))
			notify = NULL;
		if (notify)
			file_get(notify);
		spin_unlock(&u->spin);
	}
	if (notify) {
		eventfd_signal(notify);
		file_put(notify);
	}
	waitq_wake_all(&u->wait);
	waitq_wake_events(&u->poll_wait, 0, EPOLLIN | EPOLLRDNORM);
}

// ---- making and ending ----

static void destroy(struct uring *u)
{
	while (!list_empty(&u->overflow)) {
		struct uring_overflow *o = list_first(&u->overflow, struct uring_overflow, node);

		list_remove(&o->node);
		kfree(o);
	}
	memory_destroy(&u->rings);
	memory_destroy(&u->sqes);
	__atomic_fetch_sub(&ring_count, 1, __ATOMIC_RELAXED);
	kfree(u);
}

void uring_put(struct uring *u)
{
	if (refcount_put(&u->refs))
		destroy(u);
}

static uint32_t power_of_two_from(uint32_t n) { return n <= 1 ? 1 : 1u << (32 - __builtin_clz(n - 1)); }

// Sizes of the queues, as Linux rounds and refuses them.
static int choose_entries(struct io_uring_params *p)
{
	if (!p->sq_entries)
		return -EINVAL;
	if (p->sq_entries > SQ_ENTRIES_MAX) {
		if (!(p->flags & IORING_SETUP_CLAMP))
			return -EINVAL;
		p->sq_entries = SQ_ENTRIES_MAX;
	}
	p->sq_entries = power_of_two_from(p->sq_entries);
	if (!(p->flags & IORING_SETUP_CQSIZE)) {
		p->cq_entries = 2 * p->sq_entries;
		return 0;
	}
	if (!p->cq_entries)
		return -EINVAL;
	if (p->cq_entries > CQ_ENTRIES_MAX) {
		if (!(p->flags & IORING_SETUP_CLAMP))
			return -EINVAL;
		p->cq_entries = CQ_ENTRIES_MAX;
	}
	p->cq_entries = power_of_two_from(p->cq_entries);
	return p->cq_entries < p->sq_entries ? -EINVAL : 0;
}

static void tell_offsets(const struct uring *u, struct io_uring_params *p)
{
	p->sq_off = (struct io_sqring_offsets){
		.head = offsetof(struct uring_shared, sq_head),
		.tail = offsetof(struct uring_shared, sq_tail),
		.ring_mask = offsetof(struct uring_shared, sq_mask),
		.ring_entries = offsetof(struct uring_shared, sq_entries),
		.flags = offsetof(struct uring_shared, sq_flags),
		.dropped = offsetof(struct uring_shared, sq_dropped),
		.array = u->array_at,
	};
	p->cq_off = (struct io_cqring_offsets){
		.head = offsetof(struct uring_shared, cq_head),
		.tail = offsetof(struct uring_shared, cq_tail),
		.ring_mask = offsetof(struct uring_shared, cq_mask),
		.ring_entries = offsetof(struct uring_shared, cq_entries),
		.overflow = offsetof(struct uring_shared, cq_overflow),
		.cqes = sizeof(struct uring_shared),
		.flags = offsetof(struct uring_shared, cq_flags),
	};
}

static int make_memory(struct uring *u)
{
	struct uring_shared *s;
	int error;

	u->cqe_bytes = sizeof(struct io_uring_cqe) << !!(u->flags & IORING_SETUP_CQE32);
	u->sqe_bytes = sizeof(struct io_uring_sqe) << !!(u->flags & IORING_SETUP_SQE128);
	u->array_at = (uint32_t)align_up(sizeof(*s) + u->cq_entries * u->cqe_bytes, 64u);
	error = memory_create(&u->rings, u->array_at + u->sq_entries * sizeof(uint32_t));
	if (!error)
		error = memory_create(&u->sqes, (uint64_t)u->sq_entries * u->sqe_bytes);
	if (error)
		return error;
	s = uring_shared_of(u);
	s->sq_mask = u->sq_entries - 1;
	s->cq_mask = u->cq_entries - 1;
	s->sq_entries = u->sq_entries;
	s->cq_entries = u->cq_entries;
	return 0;
}

static struct uring *uring_create(const struct io_uring_params *p)
{
	struct uring *u = kalloc(sizeof(*u));

	if (!u)
		return NULL;
	refcount_set(&u->refs, 1);
	u->flags = p->flags;
	u->sq_entries = p->sq_entries;
	u->cq_entries = p->cq_entries;
	u->disabled = p->flags & IORING_SETUP_R_DISABLED;
	waitq_init(&u->wait);
	waitq_init(&u->poll_wait);
	mutex_init(&u->submit_lock);
	mutex_init(&u->lock);
	spin_init(&u->spin);
	list_init(&u->requests);
	list_init(&u->overflow);
	list_init(&u->deferred);
	list_init(&u->counting);
	__atomic_fetch_add(&ring_count, 1, __ATOMIC_RELAXED);
	if (make_memory(u)) {
		uring_put(u);
		return NULL;
	}
	return u;
}

struct file *uring_file_create(struct io_uring_params *p)
{
	struct uring *u;
	struct file *f;
	int error = choose_entries(p);

	if (error)
		return err_ptr(error);
	u = uring_create(p);
	if (!u)
		return err_ptr(-ENOMEM);
	tell_offsets(u, p);
	f = file_create_anonymous("anon_inode:[io_uring]", &uring_file_ops, u, O_RDWR, 0600);
	if (is_err(f))
		uring_put(u);
	return f;
}

bool file_is_uring(const struct file *f) { return f->ops == &uring_file_ops; }

struct file *uring_file_get(unsigned fd)
{
	struct file *f = fd_get((int)fd);

	if (!f)
		return err_ptr(-EBADF);
	if (uring_of(f))
		return f;
	file_put(f);
	return err_ptr(-EOPNOTSUPP);
}

// ---- file operations ----

static void uring_release(struct file *f)
{
	struct uring *u = f->private;

	spin_lock(&u->spin);
	u->dead = true;
	spin_unlock(&u->spin);
	uring_poller_stop(u);
	(void)uring_cancel(u, &(struct uring_match){ .any = true }, NULL);
	uring_registered_drop(u);
	uring_put(u);
}

static unsigned uring_poll(struct file *f, struct poll_table *t)
{
	struct uring *u = f->private;
	struct uring_shared *s = uring_shared_of(u);
	unsigned events = 0;

	poll_wait(t, f, &u->poll_wait);
	if (__atomic_load_n(&s->sq_tail, __ATOMIC_ACQUIRE) - u->sq_head != u->sq_entries)
		events |= EPOLLOUT | EPOLLWRNORM;
	if (uring_available(u) || !list_empty(&u->overflow))
		events |= EPOLLIN | EPOLLRDNORM;
	return events;
}

static int uring_mmap(struct file *f, uint64_t *page, uint64_t size, unsigned *vma_flags, struct mobj **object)
{
	struct uring *u = f->private;
	struct uring_memory *m = &u->rings;

	(void)vma_flags;
	switch (*page << PAGE_SHIFT) {
	case IORING_OFF_SQ_RING:
	case IORING_OFF_CQ_RING: break;
	case IORING_OFF_SQES: m = &u->sqes; break;
	default: return -EINVAL;
	}
	if (size > m->page_count * PAGE_SIZE)
		return -EINVAL;
	mobj_get(m->object);
	*object = m->object;
	*page = 0;
	return 0;
}

static void uring_show(struct file *f, char *buffer, size_t size)
{
	struct uring *u = f->private;
	struct uring_shared *s = uring_shared_of(u);

	fmt_print(
		buffer, size,
		"SqMask:\t0x%x\nSqHead:\t%u\nSqTail:\t%u\nCachedSqHead:\t%u\nCqMask:\t0x%x\nCqHead:\t%u\nCqTail:\t%u\n"
		"CachedCqTail:\t%u\n",
		u->sq_entries - 1, s->sq_head, s->sq_tail, u->sq_head, u->cq_entries - 1, s->cq_head, s->cq_tail,
		u->cq_tail);
}

const struct file_ops uring_file_ops = {
	.release = uring_release,
	.poll = uring_poll,
	.mmap = uring_mmap,
	.show_fdinfo = uring_show,
	.stream = true,
};
