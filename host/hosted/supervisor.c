// SPDX-License-Identifier: Apache-2.0
// Sources: pid_namespaces(7), wait(2), PR_SET_PDEATHSIG and PR_SET_CHILD_SUBREAPER in prctl(2).
#include "hosted/supervisor.h"

#include "abi/control.h"
#include "base/process.h"
#include "base/tree.h"
#include "broker/broker.h"
#include "hosted/cgroup.h"
#include "hosted/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

// A broker that exits well does so because the cell is gone, which we may hear of later.
#define BROKER_PATIENCE_MS 300
#define TASKS_MIN          UINT64_C(4096)
#define TASK_BYTES         UINT64_C(65536) // of the cell's memory there is at most one task for so many

struct state {
	struct supervisor *s;
	unsigned long namespaces;
	pid_t self, broker, kernel;
	int broker_channels[HOSTED_CHANNELS_MAX], broker_events;
	bool broker_gone;
	int broker_status;
};

static int end(struct state *st, enum supervisor_end how, int status)
{
	st->s->report->status = status;
	st->s->report->end = how;
	return how == SUPERVISOR_CELL ? WEXITSTATUS(status) : 1;
}

// ---- starting ----

static bool make_channels(struct state *st)
{
	struct loader_spec *l = st->s->loader;
	int pair[2];

	l->channel_count = l->cpu_count < 2                     ? 2
			   : l->cpu_count > HOSTED_CHANNELS_MAX ? HOSTED_CHANNELS_MAX
								: l->cpu_count;
	for (unsigned i = 0; i <= l->channel_count; i++) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
			fprintf(stderr, "cannot make a socket pair: %s\n", strerror(errno));
			return false;
		}
		*(i < l->channel_count ? &l->channels[i] : &l->events) = pair[0];
		*(i < l->channel_count ? &st->broker_channels[i] : &st->broker_events) = pair[1];
	}
	return true;
}

// Their actions are the default ones (process.h).
static void unblock_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void be_broker(const struct state *st)
{
	const struct cell *c = st->s->cell;
	// Some hosts make the namespace and give no right to mount in it.
	const bool private_mounts = (st->namespaces & CLONE_NEWNS) && tree_propagate(MS_SLAVE);
	struct broker_root roots[CELL_MOUNTS_MAX];
	struct broker_spec spec = {
		.roots = roots,
		.channels = st->broker_channels,
		.channel_count = st->s->loader->channel_count,
		.events = st->broker_events,
	};
	struct err e = { 0 };
	bool ok = true;

	munmap(st->s->report, sizeof(*st->s->report));
	unblock_signals();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != st->self)
		_exit(1);
	for (size_t i = 0; ok && i < c->mount_count; i++) {
		const struct cell_mount *m = &c->mounts[i];

		if (!m->source)
			continue;
		roots[spec.root_count] = (struct broker_root){
			.grant = spec.root_count,
			.read_only = m->read_only,
			.hide_system = m->mask_system,
		};
		ok = broker_root_open(&roots[spec.root_count++], m->source, private_mounts, &e);
	}
	if (ok && private_mounts)
		ok = broker_roots_cover(roots, spec.root_count, &e);
	if (ok && private_mounts)
		broker_enclose(&spec);
	if (!ok) {
		fprintf(stderr, "%s\n", e.text);
		_exit(e.exit_status);
	}
	broker_main(&spec);
}

uint64_t supervisor_tasks_max(const struct loader_spec *l)
{
	uint64_t tasks = l->arena_bytes / TASK_BYTES;

	return tasks > TASKS_MIN ? tasks : TASKS_MIN;
}

// The cell's own masks are within the host's (hosted_handoff.cpus).
static void keep_to_cpus(const struct loader_spec *l)
{
	unsigned last = l->cpus[l->cpu_count - 1];
	cpu_set_t *set = CPU_ALLOC(last + 1);

	if (!set)
		return;
	CPU_ZERO_S(CPU_ALLOC_SIZE(last + 1), set);
	for (unsigned i = 0; i < l->cpu_count; i++)
		CPU_SET_S(l->cpus[i], CPU_ALLOC_SIZE(last + 1), set);
	sched_setaffinity(0, CPU_ALLOC_SIZE(last + 1), set);
	CPU_FREE(set);
}

static _Noreturn void be_kernel(const struct state *st)
{
	const struct loader_spec *l = st->s->loader;

	munmap(st->s->report, sizeof(*st->s->report));
	keep_to_cpus(l);
	if (!confine_cell(st->self, st->namespaces, supervisor_tasks_max(l)))
		_exit(LOADER_FAILED);
	loader_enter(l);
}

static bool start(struct state *st)
{
	if (!make_channels(st))
		return false;
	st->broker = fork();
	if (!st->broker)
		be_broker(st);
	st->kernel = st->broker < 0 ? -1 : fork();
	if (!st->kernel)
		be_kernel(st);
	if (st->kernel < 0) {
		fprintf(stderr, "cannot start the cell's processes: %s\n", strerror(errno));
		return false;
	}
	st->s->report->kernel = st->kernel;
	setpgid(st->kernel, st->kernel); // as it does itself: whoever is first
	return true;
}

// Without a pid namespace, whose first process takes all others with it.
static void end_all(const struct state *st)
{
	if (st->namespaces & CLONE_NEWPID)
		return;
	if (st->kernel > 0)
		kill(-st->kernel, SIGKILL);
	if (st->broker > 0 && !st->broker_gone)
		kill(st->broker, SIGKILL);
	while (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR)
		;
}

// ---- watching ----
//
// The cell's processes come and go: the supervisor sleeps in waitpid(2), one call an exit. All else comes as a signal, whose handler
// ends everything itself, so that none can come between a look and a sleep.

static struct state *watched;

static _Noreturn void end_by_signal(enum supervisor_end how, int status)
{
	end(watched, how, status);
	end_all(watched);
	_exit(1);
}

// Standard error is a pipe that the launcher reads: its end tells of the launcher's, whatever became of the death signal. SIGIO comes
// when the launcher has read, too.
static bool launcher_is_gone(void)
{
	struct pollfd p = { .fd = STDERR_FILENO };

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP | POLLNVAL));
}

static void on_signal(int signal)
{
	const int error = errno;

	if (signal == SIGALRM)
		end_by_signal(SUPERVISOR_BROKER, watched->broker_status);
	if (signal == SIGTERM || launcher_is_gone())
		end_by_signal(SUPERVISOR_TOLD, 0);
	errno = error;
}

static void listen_for(struct state *st)
{
	static const int signals[] = { SIGTERM, SIGIO, SIGALRM };
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	sigset_t set;

	watched = st;
	sigemptyset(&set);
	sigfillset(&action.sa_mask);
	for (unsigned i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		sigaction(signals[i], &action, NULL);
		sigaddset(&set, signals[i]);
	}
	fcntl(STDERR_FILENO, F_SETOWN, st->self);
	fcntl(STDERR_FILENO, F_SETFL, fcntl(STDERR_FILENO, F_GETFL) | O_ASYNC);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	if (launcher_is_gone()) // before that
		end_by_signal(SUPERVISOR_TOLD, 0);
}

static void broker_ended(struct state *st, int status)
{
	static const struct itimerval patience = { .it_value.tv_usec = BROKER_PATIENCE_MS * 1000 };

	st->broker_gone = true;
	st->broker_status = status;
	if (!status)
		setitimer(ITIMER_REAL, &patience, NULL);
}

// A broker that was killed is the reason for whatever else ended.
static bool broker_failed(struct state *st)
{
	int status;

	if (!st->broker_gone && waitpid(st->broker, &status, WNOHANG) == st->broker)
		broker_ended(st, status);
	return st->broker_gone && st->broker_status;
}

static int watch(struct state *st)
{
	int status;
	pid_t pid;

	for (;;) {
		pid = waitpid(-1, &status, __WALL);
		if (pid < 0 && errno == EINTR)
			continue;
		if (pid < 0)
			return end(st, SUPERVISOR_FAILED, 0);
		if (pid == st->broker)
			broker_ended(st, status);
		else if (!WIFSIGNALED(status) && !WEXITSTATUS(status) && pid != st->kernel)
			continue;
		if (broker_failed(st))
			return end(st, SUPERVISOR_BROKER, st->broker_status);
		if (pid != st->broker)
			return end(st, WIFSIGNALED(status) ? SUPERVISOR_KILLED : SUPERVISOR_CELL, status);
	}
}

int supervisor_run(void *supervisor, unsigned long namespaces)
{
	struct state st = { .s = supervisor, .namespaces = namespaces, .self = getpid() };
	sigset_t all;
	int result;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	if (!cgroup_join(st.s->cgroup)) {
		fprintf(stderr, "cannot join the cell's control group: %s\n", strerror(errno));
		return end(&st, SUPERVISOR_FAILED, 0);
	}
	for (int i = 0; i < CGROUP_CONTROLLERS; i++)
		if (st.s->cgroup->fds[i] >= 0)
			close(st.s->cgroup->fds[i]);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (namespaces & CLONE_NEWPID)
		st.s->loader->flags |= HOSTED_FLAG_NAMESPACES;
	else
		prctl(PR_SET_PDEATHSIG, SIGTERM); // it must end the others first
	if (!start(&st)) {
		result = end(&st, SUPERVISOR_FAILED, 0);
	} else {
		process_keep_only(NULL, 0);
		confine_capabilities(UINT64_C(1) << CAP_KILL);
		listen_for(&st);
		result = watch(&st);
	}
	end_all(&st);
	return result;
}
