// SPDX-License-Identifier: Apache-2.0
// Cgroup namespaces: made by unshare(2) and clone(2), entered, told apart, and counted.
#include "check.h"

#include <linux/nsfs.h>
#include <sys/ioctl.h>

static ino_t number_of(const char *path)
{
	struct stat st = { 0 };

	CHECK_OK(stat(path, &st));
	return st.st_ino;
}

static ino_t mine(void) { return number_of("/proc/self/ns/cgroup"); }

static void made_and_entered(void)
{
	char text[64] = "", expected[64];
	ino_t before = mine();
	int old = CHECK_OK(open("/proc/self/ns/cgroup", O_RDONLY));

	CHECK_OK(readlink("/proc/self/ns/cgroup", text, sizeof(text) - 1));
	snprintf(expected, sizeof(expected), "cgroup:[%lu]", (unsigned long)before);
	CHECK_STR(text, expected);
	CHECK_OK(unshare(CLONE_NEWCGROUP));
	CHECK(mine() != before);
	CHECK_STR(check_read_file("/proc/self/cgroup") + strlen(check_read_file("/proc/self/cgroup")) - 2, "/\n");
	CHECK_EQ(ioctl(old, NS_GET_NSTYPE), CLONE_NEWCGROUP);
	CHECK_ERR(ioctl(old, NS_GET_PARENT), EINVAL);
	CHECK_ERR(setns(old, CLONE_NEWUTS), EINVAL);
	int new = CHECK_OK(open("/proc/self/ns/cgroup", O_RDONLY));
	CHECK_OK(setns(old, CLONE_NEWCGROUP));
	CHECK_EQ(mine(), before);
	CHECK_OK(setns(new, 0));
	CHECK(mine() != before);
	int owner = CHECK_OK(ioctl(new, NS_GET_USERNS));
	struct stat st;
	CHECK_OK(fstat(owner, &st));
	CHECK_EQ(st.st_ino, number_of("/proc/self/ns/user"));
	close(owner);
	close(new);
	close(old);
}

static void born(void)
{
	char path[64];
	int go[2];

	CHECK_OK(pipe(go));
	pid_t pid = CHECK_OK(syscall(SYS_clone, CLONE_NEWCGROUP | SIGCHLD, NULL, NULL, NULL, NULL));
	if (!pid) {
		char c;
		close(go[1]);
		_exit(read(go[0], &c, 1) != 0);
	}
	snprintf(path, sizeof(path), "/proc/%d/ns/cgroup", pid);
	CHECK(number_of(path) != mine());
	close(go[1]);
	close(go[0]);
	CHECK_EQ(check_wait(pid), 0);
}

// In a user namespace of one's own it takes no more.
static void of_a_user(void)
{
	CHECK_OK(setresgid(12345, 12345, 12345));
	CHECK_OK(setresuid(12345, 12345, 12345));
	CHECK_ERR(unshare(CLONE_NEWCGROUP), EPERM);
	int outer = CHECK_OK(open("/proc/self/ns/cgroup", O_RDONLY));
	CHECK_OK(unshare(CLONE_NEWUSER));
	CHECK_ERR(setns(outer, CLONE_NEWCGROUP), EPERM);
	CHECK_OK(unshare(CLONE_NEWCGROUP));
	close(outer);
}

static void limited(void)
{
	CHECK_OK(unshare(CLONE_NEWUSER));
	int fd = CHECK_OK(open("/proc/sys/user/max_cgroup_namespaces", O_WRONLY));
	CHECK_EQ(write(fd, "1", 1), 1);
	close(fd);
	CHECK_OK(unshare(CLONE_NEWCGROUP));
	CHECK_ERR(unshare(CLONE_NEWCGROUP), ENOSPC);
}

int main(void)
{
	if (geteuid())
		CHECK_SKIP("not root");
	CHECK_CHILD(made_and_entered);
	CHECK_CHILD(born);
	CHECK_CHILD(of_a_user);
	CHECK_CHILD(limited);
	return check_done();
}
