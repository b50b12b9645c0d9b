// SPDX-License-Identifier: Apache-2.0
// Are resource limits stored, checked and enforced?
#include "check.h"
#include <sys/resource.h>

static void stored(void)
{
	struct rlimit limit, old;

	CHECK_OK(getrlimit(RLIMIT_NOFILE, &old));
	limit = (struct rlimit){ 50, old.rlim_max };
	CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
	CHECK_OK(getrlimit(RLIMIT_NOFILE, &limit));
	CHECK_EQ(limit.rlim_cur, 50);
	limit = (struct rlimit){ 60, 50 };
	CHECK_ERR(setrlimit(RLIMIT_NOFILE, &limit), EINVAL);
	CHECK_ERR(getrlimit(99, &limit), EINVAL);
	CHECK_ERR(getrlimit(RLIMIT_NOFILE, (void *)8), EFAULT);
	CHECK_OK(prlimit(0, RLIMIT_CORE, NULL, &old));
	CHECK_ERR(prlimit(1 << 22, RLIMIT_CORE, NULL, &old), ESRCH);
	pid_t pid = fork();
	if (pid == 0) {
		CHECK_OK(getrlimit(RLIMIT_NOFILE, &limit));
		CHECK_EQ(limit.rlim_cur, 50);
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
}

static void hard_limit_binds_users(void)
{
	struct rlimit limit = { 20, 30 };

	CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
	if (getuid() == 0)
		CHECK_OK(setuid(65534));
	limit = (struct rlimit){ 20, 31 };
	CHECK_ERR(setrlimit(RLIMIT_NOFILE, &limit), EPERM);
	limit = (struct rlimit){ 30, 30 };
	CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
}

static void open_files(void)
{
	struct rlimit limit = { 16, 64 };
	int fd, highest = -1;

	CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
	while ((fd = open("/", O_RDONLY)) >= 0)
		highest = fd;
	CHECK_EQ(errno, EMFILE);
	CHECK_EQ(highest, 15);
	CHECK_ERR(dup(0), EMFILE);
	CHECK_ERR(dup2(0, 16), EBADF);
	CHECK_ERR(fcntl(0, F_DUPFD, 16), EINVAL);
	CHECK_ERR(fcntl(0, F_DUPFD, 3), EMFILE);
	int fds[2];
	CHECK_ERR(pipe(fds), EMFILE);
}

static volatile int xfsz;

static void on_xfsz(int signal) { xfsz = signal; }

static void file_size(void)
{
	struct rlimit limit = { 1000, RLIM_INFINITY };
	char block[700] = "";
	int fd = CHECK_OK(open("big", O_RDWR | O_CREAT, 0600));

	CHECK_OK(setrlimit(RLIMIT_FSIZE, &limit));
	signal(SIGXFSZ, on_xfsz);
	CHECK_EQ(write(fd, block, 700), 700);
	CHECK_EQ(write(fd, block, 700), 300);
	CHECK_EQ(xfsz, 0);
	CHECK_ERR(write(fd, block, 1), EFBIG);
	CHECK_EQ(xfsz, SIGXFSZ);
	CHECK_ERR(ftruncate(fd, 1001), EFBIG);
	CHECK_OK(ftruncate(fd, 1000));
}

static void address_space(void)
{
	struct rlimit limit = { 64 << 20, 64 << 20 };

	CHECK_OK(setrlimit(RLIMIT_AS, &limit));
	CHECK_ERR(mmap(NULL, 80 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
	void *small = mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(small != MAP_FAILED);
	CHECK_ERR(mremap(small, 1 << 20, 80 << 20, MREMAP_MAYMOVE), ENOMEM);
	void *top = sbrk(0);
	CHECK(sbrk(80 << 20) == (void *)-1);
	CHECK(sbrk(0) == top);
}

static void data_segment(void)
{
	struct rlimit limit = { 16 << 20, 16 << 20 };

	CHECK_OK(setrlimit(RLIMIT_DATA, &limit));
	CHECK(sbrk(32 << 20) == (void *)-1);
	CHECK_ERR(mmap(NULL, 32 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
	CHECK(mmap(NULL, 32 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}

static void processes(void)
{
	struct rlimit limit = { 0, 0 };

	if (getuid() == 0 && setresuid(64321, 64321, 64321) < 0)
		return;
	CHECK_OK(setrlimit(RLIMIT_NPROC, &limit));
	CHECK_ERR(fork(), EAGAIN);
}

static void cpu_time(void)
{
	struct rlimit limit = { 1, 2 };

	CHECK_OK(setrlimit(RLIMIT_CPU, &limit));
	for (;;)
		;
}

int main(void)
{
	check_tmpdir();
	CHECK_CHILD(stored);
	CHECK_CHILD(hard_limit_binds_users);
	CHECK_CHILD(open_files);
	CHECK_CHILD(file_size);
	CHECK_CHILD(address_space);
	CHECK_CHILD(data_segment);
	CHECK_CHILD(processes);
	int status = check_in_child(cpu_time);
	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGXCPU);
	return check_done();
}
