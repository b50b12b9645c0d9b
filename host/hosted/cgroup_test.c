// SPDX-License-Identifier: Apache-2.0
// The group on this host, if it lets us make one; and where one would be made, by directories that only look like a hierarchy: the
// reason names the place, and nothing is left there.
#include "hosted/cgroup.h"

#include "abi/control.h"
#include "base/buffer.h"
#include "base/cleanup.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MEMORY_BYTES (UINT64_C(64) << 20)

static char scratch[] = "/tmp/cloister-cgroup-XXXXXX";

static void make_file(const char *path, const char *text)
{
	cleanup_free char *full = text_format("%s/%s", scratch, path);
	FILE *f = fopen(full, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void make_directory(const char *path)
{
	cleanup_free char *full = text_format("%s/%s", scratch, path);

	assert_int_equal(mkdir(full, 0755), 0);
}

static int make_scratch(void **state)
{
	(void)state;
	return mkdtemp(scratch) ? 0 : 1;
}

static int remove_scratch(void **state)
{
	cleanup_free char *command = text_format("rm -r %s", scratch);

	(void)state;
	return system(command);
}

static void refused(const char *membership, const char *reason)
{
	cleanup_free char *file = text_format("%s/membership", scratch);
	char why[CGROUP_WHY_BYTES] = "";
	struct cgroup g;

	make_file("membership", membership);
	assert_false(cgroup_create(&g, scratch, file, MEMORY_BYTES, 100, why));
	assert_non_null(strstr(why, reason));
	assert_int_equal(g.version, 0);
	assert_int_equal(cgroup_clone_fd(&g), -1);
	cgroup_remove(&g);
}

static void hosts_without(void **state)
{
	(void)state;
	refused("", "no cgroup hierarchy with a memory controller");
	refused("0::/a/b\n", "no cgroup hierarchy with a memory controller");
	refused("nonsense\n:::\n1:cpu\n", "no cgroup hierarchy with a memory controller");
	refused("3:memory:/a\n", "cannot make a cgroup in");
}

static void version_1_is_made_below_ours(void **state)
{
	(void)state;
	make_directory("memory");
	make_directory("memory/ours");
	// No file to write the limit to here.
	refused("4:cpu:/x\n3:freezer,memory:/ours\n", "memory/ours/cloister-");
	refused("3:memory:/not-mounted-here\n", "memory/cloister-");
}

static void version_2_is_made_where_the_controller_is_handed_on(void **state)
{
	(void)state;
	make_file("cgroup.controllers", "cpu memory pids\n");
	make_directory("user");
	make_directory("user/app");
	make_directory("user/app/scope");
	make_file("user/app/scope/cgroup.subtree_control", "\n");
	make_file("user/app/cgroup.subtree_control", "cpu\n");
	make_file("user/cgroup.subtree_control", "cpu memory pids\n");
	refused("0::/user/app/scope\n", "/user/cloister-");
	make_file("user/app/cgroup.subtree_control", "memory\n");
	refused("0::/user/app/scope\n", "/user/app/cloister-");
	make_file("user/app/cgroup.subtree_control", "hugetlb memory-like\n");
	make_file("user/cgroup.subtree_control", "cpu\n");
	refused("0::/user/app/scope\n", "no cgroup with a memory controller can be made");
}

// Touches more than there is: waits, or is killed once the killer is on.
static void touch_memory(const struct cgroup *g, int ready)
{
	char *memory = malloc(2 * MEMORY_BYTES);

	if (!cgroup_join(g) || !memory)
		_exit(1);
	(void)!write(ready, "", 1);
	for (size_t i = 0; i < 2 * MEMORY_BYTES; i += 4096)
		memory[i] = 1;
	_exit(2);
}

static void a_group_bounds_memory(void **state)
{
	char why[CGROUP_WHY_BYTES], byte;
	struct control_usage usage[4];
	int status, ready[2];
	struct cgroup g;
	struct stat st;
	pid_t pid;

	(void)state;
	if (!cgroup_create(&g, CGROUP_ROOT, "/proc/self/cgroup", MEMORY_BYTES, 100, why)) {
		print_message("not on this host: %s\n", why);
		skip();
	}
	if (g.version != 1 || g.notice < 0) { // version 2 is joined by clone3(2)
		cgroup_remove(&g);
		skip();
	}
	cleanup_free char *directory = text_copy(g.directories[0]);
	assert_false(cgroup_is_low(&g));
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (!pid)
		touch_memory(&g, ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	for (unsigned i = 0; i < 1000 && !cgroup_is_low(&g); i++)
		usleep(10000);
	assert_int_equal(cgroup_usage(&g, usage, 4), 1);
	assert_int_equal(usage[0].process, pid);
	assert_true(usage[0].pages > MEMORY_BYTES / 4096 / 2);
	assert_false(cgroup_has_killed(&g));
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	// Nobody ends: it is lent some, and then the host ends it.
	for (unsigned i = 0; i < 1000 && !cgroup_has_killed(&g); i++) {
		cgroup_is_low(&g);
		usleep(10000);
	}
	assert_true(cgroup_has_killed(&g));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	cgroup_remove(&g);
	assert_int_not_equal(stat(directory, &st), 0);
	cgroup_remove(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts_without),
		cmocka_unit_test(version_1_is_made_below_ours),
		cmocka_unit_test(version_2_is_made_where_the_controller_is_handed_on),
		cmocka_unit_test(a_group_bounds_memory),
	};

	return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
