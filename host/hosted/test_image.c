// SPDX-License-Identifier: Apache-2.0
// A kernel that does nothing but look at its hand-off, for tests of the loader, the filter and the launcher. What it does then is
// said by a word in the boot record, "@do:WORD", where the launcher puts the program's arguments:
//
//	ok     writes to the streams, tells of an exit with status 7, ends well
//	echo   the same with what comes from standard input
//	panic, boot, status    ends with MACHINE_EXIT_PANIC, MACHINE_EXIT_BOOT, 99
//	fault  is killed by a signal
//	call   makes a system call that the filter does not admit
//	outside  makes an admitted one from outside its text
//	child  makes another process of the cell, which is killed by a signal
//	wait   tells that it runs, makes another process, and waits for ever
//	leave  closes its channels to the broker, and waits for ever
#include "abi/control.h"
#include "abi/hosted.h"

#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/poll.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/signal.h>
#include <linux/mman.h>
#include <asm/unistd.h>
#include <stdbool.h>
#include <stddef.h>

static long call6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
#define CALL(nr, ...)                    CALL_(nr, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define CALL_(nr, a, b, c, d, e, f, ...) call6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

struct span {
	const void *base;
	size_t size;
};

// ---- what the compiler may ask for ----

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((char *)to)[i] = ((const char *)from)[i];
	return to;
}

void *memset(void *to, int byte, size_t size);
void *memset(void *to, int byte, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((volatile char *)to)[i] = (char)byte;
	return to;
}

// ---- what is looked at ----

static const char text_constant[] = "constant";
static const char *const relocated_constant = text_constant; // in memory that is read-only once relocated
static const char *const *relocated = &relocated_constant;
static unsigned long in_data = 0x1234567890abcdef;
static char in_bss[10000];

static size_t length(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

static void put(int fd, const void *data, size_t size)
{
	struct span v = { data, size };
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	while (fd >= 0 && v.size) {
		long n = CALL(__NR_pwritev2, fd, &v, 1, -1, -1, 0);

		if (n == -11)
			CALL(__NR_ppoll, &p, 1, 0, 0, 0);
		else if (n <= 0)
			return;
		else
			v = (struct span){ (const char *)v.base + n, v.size - (size_t)n };
	}
}

static void tell(const struct hosted_handoff *h, unsigned type, const void *payload, unsigned size)
{
	struct control_header header = { .type = (uint16_t)type, .size_bytes = size };

	put(h->streams[HOSTED_CONTROL], &header, sizeof(header));
	put(h->streams[HOSTED_CONTROL], payload, size);
}

static _Noreturn void end(int status)
{
	for (;;)
		CALL(__NR_exit_group, status);
}

static void check(const struct hosted_handoff *h, bool good, const char *what)
{
	if (good)
		return;
	put(h->streams[HOSTED_LOG], what, length(what));
	put(h->streams[HOSTED_LOG], "\n", 1);
	tell(h, CONTROL_LOG, what, (unsigned)length(what));
	end(77);
}
#define CHECK(condition) check(h, condition, "wrong: " #condition)

static bool all_zero(const volatile char *p, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (p[i])
			return false;
	return true;
}

static void check_handoff(const struct hosted_handoff *h, uint64_t stack)
{
	CHECK(h->magic == HOSTED_MAGIC && h->version == HOSTED_VERSION && h->size_bytes == sizeof(*h));
	CHECK(stack == h->boot_stack_top);
	CHECK(*relocated == text_constant && (*relocated)[0] == 'c');
	CHECK(in_data == 0x1234567890abcdef);
	CHECK(all_zero(in_bss, sizeof(in_bss)));
	CHECK((uint64_t)&check_handoff >= h->text_start && (uint64_t)&check_handoff < h->text_end);
	CHECK((uint64_t)&in_data >= h->data_start && (uint64_t)in_bss + sizeof(in_bss) <= h->image_end);
	CHECK(h->image_start <= h->text_start && h->text_end <= h->data_start);
	CHECK((uint64_t)h == h->image_end);
	CHECK(h->image_end < h->arena_start && h->arena_start < h->arena_end);
	CHECK(all_zero((char *)h->arena_start, 65536) && all_zero((char *)h->arena_end - 65536, 131072));
	CHECK(all_zero((char *)h->arena_end + HOSTED_OPEN_BYTES - 65536, 65536));
	CHECK(h->record_start % 4096 == 0 && h->record_size_bytes && *(char *)h->record_start);
	CHECK(h->filter_count && h->filter_start % 8 == 0);
	CHECK(h->channel_count && h->channel_count <= HOSTED_CHANNELS_MAX);
	CHECK(h->cpu_count && h->cpu_count <= HOSTED_CPUS_MAX);
	CHECK(h->hwcap);
	CHECK(!h->tsc_hz || (h->tsc_base && h->monotonic_ns));
}

// Every descriptor is one of those that are named.
static void check_descriptors(const struct hosted_handoff *h)
{
	for (int fd = 0; fd < 300; fd++) {
		bool named = fd == h->memory_fd || fd == h->events;

		for (unsigned i = 0; i < HOSTED_STREAMS; i++)
			named |= h->streams[i] == fd;
		for (unsigned i = 0; i < h->channel_count; i++)
			named |= h->channels[i] == fd;
		CHECK((CALL(__NR_fcntl, fd, 1 /* F_GETFD */) >= 0) == named);
	}
}

static void check_signals(const struct hosted_handoff *h)
{
	unsigned long blocked = 1, action[4];

	CALL(__NR_rt_sigprocmask, SIG_BLOCK, 0, &blocked, 8);
	CHECK(blocked == 0);
	for (int s = 1; s < 65; s++) {
		action[0] = 9;
		CALL(__NR_rt_sigaction, s, 0, action, 8);
		CHECK(action[0] == (s == SIGPIPE || s == SIGXFSZ));
	}
}

// The other processes of the cell will see the same memory, at the same place, and nothing can cut it off.
static void check_memory(const struct hosted_handoff *h)
{
	unsigned long value = 0;
	struct span v = { &value, sizeof(value) };

	CALL(__NR_preadv2, h->memory_fd, &v, 1, (uint64_t)&in_data - h->data_start, 0, 0);
	CHECK(value == in_data);
	CHECK(CALL(__NR_ftruncate, h->memory_fd, 4096) == -1);
	// Constants cannot be written: a system call that would is refused.
	CHECK(CALL(__NR_clock_gettime, 1, &relocated_constant) == -14);
	CHECK(CALL(__NR_clock_gettime, 1, text_constant) == -14);
}

// ---- confinement ----

static void unmap_others(const struct hosted_handoff *h)
{
	CHECK(CALL(__NR_munmap, 0x10000, h->image_start - 0x10000) == 0);
	CALL(__NR_munmap, h->arena_end + HOSTED_OPEN_BYTES, 0x7ffffffff000 - h->arena_end - HOSTED_OPEN_BYTES);
}

static void install_filter(const struct hosted_handoff *h)
{
	struct sock_fprog program = { (unsigned short)h->filter_count, (struct sock_filter *)h->filter_start };

	CHECK(CALL(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1) == 0);
	CHECK(CALL(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0);
}

static void check_confined(const struct hosted_handoff *h)
{
	struct {
		uint32_t version;
		int pid;
	} header = { 0x20080522, 0 };
	uint32_t data[6];

	CHECK(CALL(__NR_capget, &header, data) == 0);
	CHECK(!data[0] && !data[1] && !data[3] && !data[4]);
	CHECK(CALL(__NR_getsid) == CALL(__NR_getppid));
	CHECK(!(h->flags & HOSTED_FLAG_NAMESPACES) || CALL(__NR_getppid) == 1);
}

static long new_process(void) { return CALL(__NR_clone, CLONE_FILES | CLONE_PARENT); }

static void wait_for_ever(void)
{
	static unsigned word;

	for (;;)
		CALL(__NR_futex, &word, FUTEX_WAIT, 0, 0);
}

// syscall; ret
static const unsigned char foreign_code[] = { 0x0f, 0x05, 0xc3 };

static void call_from_outside(const struct hosted_handoff *h, uint64_t place)
{
	long mapped =
		CALL(__NR_mmap, place, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	// The last bytes before the kernel's region: the instruction after it would be the region's first.
	unsigned char *code = (unsigned char *)place + 4096 - 2;
	long result;

	CHECK(mapped == (long)place);
	memcpy(code, foreign_code, 2);
	CHECK(CALL(__NR_mprotect, place, 4096, PROT_READ | PROT_EXEC) == 0);
	__asm__ volatile("call *%1" : "=a"(result) : "r"(code), "a"(__NR_sched_yield) : "rcx", "r11", "memory");
}

// ---- what is asked for ----

static bool asked(const struct hosted_handoff *h, const char *word)
{
	const char *record = (const char *)h->record_start;
	const char prefix[] = "@do:";

	for (uint64_t i = 0; i + sizeof(prefix) + length(word) <= h->record_size_bytes; i++) {
		size_t n = 0;

		while (n < 4 && record[i + n] == prefix[n])
			n++;
		if (n < 4)
			continue;
		for (n = 0; word[n] && record[i + 4 + n] == word[n]; n++)
			;
		if (!word[n] && !record[i + 4 + n])
			return true;
	}
	return false;
}

static void copy_input(const struct hosted_handoff *h)
{
	static char chunk[4096];
	const uint32_t more = UINT32_MAX;
	struct pollfd p = { .fd = h->streams[HOSTED_STDIN], .events = POLLIN };
	struct span v = { chunk, sizeof(chunk) };
	long n;

	tell(h, CONTROL_STDIN_WANT, &more, sizeof(more));
	while ((n = CALL(__NR_preadv2, p.fd, &v, 1, -1, -1, 0)) != 0) {
		if (n == -11)
			CALL(__NR_ppoll, &p, 1, 0, 0, 0);
		else if (n < 0)
			break;
		else
			put(h->streams[HOSTED_STDOUT], chunk, (size_t)n);
	}
}

static void serve(const struct hosted_handoff *h)
{
	static const char out[] = "out\n", err[] = "err\n", early[] = "early words\n";
	const int32_t status = 7 << 8;

	if (asked(h, "echo"))
		copy_input(h);
	put(h->streams[HOSTED_STDOUT], out, sizeof(out) - 1);
	put(h->streams[HOSTED_STDERR], err, sizeof(err) - 1);
	put(h->streams[HOSTED_LOG], early, sizeof(early) - 1);
	tell(h, CONTROL_EXIT, &status, sizeof(status));
	end(MACHINE_EXIT_DONE);
}

static void misbehave(const struct hosted_handoff *h)
{
	if (asked(h, "panic"))
		end(MACHINE_EXIT_PANIC);
	if (asked(h, "boot"))
		end(MACHINE_EXIT_BOOT);
	if (asked(h, "status"))
		end(99);
	if (asked(h, "fault"))
		*(volatile char *)0 = 1;
	if (asked(h, "call"))
		CALL(__NR_getpid);
	if (asked(h, "outside"))
		call_from_outside(h, h->image_start - 4096);
	if (asked(h, "child") && new_process() == 0)
		__asm__ volatile("ud2");
	if (asked(h, "wait"))
		new_process();
	for (unsigned i = 0; asked(h, "leave") && i < h->channel_count; i++)
		CALL(__NR_close, h->channels[i]);
	wait_for_ever();
}

_Noreturn void test_main(const struct hosted_handoff *h, uint64_t stack);
_Noreturn void test_main(const struct hosted_handoff *h, uint64_t stack)
{
	const uint32_t version = 1;

	check_handoff(h, stack);
	check_descriptors(h);
	check_signals(h);
	check_memory(h);
	check_confined(h);
	unmap_others(h);
	install_filter(h);
	tell(h, CONTROL_HELLO, &version, sizeof(version));
	if (asked(h, "ok") || asked(h, "echo"))
		serve(h);
	misbehave(h);
	end(98);
}

__asm__(".text\n"
	".globl test_start\n"
	"test_start:\n"
	"	movq %rsp, %rsi\n"
	"	andq $-16, %rsp\n"
	"	call test_main\n"
	"	ud2\n");
