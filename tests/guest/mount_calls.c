// SPDX-License-Identifier: Apache-2.0
// mount(2) and umount2(2) of tmpfs and bind mounts. Natively in a mount namespace of its own; skipped where that is refused.
#include "check.h"

#include <sys/mount.h>
#include <sys/statfs.h>

static void tmpfs_mounts(void)
{
	struct stat below, above, st;
	struct statfs fs;
	char block[4096] = "";
	ssize_t written = 0, n;

	CHECK_OK(mkdir("m", 0755));
	check_write_file("m/hidden", "x");
	CHECK_OK(stat("m", &below));
	CHECK_ERR(mount("none", "m", "nosuchfs", 0, NULL), ENODEV);
	CHECK_ERR(mount("none", "absent", "tmpfs", 0, NULL), ENOENT);
	CHECK_OK(mount("none", "m", "tmpfs", MS_NOSUID, "size=64k,mode=700"));
	CHECK_OK(stat("m", &above));
	CHECK(above.st_dev != below.st_dev);
	CHECK_EQ(above.st_mode & 07777, 0700);
	CHECK_ERR(stat("m/hidden", &st), ENOENT);
	CHECK_OK(statfs("m", &fs));
	CHECK_EQ(fs.f_type, 0x01021994);
	CHECK_EQ(fs.f_blocks * fs.f_bsize, 65536);
	CHECK(strstr(check_read_file("/proc/self/mounts"), "/m tmpfs ") != NULL);
	int fd = CHECK_OK(open("m/full", O_CREAT | O_WRONLY, 0600));
	while ((n = write(fd, block, sizeof(block))) > 0)
		written += n;
	CHECK_EQ(errno, ENOSPC);
	CHECK(written > 32768 && written <= 65536);
	CHECK_ERR(umount2("m", 0), EBUSY);
	CHECK_ERR(rmdir("m"), EBUSY);
	CHECK_ERR(rename("m/full", "full"), EXDEV);
	CHECK_ERR(link("m/full", "full"), EXDEV);
	close(fd);
	CHECK_OK(mount("none", "m", NULL, MS_REMOUNT | MS_RDONLY, NULL));
	CHECK_ERR(open("m/new", O_CREAT | O_WRONLY, 0600), EROFS);
	CHECK_ERR(unlink("m/full"), EROFS);
	CHECK_ERR(access("m/full", W_OK), EROFS);
	CHECK_OK(umount2("m", 0));
	CHECK_ERR(umount2("m", 0), EINVAL);
	CHECK_OK(stat("m/hidden", &st));
}

static void bind_mounts(void)
{
	struct stat a, b;
	char cwd[300];

	CHECK_OK(mkdir("source", 0755));
	CHECK_OK(mkdir("source/deep", 0755));
	CHECK_OK(mkdir("target", 0755));
	check_write_file("source/deep/f", "bound");
	CHECK_OK(mount("source/deep", "target", NULL, MS_BIND, NULL));
	CHECK_OK(stat("source/deep/f", &a));
	CHECK_OK(stat("target/f", &b));
	CHECK(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
	check_write_file("target/new", "n");
	CHECK_STR(check_read_file("source/deep/new"), "n");
	CHECK_OK(chdir("target"));
	CHECK(getcwd(cwd, sizeof(cwd)) != NULL);
	CHECK(strstr(cwd, "/target") != NULL);
	CHECK_OK(stat("../source", &a));
	CHECK_OK(chdir(".."));
	// Detached: gone from the tree, alive for those inside.
	int dir = CHECK_OK(open("target", O_RDONLY | O_DIRECTORY));
	CHECK_ERR(umount2("target", 0), EBUSY);
	CHECK_OK(umount2("target", MNT_DETACH));
	CHECK_ERR(stat("target/f", &b), ENOENT);
	CHECK_OK(fstatat(dir, "f", &b, 0));
	close(dir);
	CHECK_OK(rmdir("target"));
	// A file on a file.
	check_write_file("one", "1");
	check_write_file("two", "2");
	CHECK_OK(mount("one", "two", NULL, MS_BIND, NULL));
	CHECK_STR(check_read_file("two"), "1");
	CHECK_ERR(mount("one", "source", NULL, MS_BIND, NULL), ENOTDIR);
	CHECK_OK(umount2("two", 0));
	CHECK_STR(check_read_file("two"), "2");
}

// A mount point that is not there is not made, nor what a link that leads nowhere names, nor the link replaced.
static void absent_mount_points(void)
{
	char cwd[300], absent[320], deep[320], link[320], name[16];

	CHECK(getcwd(cwd, sizeof(cwd)) != NULL);
	snprintf(absent, sizeof(absent), "%s/absent", cwd);
	snprintf(deep, sizeof(deep), "%s/absent/deep", cwd);
	snprintf(link, sizeof(link), "%s/link", cwd);
	CHECK_OK(mkdir("from", 0755));
	CHECK_OK(symlink("nowhere", "link"));
	CHECK_ERR(mount("from", absent, NULL, MS_BIND, NULL), ENOENT);
	CHECK_ERR(mount("from", deep, NULL, MS_BIND, NULL), ENOENT);
	CHECK_ERR(mount("from", link, NULL, MS_BIND, NULL), ENOENT);
	CHECK_ERR(mount("none", link, "tmpfs", 0, NULL), ENOENT);
	CHECK_ERR(access("absent", F_OK), ENOENT);
	CHECK_ERR(access("nowhere", F_OK), ENOENT);
	CHECK_EQ(readlink("link", name, sizeof(name)), 7);
}

int main(void)
{
	if (!getenv("CLOISTER_CELL") &&
	    (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0))
		CHECK_SKIP("no mount namespace of our own");
	check_tmpdir();
	tmpfs_mounts();
	bind_mounts();
	absent_mount_points();
	return check_done();
}
