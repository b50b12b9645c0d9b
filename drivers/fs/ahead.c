// SPDX-License-Identifier: Apache-2.0
// Opening files before a program asks: for who reads one file of a directory after the other, in the order in which the directory was
// read, the broker is asked once for many (BROKER_OPEN_MANY). What was opened ahead waits as the file's cached handle, as that of a
// file opened before does; whether a program may open the file is asked when it does.
//
// A directory earns this: from the second file on that was not open already; twice as many as the last time while at least half of
// those were wanted. When they were not, another order is tried: of names, as the shell and make have it, or of inodes' numbers, as
// cp(1) has it; and if that was not it either, nothing for a while. The next directory begins with the order that was right last, and
// while that goes on being right, with as many as there may be, from the first file on. The counts are racy: a wrong one costs a message
// or some descriptors.
#include "fs.h"

#include <linux/fcntl.h>

#include "abi/broker.h"
#include "lib/string.h"

#define WINDOW_FIRST 8u
#define MISSED_MIN   2
#define MISSED_PAUSE 32    // opens before the next try, after a bad guess
#define CREDIT       4     // directories begun in full after one where that was right
#define SCAN_MAX     1024u // siblings looked at

enum order { ORDER_READ, ORDER_NAME, ORDER_INODE, ORDER_COUNT };

struct many {
	struct fs_connection *connection;
	unsigned count;
	struct inode *inodes[BROKER_DESCRIPTORS_MAX]; // referenced; [0] is the one asked for
	int files[BROKER_DESCRIPTORS_MAX];            // -1
};

// The directory of `d`, referenced, if it is of the same tree; else NULL.
static struct inode *directory_of(struct dentry *d)
{
	struct inode *dir = NULL;
	spin_lock(&dentry_tree_lock);
	if (d->flags & DENTRY_HASHED && d->parent != d && d->parent->inode && d->parent->inode->super == d->super) {
		dir = d->parent->inode;
		inode_get(dir);
	}
	spin_unlock(&dentry_tree_lock);
	return dir;
}

// So many to open ahead, now that one of the directory's files has to be asked for.
static unsigned window_next(struct fs_inode *dir)
{
	struct fs_connection *c = dir->connection;
	unsigned given = dir->ahead_given, used = dir->ahead_used;
	dir->ahead_given = dir->ahead_used = 0;
	dir->opens_missed++;
	if (given && used >= given / 2) {
		dir->ahead_window = (uint16_t)min(dir->ahead_window * 2u, BROKER_DESCRIPTORS_MAX - 1);
		c->ahead_order = dir->ahead_order;
		dir->ahead_tries = 0;
	} else if (given && ++dir->ahead_tries < ORDER_COUNT) {
		dir->ahead_order = (uint8_t)((dir->ahead_order + 1) % ORDER_COUNT);
		dir->ahead_window = WINDOW_FIRST;
	} else if (given) {
		dir->ahead_tries = 0;
		dir->ahead_window = 0;
		dir->opens_missed = MISSED_MIN - MISSED_PAUSE;
	} else if (!dir->ahead_window && dir->opens_missed >= MISSED_MIN) {
		dir->ahead_order = c->ahead_order;
		dir->ahead_window = WINDOW_FIRST;
	} else if (!dir->ahead_window && c->ahead_credit && dir->opens_missed > 0) {
		c->ahead_credit--;
		dir->ahead_order = c->ahead_order;
		dir->ahead_window = BROKER_DESCRIPTORS_MAX - 1;
	}
	return dir->ahead_window;
}

static bool is_worth_opening(const struct dentry *d, const struct super *s)
{
	const struct inode *i = d->inode;
	if (!i || i->super != s || d->flags & (DENTRY_MADE_UP | DENTRY_MOUNTPOINT) || !inode_is_reg(i))
		return false;
	const struct fs_inode *fi = fs_inode_of(i);
	return !fi->reader && !fi->writer && !fi->open_files && i->data.size_bytes;
}

static int compare(const struct dentry *a, const struct dentry *b, enum order by)
{
	if (by == ORDER_INODE) {
		uint64_t x = fs_inode_of(a->inode)->ino, y = fs_inode_of(b->inode)->ino;
		return x < y ? -1 : x > y;
	}
	int order = memcmp(a->name, b->name, min(a->name_length, b->name_length));
	return order ? order : a->name_length < b->name_length ? -1 : a->name_length > b->name_length;
}

// What follows `d` in its directory in the order in which it was read. dentry_tree_lock. Count.
static unsigned followers_as_read(struct dentry *d, struct dentry **found, unsigned max)
{
	unsigned count = 0, scanned = 0;
	struct list *at = d->child_node.next, *end = &d->parent->children;
	for (; at != end && count < max && scanned++ < SCAN_MAX; at = at->next) {
		struct dentry *next = container_of(at, struct dentry, child_node);
		if (is_worth_opening(next, d->super))
			found[count++] = next;
	}
	return count;
}

// The same in another order: the lowest ones above `d`.
static unsigned followers_by(enum order by, struct dentry *d, struct dentry **found, unsigned max)
{
	unsigned count = 0, scanned = 0;
	struct dentry *next;
	list_for_each (next, &d->parent->children, child_node) {
		if (scanned++ >= SCAN_MAX)
			break;
		if (!is_worth_opening(next, d->super) || compare(next, d, by) <= 0 ||
		    (count == max && compare(next, found[max - 1], by) >= 0))
			continue;
		unsigned at = count < max ? count++ : max - 1;
		for (; at && compare(next, found[at - 1], by) < 0; at--)
			found[at] = found[at - 1];
		found[at] = next;
	}
	return count;
}

// `d` itself and what will be opened after it.
static void siblings_get(struct dentry *d, unsigned window, enum order by, struct many *m)
{
	struct dentry *found[BROKER_DESCRIPTORS_MAX];
	unsigned count = 0;
	m->inodes[0] = d->inode;
	inode_get(d->inode);
	m->count = 1;
	spin_lock(&dentry_tree_lock);
	if (d->flags & DENTRY_HASHED)
		count = by == ORDER_READ ? followers_as_read(d, found, window) : followers_by(by, d, found, window);
	for (unsigned k = 0; k < count; k++) {
		m->inodes[m->count++] = found[k]->inode;
		inode_get(found[k]->inode);
	}
	spin_unlock(&dentry_tree_lock);
}

// Those that came go to m->files; what is left over stays the request's.
static int answer_take(struct many *m, struct fs_request *r)
{
	const char *reply = r->reply;
	unsigned taken = 0;
	if (r->reply_bytes != m->count * sizeof(uint32_t))
		return -EIO;
	for (unsigned k = 0; k < m->count; k++) {
		uint32_t failed;
		memcpy(&failed, reply + k * sizeof(failed), sizeof(failed));
		if (!failed && taken < r->file_count)
			m->files[k] = r->files[taken++];
	}
	r->file_count -= taken;
	memmove(r->files, r->files + taken, r->file_count * sizeof(*r->files));
	return 0;
}

static int open_many_call(struct many *m)
{
	struct broker_open_many_in in = { .count = m->count };
	int files[BROKER_DESCRIPTORS_MAX];
	struct fs_request *r = fs_request_get(m->connection, BROKER_OPEN_MANY, fs_node(m->inodes[0]));
	if (is_err(r))
		return (int)ptr_err(r);
	fs_arg(r, &in, sizeof(in));
	for (unsigned k = 0; k < m->count; k++) {
		uint64_t node = fs_node(m->inodes[k]);
		fs_arg(r, &node, sizeof(node));
	}
	fs_reply_room(r, m->count * sizeof(uint32_t));
	r->files = files;
	r->files_room = m->count;
	int error = fs_call(r);
	if (!error)
		error = answer_take(m, r);
	fs_request_put(r);
	return error;
}

static void many_keep(struct many *m, unsigned k)
{
	struct fuse_opened o = { .flags = BROKER_FOPEN_PASSTHROUGH };
	struct inode *i = m->inodes[k];
	struct fs_handle *h = fs_handle_create(m->connection, fs_node(i), &o, O_RDONLY, false, m->files[k]);
	if (!h)
		return;
	fs_inode_of(i)->opened_ahead = k > 0;
	fs_handle_keep(i, h);
}

static void open_many(struct dentry *d, struct fs_inode *dir, unsigned window)
{
	struct many m;
	m.connection = dir->connection;
	siblings_get(d, window, dir->ahead_order, &m);
	for (unsigned k = 0; k < m.count; k++)
		m.files[k] = -1;
	int error = m.count > 1 ? open_many_call(&m) : 0;
	for (unsigned k = 0; k < m.count; k++) {
		if (!error && m.files[k] >= 0)
			many_keep(&m, k);
		inode_put(m.inodes[k]);
	}
	dir->ahead_given = (uint16_t)(m.count - 1);
}

// The file was open already: thanks to us?
static void note_use(struct dentry *d)
{
	struct fs_inode *fi = fs_inode_of(d->inode);
	if (likely(!fi->opened_ahead))
		return;
	fi->opened_ahead = false;
	struct inode *dir = directory_of(d);
	if (!dir)
		return;
	struct fs_inode *di = fs_inode_of(dir);
	if (++di->ahead_used == (di->ahead_given + 1) / 2) {
		di->connection->ahead_order = di->ahead_order;
		di->connection->ahead_credit = CREDIT;
	}
	inode_put(dir);
}

struct fs_handle *fs_handle_get_ahead(struct dentry *d)
{
	struct inode *i = d->inode;
	struct fs_handle *h = fs_handle_cached(i, false);
	if (h) {
		note_use(d);
		return h;
	}
	struct inode *dir = directory_of(d);
	if (dir) {
		struct fs_inode *fi = fs_inode_of(dir);
		unsigned window = fs_supports(fi->connection, BROKER_OPEN_MANY) ? window_next(fi) : 0;
		if (window)
			open_many(d, fi, window);
		inode_put(dir);
	}
	return fs_handle_get(i, false);
}
