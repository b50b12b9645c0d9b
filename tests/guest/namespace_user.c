// SPDX-License-Identifier: Apache-2.0
// User namespaces: maps of ids and who may write them, capabilities in one and outside, what ids look like from inside.
#include "check.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/nsfs.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#define USER 12345

static bool is_root;

static int try_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY), error = 0;

	if (fd < 0)
		return errno;
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		error = errno;
	close(fd);
	return error;
}

static uint64_t effective(void)
{
	const char *line = strstr(check_read_file("/proc/self/status"), "CapEff:");

	return line ? strtoull(line + 7, NULL, 16) : 0;
}

// What `unshare -r` does.
static void root_in_it(void)
{
	char map[64], expected[64];
	uid_t uid = geteuid(), u[3];
	gid_t gid = getegid(), groups[64];
	struct stat st;
	int fd;

	check_write_file("mine", "");
	CHECK_OK(unshare(CLONE_NEWUSER));
	CHECK_EQ(getuid(), 65534);
	CHECK_EQ(getegid(), 65534);
	CHECK_OK(stat("mine", &st));
	CHECK_EQ(st.st_uid, 65534);
	CHECK(effective() != 0);
	CHECK_STR(check_read_file("/proc/self/uid_map"), "");
	CHECK_ERR(setuid(0), EINVAL);
	CHECK_ERR(setgroups(0, NULL), EPERM);
	CHECK_EQ(try_write("/proc/self/uid_map", "0 0 0"), EINVAL);
	CHECK_EQ(try_write("/proc/self/uid_map", "0 1"), EINVAL);
	CHECK_EQ(try_write("/proc/self/uid_map", "0 1 4294967295\n5 6 7"), EINVAL);
	CHECK_EQ(try_write("/proc/self/uid_map", "0 1 1 x"), EINVAL);
	snprintf(map, sizeof(map), "0 %u 1\n", uid);
	CHECK_EQ(try_write("/proc/self/uid_map", map), 0);
	CHECK_EQ(try_write("/proc/self/uid_map", map), EPERM);
	CHECK_EQ(getuid(), 0);
	snprintf(map, sizeof(map), "0 %u 1", gid);
	if (!is_root)
		CHECK_EQ(try_write("/proc/self/gid_map", map), EPERM);
	CHECK_STR(check_read_file("/proc/self/setgroups"), "allow\n");
	CHECK_EQ(try_write("/proc/self/setgroups", "never"), EINVAL);
	CHECK_EQ(try_write("/proc/self/setgroups", "deny"), 0);
	CHECK_EQ(try_write("/proc/self/gid_map", map), 0);
	CHECK_EQ(try_write("/proc/self/setgroups", "allow"), EPERM);
	CHECK_ERR(setgroups(0, NULL), EPERM);
	snprintf(expected, sizeof(expected), "%10u %10u %10u\n", 0, uid, 1);
	CHECK_STR(check_read_file("/proc/self/uid_map"), expected);
	CHECK_EQ(getgid(), 0);
	CHECK_OK(getresuid(u, u + 1, u + 2));
	CHECK(!u[0] && !u[1] && !u[2]);
	for (int i = 0, n = getgroups(64, groups); i < n; i++)
		CHECK(groups[i] == 0 || groups[i] == 65534);
	CHECK_OK(stat("mine", &st));
	CHECK_EQ(st.st_uid, 0);
	CHECK_OK(stat("/proc/1", &st));
	if (!is_root)
		CHECK_EQ(st.st_uid, 65534);
	CHECK(strstr(check_read_file("/proc/self/status"), "Uid:\t0\t0\t0\t0\n") != NULL);
	CHECK_OK(chown("mine", 0, 0));
	CHECK_ERR(chown("mine", 1, -1), EINVAL);
	CHECK_ERR(setuid(1), EINVAL);
	CHECK_OK(setuid(0));
	// Nothing beyond the namespace.
	CHECK_ERR(sethostname("x", 1), EPERM);
	CHECK_ERR(unshare(CLONE_NEWUSER | 0x10), EINVAL);
	CHECK_OK(unshare(CLONE_NEWUTS));
	CHECK_OK(sethostname("inside", 6));
	CHECK_ERR(mknod("device", S_IFCHR | 0600, 0x103), EPERM);
	CHECK_OK(mknod("pipe", S_IFIFO | 0600, 0));
	CHECK_OK(unlink("pipe"));
	fd = CHECK_OK(open("/proc/self/ns/user", O_RDONLY));
	CHECK_EQ(ioctl(fd, NS_GET_NSTYPE), CLONE_NEWUSER);
	CHECK_OK(ioctl(fd, NS_GET_OWNER_UID, &u[0]));
	CHECK_EQ(u[0], 0);
	CHECK_ERR(ioctl(fd, NS_GET_PARENT), EPERM);
	CHECK_ERR(setns(fd, 0), EINVAL); // in it already
	close(fd);
	fd = CHECK_OK(open("/proc/self/ns/uts", O_RDONLY));
	int owner = CHECK_OK(ioctl(fd, NS_GET_USERNS)), own;
	struct stat a, b;
	CHECK_ERR(ioctl(fd, NS_GET_PARENT), EINVAL);
	CHECK_OK(fstat(owner, &a));
	own = CHECK_OK(open("/proc/self/ns/user", O_RDONLY));
	CHECK_OK(fstat(own, &b));
	CHECK_EQ(a.st_ino, b.st_ino);
	close(fd);
	// One below.
	CHECK_OK(unshare(CLONE_NEWUSER));
	fd = CHECK_OK(open("/proc/self/ns/user", O_RDONLY));
	CHECK_ERR(ioctl(fd, NS_GET_PARENT), EPERM);
	CHECK_ERR(setns(own, 0), EPERM);
	CHECK_EQ(try_write("/proc/self/uid_map", "7 0 1"), 0);
	CHECK_EQ(getuid(), 7);
	CHECK_ERR(sethostname("x", 1), EPERM);
	close(fd);
	close(own);
	CHECK_OK(unlink("mine"));
}

// A process and its child see one another's ids, each in its own way.
static void between_two(void)
{
	uid_t uid = geteuid();
	char map[64];
	int go[2], pair[2], one = 1;
	struct ucred peer;
	socklen_t size = sizeof(peer);
	char c;

	CHECK_OK(pipe(go));
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CHECK_OK(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)));
	pid_t pid = CHECK_OK(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
	if (!pid) {
		struct ucred claim = { getpid(), 0, 0 };
		char control[CMSG_SPACE(sizeof(claim))] = "";
		struct iovec data = { "m", 1 };
		struct msghdr m = {
			.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
		};
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);

		CHECK_EQ(read(go[0], &c, 1), 1);
		CHECK_EQ(getuid(), 0);
		CHECK_OK(getsockopt(pair[1], SOL_SOCKET, SO_PEERCRED, &peer, &size));
		CHECK_EQ(peer.uid, 0);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_CREDENTIALS;
		h->cmsg_len = CMSG_LEN(sizeof(claim));
		memcpy(CMSG_DATA(h), &claim, sizeof(claim));
		CHECK_EQ(sendmsg(pair[1], &m, 0), 1);
		claim.uid = 33;
		memcpy(CMSG_DATA(h), &claim, sizeof(claim));
		CHECK_ERR(sendmsg(pair[1], &m, 0), EINVAL);
		check_child_exit();
	}
	snprintf(map, sizeof(map), "/proc/%d/setgroups", pid);
	CHECK_EQ(try_write(map, "deny"), 0);
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
	snprintf(map, sizeof(map), "0 %u 1", uid);
	CHECK_EQ(try_write(path, map), 0);
	snprintf(path, sizeof(path), "/proc/%d/gid_map", pid);
	snprintf(map, sizeof(map), "0 %u 1", getegid());
	CHECK_EQ(try_write(path, map), 0);
	CHECK_EQ(write(go[1], "x", 1), 1);
	struct ucred got = { 0 };
	char control[CMSG_SPACE(sizeof(got))];
	struct iovec data = { &c, 1 };
	struct msghdr m = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	CHECK_EQ(recvmsg(pair[0], &m, 0), 1);
	CHECK(CMSG_FIRSTHDR(&m) != NULL);
	memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(got));
	CHECK_EQ(got.uid, uid);
	CHECK_EQ(got.pid, pid);
	CHECK_EQ(check_wait(pid), 0);
}

static void entered(void)
{
	int go[2];
	char path[64], c;

	CHECK_OK(pipe(go));
	pid_t pid = CHECK_OK(syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWUTS | SIGCHLD, 0, 0, 0, 0));
	if (!pid) {
		CHECK_OK(sethostname("theirs", 6));
		CHECK_EQ(write(go[1], "x", 1), 1);
		pause();
		_exit(1);
	}
	CHECK_EQ(read(go[0], &c, 1), 1);
	snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
	int user = CHECK_OK(open(path, O_RDONLY));
	snprintf(path, sizeof(path), "/proc/%d/ns/uts", pid);
	int uts = CHECK_OK(open(path, O_RDONLY));
	if (!is_root)
		CHECK_ERR(setns(uts, 0), EPERM);
	CHECK_OK(setns(user, CLONE_NEWUSER)); // the owner may
	CHECK_EQ(getuid(), 65534);
	CHECK_OK(setns(uts, 0));
	char name[16] = "";
	CHECK_OK(gethostname(name, sizeof(name)));
	CHECK_STR(name, "theirs");
	CHECK_OK(kill(pid, SIGKILL));
	check_wait(pid);
}

static void many_ids(void)
{
	int go[2];
	char path[64], c;
	struct stat st;

	if (!is_root)
		return;
	CHECK_OK(pipe(go));
	check_write_file("theirs", "");
	CHECK_OK(chown("theirs", 1005, 2007));
	pid_t pid = CHECK_OK(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
	if (!pid) {
		CHECK_EQ(read(go[0], &c, 1), 1);
		CHECK_OK(setgroups(1, &(gid_t){ 3 }));
		CHECK_EQ(getgroups(1, &(gid_t){ 0 }), 1);
		CHECK_ERR(setgroups(1, &(gid_t){ 1000 }), EINVAL);
		CHECK_OK(setresgid(7, 7, 7));
		CHECK_OK(stat("theirs", &st));
		CHECK_EQ(st.st_uid, 5);
		CHECK_EQ(st.st_gid, 7);
		CHECK_OK(chown("theirs", 6, 8));
		CHECK_OK(setresuid(0, 0, 0));
		CHECK_OK(setresuid(6, 6, 6));
		CHECK_EQ(effective(), 0);
		CHECK_OK(chmod("theirs", 0640));
		CHECK_ERR(chown("theirs", 5, -1), EPERM);
		check_child_exit();
	}
	snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
	CHECK_EQ(try_write(path, "0 1000 10\n10 5000 5\n"), 0);
	CHECK_STR(check_read_file(path), "         0       1000         10\n        10       5000          5\n");
	snprintf(path, sizeof(path), "/proc/%d/gid_map", pid);
	CHECK_EQ(try_write(path, "0 2000 10"), 0);
	CHECK_EQ(write(go[1], "x", 1), 1);
	CHECK_EQ(check_wait(pid), 0);
	CHECK_OK(stat("theirs", &st));
	CHECK_EQ(st.st_uid, 1006);
	CHECK_EQ(st.st_gid, 2008);
	CHECK_OK(unlink("theirs"));
}

static void below_one_with_a_gap(const char *map, int expected)
{
	char path[64];
	pid_t pid = CHECK_OK(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));

	if (!pid) {
		pause();
		_exit(1);
	}
	if (pid < 0)
		return;
	snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
	CHECK_EQ(try_write(path, map), expected);
	CHECK_OK(kill(pid, SIGKILL));
	check_wait(pid);
}

// Nobody gives away ids that he has not: what his own map leaves out.
static void gaps(void)
{
	int go[2];
	char path[64], c;

	if (!is_root)
		return;
	CHECK_OK(pipe(go));
	pid_t pid = CHECK_OK(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
	if (!pid) {
		CHECK_EQ(read(go[0], &c, 1), 1);
		CHECK_OK(setresgid(0, 0, 0));
		CHECK_OK(setresuid(0, 0, 0));
		CHECK_OK(prctl(PR_SET_DUMPABLE, 1));
		below_one_with_a_gap("0 0 30", EPERM);
		below_one_with_a_gap("0 5 20", EPERM);
		below_one_with_a_gap("0 22 9", EPERM);
		below_one_with_a_gap("0 5 5\n5 20 10", 0);
		check_child_exit();
	}
	snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
	CHECK_EQ(try_write(path, "0 1000 10\n20 1020 10\n"), 0);
	snprintf(path, sizeof(path), "/proc/%d/gid_map", pid);
	CHECK_EQ(try_write(path, "0 1000 10\n"), 0);
	CHECK_EQ(write(go[1], "x", 1), 1);
	CHECK_EQ(check_wait(pid), 0);
}

static void refused(void)
{
	CHECK_ERR(syscall(SYS_clone, CLONE_NEWUSER | CLONE_FS | SIGCHLD, 0, 0, 0, 0), EINVAL);
	if (is_root) {
		CHECK_OK(mkdir("jail", 0755));
		CHECK_OK(chroot("jail"));
		CHECK_ERR(unshare(CLONE_NEWUSER), EPERM);
	}
}

static void *in_thread(void *argument)
{
	(void)argument;
	CHECK_ERR(unshare(CLONE_NEWUSER), EINVAL);
	return NULL;
}

static void threads(void)
{
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, in_thread, NULL), 0);
	pthread_join(t, NULL);
}

static void all(void)
{
	CHECK_CHILD(root_in_it);
	CHECK_CHILD(between_two);
	CHECK_CHILD(entered);
	CHECK_CHILD(many_ids);
	CHECK_CHILD(gaps);
	CHECK_CHILD(threads);
	CHECK_CHILD(refused);
}

static void as_user(void)
{
	CHECK_OK(setgroups(0, NULL));
	CHECK_OK(setresgid(USER, USER, USER));
	CHECK_OK(setresuid(USER, USER, USER));
	CHECK_OK(prctl(PR_SET_DUMPABLE, 1));
	is_root = false;
	all();
}

static void probe(void)
{
	if (geteuid() == 0) {
		CHECK_OK(setresuid(USER, USER, USER));
		CHECK_OK(prctl(PR_SET_DUMPABLE, 1));
	}
	_exit(unshare(CLONE_NEWUSER) < 0);
}

int main(void)
{
	if (check_in_child(probe))
		CHECK_SKIP("no user namespaces for ordinary users");
	check_tmpdir();
	is_root = geteuid() == 0;
	if (is_root)
		CHECK_CHILD(as_user);
	all();
	return check_done();
}
