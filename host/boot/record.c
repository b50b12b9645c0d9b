// SPDX-License-Identifier: Apache-2.0
#include "boot/record.h"

#include "abi/boot.h"

#include <mbedtls/sha256.h>
#include <stdio.h>
#include <string.h>

struct builder {
	struct buffer *out;
	size_t start; // of the record in out
	size_t item;  // of the open item in out
	uint32_t item_count;
};

static void item_begin(struct builder *b, uint32_t type)
{
	struct boot_item item = { .type = type };

	b->item = b->out->size;
	buffer_append(b->out, &item, sizeof(item));
	b->item_count++;
}

static void item_end(struct builder *b)
{
	static const char padding[8];
	uint32_t size = (uint32_t)(b->out->size - b->item - sizeof(struct boot_item));

	memcpy(b->out->data + b->item + offsetof(struct boot_item, size_bytes), &size, sizeof(size));
	buffer_append(b->out, padding, -(b->out->size - b->start) & 7);
}

static void add_item(struct builder *b, uint32_t type, const void *payload, size_t size)
{
	item_begin(b, type);
	buffer_append(b->out, payload, size);
	item_end(b);
}

static void add_text(struct builder *b, uint32_t type, const char *text) { add_item(b, type, text, strlen(text) + 1); }

static void add_strings(struct builder *b, uint32_t type, const struct strings *s)
{
	item_begin(b, type);
	for (size_t i = 0; i < s->count; i++)
		buffer_append(b->out, s->items[i], strlen(s->items[i]) + 1);
	item_end(b);
}

static void add_mount(struct builder *b, const struct cell_mount *m, const char *type, const char *tag)
{
	struct boot_mount mount = {
		.flags = m->read_only ? BOOT_MOUNT_READ_ONLY : 0,
		.mode = m->mode,
		.limit_bytes = m->limit_bytes,
	};

	snprintf(mount.type, sizeof(mount.type), "%s", type);
	snprintf(mount.source, sizeof(mount.source), "%s", tag);
	item_begin(b, BOOT_ITEM_MOUNT);
	buffer_append(b->out, &mount, sizeof(mount));
	buffer_append(b->out, m->target, strlen(m->target) + 1);
	item_end(b);
}

// Shared trees are named by the order of their mounts: "fs0", "fs1", ... (the devices' tags, the broker's grants).
static void add_mounts(struct builder *b, const struct cell *c, const char *tree_type)
{
	unsigned shared = 0;

	for (size_t i = 0; i < c->mount_count; i++) {
		char tag[24] = "";

		if (c->mounts[i].source)
			snprintf(tag, sizeof(tag), "fs%u", shared++);
		add_mount(b, &c->mounts[i], c->mounts[i].source ? tree_type : c->mounts[i].type, tag);
	}
}

static void add_identity(struct builder *b, const struct cell *c)
{
	struct boot_identity identity = { .uid = c->uid, .gid = c->gid, .group_count = (uint32_t)c->group_count };

	item_begin(b, BOOT_ITEM_IDENTITY);
	buffer_append(b->out, &identity, sizeof(identity));
	for (size_t i = 0; i < c->group_count; i++) {
		uint32_t group = c->groups[i];

		buffer_append(b->out, &group, sizeof(group));
	}
	item_end(b);
}

static void add_options(struct builder *b, const struct cell *c, const struct boot_moment *moment)
{
	struct boot_options options = {
		.flags = (c->trace ? BOOT_OPTION_TRACE : 0) | (c->verbose ? BOOT_OPTION_VERBOSE : 0) |
			 (c->tty ? BOOT_OPTION_TTY : 0) | (moment->merged_stderr ? BOOT_OPTION_MERGED_STDERR : 0) |
			 (c->no_aslr ? BOOT_OPTION_NO_ASLR : 0) | (c->leak_check ? BOOT_OPTION_LEAK_CHECK : 0),
		.tty_rows = moment->tty_rows,
		.tty_columns = moment->tty_columns,
		.stdin_closed = moment->stdin_closed,
		.umask = BOOT_UMASK_SET | moment->umask,
	};

	add_item(b, BOOT_ITEM_OPTIONS, &options, sizeof(options));
}

static void add_rlimits(struct builder *b, const struct cell *c)
{
	for (size_t i = 0; i < c->rlimit_count; i++) {
		struct boot_rlimit limit = {
			.resource = (uint32_t)c->rlimits[i].resource,
			.soft = c->rlimits[i].soft,
			.hard = c->rlimits[i].hard,
		};

		add_item(b, BOOT_ITEM_RLIMIT, &limit, sizeof(limit));
	}
}

static void add_net(struct builder *b, const struct cell *c)
{
	for (unsigned i = 0; i < c->net.count; i++)
		add_item(b, BOOT_ITEM_NET, &c->net.list[i], sizeof(c->net.list[i]));
}

static bool finish(struct builder *b, struct err *e)
{
	struct boot_header header = { .magic = BOOT_MAGIC, .version = BOOT_VERSION, .item_count = b->item_count };
	unsigned char *record = (unsigned char *)b->out->data + b->start;
	size_t size = b->out->size - b->start;

	if (size > BOOT_RECORD_MAX_BYTES)
		return err_set(e, EXIT_USAGE, "arguments and environment take %zu bytes, at most %u are possible", size,
			       BOOT_RECORD_MAX_BYTES);
	header.size_bytes = (uint32_t)size;
	mbedtls_sha256_ret(record + sizeof(header), size - sizeof(header), header.sha256, 0);
	memcpy(record, &header, sizeof(header));
	return true;
}

bool boot_record_build(const struct cell *c, const struct boot_moment *moment, struct buffer *out, struct err *e)
{
	struct builder b = { .out = out, .start = out->size };
	struct boot_header header = { 0 };
	struct boot_time time = { .realtime_ns = moment->realtime_ns, .tsc_hz = moment->tsc_hz };

	buffer_append(out, &header, sizeof(header));
	add_strings(&b, BOOT_ITEM_ARGV, &c->argv);
	add_strings(&b, BOOT_ITEM_ENVP, &c->envp);
	add_text(&b, BOOT_ITEM_PROGRAM, c->program);
	add_text(&b, BOOT_ITEM_WORKDIR, c->workdir);
	add_mounts(&b, c, moment->tree_type);
	add_item(&b, BOOT_ITEM_TIME, &time, sizeof(time));
	add_item(&b, BOOT_ITEM_SEED, moment->seed, sizeof(moment->seed));
	add_identity(&b, c);
	add_text(&b, BOOT_ITEM_HOSTNAME, c->hostname);
	add_options(&b, c, moment);
	add_rlimits(&b, c);
	add_net(&b, c);
	return finish(&b, e);
}
