// SPDX-License-Identifier: Apache-2.0
// IORING_SETUP_SQPOLL: a thread of the process that takes what the program submits, without a call.
//
// It looks again and again, at first at once, then after short sleeps, so that it leaves the CPU to the program; when nothing came for the
// idle time it says IORING_SQ_NEED_WAKEUP and sleeps. It is a worker like others (worker.c) and ends with the ring's file.
#include "internal.h"

#include "kernel/sched.h"
#include "kernel/timespec.h"
#include "kernel/uring.h"
#include "lib/fmt.h"

#define IDLE_DEFAULT_MS 1000u
#define SPIN_NS         (50 * (uint64_t)NSEC_PER_USEC)
#define NAP_NS          (100 * (uint64_t)NSEC_PER_USEC)

struct uring_poller {
	struct refcount refs; // the ring's, the thread's
	struct uring *ring;   // lives as long as the thread: a reference of its own
	struct uring_owner *owner;
	uint64_t idle_ns;
	struct waitq wait; // the thread; and, for room, programs
	bool stop;         // atomic
	bool woken;        // atomic
	bool gone;         // the thread; atomic
};

static bool has_entries(const struct uring *u)
{
	return !__atomic_load_n(&u->disabled, __ATOMIC_ACQUIRE) &&
	       __atomic_load_n(&uring_shared_of(u)->sq_tail, __ATOMIC_ACQUIRE) !=
		       __atomic_load_n(&u->sq_head, __ATOMIC_RELAXED);
}

static bool stopped(const struct uring_poller *p)
{
	return __atomic_load_n(&p->stop, __ATOMIC_ACQUIRE) || fatal_signal_pending(current);
}

// True: there was something to do.
static bool work(struct uring_poller *p)
{
	struct uring *u = p->ring;
	bool any = uring_run_ready(u, p->owner);
	uint32_t taken;

	if (!has_entries(u))
		return any;
	mutex_lock(&u->submit_lock);
	taken = uring_submit(u, p->owner, UINT32_MAX);
	mutex_unlock(&u->submit_lock);
	if (taken)
		waitq_wake_all(&p->wait); // there is room
	return any || taken;              // with too many under way nothing is taken
}

static void set_flag(struct uring *u, bool on)
{
	spin_lock(&u->spin);
	uring_sq_flag(u, IORING_SQ_NEED_WAKEUP, on); // before the tail is looked at again
	spin_unlock(&u->spin);
}

static void sleep_until_woken(struct uring_poller *p)
{
	set_flag(p->ring, true);
	(void)wait_event_interruptible(&p->wait, __atomic_load_n(&p->woken, __ATOMIC_ACQUIRE) || has_entries(p->ring) ||
							 stopped(p));
	__atomic_store_n(&p->woken, false, __ATOMIC_RELAXED);
	set_flag(p->ring, false);
}

// Nobody wakes us for entries, and those that cannot be taken yet are no reason to look sooner.
static void look_again(struct uring_poller *p, uint64_t idle_ns)
{
	if (idle_ns < SPIN_NS) {
		port_cpu_relax();
	} else {
		(void)wait_event_deadline(&p->wait, stopped(p), deadline_after(NAP_NS));
	}
}

static void poller_main(void *arg)
{
	struct uring_poller *p = arg;
	uint64_t last = clock_monotonic_ns(), idle;

	current->uring_poller = p;
	while (!stopped(p)) {
		if (task_work_test(current, ~(uint32_t)WORK_TRACE))
			task_worker_pause();
		sched_preempt_point(); // a tail that makes no sense is work without end
		if (work(p)) {
			last = clock_monotonic_ns();
			continue;
		}
		idle = clock_monotonic_ns() - last;
		if (idle < p->idle_ns) {
			look_again(p, idle);
		} else {
			sleep_until_woken(p);
			last = clock_monotonic_ns();
		}
	}
	task_exit(0);
}

// ---- for others ----

static void put(struct uring_poller *p)
{
	if (!refcount_put(&p->refs))
		return;
	uring_owner_put(p->owner);
	kfree(p);
}

void uring_poller_exit(struct task *t)
{
	struct uring_poller *p = t->uring_poller;

	t->uring_poller = NULL;
	__atomic_store_n(&p->gone, true, __ATOMIC_RELEASE);
	waitq_wake_all(&p->wait);
	uring_put(p->ring);
	put(p);
}

int uring_poller_start(struct uring *u, const struct io_uring_params *params)
{
	struct uring_poller *p;
	char name[16];
	int error;

	if (params->flags & IORING_SETUP_SQ_AFF && params->sq_thread_cpu >= port_cpu_count())
		return -EINVAL;
	p = kalloc(sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->owner = uring_owner_get();
	if (!p->owner) {
		kfree(p);
		return -ENOMEM;
	}
	refcount_set(&p->refs, 2);
	refcount_get(&u->refs);
	refcount_get(&p->owner->refs); // the thread's
	p->ring = u;
	p->idle_ns = (uint64_t)(params->sq_thread_idle ? params->sq_thread_idle : IDLE_DEFAULT_MS) * NSEC_PER_MSEC;
	waitq_init(&p->wait);
	fmt_print(name, sizeof(name), "iou-sqp-%d", current->process->pid);
	u->poller = p;
	error = process_worker_create(name, poller_main, p, p->owner);
	if (!error)
		return 0;
	u->poller = NULL;
	uring_owner_put(p->owner);
	uring_put(u);
	refcount_set(&p->refs, 1);
	put(p);
	return error;
}

void uring_poller_stop(struct uring *u)
{
	struct uring_poller *p = u->poller;

	if (!p)
		return;
	__atomic_store_n(&p->stop, true, __ATOMIC_RELEASE);
	waitq_wake_all(&p->wait);
	u->poller = NULL;
	put(p);
}

static bool has_room(const struct uring *u)
{
	uint32_t head = __atomic_load_n(&u->sq_head, __ATOMIC_RELAXED);

	return __atomic_load_n(&uring_shared_of(u)->sq_tail, __ATOMIC_ACQUIRE) - head < u->sq_entries;
}

long uring_poller_enter(struct uring *u, uint32_t flags, uint32_t count)
{
	struct uring_poller *p = u->poller;

	if (__atomic_load_n(&p->gone, __ATOMIC_ACQUIRE))
		return -EOWNERDEAD;
	if (flags & IORING_ENTER_SQ_WAKEUP) {
		__atomic_store_n(&p->woken, true, __ATOMIC_RELEASE);
		waitq_wake_all(&p->wait);
	}
	if (flags & IORING_ENTER_SQ_WAIT && wait_event_interruptible(&p->wait, has_room(u) || p->gone))
		return -EINTR;
	return count;
}
