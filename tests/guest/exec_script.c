// SPDX-License-Identifier: Apache-2.0
// Do #! scripts run with the right arguments, nest, and fail as on Linux?
#include "check.h"

static char self[PATH_MAX];

static void script(const char *name, const char *content)
{
	char text[PATH_MAX + 400];

	snprintf(text, sizeof(text), content, self);
	check_write_file(name, text);
	CHECK_OK(chmod(name, 0755));
}

// Runs NAME one two; its output in `output`. Returns the wait status, or -errno when the exec failed.
static int run(const char *name, char *output, size_t size)
{
	int fds[2], errors[2], error = 0, status;
	char *argv[] = { "zero", "one", "two", NULL }, *envp[] = { "ECHO_ARGS=1", NULL };

	CHECK_OK(pipe2(fds, O_CLOEXEC));
	CHECK_OK(pipe2(errors, O_CLOEXEC));
	pid_t pid = fork();
	if (pid == 0) {
		dup2(fds[1], 1);
		execve(name, argv, envp);
		error = errno;
		if (write(errors[1], &error, sizeof(error)) < 0)
			_exit(98);
		_exit(99);
	}
	close(fds[1]);
	close(errors[1]);
	size_t used = 0;
	ssize_t got;
	while ((got = read(fds[0], output + used, size - 1 - used)) > 0)
		used += got;
	output[used] = 0;
	got = read(errors[0], &error, sizeof(error));
	close(fds[0]);
	close(errors[0]);
	status = check_wait(pid);
	return got == sizeof(error) ? -error : status;
}

int main(int argc, char **argv)
{
	char output[2048], expected[PATH_MAX + 200];

	if (getenv("ECHO_ARGS")) {
		for (int i = 0; i < argc; i++)
			printf("[%s]", argv[i]);
		return 0;
	}
	CHECK(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	check_tmpdir();

	script("plain", "#!%s\necho never read\n");
	CHECK_EQ(run("./plain", output, sizeof(output)), 0);
	snprintf(expected, sizeof(expected), "[%s][./plain][one][two]", self);
	CHECK_STR(output, expected);

	script("argument", "#! \t %s  a b  c \t \n");
	CHECK_EQ(run("./argument", output, sizeof(output)), 0);
	snprintf(expected, sizeof(expected), "[%s][a b  c][./argument][one][two]", self);
	CHECK_STR(output, expected);

	script("unterminated", "#!%s");
	CHECK_EQ(run("./unterminated", output, sizeof(output)), 0);

	script("nested", "#!./plain extra\n");
	CHECK_EQ(run("./nested", output, sizeof(output)), 0);
	snprintf(expected, sizeof(expected), "[%s][./plain][extra][./nested][one][two]", self);
	CHECK_STR(output, expected);

	// Five levels of interpreters are the limit.
	script("n1", "#!./plain\n");
	script("n2", "#!./n1\n");
	script("n3", "#!./n2\n");
	script("n4", "#!./n3\n");
	script("n5", "#!./n4\n");
	CHECK_EQ(run("./n3", output, sizeof(output)), 0);
	CHECK_EQ(run("./n5", output, sizeof(output)), -ELOOP);
	script("self", "#!./self\n");
	CHECK_EQ(run("./self", output, sizeof(output)), -ELOOP);

	script("missing", "#!/nonexistent/interpreter\n");
	CHECK_EQ(run("./missing", output, sizeof(output)), -ENOENT);
	script("directory", "#!/\n");
	CHECK_EQ(run("./directory", output, sizeof(output)), -EACCES);
	script("nothing", "#!\n");
	CHECK_EQ(run("./nothing", output, sizeof(output)), -ENOEXEC);
	script("blank", "#!   \n");
	CHECK_EQ(run("./blank", output, sizeof(output)), -ENOEXEC);
	return check_done();
}
