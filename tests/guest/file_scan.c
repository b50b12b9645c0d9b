// SPDX-License-Identifier: Apache-2.0
// Does whoever goes through a tree see all of it, in whatever order, with others doing the same and files coming and going?
#include "check.h"
#include <dirent.h>

#define DIRECTORIES 12
#define FILES       40

static void path_of(char *path, unsigned d, unsigned f) { sprintf(path, "tree/d%02u/f%02u", d, f); }

static void make_tree(void)
{
	char path[64], text[64];

	CHECK_OK(mkdir("tree", 0755));
	for (unsigned d = 0; d < DIRECTORIES; d++) {
		sprintf(path, "tree/d%02u", d);
		CHECK_OK(mkdir(path, 0755));
		for (unsigned f = 0; f < FILES; f++) {
			path_of(path, d, f);
			sprintf(text, "file %u of %u", f, d);
			check_write_file(path, text);
		}
	}
}

static bool file_is_right(unsigned d, unsigned f)
{
	char path[64], text[64], got[64] = "";

	path_of(path, d, f);
	sprintf(text, "file %u of %u", f, d);
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, got, sizeof(got) - 1);
	close(fd);
	return n >= 0 && !strcmp(got, text);
}

// In the order of names, against it, and in no order.
static void *reader(void *step)
{
	unsigned at = 0;

	for (unsigned d = 0; d < DIRECTORIES; d++)
		for (unsigned k = 0; k < FILES; k++, at = (at + (unsigned)(uintptr_t)step) % FILES)
			if (!CHECK(file_is_right(d, at)))
				return NULL;
	return NULL;
}

static void readers(void)
{
	static const unsigned steps[] = { 1, FILES - 1, 7, 1 };
	pthread_t threads[4];

	for (unsigned k = 0; k < 4; k++)
		CHECK_EQ(pthread_create(&threads[k], NULL, reader, (void *)(uintptr_t)steps[k]), 0);
	for (unsigned k = 0; k < 4; k++)
		pthread_join(threads[k], NULL);
}

// Bit f: file f is listed, once. From where `dir` stands.
static uint64_t list(DIR *dir)
{
	uint64_t seen = 0;
	struct dirent *e;
	struct stat s;

	while ((e = readdir(dir))) {
		unsigned f;
		if (e->d_name[0] == '.')
			continue;
		if (!CHECK_EQ(sscanf(e->d_name, "f%02u", &f), 1) || !CHECK(f < FILES))
			break;
		CHECK(!(seen >> f & 1));
		seen |= UINT64_C(1) << f;
		CHECK_OK(fstatat(dirfd(dir), e->d_name, &s, AT_SYMLINK_NOFOLLOW));
		CHECK_EQ(e->d_ino, s.st_ino);
		CHECK(e->d_type == DT_REG || e->d_type == DT_UNKNOWN);
	}
	return seen;
}

#define ALL ((UINT64_C(1) << FILES) - 1)

// What was looked at by name is listed as well as what was not; changes show when the list begins anew; a position is a place.
static void lists(void)
{
	DIR *dir = opendir("tree/d03");
	char path[64];
	struct stat a, b;

	CHECK(dir);
	CHECK_EQ(list(dir), ALL);
	path_of(path, 3, 5);
	CHECK_OK(unlink(path));
	rewinddir(dir);
	CHECK_EQ(list(dir), ALL & ~(UINT64_C(1) << 5));
	check_write_file(path, "file 5 of 3");
	rewinddir(dir);
	CHECK_EQ(list(dir), ALL);
	rewinddir(dir);
	for (unsigned k = 0; k < 10; k++)
		CHECK(readdir(dir));
	long middle = telldir(dir);
	uint64_t rest = list(dir);
	CHECK(rest && rest != ALL);
	seekdir(dir, middle);
	CHECK_EQ(list(dir), rest);
	CHECK_OK(stat("tree/d03", &a));
	CHECK_OK(fstat(dirfd(dir), &b));
	CHECK_EQ(a.st_ino, b.st_ino);
	closedir(dir);
}

// Removing while listing, as rm -r does: nothing is left over.
static void removal(void)
{
	DIR *dir = opendir("tree/d04");
	struct dirent *e;

	CHECK(dir);
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.')
			CHECK_OK(unlinkat(dirfd(dir), e->d_name, 0));
	closedir(dir);
	CHECK_OK(rmdir("tree/d04"));
	CHECK_ERR(opendir("tree/d04") ? 0 : -1, ENOENT);
}

// A file opened before it was asked for is the one that had the name then, and nobody sees that.
static void replaced(void)
{
	char path[64], other[64], got[16] = "";

	CHECK(file_is_right(7, 0));
	CHECK(file_is_right(7, 1));
	for (unsigned f = 2; f < FILES; f++) {
		path_of(path, 7, f);
		path_of(other, 8, f);
		if (f % 2)
			check_write_file("new", "new");
		else
			CHECK_OK(rename(other, "new"));
		CHECK_OK(rename("new", path));
		int fd = open(path, O_RDONLY);
		CHECK_OK(fd);
		memset(got, 0, sizeof(got));
		CHECK(read(fd, got, sizeof(got) - 1) > 0);
		close(fd);
		char text[64];
		sprintf(text, "file %u of %u", f, 8u);
		CHECK(!strcmp(got, f % 2 ? "new" : text));
	}
}

int main(void)
{
	check_tmpdir();
	make_tree();
	readers();
	lists();
	removal();
	replaced();
	return check_done();
}
