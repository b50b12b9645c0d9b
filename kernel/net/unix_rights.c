// SPDX-License-Identifier: Apache-2.0
// Descriptors in flight (SCM_RIGHTS) and the cycles they can make. unix(7).
//
// A socket's file that travels in another socket's queue is in flight. Two sockets may each travel in the other's queue and
// no program hold either: nothing would ever free them. rights_collect() finds these, after every close of a unix socket
// while something is in flight: a socket is a candidate when all references to its file are from queues. Candidates that
// can be reached from the queue of a non-candidate, or of a reachable candidate, are not garbage; the queues of the
// remaining are emptied, and with them the files go.
//
// Dropping descriptors may close sockets, which drop descriptors. So drops go to a list that the outermost one works off;
// stacks stay flat however long the chain is.
//
// Lock order: collect_lock -> flight_lock -> socket.lock.

#include "socket.h"

#include "kernel/uring.h"

#include <linux/capability.h>
#include <linux/resource.h>

#define FLIGHT_MAX 65536u // files in flight in the whole cell

static struct spinlock flight_lock = SPINLOCK_INIT; // guards inflight counts, the list, drops
static struct list flying = LIST_INIT(flying);      // struct socket.inflight_node
static unsigned flight_count;                       // files in flight
static struct list drops = LIST_INIT(drops);        // struct rights.node
static bool dropping;                               // somebody works off `drops`
static struct mutex collect_lock = MUTEX_INIT(collect_lock);

static struct socket *unix_socket_of(struct file *f)
{
	struct socket *s = socket_from_file(f);

	return s && s->domain == AF_UNIX ? s : NULL;
}

static void take_off(struct rights *r)
{
	unsigned i;

	spin_lock(&flight_lock);
	for (i = 0; i < r->count; i++) {
		struct socket *s = unix_socket_of(r->files[i]);

		if (s && s->inflight++ == 0)
			list_add_tail(&flying, &s->inflight_node);
	}
	flight_count += r->count;
	spin_unlock(&flight_lock);
}

void rights_landed(struct rights *r)
{
	unsigned i;

	spin_lock(&flight_lock);
	for (i = 0; i < r->count; i++) {
		struct socket *s = unix_socket_of(r->files[i]);

		if (s && --s->inflight == 0)
			list_remove(&s->inflight_node);
	}
	flight_count -= r->count;
	spin_unlock(&flight_lock);
	list_init(&r->node);
	r->node.next = NULL; // landed: rights_drop() need not do it again
}

int rights_from_fds(const int *fds, unsigned count, struct rights **out)
{
	struct rights *r;
	unsigned i;

	if (flight_count + count > FLIGHT_MAX ||
	    (flight_count + count > process_rlimit(current->process, RLIMIT_NOFILE) &&
	     !cred_capable(current->cred, CAP_SYS_RESOURCE)))
		return -ETOOMANYREFS;
	r = kalloc(sizeof(*r) + count * sizeof(r->files[0]));
	if (!r)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		r->files[i] = fd_get_any(fds[i]);
		bool ring = r->files[i] && file_is_uring(r->files[i]); // could hold the socket it travels by
		if (ring)
			file_put(r->files[i]);
		if (ring || !r->files[i]) {
			while (i--)
				file_put(r->files[i]);
			kfree(r);
			return ring ? -EINVAL : -EBADF;
		}
	}
	r->count = count;
	list_init(&r->node);
	take_off(r);
	*out = r;
	return 0;
}

static void free_now(struct rights *r)
{
	for (unsigned i = 0; i < r->count; i++)
		file_put(r->files[i]);
	kfree(r);
}

void rights_drop(struct rights *r)
{
	if (r->node.next) // a landed or copied one has none
		rights_landed(r);
	spin_lock(&flight_lock);
	list_add_tail(&drops, &r->node);
	if (dropping) { // another task's loop, or our own further up the stack, goes on with it
		spin_unlock(&flight_lock);
		return;
	}
	dropping = true;
	while (!list_empty(&drops)) {
		r = list_first(&drops, struct rights, node);
		list_remove(&r->node);
		spin_unlock(&flight_lock);
		free_now(r);
		spin_lock(&flight_lock);
	}
	dropping = false;
	spin_unlock(&flight_lock);
}

// ---- collection ----

// Calls fn for every unix socket in flight in the queue of `s`, and of connections not yet accepted from it.
static void for_each_carried(struct socket *s, void (*fn)(struct socket *carried, struct list *more), struct list *more)
{
	struct socket *child;
	struct packet *p;

	spin_lock(&s->lock);
	list_for_each (p, &s->receive, node)
		for (unsigned i = 0; p->rights && i < p->rights->count; i++) {
			struct socket *carried = unix_socket_of(p->rights->files[i]);

			if (carried)
				fn(carried, more);
		}
	list_for_each (child, &s->backlog, backlog_node)
		for_each_carried(child, fn, more);
	spin_unlock(&s->lock);
}

static void count_internal(struct socket *s, struct list *more)
{
	(void)more;
	if (s->external && s->external != UINT32_MAX)
		s->external--;
}

static void mark(struct socket *s, struct list *more)
{
	if (s->reachable)
		return;
	s->reachable = true;
	list_remove(&s->inflight_node);
	list_add_tail(more, &s->inflight_node);
}

// Moves every packet that carries descriptors to `out`.
static void strip(struct socket *s, struct list *out)
{
	struct packet *p, *next;
	struct socket *child;

	spin_lock(&s->lock);
	list_for_each_safe (p, next, &s->receive, node) {
		if (!p->rights)
			continue;
		list_remove(&p->node);
		s->receive_bytes -= p->size - p->offset;
		s->receive_count--;
		list_add_tail(out, &p->node);
	}
	list_for_each (child, &s->backlog, backlog_node)
		strip(child, out);
	spin_unlock(&s->lock);
}

// flight_lock held. Afterwards `reachable` is right for every socket in flight.
static void find_reachable(void)
{
	struct list todo = LIST_INIT(todo), done = LIST_INIT(done);
	struct socket *s, *next;

	// external: references to the file that are not from a candidate's queue.
	list_for_each (s, &flying, inflight_node) {
		struct file *f = s->file;
		bool candidate = f && (unsigned)refcount_read(&f->refs) == s->inflight;

		s->external = candidate ? s->inflight : UINT32_MAX;
		s->reachable = false;
	}
	list_for_each (s, &flying, inflight_node)
		if (s->external != UINT32_MAX)
			for_each_carried(s, count_internal, NULL);
	list_for_each_safe (s, next, &flying, inflight_node)
		if (s->external)
			mark(s, &todo);
	while (!list_empty(&todo)) {
		s = list_first(&todo, struct socket, inflight_node);
		list_remove(&s->inflight_node);
		list_add_tail(&done, &s->inflight_node);
		for_each_carried(s, mark, &todo);
	}
	list_splice_tail(&flying, &done);
}

void rights_collect(void)
{
	struct list garbage = LIST_INIT(garbage);
	struct socket *s;

	if (!__atomic_load_n(&flight_count, __ATOMIC_RELAXED) || !mutex_try_lock(&collect_lock))
		return;
	spin_lock(&flight_lock);
	if (!list_empty(&flying)) {
		find_reachable();
		list_for_each (s, &flying, inflight_node)
			if (!s->reachable)
				strip(s, &garbage);
	}
	spin_unlock(&flight_lock);
	mutex_unlock(&collect_lock);
	while (!list_empty(&garbage)) {
		struct packet *p = list_first(&garbage, struct packet, node);

		list_remove(&p->node);
		packet_free(p);
	}
}
