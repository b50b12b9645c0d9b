// SPDX-License-Identifier: Apache-2.0
// UTS and IPC namespaces: unshare(2), clone(2), setns(2) by file and by process descriptor, and what /proc/PID/ns says.
#include "check.h"

#include <linux/nsfs.h>
#include <mqueue.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/vfs.h>

static ino_t number_of(const char *path)
{
	struct stat st;

	return CHECK_OK(stat(path, &st)) < 0 ? 0 : st.st_ino;
}

static void name_becomes(const char *name)
{
	char text[70] = "";

	CHECK_OK(gethostname(text, sizeof(text)));
	CHECK_STR(text, name);
}

static void host_names(void)
{
	char before[70], link[64] = "", expected[64], path[64];
	ino_t first = number_of("/proc/self/ns/uts");
	int outer = CHECK_OK(open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC)), status;
	struct statfs fs;
	pid_t pid;

	CHECK_OK(gethostname(before, sizeof(before)));
	CHECK_EQ(ioctl(outer, NS_GET_NSTYPE), CLONE_NEWUTS);
	CHECK_OK(fstatfs(outer, &fs));
	CHECK_EQ(fs.f_type, 0x6e736673);
	CHECK_OK(unshare(CLONE_NEWUTS));
	name_becomes(before);
	CHECK(number_of("/proc/self/ns/uts") != first);
	snprintf(expected, sizeof(expected), "uts:[%lu]", (unsigned long)number_of("/proc/self/ns/uts"));
	CHECK_OK(readlink("/proc/self/ns/uts", link, sizeof(link) - 1));
	CHECK_STR(link, expected);
	CHECK_OK(sethostname("inner", 5));
	name_becomes("inner");
	CHECK_STR(check_read_file("/proc/sys/kernel/hostname"), "inner\n");
	CHECK_OK(setdomainname("realm", 5));
	CHECK_STR(check_read_file("/proc/sys/kernel/domainname"), "realm\n");

	pid = CHECK_OK(fork());
	if (!pid) { // a child is where its parent is, and leaves alone
		name_becomes("inner");
		CHECK_OK(setns(outer, CLONE_NEWUTS));
		name_becomes(before);
		CHECK_EQ(number_of("/proc/self/ns/uts"), first);
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	name_becomes("inner");

	int go[2];
	CHECK_OK(pipe(go));
	pid = CHECK_OK(syscall(SYS_clone, CLONE_NEWUTS | CLONE_NEWIPC | SIGCHLD, 0, 0, 0, 0));
	if (!pid) {
		char c;
		CHECK_OK(sethostname("child", 5));
		CHECK_EQ(write(go[1], "x", 1), 1);
		(void)!read(STDIN_FILENO, &c, 0);
		pause();
		_exit(1);
	}
	char c;
	CHECK_EQ(read(go[0], &c, 1), 1);
	name_becomes("inner");
	snprintf(path, sizeof(path), "/proc/%d/ns/uts", pid);
	CHECK(number_of(path) != number_of("/proc/self/ns/uts"));
	int pidfd = CHECK_OK(syscall(SYS_pidfd_open, pid, 0));
	CHECK_ERR(setns(pidfd, 0), EINVAL);
	CHECK_OK(setns(pidfd, CLONE_NEWUTS | CLONE_NEWIPC));
	name_becomes("child");
	CHECK_EQ(number_of(path), number_of("/proc/self/ns/uts"));
	CHECK_OK(kill(pid, SIGKILL));
	CHECK_OK(waitpid(pid, &status, 0));
	CHECK_ERR(setns(pidfd, CLONE_NEWUTS), ESRCH);
	CHECK_ERR(setns(outer, CLONE_NEWIPC), EINVAL);
	CHECK_OK(setns(outer, 0));
	name_becomes(before);
	CHECK_ERR(setns(-1, 0), EBADF);
	CHECK_ERR(setns(go[0], 0), EINVAL);
	CHECK_ERR(unshare(0x10), EINVAL);
	close(pidfd);
	close(outer);
}

static void system_v_objects(void)
{
	int outer = CHECK_OK(open("/proc/self/ns/ipc", O_RDONLY));
	int queue = CHECK_OK(msgget(0x5151, IPC_CREAT | 0600)), set = CHECK_OK(semget(0x5152, 1, IPC_CREAT | 0600));
	int segment = CHECK_OK(shmget(0x5153, 4096, IPC_CREAT | 0600));
	struct sembuf up = { 0, 1, SEM_UNDO };
	struct msqid_ds m;
	char *memory = shmat(segment, NULL, 0);

	CHECK(memory != (void *)-1);
	strcpy(memory, "seen");
	CHECK_OK(semop(set, &up, 1));
	CHECK_EQ(semctl(set, 0, GETVAL), 1);
	CHECK_OK(unshare(CLONE_NEWIPC));
	CHECK_ERR(msgget(0x5151, 0600), ENOENT);
	CHECK_ERR(semget(0x5152, 1, 0600), ENOENT);
	CHECK_ERR(shmget(0x5153, 4096, 0600), ENOENT);
	CHECK_ERR(msgctl(queue, IPC_STAT, &m), EINVAL);
	CHECK_STR(memory, "seen"); // what is mapped stays
	int inner = CHECK_OK(shmget(0x5153, 8192, IPC_CREAT | IPC_EXCL | 0600));
	char *other = shmat(inner, NULL, 0);
	CHECK(other != (void *)-1);
	CHECK_EQ(other[0], 0);
	CHECK_OK(setns(outer, CLONE_NEWIPC)); // the inner namespace is gone, its memory is not
	other[5000] = 7;
	CHECK_EQ(other[5000], 7);
	CHECK_OK(shmdt(other));
	CHECK_EQ(semctl(set, 0, GETVAL), 0); // what was to be undone was
	CHECK_EQ(shmget(0x5153, 4096, 0600), segment);
	CHECK_OK(shmdt(memory));
	CHECK_OK(shmctl(segment, IPC_RMID, NULL));
	CHECK_OK(semctl(set, 0, IPC_RMID));
	CHECK_OK(msgctl(queue, IPC_RMID, NULL));
	CHECK_ERR(syscall(SYS_clone, CLONE_NEWIPC | CLONE_SYSVSEM | SIGCHLD, 0, 0, 0, 0), EINVAL);
	close(outer);
}

static void message_queues(void)
{
	int outer = CHECK_OK(open("/proc/self/ns/ipc", O_RDONLY));
	struct mq_attr a = { .mq_maxmsg = 2, .mq_msgsize = 8 };
	char text[8] = "";
	mqd_t q = CHECK_OK(mq_open("/spaces", O_CREAT | O_EXCL | O_RDWR, 0600, &a));

	CHECK_OK(unshare(CLONE_NEWIPC));
	CHECK_ERR(mq_open("/spaces", O_RDWR), ENOENT);
	CHECK_OK(mq_send(q, "open", 5, 0)); // what is open stays
	mqd_t inner = CHECK_OK(mq_open("/spaces", O_CREAT | O_EXCL | O_RDWR, 0600, &a));
	CHECK_OK(mq_send(inner, "inner", 6, 0));
	CHECK_OK(setns(outer, 0));
	CHECK_EQ(mq_receive(q, text, sizeof(text), NULL), 5);
	CHECK_STR(text, "open");
	CHECK_EQ(mq_receive(inner, text, sizeof(text), NULL), 6);
	CHECK_OK(mq_close(inner));
	CHECK_OK(mq_close(q));
	CHECK_OK(mq_unlink("/spaces"));
	close(outer);
}

static void not_allowed(void)
{
	CHECK_OK(setuid(12345));
	int fd = CHECK_OK(open("/proc/self/ns/uts", O_RDONLY));
	CHECK_ERR(unshare(CLONE_NEWUTS), EPERM);
	CHECK_ERR(unshare(CLONE_NEWIPC), EPERM);
	CHECK_ERR(syscall(SYS_clone, CLONE_NEWUTS | SIGCHLD, 0, 0, 0, 0), EPERM);
	CHECK_ERR(setns(fd, 0), EPERM);
}

int main(void)
{
	if (geteuid())
		CHECK_SKIP("not root");
	CHECK_CHILD(not_allowed);
	CHECK_CHILD(host_names);
	CHECK_CHILD(system_v_objects);
	CHECK_CHILD(message_queues);
	return check_done();
}
