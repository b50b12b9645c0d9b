// SPDX-License-Identifier: Apache-2.0
// Requests: their memory, how they are sent and awaited, and FORGET.
//
// A request owns one page of the shared window, its arena: arguments, the answer's head, and the indirect descriptor table. Once
// it is with the device, neither the arena nor any payload page is freed before the device returns it (or is reset): a killed
// task asks the server to hurry (FUSE_INTERRUPT) and goes on waiting.
//
// Nobody waits for ring space: what does not fit is queued here and sent from the interrupt that makes room.
#include "fs.h"

#include "kernel/cred.h"
#include "kernel/log.h"
#include "kernel/slab.h"
#include "kernel/task.h"
#include "kernel/timer.h"
#include "lib/string.h"

#define IDLE_MAX      24u
#define KILL_GRACE_NS (100 * NSEC_PER_MSEC)
#define PAYLOAD_FIRST 3u // index of the first payload segment

static char *arena_of(const struct fs_request *r) { return page_address(r->arena); }

// ---- memory ----

void fs_request_reuse(struct fs_request *r, uint32_t opcode, uint64_t nodeid)
{
	struct fs_connection *c = r->connection;
	const struct cred *cred = current->cred;
	r->header = (struct fuse_in_header){
		.opcode = opcode,
		.unique = __atomic_add_fetch(&c->next_unique, 2, __ATOMIC_RELAXED), // odd numbers are interrupts
		.nodeid = nodeid,
		.uid = cred ? cred->fsuid : 0,
		.gid = cred ? cred->fsgid : 0,
		.pid = (uint32_t)current->tid,
	};
	fuse_begin(&r->builder, arena_of(r), FS_ARENA_ARGS);
	r->reply_room = r->payload_bytes_out = 0;
	r->payload_count = r->page_count = 0;
	r->payload_out = r->no_reply = r->split_head = r->queued_urgent = false;
	r->done = false;
	r->error = 0;
	r->complete = NULL;
	r->inode = NULL;
	r->handle = NULL;
}

static struct fs_request *idle_take(struct fs_connection *c)
{
	struct fs_request *r = NULL;
	spin_lock(&c->lock);
	if (!list_empty(&c->idle)) {
		r = list_first(&c->idle, struct fs_request, node);
		list_remove(&r->node);
		c->idle_count--;
	}
	spin_unlock(&c->lock);
	return r;
}

static struct fs_request *request_allocate(struct fs_connection *c)
{
	struct fs_request *r = kalloc(sizeof(*r));
	if (!r)
		return NULL;
	r->arena = page_alloc(0, PAGE_DEVICE);
	if (!r->arena) {
		kfree(r);
		return NULL;
	}
	r->connection = c;
	waitq_init(&r->wait);
	list_init(&r->node);
	spin_lock(&c->lock);
	c->request_count++;
	spin_unlock(&c->lock);
	return r;
}

static struct fs_request *request_prepare(struct fs_request *r, uint32_t opcode, uint64_t nodeid)
{
	refcount_set(&r->refs, 1);
	fs_request_reuse(r, opcode, nodeid);
	return r;
}

struct fs_request *fs_request_try(struct fs_connection *c, uint32_t opcode, uint64_t nodeid)
{
	struct fs_request *r = idle_take(c);
	if (!r)
		r = request_allocate(c);
	return r ? request_prepare(r, opcode, nodeid) : NULL;
}

struct fs_request *fs_request_get(struct fs_connection *c, uint32_t opcode, uint64_t nodeid)
{
	struct fs_request *r = fs_request_try(c, opcode, nodeid);
	if (likely(r))
		return r;
	if (!__atomic_load_n(&c->request_count, __ATOMIC_RELAXED))
		return err_ptr(-ENOMEM);
	wait_event(&c->idle_wait, (r = idle_take(c)) != NULL); // memory is short: one of those under way will do
	return request_prepare(r, opcode, nodeid);
}

static void bounce_free(struct fs_request *r)
{
	for (unsigned i = 0; r->bounce && i < r->page_count; i++)
		if (r->bounce[i])
			page_put(r->bounce[i]);
	kfree(r->bounce);
	r->bounce = NULL;
}

void fs_request_put(struct fs_request *r)
{
	struct fs_connection *c = r->connection;
	if (!refcount_put(&r->refs))
		return;
	bounce_free(r);
	spin_lock(&c->lock);
	bool keep = c->idle_count < IDLE_MAX;
	if (keep) {
		list_add(&c->idle, &r->node);
		c->idle_count++;
	} else {
		c->request_count--;
	}
	spin_unlock(&c->lock);
	if (keep) {
		if (!waitq_empty(&c->idle_wait))
			waitq_wake_all(&c->idle_wait);
		return;
	}
	page_put(r->arena);
	kfree(r);
}

// ---- segments ----

void fs_payload(struct fs_request *r, paddr_t address, uint32_t size, bool out)
{
	r->payload_out = out;
	if (out)
		r->payload_bytes_out += size;
	struct vq_segment *last = r->payload_count ? &r->segments[PAYLOAD_FIRST + r->payload_count - 1] : NULL;
	if (last && last->address + last->size == address) {
		last->size += size;
		return;
	}
	assert(PAYLOAD_FIRST + r->payload_count < FS_SEGMENTS - 1);
	r->segments[PAYLOAD_FIRST + r->payload_count++] = (struct vq_segment){ address, size };
}

// Puts the heads before the payload and the answer where it belongs. First segment; counts.
static const struct vq_segment *segments_arrange(struct fs_request *r, unsigned *out_count, unsigned *in_count)
{
	paddr_t arena = page_to_frame(r->arena);
	struct vq_segment reply = { arena + FS_ARENA_ARGS, (uint32_t)sizeof(struct fuse_out_header) + r->reply_room };
	unsigned out_payload = r->payload_out ? r->payload_count : 0, in_payload = r->payload_count - out_payload;
	unsigned at = PAYLOAD_FIRST;
	if (r->no_reply) {
		*in_count = 0;
	} else if (r->payload_out) {
		r->segments[PAYLOAD_FIRST + r->payload_count] = reply;
		*in_count = 1;
	} else {
		r->segments[--at] = reply;
		*in_count = 1 + in_payload;
	}
	uint32_t head = (uint32_t)r->builder.size, header = sizeof(struct fuse_in_header);
	if (r->split_head) { // the server writes data straight from our pages if it finds the headers apart
		r->segments[--at] = (struct vq_segment){ arena + header, head - header };
		head = header;
	}
	r->segments[--at] = (struct vq_segment){ arena, head };
	*out_count = 1 + r->split_head + out_payload;
	return &r->segments[at];
}

// ---- sending ----

static int ring_add(struct fs_queue *q, struct fs_request *r)
{
	unsigned out_count, in_count;
	const struct vq_segment *s = segments_arrange(r, &out_count, &in_count);
	struct vq_table table = { arena_of(r) + FS_ARENA_TABLE, page_to_frame(r->arena) + FS_ARENA_TABLE, FS_SEGMENTS };
	return virtqueue_add(q->queue, s, out_count, in_count, &table, r);
}

static void queue_submit(struct fs_queue *q, struct fs_request *r)
{
	bool added = false;
	int error = -EIO;
	spin_lock(&q->lock);
	if (!__atomic_load_n(&r->connection->dead, __ATOMIC_ACQUIRE)) {
		error = list_empty(&q->waiting) ? ring_add(q, r) : -ENOSPC;
		added = !error;
		if (error == -ENOSPC) {
			list_add_tail(&q->waiting, &r->node);
			error = 0;
		}
	}
	spin_unlock(&q->lock);
	if (added)
		virtqueue_kick(q->queue);
	if (error)
		fs_request_finish(r, 0, -EIO);
}

void fs_queue_drain(struct fs_queue *q)
{
	bool added = false;
	spin_lock(&q->lock);
	while (!list_empty(&q->waiting)) {
		struct fs_request *r = list_first(&q->waiting, struct fs_request, node);
		if (ring_add(q, r)) // full again, or broken: then the connection fails as a whole
			break;
		list_remove(&r->node);
		added = true;
	}
	spin_unlock(&q->lock);
	if (added)
		virtqueue_kick(q->queue);
}

void fs_send(struct fs_request *r)
{
	struct fs_connection *c = r->connection;
	refcount_get(&r->refs); // the device's
	trace_event("fuse", r->header.opcode, r->header.nodeid);
	r->reply = arena_of(r) + FS_ARENA_ARGS + sizeof(struct fuse_out_header);
	assert(r->reply_room + sizeof(struct fuse_out_header) <= FS_ARENA_REPLY);
	int error = fuse_finish(&r->builder, &r->header, r->payload_bytes_out);
	if (error)
		fs_request_finish(r, 0, error);
	else
		queue_submit(r->queued_urgent ? &c->urgent : &c->queues[port_cpu_index() % c->queue_count], r);
}

void fs_request_finish(struct fs_request *r, size_t written, int transport_error)
{
	r->reply_bytes = 0;
	r->error = transport_error;
	if (!transport_error && !r->no_reply) {
		r->error = fuse_decode_header(arena_of(r) + FS_ARENA_ARGS, written, r->header.unique, &r->reply_bytes);
		if (r->error == -ENOSYS)
			__atomic_or_fetch(&r->connection->unsupported, UINT64_C(1) << (r->header.opcode & 63),
					  __ATOMIC_RELAXED);
	}
	if (r->complete) {
		r->complete(r);
	} else {
		__atomic_store_n(&r->done, true, __ATOMIC_RELEASE);
		waitq_wake_all(&r->wait);
	}
	fs_request_put(r);
}

// ---- waiting ----

static bool request_is_done(struct fs_request *r) { return __atomic_load_n(&r->done, __ATOMIC_ACQUIRE); }

static void interrupt_done(struct fs_request *r) { fs_request_put(r); }

static void interrupt_send(struct fs_request *victim)
{
	struct fs_request *r = fs_request_try(victim->connection, FUSE_INTERRUPT, 0);
	struct fuse_interrupt_in in = { victim->header.unique };
	if (!r)
		return;
	r->header.unique = victim->header.unique | 1;
	r->no_reply = r->queued_urgent = true;
	r->complete = interrupt_done;
	fs_arg(r, &in, sizeof(in));
	fs_send(r);
}

static void request_wait(struct fs_request *r)
{
	if (!wait_event_killable(&r->wait, request_is_done(r)))
		return;
	(void)wait_event_mode(&r->wait, request_is_done(r), PARK_UNINTERRUPTIBLE, clock_monotonic_ns() + KILL_GRACE_NS);
	if (!request_is_done(r))
		interrupt_send(r);
	wait_event(&r->wait, request_is_done(r));
}

static int call_once(struct fs_request *r)
{
	fs_send(r);
	request_wait(r);
	return r->error;
}

static bool forgets_are_sent(struct fs_connection *c)
{
	spin_lock(&c->lock);
	bool sent = list_empty(&c->forgets) && c->forget_request;
	spin_unlock(&c->lock);
	return sent;
}

// The server is out of descriptors, and each name and handle known here costs it one: gives up a quarter of them.
// False: there was nothing to give up.
static bool server_make_room(struct fs_connection *c)
{
	bool some = fs_handles_trim(c, 0);
	size_t wanted = 256 + __atomic_load_n(&c->inode_count, __ATOMIC_RELAXED) / 4;
	for (unsigned round = 0; wanted && round < 16; round++) {
		size_t freed = dentry_shrink(min(wanted, (size_t)1024));
		some |= freed > 0;
		wanted -= min(wanted, freed);
		sched_preempt_point();
	}
	(void)wait_event_mode(&c->idle_wait, forgets_are_sent(c), PARK_KILLABLE, clock_monotonic_ns() + NSEC_PER_SEC);
	return some;
}

int fs_call(struct fs_request *r)
{
	int error = call_once(r);
	for (unsigned attempt = 0; unlikely(error == -EMFILE || error == -ENFILE) && attempt < 3; attempt++) {
		if (fatal_signal_pending(current) || !server_make_room(r->connection))
			break;
		r->header.unique = __atomic_add_fetch(&r->connection->next_unique, 2, __ATOMIC_RELAXED);
		r->done = false;
		error = call_once(r);
	}
	return error;
}

// ---- forgetting ----

#define FORGETS_A_REQUEST                                                                        \
	((FS_ARENA_ARGS - sizeof(struct fuse_in_header) - sizeof(struct fuse_batch_forget_in)) / \
	 sizeof(struct fuse_forget_one))

static void forgets_send(struct fs_connection *c);

static void forget_done(struct fs_request *r)
{
	struct fs_connection *c = r->connection;
	spin_lock(&c->lock);
	c->forget_request = r; // with the issuer's reference
	spin_unlock(&c->lock);
	forgets_send(c);
	if (!waitq_empty(&c->idle_wait))
		waitq_wake_all(&c->idle_wait);
}

// One message is under way at a time; what comes meanwhile goes together in the next.
static void forgets_send(struct fs_connection *c)
{
	struct fuse_forget_one one[FORGETS_A_REQUEST];
	struct list freed = LIST_INIT(freed);
	struct fuse_batch_forget_in in = { 0 };
	spin_lock(&c->lock);
	bool dead = __atomic_load_n(&c->dead, __ATOMIC_ACQUIRE);
	struct fs_request *r = dead || list_empty(&c->forgets) ? NULL : c->forget_request;
	if (dead) // nobody left to tell
		list_splice_tail(&freed, &c->forgets);
	if (r)
		c->forget_request = NULL;
	while (r && in.count < FORGETS_A_REQUEST && !list_empty(&c->forgets)) {
		struct fs_forget *f = list_first(&c->forgets, struct fs_forget, node);
		one[in.count++] = (struct fuse_forget_one){ f->nodeid, f->count };
		list_remove(&f->node);
		list_add(&freed, &f->node);
	}
	spin_unlock(&c->lock);
	while (!list_empty(&freed)) {
		struct fs_forget *f = list_first(&freed, struct fs_forget, node);
		list_remove(&f->node);
		kfree(f);
	}
	if (!r)
		return;
	fs_request_reuse(r, FUSE_BATCH_FORGET, 0);
	r->no_reply = r->queued_urgent = true;
	r->complete = forget_done;
	fs_arg(r, &in, sizeof(in));
	fs_arg(r, one, in.count * sizeof(one[0]));
	fs_send(r);
}

void fs_forget(struct fs_connection *c, struct fs_forget *f)
{
	spin_lock(&c->lock);
	list_add_tail(&c->forgets, &f->node);
	spin_unlock(&c->lock);
	forgets_send(c);
}

void fs_forget_node(struct fs_connection *c, uint64_t nodeid, uint64_t count)
{
	struct fs_forget *f = kalloc(sizeof(*f));
	if (!f)
		return; // the server keeps one lookup too many until the connection ends
	f->nodeid = nodeid;
	f->count = count;
	fs_forget(c, f);
}
