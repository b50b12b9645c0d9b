// SPDX-License-Identifier: Apache-2.0
// Provided buffers: IORING_OP_PROVIDE_BUFFERS and _REMOVE_BUFFERS, IORING_REGISTER_PBUF_RING, and IOSQE_BUFFER_SELECT.
//
// A group is a list of buffers that requests handed in, or a ring in the program's memory, which the program fills and of which the kernel
// keeps the head. uring.lock guards both. What stands in such a ring is read once, for the request that takes it.
#include "files.h"

#include "lib/rbtree.h"

#define GROUP_BUFFERS_MAX 65536u // as Linux: identifiers have 16 bits
#define GROUPS_MAX        1024u

struct buffer {
	struct list node;
	uint64_t address;
	uint32_t size;
	uint16_t id;
};

struct group {
	struct list node;
	uint16_t id;
	struct list buffers; // struct buffer
	uint32_t count;
	uint64_t ring;       // address of a struct io_uring_buf_ring; 0: a list
	uint16_t mask, head; // of it
};

struct uring_groups {
	struct list groups; // struct group; programs have few
	uint32_t count;
};

static struct group *find(struct uring *u, uint16_t id)
{
	struct group *g;

	if (u->groups)
		list_for_each (g, &u->groups->groups, node)
			if (g->id == id)
				return g;
	return NULL;
}

static struct group *create(struct uring *u, uint16_t id)
{
	struct group *g;

	if (!u->groups) {
		u->groups = kalloc(sizeof(*u->groups));
		if (!u->groups)
			return NULL;
		list_init(&u->groups->groups);
	}
	g = u->groups->count < GROUPS_MAX ? kalloc(sizeof(*g)) : NULL;
	if (!g)
		return NULL;
	g->id = id;
	list_init(&g->buffers);
	list_add(&u->groups->groups, &g->node);
	u->groups->count++;
	return g;
}

static uint32_t remove_buffers(struct group *g, uint32_t most)
{
	uint32_t done = 0;

	while (done < most && !list_empty(&g->buffers)) {
		struct buffer *b = list_first(&g->buffers, struct buffer, node);

		list_remove(&b->node);
		kfree(b);
		g->count--;
		done++;
	}
	return done;
}

static void destroy(struct uring *u, struct group *g)
{
	(void)remove_buffers(g, UINT32_MAX);
	list_remove(&g->node);
	u->groups->count--;
	kfree(g);
}

void uring_groups_drop(struct uring *u)
{
	mutex_lock(&u->lock);
	while (u->groups && !list_empty(&u->groups->groups))
		destroy(u, list_first(&u->groups->groups, struct group, node));
	kfree(u->groups);
	u->groups = NULL;
	mutex_unlock(&u->lock);
}

// ---- IORING_REGISTER_PBUF_RING; uring.lock held ----

static int registration_from_user(struct io_uring_buf_reg *r, struct uptr user)
{
	if (get_user(r, user))
		return -EFAULT;
	return r->pad || r->resv[0] || r->resv[1] || r->resv[2] ? -EINVAL : 0;
}

int uring_groups_register(struct uring *u, struct uptr user)
{
	struct io_uring_buf_reg r;
	struct group *g;
	int error = registration_from_user(&r, user);

	if (error)
		return error;
	if (!r.ring_addr)
		return -EFAULT;
	if (r.ring_addr & ~PAGE_MASK || !r.ring_entries || r.ring_entries & (r.ring_entries - 1))
		return -EINVAL;
	if (r.ring_entries >= GROUP_BUFFERS_MAX)
		return -EINVAL;
	if (!user_range_ok(r.ring_addr, r.ring_entries * sizeof(struct io_uring_buf)))
		return -EFAULT;
	g = find(u, r.bgid);
	if (g && (g->ring || g->count))
		return -EEXIST;
	if (!g)
		g = create(u, r.bgid);
	if (!g)
		return -ENOMEM;
	g->ring = r.ring_addr;
	g->mask = (uint16_t)(r.ring_entries - 1);
	g->head = 0;
	return 0;
}

int uring_groups_unregister(struct uring *u, struct uptr user)
{
	struct io_uring_buf_reg r;
	struct group *g;
	int error = registration_from_user(&r, user);

	if (error)
		return error;
	g = find(u, r.bgid);
	if (!g)
		return -ENOENT;
	if (!g->ring)
		return -EINVAL;
	destroy(u, g);
	return 0;
}

// ---- selection ----

static int take_from_ring(struct group *g, struct buffer *out)
{
	struct io_uring_buf b;
	uint16_t tail;

	if (get_user(&tail, (struct uptr){ g->ring + offsetof(struct io_uring_buf_ring, tail) }))
		return -EFAULT;
	if (tail == g->head)
		return -ENOBUFS;
	if (get_user(&b, (struct uptr){ g->ring + (g->head & g->mask) * sizeof(b) }))
		return -EFAULT;
	g->head++;
	*out = (struct buffer){ .address = b.addr, .size = b.len, .id = b.bid };
	return 0;
}

static int take_from_list(struct group *g, struct buffer *out)
{
	struct buffer *b;

	if (list_empty(&g->buffers))
		return -ENOBUFS;
	b = list_first(&g->buffers, struct buffer, node);
	list_remove(&b->node);
	g->count--;
	*out = *b;
	kfree(b);
	return 0;
}

int uring_buffer_select(struct uring_request *r, uint64_t *address, uint64_t *size)
{
	struct uring *u = r->ring;
	struct group *g;
	int error = -ENOBUFS;

	if (!r->selected) {
		struct buffer b;

		mutex_lock(&u->lock);
		g = find(u, r->sqe.buf_group);
		if (g)
			error = g->ring ? take_from_ring(g, &b) : take_from_list(g, &b);
		mutex_unlock(&u->lock);
		if (error)
			return error;
		r->selected = true;
		r->buffer_address = b.address;
		r->buffer_size = b.size;
		r->buffer_id = b.id;
	}
	*address = r->buffer_address;
	*size = *size ? min(*size, (uint64_t)r->buffer_size) : r->buffer_size;
	return 0;
}

// Nothing was put into it: the next one may have it. Where others have come between it stays with the request.
void uring_buffer_recycle(struct uring_request *r)
{
	struct uring *u = r->ring;
	struct group *g;
	struct buffer *b;

	mutex_lock(&u->lock);
	g = find(u, r->sqe.buf_group);
	if (g && g->ring) {
		struct io_uring_buf last;
		uint16_t before = (uint16_t)(g->head - 1);

		if (!get_user(&last, (struct uptr){ g->ring + (before & g->mask) * sizeof(last) }) &&
		    last.addr == r->buffer_address && last.bid == r->buffer_id) {
			g->head = before;
			r->selected = false;
		}
	} else if (g && (b = kalloc(sizeof(*b)))) {
		*b = (struct buffer){ .address = r->buffer_address, .size = r->buffer_size, .id = r->buffer_id };
		list_add(&g->buffers, &b->node);
		g->count++;
		r->selected = false;
	}
	mutex_unlock(&u->lock);
}

uint32_t uring_buffer_told(struct uring_request *r)
{
	r->selected = false;
	return IORING_CQE_F_BUFFER | (uint32_t)r->buffer_id << IORING_CQE_BUFFER_SHIFT;
}

// ---- IORING_OP_PROVIDE_BUFFERS, IORING_OP_REMOVE_BUFFERS ----

int uring_provide_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;
	uint64_t total;

	if (s->rw_flags || s->splice_fd_in)
		return -EINVAL;
	if (s->fd <= 0 || s->fd > (int)GROUP_BUFFERS_MAX)
		return -E2BIG;
	total = (uint64_t)s->len * (uint64_t)s->fd;
	if (!user_range_ok(s->addr, total))
		return -EFAULT;
	return s->off > UINT16_MAX ? -E2BIG : 0;
}

int uring_provide_issue(struct uring_request *r, bool wait)
{
	const struct io_uring_sqe *s = &r->sqe;
	struct uring *u = r->ring;
	struct group *g;
	int done = 0, error = 0;

	(void)wait;
	mutex_lock(&u->lock);
	g = find(u, s->buf_group);
	if (!g)
		g = create(u, s->buf_group);
	error = !g ? -ENOMEM : g->ring ? -EINVAL : 0;
	for (; done < s->fd && !error; done++) {
		struct buffer *b = g->count < GROUP_BUFFERS_MAX ? kalloc(sizeof(*b)) : NULL;

		if (!b) {
			error = -ENOMEM;
			break;
		}
		b->address = s->addr + (uint64_t)done * s->len;
		b->size = s->len;
		b->id = (uint16_t)(s->off + (uint64_t)done);
		list_add_tail(&g->buffers, &b->node);
		g->count++;
	}
	mutex_unlock(&u->lock);
	return done ? 0 : error;
}

int uring_remove_buffers_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;

	if (s->rw_flags || s->addr || s->len || s->off || s->splice_fd_in)
		return -EINVAL;
	return s->fd <= 0 || s->fd > (int)GROUP_BUFFERS_MAX ? -EINVAL : 0;
}

int uring_remove_buffers_issue(struct uring_request *r, bool wait)
{
	struct uring *u = r->ring;
	struct group *g;
	int result = -ENOENT;

	(void)wait;
	mutex_lock(&u->lock);
	g = find(u, r->sqe.buf_group);
	if (g)
		result = g->ring ? -EINVAL : (int)remove_buffers(g, (uint32_t)r->sqe.fd);
	mutex_unlock(&u->lock);
	return result;
}
