// SPDX-License-Identifier: Apache-2.0
// Names of core files: what the pattern stands for, and that no part of it leads elsewhere.
#include "proc_fakes.h"

#include "coredump.h"

static struct core_name values = {
	.pid = 12,
	.tid = 13,
	.uid = 1000,
	.gid = 100,
	.signal = 11,
	.limit = UINT64_MAX,
	.time = 77,
	.host = "h",
	.comm = "c",
	.exe = "/usr/bin/x",
};

static void expect(const char *pattern, bool uses_pid, const char *name)
{
	char out[64];
	assert_int_equal(core_name_print(out, sizeof(out), pattern, uses_pid, &values), 0);
	assert_string_equal(out, name);
}

static void fields_are_written_out(void **state)
{
	(void)state;
	expect("core", false, "core");
	expect("/tmp/%h-%e-%p-%i", false, "/tmp/h-c-12-13");
	expect("%u.%g.%s.%t.%d.%c", false, "1000.100.11.77.1.-1");
	expect("%f", false, "x");
	expect("%E", false, "!usr!bin!x");
	expect("100%%", false, "100%");
	expect("a%", false, "a");
	expect("a%qb", false, "ab");
}

static void the_pid_is_told_once(void **state)
{
	(void)state;
	expect("core", true, "core.12");
	expect("core.%p", true, "core.12");
	expect("core.%%p", true, "core.%p.12");
}

static void what_others_chose_is_no_path(void **state)
{
	(void)state;
	values.comm = "..";
	expect("/tmp/%e/x", false, "/tmp/!./x");
	values.comm = ".";
	expect("/tmp/%e/x", false, "/tmp/!/x");
	values.comm = "";
	expect("/tmp/%e/x", false, "/tmp/!/x");
	values.comm = "../../etc/passwd";
	expect("%e", false, "..!..!etc!passwd");
	values.comm = "c";
}

static void a_name_that_is_too_long_is_none(void **state)
{
	char out[6];
	(void)state;
	assert_int_equal(core_name_print(out, sizeof(out), "12345", false, &values), 0);
	assert_int_equal(core_name_print(out, sizeof(out), "123456", false, &values), -ENAMETOOLONG);
	assert_int_equal(core_name_print(out, sizeof(out), "1234", true, &values), -ENAMETOOLONG);
	assert_int_equal(core_name_print(out, sizeof(out), "%E", false, &values), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_are_written_out),
		cmocka_unit_test(the_pid_is_told_once),
		cmocka_unit_test(what_others_chose_is_no_path),
		cmocka_unit_test(a_name_that_is_too_long_is_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
