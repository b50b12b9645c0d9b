// SPDX-License-Identifier: Apache-2.0
// Do rename, link and symlink change names atomically and refuse what Linux refuses?
#include "check.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE  2
#endif

static int rename2(const char *from, const char *to, unsigned flags)
{
	return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

static void renames(void)
{
	struct stat a, b;

	check_write_file("one", "1");
	check_write_file("two", "2");
	CHECK_OK(stat("one", &a));
	CHECK_OK(rename("one", "two")); // replaces
	CHECK_OK(stat("two", &b));
	CHECK_EQ(a.st_ino, b.st_ino);
	CHECK_ERR(access("one", F_OK), ENOENT);
	CHECK_STR(check_read_file("two"), "1");
	CHECK_OK(rename("two", "two"));
	CHECK_OK(link("two", "same"));
	CHECK_OK(rename("two", "same")); // two names of one file: nothing happens
	CHECK_OK(access("two", F_OK));
	CHECK_OK(unlink("same"));

	CHECK_OK(mkdir("d", 0755));
	CHECK_OK(mkdir("e", 0755));
	CHECK_ERR(rename("two", "d"), EISDIR);
	CHECK_ERR(rename("d", "two"), ENOTDIR);
	CHECK_OK(rename("d", "e")); // an empty directory may be replaced
	CHECK_ERR(access("d", F_OK), ENOENT);
	check_write_file("e/file", "");
	CHECK_OK(mkdir("d", 0755));
	CHECK(rename("d", "e") < 0 && (errno == ENOTEMPTY || errno == EEXIST));
	CHECK_ERR(rename("e", "e/inside"), EINVAL); // not into itself
	CHECK_ERR(rename("e/file", "missing/x"), ENOENT);
	CHECK_ERR(rename("missing", "x"), ENOENT);
	CHECK_ERR(rename("two/x", "y"), ENOTDIR);
	CHECK(rename("e", "e/..") < 0 && (errno == EBUSY || errno == ENOTEMPTY));
	CHECK_ERR(rename(".", "y"), EBUSY);
	CHECK_ERR(rename("/proc/self/comm", "x"), EXDEV);
	CHECK_OK(rename("e/file", "file"));
	CHECK_OK(rename("e", "f/"));
	CHECK_OK(access("f", F_OK));
}

static void renames_with_flags(void)
{
	check_write_file("a", "A");
	check_write_file("b", "B");
	CHECK_ERR(rename2("a", "b", RENAME_NOREPLACE), EEXIST);
	CHECK_OK(rename2("a", "c", RENAME_NOREPLACE));
	CHECK_STR(check_read_file("c"), "A");
	CHECK_OK(rename2("b", "c", RENAME_EXCHANGE));
	CHECK_STR(check_read_file("b"), "A");
	CHECK_STR(check_read_file("c"), "B");
	CHECK_ERR(rename2("b", "missing", RENAME_EXCHANGE), ENOENT);
	CHECK_ERR(rename2("b", "c", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
	CHECK_ERR(rename2("b", "c", 0x80), EINVAL);
	CHECK_OK(mkdir("x", 0755));
	check_write_file("x/in", "");
	CHECK_OK(rename2("x", "b", RENAME_EXCHANGE)); // a directory and a file
	CHECK_OK(access("b/in", F_OK));
	CHECK_STR(check_read_file("x"), "A");
	CHECK_ERR(rename2("b", "b/in", RENAME_EXCHANGE), EINVAL);
}

static void hard_links(void)
{
	struct stat a, b;

	check_write_file("h", "hard");
	CHECK_OK(link("h", "h2"));
	CHECK_OK(stat("h", &a));
	CHECK_OK(stat("h2", &b));
	CHECK_EQ(a.st_ino, b.st_ino);
	CHECK_EQ(a.st_nlink, 2);
	check_write_file("h2", "changed");
	CHECK_STR(check_read_file("h"), "changed");
	CHECK_OK(unlink("h"));
	CHECK_OK(stat("h2", &b));
	CHECK_EQ(b.st_nlink, 1);
	CHECK_ERR(link("h2", "h2"), EEXIST);
	CHECK_ERR(link("missing", "m"), ENOENT);
	CHECK_ERR(link("x", "missing/m"), ENOENT);
	CHECK_OK(mkdir("hd", 0755));
	CHECK_ERR(link("hd", "hd2"), EPERM);
	CHECK_ERR(link("/proc/self/comm", "pc"), EXDEV);
	CHECK_OK(symlink("h2", "hs"));
	CHECK_OK(link("hs", "hs2")); // the link itself
	CHECK_OK(lstat("hs2", &a));
	CHECK(S_ISLNK(a.st_mode));
	CHECK_OK(linkat(AT_FDCWD, "hs", AT_FDCWD, "hs3", AT_SYMLINK_FOLLOW));
	CHECK_OK(lstat("hs3", &a));
	CHECK_EQ(a.st_ino, b.st_ino);
}

static void symbolic_links(void)
{
	char target[PATH_MAX], name[32], previous[32];

	CHECK_OK(symlink("any old text", "s"));
	CHECK_EQ(readlink("s", target, sizeof(target)), 12);
	CHECK(memcmp(target, "any old text", 12) == 0);
	CHECK_EQ(readlink("s", target, 5), 5);
	CHECK_ERR(readlink("s", target, 0), EINVAL);
	CHECK_ERR(readlink("h2", target, 5), EINVAL);
	CHECK_ERR(readlink("missing", target, 5), ENOENT);
	CHECK_ERR(symlink("x", "s"), EEXIST);
	CHECK_ERR(symlink("", "empty"), ENOENT);
	CHECK_ERR(symlink("x", "missing/s"), ENOENT);
	CHECK_ERR(open("s", O_RDONLY), ENOENT);
	memset(target, 'x', sizeof(target));
	target[4095] = 0;
	CHECK_OK(symlink(target, "longest"));
	struct stat st;
	CHECK_OK(lstat("longest", &st));
	CHECK_EQ(st.st_size, 4095);

	// Forty may be followed, no more.
	check_write_file("l0", "end");
	for (int i = 1; i <= 41; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		snprintf(previous, sizeof(previous), "l%d", i - 1);
		CHECK_OK(symlink(previous, name));
	}
	CHECK_STR(check_read_file("l40"), "end");
	CHECK_ERR(open("l41", O_RDONLY), ELOOP);

	CHECK_OK(mkdir("real", 0755));
	check_write_file("real/file", "in real");
	CHECK_OK(symlink("real", "alias"));
	CHECK_STR(check_read_file("alias/file"), "in real");
	CHECK_STR(check_read_file("alias/../real/./file"), "in real");
	CHECK_OK(symlink("../real/file", "real/up"));
	CHECK_STR(check_read_file("alias/up"), "in real");
	CHECK_OK(lstat("alias/", &st));
	CHECK(S_ISDIR(st.st_mode)); // the slash follows
	CHECK_ERR(unlink("alias/"), ENOTDIR);
	CHECK_ERR(rmdir("alias"), ENOTDIR);
	CHECK_OK(unlink("alias"));
	CHECK_OK(access("real/file", F_OK));
	CHECK_OK(symlink("/", "root"));
	CHECK_OK(access("root/proc", F_OK));
}

// A name that is always there, while others replace it.
static void replacement_is_atomic(void)
{
	check_write_file("always", "0");
	pid_t pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 200; i++) {
			check_write_file("next", "1");
			if (rename("next", "always") < 0)
				_exit(1);
		}
		_exit(0);
	}
	int missing = 0, status;
	while (waitpid(pid, &status, WNOHANG) == 0) {
		int fd = open("always", O_RDONLY);
		missing += fd < 0;
		if (fd >= 0)
			close(fd);
	}
	CHECK_EQ(missing, 0);
	CHECK_EQ(status, 0);
}

// Opposite renames of directories must not deadlock, nor make loops.
static void crossing_renames(void)
{
	CHECK_OK(mkdir("p", 0755));
	CHECK_OK(mkdir("q", 0755));
	pid_t pids[2];
	for (int i = 0; i < 2; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			for (int n = 0; n < 100; n++) {
				if (i == 0) {
					rename("p", "q/p");
					rename("q/p", "p");
				} else {
					rename("q", "p/q");
					rename("p/q", "q");
				}
			}
			_exit(0);
		}
	}
	for (int i = 0; i < 2; i++)
		CHECK_EQ(check_wait(pids[i]), 0);
	struct stat st;
	CHECK(stat("p", &st) == 0 || stat("q", &st) == 0);
}

int main(void)
{
	check_tmpdir();
	renames();
	renames_with_flags();
	hard_links();
	symbolic_links();
	replacement_is_atomic();
	crossing_renames();
	return check_done();
}
