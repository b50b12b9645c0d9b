// SPDX-License-Identifier: Apache-2.0
// Does the kernel take what the launcher may write, and refuse every damaged record without reading outside it?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/boot_config.h"
#include "kernel/errno.h"
#include "kernel/slab.h"
#include "lib/sha256.h"

static void *allocated[64];
static unsigned allocated_count;

void *kalloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);
	allocated[allocated_count++ % 64] = p;
	return p;
}

static void free_all(void)
{
	while (allocated_count)
		free(allocated[--allocated_count]);
}

// ---- a record under construction ----

static struct {
	struct boot_header header;
	char items[4096];
} record;
static size_t used;

static void start(void)
{
	memset(&record, 0, sizeof(record));
	record.header.magic = BOOT_MAGIC;
	record.header.version = BOOT_VERSION;
	used = 0;
}

static void add(uint32_t type, const void *payload, size_t size)
{
	struct boot_item item = { type, (uint32_t)size };

	memcpy(record.items + used, &item, sizeof(item));
	memcpy(record.items + used + sizeof(item), payload, size);
	used += sizeof(item) + (size + 7) / 8 * 8;
	record.header.item_count++;
}

static void add_mount(const char *type, const char *target)
{
	char buffer[256] = { 0 };
	struct boot_mount m = { 0 };

	strcpy(m.type, type);
	memcpy(buffer, &m, sizeof(m));
	strcpy(buffer + sizeof(m), target);
	add(BOOT_ITEM_MOUNT, buffer, sizeof(m) + strlen(target) + 1);
}

static void add_required(void)
{
	add(BOOT_ITEM_PROGRAM, "/bin/true", 10);
	add(BOOT_ITEM_ARGV, "true\0-x", 8);
	add(BOOT_ITEM_ENVP, "A=1\0B=", 7);
	add_mount("virtiofs", "/");
}

static int parse(struct boot_config *c, const char **why)
{
	record.header.size_bytes = (uint32_t)(sizeof(record.header) + used);
	sha256(record.items, used, record.header.sha256);
	char *exact = malloc(record.header.size_bytes); // the sanitizer sees every byte read past the end
	memcpy(exact, &record, record.header.size_bytes);
	int error = boot_record_parse(exact, record.header.size_bytes, c, why);
	free(exact);
	return error;
}

static void takes_a_good_record(void **state)
{
	struct boot_config c;
	const char *why;
	const struct {
		struct boot_identity id;
		uint32_t groups[2];
	} identity = { { 7, 8, 2 }, { 1, 2 } };

	(void)state;
	start();
	add_required();
	add(BOOT_ITEM_IDENTITY, &identity, sizeof(identity));
	add(99 | BOOT_ITEM_OPTIONAL, "future", 6);
	assert_int_equal(parse(&c, &why), 0);
	assert_int_equal(c.argc, 2);
	assert_string_equal(c.argv[1], "-x");
	assert_null(c.argv[2]);
	assert_string_equal(c.envp[1], "B=");
	assert_string_equal(c.mounts[0]->target, "/");
	assert_int_equal(c.uid, 7);
	assert_int_equal(c.groups[1], 2);
	assert_string_equal(c.workdir, "/");
	free_all();
}

static void refuses(void)
{
	struct boot_config c;
	const char *why = NULL;

	assert_int_equal(parse(&c, &why), -EINVAL);
	assert_non_null(why);
	free_all();
}

static void refuses_bad_items(void **state)
{
	const struct boot_identity greedy = { 0, 0, UINT32_MAX };

	(void)state;
	start();
	refuses(); // nothing required is there
	start();
	add_required();
	add(99, "future", 6);
	refuses();
	start();
	add_required();
	add(BOOT_ITEM_ARGV, "unterminated", 12);
	refuses();
	start();
	add_required();
	add(BOOT_ITEM_IDENTITY, &greedy, sizeof(greedy));
	refuses();
	start();
	add_required();
	add_mount("tmpfs", "relative");
	refuses();
	start();
	add_required();
	add(BOOT_ITEM_MOUNT, "short", 5);
	refuses();
	start();
	add_required();
	((struct boot_item *)record.items)->size_bytes = UINT32_MAX;
	refuses();
}

static void takes_network_grants(void **state)
{
	struct outside_rule rule = { .kind = OUTSIDE_RULE_CONNECT,
				     .protocol = OUTSIDE_TCP,
				     .prefix_bits = 128,
				     .port_first = 80,
				     .port_last = 81 };
	struct boot_config c;
	const char *why;

	(void)state;
	start();
	add_required();
	add(BOOT_ITEM_NET, &rule, sizeof(rule));
	add(BOOT_ITEM_NET, &rule, sizeof(rule));
	assert_int_equal(parse(&c, &why), 0);
	assert_int_equal(c.net_rule_count, 2);
	assert_int_equal(c.net_rules[1]->port_last, 81);
	free_all();
	start();
	add_required();
	add(BOOT_ITEM_NET, &rule, sizeof(rule) - 1);
	refuses();
	rule.port_last = 79;
	start();
	add_required();
	add(BOOT_ITEM_NET, &rule, sizeof(rule));
	refuses();
}

static void refuses_bad_headers(void **state)
{
	struct boot_config c;
	const char *why;

	(void)state;
	assert_int_equal(boot_record_parse(&record, 8, &c, &why), -EINVAL);
	start();
	add_required();
	record.header.magic++;
	refuses();
	start();
	add_required();
	record.header.version++;
	refuses();
	start();
	add_required();
	assert_int_equal(parse(&c, &why), 0);
	free_all();
	record.items[0] ^= 1; // digest of before
	assert_int_equal(boot_record_parse(&record, sizeof(record), &c, &why), -EINVAL);
	assert_non_null(strstr(why, "digest"));
}

static void survives_any_flipped_byte(void **state)
{
	struct boot_config c;
	const char *why;

	(void)state;
	for (size_t at = 0; at < 200; at++)
		for (int value = 0; value < 256; value += 51) {
			start();
			add_required();
			record.items[at] = (char)value;
			if (parse(&c, &why) == 0)
				assert_true(c.argc && c.program && c.mount_count);
			free_all();
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_a_good_record),       cmocka_unit_test(refuses_bad_items),
		cmocka_unit_test(takes_network_grants),      cmocka_unit_test(refuses_bad_headers),
		cmocka_unit_test(survives_any_flipped_byte),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
