// SPDX-License-Identifier: Apache-2.0
#include "base/process.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAID_MAX_BYTES 8192u

static void reset_signals(void)
{
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool write_file(const char *path, const char *text)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text))
		return true;
	fprintf(stderr, "cannot write %s: %s\n", path, strerror(errno));
	return false;
}

// In a new user namespace: the caller's ids mean themselves, all others are nobody (user_namespaces(7)).
static bool map_ids(uid_t uid, gid_t gid)
{
	char users[64], groups[64];

	snprintf(users, sizeof(users), "%u %u 1", uid, uid);
	snprintf(groups, sizeof(groups), "%u %u 1", gid, gid);
	return write_file("/proc/self/uid_map", users) && write_file("/proc/self/setgroups", "deny") &&
	       write_file("/proc/self/gid_map", groups);
}

// What the parent is, as the child can no longer ask.
struct origin {
	pid_t pid;
	uid_t uid;
	gid_t gid;
	bool user_namespace; // the child has a new one
};

static _Noreturn void child(const struct process_spec *spec, const struct origin *origin, int error_fd, int null_fd)
{
	reset_signals();
	setsid();
	dup2(null_fd, 0);
	dup2(error_fd, 1);
	dup2(error_fd, 2);
	if (origin->user_namespace && !map_ids(origin->uid, origin->gid))
		_exit(127);
	if (spec->prepare && !spec->prepare(spec->context, origin->user_namespace))
		_exit(127);
	for (unsigned i = 0; i < spec->keep_count; i++)
		fcntl(spec->keep_fds[i], F_SETFD, 0);
	// After all changes of identity: they clear it.
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != origin->pid && getppid() != 0) // it died before that; in a new pid namespace parents are 0
		_exit(127);
	execv(spec->argv[0], (char *const *)spec->argv);
	fprintf(stderr, "%s: %s\n", spec->argv[0], strerror(errno));
	_exit(127);
}

// As fork(), plus namespaces; glibc's clone() wants a stack, and we want a copy of this one. No threads here.
static long fork_into(unsigned long namespaces)
{
	return syscall(SYS_clone, namespaces | SIGCHLD, NULL, NULL, NULL, NULL);
}

bool process_start(struct process *p, const struct process_spec *spec, struct err *e)
{
	cleanup_close int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct origin origin = { getpid(), geteuid(), getegid(), spec->namespaces && geteuid() != 0 };
	int pipe_fds[2], error;
	long pid;

	if (null_fd < 0 || pipe2(pipe_fds, O_CLOEXEC))
		return err_set(e, EXIT_USAGE, "cannot start %s: %s", p->what, strerror(errno));
	pid = fork_into(spec->namespaces | (origin.user_namespace ? CLONE_NEWUSER : 0));
	if (pid < 0 && errno == EPERM && spec->namespaces && !origin.user_namespace) {
		// Root without the right to make namespaces: in a container, most likely.
		origin.user_namespace = true;
		pid = fork_into(spec->namespaces | CLONE_NEWUSER);
	}
	error = errno;
	if (pid == 0)
		child(spec, &origin, pipe_fds[1], null_fd);
	close(pipe_fds[1]);
	if (pid < 0) {
		close(pipe_fds[0]);
		return err_set(e, EXIT_USAGE, "cannot start %s: %s%s", p->what, strerror(error),
			       origin.user_namespace ? " (are user namespaces off? sysctl user.max_user_namespaces, "
						       "kernel.unprivileged_userns_clone)"
						     : "");
	}
	fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK);
	p->pid = (pid_t)pid;
	p->stderr_fd = pipe_fds[0];
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
