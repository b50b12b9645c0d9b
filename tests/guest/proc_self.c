// SPDX-License-Identifier: Apache-2.0
// Does /proc describe this process as it is?
#include "check.h"
#include <dirent.h>

static void identity(void)
{
	char path[PATH_MAX], target[PATH_MAX] = "", text[64];
	struct stat a, b;

	CHECK(readlink("/proc/self", target, sizeof(target) - 1) > 0);
	CHECK_EQ(atoi(target), getpid());
	memset(target, 0, sizeof(target));
	CHECK(readlink("/proc/thread-self", target, sizeof(target) - 1) > 0);
	snprintf(text, sizeof(text), "%d/task/%ld", getpid(), syscall(SYS_gettid));
	CHECK_STR(target, text);
	memset(target, 0, sizeof(target));
	CHECK(readlink("/proc/self/exe", target, sizeof(target) - 1) > 0);
	CHECK_OK(stat(target, &a));
	CHECK_OK(stat("/proc/self/exe", &b));
	CHECK_EQ(a.st_ino, b.st_ino);
	memset(target, 0, sizeof(target));
	CHECK(readlink("/proc/self/cwd", target, sizeof(target) - 1) > 0);
	CHECK_STR(target, getcwd(path, sizeof(path)));
	memset(target, 0, sizeof(target));
	CHECK(readlink("/proc/self/root", target, sizeof(target) - 1) > 0);
	CHECK_STR(target, "/");
	CHECK_OK(access("/proc/self/root/proc", F_OK));
	CHECK_ERR(access("/proc/999999999", F_OK), ENOENT);
	CHECK_ERR(access("/proc/0", F_OK), ENOENT);
}

static void command_line(int argc, char **argv)
{
	char *text = check_read_file("/proc/self/cmdline"), *at = text;

	for (int i = 0; i < argc; i++) {
		CHECK_STR(at, argv[i]);
		at += strlen(at) + 1;
	}
	text = check_read_file("/proc/self/environ");
	CHECK(environ[0] == NULL || strcmp(text, environ[0]) == 0);
	char *comm = check_read_file("/proc/self/comm");
	CHECK(strlen(comm) > 1 && comm[strlen(comm) - 1] == '\n');
}

static long status_number(const char *text, const char *key)
{
	const char *line = strstr(text, key);

	return line ? strtol(line + strlen(key), NULL, 10) : -1;
}

static void status(void)
{
	char *text = check_read_file("/proc/self/status");

	CHECK_EQ(status_number(text, "\nPid:\t"), getpid());
	CHECK_EQ(status_number(text, "\nTgid:\t"), getpid());
	CHECK_EQ(status_number(text, "\nPPid:\t"), getppid());
	CHECK_EQ(status_number(text, "\nThreads:\t"), 1);
	CHECK_EQ(status_number(text, "\nUid:\t"), getuid());
	CHECK_EQ(status_number(text, "\nGid:\t"), getgid());
	CHECK(status_number(text, "\nVmSize:\t") > 0);
	CHECK(status_number(text, "\nVmRSS:\t") > 0);
	CHECK(strncmp(text, "Name:\t", 6) == 0);
	CHECK(strstr(text, "\nState:\tR (running)\n") != NULL);
	CHECK(strstr(text, "\nSigBlk:\t0000000000000000\n") != NULL);
	signal(SIGUSR1, SIG_IGN);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise(SIGUSR2);
	text = check_read_file("/proc/self/status");
	CHECK(strstr(text, "\nSigBlk:\t0000000000000800\n") != NULL);
	CHECK(strstr(text, "\nSigIgn:\t0000000000000200\n") != NULL);
	CHECK(strstr(text, "00000000000800\n") != NULL); // pending, for the thread or the process
	signal(SIGUSR2, SIG_IGN);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	signal(SIGUSR1, SIG_DFL);
	signal(SIGUSR2, SIG_DFL);
	CHECK(strstr(text, "Cpus_allowed_list:") != NULL);
}

static void stat_line(void)
{
	char *text = check_read_file("/proc/self/stat"), *end, state;
	int pid, ppid, pgrp, session, tty, fields = 2;

	CHECK_EQ(sscanf(text, "%d (", &pid), 1);
	CHECK_EQ(pid, getpid());
	end = strrchr(text, ')');
	if (!CHECK(end != NULL))
		return;
	CHECK_EQ(sscanf(end, ") %c %d %d %d %d", &state, &ppid, &pgrp, &session, &tty), 5);
	CHECK_EQ(state, 'R');
	CHECK_EQ(ppid, getppid());
	CHECK_EQ(pgrp, getpgrp());
	CHECK_EQ(session, getsid(0));
	for (char *token = strtok(end + 2, " \n"); token; token = strtok(NULL, " \n"))
		fields++;
	CHECK_EQ(fields, 52);
	long size, resident;
	CHECK_EQ(sscanf(check_read_file("/proc/self/statm"), "%ld %ld", &size, &resident), 2);
	CHECK(size > 0 && resident > 0 && resident <= size);
}

static void states(void)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	WAIT_UNTIL(check_task_state(pid) == 'S');
	kill(pid, SIGSTOP);
	WAIT_UNTIL(check_task_state(pid) == 'T');
	kill(pid, SIGCONT);
	WAIT_UNTIL(check_task_state(pid) == 'S');
	kill(pid, SIGKILL);
	WAIT_UNTIL(check_task_state(pid) == 'Z');
	check_wait(pid);
	CHECK_EQ(check_task_state(pid), 0);
}

// The line of /proc/self/maps that holds this address; empty when none does.
static char *mapping_of(const void *address)
{
	static char found[512];
	char *text = check_read_file("/proc/self/maps");

	found[0] = 0;
	unsigned long last = 0;
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		unsigned long start, end;
		if (!CHECK_EQ(sscanf(line, "%lx-%lx", &start, &end), 2))
			break;
		CHECK(start >= last && end > start); // sorted, not overlapping
		last = end;
		if ((uintptr_t)address >= start && (uintptr_t)address < end)
			snprintf(found, sizeof(found), "%s", line);
	}
	return found;
}

static void maps(void)
{
	int local;
	char *line, path[PATH_MAX] = "";

	line = mapping_of(&local);
	CHECK(strstr(line, " rw-p ") && strstr(line, "[stack]"));
	line = mapping_of((void *)maps);
	CHECK(strstr(line, " r-xp ") != NULL);
	CHECK(readlink("/proc/self/exe", path, sizeof(path) - 1) > 0);
	CHECK(strstr(line, path) != NULL);
	CHECK(strstr(mapping_of(sbrk(0) - 1), "[heap]") != NULL);
	CHECK(strstr(check_read_file("/proc/self/maps"), "[vdso]") != NULL);
	check_write_file("mapped file", "x");
	int fd = open("mapped file", O_RDWR);
	char *m = mmap(NULL, 3 * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, CHECK_PAGE);
	line = mapping_of(m);
	CHECK(strstr(line, " rw-s 00001000 ") != NULL);
	CHECK(strstr(line, "/mapped file") != NULL);
	unsigned long inode = 0;
	struct stat st;
	fstat(fd, &st);
	CHECK_EQ(sscanf(line, "%*s %*s %*s %*s %lu", &inode), 1);
	CHECK_EQ(inode, st.st_ino);
	check_write_file("two\nlines", "x");
	int odd = open("two\nlines", O_RDWR);
	CHECK(strstr(mapping_of(mmap(NULL, 1, PROT_READ, MAP_PRIVATE, odd, 0)), "/two\\012lines") != NULL);
	close(odd);
	line = mapping_of(mmap(NULL, CHECK_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	CHECK(strlen(line) > 9 &&
	      !strcmp(line + strlen(line) - 9, " 00:00 0 ")); // the blank is there without a name, too
	mprotect(m + CHECK_PAGE, CHECK_PAGE, PROT_NONE);
	CHECK(strstr(mapping_of(m + CHECK_PAGE), " ---s 00002000 ") != NULL);
	munmap(m, 3 * CHECK_PAGE);
	CHECK_STR(mapping_of(m), "");
	close(fd);
	int memory = open("/proc/self/mem", O_RDWR);
	if (memory >= 0) {
		int value = 12345, got = 0;
		CHECK_EQ(pread(memory, &got, sizeof(got), (uintptr_t)&value), (ssize_t)sizeof(got));
		CHECK_EQ(got, 12345);
		void *nowhere = (void *)0x2237;
		CHECK_ERR(pwrite(memory, nowhere, 24, (uintptr_t)&value), EFAULT);
		CHECK_ERR(pread(memory, nowhere, 24, (uintptr_t)&value), EFAULT);
		CHECK_ERR(pread(memory, &got, sizeof(got), 0x2237), EIO);
		CHECK_ERR(pwrite(memory, &got, sizeof(got), 0x2237), EIO);
		CHECK_EQ(pread(memory, &got, 0, 0x2237), 0);
		close(memory);
	}
}

static void descriptors(void)
{
	char path[64], target[PATH_MAX] = "";
	int fd = open("mapped file", O_RDWR | O_APPEND | O_CLOEXEC), count = 0;

	CHECK_EQ(write(fd, "0123456789", 10), 10);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK(readlink(path, target, sizeof(target) - 1) > 0);
	CHECK(strstr(target, "/mapped file") != NULL);
	int again = CHECK_OK(open(path, O_RDONLY)); // a new open file
	CHECK_EQ(lseek(again, 0, SEEK_CUR), 0);
	close(again);
	struct stat st;
	CHECK_OK(lstat(path, &st));
	CHECK(S_ISLNK(st.st_mode));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	char *text = check_read_file(path);
	CHECK_EQ(status_number(text, "pos:\t"), 11);
	unsigned flags = 0;
	char *line = strstr(text, "flags:\t");
	CHECK(line && sscanf(line, "flags:\t%o", &flags) == 1);
	CHECK_EQ(flags & (O_ACCMODE | O_APPEND | O_CLOEXEC), O_RDWR | O_APPEND | O_CLOEXEC);
	DIR *directory = opendir("/proc/self/fd");
	struct dirent *d;
	bool found = false;
	while ((d = readdir(directory)) != NULL) {
		count++;
		found |= atoi(d->d_name) == fd && d->d_name[0] != '.';
	}
	CHECK(found && count >= 5);
	closedir(directory);
	CHECK_ERR(readlink("/proc/self/fd/777", target, 10), ENOENT);
	close(fd);
}

static atomic_int leave;
static pid_t thread_tid;

static void *thread(void *argument)
{
	(void)argument;
	thread_tid = syscall(SYS_gettid);
	while (!atomic_load(&leave))
		usleep(1000);
	return NULL;
}

static nlink_t links(const char *directory)
{
	struct stat st = { 0 };
	CHECK_OK(stat(directory, &st));
	return st.st_nlink;
}

static void tasks(void)
{
	pthread_t id;
	char path[64];
	int count = 0;

	pthread_create(&id, NULL, thread, NULL);
	WAIT_UNTIL(*(volatile pid_t *)&thread_tid != 0);
	DIR *directory = opendir("/proc/self/task");
	if (CHECK(directory != NULL)) {
		for (struct dirent *d; (d = readdir(directory)) != NULL;)
			if (d->d_name[0] != '.') {
				count++;
				CHECK(atoi(d->d_name) == getpid() || atoi(d->d_name) == thread_tid);
			}
		closedir(directory);
	}
	CHECK_EQ(count, 2);
	CHECK_EQ(links("/proc/self/task"), 2 + 2);
	snprintf(path, sizeof(path), "/proc/self/task/%d/status", thread_tid);
	char *text = check_read_file(path);
	CHECK_EQ(status_number(text, "\nPid:\t"), thread_tid);
	CHECK_EQ(status_number(text, "\nTgid:\t"), getpid());
	CHECK_EQ(status_number(text, "\nThreads:\t"), 2);
	snprintf(path, sizeof(path), "/proc/%d/stat", thread_tid); // reachable though not listed
	CHECK_OK(access(path, F_OK));
	atomic_store(&leave, 1);
	pthread_join(id, NULL);
	WAIT_UNTIL(links("/proc/self/task") == 2 + 1);
	CHECK_EQ(links("/proc/self/fd"), 2);
	CHECK(links("/proc") > links("/proc/self")); // one for each process, and its own
}

static void others(void)
{
	char path[64], target[PATH_MAX] = "";
	bool found = false;
	DIR *directory = opendir("/proc");
	pid_t pid = fork();

	if (pid == 0) {
		if (chdir("/dev") < 0)
			_exit(1);
		for (;;)
			pause();
	}
	WAIT_UNTIL(check_task_state(pid) == 'S');
	for (struct dirent *d; (d = readdir(directory)) != NULL;)
		found |= atoi(d->d_name) == pid;
	CHECK(found);
	closedir(directory);
	snprintf(path, sizeof(path), "/proc/%d/cwd", pid);
	CHECK(readlink(path, target, sizeof(target) - 1) > 0);
	CHECK_STR(target, "/dev");
	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	CHECK(readlink(path, target, sizeof(target) - 1) > 0);
	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	CHECK(strlen(check_read_file(path)) > 0);
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	CHECK(strstr(check_read_file(path), "[stack]") != NULL);
	kill(pid, SIGKILL);
	check_wait(pid);
}

// Memory that is reserved for what is far apart is not looked through.
static void status_with_vast_mappings(void)
{
	const size_t size = 8ul << 40;
	char *vast = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char text[4096];

	CHECK(vast != MAP_FAILED);
	vast[size / 2] = 1;
	alarm(20);
	for (int i = 0; i < 10; i++) {
		int fd = CHECK_OK(open("/proc/self/status", O_RDONLY));
		ssize_t got = CHECK_OK(read(fd, text, sizeof(text) - 1));
		text[got < 0 ? 0 : got] = 0;
		CHECK(strstr(text, "VmRSS:") != NULL);
		close(fd);
	}
	alarm(0);
	CHECK_OK(munmap(vast, size));
}

int main(int argc, char **argv)
{
	check_tmpdir();
	identity();
	command_line(argc, argv);
	CHECK_CHILD(status);
	stat_line();
	states();
	maps();
	descriptors();
	tasks();
	others();
	status_with_vast_mappings();
	return check_done();
}
