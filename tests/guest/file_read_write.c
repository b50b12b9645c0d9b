// SPDX-License-Identifier: Apache-2.0
// Do reads, writes, seeks, holes and truncation keep every byte where it belongs?
#include "check.h"
#include <sys/uio.h>

static void positions(void)
{
	char text[32] = "";
	int fd = CHECK_OK(open("file", O_RDWR | O_CREAT | O_TRUNC, 0600));

	CHECK_EQ(write(fd, "0123456789", 10), 10);
	CHECK_EQ(pread(fd, text, 4, 3), 4);
	CHECK(memcmp(text, "3456", 4) == 0);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 10); // pread leaves the offset alone
	CHECK_EQ(pwrite(fd, "XY", 2, 5), 2);
	CHECK_EQ(lseek(fd, -5, SEEK_END), 5);
	CHECK_EQ(read(fd, text, 32), 5);
	CHECK(memcmp(text, "XY789", 5) == 0);
	CHECK_EQ(read(fd, text, 32), 0);
	CHECK_EQ(pread(fd, text, 4, 100), 0);
	CHECK_ERR(lseek(fd, -1, SEEK_SET), EINVAL);
	CHECK_ERR(lseek(fd, 0, 99), EINVAL);
	CHECK_ERR(pread(fd, text, 1, -1), EINVAL);
	CHECK_ERR(pwrite(fd, text, 1, -1), EINVAL);
	CHECK_EQ(lseek(fd, 1000000, SEEK_SET), 1000000); // beyond the end is allowed
	struct stat st;
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_size, 10);
	CHECK_EQ(read(fd, text, 0), 0);
	lseek(fd, 0, SEEK_SET);
	CHECK_ERR(read(fd, (void *)8, 1), EFAULT);
	CHECK_ERR(write(fd, (void *)8, 1), EFAULT);
	CHECK_EQ(write(fd, (void *)8, 0), 0);
	close(fd);
}

static void holes(void)
{
	int fd = CHECK_OK(open("sparse", O_RDWR | O_CREAT | O_TRUNC, 0600));
	char block[8192];
	struct stat st;

	CHECK_EQ(pwrite(fd, "start", 5, 0), 5);
	CHECK_EQ(pwrite(fd, "end", 3, 1 << 20), 3);
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_size, (1 << 20) + 3);
	memset(block, 1, sizeof(block));
	CHECK_EQ(pread(fd, block, 8192, 500000), 8192);
	int sum = 0;
	for (size_t i = 0; i < sizeof(block); i++)
		sum += block[i];
	CHECK_EQ(sum, 0);
	CHECK(lseek(fd, 0, SEEK_DATA) == 0);
	CHECK(lseek(fd, 0, SEEK_HOLE) > 0);
	CHECK_ERR(lseek(fd, 2 << 20, SEEK_DATA), ENXIO);
	close(fd);
}

static void truncates(void)
{
	char text[16];
	struct stat st;

	check_write_file("t", "abcdefgh");
	CHECK_OK(truncate("t", 3));
	CHECK_OK(stat("t", &st));
	CHECK_EQ(st.st_size, 3);
	int fd = open("t", O_RDWR);
	CHECK_OK(ftruncate(fd, 8));
	CHECK_EQ(pread(fd, text, 16, 0), 8);
	CHECK(memcmp(text, "abc\0\0\0\0\0", 8) == 0);
	CHECK_OK(ftruncate(fd, 5000));
	CHECK_EQ(pwrite(fd, "z", 1, 4999), 1);
	CHECK_OK(ftruncate(fd, 4097));
	CHECK_OK(ftruncate(fd, 5000));
	CHECK_EQ(pread(fd, text, 1, 4999), 1);
	CHECK_EQ(text[0], 0);
	CHECK_ERR(ftruncate(fd, -1), EINVAL);
	CHECK_ERR(truncate("missing", 1), ENOENT);
	CHECK_ERR(truncate(".", 1), EISDIR);
	close(fd);
	fd = open("t", O_RDONLY);
	CHECK_ERR(ftruncate(fd, 1), EINVAL);
	close(fd);
}

static void vectors(void)
{
	char a[4] = "", b[4] = "", c[4] = "";
	struct iovec out[3] = { { "abc", 3 }, { NULL, 0 }, { "defg", 4 } };
	struct iovec in[3] = { { a, 2 }, { b, 3 }, { c, 4 } };
	int fd = CHECK_OK(open("v", O_RDWR | O_CREAT | O_TRUNC, 0600));

	CHECK_EQ(writev(fd, out, 3), 7);
	CHECK_EQ(preadv(fd, in, 3, 0), 7);
	CHECK(memcmp(a, "ab", 2) == 0 && memcmp(b, "cde", 3) == 0 && memcmp(c, "fg", 2) == 0);
	CHECK_EQ(pwritev(fd, out, 3, 3), 7);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 7);
	CHECK_EQ(preadv2(fd, in, 1, 0, 0), 2);
	CHECK_EQ(pwritev2(fd, out, 1, 0, RWF_APPEND), 3);
	CHECK_EQ(lseek(fd, 0, SEEK_END), 13);
	CHECK_ERR(preadv2(fd, in, 1, 0, 0x10000), EOPNOTSUPP);
	CHECK_ERR(preadv(fd, in, -1, 0), EINVAL);
	CHECK_ERR(preadv(fd, in, 1, -5), EINVAL);
	// Part of the vector is bad: what came before counts.
	struct iovec partly[2] = { { a, 2 }, { (void *)8, 3 } };
	ssize_t got = preadv(fd, partly, 2, 0);
	CHECK(got == 2 || (got < 0 && errno == EFAULT));
	close(fd);
}

static void allocation(void)
{
	int fd = CHECK_OK(open("alloc", O_RDWR | O_CREAT | O_TRUNC, 0600));
	struct stat st;

	int result = fallocate(fd, 0, 0, 10000);
	if (result < 0 && errno == EOPNOTSUPP) {
		close(fd);
		return;
	}
	CHECK_OK(result);
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_size, 10000);
	CHECK_OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 20000));
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_size, 10000);
	char block[100];
	memset(block, 7, sizeof(block));
	CHECK_EQ(pwrite(fd, block, 100, 5000), 100);
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096) == 0) {
		CHECK_EQ(pread(fd, block, 100, 5000), 100);
		CHECK_EQ(block[50], 0);
	}
	CHECK_ERR(fallocate(fd, 0, -1, 10), EINVAL);
	CHECK_ERR(fallocate(fd, 0, 0, 0), EINVAL);
	int fds[2];
	CHECK_OK(pipe(fds));
	CHECK_ERR(fallocate(fds[1], 0, 0, 10), ESPIPE);
	close(fd);
}

static void big_random_access(void)
{
	enum { BLOCKS = 256, SIZE = 4097 };
	int fd = CHECK_OK(open("random", O_RDWR | O_CREAT | O_TRUNC, 0600));
	static char block[SIZE], got[SIZE];
	unsigned seed = 12345;
	bool written[BLOCKS] = { false };

	for (int i = 0; i < 400; i++) {
		int n = rand_r(&seed) % BLOCKS;
		memset(block, n + 1, SIZE);
		CHECK_EQ(pwrite(fd, block, SIZE, (off_t)n * SIZE), SIZE);
		written[n] = true;
	}
	for (int n = 0; n < BLOCKS; n++) {
		memset(block, written[n] ? n + 1 : 0, SIZE);
		ssize_t length = pread(fd, got, SIZE, (off_t)n * SIZE);
		if (length > 0 && !CHECK(memcmp(got, block, length) == 0))
			break;
	}
	CHECK_OK(fsync(fd));
	CHECK_OK(fdatasync(fd));
	CHECK_OK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0 ? 0 : -1);
	for (int n = 0; n < BLOCKS; n += 17) {
		memset(block, written[n] ? n + 1 : 0, SIZE);
		ssize_t length = pread(fd, got, SIZE, (off_t)n * SIZE);
		if (length > 0)
			CHECK(memcmp(got, block, length) == 0);
	}
	sync();
	close(fd);
}

static void unlinked_files_live_on(void)
{
	char text[8] = "";
	int fd = CHECK_OK(open("gone", O_RDWR | O_CREAT, 0600));

	CHECK_OK(unlink("gone"));
	CHECK_EQ(write(fd, "still", 5), 5);
	CHECK_EQ(pread(fd, text, 8, 0), 5);
	struct stat st;
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_nlink, 0);
	CHECK_ERR(access("gone", F_OK), ENOENT);
	char path[40], target[PATH_MAX] = "";
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK(readlink(path, target, sizeof(target) - 1) > 10);
	CHECK(strstr(target, "/gone (deleted)") != NULL);
	close(fd);
}

static void copies(void)
{
	check_write_file("source", "copy me, all of me");
	int in = open("source", O_RDONLY), out = open("target", O_RDWR | O_CREAT | O_TRUNC, 0600);
	loff_t in_offset = 5, out_offset = 2;

	CHECK_EQ(copy_file_range(in, &in_offset, out, &out_offset, 3, 0), 3);
	CHECK_EQ(in_offset, 8);
	CHECK_EQ(out_offset, 5);
	char text[32] = "";
	CHECK_EQ(pread(out, text, 32, 0), 5);
	CHECK(memcmp(text, "\0\0me,", 5) == 0);
	CHECK_EQ(copy_file_range(in, NULL, out, NULL, 100, 0), 18);
	CHECK_EQ(copy_file_range(in, NULL, out, NULL, 100, 0), 0);
	CHECK_EQ(pread(out, text, 32, 0), 18);
	CHECK(memcmp(text, "copy me, all of me", 18) == 0);
	CHECK_ERR(copy_file_range(out, NULL, in, NULL, 1, 0), EBADF);
	CHECK_ERR(copy_file_range(in, NULL, out, NULL, 1, 1), EINVAL);
	close(in);
	close(out);
}

int main(void)
{
	check_tmpdir();
	positions();
	holes();
	truncates();
	vectors();
	allocation();
	big_random_access();
	unlinked_files_live_on();
	copies();
	return check_done();
}
