// SPDX-License-Identifier: Apache-2.0
// Does the filter admit what it should, from where it should, and nothing else? Run by an interpreter of the few instructions
// it is made of; the loader's tests run it in the host's kernel.
#include "hosted/filter.h"

#include "abi/hosted.h"

#include <asm/prctl.h>
#include <linux/audit.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <cmocka.h>

#define IMAGE UINT64_C(0x7f1234fff000) // the carry between the words matters here
#define TEXT  (IMAGE + 0x2000)
#define END   (TEXT + 0x40000)

static struct sock_filter program[FILTER_MAX];
static unsigned program_size;
static bool fsgsbase; // the filter is that of a host with these instructions

static int build(bool with_fsgsbase)
{
	const struct filter_bounds bounds = { TEXT, END, IMAGE, with_fsgsbase };

	fsgsbase = with_fsgsbase;
	program_size = filter_build(program, &bounds);
	return 0;
}

static int setup_common(void **state)
{
	(void)state;
	return build(true);
}

static int setup_old(void **state)
{
	(void)state;
	return build(false);
}

// Is it one of this filter's?
static bool is_admitted(const struct filter_call *c) { return !c->without_fsgsbase || !fsgsbase; }

static uint32_t run(const struct seccomp_data *data)
{
	uint32_t a = 0, x = 0, memory[BPF_MEMWORDS] = { 0 };

	for (unsigned pc = 0;; pc++) {
		assert_true(pc < program_size);
		const struct sock_filter *f = &program[pc];
		uint32_t operand = BPF_SRC(f->code) == BPF_X ? x : f->k;

		switch (BPF_CLASS(f->code)) {
		case BPF_LD:
			if (BPF_MODE(f->code) == BPF_ABS) {
				assert_true(f->k % 4 == 0 && f->k + 4 <= sizeof(*data));
				memcpy(&a, (const char *)data + f->k, 4);
			} else {
				a = BPF_MODE(f->code) == BPF_MEM ? memory[f->k] : f->k;
			}
			break;
		case BPF_ST: memory[f->k] = a; break;
		case BPF_MISC:
			assert_int_equal(f->code, BPF_MISC | BPF_TAX);
			x = a;
			break;
		case BPF_ALU: a = BPF_OP(f->code) == BPF_ADD ? a + operand : a & operand; break;
		case BPF_RET: return f->k;
		case BPF_JMP: {
			bool yes = true;

			switch (BPF_OP(f->code)) {
			case BPF_JA: pc += f->k; continue;
			case BPF_JEQ: yes = a == operand; break;
			case BPF_JGT: yes = a > operand; break;
			case BPF_JGE: yes = a >= operand; break;
			case BPF_JSET: yes = a & operand; break;
			default: fail();
			}
			pc += yes ? f->jt : f->jf;
			break;
		}
		default: fail();
		}
	}
}

static bool admits_from(uint64_t ip, long nr, const uint64_t args[6])
{
	struct seccomp_data data = { .nr = (int)nr, .arch = AUDIT_ARCH_X86_64, .instruction_pointer = ip };
	uint32_t action;

	memcpy(data.args, args, sizeof(data.args));
	action = run(&data);
	assert_true(action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_TRAP);
	return action == SECCOMP_RET_ALLOW;
}

#define ADMITS(nr, ...) admits_from(TEXT + 0x1000, nr, (const uint64_t[6]){ __VA_ARGS__ })

// Arguments with which each call passes.
static bool admits_somehow(uint64_t ip, long nr)
{
	uint64_t args[6] = { 0 };

	if (nr == SYS_tgkill)
		args[2] = HOSTED_KICK_SIGNAL;
	if (nr == SYS_arch_prctl)
		args[0] = ARCH_SET_FS;
	return admits_from(ip, nr, args);
}

static void test_exactly_the_listed_calls_are_admitted(void **state)
{
	unsigned count, admitted = 0;
	const struct filter_call *calls = filter_calls(&count);

	(void)state;
	for (unsigned i = 0; i < count; i++)
		admitted += is_admitted(&calls[i]);
	assert_int_equal(admitted, fsgsbase ? 35 : 36); // more than 35 should be no common host's
	for (int nr = -2; nr < 1200; nr++) {
		bool listed = false;

		for (unsigned i = 0; i < count; i++)
			listed |= calls[i].number == nr && is_admitted(&calls[i]);
		assert_int_equal(admits_somehow(TEXT + 0x1000, nr), listed);
		assert_false(admits_somehow(TEXT + 0x1000, nr | 0x40000000)); // x32
	}
}

static void test_only_from_the_kernels_text(void **state)
{
	const uint64_t bad[] = { 0,
				 0x401000,
				 TEXT - 4096,
				 TEXT - 1,
				 TEXT,
				 TEXT + 1,
				 END + 1,
				 END + 4096,
				 IMAGE,
				 TEXT + (UINT64_C(1) << 32),
				 TEXT + 0x1000 - (UINT64_C(1) << 32),
				 UINT64_MAX };
	unsigned count;
	const struct filter_call *calls = filter_calls(&count);

	(void)state;
	for (unsigned c = 0; c < count; c++) {
		for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++)
			assert_false(admits_somehow(bad[i], calls[c].number));
		if (!is_admitted(&calls[c]))
			continue;
		// The address is that after the instruction's two bytes.
		assert_true(admits_somehow(TEXT + 2, calls[c].number));
		assert_true(admits_somehow(END, calls[c].number));
	}
}

static void test_other_architectures_are_refused(void **state)
{
	struct seccomp_data data = { .nr = SYS_close, .arch = AUDIT_ARCH_I386, .instruction_pointer = TEXT + 0x1000 };

	(void)state;
	assert_int_equal(run(&data), SECCOMP_RET_TRAP);
}

static void test_mappings_stay_below_the_kernel(void **state)
{
	static const long calls[] = { SYS_mmap, SYS_munmap, SYS_mprotect, SYS_madvise };
	static const struct {
		uint64_t addr, size;
		bool good;
	} cases[] = {
		{ 0, 4096, true },
		{ 0x10000, IMAGE - 0x10000, true },
		{ IMAGE - 4096, 4096, true },
		{ IMAGE - 4096, 1, true },
		{ IMAGE - 4096, 4097, false },
		{ IMAGE, 1, false },
		{ IMAGE + 0x100000, 4096, false },
		{ 0x10000, IMAGE, false },
		{ 0, UINT64_C(1) << 47, false },
		{ 0x7ffffffff000, 4096, false },
		{ UINT64_MAX, 2, false },
		{ 4096, UINT64_MAX - 4095, false },
		{ UINT64_C(1) << 63, 4096, false },
		{ 4096, UINT64_C(1) << 63, false },
		{ 0x7f1200000000, 0x34ffe000, true },
		{ 0x7f1200000000, 0x34fff000, true },
		{ 0x7f1200000000, 0x34fff001, false },
		{ 0x7f11fffff000, 0xffffffff, false },
		{ 0x7f11fffff000, 0x35000000, true },
		{ 0x7f11fffff000, 0x35000001, false },
	};

	(void)state;
	for (unsigned c = 0; c < sizeof(calls) / sizeof(*calls); c++)
		for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++)
			assert_int_equal(ADMITS(calls[c], cases[i].addr, cases[i].size), cases[i].good);
}

static void test_mremap_stays_below_at_both_ends(void **state)
{
	(void)state;
	assert_true(ADMITS(SYS_mremap, 0x10000, 4096, 8192, MREMAP_MAYMOVE));
	assert_true(ADMITS(SYS_mremap, 0x10000, 4096, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, IMAGE - 8192));
	assert_false(ADMITS(SYS_mremap, 0x10000, 4096, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, IMAGE - 4096));
	assert_false(ADMITS(SYS_mremap, 0x10000, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, IMAGE));
	assert_false(ADMITS(SYS_mremap, IMAGE, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, 0x10000));
	assert_false(ADMITS(SYS_mremap, IMAGE - 4096, 4096, 8192, 0));
}

static void test_clone_makes_threads_and_plain_processes(void **state)
{
	static const unsigned long refused[] = { CLONE_NEWUSER,  CLONE_NEWPID, CLONE_NEWNS,     CLONE_NEWNET,
						 CLONE_NEWIPC,   CLONE_NEWUTS, CLONE_NEWCGROUP, CLONE_PTRACE,
						 CLONE_UNTRACED, CLONE_PIDFD,  CLONE_IO,        SIGKILL,
						 SIGTERM,        1ul << 32,    1ul << 33 };
	const unsigned long thread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
				     CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

	(void)state;
	assert_true(ADMITS(SYS_clone, thread));
	assert_true(ADMITS(SYS_clone, CLONE_FILES | CLONE_PARENT));
	assert_true(ADMITS(SYS_clone, CLONE_FILES | CLONE_PARENT | SIGCHLD));
	for (unsigned i = 0; i < sizeof(refused) / sizeof(*refused); i++)
		assert_false(ADMITS(SYS_clone, CLONE_FILES | refused[i]));
}

static void test_other_arguments(void **state)
{
	static const int plain[] = { FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET };

	(void)state;
	for (int op = 0; op < 16; op++) {
		bool good = false;

		for (unsigned i = 0; i < 4; i++)
			good |= plain[i] == op;
		assert_int_equal(ADMITS(SYS_futex, 0, (uint64_t)op), good);
		assert_int_equal(ADMITS(SYS_futex, 0, (uint64_t)op | FUTEX_PRIVATE_FLAG), good);
		assert_int_equal(ADMITS(SYS_futex, 0, (uint64_t)op | FUTEX_CLOCK_REALTIME), good);
	}
	assert_true(ADMITS(SYS_tgkill, 1, 1, HOSTED_KICK_SIGNAL));
	assert_false(ADMITS(SYS_tgkill, 1, 1, SIGKILL));
	assert_int_equal(ADMITS(SYS_arch_prctl, ARCH_SET_GS, 5), !fsgsbase);
	assert_int_equal(ADMITS(SYS_arch_prctl, ARCH_GET_FS, 5), !fsgsbase);
	assert_false(ADMITS(SYS_arch_prctl, ARCH_GET_GS, 5));
	assert_false(ADMITS(SYS_arch_prctl, 0x1012 /* ARCH_SET_CPUID */, 0));
	assert_true(ADMITS(SYS_sched_setaffinity, 0, 8, 1));
	assert_false(ADMITS(SYS_sched_setaffinity, 1, 8, 1));
}

static void test_the_length_does_not_depend_on_the_addresses(void **state)
{
	const struct filter_bounds other = { 0x7fff00001000, 0x7fff00002000, 0x7fff00000000, fsgsbase };
	struct sock_filter out[FILTER_MAX];

	(void)state;
	assert_int_equal(filter_build(out, &other), program_size);
	assert_true(program_size <= BPF_MAXINSNS);
}

// docs/security.md says why for each, and for no other.
static void test_the_document_lists_the_same_calls(void **state)
{
	unsigned count, rows = 0;
	const struct filter_call *calls = filter_calls(&count);
	FILE *f = fopen(SECURITY_MD, "r");
	char line[1024], name[64];

	(void)state;
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		bool known = false;

		if (sscanf(line, "| `%63[a-z0-9_]`", name) != 1)
			continue;
		for (unsigned i = 0; i < count; i++)
			known |= !strcmp(calls[i].name, name);
		if (!known)
			fail_msg("%s is in " SECURITY_MD " and not in the filter", name);
		rows++;
	}
	fclose(f);
	assert_int_equal(rows, count);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exactly_the_listed_calls_are_admitted),
		cmocka_unit_test(test_only_from_the_kernels_text),
		cmocka_unit_test(test_other_architectures_are_refused),
		cmocka_unit_test(test_mappings_stay_below_the_kernel),
		cmocka_unit_test(test_mremap_stays_below_at_both_ends),
		cmocka_unit_test(test_clone_makes_threads_and_plain_processes),
		cmocka_unit_test(test_other_arguments),
		cmocka_unit_test(test_the_length_does_not_depend_on_the_addresses),
		cmocka_unit_test(test_the_document_lists_the_same_calls),
	};

	return cmocka_run_group_tests_name("with FSGSBASE", tests, setup_common, NULL) +
	       cmocka_run_group_tests_name("without FSGSBASE", tests, setup_old, NULL);
}
