// SPDX-License-Identifier: Apache-2.0
// A granted tree through the VFS, over a broker in the same process: does a program see the host's files, with as few questions
// as promised, does what the host changes arrive, and is a lying broker's every answer survived?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test_support.h"

#include <asm/stat.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/fuse.h>
#include <linux/inotify.h>

#include "abi/broker.h"
#include "broker.h"
#include "broker_fakes.h"
#include "lib/fmt.h"

#define REQUESTS(opcode) fake_requests_of[(opcode) < 56 ? (opcode) : 56 + (opcode) % 8]

static uint64_t inodes_before;

static int setup(void **state)
{
	static bool made;
	if (!made)
		fake_kernel_create();
	made = true;
	fake_broker_start();
	fake_watches = fake_lose_descriptors = false;
	fake_interruptions = fake_pages_absent = fake_populated = 0;
	fake_unsupported = 0;
	fake_mangle = NULL;
	sys_mkdir(U("/g"), 0755);
	inodes_before = inode_count;
	assert_int_equal(mount_at("broker", "fs0", "/g", 0, NULL), 0);
	fake_requests = 0;
	fs_connections()->next_unique = 1000; // no young cell
	return 0;
}

static int teardown(void **state)
{
	fake_mangle = NULL;
	fake_interruptions = 0;
	assert_int_equal(sys_umount2(U("/g"), 0), 0);
	assert_int_equal(inode_count, inodes_before);
	assert_int_equal(fake_descriptors, 0);
	fake_broker_stop();
	return 0;
}

static void second_pass(void) { fake_time_skip_ns += 2 * NSEC_PER_SEC; }

static long read_file(const char *path, char *out, size_t size)
{
	long fd = sys_open(U(path), O_RDONLY, 0);
	if (fd < 0)
		return fd;
	long n = sys_read((int)fd, U(out), size - 1);
	sys_close((int)fd);
	out[max(n, 0l)] = 0;
	return n;
}

static void assert_text(const char *path, const char *text)
{
	char buffer[256];
	assert_int_equal(read_file(path, buffer, sizeof(buffer)), strlen(text));
	assert_string_equal(buffer, text);
}

static long write_file(const char *path, const char *text, int flags)
{
	long fd = sys_open(U(path), O_CREAT | O_WRONLY | flags, 0644);
	if (fd < 0)
		return fd;
	long n = sys_write((int)fd, U(text), strlen(text));
	sys_close((int)fd);
	return n;
}

static long size_of(const char *path)
{
	struct stat s;
	long error = sys_stat(U(path), U(&s));
	return error ? error : s.st_size;
}

// ---- ordinary life ----

static void files_are_read_and_written(void **state)
{
	char text[64];
	fake_host_write("hello", "from the host");
	assert_text("/g/hello", "from the host");
	assert_int_equal(write_file("/g/new", "from the cell", O_TRUNC), 13);
	assert_true(fake_host_text("new", text, sizeof(text)));
	assert_string_equal(text, "from the cell");
	assert_int_equal(size_of("/g/new"), 13);
	assert_int_equal(write_file("/g/new", " and more", O_APPEND), 9);
	assert_int_equal(size_of("/g/new"), 22);
	assert_text("/g/new", "from the cell and more");
	assert_int_equal(write_file("/g/new", "short", O_TRUNC), 5);
	assert_int_equal(size_of("/g/new"), 5);
	assert_int_equal(sys_mkdir(U("/g/d"), 0755), 0);
	assert_int_equal(sys_rename(U("/g/new"), U("/g/d/moved")), 0);
	assert_text("/g/d/moved", "short");
	assert_int_equal(size_of("/g/new"), -ENOENT);
	assert_int_equal(sys_unlink(U("/g/d/moved")), 0);
	assert_int_equal(sys_rmdir(U("/g/d")), 0);
	assert_int_equal(sys_unlink(U("/g/hello")), 0);
	assert_false(fake_host_text("hello", text, sizeof(text)));
}

static void an_unlinked_file_stays_open(void **state)
{
	char text[8] = "";
	fake_host_write("f", "abc");
	long fd = sys_open(U("/g/f"), O_RDWR, 0);
	assert_true(fd >= 0);
	assert_int_equal(sys_unlink(U("/g/f")), 0);
	assert_int_equal(sys_pwrite64((int)fd, U("xyz"), 3, 1), 3);
	assert_int_equal(sys_pread64((int)fd, U(text), 7, 0), 4);
	assert_string_equal(text, "axyz");
	struct stat s;
	assert_int_equal(sys_fstat((int)fd, U(&s)), 0);
	assert_int_equal(s.st_size, 4);
	assert_int_equal(s.st_nlink, 0);
	sys_close((int)fd);
}

// ---- small reads ----

static long read_often(long fd, unsigned times, size_t size)
{
	static char text[1 << 16];
	long sum = 0;
	while (times--)
		sum += sys_pread64((int)fd, U(text), size, 0);
	return sum;
}

static void small_reads_get_a_window(void **state)
{
	fake_host_write("f", "a small file");
	fake_windows_opened = 0;
	long other = sys_open(U("/g/f"), O_RDONLY, 0), fd = sys_open(U("/g/f"), O_RDWR, 0);
	assert_int_equal(read_often(fd, 20, 4), 80);
	assert_int_equal(read_often(fd, 100, 20000), 1200);
	assert_int_equal(fake_window, 0); // too few, and large ones
	unsigned asked = REQUESTS(FUSE_OPEN);
	assert_int_equal(read_often(fd, 100, 4), 400);
	assert_true(fake_window != 0);
	uint64_t first = fake_window;
	assert_int_equal(REQUESTS(FUSE_OPEN), asked); // the reader's serves
	assert_int_equal(read_often(fd, 10, 20), 120);
	sys_close((int)fd);
	assert_int_equal(fake_window, 0);
	read_often(other, 50, 4);
	assert_true(fake_window && fake_window != first);
	assert_int_equal(fake_windows_opened, 2);
	sys_close((int)other);
	assert_int_equal(fake_window, 0);
}

// One open for writing would keep the file from being executed.
static void windows_are_mapped_by_readers(void **state)
{
	fake_host_write("f", "text");
	long fd = sys_open(U("/g/f"), O_RDWR, 0);
	unsigned asked = REQUESTS(FUSE_OPEN);
	read_often(fd, 100, 4);
	assert_true(fake_window != 0);
	assert_int_equal(REQUESTS(FUSE_OPEN), asked + 1);
	long copy = sys_dup((int)fd);
	sys_close((int)fd); // it may be the process's last
	assert_int_equal(fake_window, 0);
	read_often(copy, 10, 4);
	assert_true(fake_window != 0);
	assert_int_equal(REQUESTS(FUSE_OPEN), asked + 1);
	sys_close((int)copy);
}

static void no_windows_where_mappings_may_differ(void **state)
{
	fake_host_write("f", "text");
	fake_incoherent = true;
	for (unsigned k = 0; k < 3; k++) {
		long fd = sys_open(U("/g/f"), O_RDONLY, 0);
		assert_int_equal(read_often(fd, 100, 4), 400);
		assert_int_equal(fake_window, 0);
		sys_close((int)fd);
	}
	assert_int_equal(REQUESTS(FUSE_OPEN), 1); // asked once
	fake_incoherent = false;
}

// The name is another file's by the time the reader is opened: what is mapped is what is open, or nothing is.
static void windows_show_the_file_that_is_open(void **state)
{
	char text[8] = "";
	fake_host_write("f", "old");
	long fd = sys_open(U("/g/f"), O_RDWR, 0);
	fake_host_remove("f");
	fake_host_write("f", "new");
	for (unsigned k = 0; k < 100; k++)
		assert_int_equal(sys_pread64((int)fd, U(text), 3, 0), 3);
	assert_string_equal(text, "old");
	assert_int_equal(fake_window, 0);
	sys_close((int)fd);
}

static void sizes_are_right_while_written(void **state)
{
	struct stat s;
	long fd = sys_open(U("/g/f"), O_CREAT | O_RDWR | O_APPEND, 0600);
	assert_int_equal(sys_write((int)fd, U("12345"), 5), 5);
	assert_int_equal(sys_lseek((int)fd, 0, 1), 5);
	assert_int_equal(size_of("/g/f"), 5);
	assert_int_equal(sys_ftruncate((int)fd, 3), 0);
	assert_int_equal(sys_fstat((int)fd, U(&s)), 0);
	assert_int_equal(s.st_size, 3);
	assert_int_equal(sys_write((int)fd, U("6"), 1), 1);
	assert_int_equal(sys_lseek((int)fd, 0, 1), 4);
	assert_int_equal(sys_lseek((int)fd, 0, 2), 4);
	assert_int_equal(sys_fallocate((int)fd, 0, 0, 100), 0);
	assert_int_equal(size_of("/g/f"), 100);
	assert_int_equal(sys_fsync((int)fd), 0);
	sys_close((int)fd);
	unsigned before = fake_requests;
	assert_int_equal(size_of("/g/f"), 100);
	assert_int_equal(fake_requests, before); // known from the close
	assert_int_equal(sys_truncate(U("/g/f"), 7), 0);
	assert_int_equal(size_of("/g/f"), 7);
}

// The end of a cell does not wait for the host's disks: a program that ends on Linux does not.
static void only_programs_ask_the_host_to_store(void **state)
{
	fake_host_write("f", "text");
	assert_int_equal(size_of("/g/f"), 4);
	super_sync_all(false);
	assert_int_equal(REQUESTS(FUSE_SYNCFS), 0);
	assert_int_equal(sys_sync(), 0);
	assert_int_equal(REQUESTS(FUSE_SYNCFS), 1);
}

static void vectors_and_copies(void **state)
{
	char a[4] = "", b[8] = "";
	struct {
		void *base;
		size_t size;
	} v[2] = { { a, 3 }, { b, 5 } }, many[40];
	fake_host_write("f", "abcdefgh");
	long fd = sys_open(U("/g/f"), O_RDWR, 0);
	assert_int_equal(sys_preadv((int)fd, U(v), 2, 0, 0), 8);
	assert_string_equal(a, "abc");
	assert_string_equal(b, "defgh");
	for (unsigned k = 0; k < 40; k++)
		many[k].base = "x", many[k].size = 1;
	assert_int_equal(sys_pwritev((int)fd, U(many), 40, 4, 0), 40);
	assert_int_equal(size_of("/g/f"), 44);
	long to = sys_open(U("/g/t"), O_CREAT | O_RDWR, 0600);
	assert_int_equal(sys_copy_file_range((int)fd, U(NULL), (int)to, U(NULL), 100, 0), 44);
	assert_int_equal(size_of("/g/t"), 44);
	assert_int_equal(sys_lseek((int)fd, 0, 0), 0);
	assert_int_equal(sys_sendfile((int)to, (int)fd, U(NULL), 100), 44);
	assert_int_equal(size_of("/g/t"), 88);
	sys_close((int)fd);
	sys_close((int)to);
}

// ---- how many questions ----

static void questions_are_few(void **state)
{
	fake_host_write("f", "abc");
	assert_text("/g/f", "abc");
	assert_int_equal(REQUESTS(BROKER_LOOKUP_OPEN), 1);
	unsigned before = fake_requests;
	for (unsigned k = 0; k < 10; k++) {
		assert_text("/g/f", "abc"); // the handle was kept
		assert_int_equal(size_of("/g/f"), 3);
	}
	assert_int_equal(fake_requests, before);
	assert_int_equal(size_of("/g/none"), -ENOENT);
	before = fake_requests;
	assert_int_equal(size_of("/g/none"), -ENOENT);
	assert_int_equal(sys_open(U("/g/none"), O_RDONLY, 0), -ENOENT);
	assert_int_equal(fake_requests, before);
}

static void a_path_is_one_question(void **state)
{
	fake_host_mkdir("a");
	fake_host_mkdir("a/b");
	fake_host_write("a/b/f", "abc");
	assert_int_equal(sys_symlink(U("b/f"), U("/g/made")), 0);
	fake_host_rename("made", "a/link");
	unsigned before = fake_requests;
	assert_int_equal(size_of("/g/a/b/f"), 3);
	assert_int_equal(fake_requests, before + 1);
	assert_int_equal(size_of("/g/a/link"), 3); // its text came along
	assert_int_equal(fake_requests, before + 2);
	assert_int_equal(REQUESTS(FUSE_READLINK), 0);
}

static void directories_fill_the_cache(void **state)
{
	char name[32], path[32], entries[8192];
	for (unsigned k = 0; k < 40; k++) {
		fmt_print(name, sizeof(name), "file%u", k);
		fake_host_write(name, "x");
	}
	long fd = sys_open(U("/g"), O_RDONLY | O_DIRECTORY, 0);
	unsigned before = fake_requests;
	while (sys_getdents64((int)fd, U(entries), sizeof(entries)) > 0)
		;
	sys_close((int)fd);
	assert_int_equal(fake_requests, before + 1);
	for (unsigned k = 0; k < 40; k++) {
		fmt_print(path, sizeof(path), "/g/file%u", k);
		assert_int_equal(size_of(path), 1);
	}
	assert_int_equal(fake_requests, before + 1);
}

// ---- coherence ----

static void report(uint32_t mask, const char *dir, const char *name)
{
	char message[512];
	struct broker_event e = { .mask = mask, .nodeid = fake_node(dir), .name_bytes = (uint32_t)strlen(name) };
	memcpy(message, &e, sizeof(e));
	memcpy(message + sizeof(e), name, e.name_bytes);
	broker_reports_take(message, sizeof(e) + e.name_bytes);
}

static void timeouts_end(void **state)
{
	fake_host_write("f", "old");
	assert_int_equal(size_of("/g/f"), 3);
	fake_host_write("f", "newer");
	second_pass();
	assert_int_equal(size_of("/g/f"), 5);
	assert_int_equal(size_of("/g/late"), -ENOENT);
	fake_host_write("late", "here");
	second_pass();
	assert_int_equal(size_of("/g/late"), 4);
}

// Everything known of /g and `name`, watched.
static void get_watched(const char *path)
{
	fake_watches = true;
	size_of(path);
	second_pass();
	size_of(path);
	second_pass();
	size_of(path);
	assert_true(REQUESTS(BROKER_WATCH) >= 1);
}

static void watched_entries_last(void **state)
{
	fake_host_write("f", "old");
	get_watched("/g/f");
	unsigned before = fake_requests;
	for (unsigned k = 0; k < 5; k++) {
		second_pass();
		assert_int_equal(size_of("/g/f"), 3);
	}
	assert_int_equal(fake_requests, before);
	fake_host_write("f", "newer");
	report(IN_MODIFY, "", "f");
	assert_int_equal(size_of("/g/f"), 5);
	fake_host_remove("f");
	report(IN_DELETE, "", "f");
	assert_int_equal(size_of("/g/f"), -ENOENT);
	before = fake_requests;
	second_pass();
	assert_int_equal(size_of("/g/f"), -ENOENT);
	assert_int_equal(fake_requests, before);
	fake_host_write("f", "again");
	report(IN_CREATE, "", "f");
	assert_int_equal(size_of("/g/f"), 5);
}

// After a few questions all names of a directory are known, and those that are not there, too.
static void names_are_read_ahead(void **state)
{
	char name[16];
	fake_watches = true;
	for (unsigned k = 0; k < 20; k++) {
		fmt_print(name, sizeof(name), "f%u", k);
		fake_host_write(name, "text");
	}
	assert_int_equal(size_of("/g/f0"), 4);
	assert_int_equal(size_of("/g/none"), -ENOENT);
	assert_int_equal(size_of("/g/f1"), 4);
	unsigned before = fake_requests;
	for (unsigned k = 0; k < 20; k++) {
		fmt_print(name, sizeof(name), "/g/f%u", k);
		assert_int_equal(size_of(name), 4);
		fmt_print(name, sizeof(name), "/g/no%u", k);
		assert_int_equal(size_of(name), -ENOENT);
	}
	assert_int_equal(fake_requests, before);
	second_pass();
	assert_int_equal(size_of("/g/no-more"), -ENOENT);
	assert_int_equal(fake_requests, before);
	// What is made here needs no question before it, and what is removed none after it.
	assert_int_equal(write_file("/g/made", "x", O_EXCL), 1);
	assert_int_equal(fake_requests, before + 1);
	assert_int_equal(sys_unlink(U("/g/made")), 0);
	assert_int_equal(size_of("/g/made"), -ENOENT);
	assert_int_equal(fake_requests, before + 2);
	// The host makes one.
	fake_host_write("no3", "here now");
	fake_host_write("new", "new");
	report(IN_CREATE, "", "no3");
	report(IN_CREATE, "", "new");
	assert_int_equal(size_of("/g/no3"), 8);
	assert_int_equal(size_of("/g/new"), 3);
}

struct entry {
	uint64_t ino;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char name[];
};

// The names of an open directory from its position on, with a blank behind each; at most `room` bytes a call. The offset of the last.
static int64_t list_names(long fd, char *names, unsigned room)
{
	char entries[4096] __attribute__((aligned(8)));
	int64_t last = 0;
	long n;
	*names = 0;
	while ((n = sys_getdents64((int)fd, U(entries), room)) > 0)
		for (long at = 0; at < n;) {
			struct entry *e = (void *)(entries + at);
			size_t length = strlen(e->name);
			memcpy(names, e->name, length);
			memcpy(names + length, " ", 2);
			names += length + 1;
			last = e->offset;
			at += e->length;
		}
	assert_int_equal(n, 0);
	return last;
}

static const char *in_list(const char *names, const char *name)
{
	while (*names && strncmp(names, name, strlen(name)))
		names++;
	return *names ? names : NULL;
}

// Once all names are known, a directory is listed from them, as it is then.
static void known_names_are_listed(void **state)
{
	char name[16], names[512];
	fake_watches = true;
	for (unsigned k = 0; k < 5; k++) {
		fmt_print(name, sizeof(name), "f%u", k);
		fake_host_write(name, "text");
	}
	for (unsigned k = 0; k < 5; k++) {
		fmt_print(name, sizeof(name), "/g/f%u", k);
		assert_int_equal(size_of(name), 4);
	}
	assert_int_equal(size_of("/g/none"), -ENOENT);
	assert_int_equal(write_file("/g/made", "x", O_EXCL), 1);
	unsigned before = fake_requests;
	long fd = sys_open(U("/g"), O_RDONLY | O_DIRECTORY, 0);
	int64_t end = list_names(fd, names, 4096);
	assert_int_equal(strlen(names), strlen(". .. f0 f1 f2 f3 f4 made "));
	assert_true(in_list(names, "f3 ") && in_list(names, "made ") && !in_list(names, "none"));
	char again[512];
	sys_lseek((int)fd, 0, 0);
	assert_int_equal(list_names(fd, again, 64), end);
	assert_string_equal(again, names);
	sys_lseek((int)fd, end - 1, 0); // a position is where it was
	list_names(fd, again, 4096);
	assert_string_equal(again, in_list(names, "made"));
	assert_int_equal(fake_requests, before);
	fake_host_write("new", "new");
	report(IN_CREATE, "", "new");
	fake_host_remove("f3");
	report(IN_DELETE, "", "f3");
	sys_lseek((int)fd, 0, 0);
	list_names(fd, again, 4096);
	assert_true(in_list(again, "new ") && !in_list(again, "f3"));
	sys_close((int)fd);
}

// Reads /g/f10, /g/f11, ... in the order of names; how many questions that takes.
static unsigned read_in_order(unsigned count)
{
	unsigned before = fake_requests;
	char name[16], text[16];
	for (unsigned k = 0; k < count; k++) {
		fmt_print(name, sizeof(name), "/g/f%u", 10 + k);
		fmt_print(text, sizeof(text), "text %u", 10 + k);
		assert_text(name, text);
	}
	return fake_requests - before;
}

// What a small program asks for it asks for one by one; if that is much, all is read, and nothing watched.
static void a_young_cell_reads_little_ahead(void **state)
{
	char name[16];
	fake_watches = true;
	fs_connections()->next_unique = 1;
	for (unsigned k = 0; k < 10; k++) {
		fmt_print(name, sizeof(name), "/g/f%u", k);
		assert_int_equal(size_of(name), -ENOENT);
	}
	assert_int_equal(fake_requests, 10);
	assert_int_equal(REQUESTS(BROKER_READ_DIRECTORY), 0);
	for (unsigned k = 10; k < 40; k++) {
		fmt_print(name, sizeof(name), "/g/f%u", k);
		assert_int_equal(size_of(name), -ENOENT);
	}
	assert_int_equal(REQUESTS(BROKER_READ_DIRECTORY), 1);
	fake_host_write("new", "text"); // nobody reports it
	assert_int_equal(size_of("/g/new"), 4);
}

static void a_young_cell_lists_names_only(void **state)
{
	char names[512];
	fake_host_write("f", "text");
	fake_host_write("g", "text");
	for (unsigned old = 0; old < 2; old++) {
		fs_connections()->next_unique = old ? 1000 : 1;
		long fd = sys_open(U("/g"), O_RDONLY | O_DIRECTORY, 0);
		unsigned before = fake_requests;
		list_names(fd, names, 4096);
		assert_int_equal(fake_requests, before + 1);
		assert_true(in_list(names, "f ") && in_list(names, "g ") && in_list(names, ".. "));
		assert_int_equal(size_of("/g/f"), 4);
		assert_int_equal(fake_requests, before + (old ? 1 : 2));
		sys_close((int)fd);
	}
}

static void files_are_opened_ahead(void **state)
{
	char name[16], text[16];
	fake_watches = true;
	for (unsigned k = 0; k < 60; k++) {
		fmt_print(name, sizeof(name), "f%u", 10 + k);
		fmt_print(text, sizeof(text), "text %u", 10 + k);
		fake_host_write(name, text);
	}
	unsigned first = read_in_order(60);
	assert_in_range(first, 1, 24);
	assert_true(REQUESTS(BROKER_OPEN_MANY) >= 2);
	assert_int_equal(read_in_order(60), 0);
	// A file removed here and made anew is another one, opened ahead or not.
	assert_int_equal(sys_unlink(U("/g/f20")), 0);
	assert_int_equal(write_file("/g/f20", "other", O_EXCL), 5);
	assert_text("/g/f20", "other");
}

// A name forgotten here is there all the same.
// Who goes through a tree asks little of each directory: for its names, and for its files while others are read.
static void trees_are_gone_through(void **state)
{
	char name[32], path[32];
	fake_watches = true;
	for (unsigned d = 0; d < 8; d++) {
		fmt_print(name, sizeof(name), "d%u", d);
		fake_host_mkdir(name);
		for (unsigned k = 0; k < 20; k++) {
			fmt_print(name, sizeof(name), "d%u/f%u", d, 10 + k);
			fake_host_write(name, "text");
		}
	}
	for (unsigned d = 0; d < 8; d++) {
		unsigned before = fake_requests, watches = REQUESTS(BROKER_WATCH);
		for (unsigned k = 0; k < 20; k++) {
			fmt_print(path, sizeof(path), "/g/d%u/f%u", d, 10 + k);
			assert_text(path, "text");
		}
		if (d >= 4)
			assert_in_range(fake_requests - before, 0, 4);
		assert_int_equal(REQUESTS(BROKER_WATCH), watches);
	}
	assert_text("/g/d7/f10", "text");
}

static void make_tree(unsigned directories)
{
	char name[32];
	fake_watches = true;
	for (unsigned d = 0; d < directories; d++) {
		fmt_print(name, sizeof(name), "d%u", 10 + d);
		fake_host_mkdir(name);
		for (unsigned k = 0; k < 5; k++) {
			fmt_print(name, sizeof(name), "d%u/f%u", 10 + d, k);
			fake_host_write(name, "text");
		}
	}
}

static unsigned walk(unsigned from, unsigned to)
{
	unsigned before = fake_requests;
	char path[32];
	for (unsigned d = from; d < to; d++) {
		for (unsigned k = 0; k < 5; k++) {
			fmt_print(path, sizeof(path), "/g/d%u/f%u", 10 + d, k);
			assert_text(path, "text");
		}
	}
	return fake_requests - before;
}

// Then a directory costs one message, asked while the one before it is used: the last one here has been asked for already.
static void the_next_directory_is_read_ahead(void **state)
{
	make_tree(12);
	walk(0, 8);
	assert_int_equal(walk(8, 10), 2);
	assert_non_null(fs_connections()->listing);
	assert_int_equal(walk(10, 11), 1);
	assert_int_equal(walk(11, 12), 0);
	assert_null(fs_connections()->listing);
}

static struct dentry_stats when_listed;

static void note_listing(uint32_t opcode, char *answer, size_t *size, bool *with_descriptor)
{
	if (opcode == BROKER_READ_DIRECTORY)
		dentry_stats_get(&when_listed);
}

// The server works on it while the names of the one before are taken in, unless it may be one of those.
static void the_next_directory_is_asked_for_before_names_are_taken_in(void **state)
{
	struct dentry_stats before;
	make_tree(12);
	fake_host_mkdir("d20/below");
	walk(0, 9);
	dentry_stats_get(&before);
	fake_mangle = note_listing;
	walk(9, 10);
	assert_int_equal(when_listed.dentries, before.dentries);
	walk(10, 11);
	assert_int_equal(when_listed.dentries, before.dentries + 5 + 6);
	assert_int_equal(fs_node(fs_connections()->listing->dir), fake_node("d20/below"));
}

// What was asked for and never wanted is nobody's when the tree goes; teardown() counts descriptors.
static void a_listing_under_way_goes_with_its_tree(void **state)
{
	make_tree(12);
	walk(0, 9);
	assert_non_null(fs_connections()->listing);
}

// A directory changed since it was asked for.
static void a_listing_out_of_date_is_not_used(void **state)
{
	make_tree(14);
	walk(0, 9);
	assert_int_equal(write_file("/g/d19/new", "new", O_EXCL), 3);
	assert_text("/g/d19/new", "new");
	assert_int_equal(sys_unlink(U("/g/d19/f3")), 0);
	assert_int_equal(size_of("/g/d19/f3"), -ENOENT);
	assert_int_equal(size_of("/g/d19/f4"), 4);
	walk(10, 12);
	struct fs_listing *l = fs_connections()->listing;
	assert_non_null(l);
	fs_attributes_changed(l->dir); // as one who makes or removes a name in it does
	fake_host_remove("d22/f2");
	assert_int_equal(size_of("/g/d22/f2"), -ENOENT);
	assert_int_equal(size_of("/g/d22/f1"), 4);
}

// Nor is one that may be, where the host does not tell.
static void an_old_listing_is_not_used(void **state)
{
	make_tree(14);
	fake_watches = false;
	walk(0, 9);
	struct fs_listing *l = fs_connections()->listing;
	assert_non_null(l);
	l->asked_ns -= NSEC_PER_SEC / 2;
	fake_host_remove("d19/f2");
	assert_int_equal(size_of("/g/d19/f2"), -ENOENT);
	assert_int_equal(size_of("/g/d19/f1"), 4);
}

// Who goes elsewhere pays for one message and some descriptors, and then no more for a while.
static void a_walk_elsewhere_ends_reading_ahead(void **state)
{
	make_tree(30);
	walk(0, 9);
	assert_non_null(fs_connections()->listing);
	fs_connections()->listing->asked_ns = 0; // long ago
	walk(20, 21);
	assert_null(fs_connections()->listing);
	walk(25, 29);
	assert_null(fs_connections()->listing);
}

// What was asked for and not waited for is nobody's when the tree goes; teardown() counts descriptors.
static void a_batch_under_way_goes_with_its_tree(void **state)
{
	char name[16];
	fake_watches = true;
	for (unsigned k = 0; k < 60; k++) {
		fmt_print(name, sizeof(name), "f%u", 10 + k);
		fake_host_write(name, "text");
	}
	unsigned many = REQUESTS(BROKER_OPEN_MANY);
	for (unsigned k = 0; REQUESTS(BROKER_OPEN_MANY) < many + 2; k++) {
		fmt_print(name, sizeof(name), "/g/f%u", 10 + k);
		assert_text(name, "text");
	}
	fake_host_remove("f60"); // opened already, perhaps
	fake_host_remove("f69");
}

static void report_early(uint32_t opcode, char *answer, size_t *size, bool *with_descriptor)
{
	if (opcode == BROKER_READ_DIRECTORY)
		report(IN_ATTRIB, "", "");
}

// The watch that comes with the names may tell of something before they are here: then they are not believed.
static void early_reports_count(void **state)
{
	fake_host_write("f", "text");
	fake_watches = true;
	fake_mangle = report_early;
	assert_int_equal(size_of("/g/none"), -ENOENT);
	assert_int_equal(size_of("/g/nor"), -ENOENT);
	assert_int_equal(size_of("/g/f"), 4);
	assert_true(REQUESTS(BROKER_READ_DIRECTORY) >= 1);
	unsigned before = fake_requests;
	assert_int_equal(size_of("/g/new"), -ENOENT);
	assert_int_equal(fake_requests, before + 1);
}

static void names_forgotten_are_asked_for(void **state)
{
	fake_watches = true;
	fake_host_write("f", "text");
	fake_host_write("g", "text");
	for (unsigned k = 0; k < 3; k++)
		assert_int_equal(size_of(k == 1 ? "/g/f" : k ? "/g/g" : "/g/none"), k ? 4 : -ENOENT);
	unsigned before = fake_requests;
	assert_int_equal(size_of("/g/none2"), -ENOENT);
	assert_int_equal(fake_requests, before);
	for (unsigned k = 0; k < 4; k++)
		dentry_shrink(1000);
	assert_int_equal(size_of("/g/f"), 4);
	assert_int_equal(size_of("/g/g"), 4);
	// Made on the host before we could know, and found by the attempt to make it.
	fake_host_write("late", "late");
	for (unsigned k = 0; k < 3; k++)
		size_of("/g/none3");
	fake_host_write("later", "later");
	assert_int_equal(write_file("/g/later", "x", O_EXCL), -EEXIST);
	assert_int_equal(write_file("/g/later", "x", 0), 1);
	assert_int_equal(size_of("/g/later"), 5);
}

static void an_overflow_drops_everything(void **state)
{
	fake_host_write("f", "old");
	get_watched("/g/f");
	fake_host_write("f", "newer");
	assert_int_equal(size_of("/g/f"), 3);
	struct broker_event e = { .mask = IN_Q_OVERFLOW };
	broker_reports_take((char *)&e, sizeof(e));
	assert_int_equal(size_of("/g/f"), 5);
}

static unsigned events_read(long fd, uint32_t *masks, unsigned max)
{
	char buffer[4096];
	unsigned count = 0;
	long n = sys_read((int)fd, U(buffer), sizeof(buffer));
	for (long at = 0; at < n;) {
		struct inotify_event *e = (struct inotify_event *)(buffer + at);
		if (count < max)
			masks[count++] = e->mask;
		at += (long)(sizeof(*e) + e->len);
	}
	return count;
}

static void programs_hear_of_the_host_once(void **state)
{
	uint32_t masks[16];
	long fd = sys_inotify_init1(IN_NONBLOCK);
	assert_true(sys_inotify_add_watch((int)fd, U("/g"), IN_CREATE | IN_DELETE | IN_MODIFY | IN_MOVE) > 0);
	assert_int_equal(REQUESTS(BROKER_WATCH), 1);
	fake_host_write("theirs", "x");
	report(IN_CREATE, "", "theirs");
	assert_int_equal(events_read(fd, masks, 16), 1);
	assert_int_equal(masks[0], IN_CREATE);
	assert_int_equal(write_file("/g/ours", "x", 0), 1);
	report(IN_CREATE, "", "ours"); // what the host says of our own doing
	report(IN_MODIFY, "", "ours");
	assert_int_equal(events_read(fd, masks, 16), 2); // the VFS's own: CREATE, MODIFY
	assert_int_equal(sys_unlink(U("/g/ours")), 0);
	report(IN_DELETE, "", "ours");
	assert_int_equal(events_read(fd, masks, 16), 1);
	report(IN_DELETE, "", "ours"); // once is ours, twice is news
	assert_int_equal(events_read(fd, masks, 16), 1);
	sys_close((int)fd);
}

// The broker finds that the name is another file's.
static void stale_names_are_looked_up_again(void **state)
{
	fake_host_write("f", "old");
	assert_int_equal(size_of("/g/f"), 3);
	fake_host_write("other", "newer");
	fake_host_rename("other", "f");
	second_pass();
	assert_text("/g/f", "newer");
}

// ---- bad weather ----

static void kicks_do_not_tear_a_conversation(void **state)
{
	fake_host_write("f", "abc");
	for (unsigned k = 1; k < 6; k++) {
		fake_kicks = 0;
		fake_interruptions = k;
		assert_text("/g/f", "abc");
		assert_true(fake_kicks > 0); // passed on
		fake_interruptions = k;
		assert_int_equal(sys_chmod(U("/g/f"), 0600 + k), 0);
	}
}

static void absent_pages_are_made_present(void **state)
{
	fake_host_write("f", "abc");
	fake_pages_absent = 1;
	fake_populated = 0;
	assert_text("/g/f", "abc");
	assert_true(fake_populated > 0);
	fake_pages_absent = 2; // and a page that never comes is EFAULT, not an endless loop
	char buffer[8];
	assert_int_equal(read_file("/g/f", buffer, sizeof(buffer)), -EFAULT);
}

static void old_brokers_do(void **state)
{
	fake_unsupported = UINT64_C(1) << (56 + BROKER_LOOKUP_OPEN % 8);
	fake_host_write("f", "abc");
	assert_text("/g/f", "abc");
	assert_int_equal(REQUESTS(FUSE_OPEN), 1);
}

static void lost_descriptors_are_an_error(void **state)
{
	fake_host_write("f", "abc");
	fake_lose_descriptors = true;
	assert_int_equal(sys_open(U("/g/f"), O_RDONLY, 0), -EMFILE);
	fake_lose_descriptors = false;
	assert_text("/g/f", "abc");
}

static uint32_t mangle_seed;
static uint32_t mangle_random(void) { return mangle_seed = mangle_seed * 1664525 + 1013904223; }

static void mangle(uint32_t opcode, char *answer, size_t *size, bool *with_descriptor)
{
	if (mangle_random() % 3)
		return;
	switch (mangle_random() >> 16 & 3) {
	case 0: *size = mangle_random() % (*size + 1); break;
	case 1: answer[mangle_random() % *size] ^= (char)(1u << (mangle_random() >> 28 & 7)); break;
	case 2: *with_descriptor = false; break;
	case 3: *(uint64_t *)(answer + (mangle_random() % *size & ~7u)) = mangle_random() % 4; break;
	}
	if (*size <
	    sizeof(struct fuse_out_header)) // a channel that says nothing of use is given up: there are two only
		*size = sizeof(struct fuse_out_header);
	((struct fuse_out_header *)answer)->unique = mangle_unique;
}

static void lies_are_survived(void **state)
{
	char text[64], entries[2048];
	fake_mangle = mangle;
	for (mangle_seed = 1; mangle_seed < 3000; mangle_seed++) {
		uint32_t seed = mangle_seed;
		write_file("/g/a", "abc", O_TRUNC);
		read_file("/g/a", text, sizeof(text));
		sys_mkdir(U("/g/d"), 0755);
		sys_symlink(U("a"), U("/g/l"));
		read_file("/g/l", text, sizeof(text));
		write_file("/g/d/x", "abc", 0);
		long fd = sys_open(U("/g/d"), O_RDONLY, 0);
		if (fd >= 0) {
			sys_getdents64((int)fd, U(entries), sizeof(entries));
			sys_close((int)fd);
		}
		sys_rename(U("/g/a"), U("/g/d/a"));
		sys_unlink(U("/g/d/a"));
		sys_unlink(U("/g/d/x"));
		sys_unlink(U("/g/l"));
		sys_rmdir(U("/g/d"));
		second_pass();
		mangle_seed = seed;
	}
}

static void senseless_reports_are_survived(void **state)
{
	char message[4096];
	mangle_seed = 7;
	fake_host_write("f", "x");
	get_watched("/g/f");
	for (unsigned round = 0; round < 2000; round++) {
		size_t size = mangle_random() % 200;
		for (size_t k = 0; k < size; k++)
			message[k] = (char)(mangle_random() >> 24);
		struct broker_event e = { .mask = 1u << (mangle_random() >> 27),
					  .nodeid = mangle_random() % 3,
					  .name_bytes = mangle_random() % 4 };
		if (round % 2 && size >= sizeof(e))
			memcpy(message, &e, sizeof(e));
		broker_reports_take(message, size);
	}
	assert_int_equal(size_of("/g/f"), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(files_are_read_and_written),
		TEST(an_unlinked_file_stays_open),
		TEST(small_reads_get_a_window),
		TEST(windows_are_mapped_by_readers),
		TEST(no_windows_where_mappings_may_differ),
		TEST(windows_show_the_file_that_is_open),
		TEST(sizes_are_right_while_written),
		TEST(only_programs_ask_the_host_to_store),
		TEST(vectors_and_copies),
		TEST(questions_are_few),
		TEST(a_path_is_one_question),
		TEST(directories_fill_the_cache),
		TEST(timeouts_end),
		TEST(watched_entries_last),
		TEST(names_are_read_ahead),
		TEST(a_young_cell_reads_little_ahead),
		TEST(a_young_cell_lists_names_only),
		TEST(known_names_are_listed),
		TEST(files_are_opened_ahead),
		TEST(trees_are_gone_through),
		TEST(a_batch_under_way_goes_with_its_tree),
		TEST(the_next_directory_is_read_ahead),
		TEST(the_next_directory_is_asked_for_before_names_are_taken_in),
		TEST(a_listing_under_way_goes_with_its_tree),
		TEST(a_listing_out_of_date_is_not_used),
		TEST(an_old_listing_is_not_used),
		TEST(a_walk_elsewhere_ends_reading_ahead),
		TEST(early_reports_count),
		TEST(names_forgotten_are_asked_for),
		TEST(an_overflow_drops_everything),
		TEST(programs_hear_of_the_host_once),
		TEST(stale_names_are_looked_up_again),
		TEST(kicks_do_not_tear_a_conversation),
		TEST(absent_pages_are_made_present),
		TEST(old_brokers_do),
		TEST(lost_descriptors_are_an_error),
		TEST(senseless_reports_are_survived),
		TEST(lies_are_survived),
	};
	return cmocka_run_group_tests_name("fs-broker", tests, NULL, NULL);
}
