// SPDX-License-Identifier: Apache-2.0
// When is a lease given, who breaks it, and what are holder and breaker told? fcntl(2), "Leases".
#include "check.h"

#include <sys/file.h>
#include <sys/time.h>

static volatile sig_atomic_t plain, chosen, last_fd, last_code;

static void on_plain(int signal)
{
	(void)signal;
	plain++;
}

static void on_chosen(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)context;
	last_fd = info->si_fd;
	last_code = info->si_code;
	chosen++;
}

static void handle(void)
{
	struct sigaction a = { .sa_handler = on_plain, .sa_flags = SA_RESTART };
	CHECK_OK(sigaction(SIGIO, &a, NULL));
	a = (struct sigaction){ .sa_sigaction = on_chosen, .sa_flags = SA_SIGINFO | SA_RESTART };
	CHECK_OK(sigaction(SIGRTMIN + 2, &a, NULL));
}

static void given_by_opens(void)
{
	int reader = CHECK_OK(open("f", O_RDONLY));
	CHECK_EQ(fcntl(reader, F_GETLEASE), F_UNLCK);
	CHECK_ERR(fcntl(reader, F_SETLEASE, F_UNLCK), EAGAIN);
	CHECK_OK(fcntl(reader, F_SETLEASE, F_RDLCK));
	CHECK_EQ(fcntl(reader, F_GETLEASE), F_RDLCK);
	CHECK_EQ(fcntl(reader, F_GETOWN), getpid());
	CHECK_OK(fcntl(reader, F_SETLEASE, F_WRLCK)); // nobody else has it open
	CHECK_EQ(fcntl(reader, F_GETLEASE), F_WRLCK);
	CHECK_OK(fcntl(reader, F_SETLEASE, F_RDLCK));
	int second = CHECK_OK(open("f", O_RDONLY));
	CHECK_ERR(fcntl(reader, F_SETLEASE, F_WRLCK), EAGAIN);
	CHECK_OK(fcntl(second, F_SETLEASE, F_RDLCK));
	CHECK_OK(fcntl(second, F_SETLEASE, F_UNLCK));
	CHECK_EQ(fcntl(second, F_GETLEASE), F_UNLCK);
	CHECK_EQ(fcntl(reader, F_GETLEASE), F_RDLCK);
	close(second);
	CHECK_OK(fcntl(reader, F_SETLEASE, F_UNLCK));
	int writer = CHECK_OK(open("f", O_RDWR));
	CHECK_ERR(fcntl(writer, F_SETLEASE, F_RDLCK), EAGAIN);
	CHECK_ERR(fcntl(reader, F_SETLEASE, F_RDLCK), EAGAIN);
	CHECK_ERR(fcntl(writer, F_SETLEASE, F_WRLCK), EAGAIN);
	close(reader);
	CHECK_OK(fcntl(writer, F_SETLEASE, F_WRLCK));
	CHECK_ERR(fcntl(writer, F_SETLEASE, F_RDLCK), EAGAIN);
	CHECK_ERR(fcntl(writer, F_SETLEASE, 77), EINVAL);
	close(writer); // the lease with it
	close(CHECK_OK(open("f", O_RDONLY | O_NONBLOCK)));

	int directory = CHECK_OK(open(".", O_RDONLY));
	CHECK_ERR(fcntl(directory, F_SETLEASE, F_RDLCK), EINVAL);
	close(directory);
}

static void told_and_refused(void)
{
	int fd = CHECK_OK(open("f", O_RDONLY));
	CHECK_OK(fcntl(fd, F_SETLEASE, F_RDLCK));
	plain = 0;
	int other = CHECK_OK(open("f", O_RDONLY | O_NONBLOCK)); // is no conflict
	close(other);
	CHECK_EQ(plain, 0);
	CHECK_ERR(open("f", O_WRONLY | O_NONBLOCK), EWOULDBLOCK);
	CHECK_EQ(plain, 1);
	CHECK_EQ(fcntl(fd, F_GETLEASE), F_UNLCK); // what it is to become
	CHECK_ERR(open("f", O_WRONLY | O_NONBLOCK), EWOULDBLOCK);
	CHECK_EQ(plain, 1); // once
	CHECK_OK(fcntl(fd, F_SETLEASE, F_UNLCK));
	close(CHECK_OK(open("f", O_WRONLY | O_NONBLOCK)));
	close(fd);

	fd = CHECK_OK(open("f", O_RDWR));
	CHECK_OK(fcntl(fd, F_SETSIG, SIGRTMIN + 2));
	CHECK_OK(fcntl(fd, F_SETLEASE, F_WRLCK));
	chosen = 0;
	CHECK_ERR(open("f", O_RDONLY | O_NONBLOCK), EWOULDBLOCK);
	CHECK_EQ(chosen, 1);
	CHECK_EQ(last_fd, fd);
	CHECK_EQ(last_code, POLL_MSG);
	CHECK_EQ(fcntl(fd, F_GETLEASE), F_RDLCK);
	close(CHECK_OK(open("/proc/self/fd", O_RDONLY)));
	struct stat st;
	CHECK_OK(stat("f", &st)); // and chmod, and reading by who has it: no open
	CHECK_OK(chmod("f", 0600));
	close(CHECK_OK(open("f", O_PATH)));
	CHECK_OK(fcntl(fd, F_SETLEASE, F_UNLCK));
	close(CHECK_OK(open("f", O_RDONLY | O_NONBLOCK)));
	close(fd);
}

// The breaker waits until the holder gives way: by ending it, by a weaker one, by closing.
static void waits(int how)
{
	int fd = CHECK_OK(open("f", how == F_RDLCK ? O_RDONLY : O_RDWR));
	CHECK_OK(fcntl(fd, F_SETLEASE, F_WRLCK));
	atomic_int *done = check_shared(sizeof(*done));
	plain = 0;
	pid_t pid = fork();
	if (pid == 0) {
		close(fd);
		if (how == F_WRLCK) {
			CHECK_OK(truncate("f", 2));
		} else {
			int own = CHECK_OK(open("f", O_RDONLY));
			CHECK(own >= 0);
		}
		atomic_store(done, 1);
		check_child_exit();
	}
	WAIT_UNTIL(plain == 1);
	check_sleep_ms(30);
	CHECK_EQ(atomic_load(done), 0);
	if (how == F_WRLCK)
		close(fd);
	else
		CHECK_OK(fcntl(fd, F_SETLEASE, how));
	CHECK_EQ(check_wait(pid), 0);
	CHECK_EQ(atomic_load(done), 1);
	if (how != F_WRLCK)
		close(fd);
}

static void interrupted(void)
{
	int fd = CHECK_OK(open("f", O_RDWR));
	CHECK_OK(fcntl(fd, F_SETLEASE, F_WRLCK));
	pid_t pid = fork();
	if (pid == 0) {
		struct sigaction a = { .sa_handler = on_plain };
		CHECK_OK(sigaction(SIGALRM, &a, NULL));
		struct itimerval soon = { .it_value.tv_usec = 50000 };
		setitimer(ITIMER_REAL, &soon, NULL);
		CHECK_ERR(open("f", O_RDONLY), EINTR);
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	close(fd);
}

// After the break time it is taken away.
static void taken_away(void)
{
	int setting = open("/proc/sys/fs/lease-break-time", O_RDWR);
	if (setting < 0)
		return;
	char before[16] = "";
	CHECK(read(setting, before, sizeof(before) - 1) > 0);
	if (pwrite(setting, "1\n", 2, 0) != 2)
		return;
	int fd = CHECK_OK(open("f", O_RDWR));
	CHECK_OK(fcntl(fd, F_SETLEASE, F_WRLCK));
	int64_t start = check_now_ns();
	int other = CHECK_OK(open("f", O_RDONLY));
	CHECK(check_now_ns() - start > 500000000);
	CHECK_EQ(fcntl(fd, F_GETLEASE), F_RDLCK);
	close(other), close(fd);
	CHECK_EQ(pwrite(setting, before, strlen(before), 0), (ssize_t)strlen(before));
	close(setting);
}

static bool listed(const char *what, pid_t pid, ino_t inode)
{
	char line[200], wanted[64], *text = check_read_file("/proc/locks");
	snprintf(wanted, sizeof(wanted), "%s %d ", what, pid);
	snprintf(line, sizeof(line), ":%lu ", (unsigned long)inode);
	for (char *at = text; (at = strstr(at, wanted)); at++) {
		char *end = strchr(at, '\n'), *here = strstr(at, line);
		if (here && here < end)
			return true;
	}
	return false;
}

static void shown(void)
{
	struct stat st;
	struct flock l = { .l_type = F_WRLCK, .l_start = 5, .l_len = 10 };
	int fd = CHECK_OK(open("f", O_RDWR));
	CHECK_OK(fstat(fd, &st));
	CHECK_OK(fcntl(fd, F_SETLEASE, F_WRLCK));
	CHECK_OK(fcntl(fd, F_SETLK, &l));
	CHECK(listed(": LEASE  ACTIVE    WRITE", getpid(), st.st_ino));
	CHECK(listed(": POSIX  ADVISORY  WRITE", getpid(), st.st_ino));
	CHECK(strstr(check_read_file("/proc/locks"), " 5 14\n") != NULL);
	CHECK_ERR(open("f", O_RDONLY | O_NONBLOCK), EWOULDBLOCK);
	CHECK(listed(": LEASE  BREAKING  READ", getpid(), st.st_ino));
	CHECK_ERR(open("f", O_WRONLY | O_NONBLOCK), EWOULDBLOCK);
	CHECK(listed(": LEASE  BREAKING  UNLCK", getpid(), st.st_ino));
	close(fd);
	CHECK(!listed(": POSIX  ADVISORY  WRITE", getpid(), st.st_ino));
	fd = CHECK_OK(open("f", O_RDONLY));
	CHECK_OK(flock(fd, LOCK_SH));
	CHECK(listed(": FLOCK  ADVISORY  READ", getpid(), st.st_ino));
	close(fd);
	CHECK(!listed(": FLOCK  ADVISORY  READ", getpid(), st.st_ino));
}

// Only the file's owner, or who has CAP_LEASE.
static void of_others(void)
{
	if (geteuid() != 0)
		return;
	CHECK_OK(chmod("f", 0644));
	pid_t pid = fork();
	if (pid == 0) {
		CHECK_OK(setresuid(65534, 65534, 65534));
		int fd = CHECK_OK(open("f", O_RDONLY));
		CHECK_ERR(fcntl(fd, F_SETLEASE, F_RDLCK), EACCES);
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
}

int main(void)
{
	alarm(60);
	check_tmpdir();
	check_write_file("f", "contents");
	handle();
	given_by_opens();
	told_and_refused();
	waits(F_UNLCK);
	waits(F_RDLCK);
	waits(F_WRLCK);
	interrupted();
	taken_away();
	shown();
	of_others();
	return check_done();
}
