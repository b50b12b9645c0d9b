// SPDX-License-Identifier: Apache-2.0
// Paths: several names, each in the directory that the one before it is, asked for in one message (BROKER_WALK), and with the last of them
// the text of a symbolic link.
//
// The VFS looks up one name at a time and says what comes after it (task.walk_rest). What the server says of that becomes dentries
// before it is asked for, believed for as long as if it had been. Not in a directory that is watched, or in use, or when anything was
// changed in the cell since the question: the answer may be older than what is known.
#include "fs.h"

#include "abi/broker.h"
#include "kernel/slab.h"
#include "kernel/task.h"
#include "lib/string.h"

#define PATH_BYTES 512u // of a question; there is room for a name of any length

struct walk_question {
	uint64_t clock;
	unsigned count; // of names
	size_t length;
	char path[PATH_BYTES + 1];
	struct fuse_walk answer;
};

static size_t name_bytes(const char *s)
{
	size_t n = 0;
	while (s[n] && s[n] != '/')
		n++;
	return n;
}

static const char *skip_slashes(const char *s)
{
	while (*s == '/')
		s++;
	return s;
}

static bool is_plain(const char *name, size_t length)
{
	return length && length <= NAME_MAX_BYTES &&
	       !(name[0] == '.' && (length == 1 || (length == 2 && name[1] == '.')));
}

// The next name of what will be walked, and on from there. Its length; 0: there is none.
static size_t next_name(const char *rest[2], const char **name)
{
	*name = rest[0] ? skip_slashes(rest[0]) : "";
	if (!**name) {
		*name = rest[1] ? skip_slashes(rest[1]) : "";
		rest[1] = NULL;
	}
	size_t length = name_bytes(*name);
	rest[0] = skip_slashes(*name + length);
	return length;
}

// The name of `d`, and what will be looked up next as far as that goes down.
static void question_build(struct walk_question *q, const struct dentry *d)
{
	const char *rest[2] = { current->walk_rest[0], current->walk_rest[1] }, *name;
	q->length = d->name_length;
	memcpy(q->path, d->name, d->name_length);
	for (q->count = 1; q->count < BROKER_WALK_MAX; q->count++) {
		size_t length = next_name(rest, &name);
		bool last = !*rest[0] && !rest[1];
		if (!is_plain(name, length) || q->length + 1 + length > PATH_BYTES ||
		    (last && current->walk_leaves_last))
			break;
		q->path[q->length++] = '/';
		memcpy(q->path + q->length, name, length);
		q->length += length;
	}
	q->path[q->length] = 0;
}

// 0 with at least one step, of which the first may be one that is not there.
static int walk_call(struct inode *dir, struct walk_question *q)
{
	struct fs_connection *c = fs_connection_of(dir);
	struct fs_request *r = fs_request_get(c, BROKER_WALK, fs_node(dir));
	if (is_err(r))
		return (int)ptr_err(r);
	fuse_put_name(&r->builder, q->path, q->length);
	fs_reply_room(r, sizeof(struct broker_walk_out) + BROKER_WALK_MAX * sizeof(struct fuse_entry_out) +
				 BROKER_LINK_MAX);
	int error = fs_call(r);
	if (!error)
		error = fuse_decode_walk(r->reply, r->reply_bytes, q->count, &q->answer);
	fs_request_put(r);
	if (error == -ENOENT) {
		q->answer.count = 1;
		q->answer.steps[0] = (struct fuse_entry){ .entry_valid_ns = __atomic_load_n(&c->negative_valid_ns,
											    __ATOMIC_RELAXED) };
		q->answer.link[0] = 0;
		error = 0;
	}
	return error;
}

static void step_forget(struct fs_connection *c, const struct fuse_entry *e)
{
	if (e->nodeid)
		fs_forget_node(c, e->nodeid, 1);
}

static void absence_link(struct dentry *parent, const char *name, size_t length, const struct fuse_entry *e)
{
	struct dentry *d = dentry_lookup_cached(parent, name, length);
	if (d) {
		dentry_put(d);
		return;
	}
	d = dentry_create(parent, name, length);
	if (!d)
		return;
	d->expires_ns = fs_entry_expiry(parent->super->private, e);
	dentry_instantiate(d, NULL);
	dentry_hash(d);
	dentry_put(d);
}

static bool may_link(struct inode *dir, uint64_t clock)
{
	return !(__atomic_load_n(&dir->state, __ATOMIC_RELAXED) & INODE_DEAD) && !fs_inode_of(dir)->watch &&
	       fs_clock_now(fs_connection_of(dir)) == clock;
}

// What the server says of a name in `parent` becomes known. The dentry, with a reference; NULL: there is none that can be gone on from.
static struct dentry *step_link(struct dentry *parent, const char *name, size_t length, const struct fuse_entry *e,
				uint64_t clock)
{
	struct inode *dir = parent->inode;
	struct dentry *d = NULL;
	if (!mutex_try_lock(&dir->lock)) {
		step_forget(fs_connection_of(dir), e);
		return NULL;
	}
	if (!may_link(dir, clock))
		step_forget(fs_connection_of(dir), e);
	else if (!e->nodeid)
		absence_link(parent, name, length, e);
	else if (fs_entry_link(parent, name, length, e, clock, 0))
		d = dentry_lookup_cached(parent, name, length);
	mutex_unlock(&dir->lock);
	if (d && (!d->inode || d->super != parent->super || fs_node(d->inode) != e->nodeid)) {
		dentry_put(d);
		d = NULL;
	}
	return d;
}

// The steps after the first, `d`.
static void rest_link(struct dentry *d, struct walk_question *q)
{
	struct fs_connection *c = d->super->private;
	const char *name = q->path;
	dentry_get(d);
	for (unsigned k = 1; k < q->answer.count; k++) {
		const struct fuse_entry *e = &q->answer.steps[k];
		struct dentry *next = NULL;
		name = skip_slashes(name + name_bytes(name));
		if (d)
			next = step_link(d, name, name_bytes(name), e, q->clock);
		else
			step_forget(c, e);
		if (d)
			dentry_put(d);
		d = next;
	}
	if (d && d->inode && q->answer.link[0])
		fs_link_keep(d->inode, q->answer.link);
	if (d)
		dentry_put(d);
}

int fs_path_lookup(struct inode *dir, struct dentry *d)
{
	struct fs_connection *c = fs_connection_of(dir);
	struct walk_question *q = kalloc(sizeof(*q));
	uint64_t mark = fs_watch_mark(dir);
	if (!q)
		return -ENOMEM;
	q->clock = fs_clock_now(c);
	question_build(q, d);
	int error = walk_call(dir, q);
	if (!error) {
		const struct fuse_entry *first = &q->answer.steps[0];
		error = fs_entry_take(dir, d, first, q->clock);
		if (!error)
			fs_watch_bless(dir, d, first, mark);
		for (unsigned k = 1; error && k < q->answer.count; k++)
			step_forget(c, &q->answer.steps[k]);
	}
	if (!error)
		rest_link(d, q);
	kfree(q);
	return error;
}
