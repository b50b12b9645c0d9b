// SPDX-License-Identifier: Apache-2.0
// User namespaces: who has which capability where, which ids stand for which, and how many namespaces there may be.
// user_namespaces(7), capabilities(7).
//
// The kernel keeps ids as the first namespace has them. A map is written once and never changes, so that readers need no lock.
#include "internal.h"

#include "kernel/namespace.h"
#include "kernel/pseudofs.h"
#include "lib/string.h"

#include <linux/capability.h>
#include <linux/securebits.h>

#define LIMIT_DEFAULT 4096u // /proc/sys/user/max_*_namespaces
#define LEVEL_MAX     32u
#define EXTENTS_MAX   340u // as Linux

struct id_extent {
	uint32_t first, kept, count; // ids as the namespace has them, and as the kernel keeps them
	uint32_t lower;              // as the parent has them
};
struct id_map {
	unsigned count;
	struct id_extent extents[];
};

struct user_namespace user_namespace_initial = {
	.common = NAMESPACE_INIT(&user_namespace_type, NAMESPACE_INO_USER, NULL),
	.setgroups_allowed = true,
	.limits = { [0 ... NAMESPACE_KINDS - 1] = LIMIT_DEFAULT },
};
struct namespace *const user_namespace_first = &user_namespace_initial.common;

static struct user_namespace *parent_of(const struct user_namespace *n) { return n->common.owner; }

struct user_namespace *cred_namespace(const struct cred *c)
{
	return c->user_namespace ? c->user_namespace : &user_namespace_initial;
}

// ---- how many there are: each counts for all above it, too ----

static bool charge_one(struct user_namespace *n, enum namespace_kind kind)
{
	if (__atomic_add_fetch(&n->counts[kind], 1, __ATOMIC_RELAXED) <=
	    (int64_t)__atomic_load_n(&n->limits[kind], __ATOMIC_RELAXED))
		return true;
	__atomic_sub_fetch(&n->counts[kind], 1, __ATOMIC_RELAXED);
	return false;
}

static void uncharge_below(struct user_namespace *n, const struct user_namespace *end, enum namespace_kind kind)
{
	for (; n != end; n = parent_of(n))
		__atomic_sub_fetch(&n->counts[kind], 1, __ATOMIC_RELAXED);
}

int user_namespace_charge(struct user_namespace *n, enum namespace_kind kind)
{
	for (struct user_namespace *at = n; at; at = parent_of(at))
		if (!charge_one(at, kind)) {
			uncharge_below(n, at, kind);
			return -ENOSPC;
		}
	return 0;
}

void user_namespace_uncharge(struct user_namespace *n, enum namespace_kind kind) { uncharge_below(n, NULL, kind); }

// ---- capabilities ----

bool cred_capable_in(const struct cred *c, const struct user_namespace *n, unsigned cap)
{
	const struct user_namespace *mine = cred_namespace(c);
	// The owner of a namespace has all capabilities in it and below, towards its own namespace's children.
	for (; n; n = parent_of(n)) {
		if (n == mine)
			return cred_capable_own(c, cap);
		if (n->level <= mine->level)
			return false;
		if (parent_of(n) == mine && n->owner == c->euid)
			return true;
	}
	return false;
}

bool user_namespace_is_below(const struct user_namespace *n, const struct user_namespace *above)
{
	while (n && n->level > above->level)
		n = parent_of(n);
	return n == above;
}

// ---- ids ----

static const struct id_map *map_of(const struct user_namespace *n, enum id_kind kind)
{
	return __atomic_load_n(&n->maps[kind], __ATOMIC_ACQUIRE);
}

// What the first of `count` ids is kept as, if all of them lie in one extent, and so are kept one after the other.
static uint32_t range_meant_in(const struct user_namespace *n, enum id_kind kind, uint32_t first, uint32_t count)
{
	if (n == &user_namespace_initial)
		return first;
	const struct id_map *m = map_of(n, kind);
	for (unsigned i = 0; m && i < m->count; i++) {
		uint32_t at = first - m->extents[i].first;
		if (at < m->extents[i].count && count <= m->extents[i].count - at)
			return at + m->extents[i].kept;
	}
	return ID_NONE;
}

uint32_t id_meant_in(const struct user_namespace *n, enum id_kind kind, uint32_t id)
{
	return range_meant_in(n, kind, id, 1);
}

uint32_t id_shown_in(const struct user_namespace *n, enum id_kind kind, uint32_t kept)
{
	if (n == &user_namespace_initial)
		return kept;
	const struct id_map *m = map_of(n, kind);
	for (unsigned i = 0; m && i < m->count; i++)
		if (kept - m->extents[i].kept < m->extents[i].count)
			return kept - m->extents[i].kept + m->extents[i].first;
	return ID_NONE;
}

uint32_t id_meant_slow(const struct cred *c, enum id_kind kind, uint32_t id)
{
	return id_meant_in(c->user_namespace, kind, id);
}

uint32_t id_shown_slow(const struct cred *c, enum id_kind kind, uint32_t kept)
{
	uint32_t id = id_shown_in(c->user_namespace, kind, kept);
	return id == ID_NONE ? ID_OVERFLOW : id;
}

bool id_is_mapped(const struct cred *c, enum id_kind kind, uint32_t kept)
{
	return !c->user_namespace || id_shown_in(c->user_namespace, kind, kept) != ID_NONE;
}

bool user_namespace_may_setgroups(const struct cred *c)
{
	const struct user_namespace *n = cred_namespace(c);
	return n == &user_namespace_initial ||
	       (map_of(n, ID_GROUP) && __atomic_load_n(&n->setgroups_allowed, __ATOMIC_ACQUIRE));
}

// ---- making one, being in one ----

void cred_enter_namespace(struct cred *c, struct user_namespace *n)
{
	struct user_namespace *old = c->user_namespace;
	c->user_namespace = n == &user_namespace_initial ? NULL : n;
	if (c->user_namespace)
		namespace_get(&n->common);
	c->securebits = SECUREBITS_DEFAULT;
	c->cap_inheritable = c->cap_ambient = 0;
	c->cap_effective = c->cap_permitted = c->cap_bounding = CAPABILITIES_ALL;
	if (old)
		namespace_put(&old->common);
}

int user_namespace_create(struct cred *c)
{
	struct user_namespace *parent = cred_namespace(c), *n;
	if (parent->level >= LEVEL_MAX)
		return -ENOSPC;
	if (fs_root_is_changed() || !id_is_mapped(c, ID_USER, c->euid) || !id_is_mapped(c, ID_GROUP, c->egid))
		return -EPERM;
	n = kalloc(sizeof(*n));
	if (!n)
		return -ENOMEM;
	int error = namespace_init(&n->common, &user_namespace_type, parent);
	if (error) {
		kfree(n);
		return error;
	}
	n->level = parent->level + 1;
	n->owner = c->euid;
	n->group = c->egid;
	n->setgroups_allowed = __atomic_load_n(&parent->setgroups_allowed, __ATOMIC_ACQUIRE);
	n->parent_had_setfcap = cred_capable_own(c, CAP_SETFCAP);
	for (unsigned k = 0; k < NAMESPACE_KINDS; k++)
		n->limits[k] = INT32_MAX;
	cred_enter_namespace(c, n);
	namespace_put(&n->common);
	return 0;
}

static void destroy(struct namespace *common)
{
	struct user_namespace *n = container_of(common, struct user_namespace, common);
	for (unsigned k = 0; k < ID_KINDS; k++)
		kfree(n->maps[k]);
	kfree(n);
}

const struct namespace_type user_namespace_type = {
	.name = "user", .kind = NAMESPACE_USER, .clone_flag = CLONE_NEWUSER, .destroy = destroy
};

// ---- maps as text: /proc/PID/uid_map and kin ----

static bool overlaps(const struct id_map *m, const struct id_extent *e)
{
	for (unsigned i = 0; i < m->count; i++) {
		const struct id_extent *x = &m->extents[i];
		if ((e->first < x->first + x->count && x->first < e->first + e->count) ||
		    (e->lower < x->lower + x->count && x->lower < e->lower + e->count))
			return true;
	}
	return false;
}

static bool number_take(const char **text, uint32_t *out)
{
	uint64_t n = 0;
	const char *at = *text;
	while (*at == ' ' || *at == '\t')
		at++;
	if (*at < '0' || *at > '9')
		return false;
	for (; *at >= '0' && *at <= '9'; at++)
		if ((n = n * 10 + (uint64_t)(*at - '0')) > UINT32_MAX)
			return false;
	*out = (uint32_t)n;
	*text = at;
	return true;
}

static bool line_take(const char **text, struct id_extent *e)
{
	if (!number_take(text, &e->first) || !number_take(text, &e->lower) || !number_take(text, &e->count))
		return false;
	while (**text == ' ' || **text == '\t' || **text == '\r')
		(*text)++;
	if (**text && **text != '\n')
		return false;
	if (**text)
		(*text)++;
	return e->first != ID_NONE && e->lower != ID_NONE && e->count && e->first + e->count > e->first &&
	       e->lower + e->count > e->lower;
}

// err_ptr: -EINVAL, -ENOMEM.
static struct id_map *parse(const char *text)
{
	unsigned lines = 1;
	for (const char *at = text; *at; at++)
		lines += *at == '\n' && at[1];
	if (lines > EXTENTS_MAX)
		return err_ptr(-EINVAL);
	struct id_map *m = kalloc(sizeof(*m) + lines * sizeof(m->extents[0]));
	if (!m)
		return err_ptr(-ENOMEM);
	do {
		struct id_extent e = { 0 };
		if (!line_take(&text, &e) || overlaps(m, &e)) {
			kfree(m);
			return err_ptr(-EINVAL);
		}
		m->extents[m->count++] = e;
	} while (*text);
	return m;
}

// Each extent must lie in one of the parent's.
static int resolve(struct id_map *m, const struct user_namespace *parent, enum id_kind kind)
{
	for (unsigned i = 0; i < m->count; i++) {
		struct id_extent *e = &m->extents[i];
		e->kept = range_meant_in(parent, kind, e->lower, e->count);
		if (e->kept == ID_NONE)
			return -EPERM;
	}
	return 0;
}

static bool maps_root(const struct id_map *m)
{
	for (unsigned i = 0; i < m->count; i++)
		if (m->extents[i].lower == 0)
			return true;
	return false;
}

// Whoever maps the parent's root could write files with capabilities for it.
static bool may_map_root(const struct user_namespace *n, const struct cred *opener)
{
	return cred_namespace(opener) == n ? n->parent_had_setfcap : cred_capable_in(opener, parent_of(n), CAP_SETFCAP);
}

static bool may_map(struct user_namespace *n, enum id_kind kind, const struct id_map *m, const struct cred *opener)
{
	static const unsigned needed[] = { [ID_USER] = CAP_SETUID, [ID_GROUP] = CAP_SETGID };
	const struct user_namespace *parent = parent_of(n);
	if (kind == ID_USER && maps_root(m) && !may_map_root(n, opener))
		return false;
	if (kind == ID_PROJECT)
		return true;
	const struct id_extent *e = &m->extents[0];
	if (m->count == 1 && e->count == 1 && n->owner == opener->euid) {
		uint32_t kept = id_meant_in(parent, kind, e->lower);
		if (kind == ID_USER && kept == opener->euid)
			return true;
		if (kind == ID_GROUP && !n->setgroups_allowed && kept == opener->egid)
			return true;
	}
	return cred_capable_in(current->cred, parent, needed[kind]) && cred_capable_in(opener, parent, needed[kind]);
}

static struct mutex map_lock = MUTEX_INIT(map_lock); // one map is written at a time, or setgroups

int user_namespace_map_write(struct user_namespace *n, enum id_kind kind, const struct cred *opener, const char *text)
{
	const struct user_namespace *mine = cred_namespace(opener);
	if (!parent_of(n) || (mine != n && mine != parent_of(n)))
		return -EPERM;
	struct id_map *m = parse(text);
	if (is_err(m))
		return (int)ptr_err(m);
	mutex_lock(&map_lock);
	int error = n->maps[kind] || (kind != ID_PROJECT && !cred_capable_in(opener, n, CAP_SYS_ADMIN)) ||
				    !may_map(n, kind, m, opener)
			    ? -EPERM
			    : resolve(m, parent_of(n), kind);
	if (!error)
		__atomic_store_n(&n->maps[kind], m, __ATOMIC_RELEASE);
	mutex_unlock(&map_lock);
	if (error)
		kfree(m);
	return error;
}

void user_namespace_map_show(const struct user_namespace *n, enum id_kind kind, const struct cred *reader,
			     struct seq *s)
{
	const struct user_namespace *seen_from = cred_namespace(reader);
	if (!parent_of(n)) {
		seq_puts(s, "         0          0 4294967295\n");
		return;
	}
	if (seen_from == n)
		seen_from = parent_of(n);
	const struct id_map *m = map_of(n, kind);
	for (unsigned i = 0; m && i < m->count; i++)
		seq_printf(s, "%10u %10u %10u\n", m->extents[i].first, id_shown_in(seen_from, kind, m->extents[i].kept),
			   m->extents[i].count);
}

int user_namespace_setgroups_write(struct user_namespace *n, const char *text)
{
	size_t length = strlen(text);
	while (length && (text[length - 1] == '\n' || text[length - 1] == ' '))
		length--;
	bool allow = length == 5 && !strncmp(text, "allow", 5);
	if (!allow && !(length == 4 && !strncmp(text, "deny", 4)))
		return -EINVAL;
	int error = 0;
	mutex_lock(&map_lock);
	if (allow ? !n->setgroups_allowed : n->maps[ID_GROUP] != NULL)
		error = -EPERM;
	else
		__atomic_store_n(&n->setgroups_allowed, allow, __ATOMIC_RELEASE);
	mutex_unlock(&map_lock);
	return error;
}
