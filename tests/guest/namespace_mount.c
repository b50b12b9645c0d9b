// SPDX-License-Identifier: Apache-2.0
// Mount namespaces: who sees what another one mounts, pivot_root(2), moves, and what an ordinary user may do in one of its own.
#include "in_namespace.h"

#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/statfs.h>
#include <sys/vfs.h>

#define USER 12345

static bool is_there(const char *path) { return access(path, F_OK) == 0; }

static void try_write(const char *path, const char *text)
{
	int fd = CHECK_OK(open(path, O_WRONLY));

	CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

// A process in a namespace of its own, which does one thing after another as it is told.
struct other {
	pid_t pid;
	int to, from;
};

static struct other start(void (*step)(int), uint32_t propagation)
{
	int to[2], from[2];
	struct other o;
	char c;

	CHECK_OK(pipe(to));
	CHECK_OK(pipe(from));
	o.pid = CHECK_OK(fork());
	if (!o.pid) {
		close(to[1]);
		CHECK_OK(unshare(CLONE_NEWNS));
		if (propagation)
			CHECK_OK(mount(NULL, "/", NULL, MS_REC | propagation, NULL));
		CHECK_EQ(write(from[1], "r", 1), 1);
		while (read(to[0], &c, 1) == 1) {
			step(c);
			CHECK_EQ(write(from[1], "d", 1), 1);
		}
		check_child_exit();
	}
	close(to[0]);
	close(from[1]);
	o.to = to[1];
	o.from = from[0];
	CHECK_EQ(read(o.from, &c, 1), 1);
	return o;
}

static void tell(struct other o, char what)
{
	char c;

	CHECK_EQ(write(o.to, &what, 1), 1);
	CHECK_EQ(read(o.from, &c, 1), 1);
}

static void end(struct other o)
{
	close(o.to);
	CHECK_EQ(check_wait(o.pid), 0);
	close(o.from);
}

static void step(int what)
{
	switch (what) {
	case 'm': CHECK_OK(mount("none", "m/inner", "tmpfs", 0, NULL)); break;
	case 'f': check_write_file("m/inner/f", "x"); break;
	case 'u': CHECK_OK(umount2("m/inner", 0)); break;
	case 'y': CHECK(is_there("m/outer/f")); break;
	case 'n': CHECK(!is_there("m/outer/f")); break;
	}
}

static void outer_mount(void)
{
	CHECK_OK(mount("none", "m/outer", "tmpfs", 0, NULL));
	check_write_file("m/outer/f", "x");
}

// What spreads between a namespace and one made from it, when it began private, shared or as a slave.
static void propagation(void)
{
	CHECK_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	CHECK_OK(mkdir("m", 0755));
	CHECK_OK(mount("none", "m", "tmpfs", 0, NULL));
	CHECK_OK(mkdir("m/inner", 0755));
	CHECK_OK(mkdir("m/outer", 0755));
	CHECK(!strstr(check_read_file("/proc/self/mountinfo"), "shared:"));

	struct other o = start(step, 0); // private
	tell(o, 'm');
	tell(o, 'f');
	CHECK(!is_there("m/inner/f"));
	outer_mount();
	tell(o, 'n');
	CHECK_OK(umount2("m/outer", 0));
	end(o);

	CHECK_OK(mount(NULL, "m", NULL, MS_SHARED, NULL));
	CHECK(strstr(check_read_file("/proc/self/mountinfo"), "shared:") != NULL);
	o = start(step, 0); // both ways
	tell(o, 'm');
	tell(o, 'f');
	CHECK(is_there("m/inner/f"));
	outer_mount();
	tell(o, 'y');
	CHECK_OK(umount2("m/outer", 0));
	tell(o, 'n');
	tell(o, 'u');
	CHECK(!is_there("m/inner/f"));
	tell(o, 'm');
	tell(o, 'f');
	end(o);
	CHECK(is_there("m/inner/f")); // its copy outlives the namespace
	CHECK_OK(umount2("m/inner", 0));

	o = start(step, MS_SLAVE); // one way
	outer_mount();
	tell(o, 'y');
	tell(o, 'm');
	tell(o, 'f');
	CHECK(!is_there("m/inner/f"));
	CHECK_OK(umount2("m/outer", MNT_DETACH));
	tell(o, 'n');
	end(o);

	o = start(step, MS_PRIVATE);
	outer_mount();
	tell(o, 'n');
	CHECK_OK(umount2("m/outer", 0));
	end(o);
	CHECK_OK(umount2("m", MNT_DETACH));
}

// Peers in one namespace.
static void binds(void)
{
	CHECK_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	CHECK_OK(mkdir("a", 0755));
	CHECK_OK(mkdir("b", 0755));
	CHECK_OK(mkdir("c", 0755));
	CHECK_OK(mount("none", "a", "tmpfs", 0, NULL));
	CHECK_OK(mkdir("a/sub", 0755));
	CHECK_OK(mount(NULL, "a", NULL, MS_SHARED, NULL));
	CHECK_OK(mount("a", "b", NULL, MS_BIND, NULL));
	CHECK_OK(mount("none", "b/sub", "tmpfs", 0, NULL));
	check_write_file("b/sub/f", "1");
	CHECK_STR(check_read_file("a/sub/f"), "1");
	CHECK_OK(mount("a", "c", NULL, MS_BIND, NULL));
	CHECK(!is_there("c/sub/f")); // not recursive
	CHECK_OK(umount2("c", 0));
	CHECK_OK(mount("a", "c", NULL, MS_BIND | MS_REC, NULL));
	CHECK(is_there("c/sub/f"));
	CHECK_OK(umount2("a/sub", 0));
	CHECK(!is_there("b/sub/f") && !is_there("c/sub/f"));
	CHECK_OK(umount2("c", 0));
	CHECK_OK(mount(NULL, "b", NULL, MS_UNBINDABLE, NULL));
	CHECK_ERR(mount("b", "c", NULL, MS_BIND, NULL), EINVAL);
	CHECK_ERR(mount(NULL, "b", NULL, MS_SHARED | MS_PRIVATE, NULL), EINVAL);
	CHECK_ERR(mount(NULL, "b/sub", NULL, MS_PRIVATE, NULL), EINVAL); // no mount
	CHECK_OK(mount(NULL, "b", NULL, MS_PRIVATE, NULL));
	// Moves.
	CHECK_OK(mount("b", "c", NULL, MS_MOVE, NULL));
	CHECK(!is_there("b/sub") && is_there("c/sub"));
	CHECK_ERR(mount("b", "c", NULL, MS_MOVE, NULL), EINVAL);
	CHECK_ERR(mount("c", "c/sub", NULL, MS_MOVE, NULL), ELOOP);
	CHECK_OK(umount2("c", 0));
	CHECK_OK(umount2("a", 0));
}

static void new_root(void)
{
	struct statfs fs;

	CHECK_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	CHECK_OK(mkdir("root", 0755));
	CHECK_OK(mount("none", "root", "tmpfs", 0, NULL));
	CHECK_OK(mkdir("root/old", 0755));
	check_write_file("root/here", "x");
	int old = CHECK_OK(open("/", O_RDONLY | O_DIRECTORY));
	CHECK_ERR(syscall(SYS_pivot_root, "root", "/"), EBUSY);
	CHECK_OK(syscall(SYS_pivot_root, "root", "root/old"));
	CHECK(is_there("/here"));
	CHECK(is_there("/old/proc"));
	CHECK_OK(chdir("/"));
	CHECK_OK(umount2("/old", MNT_DETACH));
	CHECK(!is_there("/old/proc"));
	CHECK_OK(fstatat(old, "proc", &(struct stat){ 0 }, 0));
	CHECK_OK(statfs("/", &fs));
	CHECK_EQ(fs.f_type, 0x01021994);
	// As runc does: the old root on top of the new one.
	CHECK_OK(mkdir("/next", 0755));
	CHECK_OK(mount("none", "/next", "tmpfs", 0, NULL));
	check_write_file("/next/there", "x");
	CHECK_OK(chdir("/next"));
	CHECK_OK(syscall(SYS_pivot_root, ".", "."));
	CHECK_OK(umount2(".", MNT_DETACH));
	CHECK_OK(chdir("/"));
	CHECK(is_there("/there") && !is_there("/here"));
	close(old);
}

static void entered(void)
{
	int outer = CHECK_OK(open("/proc/self/ns/mnt", O_RDONLY));
	char cwd[256];

	CHECK_OK(unshare(CLONE_NEWNS));
	CHECK_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	CHECK_OK(mkdir("t", 0755));
	CHECK_OK(mount("none", "t", "tmpfs", 0, NULL));
	CHECK_OK(mkdir("t/d", 0755));
	CHECK_OK(chdir("t/d"));
	CHECK_OK(setns(outer, CLONE_NEWNS));
	CHECK(getcwd(cwd, sizeof(cwd)) != NULL);
	CHECK_STR(cwd, "/");
	close(outer);
	// A name that is a mount point elsewhere only may go.
	CHECK_OK(chdir(check_dir));
	CHECK_OK(mkdir("busy", 0755));
	int go[2], back[2];
	char c;
	CHECK_OK(pipe(go));
	CHECK_OK(pipe(back));
	pid_t pid = CHECK_OK(fork());
	if (!pid) {
		CHECK_OK(unshare(CLONE_NEWNS));
		CHECK_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
		CHECK_OK(mount("none", "busy", "tmpfs", 0, NULL));
		CHECK_ERR(rmdir("busy"), EBUSY);
		CHECK_EQ(write(back[1], "x", 1), 1);
		CHECK_EQ(read(go[0], &c, 1), 1);
		check_child_exit();
	}
	CHECK_EQ(read(back[0], &c, 1), 1);
	CHECK_OK(rmdir("busy"));
	CHECK_EQ(write(go[1], "x", 1), 1);
	CHECK_EQ(check_wait(pid), 0);
}

static void bound_namespace(void)
{
	struct stat a, b;

	CHECK_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	check_write_file("ns", "");
	CHECK_OK(stat("/proc/self/ns/uts", &a));
	CHECK_OK(mount("/proc/self/ns/uts", "ns", NULL, MS_BIND, NULL));
	CHECK_OK(unshare(CLONE_NEWUTS));
	CHECK_OK(stat("ns", &b));
	CHECK_EQ(a.st_ino, b.st_ino);
	int fd = CHECK_OK(open("ns", O_RDONLY));
	CHECK_OK(setns(fd, CLONE_NEWUTS));
	close(fd);
	CHECK_OK(umount2("ns", 0));
}

// In a user namespace: what came from outside stays as it is.
static void as_owner(void)
{
	char map[64];
	struct stat st;
	uid_t uid = geteuid();
	gid_t gid = getegid();

	CHECK_ERR(unshare(CLONE_NEWNS), EPERM);
	CHECK_ERR(mount("none", "/tmp", "tmpfs", 0, NULL), EPERM);
	CHECK_OK(unshare(CLONE_NEWUSER | CLONE_NEWNS));
	try_write("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", uid);
	try_write("/proc/self/uid_map", map);
	snprintf(map, sizeof(map), "0 %u 1", gid);
	try_write("/proc/self/gid_map", map);
	CHECK_OK(mkdir("mine", 0755));
	CHECK_OK(mount("none", "mine", "tmpfs", 0, "mode=755"));
	CHECK_OK(stat("mine", &st));
	CHECK_EQ(st.st_uid, 0);
	CHECK_OK(mkdir("mine/tmp", 0755));
	CHECK_OK(mount("/proc", "mine/tmp", NULL, MS_BIND | MS_REC, NULL));
	CHECK(is_there("mine/tmp/self"));
	CHECK_ERR(umount2("/proc", MNT_DETACH), EINVAL);
	CHECK_ERR(umount2("/proc", 0), EINVAL);
	CHECK_ERR(mount("none", "mine", "nosuchfs", 0, NULL), ENODEV);
	CHECK_ERR(mount(NULL, "outside", NULL, MS_REMOUNT | MS_BIND, NULL), EPERM); // it is read-only
	CHECK_ERR(mount(NULL, "outside", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOATIME, NULL), EPERM);
	CHECK_OK(mount(NULL, "outside", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_RELATIME, NULL)); // it is so
	CHECK_OK(mount(NULL, "mine", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	CHECK_ERR(mkdir("mine/x", 0755), EROFS);
	CHECK_OK(mount(NULL, "mine", NULL, MS_REMOUNT | MS_BIND, NULL));
	CHECK_OK(mkdir("mine/x", 0755));
	CHECK_ERR(mknod("mine/null", S_IFCHR | 0666, 0x103), EPERM);
	CHECK_OK(mkdir("mine/old", 0755));
	CHECK_OK(syscall(SYS_pivot_root, "mine", "mine/old"));
	CHECK_OK(chdir("/"));
	CHECK_OK(umount2("/old", MNT_DETACH));
	CHECK(is_there("/tmp/self"));
	CHECK_ERR(unshare(CLONE_NEWUSER | 0x10), EINVAL);
	CHECK_OK(unshare(CLONE_NEWUSER)); // not a chroot
}

static void as_user(void)
{
	CHECK_OK(mkdir("outside", 0755));
	CHECK_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	CHECK_OK(mount("none", "outside", "tmpfs", MS_RDONLY, NULL));
	CHECK_OK(setresgid(USER, USER, USER));
	CHECK_OK(setresuid(USER, USER, USER));
	CHECK_OK(prctl(PR_SET_DUMPABLE, 1));
	CHECK_CHILD(as_owner);
}

// The file of a mount namespace keeps it: only an older one may have a younger one's, or none would ever end.
static void none_keeps_itself(void)
{
	int go[2], back[2];
	char c, path[64];
	cpu_set_t here;

	// Newer kernels number namespaces in batches, one for each CPU.
	CPU_ZERO(&here);
	CPU_SET(sched_getcpu(), &here);
	CHECK_OK(sched_setaffinity(0, sizeof(here), &here));
	CHECK_OK(unshare(CLONE_NEWNS));
	CHECK_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	check_write_file("self", "");
	check_write_file("child", "");
	CHECK_ERR(mount("/proc/self/ns/mnt", "self", NULL, MS_BIND, NULL), EINVAL);
	CHECK_OK(pipe(go));
	CHECK_OK(pipe(back));
	int outer = CHECK_OK(open("/proc/self/ns/mnt", O_RDONLY));
	pid_t pid = CHECK_OK(fork());
	if (!pid) {
		CHECK_OK(unshare(CLONE_NEWNS));
		snprintf(path, sizeof(path), "/proc/self/fd/%d", outer);
		CHECK_ERR(mount(path, "self", NULL, MS_BIND, NULL), EINVAL);
		CHECK_EQ(write(back[1], "x", 1), 1);
		CHECK_EQ(read(go[0], &c, 1), 1);
		check_child_exit();
	}
	CHECK_EQ(read(back[0], &c, 1), 1);
	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", pid);
	CHECK_OK(mount(path, "child", NULL, MS_BIND, NULL));
	CHECK_EQ(write(go[1], "x", 1), 1);
	CHECK_EQ(check_wait(pid), 0);
	int kept = CHECK_OK(open("child", O_RDONLY)); // it is still there
	CHECK_OK(setns(kept, CLONE_NEWNS));
	CHECK_OK(setns(outer, CLONE_NEWNS));
	CHECK_OK(chdir(check_dir));
	// Copies of the tree are without it.
	pid = CHECK_OK(fork());
	if (!pid) {
		struct stat in, out;

		CHECK_OK(stat("child", &out));
		CHECK_OK(unshare(CLONE_NEWNS));
		CHECK_OK(stat("child", &in));
		CHECK(in.st_dev != out.st_dev);
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	CHECK_OK(umount2("child", MNT_DETACH));
}

int main(void)
{
	if (geteuid() || unshare(CLONE_NEWNS) < 0)
		CHECK_SKIP("no mount namespace of our own");
	check_tmpdir();
	in_namespace(propagation, "propagation");
	in_namespace(binds, "binds");
	in_namespace(new_root, "new_root");
	in_namespace(entered, "entered");
	in_namespace(bound_namespace, "bound_namespace");
	in_namespace(none_keeps_itself, "none_keeps_itself");
	in_namespace(as_user, "as_user");
	return check_done();
}
