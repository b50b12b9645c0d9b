// SPDX-License-Identifier: Apache-2.0
// Requests: their memory, how they are sent and awaited, and FORGET.
//
// A request owns one page that a device may reach, its arena: arguments, the answer's head, and the indirect descriptor table. Once
// it is with the device, neither the arena nor any payload page is freed before the device returns it (or is reset): a killed
// task asks the server to hurry (FUSE_INTERRUPT) and goes on waiting.
//
// Without a device the same holds for the broker: it is asked and waited for by the task that sends, killed or not.
#include "fs.h"

#include "kernel/cred.h"
#include "kernel/init.h"
#include "kernel/leak.h"
#include "kernel/log.h"
#include "kernel/slab.h"
#include "kernel/task.h"
#include "kernel/timer.h"
#include "lib/string.h"
#include "port/host.h"

#define IDLE_MAX      24u
#define KILL_GRACE_NS (100 * NSEC_PER_MSEC)
#define PAYLOAD_FIRST 3u // index of the first payload segment

void fs_connection_init(struct fs_connection *c)
{
	spin_init(&c->lock);
	list_init(&c->idle);
	list_init(&c->forgets);
	list_init(&c->idle_handles);
	list_init(&c->dirty);
	waitq_init(&c->idle_wait);
}

// ---- memory ----

static void file_drop(struct fs_request *r) // a descriptor that came and that nobody took
{
	if (PORT_HOST && r->file >= 0)
		port_file_close(fs_request_file(r));
	while (PORT_HOST && r->file_count)
		port_file_close(r->files[--r->file_count]);
}

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
	fuse_begin(&r->builder, fs_request_arena(r), FS_ARENA_ARGS);
	file_drop(r);
	r->reply_room = r->payload_bytes_out = 0;
	r->payload_count = r->page_count = 0;
	r->payload_out = r->no_reply = r->split_head = r->queued_urgent = r->wants_file = r->in_use = false;
	r->done = false;
	r->error = 0;
	r->files_room = r->file_count = 0;
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
	r->arena = page_alloc(0, FS_PAGE_FLAGS);
	if (!r->arena) {
		kfree(r);
		return NULL;
	}
	r->connection = c;
	r->file = -1;
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
	file_drop(r);
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
	struct fs_segment *last = r->payload_count ? &r->segments[PAYLOAD_FIRST + r->payload_count - 1] : NULL;
	if (last && last->address + last->size == address) {
		last->size += size;
		return;
	}
	assert(PAYLOAD_FIRST + r->payload_count < FS_SEGMENTS - 1);
	r->segments[PAYLOAD_FIRST + r->payload_count++] = (struct fs_segment){ address, size };
}

// Puts the heads before the payload and the answer where it belongs. First segment; counts.
const struct fs_segment *fs_request_segments(struct fs_request *r, unsigned *out_count, unsigned *in_count)
{
	paddr_t arena = page_to_frame(r->arena);
	struct fs_segment reply = { arena + FS_ARENA_ARGS, (uint32_t)sizeof(struct fuse_out_header) + r->reply_room };
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
		r->segments[--at] = (struct fs_segment){ arena + header, head - header };
		head = header;
	}
	r->segments[--at] = (struct fs_segment){ arena, head };
	*out_count = 1 + r->split_head + out_payload;
	return &r->segments[at];
}

// ---- sending ----

static int request_seal(struct fs_request *r)
{
	trace_event("fuse", r->header.opcode, r->header.nodeid);
	r->reply = fs_request_arena(r) + FS_ARENA_ARGS + sizeof(struct fuse_out_header);
	assert(r->reply_room + sizeof(struct fuse_out_header) <= FS_ARENA_REPLY);
	return fuse_finish(&r->builder, &r->header, r->payload_bytes_out);
}

void fs_send(struct fs_request *r)
{
	refcount_get(&r->refs); // the transport's
	int error = request_seal(r);
	if (error)
		fs_request_finish(r, 0, error);
	else
		fs_transport_send(r);
}

bool fs_post(struct fs_request *r)
{
	if (!PORT_HOST || request_seal(r))
		return false;
	refcount_get(&r->refs); // the transport's
	if (fs_transport_post(r))
		return true;
	fs_request_put(r);
	return false;
}

void fs_request_finish(struct fs_request *r, size_t written, int transport_error)
{
	r->reply_bytes = 0;
	r->error = transport_error;
	if (!transport_error && !r->no_reply) {
		r->error = fuse_decode_header(fs_request_arena(r) + FS_ARENA_ARGS, written, r->header.unique,
					      &r->reply_bytes);
		if (r->error == -ENOSYS)
			__atomic_or_fetch(&r->connection->unsupported, fs_opcode_bit(r->header.opcode),
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
	for (struct fs_connection *other = PORT_HOST ? fs_connections() : NULL; other; other = other->next)
		some |= fs_handles_trim(other, 0); // the descriptors are in one table
	size_t wanted = 256 + __atomic_load_n(&c->inode_count, __ATOMIC_RELAXED) / 4;
	for (unsigned round = 0; wanted && round < 16; round++) {
		size_t freed = dentry_shrink(min(wanted, (size_t)1024));
		some |= freed > 0;
		wanted -= min(wanted, freed);
		sched_preempt_point();
	}
	fs_forgets_flush(c);
	(void)wait_event_mode(&c->idle_wait, forgets_are_sent(c), PARK_KILLABLE, clock_monotonic_ns() + NSEC_PER_SEC);
	return some;
}

// One of the names by which `i` is found here, referenced; NULL.
static struct dentry *cached_name(struct inode *i)
{
	struct dentry *d, *found = NULL;
	spin_lock(&i->alias_lock);
	list_for_each (d, &i->dentries, alias_node)
		if (d->flags & DENTRY_HASHED && refcount_get_unless_zero(&d->refs)) {
			found = d;
			break;
		}
	spin_unlock(&i->alias_lock);
	return found;
}

// The server knows most things by their names, and this one's has been given to something else: it is to be looked up again, or, for
// open(2), looked up and opened at once, which cannot be overtaken.
static void node_is_stale(struct fs_request *r)
{
	struct super *s = r->connection->super;
	struct inode *i = s ? inode_find(s, r->header.nodeid) : NULL;
	struct dentry *d;
	if (!i)
		return;
	fs_attributes_stale(i);
	while ((d = cached_name(i))) {
		bool directory = inode_is_dir(i);
		d->expires_ns = 0; // a directory may be in use: it goes when that has been made sure of
		if (!directory)
			dentry_drop(d);
		dentry_put(d);
		if (directory)
			break;
	}
	inode_put(i);
}

int fs_call(struct fs_request *r)
{
	int error = call_once(r);
	for (unsigned attempt = 0; unlikely(error == -EMFILE || error == -ENFILE) && attempt < 3; attempt++) {
		if (fatal_signal_pending(current) || !server_make_room(r->connection))
			break;
		r->header.unique = __atomic_add_fetch(&r->connection->next_unique, 2, __ATOMIC_RELAXED);
		r->done = false;
		file_drop(r);
		error = call_once(r);
	}
	if (PORT_HOST && unlikely(error == -ESTALE))
		node_is_stale(r);
	return error;
}

// ---- forgetting ----

#define FORGETS_A_REQUEST                                                                        \
	((FS_ARENA_ARGS - sizeof(struct fuse_in_header) - sizeof(struct fuse_batch_forget_in)) / \
	 sizeof(struct fuse_forget_one))

static void forget_done(struct fs_request *r)
{
	struct fs_connection *c = r->connection;
	spin_lock(&c->lock);
	c->forget_request = r; // with the issuer's reference
	spin_unlock(&c->lock);
	if (!PORT_HOST) // an answer that came while it was waited for: fs_forgets_flush() goes on itself
		fs_forgets_flush(c);
	if (!waitq_empty(&c->idle_wait))
		waitq_wake_all(&c->idle_wait);
}

// The message with what is to be forgotten now, or NULL: there is nothing, or one is under way.
static struct fs_request *forgets_collect(struct fs_connection *c, struct list *freed)
{
	struct fuse_forget_one one[FORGETS_A_REQUEST];
	struct fuse_batch_forget_in in = { 0 };
	spin_lock(&c->lock);
	bool dead = __atomic_load_n(&c->dead, __ATOMIC_ACQUIRE);
	struct fs_request *r = dead || list_empty(&c->forgets) ? NULL : c->forget_request;
	if (dead) { // nobody left to tell
		list_splice_tail(freed, &c->forgets);
		c->forget_count = 0;
	}
	if (r)
		c->forget_request = NULL;
	while (r && in.count < FORGETS_A_REQUEST && !list_empty(&c->forgets)) {
		struct fs_forget *f = list_first(&c->forgets, struct fs_forget, node);
		one[in.count++] = (struct fuse_forget_one){ f->nodeid, f->count };
		list_remove(&f->node);
		list_add(freed, &f->node);
		c->forget_count--;
	}
	spin_unlock(&c->lock);
	if (!r)
		return NULL;
	fs_request_reuse(r, FUSE_BATCH_FORGET, 0);
	r->no_reply = r->queued_urgent = true;
	r->complete = forget_done;
	fs_arg(r, &in, sizeof(in));
	fs_arg(r, one, in.count * sizeof(one[0]));
	return r;
}

// One message is under way at a time; what comes meanwhile goes together in the next.
void fs_forgets_flush(struct fs_connection *c)
{
	struct fs_request *r;
	do {
		struct list freed = LIST_INIT(freed);
		r = forgets_collect(c, &freed);
		while (!list_empty(&freed)) {
			struct fs_forget *f = list_first(&freed, struct fs_forget, node);
			list_remove(&f->node);
			kfree(f);
		}
		if (r)
			fs_send(r);
	} while (r);
}

void fs_forget(struct fs_connection *c, struct fs_forget *f)
{
	spin_lock(&c->lock);
	list_add_tail(&c->forgets, &f->node);
	bool enough = ++c->forget_count >= fs_transport_forgets || __atomic_load_n(&c->dead, __ATOMIC_ACQUIRE);
	spin_unlock(&c->lock);
	if (enough)
		fs_forgets_flush(c);
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

// ---- leak check ----

static int64_t requests_held(void)
{
	int64_t held = 0;
	for (struct fs_connection *c = fs_connections(); c; c = c->next) {
		spin_lock(&c->lock);
		held += (int64_t)c->request_count - c->idle_count - (c->forget_request ? 1 : 0);
		spin_unlock(&c->lock);
	}
	return held;
}

// Requests that nobody waits for (RELEASE, FORGET) get a moment to come back.
static int64_t requests_leaked(void)
{
	static struct waitq never = WAITQ_INIT(never);
	uint64_t patience = clock_monotonic_ns() + NSEC_PER_SEC;
	for (struct fs_connection *c = PORT_HOST ? fs_connections() : NULL; c; c = c->next)
		fs_ahead_stop(c);
	while (requests_held() && clock_monotonic_ns() < patience)
		(void)wait_event_mode(&never, false, PARK_KILLABLE, clock_monotonic_ns() + 10 * NSEC_PER_MSEC);
	return requests_held();
}

static struct leak_counter request_leaks = { .name = "fuse-requests", .left = requests_leaked };

static void init(void) { leak_counter_register(&request_leaks); }
KERNEL_INIT(2, init);
