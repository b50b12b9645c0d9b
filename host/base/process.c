// SPDX-License-Identifier: Apache-2.0
#include "base/process.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAID_MAX_BYTES 8192u
#define KEPT_MAX       128u

void process_reset_signals(void)
{
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static int compare_fds(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

void process_keep_only(const int *fds, unsigned count)
{
	int sorted[KEPT_MAX];
	unsigned next = 3, kept = 0;

	for (unsigned i = 0; i < count && kept < KEPT_MAX; i++)
		if (fds[i] >= 3)
			sorted[kept++] = fds[i];
	qsort(sorted, kept, sizeof(*sorted), compare_fds);
	for (unsigned i = 0; i < kept; i++) {
		if ((unsigned)sorted[i] > next)
			close_range(next, (unsigned)sorted[i] - 1, 0);
		next = (unsigned)sorted[i] + 1;
	}
	close_range(next, ~0u, 0);
}

static bool write_file(const char *path, const char *text)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

// ---- ids in a new user namespace (user_namespaces(7)) ----

// What the parent is, as the child can no longer ask.
struct origin {
	pid_t pid;
	uid_t uid;
	gid_t gid;
	int go[2];           // pipe, with a new user namespace: the parent has tried map_all()
	unsigned long flags; // CLONE_NEW*
};

static bool must_write(const char *path, const char *text)
{
	if (write_file(path, text))
		return true;
	fprintf(stderr, "cannot write %s: %s\n", path, strerror(errno));
	return false;
}

// The caller's ids mean themselves, all others are nobody.
static bool map_own(const struct origin *origin)
{
	char users[64], groups[64];

	snprintf(users, sizeof(users), "%u %u 1", origin->uid, origin->uid);
	snprintf(groups, sizeof(groups), "%u %u 1", origin->gid, origin->gid);
	return must_write("/proc/self/uid_map", users) && must_write("/proc/self/setgroups", "deny") &&
	       must_write("/proc/self/gid_map", groups);
}

// All ids of a map of ours, as themselves, for a child.
static bool map_same(pid_t pid, const char *name)
{
	cleanup_free char *ours = text_format("/proc/self/%s", name);
	cleanup_free char *theirs = text_format("/proc/%d/%s", pid, name);
	char text[4096];
	unsigned first, count;
	size_t used = 0;
	FILE *f = fopen(ours, "re");

	if (!f)
		return false;
	while (fscanf(f, "%u %*u %u", &first, &count) == 2 && used < sizeof(text) - 64)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%u %u %u\n", first, first, count);
	fclose(f);
	return used && write_file(theirs, text);
}

// Only root may: false otherwise, and nothing is written.
static bool map_all(pid_t pid) { return geteuid() == 0 && map_same(pid, "uid_map") && map_same(pid, "gid_map"); }

static bool map_ids(const struct origin *origin)
{
	char mapped = 0;

	close(origin->go[1]);
	if (read(origin->go[0], &mapped, 1) != 1)
		return false; // the parent is gone
	close(origin->go[0]);
	return mapped || map_own(origin);
}

// ---- starting ----

static _Noreturn void child(const struct process_spec *spec, const struct origin *origin, int error_fd, int null_fd)
{
	const bool user_namespace = origin->flags & CLONE_NEWUSER;

	process_reset_signals();
	setsid();
	dup2(null_fd, 0);
	dup2(error_fd, 1);
	dup2(error_fd, 2);
	if (user_namespace && !map_ids(origin))
		_exit(127);
	if (spec->prepare && !spec->prepare(spec->context, user_namespace))
		_exit(127);
	// After all changes of identity: they clear it.
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != origin->pid && getppid() != 0) // it died before that; in a new pid namespace parents are 0
		_exit(127);
	if (spec->run) {
		process_keep_only(spec->keep_fds, spec->keep_count);
		_exit(spec->run(spec->context, origin->flags));
	}
	for (unsigned i = 0; i < spec->keep_count; i++)
		fcntl(spec->keep_fds[i], F_SETFD, 0);
	execv(spec->argv[0], (char *const *)spec->argv);
	fprintf(stderr, "%s: %s\n", spec->argv[0], strerror(errno));
	_exit(127);
}

// As fork(), plus namespaces; glibc's clone() wants a stack, and we want a copy of this one. No threads here.
static long fork_into(unsigned long namespaces, int cgroup_fd)
{
	struct clone_args a = { .flags = namespaces | CLONE_INTO_CGROUP,
				.exit_signal = SIGCHLD,
				.cgroup = (unsigned)cgroup_fd };

	if (cgroup_fd > 0)
		return syscall(SYS_clone3, &a, sizeof(a));
	return syscall(SYS_clone, namespaces | SIGCHLD, NULL, NULL, NULL, NULL);
}

// Is that an answer of a host that does not make (so many) namespaces for the caller?
static bool is_refusal(int error)
{
	return error == EPERM || error == EACCES || error == ENOSPC || error == EUSERS || error == EINVAL ||
	       error == ENOSYS;
}

// The pid; -1 and errno.
static long fork_child(const struct process_spec *spec, int cgroup_fd, struct origin *origin, int error_fd, int null_fd)
{
	const bool root = geteuid() == 0;
	unsigned long tries[3];
	unsigned count = 0;
	long pid = -1;

	if (spec->namespaces && (!root || spec->user_namespace))
		tries[count++] = spec->namespaces | CLONE_NEWUSER;
	if (root || !spec->namespaces)
		tries[count++] = spec->namespaces;
	if (root && spec->namespaces && !spec->user_namespace)
		tries[count++] = spec->namespaces | CLONE_NEWUSER; // root of a container, most likely
	if (spec->optional && spec->namespaces)
		tries[count++] = 0;
	for (unsigned i = 0; i < count && pid < 0; i++) {
		origin->flags = tries[i];
		pid = fork_into(tries[i], cgroup_fd);
		if (pid == 0)
			child(spec, origin, error_fd, null_fd);
		if (pid < 0 && !is_refusal(errno) && cgroup_fd <= 0)
			break;
	}
	return pid;
}

bool process_start(struct process *p, const struct process_spec *spec, struct err *e)
{
	cleanup_close int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	cleanup_close int error_in = -1, error_out = -1, go_in = -1, go_out = -1;
	struct origin origin = { getpid(), geteuid(), getegid(), { -1, -1 }, 0 };
	int pipe_fds[2], error;
	char mapped;
	long pid;

	if (null_fd < 0 || pipe2(pipe_fds, O_CLOEXEC))
		return err_set(e, EXIT_USAGE, "cannot start %s: %s", p->what, strerror(errno));
	error_in = pipe_fds[0];
	error_out = pipe_fds[1];
	if (pipe2(origin.go, O_CLOEXEC))
		return err_set(e, EXIT_USAGE, "cannot start %s: %s", p->what, strerror(errno));
	go_in = origin.go[0];
	go_out = origin.go[1];
	pid = spec->cgroup_fd > 0 ? fork_child(spec, spec->cgroup_fd, &origin, error_out, null_fd) : -1;
	p->in_cgroup = pid > 0;
	if (pid < 0)
		pid = fork_child(spec, 0, &origin, error_out, null_fd);
	error = errno;
	if (pid < 0)
		return err_set(e, EXIT_USAGE, "cannot start %s: %s%s", p->what, strerror(error),
			       origin.flags & CLONE_NEWUSER
				       ? " (are user namespaces off? sysctl user.max_user_namespaces, "
					 "kernel.unprivileged_userns_clone)"
				       : "");
	if (origin.flags & CLONE_NEWUSER) {
		mapped = map_all((pid_t)pid);
		(void)!write(go_out, &mapped, 1); // a child that is gone will be noticed
	}
	fcntl(error_in, F_SETFL, O_NONBLOCK);
	p->pid = (pid_t)pid;
	p->namespaces = origin.flags;
	p->stderr_fd = take_fd(error_in);
	return true;
}

bool process_listen(struct process *p)
{
	char text[1024];
	ssize_t n;

	while (p->stderr_fd >= 0) {
		n = read(p->stderr_fd, text, sizeof(text));
		if (n > 0) {
			buffer_append(&p->said, text, (size_t)n);
			if (p->said.size > SAID_MAX_BYTES)
				buffer_consume(&p->said, p->said.size - SAID_MAX_BYTES);
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		close(p->stderr_fd);
		p->stderr_fd = -1;
	}
	return false;
}

bool process_reap(struct process *p)
{
	if (p->pid && waitpid(p->pid, &p->status, WNOHANG) == p->pid) {
		p->pid = 0;
		process_listen(p);
	}
	return !p->pid;
}

// Its standard error is a pipe that closes with it: that can be waited for.
void process_wait(struct process *p, int timeout_ms)
{
	struct timespec now, end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += timeout_ms / 1000;
	while (p->pid && process_listen(p)) {
		struct pollfd w = { .fd = p->stderr_fd, .events = POLLIN };

		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec >= end.tv_sec)
			return;
		poll(&w, 1, 1000);
	}
	while (p->pid && waitpid(p->pid, &p->status, 0) < 0 && errno == EINTR)
		;
	p->pid = 0;
}

void process_kill(struct process *p)
{
	if (p->pid) {
		kill(p->pid, SIGKILL);
		while (waitpid(p->pid, &p->status, 0) < 0 && errno == EINTR)
			;
		p->pid = 0;
	}
	if (p->stderr_fd >= 0)
		close(p->stderr_fd);
	p->stderr_fd = -1;
	buffer_fini(&p->said);
}

const char *process_last_words(const struct process *p)
{
	static char line[512];
	const char *text = p->said.data;
	size_t end = p->said.size, start;

	while (end && (text[end - 1] == '\n' || text[end - 1] == '\r'))
		end--;
	for (start = end; start && text[start - 1] != '\n'; start--)
		;
	if (start == end)
		return "it said nothing";
	snprintf(line, sizeof(line), "%.*s", (int)(end - start), text + start);
	return line;
}

const char *process_how_it_ended(const struct process *p)
{
	static char text[96];

	if (WIFSIGNALED(p->status))
		snprintf(text, sizeof(text), "by signal %d (%s)", WTERMSIG(p->status), strsignal(WTERMSIG(p->status)));
	else
		snprintf(text, sizeof(text), "with exit status %d", WEXITSTATUS(p->status));
	return text;
}
