// SPDX-License-Identifier: Apache-2.0
// Do stat, statx, times and their changes tell the truth?
#include "check.h"
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <utime.h>

static void basics(void)
{
	struct stat a, b, c;

	check_write_file("file", "12345");
	CHECK_OK(stat("file", &a));
	CHECK_EQ(a.st_size, 5);
	CHECK(a.st_blksize >= 512);
	CHECK(S_ISREG(a.st_mode));
	CHECK(llabs(a.st_mtime - time(NULL)) < 5);
	int fd = open("file", O_RDONLY);
	CHECK_OK(fstat(fd, &b));
	CHECK(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
	CHECK_OK(fstatat(fd, "", &c, AT_EMPTY_PATH));
	CHECK_EQ(c.st_ino, a.st_ino);
	CHECK_OK(symlink("file", "link"));
	CHECK_OK(stat("link", &b));
	CHECK_EQ(b.st_ino, a.st_ino);
	CHECK_OK(lstat("link", &b));
	CHECK(S_ISLNK(b.st_mode));
	CHECK_EQ(b.st_size, 4);
	CHECK_OK(fstatat(AT_FDCWD, "link", &b, AT_SYMLINK_NOFOLLOW));
	CHECK(S_ISLNK(b.st_mode));
	CHECK_OK(mkdir("directory", 0755));
	CHECK_OK(stat("directory", &b));
	CHECK(S_ISDIR(b.st_mode));
	CHECK_OK(stat("/dev/null", &b));
	CHECK(S_ISCHR(b.st_mode));
	CHECK_EQ(major(b.st_rdev), 1);
	CHECK_EQ(minor(b.st_rdev), 3);
	CHECK_ERR(stat("missing", &a), ENOENT);
	CHECK_ERR(stat("file/x", &a), ENOTDIR);
	CHECK_ERR(fstat(99, &a), EBADF);
	CHECK_ERR(stat("file", (struct stat *)8), EFAULT);
	CHECK_ERR(syscall(SYS_stat, 8, &a), EFAULT);
	CHECK_ERR(fstatat(AT_FDCWD, "file", &a, 0x8000000), EINVAL);
	CHECK_ERR(fstatat(AT_FDCWD, "", &a, 0), ENOENT);
	close(fd);
}

static void statx_fields(void)
{
	struct statx x;

	CHECK_OK(chmod("file", 0640));
	CHECK_OK(statx(AT_FDCWD, "file", 0, STATX_BASIC_STATS | STATX_BTIME, &x));
	CHECK_EQ(x.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
	CHECK_EQ(x.stx_mode, S_IFREG | 0640);
	CHECK_EQ(x.stx_size, 5);
	CHECK_EQ(x.stx_nlink, 1);
	CHECK_EQ(x.stx_uid, geteuid());
	CHECK(llabs(x.stx_mtime.tv_sec - time(NULL)) < 5);
	struct stat st;
	CHECK_OK(stat("file", &st));
	CHECK_EQ(x.stx_ino, st.st_ino);
	CHECK_EQ(makedev(x.stx_dev_major, x.stx_dev_minor), st.st_dev);
	CHECK_OK(statx(AT_FDCWD, "link", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &x));
	CHECK(S_ISLNK(x.stx_mode));
	int fd = open("file", O_RDONLY);
	CHECK_OK(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &x));
	CHECK_EQ(x.stx_size, 5);
	CHECK_ERR(statx(AT_FDCWD, "missing", 0, STATX_BASIC_STATS, &x), ENOENT);
	CHECK_ERR(statx(AT_FDCWD, "file", 0x4000000, STATX_BASIC_STATS, &x), EINVAL);
	CHECK_ERR(statx(AT_FDCWD, "file", 0, 0x80000000u, &x), EINVAL);
	close(fd);
}

static void set_times(void)
{
	struct timespec times[2] = { { 1000000000, 123456789 }, { 1100000000, 987654321 } };
	struct stat st;

	CHECK_OK(utimensat(AT_FDCWD, "file", times, 0));
	CHECK_OK(stat("file", &st));
	CHECK_EQ(st.st_atim.tv_sec, 1000000000);
	CHECK_EQ(st.st_atim.tv_nsec, 123456789);
	CHECK_EQ(st.st_mtim.tv_sec, 1100000000);
	CHECK_EQ(st.st_mtim.tv_nsec, 987654321);
	CHECK(llabs(st.st_ctim.tv_sec - time(NULL)) < 5); // not to be set
	times[0].tv_nsec = UTIME_OMIT;
	times[1].tv_nsec = UTIME_NOW;
	CHECK_OK(utimensat(AT_FDCWD, "file", times, 0));
	CHECK_OK(stat("file", &st));
	CHECK_EQ(st.st_atim.tv_sec, 1000000000);
	CHECK(llabs(st.st_mtim.tv_sec - time(NULL)) < 5);
	CHECK_OK(utimensat(AT_FDCWD, "file", NULL, 0));
	times[0] = times[1] = (struct timespec){ 77, 0 };
	CHECK_OK(utimensat(AT_FDCWD, "link", times, AT_SYMLINK_NOFOLLOW));
	CHECK_OK(lstat("link", &st));
	CHECK_EQ(st.st_mtim.tv_sec, 77);
	CHECK_OK(stat("file", &st));
	CHECK(st.st_mtim.tv_sec != 77);
	int fd = open("file", O_RDONLY);
	CHECK_OK(futimens(fd, times));
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_mtim.tv_sec, 77);
	close(fd);
	times[0].tv_nsec = 1000000000;
	CHECK_ERR(utimensat(AT_FDCWD, "file", times, 0), EINVAL);
	CHECK_ERR(utimensat(AT_FDCWD, "missing", NULL, 0), ENOENT);
	struct utimbuf old = { 5, 6 };
	CHECK_OK(utime("file", &old));
	CHECK_OK(stat("file", &st));
	CHECK(st.st_atime == 5 && st.st_mtime == 6);
	struct timeval tv[2] = { { 7, 5 }, { 8, 6 } };
	CHECK_OK(utimes("file", tv));
	CHECK_OK(stat("file", &st));
	CHECK(st.st_mtim.tv_sec == 8 && st.st_mtim.tv_nsec == 6000);
}

// Compares times, true when the first is earlier.
static bool earlier(struct timespec a, struct timespec b)
{
	return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

static void operations_change_times(void)
{
	struct stat a, b;
	int fd = open("file", O_RDWR);

	CHECK_OK(fstat(fd, &a));
	check_sleep_ms(20);
	CHECK_EQ(write(fd, "abc", 3), 3);
	CHECK_OK(fstat(fd, &b));
	CHECK(earlier(a.st_mtim, b.st_mtim));
	CHECK(earlier(a.st_ctim, b.st_ctim));
	a = b;
	check_sleep_ms(20);
	CHECK_OK(fchmod(fd, 0600));
	CHECK_OK(fstat(fd, &b));
	CHECK(!earlier(a.st_mtim, b.st_mtim) && earlier(a.st_ctim, b.st_ctim));
	close(fd);
	CHECK_OK(stat("directory", &a));
	check_sleep_ms(20);
	check_write_file("directory/new", "");
	CHECK_OK(stat("directory", &b));
	CHECK(earlier(a.st_mtim, b.st_mtim));
	a = b;
	check_sleep_ms(20);
	CHECK_OK(unlink("directory/new"));
	CHECK_OK(stat("directory", &b));
	CHECK(earlier(a.st_mtim, b.st_mtim));
}

static void modes(void)
{
	struct stat st;

	CHECK_OK(chmod("file", 07777));
	CHECK_OK(stat("file", &st));
	CHECK_EQ(st.st_mode & 07777, 07777);
	CHECK_OK(chmod("file", 0));
	CHECK_OK(stat("file", &st));
	CHECK_EQ(st.st_mode, S_IFREG);
	CHECK_OK(fchmodat(AT_FDCWD, "file", 0644, 0));
	CHECK_ERR(chmod("missing", 0644), ENOENT);
	CHECK_ERR(fchmod(99, 0644), EBADF);
	if (geteuid() != 0)
		return;
	CHECK_OK(chown("file", 12, 34));
	CHECK_OK(stat("file", &st));
	CHECK(st.st_uid == 12 && st.st_gid == 34);
	CHECK_OK(chown("file", -1, 56));
	CHECK_OK(stat("file", &st));
	CHECK(st.st_uid == 12 && st.st_gid == 56);
	CHECK_OK(lchown("link", 9, 9));
	CHECK_OK(lstat("link", &st));
	CHECK_EQ(st.st_uid, 9);
	CHECK_OK(stat("link", &st));
	CHECK_EQ(st.st_uid, 12);
	CHECK_OK(fchownat(AT_FDCWD, "file", 0, 0, 0));
	CHECK_OK(access("file", R_OK | W_OK));
	CHECK_ERR(access("file", X_OK), EACCES); // even for root, without any x bit
	CHECK_ERR(access("file", 99), EINVAL);
}

static void file_systems(void)
{
	struct statfs fs;
	struct statvfs vfs;

	CHECK_OK(statfs(".", &fs));
	CHECK(fs.f_bsize > 0 && fs.f_namelen >= 255);
	CHECK(fs.f_blocks >= fs.f_bfree);
	int fd = open("file", O_RDONLY);
	CHECK_OK(fstatfs(fd, &fs));
	CHECK_OK(statvfs("/", &vfs));
	CHECK_OK(statfs("/proc", &fs));
	CHECK_EQ(fs.f_type, 0x9fa0);
	CHECK_ERR(statfs("missing", &fs), ENOENT);
	CHECK_ERR(fstatfs(99, &fs), EBADF);
	CHECK_ERR(statfs(".", (struct statfs *)8), EFAULT);
	CHECK_OK(syncfs(fd));
	close(fd);
}

int main(void)
{
	check_tmpdir();
	basics();
	statx_fields();
	set_times();
	operations_change_times();
	modes();
	file_systems();
	return check_done();
}
