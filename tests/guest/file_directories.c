// SPDX-License-Identifier: Apache-2.0
// Do directories list, count, grow and refuse as they should?
#include "check.h"
#include <dirent.h>

static void making(void)
{
	struct stat st;
	char cwd[PATH_MAX];

	umask(022);
	CHECK_OK(mkdir("d", 0777));
	CHECK_OK(stat("d", &st));
	CHECK_EQ(st.st_mode, S_IFDIR | 0755);
	CHECK_ERR(mkdir("d", 0777), EEXIST);
	CHECK_ERR(mkdir("d/", 0777), EEXIST);
	CHECK_ERR(mkdir("x/y", 0777), ENOENT);
	CHECK_ERR(mkdir(".", 0777), EEXIST);
	CHECK_ERR(mkdir("/", 0777), EEXIST);
	check_write_file("f", "");
	CHECK_ERR(mkdir("f/x", 0777), ENOTDIR);
	CHECK_OK(mkdir("d/e/", 0777)); // a trailing slash is fine
	CHECK_ERR(rmdir("d"), ENOTEMPTY);
	CHECK_ERR(rmdir("f"), ENOTDIR);
	CHECK_ERR(rmdir("d/."), EINVAL);
	CHECK_ERR(rmdir("d/e/.."), ENOTEMPTY);
	CHECK_ERR(rmdir("missing"), ENOENT);
	CHECK_ERR(unlink("d"), EISDIR);
	CHECK_ERR(unlinkat(AT_FDCWD, "f", AT_REMOVEDIR), ENOTDIR);
	CHECK_ERR(unlinkat(AT_FDCWD, "f", 0x7777), EINVAL);
	CHECK_OK(rmdir("d/e"));
	CHECK_OK(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
	CHECK_OK(unlink("f"));
	CHECK_ERR(unlink("f"), ENOENT);

	// A removed directory under one's feet.
	CHECK_OK(mkdir("feet", 0755));
	CHECK_OK(chdir("feet"));
	CHECK_OK(rmdir("../feet"));
	CHECK_ERR(syscall(SYS_getcwd, cwd, sizeof(cwd)), ENOENT);
	CHECK_ERR(open("new", O_CREAT | O_WRONLY, 0600), ENOENT);
	CHECK_ERR(mkdir("new", 0755), ENOENT);
	CHECK_OK(chdir(check_dir));
}

static void counting_links(void)
{
	struct stat st;

	CHECK_OK(mkdir("parent", 0755));
	CHECK_OK(stat("parent", &st));
	nlink_t before = st.st_nlink;
	CHECK(before == 2 || before == 1); // 1: a file system that does not count
	CHECK_OK(mkdir("parent/a", 0755));
	CHECK_OK(mkdir("parent/b", 0755));
	CHECK_OK(stat("parent", &st));
	CHECK(st.st_nlink == 4 || before == 1);
	CHECK_OK(rmdir("parent/a"));
	CHECK_OK(rename("parent/b", "moved"));
	CHECK_OK(stat("parent", &st));
	CHECK(st.st_nlink == 2 || before == 1);
}

struct entry {
	uint64_t inode;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char name[];
};

static void listing(void)
{
	enum { COUNT = 500 };
	static char seen[COUNT];
	char name[32], buffer[700];
	int others = 0, fd;
	long got;

	CHECK_OK(mkdir("many", 0755));
	for (int i = 0; i < COUNT; i++) {
		snprintf(name, sizeof(name), "many/name-%d", i);
		CHECK_OK(close(open(name, O_CREAT | O_WRONLY, 0600)));
	}
	fd = open("many", O_RDONLY | O_DIRECTORY);
	while ((got = syscall(SYS_getdents64, fd, buffer, sizeof(buffer))) > 0)
		for (long at = 0; at < got;) {
			struct entry *e = (struct entry *)(buffer + at);
			int n;
			CHECK_EQ(e->length % 8, 0);
			CHECK(e->inode != 0);
			if (sscanf(e->name, "name-%d", &n) == 1 && n >= 0 && n < COUNT) {
				seen[n]++;
				CHECK(e->type == DT_REG || e->type == DT_UNKNOWN);
			} else {
				others++;
				CHECK(strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0);
			}
			at += e->length;
		}
	CHECK_EQ(got, 0);
	CHECK_EQ(others, 2);
	for (int i = 0; i < COUNT; i++)
		if (!CHECK_EQ(seen[i], 1))
			break;
	CHECK_EQ(lseek(fd, 0, SEEK_SET), 0); // again from the start
	CHECK(syscall(SYS_getdents64, fd, buffer, sizeof(buffer)) > 0);
	CHECK_ERR(syscall(SYS_getdents64, fd, buffer, 10), EINVAL);
	CHECK_ERR(syscall(SYS_getdents64, fd, 8, 1000), EFAULT);
	CHECK_ERR(syscall(SYS_getdents64, 99, buffer, 1000), EBADF);
	int file = open("many/name-1", O_RDONLY);
	CHECK_ERR(syscall(SYS_getdents64, file, buffer, sizeof(buffer)), ENOTDIR);
	close(file);
	close(fd);

	// Deleting while listing skips nothing and ends.
	DIR *directory = opendir("many");
	struct dirent *d;
	int removed = 0;
	while ((d = readdir(directory)) != NULL)
		if (d->d_name[0] != '.') {
			CHECK_OK(unlinkat(dirfd(directory), d->d_name, 0));
			removed++;
		}
	closedir(directory);
	directory = opendir("many");
	while ((d = readdir(directory)) != NULL)
		if (d->d_name[0] != '.') {
			CHECK_OK(unlinkat(dirfd(directory), d->d_name, 0));
			removed++;
		}
	closedir(directory);
	CHECK_EQ(removed, COUNT);
	CHECK_OK(rmdir("many"));
}

static void positions(void)
{
	CHECK_OK(mkdir("p", 0755));
	check_write_file("p/a", "");
	check_write_file("p/b", "");
	check_write_file("p/c", "");
	DIR *directory = opendir("p");
	readdir(directory);
	readdir(directory);
	long place = telldir(directory);
	struct dirent *d = readdir(directory);
	char name[256] = "";
	if (CHECK(d != NULL))
		strcpy(name, d->d_name);
	while (readdir(directory))
		;
	seekdir(directory, place);
	d = readdir(directory);
	if (CHECK(d != NULL))
		CHECK_STR(d->d_name, name);
	rewinddir(directory);
	check_write_file("p/d", "");
	int count = 0;
	while (readdir(directory))
		count++;
	CHECK_EQ(count, 6);
	closedir(directory);
}

static void working_directory(void)
{
	char cwd[PATH_MAX], expected[PATH_MAX];

	CHECK_OK(mkdir("w", 0755));
	CHECK_OK(mkdir("w/x", 0755));
	CHECK_OK(chdir("w/x"));
	snprintf(expected, sizeof(expected), "%s/w/x", check_dir);
	CHECK_STR(getcwd(cwd, sizeof(cwd)), expected);
	CHECK_OK(rename("../../w", "../../v"));
	snprintf(expected, sizeof(expected), "%s/v/x", check_dir);
	CHECK_STR(getcwd(cwd, sizeof(cwd)), expected);
	CHECK_EQ(syscall(SYS_getcwd, cwd, sizeof(cwd)), (long)strlen(expected) + 1);
	CHECK_ERR(syscall(SYS_getcwd, cwd, 3), ERANGE);
	CHECK_ERR(syscall(SYS_getcwd, 8, 4096), EFAULT);
	CHECK_ERR(chdir("missing"), ENOENT);
	check_write_file("file", "");
	CHECK_ERR(chdir("file"), ENOTDIR);
	CHECK_OK(chdir("../.."));
	CHECK_STR(getcwd(cwd, sizeof(cwd)), check_dir);
	CHECK_OK(chdir("/../../.."));
	CHECK_STR(getcwd(cwd, sizeof(cwd)), "/");
	CHECK_OK(chdir(check_dir));
}

static void changed_root(void)
{
	char cwd[PATH_MAX];

	if (geteuid() != 0)
		return;
	pid_t pid = fork();
	if (pid == 0) {
		CHECK_OK(mkdir("root", 0755));
		check_write_file("root/inside", "in");
		CHECK_OK(symlink("/inside", "root/absolute"));
		CHECK_OK(chroot("root"));
		CHECK_OK(chdir("/"));
		CHECK_STR(check_read_file("/inside"), "in");
		CHECK_STR(check_read_file("/absolute"), "in");
		CHECK_STR(check_read_file("/../../inside"), "in");
		CHECK_STR(getcwd(cwd, sizeof(cwd)), "/");
		CHECK_ERR(open("/proc", O_RDONLY), ENOENT);
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
}

static void deep_and_long(void)
{
	char name[300], path[5000] = "";

	memset(name, 'n', sizeof(name));
	name[255] = 0;
	CHECK_OK(mkdir(name, 0755));
	CHECK_OK(rmdir(name));
	name[255] = 'n';
	name[256] = 0;
	CHECK_ERR(mkdir(name, 0755), ENAMETOOLONG);
	CHECK_ERR(open(name, O_RDONLY), ENAMETOOLONG);
	memset(path, '/', sizeof(path));
	path[4095] = 0;
	CHECK_OK(access(path, F_OK));
	path[4095] = '/';
	path[4096] = 0;
	CHECK_ERR(access(path, F_OK), ENAMETOOLONG);
	for (int i = 0; i < 60; i++) {
		CHECK_OK(mkdir("deep", 0755));
		CHECK_OK(chdir("deep"));
	}
	for (int i = 0; i < 60; i++) {
		CHECK_OK(chdir(".."));
		CHECK_OK(rmdir("deep"));
	}
}

int main(void)
{
	check_tmpdir();
	making();
	counting_links();
	listing();
	positions();
	working_directory();
	changed_root();
	deep_and_long();
	return check_done();
}
