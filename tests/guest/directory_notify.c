// SPDX-License-Identifier: Apache-2.0
// Which changes does F_NOTIFY tell of, how often, and by which signal? fcntl(2), "File and directory change notification".
#include "check.h"

#include <dirent.h>
#include <poll.h>

static volatile sig_atomic_t plain, chosen, last_code, last_fd;
static volatile long last_band;

static void on_plain(int signal)
{
	(void)signal;
	plain++;
}

static void on_chosen(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)context;
	last_code = info->si_code;
	last_fd = info->si_fd;
	last_band = info->si_band;
	chosen++;
}

static void handle(void)
{
	struct sigaction a = { .sa_handler = on_plain, .sa_flags = SA_RESTART };
	CHECK_OK(sigaction(SIGIO, &a, NULL));
	a = (struct sigaction){ .sa_sigaction = on_chosen, .sa_flags = SA_SIGINFO | SA_RESTART };
	CHECK_OK(sigaction(SIGRTMIN + 1, &a, NULL));
}

// A directory of its own that is watched for `mask`, by SIGRTMIN + 1.
static int watched(const char *name, unsigned long mask)
{
	CHECK_OK(mkdir(name, 0700));
	int fd = CHECK_OK(open(name, O_RDONLY | O_DIRECTORY));
	CHECK_OK(fcntl(fd, F_SETSIG, SIGRTMIN + 1));
	CHECK_OK(fcntl(fd, F_NOTIFY, mask));
	chosen = 0;
	return fd;
}

// The signals since the last time.
static int told(void)
{
	int n = chosen;
	chosen = 0;
	return n;
}

static void each_event(void)
{
	char c;
	int fd = watched("create", DN_CREATE | DN_MULTISHOT);
	check_write_file("create/a", "x");
	CHECK_EQ(told(), 1);
	CHECK_EQ(last_code, POLL_MSG);
	CHECK_EQ(last_fd, fd);
	CHECK_EQ(last_band, POLLIN | POLLRDNORM | POLLMSG);
	CHECK_OK(mkdir("create/d", 0700));
	CHECK_OK(symlink("x", "create/s"));
	CHECK_OK(link("create/a", "create/l"));
	CHECK_EQ(told(), 3);
	check_write_file("outside", "x");
	CHECK_OK(rename("outside", "create/inside"));
	CHECK_EQ(told(), 1);
	check_write_file("create/a", "y"); // it exists
	check_write_file("create/d/deeper", "x");
	CHECK_OK(unlink("create/a"));
	CHECK_EQ(told(), 0);
	close(fd);

	fd = watched("delete", DN_DELETE | DN_MULTISHOT);
	check_write_file("delete/a", "x");
	check_write_file("delete/b", "x");
	CHECK_OK(mkdir("delete/d", 0700));
	CHECK_EQ(told(), 0);
	CHECK_OK(unlink("delete/a"));
	CHECK_OK(rmdir("delete/d"));
	CHECK_OK(rename("delete/b", "elsewhere"));
	CHECK_EQ(told(), 3);
	close(fd);

	fd = watched("modify", DN_MODIFY | DN_MULTISHOT);
	int file = CHECK_OK(open("modify/a", O_RDWR | O_CREAT, 0600));
	CHECK_EQ(told(), 0);
	CHECK_EQ(write(file, "x", 1), 1);
	CHECK_OK(ftruncate(file, 0));
	CHECK_EQ(told(), 2);
	CHECK_EQ(pread(file, &c, 1, 0), 0);
	CHECK_OK(fchmod(file, 0644));
	CHECK_EQ(told(), 0);
	close(fd);

	CHECK_OK(mkdir("access", 0700));
	check_write_file("access/a", "xyz");
	int reader = CHECK_OK(open("access/a", O_RDONLY));
	fd = CHECK_OK(open("access", O_RDONLY));
	CHECK_OK(fcntl(fd, F_SETSIG, SIGRTMIN + 1));
	CHECK_OK(fcntl(fd, F_NOTIFY, DN_ACCESS | DN_MULTISHOT));
	CHECK_EQ(read(reader, &c, 1), 1);
	CHECK_EQ(told(), 1);
	CHECK_OK(fchmod(reader, 0600));
	CHECK_EQ(told(), 0);
	close(reader), close(fd);

	fd = watched("attributes", DN_ATTRIB | DN_MULTISHOT);
	check_write_file("attributes/a", "x");
	CHECK_EQ(told(), 0);
	CHECK_OK(chmod("attributes/a", 0600));
	CHECK_OK(utimensat(AT_FDCWD, "attributes/a", NULL, 0));
	CHECK_EQ(told(), 2);
	close(fd);
	close(file);
}

// Within one directory only; the other half of the change is told too where it is asked for.
static void renames(void)
{
	CHECK_OK(mkdir("other", 0700));
	int fd = watched("rename", DN_RENAME | DN_MULTISHOT);
	check_write_file("rename/a", "x");
	CHECK_OK(rename("rename/a", "rename/b"));
	CHECK_EQ(told(), 1);
	CHECK_OK(rename("rename/b", "other/b"));
	CHECK_OK(rename("other/b", "rename/b"));
	CHECK_EQ(told(), 0);
	CHECK_OK(fcntl(fd, F_NOTIFY, DN_CREATE | DN_MULTISHOT)); // is added
	CHECK_OK(rename("rename/b", "rename/c"));
	CHECK_EQ(told(), 2);
	close(fd);
}

static void once_and_more(void)
{
	int fd = watched("once", DN_CREATE | DN_DELETE);
	check_write_file("once/a", "x");
	check_write_file("once/b", "x");
	CHECK_OK(unlink("once/a"));
	CHECK_EQ(told(), 1);
	CHECK_OK(fcntl(fd, F_NOTIFY, DN_DELETE));
	check_write_file("once/c", "x");
	CHECK_EQ(told(), 0);
	CHECK_OK(unlink("once/b"));
	CHECK_EQ(told(), 1);
	// Without an event, it ends.
	CHECK_OK(fcntl(fd, F_NOTIFY, DN_CREATE | DN_MULTISHOT));
	CHECK_OK(fcntl(fd, F_NOTIFY, DN_MULTISHOT));
	check_write_file("once/d", "x");
	CHECK_EQ(told(), 0);
	// Several descriptors of the directory are told each for itself.
	int second = CHECK_OK(open("once", O_RDONLY));
	CHECK_OK(fcntl(second, F_SETSIG, SIGRTMIN + 1));
	CHECK_OK(fcntl(fd, F_NOTIFY, DN_CREATE | DN_MULTISHOT));
	CHECK_OK(fcntl(second, F_NOTIFY, DN_CREATE | DN_MULTISHOT));
	check_write_file("once/e", "x");
	CHECK_EQ(told(), 2);
	close(second);
	check_write_file("once/f", "x");
	CHECK_EQ(told(), 1);
	CHECK_EQ(last_fd, fd);
	// Any close of the open file by the process ends it.
	second = CHECK_OK(dup(fd));
	close(second);
	check_write_file("once/g", "x");
	CHECK_EQ(told(), 0);
	close(fd);
}

static void plain_signal(void)
{
	CHECK_OK(mkdir("plain", 0700));
	int fd = CHECK_OK(open("plain", O_RDONLY));
	CHECK_OK(fcntl(fd, F_NOTIFY, DN_CREATE));
	CHECK_EQ(fcntl(fd, F_GETOWN), getpid());
	plain = 0;
	check_write_file("plain/a", "x");
	CHECK_EQ(plain, 1);
	check_write_file("plain/b", "x");
	CHECK_EQ(plain, 1);
	close(fd);
}

// What another process does is told to the one that asked, also past its exec'd and forked children's closes.
static void of_others(void)
{
	int fd = watched("others", DN_CREATE | DN_MULTISHOT);
	pid_t pid = fork();
	if (pid == 0) {
		close(fd); // not the one that asked
		check_write_file("others/a", "x");
		CHECK_EQ(chosen, 0);
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	WAIT_UNTIL(chosen == 1);
	close(fd);
}

static void arguments(void)
{
	check_write_file("file", "x");
	int fd = CHECK_OK(open("file", O_RDONLY));
	CHECK_ERR(fcntl(fd, F_NOTIFY, DN_CREATE), ENOTDIR);
	CHECK_OK(fcntl(fd, F_NOTIFY, 0));
	close(fd);
	fd = CHECK_OK(open(".", O_PATH));
	CHECK_ERR(fcntl(fd, F_NOTIFY, DN_CREATE), EBADF);
	close(fd);
	CHECK_ERR(fcntl(-1, F_NOTIFY, DN_CREATE), EBADF);
}

int main(void)
{
	alarm(60);
	check_tmpdir();
	handle();
	each_event();
	renames();
	once_and_more();
	plain_signal();
	of_others();
	arguments();
	return check_done();
}
