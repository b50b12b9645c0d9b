// SPDX-License-Identifier: Apache-2.0
// Sources: seccomp(2); Linux Documentation/networking/filter.rst (classic BPF); arguments: the calls' manual pages.
//
// Order: architecture, instruction pointer, the six calls that are made all the time, then a binary search. What a cell's kernel
// that is wholly in an attacker's hands may still do is what this file admits; the argument checks keep it from the
// rest of each call's powers.
#include "hosted/filter.h"

#include "abi/hosted.h"

#include <asm/prctl.h>
#include <assert.h>
#include <linux/audit.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <sys/syscall.h>

#define CALLS_MAX 64u

struct call;

struct builder {
	struct sock_filter *out;
	unsigned count;
	uint64_t user_end;
	const struct call *calls[CALLS_MAX]; // what this host's filter admits, ascending by number
	unsigned call_count;
};

static void emit(struct builder *b, struct sock_filter f)
{
	assert(b->count < FILTER_MAX);
	b->out[b->count++] = f;
}

#define STMT(code, k)         emit(b, (struct sock_filter)BPF_STMT(code, k))
#define JUMP(code, k, jt, jf) emit(b, (struct sock_filter)BPF_JUMP(BPF_JMP | (code), k, jt, jf))
#define LOAD(offset)          STMT(BPF_LD | BPF_W | BPF_ABS, offset)
#define LOW(n)                ((unsigned)(offsetof(struct seccomp_data, args) + 8 * (n)))
#define HIGH(n)               (LOW(n) + 4)
#define TRAP()                STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP)
#define ALLOW()               STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

// ---- checks: each falls through when the call passes ----

// addr + size <= user_end, in 64 bits made of 32. Page rounding of the size changes nothing: user_end is page aligned.
static void check_range(struct builder *b, unsigned addr, unsigned size)
{
	const uint32_t end_low = (uint32_t)b->user_end, end_high = (uint32_t)(b->user_end >> 32);

	LOAD(HIGH(size));
	JUMP(BPF_JGT | BPF_K, 0x7fff, 0, 1);
	TRAP();
	LOAD(HIGH(addr));
	JUMP(BPF_JGT | BPF_K, 0x7fff, 0, 1);
	TRAP();
	LOAD(LOW(addr));
	STMT(BPF_MISC | BPF_TAX, 0);
	LOAD(LOW(size));
	STMT(BPF_ALU | BPF_ADD | BPF_X, 0);
	STMT(BPF_ST, 0);
	JUMP(BPF_JGE | BPF_X, 0, 2, 0); // no carry
	STMT(BPF_LD | BPF_IMM, 1);
	JUMP(BPF_JA, 1, 0, 0);
	STMT(BPF_LD | BPF_IMM, 0);
	STMT(BPF_MISC | BPF_TAX, 0);
	LOAD(HIGH(addr));
	STMT(BPF_ALU | BPF_ADD | BPF_X, 0);
	STMT(BPF_MISC | BPF_TAX, 0);
	LOAD(HIGH(size));
	STMT(BPF_ALU | BPF_ADD | BPF_X, 0);
	JUMP(BPF_JGT | BPF_K, end_high, 3, 0);
	JUMP(BPF_JEQ | BPF_K, end_high, 0, 3);
	STMT(BPF_LD | BPF_MEM, 0);
	JUMP(BPF_JGT | BPF_K, end_low, 0, 1);
	TRAP();
}

static void check_range_first(struct builder *b) { check_range(b, 0, 1); }

// mremap(old address, old size, new size, flags, new address)
static void check_mremap(struct builder *b)
{
	check_range(b, 0, 1);
	check_range(b, 0, 2);
	check_range(b, 4, 2);
}

// A thread, or a process that shares the descriptor table; nothing of namespaces, tracing, or new descriptors. SIGCHLD or no signal.
static void check_clone(struct builder *b)
{
	const uint32_t allowed = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_VFORK | CLONE_PARENT |
				 CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID |
				 CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID | CSIGNAL;

	LOAD(HIGH(0));
	JUMP(BPF_JEQ | BPF_K, 0, 1, 0);
	TRAP();
	LOAD(LOW(0));
	JUMP(BPF_JSET | BPF_K, ~allowed, 0, 1);
	TRAP();
	STMT(BPF_ALU | BPF_AND | BPF_K, CSIGNAL);
	JUMP(BPF_JEQ | BPF_K, 0, 2, 0);
	JUMP(BPF_JEQ | BPF_K, 17 /* SIGCHLD */, 1, 0);
	TRAP();
}

// Waiting and waking; none of the operations with priority inheritance or on several words.
static void check_futex(struct builder *b)
{
	LOAD(LOW(1));
	STMT(BPF_ALU | BPF_AND | BPF_K, ~(uint32_t)(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME));
	JUMP(BPF_JEQ | BPF_K, FUTEX_WAIT, 4, 0);
	JUMP(BPF_JEQ | BPF_K, FUTEX_WAKE, 3, 0);
	JUMP(BPF_JEQ | BPF_K, FUTEX_WAIT_BITSET, 2, 0);
	JUMP(BPF_JEQ | BPF_K, FUTEX_WAKE_BITSET, 1, 0);
	TRAP();
}

static void check_tgkill(struct builder *b)
{
	LOAD(LOW(2));
	JUMP(BPF_JEQ | BPF_K, HOSTED_KICK_SIGNAL, 1, 0);
	TRAP();
}

static void check_arch_prctl(struct builder *b)
{
	LOAD(LOW(0));
	JUMP(BPF_JEQ | BPF_K, ARCH_SET_FS, 3, 0);
	JUMP(BPF_JEQ | BPF_K, ARCH_GET_FS, 2, 0);
	JUMP(BPF_JEQ | BPF_K, ARCH_SET_GS, 1, 0);
	TRAP();
}

// Of the calling thread only: without a pid namespace others could be named.
static void check_affinity(struct builder *b)
{
	LOAD(LOW(0));
	JUMP(BPF_JEQ | BPF_K, 0, 1, 0);
	TRAP();
}

// ---- the table ----

struct call {
	struct filter_call call;
	void (*check)(struct builder *b); // NULL: whatever the arguments
};

#define CALL(name, check)                           \
	{                                           \
		{ #name, SYS_##name, false }, check \
	}
#define CALL_WITHOUT_FSGSBASE(name, check)         \
	{                                          \
		{ #name, SYS_##name, true }, check \
	}
// Ascending by number.
static const struct call calls[] = {
	CALL(close, NULL),
	CALL(fstat, NULL),
	CALL(lseek, NULL),
	CALL(mmap, check_range_first),
	CALL(mprotect, check_range_first),
	CALL(munmap, check_range_first),
	CALL(rt_sigprocmask, NULL),
	CALL(rt_sigreturn, NULL),
	CALL(pread64, NULL),
	CALL(pwrite64, NULL),
	CALL(sched_yield, NULL),
	CALL(mremap, check_mremap),
	CALL(msync, NULL),
	CALL(mincore, NULL),
	CALL(madvise, check_range_first),
	CALL(sendmsg, NULL),
	CALL(recvmsg, NULL),
	CALL(clone, check_clone),
	CALL(exit, NULL),
	CALL(fsync, NULL),
	CALL(fdatasync, NULL),
	CALL(ftruncate, NULL),
	CALL(getrusage, NULL),
	CALL(sigaltstack, NULL),
	CALL_WITHOUT_FSGSBASE(arch_prctl, check_arch_prctl),
	CALL(futex, check_futex),
	CALL(sched_setaffinity, check_affinity),
	CALL(clock_gettime, NULL),
	CALL(exit_group, NULL),
	CALL(tgkill, check_tgkill),
	CALL(ppoll, NULL),
	CALL(fallocate, NULL),
	CALL(membarrier, NULL),
	CALL(copy_file_range, NULL),
	CALL(preadv2, NULL),
	CALL(pwritev2, NULL),
};
#define CALL_COUNT (sizeof(calls) / sizeof(*calls))
static_assert(CALL_COUNT <= CALLS_MAX, "room for the table");

// Asked for first, in this order.
static const int hot[] = { SYS_pread64, SYS_pwrite64, SYS_futex, SYS_pwritev2, SYS_preadv2, SYS_ppoll };

const struct filter_call *filter_calls(unsigned *count)
{
	static struct filter_call list[CALL_COUNT];

	for (unsigned i = 0; i < CALL_COUNT; i++)
		list[i] = calls[i].call;
	*count = CALL_COUNT;
	return list;
}

// ---- the program ----

// The number in the accumulator is this call's, or the instruction after this leaf is reached.
static void emit_call(struct builder *b, const struct call *c)
{
	unsigned jump;

	JUMP(BPF_JEQ | BPF_K, (uint32_t)c->call.number, 1, 0);
	jump = b->count;
	JUMP(BPF_JA, 0, 0, 0);
	if (c->check)
		c->check(b);
	ALLOW();
	b->out[jump].k = b->count - jump - 1;
}

static void emit_search(struct builder *b, unsigned first, unsigned end)
{
	unsigned middle = first + (end - first) / 2, jump;

	if (end - first == 1) {
		emit_call(b, b->calls[first]);
		TRAP();
		return;
	}
	JUMP(BPF_JGE | BPF_K, (uint32_t)b->calls[middle]->call.number, 0, 1);
	jump = b->count;
	JUMP(BPF_JA, 0, 0, 0);
	emit_search(b, first, middle);
	b->out[jump].k = b->count - jump - 1;
	emit_search(b, middle, end);
}

// The filter sees the address after the two bytes of the instruction: strictly above the start, so that an instruction that ends
// where the text begins is outside.
static void check_text(struct builder *b, const struct filter_bounds *bounds)
{
	assert(bounds->text_start >> 32 == bounds->text_end >> 32);
	LOAD(offsetof(struct seccomp_data, instruction_pointer) + 4);
	JUMP(BPF_JEQ | BPF_K, (uint32_t)(bounds->text_start >> 32), 1, 0);
	TRAP();
	LOAD(offsetof(struct seccomp_data, instruction_pointer));
	JUMP(BPF_JGE | BPF_K, (uint32_t)bounds->text_start + 2, 1, 0);
	TRAP();
	JUMP(BPF_JGT | BPF_K, (uint32_t)bounds->text_end, 0, 1);
	TRAP();
}

unsigned filter_build(struct sock_filter out[FILTER_MAX], const struct filter_bounds *bounds)
{
	struct builder builder = { .out = out, .user_end = bounds->user_end }, *b = &builder;

	LOAD(offsetof(struct seccomp_data, arch));
	JUMP(BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
	TRAP();
	check_text(b, bounds);
	LOAD(offsetof(struct seccomp_data, nr));
	for (unsigned c = 0; c < CALL_COUNT; c++)
		if (!calls[c].call.without_fsgsbase || !bounds->fsgsbase)
			b->calls[b->call_count++] = &calls[c];
	for (unsigned i = 0; i < sizeof(hot) / sizeof(*hot); i++)
		for (unsigned c = 0; c < CALL_COUNT; c++)
			if (calls[c].call.number == hot[i])
				emit_call(b, &calls[c]);
	emit_search(b, 0, b->call_count);
	return builder.count;
}
