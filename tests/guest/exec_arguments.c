// SPDX-License-Identifier: Apache-2.0
// Does execve pass argv and envp whole, keep Linux's limits, and fail with Linux's errno?
#include "check.h"
#include <sys/resource.h>

static char self[PATH_MAX];

// Runs this program again; the child's exit status or -errno of the exec.
static int run(char **argv, char **envp)
{
	int fds[2], error = 0, status;

	CHECK_OK(pipe2(fds, O_CLOEXEC));
	pid_t pid = fork();
	if (pid == 0) {
		execve(self, argv, envp);
		error = errno;
		if (write(fds[1], &error, sizeof(error)) < 0)
			_exit(98);
		_exit(99);
	}
	close(fds[1]);
	ssize_t got = read(fds[0], &error, sizeof(error));
	close(fds[0]);
	status = check_wait(pid);
	if (got == sizeof(error))
		return -error;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void passes_everything(void)
{
	char *argv[] = { "name", "check", "", "two words", "\xff\x01", NULL };
	char *envp[] = { "A=1", "EMPTY=", "NOEQUALS", "A=2", NULL };

	CHECK_EQ(run(argv, envp), 0);
}

static int child_checks(int argc, char **argv)
{
	CHECK_EQ(argc, 5);
	CHECK_STR(argv[0], "name");
	CHECK_STR(argv[2], "");
	CHECK_STR(argv[3], "two words");
	CHECK_STR(argv[4], "\xff\x01");
	CHECK(argv[5] == NULL);
	CHECK_STR(environ[0], "A=1");
	CHECK_STR(environ[1], "EMPTY=");
	CHECK_STR(environ[2], "NOEQUALS");
	CHECK_STR(environ[3], "A=2");
	CHECK(environ[4] == NULL);
	CHECK_EQ((uintptr_t)argv % 8, 0);
	return check_done();
}

static void many_arguments(void)
{
	enum { COUNT = 10000 };
	char **argv = calloc(COUNT + 3, sizeof(*argv));
	char *envp[] = { NULL };

	argv[0] = "name";
	argv[1] = "count";
	for (int i = 2; i < COUNT; i++)
		argv[i] = "argument";
	CHECK_EQ(run(argv, envp), COUNT % 251);
	free(argv);
}

static void limits(void)
{
	size_t size = 131072; // MAX_ARG_STRLEN
	char *big = malloc(size + 1), *envp[] = { NULL };
	char *argv[] = { "name", "length", big, NULL };

	memset(big, 'x', size + 1);
	big[size - 1] = 0;
	CHECK_EQ(run(argv, envp), (size - 1) % 251);
	big[size - 1] = 'x';
	big[size] = 0;
	CHECK_EQ(run(argv, envp), -E2BIG);

	// More than a quarter of the stack limit (8 MiB) in all.
	char **many = calloc(40, sizeof(*many));
	big[size - 1] = 0;
	many[0] = "name";
	many[1] = "count";
	for (int i = 2; i < 30; i++)
		many[i] = big;
	CHECK_EQ(run(many, envp), -E2BIG);
	free(many);
	free(big);
}

static void errors(void)
{
	char *argv[] = { "x", NULL }, *envp[] = { NULL };
	int fd;

	CHECK_ERR(execve("", argv, envp), ENOENT);
	CHECK_ERR(execve("nothing", argv, envp), ENOENT);
	CHECK_ERR(execve("/", argv, envp), EACCES);
	CHECK_ERR(execve((char *)8, argv, envp), EFAULT);
	CHECK_ERR(execve(self, (char **)8, envp), EFAULT);
	CHECK_ERR(execve(self, argv, (char **)8), EFAULT);
	check_write_file("plain", "not a program\n");
	CHECK_ERR(execve("plain", argv, envp), EACCES);
	chmod("plain", 0755);
	CHECK_ERR(execve("plain", argv, envp), ENOEXEC);
	check_write_file("empty", "");
	chmod("empty", 0755);
	CHECK_ERR(execve("empty", argv, envp), ENOEXEC);
	check_write_file("short", "\x7f"
				  "ELF\x02\x01\x01");
	chmod("short", 0755);
	CHECK_ERR(execve("short", argv, envp), ENOEXEC);
	CHECK_ERR(execve("plain/x", argv, envp), ENOTDIR);
	CHECK_OK(symlink("loop", "loop"));
	CHECK_ERR(execve("loop", argv, envp), ELOOP);

	// A program that is open for writing is busy.
	fd = CHECK_OK(open("plain", O_WRONLY));
	CHECK_ERR(execve("plain", argv, envp), ETXTBSY);
	close(fd);
}

// A copy of a wrong-architecture header.
static void wrong_architecture(void)
{
	char *argv[] = { "x", NULL }, *envp[] = { NULL };
	unsigned char header[64] = { 0x7f, 'E', 'L', 'F', 2, 1, 1 };
	int fd = CHECK_OK(open("arm", O_WRONLY | O_CREAT, 0755));

	header[16] = 2;
	header[18] = 183; // EM_AARCH64
	header[20] = 1;
	CHECK_EQ(write(fd, header, sizeof(header)), (ssize_t)sizeof(header));
	close(fd);
	CHECK_ERR(execve("arm", argv, envp), ENOEXEC);
}

static void empty_argv(void)
{
	char *none[] = { NULL }, *envp[] = { "EMPTY_ARGV=1", NULL };

	// Since Linux 5.18 the program sees argc 1 and an empty string.
	CHECK_EQ(run(none, envp), 33);
}

static void by_descriptor(void)
{
	char *argv[] = { "name", "count", NULL }, *envp[] = { NULL };
	int fd = CHECK_OK(open(self, O_PATH | O_CLOEXEC));
	pid_t pid = fork();

	if (pid == 0) {
		syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH);
		_exit(99);
	}
	CHECK_EQ(check_wait(pid), 2 << 8);
	CHECK_ERR(syscall(SYS_execveat, fd, "", argv, envp, 0), ENOENT);
	CHECK_ERR(syscall(SYS_execveat, 99, "x", argv, envp, 0), EBADF);
	CHECK_OK(symlink(self, "link"));
	CHECK_ERR(syscall(SYS_execveat, AT_FDCWD, "link", argv, envp, AT_SYMLINK_NOFOLLOW), ELOOP);
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "check") == 0)
		return child_checks(argc, argv);
	if (argc > 1 && strcmp(argv[1], "count") == 0)
		return argc % 251;
	if (argc > 2 && strcmp(argv[1], "length") == 0)
		return strlen(argv[2]) % 251;
	if (getenv("EMPTY_ARGV"))
		return argc == 1 && argv[0][0] == 0 ? 33 : 34;
	CHECK(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	check_tmpdir();
	passes_everything();
	many_arguments();
	limits();
	errors();
	wrong_architecture();
	empty_argv();
	by_descriptor();
	return check_done();
}
