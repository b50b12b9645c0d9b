// SPDX-License-Identifier: Apache-2.0
// Do memfd seals, pidfds and inotify work?
#include "check.h"
#include <poll.h>
#include <sys/inotify.h>

static void memfd_and_seals(void)
{
	int fd = CHECK_OK(memfd_create("name", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	char path[64], target[64] = "";

	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK(readlink(path, target, sizeof(target) - 1) > 0);
	CHECK_STR(target, "/memfd:name (deleted)");
	CHECK_EQ(write(fd, "content", 7), 7);
	CHECK_EQ(fcntl(fd, F_GET_SEALS), 0);
	CHECK_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	CHECK_ERR(ftruncate(fd, 3), EPERM);
	CHECK_OK(ftruncate(fd, 100));
	CHECK_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
	CHECK_ERR(ftruncate(fd, 200), EPERM);
	CHECK_ERR(pwrite(fd, "x", 1, 100), EPERM);
	char *map = mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK_ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
	munmap(map, CHECK_PAGE);
	CHECK_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL));
	CHECK_ERR(pwrite(fd, "x", 1, 0), EPERM);
	CHECK_ERR(mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EPERM);
	CHECK(mmap(NULL, CHECK_PAGE, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
	CHECK_ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
	CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
	close(fd);
	fd = memfd_create("sealed", 0);
	CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL);
	CHECK_ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), EPERM);
	close(fd);
	CHECK_ERR(memfd_create("x", 0x4000), EINVAL);
	CHECK_ERR(syscall(SYS_memfd_create, 8, 0), EFAULT);
}

static void memfd_programs(void)
{
	int fd = CHECK_OK(memfd_create("program", MFD_CLOEXEC)), self = open("/proc/self/exe", O_RDONLY);
	char block[65536];
	ssize_t got;

	while ((got = read(self, block, sizeof(block))) > 0)
		CHECK_EQ(write(fd, block, got), got);
	close(self);
	pid_t pid = fork();
	if (pid == 0) {
		char *argv[] = { "memfd", "exit-41", NULL }, *envp[] = { NULL };
		fexecve(fd, argv, envp);
		_exit(99);
	}
	CHECK_EQ(check_wait(pid), 41 << 8);
	close(fd);
}

static void pidfds(void)
{
	int fds[2];
	char byte;

	CHECK_OK(pipe(fds));
	pid_t pid = fork();
	if (pid == 0) {
		close(fds[1]);
		if (read(fds[0], &byte, 1) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	int fd = syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0 && errno == ENOSYS)
		return;
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	CHECK_EQ(poll(&p, 1, 0), 0);
	CHECK_OK(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
	CHECK_OK(syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0));
	CHECK_EQ(poll(&p, 1, 20000), 1);
	siginfo_t info;
	CHECK_OK(waitid(P_PIDFD, fd, &info, WEXITED));
	CHECK_EQ(info.si_pid, pid);
	CHECK_EQ(info.si_status, SIGKILL);
	CHECK_ERR(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0), ESRCH);
	CHECK_EQ(poll(&p, 1, 0), 1);
	close(fd);
	CHECK_ERR(syscall(SYS_pidfd_open, 1 << 22, 0), ESRCH);
	CHECK_ERR(syscall(SYS_pidfd_open, -1, 0), EINVAL);
	CHECK_ERR(syscall(SYS_pidfd_open, getpid(), 0x77), EINVAL);
	// Another process's descriptor.
	fd = CHECK_OK(syscall(SYS_pidfd_open, getpid(), 0));
	int copy = syscall(SYS_pidfd_getfd, fd, fds[1], 0);
	if (copy >= 0) {
		CHECK_EQ(write(copy, "x", 1), 1);
		close(copy);
	} else {
		CHECK(errno == ENOSYS || errno == EPERM);
	}
	close(fd);
}

static struct inotify_event *next_event(int fd, char *buffer, size_t size)
{
	static size_t have, at;

	if (at >= have) {
		ssize_t got = read(fd, buffer, size);
		if (got <= 0)
			return NULL;
		have = got;
		at = 0;
	}
	struct inotify_event *event = (struct inotify_event *)(buffer + at);
	at += sizeof(*event) + event->len;
	return event;
}

static void notifications(void)
{
	static char buffer[8192] __attribute__((aligned(8)));
	struct inotify_event *event;
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	if (fd < 0 && errno == ENOSYS)
		return;
	int watch = CHECK_OK(inotify_add_watch(fd, ".", IN_CREATE | IN_DELETE | IN_MOVE | IN_CLOSE_WRITE | IN_MODIFY));
	CHECK_ERR(read(fd, buffer, sizeof(buffer)), EAGAIN);
	check_write_file("a", "x");
	CHECK_OK(rename("a", "b"));
	CHECK_OK(unlink("b"));
	static const uint32_t expected[] = {
		IN_CREATE, IN_MODIFY, IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO, IN_DELETE
	};
	static const char *const names[] = { "a", "a", "a", "a", "b", "b" };
	uint32_t cookie = 0;
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		event = next_event(fd, buffer, sizeof(buffer));
		if (!CHECK(event != NULL))
			break;
		CHECK_EQ(event->wd, watch);
		CHECK_EQ(event->mask, expected[i]);
		CHECK_STR(event->name, names[i]);
		if (expected[i] == IN_MOVED_FROM)
			cookie = event->cookie;
		if (expected[i] == IN_MOVED_TO)
			CHECK(cookie != 0 && event->cookie == cookie);
	}
	CHECK_ERR(inotify_rm_watch(fd, 999), EINVAL);
	CHECK_OK(inotify_rm_watch(fd, watch));
	event = next_event(fd, buffer, sizeof(buffer));
	CHECK(event && event->mask == IN_IGNORED);
	CHECK_ERR(inotify_add_watch(fd, "missing", IN_CREATE), ENOENT);
	CHECK_ERR(inotify_add_watch(fd, ".", 0), EINVAL);
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "exit-41") == 0)
		return 41;
	check_tmpdir();
	memfd_and_seals();
	memfd_programs();
	pidfds();
	notifications();
	return check_done();
}
