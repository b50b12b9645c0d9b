// SPDX-License-Identifier: Apache-2.0
// Does the record say what the cell says, in the layout abi/boot.h promises?
#include "boot/record.h"

#include "abi/boot.h"

#include <mbedtls/sha256.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct cell make_cell(void)
{
	struct cell c;
	struct err e;

	cell_init(&c);
	c.program = text_copy("/bin/echo");
	strings_add(&c.argv, "echo");
	strings_add(&c.argv, "");
	strings_add(&c.argv, "two words");
	strings_add(&c.envp, "A=1");
	c.workdir = text_copy("/tmp");
	assert_true(cell_mount_add(&c, CELL_HOST_TREE, "/usr", "/", true, &e));
	assert_true(cell_mount_add(&c, "tmpfs", NULL, "/tmp", false, &e));
	assert_true(cell_mount_add(&c, CELL_HOST_TREE, "/srv", "/srv", false, &e));
	cell_add_rlimit(&c, 3, 1 << 20, 1 << 21);
	return c;
}

// The nth item of a type; NULL.
static const char *find_item(const struct buffer *b, uint32_t type, unsigned nth, uint32_t *size)
{
	struct boot_header header;
	size_t at = sizeof(header);

	memcpy(&header, b->data, sizeof(header));
	for (uint32_t i = 0; i < header.item_count; i++) {
		struct boot_item item;

		memcpy(&item, b->data + at, sizeof(item));
		assert_int_equal(at % 8, 0);
		assert_true(at + sizeof(item) + item.size_bytes <= b->size);
		if (item.type == type && !nth--) {
			*size = item.size_bytes;
			return b->data + at + sizeof(item);
		}
		at += sizeof(item) + ((item.size_bytes + 7) & ~7u);
	}
	assert_int_equal(at, b->size);
	return NULL;
}

static void test_header_measures_everything_after_it(void **state)
{
	struct cell c = make_cell();
	struct boot_moment moment = { .tree_type = "virtiofs", .realtime_ns = 5 };
	struct boot_header header;
	struct buffer out = { 0 };
	unsigned char hash[32];
	struct err e;

	(void)state;
	assert_true(boot_record_build(&c, &moment, &out, &e));
	memcpy(&header, out.data, sizeof(header));
	assert_true(header.magic == BOOT_MAGIC);
	assert_int_equal(header.version, BOOT_VERSION);
	assert_int_equal(header.size_bytes, out.size);
	mbedtls_sha256_ret((unsigned char *)out.data + sizeof(header), out.size - sizeof(header), hash, 0);
	assert_memory_equal(hash, header.sha256, sizeof(hash));
	buffer_fini(&out);
	cell_fini(&c);
}

static void test_strings_keep_empty_arguments(void **state)
{
	static const char argv[] = "echo\0\0two words";
	struct cell c = make_cell();
	struct boot_moment moment = { .tree_type = "virtiofs" };
	struct buffer out = { 0 };
	const char *item;
	uint32_t size;
	struct err e;

	(void)state;
	assert_true(boot_record_build(&c, &moment, &out, &e));
	item = find_item(&out, BOOT_ITEM_ARGV, 0, &size);
	assert_int_equal(size, sizeof(argv));
	assert_memory_equal(item, argv, size);
	item = find_item(&out, BOOT_ITEM_WORKDIR, 0, &size);
	assert_string_equal(item, "/tmp");
	buffer_fini(&out);
	cell_fini(&c);
}

static void test_shared_trees_are_tagged_in_order(void **state)
{
	static const char *const tags[] = { "fs0", "", "fs1" };
	struct cell c = make_cell();
	struct boot_moment moment = { .tree_type = "virtiofs" };
	struct buffer out = { 0 };
	struct boot_mount mount;
	uint32_t size;
	struct err e;

	(void)state;
	assert_true(boot_record_build(&c, &moment, &out, &e));
	for (unsigned i = 0; i < 3; i++) {
		const char *item = find_item(&out, BOOT_ITEM_MOUNT, i, &size);

		assert_non_null(item);
		memcpy(&mount, item, sizeof(mount));
		assert_string_equal(mount.source, tags[i]);
		assert_string_equal(item + sizeof(mount), c.mounts[i].target);
		assert_int_equal(mount.flags, i == 0 ? BOOT_MOUNT_READ_ONLY : 0);
	}
	buffer_fini(&out);
	cell_fini(&c);
}

static void test_a_record_too_large_is_refused(void **state)
{
	struct cell c = make_cell();
	struct boot_moment moment = { .tree_type = "virtiofs" };
	struct buffer out = { 0 };
	char *big = calloc(1, BOOT_RECORD_MAX_BYTES + 1);
	struct err e;

	(void)state;
	memset(big, 'x', BOOT_RECORD_MAX_BYTES);
	strings_add(&c.argv, big);
	assert_false(boot_record_build(&c, &moment, &out, &e));
	assert_int_equal(e.exit_status, EXIT_USAGE);
	free(big);
	buffer_fini(&out);
	cell_fini(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header_measures_everything_after_it),
		cmocka_unit_test(test_strings_keep_empty_arguments),
		cmocka_unit_test(test_shared_trees_are_tagged_in_order),
		cmocka_unit_test(test_a_record_too_large_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
