// SPDX-License-Identifier: Apache-2.0
// Does open honour its flags and modes, and fail with the right errno?
#include "check.h"

static void creation(void)
{
	struct stat st;

	umask(027);
	int fd = CHECK_OK(open("new", O_CREAT | O_EXCL | O_WRONLY, 0666));
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_mode, S_IFREG | 0640);
	CHECK_EQ(st.st_size, 0);
	CHECK_EQ(st.st_nlink, 1);
	CHECK_EQ(st.st_uid, geteuid());
	close(fd);
	CHECK_ERR(open("new", O_CREAT | O_EXCL | O_WRONLY, 0666), EEXIST);
	CHECK_OK(symlink("nowhere", "dangling"));
	CHECK_ERR(open("dangling", O_CREAT | O_EXCL | O_WRONLY, 0666), EEXIST);
	fd = CHECK_OK(open("dangling", O_CREAT | O_WRONLY, 0666)); // through the link
	CHECK_OK(access("nowhere", F_OK));
	close(fd);
	// The mode of a new file binds later opens, not this one.
	fd = CHECK_OK(open("readonly", O_CREAT | O_RDWR, 0400));
	CHECK_EQ(write(fd, "x", 1), 1);
	close(fd);
	umask(022);
	CHECK_OK(creat("created", 0644));
}

static void truncation_and_append(void)
{
	char text[32] = "";

	check_write_file("file", "0123456789");
	int fd = CHECK_OK(open("file", O_RDWR | O_TRUNC));
	CHECK_EQ(lseek(fd, 0, SEEK_END), 0);
	close(fd);
	int a = CHECK_OK(open("file", O_WRONLY | O_APPEND)), b = CHECK_OK(open("file", O_WRONLY | O_APPEND));
	CHECK_EQ(write(a, "aa", 2), 2);
	CHECK_EQ(write(b, "bb", 2), 2);
	CHECK_EQ(write(a, "cc", 2), 2);
	CHECK_EQ(lseek(a, 0, SEEK_CUR), 6);
	CHECK_EQ(lseek(a, 0, SEEK_SET), 0);
	CHECK_EQ(write(a, "dd", 2), 2);     // the end, wherever the offset was
	CHECK_EQ(pwrite(a, "ee", 2, 0), 2); // on Linux even pwrite appends
	fd = open("file", O_RDONLY);
	CHECK_EQ(read(fd, text, 32), 10);
	CHECK(memcmp(text, "aabbccddee", 10) == 0);
	close(a);
	close(b);
	close(fd);
}

static void appenders_do_not_overwrite(void)
{
	pid_t pids[4];

	check_write_file("log", "");
	for (int i = 0; i < 4; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			int fd = open("log", O_WRONLY | O_APPEND);
			char line[16];
			for (int n = 0; n < 100; n++) {
				snprintf(line, sizeof(line), "%d:%04d\n", i, n);
				if (write(fd, line, 7) != 7)
					_exit(1);
			}
			_exit(0);
		}
	}
	for (int i = 0; i < 4; i++)
		CHECK_EQ(check_wait(pids[i]), 0);
	struct stat st;
	CHECK_OK(stat("log", &st));
	CHECK_EQ(st.st_size, 2800);
	int next[4] = { 0 }, writer, number;
	for (char *line = strtok(check_read_file("log"), "\n"); line; line = strtok(NULL, "\n"))
		if (CHECK_EQ(sscanf(line, "%d:%d", &writer, &number), 2))
			CHECK_EQ(number, next[writer]++);
}

static void kinds(void)
{
	char byte;
	int fd;

	CHECK_OK(mkdir("directory", 0755));
	CHECK_ERR(open("directory", O_WRONLY), EISDIR);
	CHECK_ERR(open("directory", O_RDWR | O_CREAT, 0644), EISDIR);
	fd = CHECK_OK(open("directory", O_RDONLY | O_DIRECTORY));
	CHECK_ERR(read(fd, &byte, 1), EISDIR);
	CHECK_ERR(pread(fd, &byte, 1, 0), EISDIR);
	CHECK_ERR(write(fd, &byte, 1), EBADF);
	close(fd);
	CHECK_ERR(open("file", O_RDONLY | O_DIRECTORY), ENOTDIR);
	CHECK_ERR(open("file/", O_RDONLY), ENOTDIR);
	CHECK_ERR(open("file/x", O_RDONLY), ENOTDIR);
	CHECK_ERR(open("missing/", O_CREAT | O_RDWR, 0644), EISDIR);
	CHECK_ERR(open("missing", O_RDONLY), ENOENT);
	CHECK_ERR(open("missing/x", O_CREAT | O_RDWR, 0644), ENOENT);
	CHECK_ERR(open("", O_RDONLY), ENOENT);
	CHECK_ERR(open((char *)8, O_RDONLY), EFAULT);
	CHECK_OK(symlink("file", "link"));
	CHECK_ERR(open("link", O_RDONLY | O_NOFOLLOW), ELOOP);
	fd = CHECK_OK(open("link", O_PATH | O_NOFOLLOW));
	struct stat st;
	CHECK_OK(fstat(fd, &st));
	CHECK(S_ISLNK(st.st_mode));
	char target[16] = "";
	CHECK_EQ(readlinkat(fd, "", target, 16), 4);
	close(fd);
	CHECK_OK(symlink("b", "a"));
	CHECK_OK(symlink("a", "b"));
	CHECK_ERR(open("a", O_RDONLY), ELOOP);
	CHECK_ERR(open("file", O_RDONLY | O_TMPFILE), EINVAL);
}

static void relative_to_descriptors(void)
{
	int directory = CHECK_OK(open("directory", O_RDONLY | O_DIRECTORY)), fd;

	fd = CHECK_OK(openat(directory, "inside", O_CREAT | O_WRONLY, 0644));
	close(fd);
	CHECK_OK(access("directory/inside", F_OK));
	CHECK_OK(faccessat(directory, "inside", R_OK, 0));
	int file = open("file", O_RDONLY);
	CHECK_ERR(openat(file, "x", O_RDONLY), ENOTDIR);
	CHECK_ERR(openat(99, "x", O_RDONLY), EBADF);
	CHECK_OK(openat(99, "/", O_RDONLY)); // absolute: the descriptor does not matter
	int path = CHECK_OK(open("directory", O_PATH | O_DIRECTORY));
	fd = CHECK_OK(openat(path, "inside", O_RDONLY));
	close(fd);
	CHECK_OK(fchdir(path));
	CHECK_OK(access("inside", F_OK));
	CHECK_OK(chdir(".."));
	CHECK_ERR(fchdir(file), ENOTDIR);
	close(directory);
	close(file);
	close(path);
}

static void temporary(void)
{
	int fd = open(".", O_TMPFILE | O_RDWR, 0600);

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
		return; // this file system has none
	CHECK_OK(fd);
	struct stat st;
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_nlink, 0);
	CHECK_EQ(write(fd, "secret", 6), 6);
	char path[40];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK_OK(linkat(AT_FDCWD, path, AT_FDCWD, "linked", AT_SYMLINK_FOLLOW));
	CHECK_STR(check_read_file("linked"), "secret");
	close(fd);
	CHECK_ERR(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
}

struct how {
	uint64_t flags, mode, resolve;
};

static void openat2(void)
{
	struct how how = { .flags = O_RDONLY };
	long fd = syscall(SYS_openat2, AT_FDCWD, "file", &how, sizeof(how));

	if (fd < 0 && errno == ENOSYS)
		return;
	CHECK_OK(fd);
	close(fd);
	how.flags = 1ull << 40;
	CHECK_ERR(syscall(SYS_openat2, AT_FDCWD, "file", &how, sizeof(how)), EINVAL);
	how = (struct how){ .flags = O_RDONLY, .mode = 0644 };
	CHECK_ERR(syscall(SYS_openat2, AT_FDCWD, "file", &how, sizeof(how)), EINVAL);
	how = (struct how){ .flags = O_RDONLY, .resolve = 0x08 /* RESOLVE_BENEATH */ };
	int directory = open("directory", O_PATH);
	CHECK_ERR(syscall(SYS_openat2, directory, "../file", &how, sizeof(how)), EXDEV);
	CHECK_ERR(syscall(SYS_openat2, directory, "/", &how, sizeof(how)), EXDEV);
	fd = CHECK_OK(syscall(SYS_openat2, directory, "inside", &how, sizeof(how)));
	close(fd);
	how.resolve = 0x04; // RESOLVE_NO_SYMLINKS
	CHECK_ERR(syscall(SYS_openat2, AT_FDCWD, "link", &how, sizeof(how)), ELOOP);
	CHECK_ERR(syscall(SYS_openat2, AT_FDCWD, "file", &how, 8), EINVAL);
	close(directory);
}

int main(void)
{
	check_tmpdir();
	creation();
	truncation_and_append();
	appenders_do_not_overwrite();
	kinds();
	relative_to_descriptors();
	temporary();
	openat2();
	return check_done();
}
