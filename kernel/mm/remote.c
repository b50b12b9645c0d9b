// SPDX-License-Identifier: Apache-2.0
// Work in other address spaces, where only a task that runs in one can touch it (PORT_HOST).
//
// A request is queued on the mm and WORK_REMOTE set for one of its tasks, which serves it before its next return to user mode or in
// task_park(): in any park what is MM_RUN_ATOMIC, in interruptible and killable ones everything. Which task serves does not matter;
// one that leaves hands over, the last one to leave answers -ESRCH and takes the address space from the host (`active`). From then on,
// as before it was activated, there is nothing but the port's table of frames, which any task may change.
//
// No deadlock: who waits here serves others meanwhile, for it waits in task_park(). An atomic request takes nothing but
// unmap_lock, whose holders never wait for anybody, and may be asked for under mobj.vma_lock: the task that is to serve may itself
// be waiting for that lock. A sleeping request takes mm.lock and what is below it, so none of that may be held where it is served; whoever
// parks killably with such a lock sets TASK_SERVING meanwhile. Requests nest once: an atomic one may be served below a sleeping one.
//
// Lock order: mobj.vma_lock -> mm.unmap_lock -> mm.remote_lock -> what unparks a task.
#include "remote.h"

#include "internal.h"
#include "kernel/errno.h"
#include "kernel/sched.h"
#include "kernel/task.h"
#include "map.h"
#include "port/host.h"
#include "vma.h"

// So much private memory the host may free when its process ends, which is cheaper, and a moment after the parent knows of the end: limits
// on memory leave room for that.
#define ABANDON_PAGES_MAX ((UINT64_C(16) << 20) >> PAGE_SHIFT)

enum state { QUEUED, RUNNING, DONE, GONE };

struct request { // on the stack of who asks
	struct list node;
	void (*fn)(struct mm *mm, void *arg);
	void *arg;
	struct task *asker;
	enum mm_run how;
	enum state state; // remote_lock
};

// ---- asking ----

static bool can_serve_soon(const struct task *t, enum mm_run how)
{
	uint32_t state = __atomic_load_n(&t->sched.state, __ATOMIC_SEQ_CST);
	bool parked = state == SCHED_PARKING || state == SCHED_PARKED;
	return how == MM_RUN_ATOMIC || !parked ||
	       __atomic_load_n(&t->sched.park_mode, __ATOMIC_RELAXED) != PARK_UNINTERRUPTIBLE;
}

static void call_task(struct task *t, enum mm_run how)
{
	task_work_set(t, WORK_REMOTE);
	if (how == MM_RUN_ATOMIC)
		task_unpark(t); // even out of an uninterruptible wait
	sched_kick_task(t);
}

// Tells one task that can serve soon, or all of them. remote_lock held.
static void call_server(struct mm *mm, enum mm_run how)
{
	struct task *t;
	list_for_each (t, &mm->tasks, mm_node) {
		if (can_serve_soon(t, how)) {
			call_task(t, how);
			return;
		}
	}
	list_for_each (t, &mm->tasks, mm_node)
		call_task(t, how);
}

static enum state state_of(struct mm *mm, const struct request *r)
{
	spin_lock(&mm->remote_lock);
	enum state s = r->state;
	spin_unlock(&mm->remote_lock);
	return s;
}

// Takes the request back, if nobody has begun it.
static bool cancel(struct mm *mm, struct request *r)
{
	spin_lock(&mm->remote_lock);
	bool queued = r->state == QUEUED;
	if (queued)
		list_remove(&r->node);
	spin_unlock(&mm->remote_lock);
	return queued;
}

static int wait_for(struct mm *mm, struct request *r)
{
	enum park_mode mode = r->how == MM_RUN_ATOMIC ? PARK_UNINTERRUPTIBLE : PARK_KILLABLE;
	enum state s;
	int error = 0;
	for (;;) {
		task_prepare_park(mode);
		s = state_of(mm, r);
		if (s == DONE || s == GONE)
			break;
		if (error == -EINTR) {
			if (cancel(mm, r))
				break;
			mode = PARK_UNINTERRUPTIBLE; // it runs: its end is near
			error = 0;
			continue;
		}
		error = task_park(PARK_FOREVER);
	}
	task_finish_park();
	return s == DONE ? 0 : s == GONE ? -ESRCH : -EINTR;
}

int mm_run_in(struct mm *mm, void (*fn)(struct mm *mm, void *arg), void *arg, enum mm_run how)
{
	if (!PORT_HOST || port_aspace_is_current(mm->aspace)) {
		fn(mm, arg);
		return 0;
	}
	struct request r = { .fn = fn, .arg = arg, .asker = current, .how = how };
	spin_lock(&mm->remote_lock);
	bool active = mm->active;
	if (active) {
		list_add_tail(&mm->requests, &r.node);
		call_server(mm, how);
	}
	spin_unlock(&mm->remote_lock);
	return active ? wait_for(mm, &r) : -ESRCH;
}

// ---- serving ----

static struct request *next_request(struct mm *mm, bool all)
{
	struct request *r;
	list_for_each (r, &mm->requests, node)
		if (all || r->how == MM_RUN_ATOMIC)
			return r;
	return NULL;
}

// The next request to serve, taken off the list; NULL: there is none, and WORK_REMOTE is off if none is left at all.
static struct request *take_request(struct mm *mm, bool all)
{
	spin_lock(&mm->remote_lock);
	struct request *r = next_request(mm, all);
	if (r) {
		list_remove(&r->node);
		r->state = RUNNING;
	} else if (list_empty(&mm->requests)) {
		task_work_clear(current, WORK_REMOTE);
	}
	spin_unlock(&mm->remote_lock);
	return r;
}

// Under the lock: the asker may be gone with the request as soon as it sees the state.
static void finish_locked(struct request *r, enum state s)
{
	r->state = s;
	task_unpark(r->asker);
}

static void serve(struct mm *mm, bool all)
{
	struct task *t = current;
	struct request *r;
	while ((r = take_request(mm, all))) {
		uint32_t flag = r->how == MM_RUN_ATOMIC ? TASK_SERVING_ATOMIC : TASK_SERVING;
		t->flags |= flag;
		r->fn(mm, r->arg);
		t->flags &= ~flag;
		spin_lock(&mm->remote_lock);
		finish_locked(r, DONE);
		spin_unlock(&mm->remote_lock);
	}
}

// The address space the current task may serve for; NULL: it has left it, or not entered the next one.
static struct mm *served_mm(void)
{
	struct mm *mm = current->mm;
	if (PORT_HOST && mm && !list_empty(&current->mm_node) && port_aspace_is_current(mm->aspace))
		return mm;
	task_work_clear(current, WORK_REMOTE);
	return NULL;
}

void mm_serve(void)
{
	struct mm *mm = served_mm();
	if (mm)
		serve(mm, true);
}

bool mm_serve_parked(void)
{
	struct task *t = current;
	bool all = t->sched.park_mode != PARK_UNINTERRUPTIBLE && !(t->flags & TASK_SERVING);
	if (t->flags & TASK_SERVING_ATOMIC)
		return false;
	struct mm *mm = served_mm();
	if (!mm)
		return false;
	spin_lock(&mm->remote_lock);
	bool any = next_request(mm, all);
	spin_unlock(&mm->remote_lock);
	if (!any)
		return false;
	task_finish_park(); // what is served may park
	serve(mm, all);
	return true;
}

// ---- coming and going ----

void remote_init(struct mm *mm)
{
	spin_init(&mm->remote_lock);
	list_init(&mm->tasks);
	list_init(&mm->requests);
}

void remote_activate(struct mm *mm)
{
	spin_lock(&mm->remote_lock);
	mm->active = true;
	spin_unlock(&mm->remote_lock);
}

static void close_locked(struct mm *mm)
{
	mm->active = false;
	while (!list_empty(&mm->requests)) {
		struct request *r = list_first(&mm->requests, struct request, node);
		list_remove(&r->node);
		finish_locked(r, GONE);
	}
}

void remote_close(struct mm *mm)
{
	spin_lock(&mm->remote_lock);
	close_locked(mm);
	spin_unlock(&mm->remote_lock);
}

void mm_enter(struct mm *mm, struct task *t)
{
	spin_lock(&mm->remote_lock);
	list_add_tail(&mm->tasks, &t->mm_node);
	if (!list_empty(&mm->requests))
		task_work_set(t, WORK_REMOTE);
	spin_unlock(&mm->remote_lock);
}

void mm_leave(struct mm *mm, struct task *t)
{
	mutex_lock(&mm->unmap_lock); // whoever takes frames out of the table directly sees `active` under it
	spin_lock(&mm->remote_lock);
	list_remove(&t->mm_node);
	bool last = list_empty(&mm->tasks);
	if (last)
		close_locked(mm);
	else if (!list_empty(&mm->requests)) // they may have been for us
		call_server(mm, next_request(mm, false) ? MM_RUN_ATOMIC : MM_RUN_SLEEPS);
	spin_unlock(&mm->remote_lock);
	if (last && mm->data_pages + mm->stack_pages > ABANDON_PAGES_MAX)
		port_aspace_activate(NULL);
	else if (last)
		port_aspace_abandon();
	mutex_unlock(&mm->unmap_lock);
}

// ---- taking frames away ----

struct unmapping {
	void (*fn)(struct mm *mm, void *arg);
	void *arg;
};

static void unmap_here(struct mm *mm, void *arg)
{
	struct unmapping *u = arg;
	mutex_lock(&mm->unmap_lock);
	u->fn(mm, u->arg);
	mutex_unlock(&mm->unmap_lock);
}

void remote_unmap(struct mm *mm, void (*fn)(struct mm *mm, void *arg), void *arg)
{
	struct unmapping u = { .fn = fn, .arg = arg };
	while (mm_run_in(mm, unmap_here, &u, MM_RUN_ATOMIC)) {
		// Nobody runs in it: only the table needs to change, unless it comes to life just now.
		mutex_lock(&mm->unmap_lock);
		bool active = mm->active;
		if (!active)
			fn(mm, arg);
		mutex_unlock(&mm->unmap_lock);
		if (!active)
			return;
	}
}

// ---- reading and writing ----

struct access {
	uint64_t address;
	char *buffer;
	size_t size, done;
	bool write, forced;
};

// Bytes moved within what the mappings allow, as a system call of the program's would.
static size_t move(struct access *a, uint64_t address, char *buffer, size_t size)
{
	return size - (a->write ? port_copy_out(address, buffer, size) : port_copy_in(buffer, address, size));
}

// The same where the protection forbids it: lifted for the moment, under the write lock. At most to the end of a page.
static size_t move_forced(struct mm *mm, struct access *a, uint64_t address, char *buffer, size_t size)
{
	size_t done = 0;
	uint64_t page = align_down(address, PAGE_SIZE);
	rwsem_write_lock(&mm->lock);
	struct vma *v = mm_find(mm, address);
	if (v && address >= v->start && mm_may_access(v, a->write, true) && !mm_prepare_forced(mm, v, page, a->write)) {
		unsigned prot = v->flags & 7, lifted = prot | PORT_PROT_READ | (a->write ? PORT_PROT_WRITE : 0);
		port_aspace_protect(mm->aspace, page, page + PAGE_SIZE, lifted, false, NULL, NULL);
		done = move(a, address, buffer, size);
		port_aspace_protect(mm->aspace, page, page + PAGE_SIZE, prot, false, NULL, NULL);
	}
	rwsem_write_unlock(&mm->lock);
	return done;
}

static void access_here(struct mm *mm, void *arg)
{
	struct access *a = arg;
	while (a->done < a->size) {
		uint64_t at = a->address + a->done;
		size_t n = min((size_t)(PAGE_SIZE - (at & ~PAGE_MASK)), a->size - a->done);
		size_t moved = move(a, at, a->buffer + a->done, n);
		if (moved < n && a->forced)
			moved = move_forced(mm, a, at, a->buffer + a->done, n);
		a->done += moved;
		if (moved < n)
			break;
	}
}

size_t remote_access(struct mm *mm, uint64_t address, void *buffer, size_t size, bool write, bool forced)
{
	struct access a = { .address = address, .buffer = buffer, .size = size, .write = write, .forced = forced };
	return mm_run_in(mm, access_here, &a, MM_RUN_SLEEPS) ? 0 : a.done;
}
