// SPDX-License-Identifier: Apache-2.0
// Mount options, sizes, users, validation, and how a program is found.
#include "manifest/cell.h"
#include "manifest/program.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char root[64];

static int setup(void **state)
{
	(void)state;
	strcpy(root, "/tmp/cell_test.XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	return system(command);
}

static void write_file(const char *name, const char *text, size_t size, mode_t mode)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	assert_true(fd >= 0 && write(fd, text, size) == (ssize_t)size);
	fchmod(fd, mode);
	close(fd);
}

static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		bool ok;
		uint64_t value;
	} cases[] = {
		{ "1", true, 1ull << 20 },
		{ "512M", true, 512ull << 20 },
		{ "4G", true, 4ull << 30 },
		{ "2GiB", true, 2ull << 30 },
		{ "64k", true, 64ull << 10 },
		{ "1T", true, 1ull << 40 },
		{ "", false, 0 },
		{ "-1", false, 0 },
		{ "1.5G", false, 0 },
		{ "99999999999999999999", false, 0 },
		{ "1X", false, 0 },
		{ "17179869185G", false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint64_t value = 0;

		assert_int_equal(size_parse(cases[i].text, &value), cases[i].ok);
		assert_true(value == cases[i].value);
	}
}

static void test_mount_options(void **state)
{
	struct cell c;
	struct err e;

	(void)state;
	cell_init(&c);
	assert_true(cell_mount_parse(&c, "/usr:/u", &e));
	assert_true(c.mounts[0].read_only);
	assert_true(cell_mount_parse(&c, "/usr:/u//./:rw", &e));
	assert_int_equal(c.mount_count, 1); // the same place: replaced
	assert_false(c.mounts[0].read_only);
	assert_string_equal(c.mounts[0].target, "/u");
	assert_false(cell_mount_parse(&c, "/usr", &e));
	assert_int_equal(e.exit_status, EXIT_USAGE);
	assert_false(cell_mount_parse(&c, "/usr:", &e));
	assert_false(cell_mount_parse(&c, ":/u", &e));
	assert_false(cell_mount_parse(&c, "/usr:relative", &e));
	assert_false(cell_mount_parse(&c, "/usr:/u/../etc", &e));
	assert_false(cell_mount_parse(&c, "/usr:/u:rx", &e));
	assert_false(cell_mount_parse(&c, "/does/not/exist:/u", &e));
	assert_int_equal(e.exit_status, EXIT_GRANT);
	cell_fini(&c);
}

static void test_users(void **state)
{
	struct cell c;
	struct err e;

	(void)state;
	cell_init(&c);
	assert_true(cell_user_parse(&c, "1234:55", &e));
	assert_int_equal(c.uid, 1234);
	assert_int_equal(c.gid, 55);
	assert_int_equal(c.group_count, 0);
	assert_true(cell_user_parse(&c, "root", &e));
	assert_int_equal(c.uid, 0);
	assert_false(cell_user_parse(&c, "no-such-user-here", &e));
	assert_false(cell_user_parse(&c, "4294967295", &e));
	assert_false(cell_user_parse(&c, "0:", &e));
	cell_fini(&c);
}

static void test_validation_sorts_mounts_and_checks_ranges(void **state)
{
	struct cell c;
	struct err e;

	(void)state;
	cell_init(&c);
	c.program = text_copy("/bin/true");
	assert_true(cell_mount_parse(&c, "/usr:/a/b", &e) && cell_mount_parse(&c, "/usr:/a", &e));
	assert_true(cell_validate(&c, &e));
	assert_string_equal(c.mounts[0].target, "/"); // an empty root was made up
	assert_string_equal(c.mounts[0].type, "tmpfs");
	assert_string_equal(c.mounts[1].target, "/a");
	c.memory_bytes = 100 << 20;
	assert_false(cell_validate(&c, &e));
	assert_int_equal(e.exit_status, EXIT_RESOURCES);
	c.memory_bytes = 1ull << 40;
	assert_false(cell_validate(&c, &e));
	c.memory_bytes = CELL_MEMORY_MIN_BYTES;
	c.cpus = CELL_CPUS_MAX + 1;
	assert_false(cell_validate(&c, &e));
	cell_fini(&c);
}

// The tree: root/{bin -> usr/bin, usr/bin/{prog, loop -> loop, up -> /../../bin/prog}}, granted as "/".
static void test_links_are_followed_inside_the_cell(void **state)
{
	char path[PATH_MAX], want[256];
	struct cell c;
	struct err e;

	(void)state;
	cell_init(&c);
	snprintf(path, sizeof(path),
		 "mkdir -p %s/usr/bin && cd %s && ln -s usr/bin bin && ln -s loop usr/bin/loop && "
		 "ln -s /../../bin/prog usr/bin/up",
		 root, root);
	assert_int_equal(system(path), 0);
	write_file("usr/bin/prog", "#!/bin/prog\n", 12, 0755);
	assert_true(cell_mount_add(&c, CELL_HOST_TREE, root, "/", true, &e));
	assert_true(cell_mount_add(&c, "tmpfs", NULL, "/tmp", false, &e));
	assert_true(cell_mount_add(&c, CELL_HOST_TREE, "/usr", "/tmp/host/usr", false, &e));
	snprintf(want, sizeof(want), "%s/usr/bin/prog", root);
	assert_true(cell_path_resolve(&c, "/bin/prog", path));
	assert_string_equal(path, want);
	assert_true(cell_path_resolve(&c, "/bin/up", path));
	assert_string_equal(path, want);
	assert_false(cell_path_resolve(&c, "/bin/loop", path));
	assert_false(cell_path_resolve(&c, "/tmp/x", path)); // the cell's own
	assert_true(cell_path_resolve(&c, "/tmp/host/usr/lib/..", path));
	assert_string_equal(path, "/usr");
	assert_false(cell_path_resolve(&c, "/etc/passwd", path)); // the host has it, the cell does not
	cell_fini(&c);
}

static int check(struct cell *c, const char *program)
{
	struct err e = { 0 };

	free(c->program);
	c->program = text_copy(program);
	return cell_program_check(c, &e) ? 0 : e.exit_status;
}

static void test_programs_are_judged_before_the_start(void **state)
{
	char elf[64] = "\177ELF\2\1\1";
	struct cell c;
	struct err e;

	(void)state;
	cell_init(&c);
	c.uid = 1000;
	assert_true(cell_mount_add(&c, CELL_HOST_TREE, root, "/", true, &e));
	strings_add(&c.envp, "PATH=/nowhere:/");
	write_file("text", "hello\n", 6, 0755);
	write_file("plain", "#!/text\n", 8, 0644);
	write_file("orphan", "#! /none -x\n", 12, 0755);
	elf[16] = 2;
	elf[18] = 62;
	write_file("good", elf, sizeof(elf), 0755);
	write_file("script", "#!/good\n", 8, 0755);
	elf[18] = (char)183;
	write_file("arm", elf, sizeof(elf), 0755);
	assert_int_equal(check(&c, "good"), 0);
	assert_string_equal(c.program, "//good");
	assert_int_equal(check(&c, "/script"), 0);
	assert_int_equal(check(&c, "/arm"), EXIT_NOT_EXECUTABLE);
	assert_int_equal(check(&c, "/text"), EXIT_NOT_EXECUTABLE);
	assert_int_equal(check(&c, "/plain"), EXIT_NOT_EXECUTABLE);
	assert_int_equal(check(&c, "plain"), EXIT_NOT_FOUND); // PATH passes over what cannot run
	assert_int_equal(check(&c, "/orphan"), EXIT_NOT_FOUND);
	assert_int_equal(check(&c, "/"), EXIT_NOT_EXECUTABLE);
	assert_int_equal(check(&c, "/none"), EXIT_NOT_FOUND);
	cell_fini(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_mount_options),
		cmocka_unit_test(test_users),
		cmocka_unit_test(test_validation_sorts_mounts_and_checks_ranges),
		cmocka_unit_test_setup_teardown(test_links_are_followed_inside_the_cell, setup, teardown),
		cmocka_unit_test_setup_teardown(test_programs_are_judged_before_the_start, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
