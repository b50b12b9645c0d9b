// SPDX-License-Identifier: Apache-2.0
// Does every call that takes a pointer answer EFAULT to a bad one, wherever it points?
#include "check.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/utsname.h>

static long bad_addresses[6];
static int file, fds[2], pair[2], epoll;

// Every pointer argument in turn is bad; the call must say EFAULT (and not anything else).
#define BAD(...)                                                                                                      \
	for (size_t i = 0; i < ARRAY_SIZE(bad_addresses); i++) {                                                      \
		long bad = bad_addresses[i];                                                                          \
		errno = 0;                                                                                            \
		long result = syscall(__VA_ARGS__);                                                                   \
		if (result != -1 || errno != EFAULT)                                                                  \
			check_fail(__FILE__, __LINE__, "syscall(%s) with %#lx gave %ld, errno %d", #__VA_ARGS__, bad, \
				   result, errno);                                                                    \
	}

int main(void)
{
	struct timespec zero = { 0, 0 };
	struct epoll_event event = { .events = EPOLLIN };
	char *hole = mmap(NULL, 3 * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check_tmpdir();
	munmap(hole + CHECK_PAGE, CHECK_PAGE);
	void *none = mmap(NULL, CHECK_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bad_addresses[0] = 8;
	bad_addresses[1] = (long)(hole + CHECK_PAGE);
	bad_addresses[2] = (long)none;
	bad_addresses[3] = (long)0xffffffff80000000ul; // the kernel's
	bad_addresses[4] = (long)0x8000000000000000ul; // not canonical
	bad_addresses[5] = -1;
	check_write_file("file", "content");
	file = open("file", O_RDWR);
	CHECK_OK(pipe(fds));
	CHECK_EQ(write(fds[1], "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 40), 40);
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CHECK_EQ(write(pair[1], "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 40), 40);
	epoll = epoll_create1(0);
	CHECK_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[0], &event));

	BAD(SYS_read, fds[0], bad, 1);
	BAD(SYS_write, fds[1], bad, 1);
	BAD(SYS_read, file, bad, 1);
	BAD(SYS_pread64, file, bad, 1, 0);
	BAD(SYS_pwrite64, file, bad, 1, 0);
	BAD(SYS_readv, fds[0], bad, 1);
	BAD(SYS_writev, fds[1], bad, 1);
	BAD(SYS_open, bad, O_RDONLY);
	BAD(SYS_openat, AT_FDCWD, bad, O_RDONLY);
	BAD(SYS_stat, bad, hole);
	BAD(SYS_stat, "/", bad);
	BAD(SYS_fstat, file, bad);
	BAD(SYS_lstat, "/", bad);
	BAD(SYS_newfstatat, AT_FDCWD, "/", bad, 0);
	BAD(SYS_statx, AT_FDCWD, "/", 0, 0x7ff, bad);
	BAD(SYS_statfs, "/", bad);
	BAD(SYS_fstatfs, file, bad);
	BAD(SYS_access, bad, 0);
	BAD(SYS_mkdir, bad, 0755);
	BAD(SYS_rmdir, bad);
	BAD(SYS_unlink, bad);
	BAD(SYS_rename, bad, "x");
	BAD(SYS_rename, "file", bad);
	BAD(SYS_link, "file", bad);
	BAD(SYS_symlink, bad, "x");
	BAD(SYS_symlink, "x", bad);
	BAD(SYS_readlink, "/proc/self/exe", bad, 100);
	BAD(SYS_chmod, bad, 0);
	BAD(SYS_chown, bad, 0, 0);
	BAD(SYS_chdir, bad);
	BAD(SYS_truncate, bad, 0);
	BAD(SYS_getcwd, bad, 4096);
	BAD(SYS_pipe, bad);
	BAD(SYS_pipe2, bad, 0);
	BAD(SYS_poll, bad, 1, 0);
	BAD(SYS_ppoll, bad, 1, &zero, NULL, 8);
	BAD(SYS_ppoll, NULL, 0, bad, NULL, 8);
	BAD(SYS_select, 1, bad, NULL, NULL, &(struct timeval){ 0, 0 });
	BAD(SYS_select, 0, NULL, NULL, NULL, bad);
	BAD(SYS_epoll_wait, epoll, bad, 1, 0);
	BAD(SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, pair[0], bad);
	BAD(SYS_execve, bad, NULL, NULL);
	BAD(SYS_nanosleep, bad, NULL);
	BAD(SYS_clock_gettime, CLOCK_REALTIME, bad);
	BAD(SYS_clock_nanosleep, CLOCK_REALTIME, 0, bad, NULL);
	BAD(SYS_gettimeofday, bad, NULL);
	BAD(SYS_getitimer, 0, bad);
	BAD(SYS_setitimer, 0, bad, NULL);
	BAD(SYS_getrlimit, 0, bad);
	BAD(SYS_prlimit64, 0, 0, bad, NULL);
	BAD(SYS_getrusage, 0, bad);
	BAD(SYS_times, bad);
	BAD(SYS_uname, bad);
	BAD(SYS_sysinfo, bad);
	BAD(SYS_getresuid, bad, hole, hole);
	BAD(SYS_rt_sigaction, SIGUSR1, bad, NULL, 8);
	BAD(SYS_rt_sigprocmask, SIG_BLOCK, bad, NULL, 8);
	BAD(SYS_rt_sigpending, bad, 8);
	BAD(SYS_rt_sigsuspend, bad, 8);
	BAD(SYS_rt_sigtimedwait, bad, NULL, &zero, 8);
	BAD(SYS_sigaltstack, bad, NULL);
	BAD(SYS_sigaltstack, NULL, bad);
	BAD(SYS_futex, hole, 0, 0, bad, NULL, 0);
	BAD(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, bad);
	BAD(SYS_bind, pair[0], bad, 20);
	BAD(SYS_connect, pair[0], bad, 20);
	BAD(SYS_sendto, pair[0], bad, 1, 0, NULL, 0);
	BAD(SYS_recvfrom, pair[0], bad, 1, MSG_DONTWAIT, NULL, NULL);
	BAD(SYS_sendmsg, pair[0], bad, 0);
	BAD(SYS_recvmsg, pair[0], bad, MSG_DONTWAIT);
	BAD(SYS_getsockname, pair[0], hole, bad);
	BAD(SYS_getsockopt, pair[0], SOL_SOCKET, SO_TYPE, hole, bad);
	BAD(SYS_setsockopt, pair[0], SOL_SOCKET, SO_SNDBUF, bad, 4);
	BAD(SYS_getrandom, bad, 10, 0);
	BAD(SYS_memfd_create, bad, 0);
	BAD(SYS_timer_create, CLOCK_MONOTONIC, NULL, bad);
	BAD(SYS_sched_getaffinity, 0, 128, bad);
	BAD(SYS_sched_setaffinity, 0, 8, bad);
	BAD(SYS_clone3, bad, 88);
	BAD(SYS_getdents64, open("/", O_RDONLY), bad, 4096);
	BAD(SYS_utimensat, AT_FDCWD, "file", bad, 0);
	BAD(SYS_mincore, hole, CHECK_PAGE, bad);
	BAD(SYS_sendfile, fds[1], file, bad, 1);
	BAD(SYS_getcpu, bad, NULL, NULL);
	BAD(SYS_fcntl, file, F_GETLK, bad);
	BAD(SYS_capget, bad, NULL);
	BAD(SYS_ioctl, fds[0], 0x541b /* FIONREAD */, bad);

	// A path that runs from a good page into a bad one.
	char *edge = hole + CHECK_PAGE - 3;
	memcpy(edge, "abc", 3);
	CHECK_ERR(open(edge, O_RDONLY), EFAULT);
	// Data that does: what was before the edge may count, never more.
	ssize_t wrote = write(fds[1], edge, 10);
	CHECK(wrote == 3 || (wrote == -1 && errno == EFAULT));
	ssize_t got = read(fds[0], edge, 20);
	CHECK(got == 3 || (got == -1 && errno == EFAULT));
	wrote = pwrite(file, edge, 10, 0);
	CHECK(wrote == 3 || (wrote == -1 && errno == EFAULT));
	got = pread(file, edge, 7, 0);
	CHECK(got == 3 || (got == -1 && errno == EFAULT));
	// Lengths that wrap.
	CHECK_ERR(write(fds[1], (void *)(~0ul - 4096), 8192), EFAULT);
	got = syscall(SYS_read, file, hole, ~0ul);
	CHECK(got >= 0 || errno == EFAULT || errno == EINVAL);
	return check_done();
}
