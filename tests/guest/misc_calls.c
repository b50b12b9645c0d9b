// SPDX-License-Identifier: Apache-2.0
// Do the small calls answer: unknown numbers, random bytes, barriers, restartable sequences, names?
#include "check.h"
#include <linux/membarrier.h>
#include <sys/random.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <sys/utsname.h>

static void unknown_numbers(void)
{
	static const long numbers[] = { 340, 400, 423, 511, 600, 1000, 5000, 0x7fffffff, -1, -4096, 0x80000000l };

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		errno = 0;
		long result = syscall(numbers[i], 1, 2, 3, 4, 5, 6);
		if (result != -1 || errno != ENOSYS)
			check_fail(__FILE__, __LINE__, "call %ld gave %ld, errno %d", numbers[i], result, errno);
	}
	static const long gone[] = { 156 /* _sysctl */, 174, 177, 178, 180, 183, 184, 185, 214, 215, 236 };
	for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
		CHECK_ERR(syscall(gone[i], 0, 0, 0, 0, 0, 0), ENOSYS);
}

// The call number in rax has 64 bits: its upper half is not ignored in a way that runs another call.
static void registers_survive(void)
{
	unsigned long rbx = 1, rdx = 2, r8 = 3, r9 = 4, r10 = 5, r12 = 6, rdi = 7, rsi = 8, rax = SYS_getpid;

	asm volatile("mov %[r8], %%r8\n mov %[r9], %%r9\n mov %[r10], %%r10\n mov %[r12], %%r12\n syscall\n"
		     "mov %%r8, %[r8]\n mov %%r9, %[r9]\n mov %%r10, %[r10]\n mov %%r12, %[r12]\n"
		     : "+a"(rax), "+b"(rbx), "+d"(rdx), "+D"(rdi),
		       "+S"(rsi), [r8] "+m"(r8), [r9] "+m"(r9), [r10] "+m"(r10), [r12] "+m"(r12)::"rcx", "r11", "r8",
		       "r9", "r10", "r12", "memory");
	CHECK_EQ(rax, getpid());
	CHECK(rbx == 1 && rdx == 2 && r8 == 3 && r9 == 4 && r10 == 5 && r12 == 6 && rdi == 7 && rsi == 8);
}

static void random_bytes(void)
{
	unsigned char a[300] = { 0 }, b[300] = { 0 };
	int same = 0, bits = 0;

	CHECK_EQ(getrandom(a, sizeof(a), 0), (ssize_t)sizeof(a));
	CHECK_EQ(getrandom(b, sizeof(b), GRND_NONBLOCK), (ssize_t)sizeof(b));
	for (size_t i = 0; i < sizeof(a); i++) {
		same += a[i] == b[i];
		bits += __builtin_popcount(a[i]);
	}
	CHECK(same < 30);
	CHECK(bits > 1000 && bits < 1400);
	CHECK_ERR(getrandom(a, 10, 0x80), EINVAL);
	CHECK_EQ(getrandom(a, 0, 0), 0);
	// Parent and child do not repeat each other.
	int fds[2];
	CHECK_OK(pipe(fds));
	pid_t pid = fork();
	if (pid == 0) {
		if (getrandom(a, 64, 0) != 64 || write(fds[1], a, 64) != 64)
			_exit(1);
		_exit(0);
	}
	CHECK_EQ(getrandom(a, 64, 0), 64);
	CHECK_EQ(read(fds[0], b, 64), 64);
	CHECK(memcmp(a, b, 64) != 0);
	check_wait(pid);
}

static void barriers(void)
{
	long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);

	if (commands < 0) {
		CHECK_EQ(errno, ENOSYS);
		return;
	}
	if (commands & MEMBARRIER_CMD_GLOBAL)
		CHECK_OK(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0));
	if (commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED) {
		CHECK_OK(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
		CHECK_OK(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
	}
	CHECK_ERR(syscall(SYS_membarrier, 1 << 30, 0, 0), EINVAL);
	CHECK_ERR(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 55, 0), EINVAL);
}

// The C library has registered; a second registration is refused, or there is none at all.
static void restartable_sequences(void)
{
	static struct {
		uint32_t words[8];
	} area __attribute__((aligned(32)));
	long result = syscall(SYS_rseq, &area, 32, 0, 0x12345678);

	if (result == 0)
		CHECK_OK(syscall(SYS_rseq, &area, 32, 1, 0x12345678));
	else
		CHECK(errno == EINVAL || errno == EBUSY || errno == ENOSYS || errno == EPERM);
}

static void names(void)
{
	struct utsname u;
	char name[65] = "", domain[65] = "";

	CHECK_OK(uname(&u));
	CHECK_OK(gethostname(name, sizeof(name)));
	CHECK_STR(name, u.nodename);
	CHECK_OK(getdomainname(domain, sizeof(domain)));
	if (getuid() == 0 && getenv("CLOISTER_CELL")) {
		CHECK_OK(sethostname("renamed", 7));
		CHECK_OK(gethostname(name, sizeof(name)));
		CHECK_STR(name, "renamed");
		CHECK_OK(sethostname(u.nodename, strlen(u.nodename)));
	}
}

static void other_memory(void)
{
	int value = 77, mine = 0;
	struct iovec local = { &mine, sizeof(mine) }, remote = { &value, sizeof(value) };

	ssize_t got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	if (got < 0 && (errno == ENOSYS || errno == EPERM))
		return;
	CHECK_EQ(got, (ssize_t)sizeof(mine));
	CHECK_EQ(mine, 77);
	mine = 88;
	CHECK_EQ(process_vm_writev(getpid(), &local, 1, &remote, 1, 0), (ssize_t)sizeof(mine));
	CHECK_EQ(value, 88);
	CHECK_ERR(process_vm_readv(1 << 22, &local, 1, &remote, 1, 0), ESRCH);
}

static void tids(void)
{
	CHECK_EQ(syscall(SYS_set_tid_address, NULL), syscall(SYS_gettid));
	CHECK(getpid() > 0 && getppid() >= 0);
}

int main(void)
{
	unknown_numbers();
	registers_survive();
	random_bytes();
	barriers();
	restartable_sequences();
	names();
	other_memory();
	CHECK_CHILD(tids);
	return check_done();
}
