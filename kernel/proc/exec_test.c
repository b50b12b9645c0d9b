// SPDX-License-Identifier: Apache-2.0
// Arguments, scripts and the first stack: limits, order, alignment, pointers that point at the right strings.
#include "proc_fakes.h"

#include "exec.h"
#include "kernel/random.h"

#include <linux/auxvec.h>

static struct process process;
static struct task task = { .process = &process };
static uint8_t memory[64 * 4096] __attribute__((aligned(4096)));

uint64_t process_rlimit(struct process *p, unsigned resource) { return p->rlimits[resource].rlim_cur; }
bool fatal_signal_pending(struct task *t) { return t == NULL; }
void random_bytes(void *out, size_t size) { memset(out, 0x5a, size); }
uint64_t sigframe_size_bytes(void) { return 3000; }
uint64_t port_hwcap(void) { return 1; }
uint64_t port_hwcap2(void) { return 2; }
long mm_map(struct mm *mm, uint64_t hint, uint64_t size, unsigned flags, unsigned map_flags, struct file *file,
	    struct mobj *object, uint64_t page, const char *name)
{
	(void)mm, (void)size, (void)flags, (void)map_flags, (void)file, (void)object, (void)page, (void)name;
	return (long)hint;
}
size_t port_copy_out(uint64_t to, const void *from, size_t size)
{
	memcpy((void *)to, from, size);
	return 0;
}
// The kernel may read a page's worth of pointers beyond the end of a vector: not for the sanitizer to judge.
__attribute__((no_sanitize_address)) size_t port_copy_in(void *to, uint64_t from, size_t size)
{
	if (from < 4096)
		return size;
	for (size_t i = 0; i < size; i++)
		((volatile char *)to)[i] = ((const volatile char *)from)[i];
	return 0;
}
long port_string_in(char *to, uint64_t from, size_t size)
{
	if (from < 4096)
		return -EFAULT;
	size_t n = strnlen((const char *)from, size);
	memcpy(to, (const char *)from, n < size ? n + 1 : size);
	return (long)n;
}

static int set_up(void **state)
{
	(void)state;
	fake_current = &task;
	process.rlimits[RLIMIT_STACK].rlim_cur = 8 << 20;
	memset(memory, 0xee, sizeof(memory));
	return 0;
}

static struct uptr user(const void *p) { return (struct uptr){ (uint64_t)p }; }

static const uint64_t *build(struct exec_args *a, struct exec_stack *s)
{
	uint64_t auxv[] = { AT_PAGESZ, 4096, AT_NULL, 0 };
	assert_int_equal(exec_stack_plan(a, (uint64_t)memory + sizeof(memory), 4, s), 0);
	assert_int_equal(exec_stack_write(a, s, auxv, 4), 0);
	return (const uint64_t *)s->sp;
}

static void the_stack_is_what_the_abi_says(void **state)
{
	const char *argv[] = { "prog", "one", "", NULL }, *envp[] = { "A=1", "B=2", NULL };
	struct exec_args a;
	struct exec_stack s;
	(void)state;
	exec_args_init(&a, "/bin/prog");
	assert_int_equal(exec_args_from_user(&a, user(argv), user(envp)), 0);
	const uint64_t *p = build(&a, &s);
	assert_int_equal(s.sp % 16, 0);
	assert_int_equal(*p++, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_string_equal((const char *)*p++, argv[i]);
	assert_int_equal(*p++, 0);
	for (unsigned i = 0; i < 2; i++)
		assert_string_equal((const char *)*p++, envp[i]);
	assert_int_equal(*p++, 0);
	assert_int_equal(*p++, AT_PAGESZ);
	assert_int_equal(*p++, 4096);
	assert_int_equal(*p++, AT_NULL);
	assert_string_equal((const char *)s.execfn, "/bin/prog");
	assert_string_equal((const char *)s.platform, "x86_64");
	assert_int_equal(*(const uint8_t *)s.random, 0x5a);
	assert_int_equal(*(const uint64_t *)(memory + sizeof(memory) - 8), 0);
	exec_args_destroy(&a);
}

static void strings_may_be_longer_than_a_page(void **state)
{
	char *big = malloc(10001);
	const char *argv[] = { big, "after", NULL }, *envp[] = { NULL };
	struct exec_args a;
	struct exec_stack s;
	(void)state;
	memset(big, 'x', 10000);
	big[10000] = 0;
	exec_args_init(&a, "p");
	assert_int_equal(exec_args_from_user(&a, user(argv), user(envp)), 0);
	const uint64_t *p = build(&a, &s);
	assert_int_equal(p[0], 2);
	assert_string_equal((const char *)p[1], big);
	assert_string_equal((const char *)p[2], "after");
	// As a script's first argument it is skipped as a whole.
	assert_int_equal(exec_args_push_interpreter(&a, "/sh", NULL, "p"), 0);
	p = build(&a, &s);
	assert_int_equal(p[0], 3);
	assert_string_equal((const char *)p[3], "after");
	exec_args_destroy(&a);
	free(big);
}

static void limits_are_e2big(void **state)
{
	char *big = malloc(EXEC_STRING_MAX + 1);
	const char *one[] = { big, NULL }, *none[] = { NULL };
	struct exec_args a;
	(void)state;
	memset(big, 'x', EXEC_STRING_MAX);
	big[EXEC_STRING_MAX] = 0;
	exec_args_init(&a, "p");
	assert_int_equal(exec_args_from_user(&a, user(one), user(none)), -E2BIG);
	exec_args_destroy(&a);
	big[EXEC_STRING_MAX - 1] = 0; // the longest that may be
	exec_args_init(&a, "p");
	assert_int_equal(exec_args_from_user(&a, user(one), user(none)), 0);
	exec_args_destroy(&a);
	// All together: a quarter of the stack, at least 128 KiB.
	process.rlimits[RLIMIT_STACK].rlim_cur = 4096;
	exec_args_init(&a, "p");
	assert_int_equal(a.limit, 128 << 10);
	const char *two[] = { big, big, NULL };
	assert_int_equal(exec_args_from_user(&a, user(two), user(none)), -E2BIG);
	exec_args_destroy(&a);
	free(big);
}

static void bad_pointers_are_efault_and_no_arguments_are_one(void **state)
{
	const char *bad[] = { "x", (const char *)8, NULL }, *none[] = { NULL };
	struct exec_args a;
	struct exec_stack s;
	(void)state;
	exec_args_init(&a, "p");
	assert_int_equal(exec_args_from_user(&a, user(bad), user(none)), -EFAULT);
	exec_args_destroy(&a);
	exec_args_init(&a, "p");
	assert_int_equal(exec_args_from_user(&a, (struct uptr){ 8 }, user(none)), -EFAULT);
	exec_args_destroy(&a);
	exec_args_init(&a, "p");
	assert_int_equal(exec_args_from_user(&a, (struct uptr){ 0 }, (struct uptr){ 0 }), 0);
	const uint64_t *p = build(&a, &s);
	assert_int_equal(p[0], 1);
	assert_string_equal((const char *)p[1], "");
	exec_args_destroy(&a);
}

static void nested_interpreters_replace_the_first_argument(void **state)
{
	const char *argv[] = { "zero", "rest", NULL }, *none[] = { NULL };
	const char *expected[] = { "/bin/inner", "/bin/outer", "-x y", "/script", "rest" };
	struct exec_args a;
	struct exec_stack s;
	(void)state;
	exec_args_init(&a, "/script");
	assert_int_equal(exec_args_from_user(&a, user(argv), user(none)), 0);
	assert_int_equal(exec_args_push_interpreter(&a, "/bin/outer", "-x y", "/script"), 0);
	assert_int_equal(exec_args_push_interpreter(&a, "/bin/inner", NULL, "/bin/outer"), 0);
	const uint64_t *p = build(&a, &s);
	assert_int_equal(p[0], 5);
	for (unsigned i = 0; i < 5; i++)
		assert_string_equal((const char *)p[1 + i], expected[i]);
	exec_args_destroy(&a);
}

static int parse(const char *line, char **interpreter, char **argument)
{
	static char head[EXEC_HEAD_BYTES];
	memset(head, 0, sizeof(head));
	memcpy(head, line, strlen(line));
	return exec_script_parse(head, strlen(line), interpreter, argument);
}

static void script_lines(void **state)
{
	char *i, *a, line[400];
	(void)state;
	assert_int_equal(parse("#!/bin/sh\nx", &i, &a), 0);
	assert_string_equal(i, "/bin/sh");
	assert_null(a);
	assert_int_equal(parse("#! \t/bin/sh -e -u  \t\nx", &i, &a), 0);
	assert_string_equal(i, "/bin/sh");
	assert_string_equal(a, "-e -u");
	assert_int_equal(parse("#!/bin/sh", &i, &a), 0); // the file ends
	assert_string_equal(i, "/bin/sh");
	assert_int_equal(parse("#!\n/bin/sh", &i, &a), -ENOEXEC);
	assert_int_equal(parse("#!   ", &i, &a), -ENOEXEC);
	assert_int_equal(parse("#", &i, &a), -ENOEXEC);
	assert_int_equal(parse("", &i, &a), -ENOEXEC);
	memset(line, 'a', sizeof(line));
	memcpy(line, "#!", 2);
	line[399] = 0;
	assert_int_equal(parse(line, &i, &a), -ENOEXEC); // the name is cut
	memcpy(line, "#!/bin/sh ", 10);
	assert_int_equal(parse(line, &i, &a), 0); // only the argument is
	assert_string_equal(i, "/bin/sh");
	assert_int_equal(strlen(a), 256 - 10 - 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, set_up)
	const struct CMUnitTest tests[] = {
		T(the_stack_is_what_the_abi_says),
		T(strings_may_be_longer_than_a_page),
		T(limits_are_e2big),
		T(bad_pointers_are_efault_and_no_arguments_are_one),
		T(nested_interpreters_replace_the_first_argument),
		T(script_lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
