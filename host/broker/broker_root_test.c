// SPDX-License-Identifier: Apache-2.0
// Roots as the launcher makes them: clones in a mount namespace of the broker's own, root's and an ordinary user's.
#include "broker/test_client.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <setjmp.h>
#include <stddef.h>
#include <cmocka.h>

#define USER 65534u

static void must(bool done, const char *what)
{
	if (done)
		return;
	perror(what);
	_exit(1);
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	must(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), path);
	close(fd);
}

static void become_user(void)
{
	char map[64];

	must(!setgroups(0, NULL) && !setresgid(USER, USER, USER) && !setresuid(USER, USER, USER), "user");
	must(!prctl(PR_SET_DUMPABLE, 1), "dumpable");
	must(!unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare");
	snprintf(map, sizeof(map), "%u %u 1", USER, USER);
	write_text("/proc/self/uid_map", map);
	write_text("/proc/self/setgroups", "deny");
	write_text("/proc/self/gid_map", map);
}

static void clone_root(struct broker_root *root, const char *path)
{
	struct err e;

	if (!broker_root_open(root, path, true, &e) || !broker_roots_cover(root, 1, &e))
		fprintf(stderr, "%s\n", e.text);
	must(root->fd >= 0 && root->no_devices && !root->hide_system, "root");
}

static void as_root(struct broker_root *root, const char *path)
{
	must(!unshare(CLONE_NEWNS), "unshare");
	clone_root(root, path);
}

static void as_user(struct broker_root *root, const char *path)
{
	become_user();
	clone_root(root, path);
}

static void whole_host_as_root(struct broker_root *root, const char *path)
{
	(void)path;
	as_root(root, "/");
}

static void whole_host_as_user(struct broker_root *root, const char *path)
{
	(void)path;
	as_user(root, "/");
}

static bool user_namespaces_work(void)
{
	FILE *f = fopen("/proc/sys/user/max_user_namespaces", "re");
	int n = 0;

	if (f && fscanf(f, "%d", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n > 0;
}

static void serves(void (*open_root)(struct broker_root *, const char *), bool user)
{
	struct client c;
	struct fuse_entry_out e;
	struct fuse_setattr_in chown = { .valid = FATTR_UID, .uid = 1234 };
	char name[128];
	int fd;

	client_start(&c, &(struct client_options){ .process = true, .open_root = open_root });
	snprintf(name, sizeof(name), "%s/device", c.root);
	assert_int_equal(mknod(name, S_IFCHR | 0666, makedev(1, 3)), 0);
	client_write(&c, "root/file", "text");
	assert_int_equal(chmod(client_path(&c, "root/file"), 0600), 0);
	if (user)
		assert_int_equal(chmod(c.root, 0777), 0);
	assert_int_equal(client_lookup_open(&c, 1, "device", O_RDWR, &e), -ENXIO);
	// root's, and closed to others
	fd = client_lookup_open(&c, 1, "file", O_RDWR, &e);
	assert_true(user ? fd == -EACCES : fd >= 0);
	if (fd >= 0)
		close(fd);
	fd = client_create(&c, 1, "mine", O_RDWR, &e);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(e.attr.uid, user ? USER : 0);
	assert_int_equal(client_call(&c, FUSE_SETATTR, e.nodeid, &chown, sizeof(chown), NULL), user ? -EINVAL : 0);
	assert_int_equal(chmod(client_path(&c, "root/mine"), 0), 0);
	fd = client_lookup_open(&c, 1, "mine", O_RDONLY, &e);
	assert_true(user ? fd == -EACCES : fd >= 0); // no capabilities over one's own
	if (fd >= 0)
		close(fd);
	client_stop(&c);
}

static void roots_clone(void **state)
{
	(void)state;
	if (geteuid())
		skip();
	serves(as_root, false);
}

static void users_clone(void **state)
{
	(void)state;
	if (geteuid() || !user_namespaces_work())
		skip();
	serves(as_user, true);
}

static void host_without_its_system_trees(void (*open_root)(struct broker_root *, const char *))
{
	static const char *const hidden[] = { "proc", "sys", "dev", "run", "tmp" };
	struct client c;
	struct fuse_entry_out e;
	struct fuse_read_in in = { .size = 65536 };
	char name[64];
	struct stat s;

	client_start(&c, &(struct client_options){
				 .process = true, .open_root = open_root, .hide_system = true, .read_only = true });
	for (size_t i = 0; i < sizeof(hidden) / sizeof(*hidden); i++) {
		snprintf(name, sizeof(name), "/%s", hidden[i]);
		if (lstat(name, &s) || !S_ISDIR(s.st_mode))
			continue;
		assert_int_equal(client_lookup(&c, 1, hidden[i], &e), 0);
		assert_int_equal(client_call(&c, BROKER_READ_DIRECTORY, e.nodeid, &in, sizeof(in), NULL), 0);
		assert_true(c.answer_bytes <= sizeof(struct fuse_open_out) + 2 * 160); // "." and ".."
	}
	assert_int_equal(client_lookup(&c, 1, "etc", &e), 0);
	int fd = client_lookup_open(&c, e.nodeid, "passwd", O_RDONLY, &e);
	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, 0644), -1); // the mount is read-only, whoever holds the descriptor
	assert_int_equal(errno, EROFS);
	close(fd);
	client_stop(&c);
}

static void whole_host(void **state)
{
	(void)state;
	if (geteuid())
		skip();
	host_without_its_system_trees(whole_host_as_root);
	if (user_namespaces_work())
		host_without_its_system_trees(whole_host_as_user);
}

static void what_cannot_be_granted(void **state)
{
	struct broker_root root = { 0 };
	struct err e;

	(void)state;
	assert_false(broker_root_open(&root, "/nonexistent", false, &e));
	assert_int_equal(e.exit_status, EXIT_GRANT);
	assert_string_equal(e.text, "cannot open /nonexistent: No such file or directory");
	assert_false(broker_root_open(&root, "/dev/null", false, &e));
	assert_string_equal(e.text, "/dev/null is neither a directory nor a file");
	assert_true(broker_root_open(&root, "/etc/passwd", false, &e));
	assert_false(root.no_devices);
	close(root.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(roots_clone),
		cmocka_unit_test(users_clone),
		cmocka_unit_test(whole_host),
		cmocka_unit_test(what_cannot_be_granted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
