// SPDX-License-Identifier: Apache-2.0
// The boot record (abi/boot.h) into struct boot_config. It comes from outside: every size is checked before use, nothing is
// read beyond the record, and the copy is the kernel's own.
#include "kernel/boot_config.h"
#include "kernel/errno.h"
#include "kernel/slab.h"
#include "lib/endpoint.h"
#include "lib/sha256.h"
#include "lib/string.h"

struct cursor {
	const char *at;
	size_t left;
};

// The next item of the record: false at its end or, with *why set, when it is cut.
static bool next_item(struct cursor *c, uint32_t *type, struct cursor *payload, const char **why)
{
	struct boot_item item;

	if (c->left == 0)
		return false;
	if (c->left < sizeof(item)) {
		*why = "an item header is cut";
		return false;
	}
	memcpy(&item, c->at, sizeof(item));
	c->at += sizeof(item);
	c->left -= sizeof(item);
	if (item.size_bytes > c->left) {
		*why = "an item is longer than the record";
		return false;
	}
	*type = item.type;
	*payload = (struct cursor){ c->at, item.size_bytes };
	size_t padded = min(align_up((size_t)item.size_bytes, 8), c->left);
	c->at += padded;
	c->left -= padded;
	return true;
}

static bool is_string(struct cursor p) { return p.left > 0 && memchr(p.at, '\0', p.left) == p.at + p.left - 1; }

// Back-to-back strings into a NULL-terminated array.
static int parse_strings(struct cursor p, const char *const **out, unsigned *count, const char **why)
{
	unsigned n = 0, i = 0;

	if (p.left && p.at[p.left - 1] != '\0') {
		*why = "a string list is not terminated";
		return -EINVAL;
	}
	for (size_t k = 0; k < p.left; k++)
		n += p.at[k] == '\0';
	const char **list = kalloc_array((size_t)n + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	for (const char *s = p.at; i < n; s += strlen(s) + 1)
		list[i++] = s;
	*out = list;
	*count = n;
	return 0;
}

static int parse_mount(struct cursor p, struct boot_config *c, const struct boot_mount **mounts, const char **why)
{
	const struct boot_mount *m = (const void *)p.at;
	struct cursor target = { m->target, p.left - sizeof(*m) };

	if (p.left <= sizeof(*m) || !is_string(target) || m->target[0] != '/' ||
	    !memchr(m->type, '\0', sizeof(m->type)) || !memchr(m->source, '\0', sizeof(m->source))) {
		*why = "a mount item is malformed";
		return -EINVAL;
	}
	mounts[c->mount_count++] = m;
	return 0;
}

static int parse_identity(struct cursor p, struct boot_config *c, const char **why)
{
	const struct boot_identity *id = (const void *)p.at;

	if (p.left < sizeof(*id) || id->group_count > (p.left - sizeof(*id)) / sizeof(id->groups[0])) {
		*why = "the identity item is malformed";
		return -EINVAL;
	}
	c->uid = id->uid;
	c->gid = id->gid;
	c->group_count = id->group_count;
	c->groups = id->groups;
	return 0;
}

static int parse_item(uint32_t type, struct cursor p, struct boot_config *c, const char **why)
{
	const char **text = NULL;

	switch (type & ~BOOT_ITEM_OPTIONAL) {
	case BOOT_ITEM_ARGV: return parse_strings(p, &c->argv, &c->argc, why);
	case BOOT_ITEM_ENVP: return parse_strings(p, &c->envp, &c->envc, why);
	case BOOT_ITEM_PROGRAM: text = &c->program; break;
	case BOOT_ITEM_WORKDIR: text = &c->workdir; break;
	case BOOT_ITEM_HOSTNAME: text = &c->hostname; break;
	case BOOT_ITEM_MOUNT: return parse_mount(p, c, (const struct boot_mount **)c->mounts, why);
	case BOOT_ITEM_IDENTITY: return parse_identity(p, c, why);
	case BOOT_ITEM_TIME:
		if (p.left < sizeof(c->time))
			goto malformed;
		memcpy(&c->time, p.at, sizeof(c->time));
		return 0;
	case BOOT_ITEM_SEED:
		c->seed = p.at;
		c->seed_size = p.left;
		return 0;
	case BOOT_ITEM_OPTIONS:
		if (p.left < sizeof(c->options))
			goto malformed;
		memcpy(&c->options, p.at, sizeof(c->options));
		return 0;
	case BOOT_ITEM_RLIMIT:
		if (p.left < sizeof(struct boot_rlimit))
			goto malformed;
		((const struct boot_rlimit **)c->rlimits)[c->rlimit_count++] = (const void *)p.at;
		return 0;
	case BOOT_ITEM_NET:
		if (p.left < sizeof(struct outside_rule) || !outside_rule_is_sane((const void *)p.at))
			goto malformed;
		((const struct outside_rule **)c->net_rules)[c->net_rule_count++] = (const void *)p.at;
		return 0;
	default:
		if (type & BOOT_ITEM_OPTIONAL)
			return 0;
		*why = "an item of unknown type; launcher and kernel are of different versions";
		return -EINVAL;
	}
	if (is_string(p)) {
		*text = p.at;
		return 0;
	}
malformed:
	*why = "an item is malformed";
	return -EINVAL;
}

static int check_header(const struct boot_header *h, size_t size, const char **why)
{
	uint8_t digest[32];

	*why = "too short, or not a boot record";
	if (size < sizeof(*h) || h->magic != BOOT_MAGIC || h->size_bytes < sizeof(*h) || h->size_bytes > size)
		return -EINVAL;
	*why = "of another version; launcher and kernel do not belong together";
	if (h->version != BOOT_VERSION)
		return -EINVAL;
	*why = "too large";
	if (h->size_bytes > BOOT_RECORD_MAX_BYTES)
		return -EINVAL;
	*why = "its digest does not match";
	sha256(h + 1, h->size_bytes - sizeof(*h), digest);
	return memcmp(digest, h->sha256, sizeof(digest)) ? -EINVAL : 0;
}

int boot_record_parse(const void *record, size_t size, struct boot_config *out, const char **why)
{
	int error = check_header(record, size, why);
	if (error)
		return error;
	size = ((const struct boot_header *)record)->size_bytes;
	*why = "out of memory";
	char *copy = kalloc(size);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, record, size);
	const struct boot_header *h = (const void *)copy;
	if (h->item_count > size / sizeof(struct boot_item)) {
		*why = "more items than fit";
		return -EINVAL;
	}
	memset(out, 0, sizeof(*out));
	out->workdir = "/";
	out->hostname = "cloister";
	out->mounts = kalloc_array((size_t)h->item_count + 1, sizeof(*out->mounts));
	out->rlimits = kalloc_array((size_t)h->item_count + 1, sizeof(*out->rlimits));
	out->net_rules = kalloc_array((size_t)h->item_count + 1, sizeof(*out->net_rules));
	if (!out->mounts || !out->rlimits || !out->net_rules)
		return -ENOMEM;

	struct cursor c = { copy + sizeof(*h), size - sizeof(*h) }, payload;
	uint32_t type;
	*why = NULL;
	for (unsigned i = 0; i < h->item_count && next_item(&c, &type, &payload, why); i++) {
		error = parse_item(type, payload, out, why);
		if (error)
			return error;
	}
	if (*why)
		return -EINVAL;
	*why = "no program, arguments, environment or root mount";
	if (!out->program || !out->argc || !out->envp || !out->mount_count)
		return -EINVAL;
	*why = NULL;
	return 0;
}
