// SPDX-License-Identifier: Apache-2.0
// The driver: runs many guest tests one after the other inside one cell (or natively) and reports each.
//
//     driver [--timeout SECONDS] PROGRAM...
//
// Standard output carries lines that tests/run reads:
//     @begin NAME
//     | a line the test printed
//     @end NAME exit|signal|timeout VALUE MILLISECONDS
// A test runs in a session of its own with /dev/null as its input; whatever it leaves running is killed after it.
#include "check.h"
#include <dirent.h>
#include <poll.h>
#include <sys/prctl.h>

static int timeout_s = 60;

struct output {
	char line[4000];
	size_t used;
};

static void say(const char *text, size_t size)
{
	while (size > 0) {
		ssize_t done = write(STDOUT_FILENO, text, size);
		if (done < 0 && errno != EINTR)
			_exit(3);
		if (done > 0) {
			text += done;
			size -= done;
		}
	}
}

__attribute__((format(printf, 1, 2))) static void say_format(const char *format, ...)
{
	char text[600];
	va_list arguments;
	int size;

	va_start(arguments, format);
	size = vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	say(text, size < (int)sizeof(text) ? size : (int)sizeof(text) - 1);
}

static void flush_line(struct output *o)
{
	if (o->used == 0)
		return;
	char text[sizeof(o->line) + 3] = "| ";
	memcpy(text + 2, o->line, o->used);
	text[o->used + 2] = '\n';
	say(text, o->used + 3);
	o->used = 0;
}

static void add_output(struct output *o, const char *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (data[i] == '\n' || o->used == sizeof(o->line))
			flush_line(o);
		if (data[i] != '\n')
			o->line[o->used++] = data[i];
	}
}

// Drains what is there; false when every writer has gone.
static bool drain(int fd, struct output *o)
{
	char data[4096];
	ssize_t got;

	while ((got = read(fd, data, sizeof(data))) > 0)
		add_output(o, data, got);
	return got < 0 && (errno == EAGAIN || errno == EINTR);
}

static void run_child(const char *program, int output)
{
	char *argv[] = { (char *)program, NULL };
	int null = open("/dev/null", O_RDONLY);

	setsid();
	dup2(null, STDIN_FILENO);
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	syscall(SYS_close_range, 3, ~0u, 0);
	signal(SIGPIPE, SIG_DFL);
	execv(program, argv);
	dprintf(STDERR_FILENO, "cannot run %s: %s\n", program, strerror(errno));
	_exit(127);
}

// Ends what a test has left: it reparented to this process.
static void kill_orphans(void)
{
	for (int round = 0; round < 50; round++) {
		DIR *directory = opendir("/proc");
		int found = 0;
		for (struct dirent *d; directory && (d = readdir(directory)) != NULL;) {
			char path[300], text[512] = "", *end, state;
			int pid = atoi(d->d_name), parent = 0;
			if (pid <= 0)
				continue;
			snprintf(path, sizeof(path), "/proc/%d/stat", pid);
			int fd = open(path, O_RDONLY | O_CLOEXEC);
			if (fd < 0)
				continue;
			ssize_t got = read(fd, text, sizeof(text) - 1);
			close(fd);
			end = got > 0 ? strrchr(text, ')') : NULL;
			if (end && sscanf(end, ") %c %d", &state, &parent) == 2 && parent == getpid()) {
				kill(pid, SIGKILL);
				found++;
			}
		}
		if (directory)
			closedir(directory);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (!found)
			return;
		usleep(5000);
	}
}

static void run(const char *program)
{
	const char *name = strrchr(program, '/') ? strrchr(program, '/') + 1 : program;
	int fds[2], status = 0;
	bool ended = false, timed_out = false;
	struct output output = { .used = 0 };
	int64_t start = check_now_ns();

	say_format("@begin %s\n", name);
	if (pipe2(fds, O_CLOEXEC) < 0)
		_exit(4);
	pid_t pid = fork();
	if (pid == 0)
		run_child(program, fds[1]);
	close(fds[1]);
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	while (!ended) {
		struct pollfd p = { .fd = fds[0], .events = POLLIN };
		poll(&p, 1, 20);
		if (p.revents && !drain(fds[0], &output))
			usleep(2000);
		if (pid > 0 && waitpid(pid, &status, WNOHANG) == pid)
			ended = true;
		if (!ended && check_now_ns() - start > timeout_s * INT64_C(1000000000)) {
			timed_out = ended = true;
			kill(-pid, SIGKILL);
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
		}
	}
	drain(fds[0], &output);
	flush_line(&output);
	close(fds[0]);
	kill(-pid, SIGKILL);
	kill_orphans();
	int ms = (check_now_ns() - start) / 1000000;
	if (timed_out)
		say_format("@end %s timeout %d %d\n", name, timeout_s, ms);
	else if (WIFSIGNALED(status))
		say_format("@end %s signal %d %d\n", name, WTERMSIG(status), ms);
	else
		say_format("@end %s exit %d %d\n", name, WEXITSTATUS(status), ms);
}

int main(int argc, char **argv)
{
	int first = 1;

	if (argc > 2 && strcmp(argv[1], "--timeout") == 0) {
		timeout_s = atoi(argv[2]);
		first = 3;
	}
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (int i = first; i < argc; i++)
		run(argv[i]);
	say_format("@done\n");
	return 0;
}
