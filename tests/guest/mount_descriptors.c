// SPDX-License-Identifier: Apache-2.0
// Mounts by descriptors: open_tree(2), move_mount(2), fsopen(2) and kin, mount_setattr(2), and what of that the root of a user namespace may do.
// Natively in mount namespaces of its own; skipped where that is refused.
#include "in_namespace.h"

#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/statfs.h>

#define USER 12345

static int open_tree_(int dir, const char *path, unsigned flags) { return syscall(SYS_open_tree, dir, path, flags); }
static int move_mount_(int from, const char *path, int to, const char *to_path, unsigned flags)
{
	return syscall(SYS_move_mount, from, path, to, to_path, flags);
}
static int fsopen_(const char *type, unsigned flags) { return syscall(SYS_fsopen, type, flags); }
static int fsconfig_(int fd, unsigned command, const void *key, const void *value, int aux)
{
	return syscall(SYS_fsconfig, fd, command, key, value, aux);
}
static int fsmount_(int fd, unsigned flags, unsigned attributes) { return syscall(SYS_fsmount, fd, flags, attributes); }
static int fspick_(int dir, const char *path, unsigned flags) { return syscall(SYS_fspick, dir, path, flags); }
static int set_attributes(int dir, const char *path, unsigned flags, uint64_t set, uint64_t clear, uint64_t propagation)
{
	struct mount_attr a = { set, clear, propagation, 0 };

	return syscall(SYS_mount_setattr, dir, path, flags, &a, sizeof(a));
}

static int set_string(int fd, const char *key, const char *value)
{
	return fsconfig_(fd, FSCONFIG_SET_STRING, key, value, 0);
}
static int create(int fd) { return fsconfig_(fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0); }
static int reconfigure(int fd) { return fsconfig_(fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0); }

static bool is_there(const char *path) { return access(path, F_OK) == 0; }
static bool is_there_at(int dir, const char *path) { return faccessat(dir, path, F_OK, 0) == 0; }

// The line of mountinfo about what is mounted in the test's directory under that name; "" when there is none.
static const char *info(const char *name)
{
	static char line[1024];
	char where[160], *text = check_read_file("/proc/self/mountinfo"), *found, *begin;

	snprintf(where, sizeof(where), "%s/%s ", check_dir, name);
	found = strstr(text, where);
	line[0] = 0;
	if (!found)
		return line;
	for (begin = found; begin > text && begin[-1] != '\n'; begin--)
		;
	snprintf(line, sizeof(line), "%.*s", (int)strcspn(begin, "\n"), begin);
	return line;
}

static void make_tree(void)
{
	CHECK_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	CHECK_OK(mkdir("a", 0755));
	CHECK_OK(mkdir("b", 0755));
	CHECK_OK(mkdir("c", 0755));
	CHECK_OK(mount("none", "a", "tmpfs", 0, NULL));
	CHECK_OK(mkdir("a/sub", 0755));
	CHECK_OK(mkdir("a/plain", 0755));
	check_write_file("a/file", "file");
	CHECK_OK(mount("none", "a/sub", "tmpfs", 0, NULL));
	check_write_file("a/sub/f", "f");
}

static void remove_tree(void)
{
	CHECK_OK(umount2("a", MNT_DETACH));
	CHECK_OK(rmdir("a"));
	CHECK_OK(rmdir("b"));
	CHECK_OK(rmdir("c"));
}

static void trees_opened(void)
{
	char c;

	make_tree();
	CHECK_ERR(open_tree_(AT_FDCWD, "a", AT_RECURSIVE), EINVAL);
	CHECK_ERR(open_tree_(AT_FDCWD, "a", 2), EINVAL);
	CHECK_ERR(open_tree_(AT_FDCWD, "absent", OPEN_TREE_CLONE), ENOENT);
	CHECK_ERR(open_tree_(AT_FDCWD, "", OPEN_TREE_CLONE), ENOENT);

	int fd = CHECK_OK(open_tree_(AT_FDCWD, "a/file", OPEN_TREE_CLOEXEC));
	CHECK_EQ(fcntl(fd, F_GETFL) & O_PATH, O_PATH);
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK_ERR(read(fd, &c, 1), EBADF);
	close(fd);

	fd = CHECK_OK(open_tree_(AT_FDCWD, "a", OPEN_TREE_CLONE));
	CHECK_EQ(fcntl(fd, F_GETFD), 0);
	CHECK(is_there_at(fd, "file") && is_there_at(fd, "sub") && !is_there_at(fd, "sub/f"));
	CHECK_ERR(umount2("a/sub/../sub/nothing", 0), ENOENT);
	close(fd);

	fd = CHECK_OK(open_tree_(AT_FDCWD, "a", OPEN_TREE_CLONE | AT_RECURSIVE | OPEN_TREE_CLOEXEC));
	CHECK(is_there_at(fd, "sub/f"));
	int copy = CHECK_OK(dup(fd));
	close(fd);
	CHECK(is_there_at(copy, "sub/f"));
	// What is open in it outlives the tree, which cannot be attached then.
	int plain = CHECK_OK(openat(copy, "plain", O_RDONLY | O_DIRECTORY));
	int top = CHECK_OK(openat(copy, ".", O_PATH));
	close(copy);
	CHECK_OK(fstat(plain, &(struct stat){ 0 }));
	CHECK_ERR(move_mount_(top, "", AT_FDCWD, "b", MOVE_MOUNT_F_EMPTY_PATH), EINVAL);
	close(plain);
	close(top);

	// A part of a mount, and a file.
	int dir = CHECK_OK(open("a/plain", O_RDONLY | O_DIRECTORY));
	fd = CHECK_OK(open_tree_(dir, "", OPEN_TREE_CLONE | AT_EMPTY_PATH));
	CHECK_OK(move_mount_(fd, "", AT_FDCWD, "b", MOVE_MOUNT_F_EMPTY_PATH));
	CHECK(strstr(info("b"), " /plain ") != NULL);
	CHECK_OK(umount2("b", 0) == 0 ? 0 : umount2("b", MNT_DETACH));
	close(fd);
	close(dir);
	fd = CHECK_OK(open_tree_(AT_FDCWD, "a/file", OPEN_TREE_CLONE));
	check_write_file("onto", "below");
	CHECK_ERR(move_mount_(fd, "", AT_FDCWD, "b", MOVE_MOUNT_F_EMPTY_PATH), EINVAL); // not a directory
	CHECK_OK(move_mount_(fd, "", AT_FDCWD, "onto", MOVE_MOUNT_F_EMPTY_PATH));
	close(fd);
	CHECK_STR(check_read_file("onto"), "file");
	CHECK_OK(umount2("onto", 0));
	CHECK_STR(check_read_file("onto"), "below");

	CHECK_OK(mount(NULL, "a", NULL, MS_UNBINDABLE, NULL));
	CHECK_ERR(open_tree_(AT_FDCWD, "a", OPEN_TREE_CLONE), EINVAL);
	remove_tree();
}

static void trees_moved(void)
{
	make_tree();
	int fd = CHECK_OK(open_tree_(AT_FDCWD, "a", OPEN_TREE_CLONE | AT_RECURSIVE));
	CHECK_ERR(move_mount_(fd, "", AT_FDCWD, "b", 0), ENOENT);
	CHECK_ERR(move_mount_(fd, "", AT_FDCWD, "b", 0x1000 | MOVE_MOUNT_F_EMPTY_PATH), EINVAL);
	CHECK_ERR(move_mount_(fd, "", AT_FDCWD, "absent", MOVE_MOUNT_F_EMPTY_PATH), ENOENT);
	CHECK_ERR(move_mount_(fd, "plain", AT_FDCWD, "b", 0), EINVAL); // not a mount
	CHECK_ERR(move_mount_(fd, "sub", AT_FDCWD, "b", 0), EINVAL);   // not the top of a detached tree
	CHECK_ERR(mount(NULL, "b", NULL, MS_PRIVATE, NULL), EINVAL);
	CHECK_OK(move_mount_(fd, "", AT_FDCWD, "b", MOVE_MOUNT_F_EMPTY_PATH));
	CHECK(is_there("b/sub/f"));
	// It is a mount like any other now, and its descriptor one like any other.
	CHECK_OK(move_mount_(fd, "", AT_FDCWD, "c", MOVE_MOUNT_F_EMPTY_PATH));
	CHECK(is_there("c/sub/f") && !is_there("b/sub"));
	close(fd);
	CHECK(is_there("c/sub/f"));
	CHECK_ERR(move_mount_(AT_FDCWD, "c", AT_FDCWD, "c/sub", 0), ELOOP);
	int to = CHECK_OK(open("b", O_PATH));
	CHECK_ERR(move_mount_(AT_FDCWD, "c", to, "", 0), ENOENT);
	CHECK_OK(move_mount_(AT_FDCWD, "c", to, "", MOVE_MOUNT_T_EMPTY_PATH));
	close(to);
	CHECK(is_there("b/sub/f") && !is_there("c/sub"));
	CHECK_OK(symlink("b", "link"));
	CHECK_ERR(move_mount_(AT_FDCWD, "link", AT_FDCWD, "c", 0), EINVAL);
	CHECK_OK(move_mount_(AT_FDCWD, "link", AT_FDCWD, "c", MOVE_MOUNT_F_SYMLINKS));
	CHECK_OK(move_mount_(AT_FDCWD, "c", AT_FDCWD, "link", MOVE_MOUNT_T_SYMLINKS));
	CHECK(is_there("b/sub/f"));
	// Nothing is moved out of a shared mount.
	CHECK_OK(mount(NULL, "b", NULL, MS_SHARED, NULL));
	CHECK_ERR(move_mount_(AT_FDCWD, "b/sub", AT_FDCWD, "c", 0), EINVAL);
	// A detached tree is attached to a shared mount for all its peers.
	CHECK_OK(mount("b", "c", NULL, MS_BIND, NULL));
	fd = CHECK_OK(open_tree_(AT_FDCWD, "a/sub", OPEN_TREE_CLONE));
	CHECK_OK(move_mount_(fd, "", AT_FDCWD, "b/plain", MOVE_MOUNT_F_EMPTY_PATH));
	close(fd);
	CHECK(is_there("b/plain/f") && is_there("c/plain/f"));
	CHECK_OK(umount2("c", MNT_DETACH));
	CHECK_OK(umount2("b", MNT_DETACH));
	CHECK_OK(unlink("link"));
	remove_tree();
}

static void groups_set(void)
{
	make_tree();
	CHECK_OK(mount("a", "b", NULL, MS_BIND, NULL));
	CHECK_ERR(move_mount_(AT_FDCWD, "a", AT_FDCWD, "b", MOVE_MOUNT_SET_GROUP), EINVAL); // private itself
	CHECK_OK(mount(NULL, "a", NULL, MS_SHARED, NULL));
	CHECK_ERR(move_mount_(AT_FDCWD, "a", AT_FDCWD, "a/sub", MOVE_MOUNT_SET_GROUP), EINVAL); // another file system
	CHECK_ERR(move_mount_(AT_FDCWD, "a", AT_FDCWD, "b/plain", MOVE_MOUNT_SET_GROUP), EINVAL);
	CHECK_OK(move_mount_(AT_FDCWD, "a", AT_FDCWD, "b", MOVE_MOUNT_SET_GROUP));
	CHECK_ERR(move_mount_(AT_FDCWD, "a", AT_FDCWD, "b", MOVE_MOUNT_SET_GROUP), EINVAL); // it has one
	CHECK_OK(mount("none", "a/plain", "tmpfs", 0, NULL));
	check_write_file("a/plain/seen", "x");
	CHECK(is_there("b/plain/seen"));
	CHECK_OK(umount2("b", MNT_DETACH));
	remove_tree();
}

static void check_message(int fd, const char *expected)
{
	char text[300] = "";

	CHECK_OK(read(fd, text, sizeof(text) - 1));
	CHECK_STR(text, expected);
}

static void file_system_configured(void)
{
	struct statfs fs;
	struct stat st;
	char long_text[400], c;

	CHECK_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	CHECK_OK(mkdir("m", 0755));
	CHECK_ERR(fsopen_("nosuchfs", 0), ENODEV);
	CHECK_ERR(fsopen_("tmpfs", 2), EINVAL);
	CHECK_ERR(fsopen_((char *)1, 0), EFAULT);
	int fd = CHECK_OK(fsopen_("tmpfs", FSOPEN_CLOEXEC));
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK_ERR(read(fd, &c, 1), ENODATA);
	CHECK_ERR(fsmount_(fd, 0, 0), EINVAL);
	CHECK_ERR(reconfigure(fd), EBUSY);
	CHECK_ERR(set_string(fd, "nonsense", "1"), EINVAL);
	CHECK_ERR(set_string(fd, "size", "many"), EINVAL);
	CHECK_ERR(fsconfig_(fd, FSCONFIG_SET_FLAG, "size", NULL, 0), EINVAL);
	check_message(fd, "e tmpfs: Unknown parameter 'nonsense'\n");
	CHECK_ERR(read(fd, &c, 1), EMSGSIZE);
	check_message(fd, "e tmpfs: Bad value for 'size'\n");
	check_message(fd, "e tmpfs: Bad value for 'size'\n");
	CHECK_ERR(read(fd, &c, 1), ENODATA);
	for (int i = 0; i < 12; i++) {
		snprintf(long_text, sizeof(long_text), "n%d", i);
		CHECK_ERR(fsconfig_(fd, FSCONFIG_SET_FLAG, long_text, NULL, 0), EINVAL);
	}
	check_message(fd, "e tmpfs: Unknown parameter 'n4'\n"); // eight are kept
	memset(long_text, 'x', sizeof(long_text));
	long_text[sizeof(long_text) - 1] = 0;
	CHECK_ERR(set_string(fd, long_text, "1"), EINVAL);
	CHECK_ERR(set_string(fd, "size", long_text), EINVAL);
	CHECK_ERR(set_string(fd, NULL, "1"), EINVAL);
	CHECK_ERR(set_string(fd, "size", NULL), EINVAL);
	CHECK_ERR(set_string(fd, "size", (char *)1), EFAULT);
	CHECK_ERR(fsconfig_(fd, FSCONFIG_SET_STRING, "size", "1m", 1), EINVAL);
	CHECK_ERR(fsconfig_(fd, FSCONFIG_SET_FLAG, "ro", "1", 0), EINVAL);
	CHECK_ERR(fsconfig_(fd, FSCONFIG_SET_FD, "size", NULL, 999), EBADF);
	CHECK_ERR(fsconfig_(fd, FSCONFIG_SET_FD, "size", NULL, 0), EINVAL);
	CHECK_ERR(fsconfig_(fd, FSCONFIG_CMD_CREATE, "x", NULL, 0), EINVAL);
	CHECK_ERR(fsconfig_(fd, 77, NULL, NULL, 0), EOPNOTSUPP);
	CHECK_ERR(fsconfig_(-1, FSCONFIG_CMD_CREATE, NULL, NULL, 0), EINVAL);
	CHECK_ERR(fsconfig_(999, FSCONFIG_CMD_CREATE, NULL, NULL, 0), EBADF);
	CHECK_ERR(fsconfig_(0, FSCONFIG_CMD_CREATE, NULL, NULL, 0), EINVAL);
	CHECK_OK(set_string(fd, "source", "somewhere"));
	CHECK_ERR(set_string(fd, "source", "elsewhere"), EINVAL);
	CHECK_OK(set_string(fd, "size", "1m"));
	CHECK_OK(set_string(fd, "mode", "0710"));
	CHECK_OK(fsconfig_(fd, FSCONFIG_SET_FLAG, "sync", NULL, 0));
	CHECK_OK(create(fd));
	CHECK_ERR(create(fd), EBUSY);
	CHECK_ERR(set_string(fd, "size", "2m"), EBUSY);
	CHECK_ERR(fsmount_(fd, 2, 0), EINVAL);
	CHECK_ERR(fsmount_(fd, 0, MOUNT_ATTR_IDMAP), EINVAL);
	CHECK_ERR(fsmount_(fd, 0, 0x30), EINVAL); // two choices about access times
	CHECK_ERR(fsmount_(0, 0, 0), EINVAL);
	CHECK_ERR(fsmount_(999, 0, 0), EBADF);

	int m = CHECK_OK(fsmount_(fd, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME));
	CHECK_EQ(fcntl(m, F_GETFD), FD_CLOEXEC);
	CHECK_ERR(fsmount_(fd, 0, 0), EBUSY);
	int file = CHECK_OK(openat(m, "file", O_CREAT | O_WRONLY, 0600)); // it is there before it is attached
	close(file);
	CHECK_OK(fstat(m, &st));
	CHECK_EQ(st.st_mode & 07777, 0710);
	CHECK_OK(move_mount_(m, "", AT_FDCWD, "m", MOVE_MOUNT_F_EMPTY_PATH));
	close(m);
	CHECK(is_there("m/file"));
	CHECK_OK(statfs("m", &fs));
	CHECK_EQ(fs.f_blocks * fs.f_bsize, 1 << 20);
	CHECK(strstr(info("m"), " rw,noexec,noatime - tmpfs somewhere rw") != NULL);

	// The same descriptor changes it from now on.
	CHECK_OK(set_string(fd, "size", "2m"));
	CHECK_OK(reconfigure(fd));
	CHECK_OK(statfs("m", &fs));
	CHECK_EQ(fs.f_blocks * fs.f_bsize, 2 << 20);
	CHECK_ERR(create(fd), EBUSY);
	close(fd);

	CHECK_OK(mkdir("m/plain", 0755));
	CHECK_ERR(fspick_(AT_FDCWD, "m/plain", 0), EINVAL);
	CHECK_ERR(fspick_(AT_FDCWD, "m", 0x100), EINVAL);
	CHECK_ERR(fspick_(AT_FDCWD, "", 0), ENOENT);
	int dir = CHECK_OK(open("m", O_RDONLY | O_DIRECTORY));
	fd = CHECK_OK(fspick_(dir, "", FSPICK_EMPTY_PATH | FSPICK_CLOEXEC));
	close(dir);
	CHECK_OK(fsconfig_(fd, FSCONFIG_SET_FLAG, "ro", NULL, 0));
	file = CHECK_OK(open("m/file", O_WRONLY));
	CHECK_ERR(reconfigure(fd), EBUSY);
	close(file);
	close(fd);
	fd = CHECK_OK(fspick_(AT_FDCWD, "m", 0));
	CHECK_OK(fsconfig_(fd, FSCONFIG_SET_FLAG, "ro", NULL, 0));
	CHECK_OK(reconfigure(fd));
	CHECK_ERR(open("m/file", O_WRONLY), EROFS);
	CHECK(strstr(info("m"), " rw,noexec,noatime - tmpfs somewhere ro") != NULL);
	CHECK_OK(fsconfig_(fd, FSCONFIG_SET_FLAG, "rw", NULL, 0));
	CHECK_OK(reconfigure(fd));
	file = CHECK_OK(open("m/file", O_WRONLY));
	CHECK_EQ(ftruncate(file, 1 << 20), 0);
	static char block[1 << 20];
	CHECK_EQ(write(file, block, sizeof(block)), sizeof(block));
	close(file);
	CHECK_OK(set_string(fd, "size", "64k"));
	CHECK_ERR(reconfigure(fd), EINVAL); // there is more in it
	CHECK_ERR(set_string(fd, "size", "4m"), EBUSY);
	close(fd);
	CHECK_OK(mount(NULL, "m", NULL, MS_REMOUNT, "size=3m"));
	CHECK_OK(statfs("m", &fs));
	CHECK_EQ(fs.f_blocks * fs.f_bsize, 3 << 20);
	CHECK_OK(umount2("m", 0));
	CHECK_OK(rmdir("m"));
}

static void other_file_systems(void)
{
	static const struct {
		const char *type, *name;
	} all[] = { { "proc", "self/stat" }, { "sysfs", "kernel" }, { "devpts", "ptmx" }, { "mqueue", "." } };

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		int fd = CHECK_OK(fsopen_(all[i].type, 0));
		CHECK_OK(set_string(fd, "source", "here"));
		CHECK_OK(create(fd));
		int m = CHECK_OK(fsmount_(fd, 0, MOUNT_ATTR_NODEV));
		CHECK(is_there_at(m, all[i].name));
		close(m);
		close(fd);
	}
	int fd = CHECK_OK(fsopen_("sysfs", 0));
	CHECK_ERR(set_string(fd, "size", "1"), EINVAL);
	close(fd);
	fd = CHECK_OK(fsopen_("proc", 0));
	CHECK_OK(set_string(fd, "hidepid", "0"));
	CHECK_ERR(set_string(fd, "size", "1"), EINVAL);
	close(fd);
}

// Of the types that a cell's host mounts are of; most hosts know neither.
static void no_source(void)
{
	static const char *const types[] = { "broker", "virtiofs" };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		CHECK(mount(NULL, "/tmp", types[i], 0, NULL) < 0 && (errno == EINVAL || errno == ENODEV));
		int fd = fsopen_(types[i], 0);
		if (fd < 0)
			continue;
		CHECK_ERR(create(fd), EINVAL);
		close(fd);
	}
}

static bool has(const char *name, const char *option) { return strstr(info(name), option) != NULL; }

static void attributes_set(void)
{
	struct mount_attr a[2] = { { .attr_set = MOUNT_ATTR_RDONLY } };

	make_tree();
	CHECK_OK(set_attributes(AT_FDCWD, "absent", 0, 0, 0, 0)); // nothing to do is not looked for
	CHECK_ERR(set_attributes(AT_FDCWD, "absent", 0, MOUNT_ATTR_RDONLY, 0, 0), ENOENT);
	CHECK_ERR(set_attributes(AT_FDCWD, "a", 1, MOUNT_ATTR_RDONLY, 0, 0), EINVAL);
	CHECK_ERR(set_attributes(AT_FDCWD, "a", 0, 1ull << 40, 0, 0), EINVAL);
	CHECK_ERR(set_attributes(AT_FDCWD, "a", 0, 0, 1ull << 40, 0), EINVAL);
	CHECK_ERR(set_attributes(AT_FDCWD, "a", 0, 0, 0, MS_SHARED | MS_SLAVE), EINVAL);
	CHECK_ERR(set_attributes(AT_FDCWD, "a", 0, 0, 0, MS_REC), EINVAL);
	CHECK_ERR(set_attributes(AT_FDCWD, "a/plain", 0, MOUNT_ATTR_RDONLY, 0, 0), EINVAL);
	CHECK_ERR(syscall(SYS_mount_setattr, AT_FDCWD, "a", 0, a, 31), EINVAL);
	CHECK_ERR(syscall(SYS_mount_setattr, AT_FDCWD, "a", 0, a, 4097), E2BIG);
	CHECK_ERR(syscall(SYS_mount_setattr, AT_FDCWD, "a", 0, NULL, 32), EFAULT);
	a[1].attr_set = 1;
	CHECK_ERR(syscall(SYS_mount_setattr, AT_FDCWD, "a", 0, a, sizeof(a)), E2BIG);
	a[1].attr_set = 0;

	int fd = CHECK_OK(open("a/file", O_WRONLY));
	CHECK_ERR(syscall(SYS_mount_setattr, AT_FDCWD, "a", 0, a, sizeof(a)), EBUSY);
	CHECK_ERR(mount(NULL, "a", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), EBUSY);
	close(fd);
	CHECK_OK(syscall(SYS_mount_setattr, AT_FDCWD, "a", 0, a, sizeof(a)));
	CHECK_ERR(open("a/file", O_WRONLY), EROFS);
	fd = CHECK_OK(open("a/sub/f", O_WRONLY)); // not recursive
	close(fd);
	CHECK_OK(set_attributes(AT_FDCWD, "a", AT_RECURSIVE, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0, 0));
	CHECK_ERR(open("a/sub/f", O_WRONLY), EROFS);
	CHECK(has("a", " ro,nosuid") && has("a/sub", " ro,nosuid"));
	CHECK_OK(set_attributes(AT_FDCWD, "a", AT_RECURSIVE, MOUNT_ATTR_NODEV, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID,
				0));
	CHECK(has("a", " rw,nodev") && has("a/sub", " rw,nodev"));
	// All or nothing.
	fd = CHECK_OK(open("a/sub/f", O_WRONLY));
	CHECK_ERR(set_attributes(AT_FDCWD, "a", AT_RECURSIVE, MOUNT_ATTR_RDONLY, 0, 0), EBUSY);
	CHECK(has("a", " rw,nodev"));
	close(fd);

	CHECK_ERR(set_attributes(AT_FDCWD, "a", 0, MOUNT_ATTR_NOATIME, 0, 0), EINVAL);
	CHECK_ERR(set_attributes(AT_FDCWD, "a", 0, 0, MOUNT_ATTR_NOATIME, 0), EINVAL);
	CHECK_ERR(set_attributes(AT_FDCWD, "a", 0, 0x30, MOUNT_ATTR__ATIME, 0), EINVAL);
	CHECK_OK(set_attributes(AT_FDCWD, "a", 0, MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME, 0));
	CHECK(has("a", ",noatime"));
	CHECK_OK(set_attributes(AT_FDCWD, "a", 0, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME, 0));
	CHECK(!has("a", "atime"));
	CHECK_OK(set_attributes(AT_FDCWD, "a", 0, MOUNT_ATTR_NODIRATIME, MOUNT_ATTR__ATIME, 0));
	CHECK(has("a", ",nodiratime,relatime"));

	CHECK_OK(symlink("file", "a/link"));
	CHECK_STR(check_read_file("a/link"), "file");
	CHECK_OK(set_attributes(AT_FDCWD, "a", 0, MOUNT_ATTR_NOSYMFOLLOW, 0, 0));
	CHECK_ERR(open("a/link", O_RDONLY), ELOOP);
	CHECK(has("a", ",nosymfollow"));
	CHECK_OK(set_attributes(AT_FDCWD, "a", 0, 0, MOUNT_ATTR_NOSYMFOLLOW, 0));

	CHECK_OK(set_attributes(AT_FDCWD, "a", AT_RECURSIVE, 0, 0, MS_SHARED));
	CHECK(has("a", " shared:") && has("a/sub", " shared:"));
	CHECK_OK(set_attributes(AT_FDCWD, "a", AT_RECURSIVE, 0, 0, MS_PRIVATE));
	CHECK(!has("a", " shared:") && !has("a/sub", " shared:"));

	// A tree that is not attached yet.
	int tree = CHECK_OK(open_tree_(AT_FDCWD, "a", OPEN_TREE_CLONE | AT_RECURSIVE));
	CHECK_OK(set_attributes(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, MOUNT_ATTR_RDONLY, 0, MS_PRIVATE));
	CHECK_ERR(openat(tree, "file", O_WRONLY), EROFS);
	CHECK_ERR(openat(tree, "sub/f", O_WRONLY), EROFS);
	close(CHECK_OK(open("a/file", O_WRONLY)));
	CHECK_OK(move_mount_(tree, "", AT_FDCWD, "b", MOVE_MOUNT_F_EMPTY_PATH));
	CHECK(has("b", " ro,") && has("b/sub", " ro,"));
	close(tree);
	CHECK_OK(umount2("b", MNT_DETACH));

	// Ids of its own.
	a[0] = (struct mount_attr){ .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = 999 };
	CHECK_ERR(syscall(SYS_mount_setattr, AT_FDCWD, "a", 0, a, 32), EBADF);
	a[0].userns_fd = CHECK_OK(open("/proc/self/ns/uts", O_RDONLY));
	CHECK_ERR(syscall(SYS_mount_setattr, AT_FDCWD, "a", 0, a, 32), EINVAL);
	close((int)a[0].userns_fd);
	remove_tree();
}

static void write_map(const char *path, const char *text)
{
	int fd = CHECK_OK(open(path, O_WRONLY));

	CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

// What came from outside stays as it is, whatever it is reached by.
static void as_owner(void)
{
	char map[64];
	uid_t uid = geteuid();
	gid_t gid = getegid();

	CHECK_ERR(open_tree_(AT_FDCWD, "outside", OPEN_TREE_CLONE), EPERM);
	int fd = CHECK_OK(open_tree_(AT_FDCWD, "outside", 0));
	CHECK_ERR(move_mount_(fd, "", AT_FDCWD, "mine", MOVE_MOUNT_F_EMPTY_PATH), EPERM);
	CHECK_ERR(fsopen_("tmpfs", 0), EPERM);
	CHECK_ERR(fspick_(AT_FDCWD, "outside", 0), EPERM);
	CHECK_ERR(set_attributes(AT_FDCWD, "outside", 0, MOUNT_ATTR_NOEXEC, 0, 0), EPERM);
	close(fd);

	CHECK_OK(unshare(CLONE_NEWUSER | CLONE_NEWNS));
	write_map("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", uid);
	write_map("/proc/self/uid_map", map);
	snprintf(map, sizeof(map), "0 %u 1", gid);
	write_map("/proc/self/gid_map", map);

	fd = CHECK_OK(fsopen_("tmpfs", 0));
	CHECK_OK(set_string(fd, "uid", "0"));
	CHECK_ERR(set_string(fd, "uid", "1"), EINVAL); // no such id here
	CHECK_OK(create(fd));
	int m = CHECK_OK(fsmount_(fd, 0, 0));
	CHECK_OK(move_mount_(m, "", AT_FDCWD, "mine", MOVE_MOUNT_F_EMPTY_PATH));
	CHECK_OK(set_string(fd, "size", "1m"));
	CHECK_OK(reconfigure(fd)); // his own
	close(m);
	close(fd);
	check_write_file("mine/f", "x");
	CHECK_OK(mkdir("mine/d", 0755));

	CHECK_ERR(set_attributes(AT_FDCWD, "outside", 0, 0, MOUNT_ATTR_RDONLY, 0), EPERM);
	CHECK_ERR(set_attributes(AT_FDCWD, "outside", 0, 0, MOUNT_ATTR_NOSUID, 0), EPERM);
	CHECK_ERR(set_attributes(AT_FDCWD, "outside", 0, MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME, 0), EPERM);
	CHECK_OK(set_attributes(AT_FDCWD, "outside", 0, MOUNT_ATTR_NOEXEC, 0, 0));
	CHECK_ERR(move_mount_(AT_FDCWD, "outside", AT_FDCWD, "mine/d", 0), EINVAL);
	fd = CHECK_OK(open_tree_(AT_FDCWD, "outside", OPEN_TREE_CLONE));
	CHECK_ERR(set_attributes(fd, "", AT_EMPTY_PATH, 0, MOUNT_ATTR_RDONLY, 0), EPERM);
	CHECK_OK(move_mount_(fd, "", AT_FDCWD, "mine/d", MOVE_MOUNT_F_EMPTY_PATH));
	CHECK_ERR(set_attributes(fd, "", AT_EMPTY_PATH, 0, MOUNT_ATTR_RDONLY, 0), EPERM);
	CHECK_ERR(open("mine/d/new", O_CREAT | O_WRONLY, 0600), EROFS);
	close(fd);
	// What is mounted upon it cannot be looked below.
	CHECK_ERR(open_tree_(AT_FDCWD, "covered", OPEN_TREE_CLONE), EINVAL);
	fd = CHECK_OK(open_tree_(AT_FDCWD, "covered", OPEN_TREE_CLONE | AT_RECURSIVE));
	CHECK(!is_there_at(fd, "sub/below"));
	close(fd);
	fd = CHECK_OK(fspick_(AT_FDCWD, "outside", 0));
	CHECK_OK(fsconfig_(fd, FSCONFIG_SET_FLAG, "rw", NULL, 0));
	CHECK_ERR(reconfigure(fd), EPERM);
	close(fd);
}

static void as_user(void)
{
	CHECK_OK(mkdir("outside", 0755));
	CHECK_OK(mkdir("mine", 0755));
	CHECK_OK(mkdir("covered", 0755));
	CHECK_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	CHECK_OK(mount("none", "outside", "tmpfs", MS_RDONLY | MS_NOSUID, NULL));
	CHECK_OK(mount("none", "covered", "tmpfs", 0, NULL));
	CHECK_OK(mkdir("covered/sub", 0755));
	check_write_file("covered/sub/below", "x");
	CHECK_OK(mount("none", "covered/sub", "tmpfs", 0, NULL));
	CHECK_OK(setresgid(USER, USER, USER));
	CHECK_OK(setresuid(USER, USER, USER));
	CHECK_OK(prctl(PR_SET_DUMPABLE, 1));
	CHECK_CHILD(as_owner);
}

int main(void)
{
	if (geteuid() || unshare(CLONE_NEWNS) < 0)
		CHECK_SKIP("no mount namespace of our own");
	check_tmpdir();
	in_namespace(trees_opened, "trees_opened");
	in_namespace(trees_moved, "trees_moved");
	in_namespace(groups_set, "groups_set");
	in_namespace(file_system_configured, "file_system_configured");
	in_namespace(other_file_systems, "other_file_systems");
	in_namespace(no_source, "no_source");
	in_namespace(attributes_set, "attributes_set");
	in_namespace(as_user, "as_user");
	return check_done();
}
