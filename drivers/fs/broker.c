// SPDX-License-Identifier: Apache-2.0
// The transport to the broker: a process of the host that holds the granted trees (abi/broker.h).
//
// The task that asks takes a channel out of the pool, sends, receives, and puts the channel back; there is no queue and no other
// task in between. Nothing is allocated while a channel is held, so memory pressure, which forgets names and thus asks for a
// channel, cannot wait for itself. A question may be posted: then the channel goes back with its answer still to come, as the last to be
// used for another, and who does, or who wants that answer, takes it first. Whoever asked takes the answer in, killed or not: a channel with an answer left in it would
// give that to the next.
//
// The broker is as hostile as any server: answers go through codec.c; one that answers no question of ours is dropped, and a
// channel that brings many of them, or fails, is used no more. Descriptors nobody asked for are closed.
#include "broker.h"

#include "abi/broker.h"

#include <linux/uio.h>

#include "fs.h"
#include "kernel/init.h"
#include "kernel/log.h"
#include "kernel/slab.h"
#include "kernel/task.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "port/host.h"

#define END_PATIENCE_NS (2 * NSEC_PER_SEC)
#define GRANTS_MAX      1024u
#define SEGMENTS_MAX    8u  // no request here has a payload of more than one block
#define STRAYS_MAX      64u // answers to nobody in a row

struct channel {
	struct list node;
	int socket;
	struct fs_request *posted; // its answer comes first; NULL
};

const char fs_transport_name[] = "broker";
const unsigned fs_transport_forgets = 32;

static struct spinlock pool_lock = SPINLOCK_INIT;            // guards what follows
static struct list idle_channels = LIST_INIT(idle_channels); // the last one used first
static unsigned channel_count;                               // that work
static struct waitq turns = WAITQ_INIT(turns);               // who wants a channel: exclusive waiters
static struct waitq pool_wait = WAITQ_INIT(pool_wait);       // who wants a certain one, or the end

static struct mutex grants_lock = MUTEX_INIT(grants_lock);
static struct fs_connection *grants; // grows at its head only

struct fs_connection *fs_connections(void) { return __atomic_load_n(&grants, __ATOMIC_ACQUIRE); }

// ---- channels ----

static struct channel *channel_try(bool *none)
{
	struct channel *ch = NULL;
	spin_lock(&pool_lock);
	*none = !channel_count;
	if (!list_empty(&idle_channels)) {
		ch = list_first(&idle_channels, struct channel, node);
		list_remove(&ch->node);
	}
	spin_unlock(&pool_lock);
	return ch;
}

// One is woken for each channel that is put back, and may find it taken by a newcomer: then the next one is its. A wake-up that comes to
// somebody who has a channel by then is made good when that is put back.
static struct channel *channel_wait(void)
{
	struct channel *ch;
	struct waiter w;
	bool none;
	waiter_init(&w);
	w.exclusive = true;
	for (;;) {
		task_prepare_park(PARK_UNINTERRUPTIBLE); // first: see waitq.h
		waitq_add(&turns, &w);
		ch = channel_try(&none);
		if (ch || none)
			break;
		(void)task_park(PARK_FOREVER);
	}
	task_finish_park();
	waitq_remove(&turns, &w);
	return ch;
}

static struct channel *channel_get(void) // NULL: there is none any more
{
	bool none;
	struct channel *ch = channel_try(&none);
	return ch || none ? ch : channel_wait();
}

static void channel_put(struct channel *ch)
{
	spin_lock(&pool_lock);
	if (ch->posted)
		list_add_tail(&idle_channels, &ch->node);
	else
		list_add(&idle_channels, &ch->node);
	spin_unlock(&pool_lock);
	if (!waitq_empty(&turns))
		waitq_wake_one(&turns);
	if (!waitq_empty(&pool_wait))
		waitq_wake_all(&pool_wait);
}

// One to post over: others stay for those who wait.
static struct channel *channel_get_spare(void)
{
	struct channel *ch = NULL;
	spin_lock(&pool_lock);
	if (!list_empty(&idle_channels) && idle_channels.next != idle_channels.prev) {
		ch = list_first(&idle_channels, struct channel, node);
		if (ch->posted)
			ch = NULL;
		else
			list_remove(&ch->node);
	}
	spin_unlock(&pool_lock);
	return ch;
}

// The channel with the answer to `r`, unless somebody has it.
static struct channel *channel_get_posted(const struct fs_request *r)
{
	struct channel *ch, *found = NULL;
	spin_lock(&pool_lock);
	list_for_each (ch, &idle_channels, node)
		if (ch->posted == r)
			found = ch;
	if (found)
		list_remove(&found->node);
	spin_unlock(&pool_lock);
	return found;
}

static void channel_retire(struct channel *ch)
{
	spin_lock(&pool_lock);
	bool last = !--channel_count;
	spin_unlock(&pool_lock);
	klog("broker: a channel failed%s", last ? ": none is left" : "");
	port_file_close(ch->socket);
	kfree(ch);
	waitq_wake_all(&turns);
	waitq_wake_all(&pool_wait);
}

static void channels_init(void)
{
	int socket;
	for (unsigned k = 0; (socket = port_host_channel(k)) >= 0; k++) {
		struct channel *ch = kalloc(sizeof(*ch));
		if (!ch)
			break;
		ch->socket = socket;
		list_add_tail(&idle_channels, &ch->node);
		channel_count++;
	}
}
KERNEL_INIT(2, channels_init);

// ---- one conversation ----

// What -EINTR made of a wait that has to go on is kept for whoever may be interrupted.
static void kick_again(bool kicked)
{
	if (kicked)
		port_task_kick(current->port);
}

static long send_all(int socket, const struct iovec *v, unsigned count, bool *kicked)
{
	long n;
	while ((n = port_message_send(socket, v, count)) == -EINTR)
		*kicked = true;
	return n;
}

static unsigned message_vector(struct iovec *v, const struct fs_segment *s, unsigned count)
{
	for (unsigned k = 0; k < count; k++)
		v[k] = (struct iovec){ port_frame_address(s[k].address), s[k].size };
	return count;
}

// One answer to `r`. Bytes of it; -EMFILE, -ENFILE: it came without its descriptors; other errors: the channel is done for.
static long answer_receive(struct channel *ch, struct fs_request *r, const struct iovec *v, unsigned count,
			   bool *kicked)
{
	const struct fuse_out_header *head = v[0].iov_base;
	int files[BROKER_DESCRIPTORS_MAX];
	for (unsigned strays = 0; strays < STRAYS_MAX;) {
		unsigned file_count = array_count(files);
		long n = port_message_receive(ch->socket, v, count, files, &file_count);
		if (n == -EINTR) {
			*kicked = true;
			continue;
		}
		if (n <= 0)
			return n ? n : -EPIPE;
		bool ours = (size_t)n >= sizeof(*head) && head->unique == r->header.unique;
		unsigned kept = ours && r->wants_file && file_count ? 1 : 0;
		if (kept)
			r->file = files[0];
		if (ours && r->files_room) {
			r->file_count = kept = min(file_count, r->files_room);
			memcpy(r->files, files, kept * sizeof(*files));
		}
		for (unsigned k = kept; k < file_count; k++)
			port_file_close(files[k]);
		if (ours)
			return n;
		strays++;
	}
	return -EPROTO;
}

static bool has_answer(const struct fs_request *r)
{
	switch (r->header.opcode) {
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
	case BROKER_UNWATCH: return false;
	}
	return !r->no_reply;
}

static bool is_broken(long n) { return n < 0 && n != -EMFILE && n != -ENFILE; }

static long request_send(struct channel *ch, struct fs_request *r, bool *kicked)
{
	struct iovec v[SEGMENTS_MAX + 1];
	unsigned out, in;
	const struct fs_segment *s = fs_request_segments(r, &out, &in);
	struct broker_request head = { .grant = (uint16_t)broker_grant_of(r->connection),
				       .flags = r->in_use ? BROKER_REQUEST_HOLD : 0,
				       .size_bytes = (uint32_t)r->builder.size + r->payload_bytes_out };
	v[0] = (struct iovec){ &head, sizeof(head) };
	return send_all(ch->socket, v, 1 + message_vector(v + 1, s, out), kicked);
}

static long answer_take(struct channel *ch, struct fs_request *r, bool *kicked)
{
	struct iovec v[SEGMENTS_MAX];
	unsigned out, in;
	const struct fs_segment *s = fs_request_segments(r, &out, &in);
	return answer_receive(ch, r, v, message_vector(v, s + out, in), kicked);
}

static void finish(struct fs_request *r, long n)
{
	fs_request_finish(r, n > 0 ? (size_t)n : 0, is_broken(n) ? -EIO : (int)min(n, 0l));
}

// The answer that was left in the channel, if any. False: the channel is done for.
static bool posted_take(struct channel *ch, bool *kicked)
{
	struct fs_request *r = ch->posted;
	if (!r)
		return true;
	ch->posted = NULL;
	long n = answer_take(ch, r, kicked);
	finish(r, n);
	return !is_broken(n);
}

static bool fits(struct fs_request *r)
{
	unsigned out, in;
	fs_request_segments(r, &out, &in);
	return out + in <= SEGMENTS_MAX &&
	       sizeof(struct broker_request) + r->builder.size + r->payload_bytes_out <= BROKER_MESSAGE_MAX_BYTES;
}

// Asks over `ch`. Bytes of the answer (0: none was due), or -errno; *broken: of the channel, not of the question.
static long converse(struct channel *ch, struct fs_request *r, bool *broken)
{
	bool kicked = false;
	*broken = false;
	if (!fits(r))
		return -E2BIG;
	long n = posted_take(ch, &kicked) ? request_send(ch, r, &kicked) : -EPIPE;
	*broken = n < 0;
	if (!*broken && has_answer(r)) {
		n = answer_take(ch, r, &kicked);
		*broken = is_broken(n);
	} else if (!*broken) {
		n = 0;
	}
	kick_again(kicked);
	return n;
}

// Without its broker the cell is at its end, which comes from outside in a moment. Until then no program is to see files fail.
static void await_the_end(void)
{
	(void)wait_event_mode(&pool_wait, false, PARK_UNINTERRUPTIBLE, port_time_ns() + END_PATIENCE_NS);
}

void fs_transport_send(struct fs_request *r)
{
	struct channel *ch = __atomic_load_n(&r->connection->dead, __ATOMIC_ACQUIRE) ? NULL : channel_get();
	bool broken;
	if (!ch) {
		await_the_end();
		fs_request_finish(r, 0, -EIO);
		return;
	}
	long n = converse(ch, r, &broken);
	if (broken) {
		channel_retire(ch);
		await_the_end();
	} else {
		channel_put(ch);
	}
	if (!has_answer(r))
		r->no_reply = true;
	fs_request_finish(r, n > 0 ? (size_t)n : 0, broken ? -EIO : (int)min(n, 0l));
}

bool fs_transport_post(struct fs_request *r)
{
	bool kicked = false;
	struct channel *ch =
		__atomic_load_n(&r->connection->dead, __ATOMIC_ACQUIRE) || !fits(r) ? NULL : channel_get_spare();
	if (!ch)
		return false;
	long n = request_send(ch, r, &kicked);
	kick_again(kicked);
	if (n < 0) {
		channel_retire(ch);
		return false;
	}
	ch->posted = r;
	channel_put(ch);
	return true;
}

static bool is_done(const struct fs_request *r) { return __atomic_load_n(&r->done, __ATOMIC_ACQUIRE); }

void fs_transport_collect(struct fs_request *r)
{
	struct channel *ch = NULL;
	bool kicked = false;
	wait_event(&pool_wait, is_done(r) || (ch = channel_get_posted(r)));
	if (!ch)
		return;
	if (posted_take(ch, &kicked))
		channel_put(ch);
	else
		channel_retire(ch);
	kick_again(kicked);
}

// ---- granted trees ----

uint32_t broker_grant_of(const struct fs_connection *c)
{
	return container_of((struct fs_connection *)c, struct broker_grant, connection)->number;
}

static struct fs_connection *grant_find(uint32_t number)
{
	struct fs_connection *c = fs_connections();
	while (c && broker_grant_of(c) != number)
		c = c->next;
	return c;
}

struct fs_connection *broker_connection(uint32_t number) { return grant_find(number); }

static struct fs_connection *grant_make(uint32_t number)
{
	struct broker_grant *g = kalloc(sizeof(*g));
	if (!g)
		return NULL;
	struct fs_connection *c = &g->connection;
	g->number = number;
	fmt_print(c->tag, sizeof(c->tag), "fs%u", number);
	fs_connection_init(c);
	c->next = grants;
	__atomic_store_n(&grants, c, __ATOMIC_RELEASE);
	return c;
}

struct fs_connection *fs_connection_find(const char *source)
{
	uint32_t number = 0;
	if (source[0] != 'f' || source[1] != 's' || !source[2])
		return NULL;
	for (const char *s = source + 2; *s; s++) {
		if (*s < '0' || *s > '9')
			return NULL;
		number = number * 10 + (uint32_t)(*s - '0');
		if (number >= GRANTS_MAX)
			return NULL;
	}
	mutex_lock(&grants_lock);
	struct fs_connection *c = grant_find(number);
	if (!c)
		c = grant_make(number);
	mutex_unlock(&grants_lock);
	return c && !__atomic_load_n(&c->mounted, __ATOMIC_ACQUIRE) ? c : NULL;
}

void fs_connection_fail(struct fs_connection *c, const char *why)
{
	if (!__atomic_exchange_n(&c->dead, true, __ATOMIC_SEQ_CST))
		klog("broker: %s given up: %s", c->tag, why);
}
