// SPDX-License-Identifier: Apache-2.0
// A good manifest becomes the cell it describes; a bad one gets a line that names file, line and key.
#include "manifest/manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <cmocka.h>

static bool parse(struct cell *c, const char *text, struct err *e)
{
	cell_init(c);
	return manifest_parse(c, text, strlen(text), "m.toml", "/usr/lib", e);
}

static void test_a_manifest_in_gramines_words(void **state)
{
	static const char text[] = "libos.entrypoint = \"/usr/bin/python3\"\n"
				   "loader.argv = [\"python3\", \"-c\", \"pass\"]\n"
				   "loader.env.LANG = \"C.UTF-8\"\n"
				   "loader.env.HOME = { passthrough = true }\n"
				   "loader.env.X = { value = \"1\" }\n"
				   "loader.uid = 1000\n"
				   "fs.root = { type = \"chroot\", uri = \"file:/\" }\n"
				   "fs.mounts = [\n"
				   "  { path = \"/lib\", uri = \"file:../lib\", read_only = true },\n"
				   "  { type = \"tmpfs\", path = \"/tmp\", size = \"64M\" },\n"
				   "]\n"
				   "fs.start_dir = \"/tmp\"\n"
				   "sys.stack.size = \"256K\"\n"
				   "sys.fds.limit = 77\n"
				   "sgx.enclave_size = \"1G\"\n"
				   "[cell]\n"
				   "memory = \"1G\"\n"
				   "cpus = 2\n"
				   "port = \"qemu\"\n"
				   "pkeys = false\n";
	struct cell c;
	struct err e = { 0 };

	(void)state;
	if (!parse(&c, text, &e) || !cell_validate(&c, &e)) // which sorts the mounts
		fail_msg("%s", e.text);
	assert_string_equal(c.program, "/usr/bin/python3");
	assert_int_equal(c.argv.count, 3);
	assert_string_equal(strings_get_variable(&c.envp, "LANG"), "C.UTF-8");
	assert_string_equal(strings_get_variable(&c.envp, "X"), "1");
	assert_int_equal(c.uid, 1000);
	assert_int_equal(c.mount_count, 3);
	assert_string_equal(c.mounts[0].target, "/");
	assert_true(c.mounts[0].mask_system);
	assert_string_equal(c.mounts[1].source, "/usr/lib");
	assert_true(c.mounts[1].read_only);
	assert_int_equal(c.mounts[2].limit_bytes, 64 << 20);
	assert_int_equal(c.mounts[2].mode, 01777);
	assert_string_equal(c.workdir, "/tmp");
	assert_int_equal(c.rlimit_count, 2);
	assert_int_equal(c.rlimits[1].resource, RLIMIT_STACK);
	assert_int_equal(c.memory_bytes, 1 << 30);
	assert_int_equal(c.cpus, 2);
	assert_int_equal(c.port, CELL_PORT_QEMU);
	assert_true(c.no_pkeys);
	cell_fini(&c);
}

static void test_bad_manifests_name_the_place(void **state)
{
	static const struct {
		const char *text, *says;
		int exit_status;
	} cases[] = {
		{ "x = [", "m.toml: line 1", EXIT_USAGE },
		{ "[[[", "m.toml: not TOML", EXIT_USAGE },
		{ "\nlibos.entry = \"/x\"", "m.toml:2: libos.entry: unknown key", EXIT_USAGE },
		{ "unknown = 1", "m.toml:1: unknown: unknown key", EXIT_USAGE },
		{ "cell.cpus = \"2\"", "cell.cpus must be an integer, not a string", EXIT_USAGE },
		{ "cell.cpus = -1", "cell.cpus must be 0 to 64", EXIT_USAGE },
		{ "cell.memory = \"lots\"", "cell.memory: want a size", EXIT_USAGE },
		{ "cell.pkeys = 1", "cell.pkeys must be a boolean", EXIT_USAGE },
		{ "cell.port = \"sgx\"", "cell.port: want", EXIT_USAGE },
		{ "loader.argv = [1]", "loader.argv must be a string", EXIT_USAGE },
		{ "loader.env.A = { passthrough = 1 }", "loader.env.A must be a boolean", EXIT_USAGE },
		{ "loader.env.A = {}", "loader.env.A: want", EXIT_USAGE },
		{ "loader.env.A = \"a\\u0000b\"", "loader.env.A must be a string", EXIT_USAGE },
		{ "fs.mounts = [{ path = \"/x\" }]", "fs.mounts: a mount of type chroot needs a uri", EXIT_USAGE },
		{ "fs.mounts = [{ uri = \"file:/\" }]", "fs.mounts: a mount needs a path", EXIT_USAGE },
		{ "fs.mounts = [{ path = \"x\", uri = \"file:/\" }]", "must be an absolute path", EXIT_USAGE },
		{ "fs.mounts = [{ path = \"/x\", uri = \"dev:tty\" }]", "want \"file:PATH\"", EXIT_USAGE },
		{ "fs.mounts = [{ path = \"/x\", uri = \"file:/no/such\" }]", "No such file", EXIT_GRANT },
		{ "fs.mounts = [{ type = \"encrypted\", path = \"/x\" }]", "unknown type", EXIT_USAGE },
		{ "fs.mounts = [{ path = \"/x\", url = \"a\" }]", "url: unknown key of a mount", EXIT_USAGE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct cell c;
		struct err e = { 0 };

		assert_false(parse(&c, cases[i].text, &e));
		if (!strstr(e.text, cases[i].says))
			fail_msg("'%s' says '%s', want '%s'", cases[i].text, e.text, cases[i].says);
		assert_int_equal(e.exit_status, cases[i].exit_status);
		cell_fini(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_manifest_in_gramines_words),
		cmocka_unit_test(test_bad_manifests_name_the_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
