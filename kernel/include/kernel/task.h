// SPDX-License-Identifier: Apache-2.0
// Tasks (threads) and processes (thread groups). Owner: kernel/proc/.
//
// A task names its shared parts by counted pointers, as clone(2) shares them. Parent, child, group and session relations of
// processes are guarded by tasklist_lock (a spinlock; fork, exit, wait and setpgid only; nothing in a fast path).
#pragma once

#include "kernel/cred.h"
#include "kernel/namespace.h"
#include "kernel/refcount.h"
#include "kernel/sched.h"
#include "kernel/signal.h"
#include "kernel/timer.h"
#include "kernel/types.h"
#include "kernel/waitq.h"

#include <linux/resource.h>

struct core_dump;
struct files;
struct uring_owner;
struct uring_poller;
struct fs_context;
struct mm;
struct namespaces;
struct pid;
struct seccomp_filter;
struct key;
struct tty;

// Bits of task->work: what must happen before the return to user mode, and what slows a system call's entry.
#define WORK_SIGNAL       0x01u // a signal may be deliverable
#define WORK_RESCHEDULE   0x02u
#define WORK_STOP         0x04u  // job control or ptrace stop
#define WORK_TRACE        0x08u  // --trace or ptrace: system calls are reported (stays set)
#define WORK_KILLED       0x10u  // a fatal signal was taken: exit
#define WORK_CALLBACK     0x20u  // task->callbacks (deferred fput and such)
#define WORK_RESTORE_MASK 0x40u  // saved_blocked is to be restored unless a handler runs
#define WORK_PTRACE       0x80u  // ptrace system-call stops
#define WORK_RSEQ         0x100u // was switched away from or moved: the scheduler sets it when rseq_area is not 0
#define WORK_REMOTE       0x200u // another task wants something of this address space: mm_serve()
#define WORK_SECCOMP      0x400u // its system calls are filtered (stays set)

struct restart_block { // restart_syscall(2)
	long (*fn)(struct restart_block *r);
	uint64_t arguments[5];
};

// Deferred work that runs in the task before it returns to user mode.
struct task_callback {
	struct task_callback *next;
	void (*fn)(struct task_callback *c);
};

struct io_usage { // of read(2), write(2) and their kin, whatever the file
	uint64_t bytes_read, bytes_written, reads, writes;
};
void io_usage_add(struct io_usage *to, const struct io_usage *more);

#define TASK_WAKES_MAX 6u

struct task {
	uint32_t work;  // atomic WORK_*; first field, the port reads it
	uint32_t flags; // TASK_*; own task only unless noted
	struct port_task *port;
	uint32_t spins, wake_count;      // task_head.spins, .wakes
	uint32_t *wakes[TASK_WAKES_MAX]; // state words of tasks made runnable under a spinlock; own task
	struct refcount refs;
	struct sched_entity sched;

	pid_t tid, own_tid; // in the first pid namespace, and in its own
	struct pid *pid;
	struct process *process;
	struct list thread_node; // process->threads; tasklist_lock
	char comm[16];

	struct mm *mm;       // NULL for kernel tasks; own task; others by task_mm_get()
	struct list mm_node; // mm->tasks; its remote_lock
	struct files *files;
	struct fs_context *fs;
	struct namespaces *namespaces; // own task; others by task_namespace_get()
	struct sighand *sighand;
	const struct cred *cred; // own task; others by task_cred_get()
	struct spinlock
		lock; // guards mm, files, fs, namespaces, cred pointers against readers in other tasks, and comm

	// signals: sighand->lock
	sigmask_t blocked, saved_blocked, real_blocked;
	struct sigpending pending;
	uint32_t jobctl; // JOBCTL_*
	uint64_t altstack_base, altstack_size;
	uint32_t altstack_flags;
	struct restart_block restart;

	// own task
	// Of a path, behind the name that is being looked up, and behind the symbolic link it is from; NULL. A hint for file systems.
	const char *walk_rest[2];
	bool walk_leaves_last; // but for the last name, which is not just looked up
	uint64_t clear_child_tid, set_child_tid;
	uint64_t robust_list, robust_list_size;
	uint64_t rseq_area;
	uint32_t rseq_cpu; // what the area says; the scheduler compares
	uint32_t rseq_size, rseq_signature;
	struct task_callback *callbacks; // atomic stack
	struct waitq *vfork_done;        // parent waits here until exec or exit
	int exit_signal;                 // to the parent when the thread group leader dies; -1 for threads
	int exit_code;                   // wait status
	uint64_t start_ns;
	uint64_t min_faults, maj_faults;
	struct io_usage io;                // racily read by others
	struct uring_owner *uring_owner;   // TASK_WORKER: whose requests it serves; a reference
	struct uring_poller *uring_poller; // TASK_WORKER: the ring it submits for; NULL
	struct file **uring_rings;         // IORING_REGISTER_RING_FDS; NULL: none. Own task
	int parent_death_signal;
	uint64_t timer_slack_ns;
	uint32_t personality;

	// kernel/proc/seccomp.c: sighand->lock to change
	struct seccomp_filter *seccomp_filter; // its newest; a reference
	struct key *thread_keyring;            // process->lock; kernel/keys
	uint8_t seccomp_mode;                  // SECCOMP_MODE_*
	bool tsync_no_new_privs;               // another thread's filters and no_new_privs were made its own

	// ptrace: tasklist_lock
	struct process *tracer;
	struct list tracee_node; // tracer->tracees
	uint32_t ptrace_options;
	uint32_t ptrace_state;
	int ptrace_stop_code; // of a stop the tracer has not waited for yet; sighand->lock
	int ptrace_signal;    // what the tracer lets it go on with
	bool ptrace_seized, ptrace_stepping;
	uint64_t ptrace_message;
	siginfo_t ptrace_info;
	siginfo_t *ptrace_siginfo; // of the present stop, or NULL; sighand->lock
	bool dead;                 // has left the scheduler's sight but for its last switch; tasklist_lock
	bool did_exec;             // setpgid() by the parent: EACCES
	uint64_t trap_address, trap_number, trap_error; // last fault, for signal frames
#if CLOISTER_DEBUG
	struct lock_stack locks_held; // where the port schedules; own task
#endif
};

// task->jobctl
#define JOBCTL_STOP_PENDING  0x01u // takes part in a group stop at the next chance
#define JOBCTL_STOPPED       0x02u // parked in a group stop
#define JOBCTL_TRACED        0x04u // parked in a ptrace stop
#define JOBCTL_TRAP_STOP     0x08u // PTRACE_INTERRUPT or a group stop of a seized task: report PTRACE_EVENT_STOP
#define JOBCTL_LISTENING     0x10u
#define JOBCTL_STOP_DEQUEUED 0x20u // took a stop signal and no SIGCONT came since

#define TASK_KERNEL         1u // no user mode
#define TASK_EXITING        2u
#define TASK_FORKED_NO_EXEC 4u
#define TASK_VFORKED        8u
#define TASK_IO_FLUSHER     16u
#define TASK_SERVING        32u  // runs a request of another task's (kernel/mm/remote.c), or must not: MM_RUN_SLEEPS
#define TASK_SERVING_ATOMIC 64u  // the same: MM_RUN_ATOMIC
#define TASK_NOWAIT         128u // files answer as if they were O_NONBLOCK: file_nonblock()
#define TASK_WORKER         256u // serves requests of its process and never runs the program: process_worker_create()

struct process {                 // what Linux calls a thread group
	struct refcount refs;    // its tasks, its children's look-ups, zombies not yet waited for
	pid_t pid, own_pid;      // in the first pid namespace, and in its own
	pid_t parent_pid;        // parent's as it sees it; atomic copy for getppid()
	struct task *leader;     // the thread whose tid is the pid, dead or alive; tasklist_lock
	struct sighand *sighand; // of all its threads; a reference
	struct list threads;     // changed under tasklist_lock and sighand->lock, read under either
	unsigned thread_count;   // that are not dead; same locks
	unsigned live_count;     // that have not begun to exit, TASK_WORKER not counted; sighand->lock
	struct list node;        // all processes; tasklist_lock

	// relations: tasklist_lock
	struct process *parent;
	struct task *maker; // the parent's thread that made it, or took it over; only compared
	struct list children, sibling;
	struct pid *pgrp, *session;
	struct list pgrp_node, session_node;
	struct tty *tty; // controlling terminal
	bool is_session_leader, is_subreaper, has_child_subreaper;
	bool is_inner_init;  // first of a pid namespace below the first
	bool unkillable;     // signals it does not handle pass it by; sighand->lock
	bool auto_reap;      // an orphan that fell to pid 1: nobody will wait for it
	bool zombie;         // all threads are gone, not yet waited for
	bool reaped;         // out of every list
	struct list tracees; // struct task.tracee_node

	// exit and wait; sighand lock of the group
	struct waitq child_wait; // parents wait here for their children
	bool exiting;            // a group exit runs (exit_code says with what)
	int exit_code;
	struct core_dump *core; // a core file is being written; kernel/proc/coredump.c
	bool core_abandoned;    // and not to be finished
	int stop_signal;
	bool stopped, continued,
		stop_reported; // stopped: every thread is; continued: WCONTINUED has something to report
	unsigned stop_count;   // threads that have not stopped yet
	uint8_t notify;        // CLD_CONTINUED or CLD_STOPPED to be told to the parent by the next thread that passes
	bool execing;
	struct task *exec_task; // the thread that execs, waits for the others to die

	struct sigpending pending; // shared queue; sighand->lock
	struct spinlock lock;      // guards rlimits, timers, usage
	struct rlimit64 rlimits[RLIM_NLIMITS];
	struct ktimer real_timer;
	uint64_t real_interval_ns;
	uint64_t virtual_left_ns, virtual_interval_ns, prof_left_ns, prof_interval_ns;
	struct list posix_timers; // lock
	uint64_t cpu_charged_ns;  // CPU time seen so far, at ticks or whenever somebody asked; atomic
	uint32_t cpu_timers;      // armed POSIX timers on CPU time; lock, read racily at ticks
	// Ports without ticks: kernel/sched/cputimer.c, lock.
	struct ktimer cpu_timer;                        // looks at the timers and limits on CPU time
	uint64_t cpu_timer_user_ns, cpu_timer_total_ns; // up to where they have counted
	uint8_t cpu_timer_rounds;                       // looks in vain
	bool timers_gone;                               // the process ends: nothing is armed any more
	// Ports that schedule: kernel/sched/cputime.c.
	bool borrows_mm;        // its tasks run in another process's memory (CLONE_VM), until exec
	uint64_t cpu_base_ns;   // used while it did
	uint64_t cpu_system_ns; // as the host says; atomic
	uint64_t cpu_user_seen_ns, cpu_system_seen_ns; // as shown last; sighand->lock
	int next_timer_id;
	// usage of dead threads, and of waited-for children
	uint64_t dead_user_ns, dead_system_ns, children_user_ns, children_system_ns;
	uint64_t dead_min_faults, dead_maj_faults, children_min_faults, children_maj_faults;
	uint64_t dead_voluntary, dead_involuntary, children_voluntary, children_involuntary, children_max_rss_pages,
		max_rss_pages;
	struct io_usage dead_io, children_io;
	struct uring_owner *uring_owners; // kernel/uring/worker.c; lock
	uint64_t start_ns;
	int oom_score_adjust;
	struct key *session_keyring, *process_keyring; // kernel/keys; lock
	int8_t request_key_ring;                       // KEY_REQKEY_DEFL_*; racy
	uint32_t login_uid, login_session; // of the login that began this, NO_LOGIN: none; racy. kernel/fs/proc/login.c
};
#define NO_LOGIN UINT32_MAX

#define current port_current()

extern struct spinlock tasklist_lock;
extern struct list process_list;     // every process; tasklist_lock
extern struct process *init_process; // pid 1; NULL before it is there and when it is gone; tasklist_lock

static inline void task_get(struct task *t) { refcount_get(&t->refs); }
void task_put(struct task *t); // last reference frees
static inline void task_work_set(struct task *t, uint32_t bits) { __atomic_or_fetch(&t->work, bits, __ATOMIC_SEQ_CST); }
static inline void task_work_clear(struct task *t, uint32_t bits)
{
	__atomic_and_fetch(&t->work, ~bits, __ATOMIC_SEQ_CST);
}
static inline bool task_work_test(const struct task *t, uint32_t bits)
{
	return __atomic_load_n(&t->work, __ATOMIC_ACQUIRE) & bits;
}
static inline bool signal_pending(struct task *t)
{
	return unlikely(task_work_test(t, WORK_SIGNAL | WORK_STOP | WORK_KILLED));
}
// prctl(2), PR_SET_NO_NEW_PRIVS; the current task.
static inline bool task_no_new_privs(const struct task *t) { return t->cred->no_new_privs || t->tsync_no_new_privs; }
bool fatal_signal_pending(struct task *t);
bool killed_task_waits(
	void); // is there a task that was killed and waits uninterruptibly? Any context, no spinlock held
void task_add_callback(struct task_callback *c); // current task

struct mm *task_mm_get(struct task *t);           // with a user reference (mm_release_user), or NULL
const struct cred *task_cred_get(struct task *t); // cred_put
struct files *task_files_get(struct task *t);     // files_put, or NULL
struct task *task_find(pid_t tid);                // with a reference, or NULL
struct process *process_find(pid_t pid);          // with a reference (process_put), or NULL
static inline void process_get(struct process *p) { refcount_get(&p->refs); }
void process_put(struct process *p);
uint64_t process_rlimit(struct process *p, unsigned resource); // soft limit

// A task without user mode, for the scheduler's kernel and idle tasks: everything but its port part and its scheduling entity.
// It belongs to kernel_process, owns no files and takes no signals. refs = 1.
void task_init_kernel(struct task *t, const char *name);
struct task *task_alloc_kernel(const char *name); // NULL
extern struct process kernel_process;
// Every process in order of its pid: the first one with pid >= `from`, with a reference; NULL past the end. The same for threads.
struct process *process_next(pid_t from);
int process_total(void); // processes of programs, zombies too; racy
struct task *process_thread_next(struct process *p, pid_t from);
char task_state_char(struct task *t); // R S D T t Z X, as /proc/PID/stat has it
void task_comm_get(struct task *t, char out[16]);
void task_comm_set(struct task *t, const char *name);
bool process_is_orphaned_group(
	struct pid *pgrp); // no member has a parent in the same session outside the group; tasklist_lock
// Accumulated times and counters of a process: live and dead threads, without waited-for children.
struct process_usage {
	uint64_t user_ns, system_ns, min_faults, maj_faults, voluntary, involuntary, max_rss_pages;
	struct io_usage io;
};
void process_usage_get(struct process *p, struct process_usage *out);
// May the current task look into `t` (ptrace, /proc/PID/mem)? 0, -EPERM.
int ptrace_may_access(struct task *t);

// A thread of the current process that runs fn(arg) in the kernel and never the program; it takes no signals but SIGKILL and SIGSTOP, which
// it looks at by task_worker_pause(). fn must not return but end by task_exit(). `owner` becomes its uring_owner. 0, -EAGAIN, -ENOMEM.
int process_worker_create(const char *name, void (*fn)(void *), void *arg, struct uring_owner *owner);
void task_worker_pause(void);                  // the worker's own: does what task->work asks for; may not return
_Noreturn void task_exit(int status);          // this thread; status as wait(2)
_Noreturn void process_exit_group(int status); // the whole thread group
void process_kill_all(void);                   // shutdown: everything but kernel tasks

// First process, from the boot record; -errno with a text of what failed.
struct boot_config;
int process_start_init(const struct boot_config *boot, char *why, size_t why_size);

// ---- process identifiers: one number, one object; pidfds and groups hold references ----
// Numbers are kept as the cell's first pid namespace has them; a program says and sees those of its own.
struct pid_namespace {
	struct namespace common;
	struct pid_namespace *parent; // a reference
	unsigned level;               // how many are above it
	struct process *init;         // whose end is the namespace's; tasklist_lock
	bool dying;                   // it has ended; tasklist_lock
	pid_t last;                   // number given out; pid.c
	struct pid_number *numbers[64];
};
extern struct pid_namespace pid_namespace_first;
struct pid {
	struct refcount refs;
	pid_t number;
	struct pid_namespace *space; // the innermost it is in, a reference; NULL: the cell's first
	struct pid_number *inner;    // its number there and in those between; pid.c
	struct task *task;           // NULL when gone; tasklist_lock
	struct list group, session;  // processes; tasklist_lock
	struct waitq exit_wait;      // pidfd poll
};
struct pid *pid_find(pid_t number); // with a reference, or NULL
void pid_put(struct pid *p);
struct pid *pidfd_get(int fd, bool *nonblock); // the pid behind a process descriptor, referenced; err_ptr: -EBADF
unsigned pid_count(void);
pid_t pid_number_in(const struct pid_namespace *n, const struct pid *p); // 0: it is not seen there
pid_t pid_shown_slow(pid_t number);
pid_t pid_meant_slow(pid_t number);
pid_t pid_meant_in(const struct pid_namespace *n, pid_t number);
pid_t pid_shown_in(const struct pid_namespace *n, pid_t number); // 0: it is not seen there
#define PID_NONE INT32_MAX                                       // nobody's number
static inline bool pid_is_first(void)
{
	const struct pid *p = current->pid;
	return likely(!p || !p->space);
}
// What the current task calls the process, thread, group or session that has this number in the first namespace (0: it does not see it),
// and which number there is what it calls so (PID_NONE: nobody's).
static inline pid_t pid_shown(pid_t number) { return pid_is_first() ? number : pid_shown_slow(number); }
static inline pid_t pid_meant(pid_t number) { return pid_is_first() ? number : pid_meant_slow(number); }
// Its numbers in `from` and all below, a tab before each, as /proc shows them: how much was written.
int pid_numbers_print(const struct pid *p, bool alive, const struct pid_namespace *from, char *buffer, size_t size);
struct pid_namespace *task_pid_namespace(const struct task *t);                                // borrowed
bool pid_namespace_is_below(const struct pid_namespace *n, const struct pid_namespace *above); // or the same
