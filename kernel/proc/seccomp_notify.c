// SPDX-License-Identifier: Apache-2.0
// Calls that another program answers: SECCOMP_RET_USER_NOTIF, seccomp_unotify(2).
//
// A task whose filter says so puts a question on the listener's list and waits. Whoever has the listener's descriptor takes questions one after
// the other, may put descriptors into the waiting process, which it does itself when it is told, and answers. A signal ends the wait;
// with WAIT_KILLABLE_RECV only a fatal one does once the question was taken.
//
// listener.lock guards all of a listener and its questions, which live on the stacks of who waits. It is a leaf but for wait queues.
#include "seccomp_notify.h"

#include "kernel/poll.h"
#include "lib/string.h"

#include <asm/ioctl.h>

struct seccomp_listener {
	struct refcount refs; // the filter, the file
	struct spinlock lock;
	struct waitq wait;     // who reads or polls, and who wants to see a descriptor installed
	struct list questions; // struct question, oldest first
	uint64_t last_id;
	bool killable;
	bool closed;    // the file is gone: nobody answers
	bool abandoned; // the filter is gone: nobody asks
};

enum state { ASKED, TAKEN, ANSWERED };

struct question {
	struct list node; // empty: off the list
	const struct seccomp_data *data;
	struct task *task;
	struct waitq wait;
	uint64_t id;
	enum state state;
	long result;
	bool go_on; // SECCOMP_USER_NOTIF_FLAG_CONTINUE
	struct list gifts;
};

enum gift_state { GIVEN, INSTALLING, DONE };

struct gift { // a descriptor to be installed; on the stack of who gives it
	struct list node;
	struct file *file;
	uint32_t flags;
	bool cloexec;
	int fd; // where, with SECCOMP_ADDFD_FLAG_SETFD
	enum gift_state state;
	int result;
};

// ---- who asks ----

static int install(const struct gift *g)
{
	if (g->flags & SECCOMP_ADDFD_FLAG_SETFD)
		return fd_replace(g->fd, g->file, g->cloexec);
	file_get(g->file);
	return fd_install_new(g->file, g->cloexec);
}

// lock held
static void gift_finish(struct seccomp_listener *l, struct gift *g, int result)
{
	g->result = result;
	__atomic_store_n(&g->state, DONE, __ATOMIC_RELEASE);
	waitq_wake_all(&l->wait);
}

// lock held at entry and return, not between
static void take_gifts(struct seccomp_listener *l, struct question *q)
{
	while (!list_empty(&q->gifts)) {
		struct gift *g = list_first(&q->gifts, struct gift, node);
		list_remove(&g->node);
		g->state = INSTALLING; // who gave it waits for the result now, whatever comes
		spin_unlock(&l->lock);
		int fd = install(g);
		spin_lock(&l->lock);
		if (g->flags & SECCOMP_ADDFD_FLAG_SEND) {
			q->state = fd < 0 ? TAKEN : ANSWERED;
			q->result = fd;
		}
		gift_finish(l, g, fd);
	}
}

static bool is_called(struct seccomp_listener *l, const struct question *q)
{
	spin_lock(&l->lock);
	bool called = q->state == ANSWERED || !list_empty(&q->gifts);
	spin_unlock(&l->lock);
	return called;
}

// Waits once. True: there is a result. lock held at entry and return, not between.
static bool wait_once(struct seccomp_listener *l, struct question *q)
{
	bool killable = l->killable && q->state != ASKED;
	spin_unlock(&l->lock);
	int error =
		wait_event_mode(&q->wait, is_called(l, q), killable ? PARK_KILLABLE : PARK_INTERRUPTIBLE, PARK_FOREVER);
	spin_lock(&l->lock);
	take_gifts(l, q);
	if (q->state == ANSWERED)
		return true;
	if (!error || (l->killable && q->state != ASKED && !fatal_signal_pending(current)))
		return false;
	q->result = -ERESTARTSYS;
	return true;
}

bool seccomp_listener_ask(struct seccomp_listener *l, const struct seccomp_data *data, long *result)
{
	struct question q = { .data = data, .task = current, .result = -ENOSYS };
	waitq_init(&q.wait);
	list_init(&q.gifts);
	spin_lock(&l->lock);
	if (!l->closed) {
		q.id = ++l->last_id;
		list_add_tail(&l->questions, &q.node);
		waitq_wake_events(&l->wait, 0, EPOLLIN);
		while (!wait_once(l, &q))
			;
		list_remove(&q.node);
		while (!list_empty(&q.gifts)) {
			struct gift *g = list_first(&q.gifts, struct gift, node);
			list_remove(&g->node);
			gift_finish(l, g, -ESRCH);
		}
	}
	spin_unlock(&l->lock);
	*result = q.result;
	return q.go_on;
}

// ---- who answers ----

static struct question *find(struct seccomp_listener *l, uint64_t id)
{
	struct question *q;
	list_for_each (q, &l->questions, node)
		if (q->id == id)
			return q;
	return NULL;
}

// The question with that id that was taken and not answered; err_ptr. lock held.
static struct question *find_taken(struct seccomp_listener *l, uint64_t id)
{
	struct question *q = find(l, id);
	if (!q)
		return err_ptr(-ENOENT);
	return q->state == TAKEN ? q : err_ptr(-EINPROGRESS);
}

static void answer(struct question *q, long result, bool go_on)
{
	q->state = ANSWERED;
	q->result = result;
	q->go_on = go_on;
	waitq_wake_all(&q->wait);
}

static bool any_in(struct seccomp_listener *l, enum state state)
{
	struct question *q;
	list_for_each (q, &l->questions, node)
		if (q->state == state)
			return true;
	return false;
}

// Takes the next question. 0, -ENOENT (none will come), -EAGAIN (there is none yet).
static int take(struct seccomp_listener *l, struct seccomp_notif *out)
{
	struct question *q;
	int result = -EAGAIN;
	spin_lock(&l->lock);
	list_for_each (q, &l->questions, node) {
		if (q->state != ASKED)
			continue;
		q->state = TAKEN;
		*out = (struct seccomp_notif){ .id = q->id, .pid = (uint32_t)q->task->tid, .data = *q->data };
		waitq_wake_all(&l->wait); // it may be answered now
		waitq_wake_all(&q->wait); // and is perhaps waited for otherwise
		result = 0;
		break;
	}
	if (result && l->abandoned)
		result = -ENOENT;
	spin_unlock(&l->lock);
	return result;
}

static void put_back(struct seccomp_listener *l, uint64_t id)
{
	spin_lock(&l->lock);
	struct question *q = find(l, id);
	if (q && q->state == TAKEN)
		q->state = ASKED;
	spin_unlock(&l->lock);
	waitq_wake_events(&l->wait, 0, EPOLLIN);
}

static long receive(struct seccomp_listener *l, struct uptr user)
{
	static const struct seccomp_notif zeros;
	struct seccomp_notif n;
	int error = -EAGAIN;
	if (get_user(&n, user))
		return -EFAULT;
	if (memcmp(&n, &zeros, sizeof(n)) != 0)
		return -EINVAL; // fields of later versions
	if (wait_event_interruptible(&l->wait, (error = take(l, &n)) != -EAGAIN))
		return -ERESTARTSYS;
	if (error)
		return error;
	if (!put_user(n, user))
		return 0;
	put_back(l, n.id);
	return -EFAULT;
}

static long reply(struct seccomp_listener *l, struct uptr user)
{
	struct seccomp_notif_resp r;
	long result = 0;
	if (get_user(&r, user))
		return -EFAULT;
	bool go_on = r.flags & SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	if (r.flags & ~(uint32_t)SECCOMP_USER_NOTIF_FLAG_CONTINUE || (go_on && (r.error || r.val)))
		return -EINVAL;
	spin_lock(&l->lock);
	struct question *q = find_taken(l, r.id);
	if (is_err(q))
		result = ptr_err(q);
	else
		answer(q, r.error ? r.error : r.val, go_on);
	spin_unlock(&l->lock);
	return result;
}

static long id_valid(struct seccomp_listener *l, struct uptr user)
{
	uint64_t id;
	if (get_user(&id, user))
		return -EFAULT;
	spin_lock(&l->lock);
	bool valid = !is_err(find_taken(l, id));
	spin_unlock(&l->lock);
	return valid ? 0 : -ENOENT;
}

// ---- giving descriptors ----

static int give(struct seccomp_listener *l, uint64_t id, struct gift *g)
{
	int error = 0;
	spin_lock(&l->lock);
	struct question *q = find_taken(l, id);
	if (is_err(q)) {
		error = (int)ptr_err(q);
	} else if (g->flags & SECCOMP_ADDFD_FLAG_SEND && !list_empty(&q->gifts)) {
		error = -EBUSY; // those before it want to be seen first
	} else {
		list_add_tail(&q->gifts, &g->node);
		if (g->flags & SECCOMP_ADDFD_FLAG_SEND)
			q->state = ANSWERED; // or TAKEN again, if it cannot be installed
		waitq_wake_all(&q->wait);
	}
	spin_unlock(&l->lock);
	return error;
}

static bool gift_done(const struct gift *g) { return __atomic_load_n(&g->state, __ATOMIC_ACQUIRE) == DONE; }

static int wait_given(struct seccomp_listener *l, struct gift *g)
{
	if (wait_event_interruptible(&l->wait, gift_done(g))) {
		spin_lock(&l->lock);
		bool back = g->state == GIVEN;
		if (back)
			list_remove(&g->node);
		spin_unlock(&l->lock);
		if (back)
			return -ERESTARTSYS;
		wait_event(&l->wait, gift_done(g));
	}
	spin_lock(&l->lock); // who finished it has let go of it
	spin_unlock(&l->lock);
	return g->result;
}

static long add_descriptor(struct seccomp_listener *l, struct uptr user, size_t size)
{
	struct seccomp_notif_addfd a;
	if (size < sizeof(a) || size >= PAGE_SIZE)
		return -EINVAL;
	int error = copy_struct_from_user(&a, sizeof(a), user, size);
	if (error)
		return error;
	if (a.newfd_flags & ~(uint32_t)O_CLOEXEC ||
	    a.flags & ~(uint32_t)(SECCOMP_ADDFD_FLAG_SETFD | SECCOMP_ADDFD_FLAG_SEND) ||
	    (a.newfd && !(a.flags & SECCOMP_ADDFD_FLAG_SETFD)))
		return -EINVAL;
	struct gift g = { .flags = a.flags, .cloexec = a.newfd_flags & O_CLOEXEC, .fd = (int)a.newfd };
	g.file = fd_get((int)a.srcfd);
	if (!g.file)
		return -EBADF;
	error = give(l, a.id, &g);
	if (!error)
		error = wait_given(l, &g);
	file_put(g.file);
	return error;
}

// ---- the descriptor ----

static long listener_ioctl(struct file *f, unsigned command, uint64_t argument)
{
	struct seccomp_listener *l = f->private;
	struct uptr user = { argument };
	switch (command) {
	case SECCOMP_IOCTL_NOTIF_RECV: return receive(l, user);
	case SECCOMP_IOCTL_NOTIF_SEND: return reply(l, user);
	case SECCOMP_IOCTL_NOTIF_ID_VALID:
	case SECCOMP_IOR(2, __u64): return id_valid(l, user); // as it was numbered first
	}
	if ((command & ~(unsigned)IOCSIZE_MASK) == (SECCOMP_IOCTL_NOTIF_ADDFD & ~(unsigned)IOCSIZE_MASK))
		return add_descriptor(l, user, _IOC_SIZE(command));
	return -EINVAL;
}

static unsigned listener_poll(struct file *f, struct poll_table *t)
{
	struct seccomp_listener *l = f->private;
	poll_wait(t, f, &l->wait);
	spin_lock(&l->lock);
	unsigned events = (any_in(l, ASKED) ? EPOLLIN | EPOLLRDNORM : 0) |
			  (any_in(l, TAKEN) ? EPOLLOUT | EPOLLWRNORM : 0) | (l->abandoned ? EPOLLHUP : 0);
	spin_unlock(&l->lock);
	return events;
}

static void listener_put(struct seccomp_listener *l)
{
	if (refcount_put(&l->refs))
		kfree(l);
}

static void listener_release(struct file *f)
{
	struct seccomp_listener *l = f->private;
	struct question *q;
	spin_lock(&l->lock);
	l->closed = true;
	list_for_each (q, &l->questions, node)
		if (q->state != ANSWERED)
			answer(q, -ENOSYS, false);
	spin_unlock(&l->lock);
	listener_put(l);
}

static const struct file_ops listener_ops = {
	.release = listener_release,
	.ioctl = listener_ioctl,
	.poll = listener_poll,
	.stream = true,
};

// ---- coming and going ----

int seccomp_listener_create(bool killable, struct seccomp_listener **listener, struct file **file)
{
	struct seccomp_listener *l = kalloc(sizeof(*l));
	if (!l)
		return -ENOMEM;
	refcount_set(&l->refs, 1);
	spin_init(&l->lock);
	waitq_init(&l->wait);
	list_init(&l->questions);
	l->killable = killable;
	struct file *f = file_create_anonymous("anon_inode:seccomp notify", &listener_ops, l, O_RDWR, 0600);
	if (is_err(f)) {
		kfree(l);
		return (int)ptr_err(f);
	}
	refcount_get(&l->refs);
	*listener = l;
	*file = f;
	return 0;
}

void seccomp_listener_drop(struct seccomp_listener *l)
{
	spin_lock(&l->lock);
	l->abandoned = true;
	spin_unlock(&l->lock);
	waitq_wake_events(&l->wait, 0, EPOLLHUP);
	listener_put(l);
}
