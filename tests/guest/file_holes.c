// SPDX-License-Identifier: Apache-2.0
// Sparse files, fallocate(2), truncation under a mapping, deleted files and unnamed ones.
#include "check.h"

#include <linux/falloc.h>

static bool all(const char *data, size_t size, char byte)
{
	for (size_t i = 0; i < size; i++)
		if (data[i] != byte)
			return false;
	return true;
}

static void holes_read_as_zeros(void)
{
	char block[8192];
	struct stat st;
	int fd = CHECK_OK(open("sparse", O_CREAT | O_RDWR, 0600));

	CHECK_EQ(pwrite(fd, "end", 3, 1000000), 3);
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_size, 1000003);
	CHECK(st.st_blocks < 1000000 / 512);
	CHECK_EQ(pread(fd, block, sizeof(block), 500000), sizeof(block));
	CHECK(all(block, sizeof(block), 0));
	off_t data = lseek(fd, 0, SEEK_DATA);
	CHECK(data == 0 || (data > 500000 && data <= 1000000)); // a file system may not know
	if (data > 0)
		CHECK_EQ(lseek(fd, 0, SEEK_HOLE), 0);
	CHECK_EQ(lseek(fd, 1000000, SEEK_HOLE), 1000003);
	CHECK_ERR(lseek(fd, 1000003, SEEK_DATA), ENXIO);
	CHECK_ERR(lseek(fd, -1, SEEK_SET), EINVAL);
	close(fd);
}

static void ends_are_zeroed(void)
{
	char block[4096];
	int fd = CHECK_OK(open("ends", O_CREAT | O_RDWR, 0600));

	memset(block, 'x', sizeof(block));
	CHECK_EQ(write(fd, block, 4096), 4096);
	CHECK_EQ(write(fd, block, 4096), 4096);
	CHECK_OK(ftruncate(fd, 5000));
	CHECK_OK(ftruncate(fd, 8192));
	CHECK_EQ(pread(fd, block, 4096, 4096), 4096);
	CHECK(all(block, 904, 'x') && all(block + 904, 4096 - 904, 0));
	// What a mapping stores beyond the end is not there when the file grows.
	CHECK_OK(ftruncate(fd, 100));
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(map != MAP_FAILED);
	map[50] = 'i';
	map[200] = 'o';
	CHECK_EQ(pwrite(fd, "z", 1, 1000), 1);
	CHECK_EQ(pread(fd, block, 4096, 0), 1001);
	CHECK(block[50] == 'i' && block[200] == 0);
	munmap(map, 4096);
	close(fd);
}

static void space_is_reserved_and_punched(void)
{
	char block[16384];
	struct stat st;
	int fd = CHECK_OK(open("space", O_CREAT | O_RDWR, 0600));

	if (fallocate(fd, 0, 0, 16384) < 0) {
		CHECK_EQ(errno, EOPNOTSUPP);
		close(fd);
		return;
	}
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_size, 16384);
	CHECK(st.st_blocks >= 32);
	CHECK_OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 16384, 4096));
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_size, 16384);
	memset(block, 'y', sizeof(block));
	CHECK_EQ(pwrite(fd, block, sizeof(block), 0), sizeof(block));
	CHECK_OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4000, 8200));
	CHECK_EQ(pread(fd, block, sizeof(block), 0), sizeof(block));
	CHECK(all(block, 4000, 'y') && all(block + 4000, 8200, 0) && all(block + 12200, 16384 - 12200, 'y'));
	CHECK_OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 13000, 10));
	CHECK_EQ(pread(fd, block, 30, 12990), 30);
	CHECK(all(block, 10, 'y') && all(block + 10, 10, 0) && all(block + 20, 10, 'y'));
	CHECK_ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096), EOPNOTSUPP);
	CHECK_ERR(fallocate(fd, 0, 0, 0), EINVAL);
	CHECK_ERR(fallocate(fd, 0, -1, 1), EINVAL);
	close(fd);
	fd = CHECK_OK(open("space", O_RDONLY));
	CHECK_ERR(fallocate(fd, 0, 0, 1), EBADF);
	close(fd);
}

static void deleted_files_live_on(void)
{
	char path[64], target[300] = "", byte;
	struct stat st;
	int fd = CHECK_OK(open("gone", O_CREAT | O_RDWR, 0600));

	CHECK_EQ(write(fd, "q", 1), 1);
	CHECK_OK(unlink("gone"));
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_nlink, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK(readlink(path, target, sizeof(target) - 1) > 0);
	CHECK(strstr(target, "/gone (deleted)") != NULL);
	int again = CHECK_OK(open(path, O_RDONLY));
	CHECK_EQ(read(again, &byte, 1), 1);
	close(again);
	close(fd);
	fd = open(".", O_TMPFILE | O_RDWR, 0600);
	if (fd < 0) {
		CHECK(errno == EOPNOTSUPP || errno == EISDIR);
		return;
	}
	CHECK_EQ(write(fd, "named", 5), 5);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK_OK(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	close(fd);
	CHECK_STR(check_read_file("named"), "named");
	CHECK_OK(stat("named", &st));
	CHECK_EQ(st.st_nlink, 1);
}

int main(void)
{
	check_tmpdir();
	holes_read_as_zeros();
	ends_are_zeroed();
	space_is_reserved_and_punched();
	deleted_files_live_on();
	return check_done();
}
