// SPDX-License-Identifier: Apache-2.0
// epoll(7): the instance, its items and the ready list.
//
// An item puts a waiter on each wait queue of its file. A wake-up there, in any context, puts the item on the ready list
// and wakes one sleeper; cost does not depend on the number of items. A scan takes items off the list one by one, asks the
// file what is really there, reports it, and puts level-triggered items back.
//
// An item does not hold its file. The file's last reference calls epoll_release_file() before anything of it goes; the end
// of an instance takes the same epoll_mutex, so item and file are both there while one removes the other.
//
// Lock order: epoll_mutex -> eventpoll.lock (outer before nested instance) -> locks of the file's poll operation
//             -> file.epoll_lock; queue_free_lock -> waitq.lock -> ready_lock; ready_lock -> nothing.

#include "epoll.h"

#include "kernel/init.h"
#include "kernel/leak.h"
#include "kernel/uaccess.h"
#include "lib/fmt.h"

struct mutex epoll_mutex = MUTEX_INIT(epoll_mutex);
static struct spinlock queue_free_lock = SPINLOCK_INIT;
static struct slab_cache *item_cache;

static uint64_t item_count; // atomic
static int64_t items_left(void) { return (int64_t)__atomic_load_n(&item_count, __ATOMIC_RELAXED); }
static struct leak_counter leak = { .name = "epoll items", .left = items_left };

static void init(void)
{
	item_cache = slab_cache_create("epitem", sizeof(struct epitem), 8);
	leak_counter_register(&leak);
}
KERNEL_INIT(1, init);

// ---- wake-ups ----

static void mark_ready(struct epitem *i)
{
	struct eventpoll *ep = i->poll;

	spin_lock(&ep->ready_lock);
	if (list_empty(&i->ready_node))
		list_add_tail(&ep->ready, &i->ready_node);
	spin_unlock(&ep->ready_lock);
}

// Wakes one sleeper of epoll_wait() and all that poll the instance. True: somebody slept.
static bool announce(struct eventpoll *ep)
{
	bool slept = !waitq_empty(&ep->wait);

	waitq_wake_one(&ep->wait); // its lock orders the ready list before the look at `polled`
	if (__atomic_load_n(&ep->polled, __ATOMIC_RELAXED))
		waitq_wake_events(&ep->poll_queue, 0, EPOLLIN);
	return slept;
}

static bool epoll_wake(struct waiter *w, unsigned events)
{
	struct epitem *i = container_of(w, struct epwaiter, waiter)->item;
	unsigned wanted = __atomic_load_n(&i->event.events, __ATOMIC_RELAXED);

	// A disabled one-shot item wants nothing, not even errors.
	if (!(wanted & ~EPOLL_PRIVATE_BITS) || (events && !(events & wanted)))
		return false;
	mark_ready(i);
	return announce(i->poll);
}

// ---- items ----

struct item_table {
	struct poll_table table;
	struct epitem *item;
};

static void item_queue(struct poll_table *t, struct file *f, struct waitq *q)
{
	struct epitem *i = container_of(t, struct item_table, table)->item;
	struct epwaiter *w = &i->first;

	(void)f;
	if (w->queue) {
		w = kalloc(sizeof(*w));
		if (!w) {
			i->error = -ENOMEM;
			return;
		}
		w->next = i->more;
		i->more = w;
	}
	w->item = i;
	w->queue = q;
	waiter_init(&w->waiter);
	w->waiter.wake = epoll_wake;
	w->waiter.exclusive = i->event.events & EPOLLEXCLUSIVE;
	waitq_add(q, &w->waiter);
}

static void dequeue(struct epwaiter *w)
{
	spin_lock(&queue_free_lock);
	if (w->queue)
		waitq_remove(w->queue, &w->waiter);
	spin_unlock(&queue_free_lock);
}

void poll_queue_free(struct waitq *q)
{
	struct waiter *w, *next;

	if (waitq_empty(q))
		return;
	spin_lock(&queue_free_lock);
	spin_lock(&q->lock);
	list_for_each_safe (w, next, &q->waiters, node) {
		if (w->wake != epoll_wake)
			continue;
		list_remove(&w->node);
		container_of(w, struct epwaiter, waiter)->queue = NULL;
	}
	spin_unlock(&q->lock);
	spin_unlock(&queue_free_lock);
}

static int compare(const struct epitem *i, const struct file *f, int fd)
{
	if (i->file != f)
		return f < i->file ? -1 : 1;
	return fd < i->fd ? -1 : fd > i->fd;
}

struct epitem *epoll_find(struct eventpoll *ep, struct file *f, int fd)
{
	struct rb_node *n = ep->items.node;

	while (n) {
		struct epitem *i = rb_entry(n, struct epitem, node);
		int c = compare(i, f, fd);

		if (!c)
			return i;
		n = c < 0 ? n->left : n->right;
	}
	return NULL;
}

static void insert(struct eventpoll *ep, struct epitem *new)
{
	struct rb_node **link = &ep->items.node, *parent = NULL;

	while (*link) {
		parent = *link;
		link = compare(rb_entry(parent, struct epitem, node), new->file, new->fd) < 0 ? &parent->left
											      : &parent->right;
	}
	rb_insert(&ep->items, &new->node, parent, link);
	ep->item_count++;
	__atomic_fetch_add(&item_count, 1, __ATOMIC_RELAXED);
}

// Asks the file; with a table, also queues. Only what the item wants.
static unsigned ask(struct epitem *i, struct poll_table *t)
{
	return file_poll(i->file, t) & i->event.events & ~EPOLL_PRIVATE_BITS;
}

int epoll_insert(struct eventpoll *ep, struct file *f, int fd, const struct epoll_event *event)
{
	struct item_table t = { .table.queue = item_queue };
	struct epitem *i = slab_alloc(item_cache);
	unsigned events;

	if (!i)
		return -ENOMEM;
	t.item = i;
	i->poll = ep;
	i->file = f;
	i->fd = fd;
	i->event = *event;
	list_init(&i->ready_node);
	insert(ep, i);
	spin_lock(&f->epoll_lock);
	list_add_tail(&f->epoll_items, &i->file_node);
	spin_unlock(&f->epoll_lock);
	events = ask(i, &t.table);
	if (i->error) {
		int error = i->error;

		epoll_remove(i);
		return error;
	}
	if (events) {
		mark_ready(i);
		announce(ep);
	}
	return 0;
}

void epoll_modify(struct epitem *i, const struct epoll_event *event)
{
	i->event.data = event->data;
	// A wake-up before the store is covered by asking after it.
	__atomic_store_n(&i->event.events, event->events, __ATOMIC_SEQ_CST);
	if (ask(i, NULL)) {
		mark_ready(i);
		announce(i->poll);
	}
}

void epoll_remove(struct epitem *i)
{
	struct eventpoll *ep = i->poll;
	struct epwaiter *w, *next;

	dequeue(&i->first);
	for (w = i->more; w; w = next) {
		next = w->next;
		dequeue(w);
		kfree(w);
	}
	spin_lock(&i->file->epoll_lock);
	list_remove(&i->file_node);
	spin_unlock(&i->file->epoll_lock);
	// No wake-up can reach it any more.
	spin_lock(&ep->ready_lock);
	list_remove(&i->ready_node);
	spin_unlock(&ep->ready_lock);
	rb_remove(&ep->items, &i->node);
	ep->item_count--;
	__atomic_fetch_sub(&item_count, 1, __ATOMIC_RELAXED);
	slab_free(item_cache, i);
}

void epoll_release_file(struct file *f)
{
	mutex_lock(&epoll_mutex);
	while (!list_empty(&f->epoll_items)) {
		struct epitem *i = list_first(&f->epoll_items, struct epitem, file_node);
		struct eventpoll *ep = i->poll;

		mutex_lock(&ep->lock);
		epoll_remove(i);
		mutex_unlock(&ep->lock);
	}
	mutex_unlock(&epoll_mutex);
}

// ---- scanning ----

static struct epitem *pop_ready(struct eventpoll *ep)
{
	struct epitem *i = NULL;

	spin_lock(&ep->ready_lock);
	if (!list_empty(&ep->ready)) {
		i = list_first(&ep->ready, struct epitem, ready_node);
		// Back on the list since this scan looked at it: the round is complete.
		if (i->seen == ep->scan)
			i = NULL;
		else
			list_remove(&i->ready_node);
	}
	spin_unlock(&ep->ready_lock);
	return i;
}

static void begin_scan(struct eventpoll *ep)
{
	mutex_lock(&ep->lock);
	ep->scan++;
}

static void report(struct epitem *i)
{
	unsigned events = i->event.events;

	if (events & EPOLLONESHOT)
		__atomic_store_n(&i->event.events, events & EPOLL_PRIVATE_BITS, __ATOMIC_RELAXED);
	else if (!(events & EPOLLET))
		mark_ready(i); // level: asked again next time
}

long epoll_collect(struct eventpoll *ep, struct uptr user, unsigned count)
{
	struct epitem *i;
	unsigned done = 0;
	long error = 0;

	begin_scan(ep);
	while (done < count && (i = pop_ready(ep))) {
		struct epoll_event e = { .events = ask(i, NULL), .data = i->event.data };

		i->seen = ep->scan;
		if (!e.events)
			continue;
		if (copy_to_user(uptr_add(user, done * sizeof(e)), &e, sizeof(e))) {
			mark_ready(i);
			error = -EFAULT;
			break;
		}
		report(i);
		done++;
	}
	// What is left is for the other sleepers, who look at the list without its lock.
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (epoll_has_ready(ep) && !waitq_empty(&ep->wait))
		waitq_wake_one(&ep->wait);
	mutex_unlock(&ep->lock);
	return done ? (long)done : error;
}

// An instance is readable while one of its items has something; items on the list that have not are dropped.
static unsigned epoll_poll(struct file *f, struct poll_table *t)
{
	struct eventpoll *ep = f->private;
	unsigned events = 0;
	struct epitem *i;

	if (t && t->queue && !ep->polled)
		(void)__atomic_exchange_n(&ep->polled, true, __ATOMIC_SEQ_CST);
	poll_wait(t, f, &ep->poll_queue);
	if (!epoll_has_ready(ep))
		return 0;
	begin_scan(ep);
	while (!events && (i = pop_ready(ep))) {
		i->seen = ep->scan;
		if (ask(i, NULL)) {
			mark_ready(i);
			events = EPOLLIN | EPOLLRDNORM;
		}
	}
	mutex_unlock(&ep->lock);
	return events;
}

// ---- the instance ----

static void epoll_release(struct file *f)
{
	struct eventpoll *ep = f->private;
	struct rb_node *n;

	mutex_lock(&epoll_mutex);
	mutex_lock(&ep->lock);
	while ((n = rb_first(&ep->items)))
		epoll_remove(rb_entry(n, struct epitem, node));
	mutex_unlock(&ep->lock);
	mutex_unlock(&epoll_mutex);
	kfree(ep);
}

static void epoll_show(struct file *f, char *buffer, size_t size)
{
	struct eventpoll *ep = f->private;
	size_t used = 0;
	struct rb_node *n;

	mutex_lock(&ep->lock);
	for (n = rb_first(&ep->items); n && used + 1 < size; n = rb_next(n)) {
		struct epitem *i = rb_entry(n, struct epitem, node);

		used += (size_t)fmt_print(buffer + used, size - used, "tfd: %8d events: %8x data: %16llx\n", i->fd,
					  i->event.events, (unsigned long long)i->event.data);
	}
	mutex_unlock(&ep->lock);
}

const struct file_ops epoll_ops = {
	.poll = epoll_poll,
	.release = epoll_release,
	.show_fdinfo = epoll_show,
	.stream = true,
};

// Walks what `f` watches, down to `depth` more levels. Instances are few; their sets are searched for instances only.
static bool reaches(struct file *f, const struct eventpoll *ep, unsigned depth)
{
	struct eventpoll *inner = f->private;
	bool found = false;
	struct rb_node *n;

	if (inner == ep || depth == 0)
		return true;
	mutex_lock(&inner->lock);
	for (n = rb_first(&inner->items); n && !found; n = rb_next(n)) {
		struct epitem *i = rb_entry(n, struct epitem, node);

		if (i->file->ops == &epoll_ops)
			found = reaches(i->file, ep, depth - 1);
	}
	mutex_unlock(&inner->lock);
	return found;
}

bool epoll_makes_loop(struct eventpoll *ep, struct file *target)
{
	return target->ops == &epoll_ops && reaches(target, ep, EPOLL_NESTING_MAX);
}
