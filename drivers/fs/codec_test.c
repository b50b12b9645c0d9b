// SPDX-License-Identifier: Apache-2.0
// Are FUSE answers decoded right, and every senseless one refused?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec.h"
#include "port/fake.h"

static struct fuse_entry_out entry(void)
{
	return (struct fuse_entry_out){ .nodeid = 7,
					.entry_valid = 1,
					.attr_valid = 2,
					.attr_valid_nsec = 5,
					.attr = { .ino = 42,
						  .size = 100,
						  .mode = 0100644,
						  .nlink = 1,
						  .mtime = 10,
						  .mtimensec = 20,
						  .rdev = 0x12345678 } };
}

static void test_header(void **state)
{
	struct {
		struct fuse_out_header h;
		char payload[8];
	} m = { { 24, 0, 99 }, "payload" };
	size_t size;
	assert_int_equal(fuse_decode_header(&m, 24, 99, &size), 0);
	assert_int_equal(size, 8);
	assert_int_equal(fuse_decode_header(&m, 23, 99, &size), -EIO); // claims more than was written
	assert_int_equal(fuse_decode_header(&m, 15, 99, &size), -EIO);
	assert_int_equal(fuse_decode_header(&m, 24, 98, &size), -EIO);
	m.h.len = 15;
	assert_int_equal(fuse_decode_header(&m, 24, 99, &size), -EIO);
	m.h = (struct fuse_out_header){ 16, -ENOENT, 99 };
	assert_int_equal(fuse_decode_header(&m, 16, 99, &size), -ENOENT);
	static const int32_t nonsense[] = { 1, -512, -4096, INT32_MIN, INT32_MAX };
	for (unsigned i = 0; i < array_count(nonsense); i++) {
		m.h.error = nonsense[i];
		assert_int_equal(fuse_decode_header(&m, 16, 99, &size), -EIO);
	}
}

static void test_entry(void **state)
{
	struct fuse_entry_out e = entry();
	struct fuse_entry out;
	assert_int_equal(fuse_decode_entry(&e, sizeof(e), &out), 0);
	assert_int_equal(out.nodeid, 7);
	assert_int_equal(out.entry_valid_ns, 1000000000);
	assert_int_equal(out.attr_valid_ns, 2000000005);
	assert_int_equal(out.attr.mtime.nanoseconds, 20);
	assert_int_equal(dev_to_user(out.attr.rdev), 0x12345678);
	assert_int_equal(fuse_encode_rdev(out.attr.rdev), 0x12345678);
	assert_int_equal(fuse_decode_entry(&e, sizeof(e) - 1, &out), -EIO);
	e.entry_valid = UINT64_MAX;
	assert_int_equal(fuse_decode_entry(&e, sizeof(e), &out), 0);
	assert_true(out.entry_valid_ns == FUSE_FOREVER);
}

static void test_entry_nonsense(void **state)
{
	struct fuse_entry out;
	struct fuse_entry_out e = entry();
	e.attr.mode = 0644; // no type
	assert_int_equal(fuse_decode_entry(&e, sizeof(e), &out), -EIO);
	e = entry();
	e.attr.mode |= 1u << 20;
	assert_int_equal(fuse_decode_entry(&e, sizeof(e), &out), -EIO);
	e = entry();
	e.attr.size = UINT64_C(1) << 63;
	assert_int_equal(fuse_decode_entry(&e, sizeof(e), &out), -EIO);
	e = entry();
	e.attr.ctimensec = 1000000000;
	assert_int_equal(fuse_decode_entry(&e, sizeof(e), &out), -EIO);
	e.nodeid = 0; // a negative entry has no attributes
	assert_int_equal(fuse_decode_entry(&e, sizeof(e), &out), 0);
}

static void test_create(void **state)
{
	struct {
		struct fuse_entry_out e;
		struct fuse_open_out o;
	} m = { entry(), { .fh = 5, .open_flags = FOPEN_KEEP_CACHE } };
	struct fuse_entry e;
	struct fuse_opened o;
	assert_int_equal(fuse_decode_create(&m, sizeof(m), &e, &o), 0);
	assert_int_equal(o.fh, 5);
	assert_int_equal(fuse_decode_create(&m, sizeof(m) - 1, &e, &o), -EIO);
	m.e.nodeid = 0;
	assert_int_equal(fuse_decode_create(&m, sizeof(m), &e, &o), -EIO);
}

static void test_written(void **state)
{
	struct fuse_write_out w = { .size = 10 };
	uint32_t written;
	assert_int_equal(fuse_decode_written(&w, sizeof(w), 10, &written), 0);
	assert_int_equal(fuse_decode_written(&w, sizeof(w), 9, &written), -EIO);
	assert_int_equal(fuse_decode_written(&w, 4, 10, &written), -EIO);
}

static void test_init(void **state)
{
	struct fuse_init_out o = { .major = 7,
				   .minor = 36,
				   .flags = FUSE_MAX_PAGES | FUSE_INIT_EXT,
				   .flags2 = 1,
				   .max_write = 1 << 20,
				   .max_pages = 256 };
	struct fuse_parameters p;
	assert_int_equal(fuse_decode_init(&o, sizeof(o), &p), 0);
	assert_int_equal(p.max_pages, 256);
	assert_true(p.flags >> 32 == 1);
	o.max_pages = 0;
	o.max_write = 0;
	assert_int_equal(fuse_decode_init(&o, sizeof(o), &p), 0);
	assert_int_equal(p.max_pages, 32);
	assert_int_equal(p.max_write, 4096);
	assert_int_equal(fuse_decode_init(&o, 8, &p), -EPROTO);
	o.minor = 30;
	assert_int_equal(fuse_decode_init(&o, sizeof(o), &p), -EPROTO);
	o.major = 8;
	assert_int_equal(fuse_decode_init(&o, sizeof(o), &p), -EPROTO);
}

static void test_link(void **state)
{
	char out[16];
	assert_int_equal(fuse_decode_link("target", 6, out, sizeof(out)), 6);
	assert_string_equal(out, "target");
	assert_int_equal(fuse_decode_link("", 0, out, sizeof(out)), -EIO);
	assert_int_equal(fuse_decode_link("a\0b", 3, out, sizeof(out)), -EIO);
	assert_int_equal(fuse_decode_link("0123456789abcdef", 16, out, sizeof(out)), -EIO);
}

static void test_walk(void **state)
{
	struct {
		struct broker_walk_out head;
		struct fuse_entry_out e[2];
		char link[4];
	} m = { .head = { .count = 2, .link_bytes = 4 }, .link = "text" };
	const size_t size = sizeof(m.head) + sizeof(m.e) + 4;
	struct fuse_walk w;
	m.e[0] = (struct fuse_entry_out){ .nodeid = 2, .attr = { .mode = 040755 } };
	m.e[1] = (struct fuse_entry_out){ .nodeid = 3, .attr = { .mode = 0120777 } };
	assert_int_equal(fuse_decode_walk(&m, size, 2, &w), 0);
	assert_int_equal(w.count, 2);
	assert_int_equal(w.steps[1].nodeid, 3);
	assert_string_equal(w.link, "text");
	assert_int_equal(fuse_decode_walk(&m, size, 1, &w), -EIO); // more than was asked for
	assert_int_equal(fuse_decode_walk(&m, size - 1, 2, &w), -EIO);
	assert_int_equal(fuse_decode_walk(&m, sizeof(m.head) + sizeof(m.e[0]), 2, &w), -EIO);
	assert_int_equal(fuse_decode_walk(&m, 4, 2, &w), -EIO);
	m.link[1] = 0;
	assert_int_equal(fuse_decode_walk(&m, size, 2, &w), -EIO);
	m.e[1].attr.mode = 0100644; // a text, and no link
	assert_int_equal(fuse_decode_walk(&m, size, 2, &w), -EIO);
	m.head.link_bytes = 0;
	assert_int_equal(fuse_decode_walk(&m, size - 4, 2, &w), 0);
	assert_string_equal(w.link, "");
	m.e[0].attr.mode = 0100644; // a file with something in it
	assert_int_equal(fuse_decode_walk(&m, size - 4, 2, &w), -EIO);
	m.e[0].attr.mode = 040755;
	m.e[0].nodeid = 0;
	assert_int_equal(fuse_decode_walk(&m, size - 4, 2, &w), -EIO);
	m.head.count = 0;
	assert_int_equal(fuse_decode_walk(&m, sizeof(m.head), 2, &w), -EIO);
	m.head.count = BROKER_WALK_MAX + 1;
	assert_int_equal(fuse_decode_walk(&m, size - 4, 100, &w), -EIO);
}

// Builds an answer of directory entries.
static size_t add_dirent(char *buffer, size_t at, bool plus, const char *name, size_t length, uint64_t nodeid)
{
	if (plus) {
		struct fuse_entry_out e = entry();
		e.nodeid = nodeid;
		memcpy(buffer + at, &e, sizeof(e));
		at += sizeof(e);
	}
	struct fuse_dirent d = { .ino = 3, .off = at + 1, .namelen = (uint32_t)length, .type = 8 };
	memcpy(buffer + at, &d, FUSE_NAME_OFFSET);
	memcpy(buffer + at + FUSE_NAME_OFFSET, name, length);
	return FUSE_REC_ALIGN(at + FUSE_NAME_OFFSET + length);
}

static void test_dirents(void **state)
{
	for (int plus = 0; plus < 2; plus++) {
		char buffer[2048] = { 0 };
		struct fuse_directory_entry d;
		size_t size = add_dirent(buffer, 0, plus, ".", 1, 7), at = 0;
		size = add_dirent(buffer, size, plus, "file", 4, 7);
		size = add_dirent(buffer, size, plus, "gone", 4, 0);
		assert_int_equal(fuse_decode_dirent(buffer, size, &at, plus, &d), 1);
		assert_string_equal(d.name, ".");
		assert_false(d.has_entry);
		assert_int_equal(fuse_decode_dirent(buffer, size, &at, plus, &d), 1);
		assert_string_equal(d.name, "file");
		assert_int_equal(d.has_entry, plus);
		assert_int_equal(fuse_decode_dirent(buffer, size, &at, plus, &d), 1);
		assert_false(d.has_entry);
		assert_int_equal(at, size);
		assert_int_equal(fuse_decode_dirent(buffer, size, &at, plus, &d), 0);
		at = 0; // the unpadded end of the last entry
		assert_int_equal(fuse_decode_dirent(buffer, size - 4, &at, plus, &d), 1);
	}
}

static void test_dirent_nonsense(void **state)
{
	char buffer[2048] = { 0 };
	struct fuse_directory_entry d;
	size_t at = 0;
	add_dirent(buffer, 0, false, "a/b", 3, 0);
	assert_int_equal(fuse_decode_dirent(buffer, 32, &at, false, &d), -EIO);
	add_dirent(buffer, 0, false, "a\0b", 3, 0);
	assert_int_equal(fuse_decode_dirent(buffer, 32, &at, false, &d), -EIO);
	add_dirent(buffer, 0, false, "", 0, 0);
	assert_int_equal(fuse_decode_dirent(buffer, 32, &at, false, &d), -EIO);
	char name[300];
	memset(name, 'x', sizeof(name));
	add_dirent(buffer, 0, false, name, 256, 0);
	assert_int_equal(fuse_decode_dirent(buffer, 512, &at, false, &d), -EIO);
	add_dirent(buffer, 0, false, name, 200, 0); // a name that ends beyond the answer
	assert_int_equal(fuse_decode_dirent(buffer, 100, &at, false, &d), -EIO);
	((struct fuse_dirent *)buffer)->namelen = UINT32_MAX;
	assert_int_equal(fuse_decode_dirent(buffer, 512, &at, false, &d), -EIO);
	assert_int_equal(at, 0);
}

// Whatever bytes come, decoding ends and stays inside (the sanitizer watches a buffer of exactly that size).
static void test_random_answers(void **state)
{
	srand(1);
	for (unsigned run = 0; run < 20000; run++) {
		size_t size = (size_t)rand() % 400, at = 0, bytes;
		char *buffer = malloc(size);
		for (size_t i = 0; i < size; i++)
			buffer[i] = (char)(rand() % 4 ? 0 : rand());
		struct fuse_directory_entry d;
		struct fuse_entry e;
		struct fuse_opened o;
		struct fuse_attributes a;
		struct fuse_walk w;
		struct fuse_parameters p;
		uint64_t valid;
		char link[64];
		unsigned steps = 0;
		while (fuse_decode_dirent(buffer, size, &at, run & 1, &d) == 1)
			assert_true(++steps <= 400 / 24 + 1 && at <= size);
		(void)!fuse_decode_header(buffer, size, 0, &bytes);
		(void)!fuse_decode_create(buffer, size, &e, &o);
		(void)!fuse_decode_attributes(buffer, size, &a, &valid);
		(void)!fuse_decode_init(buffer, size, &p);
		(void)!fuse_decode_link(buffer, size, link, sizeof(link));
		(void)!fuse_decode_walk(buffer, size, BROKER_WALK_MAX, &w);
		free(buffer);
	}
}

static void test_builder(void **state)
{
	char memory[64];
	struct fuse_builder b;
	struct fuse_in_header h = { .opcode = FUSE_LOOKUP, .unique = 2, .nodeid = 1 }, got;
	fuse_begin(&b, memory, sizeof(memory));
	fuse_put_name(&b, "name", 4);
	assert_int_equal(fuse_finish(&b, &h, 100), 0);
	memcpy(&got, memory, sizeof(got));
	assert_int_equal(got.len, sizeof(h) + 5 + 100);
	assert_int_equal(got.opcode, FUSE_LOOKUP);
	assert_string_equal(memory + sizeof(h), "name");
	fuse_begin(&b, memory, sizeof(memory));
	fuse_put(&b, memory, 30); // 40 + 30 > 64
	assert_int_equal(fuse_finish(&b, &h, 0), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header),         cmocka_unit_test(test_entry),
		cmocka_unit_test(test_entry_nonsense), cmocka_unit_test(test_create),
		cmocka_unit_test(test_written),        cmocka_unit_test(test_init),
		cmocka_unit_test(test_link),           cmocka_unit_test(test_walk),
		cmocka_unit_test(test_dirents),        cmocka_unit_test(test_dirent_nonsense),
		cmocka_unit_test(test_random_answers), cmocka_unit_test(test_builder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
