// SPDX-License-Identifier: Apache-2.0
// Opening files before a program asks: for who reads one file of a directory after the other, in the order in which the directory was
// read, the broker is asked once for many (BROKER_OPEN_MANY). What was opened ahead waits as the file's cached handle, as that of a
// file opened before does; whether a program may open the file is asked when it does.
//
// A directory earns this: from the second file on that was not open already; twice as many as the last time while at least half of
// those were wanted. When they were not, another order is tried: of names, as the shell and make have it, or of inodes' numbers, as
// cp(1) has it; and if that was not it either, nothing for a while. The next directory begins with the order that was right last, and
// while that goes on being right, in full and before its first file is asked for. The counts are racy: a wrong one costs a message
// or some descriptors.
//
// Who keeps pace does not wait: while files of one batch are used the next is opened, and its answer taken when one of its files is
// wanted and not there. One batch a connection is under way (connection.batch; whoever takes it out of there owns it). It
// holds no inodes: what is gone by the time of the answer was opened for nothing.
#include "fs.h"

#include <linux/fcntl.h>

#include "abi/broker.h"
#include "kernel/slab.h"
#include "lib/string.h"

#define WINDOW_FIRST 8u
#define WINDOW_MAX   (BROKER_DESCRIPTORS_MAX - 1)
#define MISSED_MIN   2
#define MISSED_PAUSE 32    // opens before the next try, after a bad guess
#define CREDIT       4     // directories begun in full after one where that was right
#define SCAN_MAX     1024u // siblings looked at

struct fs_batch {
	struct fs_request *request;
	bool asked; // the first is what somebody waits for
	unsigned count;
	uint64_t nodes[BROKER_DESCRIPTORS_MAX];
	int files[BROKER_DESCRIPTORS_MAX]; // the request's
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
	dir->ahead_dry = false;
	dir->opens_missed++;
	if (given && used >= given / 2) {
		dir->ahead_window = (uint16_t)min(dir->ahead_window * 2u, WINDOW_MAX);
		c->ahead_order = dir->ahead_order;
		dir->ahead_tries = 0;
	} else if (given && ++dir->ahead_tries < FS_ORDER_COUNT) {
		dir->ahead_order = (uint8_t)((dir->ahead_order + 1) % FS_ORDER_COUNT);
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
		dir->ahead_window = WINDOW_MAX;
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

static int compare(const struct dentry *a, const struct dentry *b, enum fs_order by)
{
	if (by == FS_ORDER_INODE) {
		uint64_t x = fs_inode_of(a->inode)->ino, y = fs_inode_of(b->inode)->ino;
		return x < y ? -1 : x > y;
	}
	int order = memcmp(a->name, b->name, min(a->name_length, b->name_length));
	return order ? order : a->name_length < b->name_length ? -1 : a->name_length > b->name_length;
}

// What follows `at` among the children of `parent` in the order in which it was read. dentry_tree_lock. Count.
static unsigned followers_as_read(struct dentry *parent, struct list *at, fs_worth *worth, struct dentry **found,
				  unsigned max)
{
	unsigned count = 0, scanned = 0;
	for (at = at->next; at != &parent->children && count < max && scanned++ < SCAN_MAX; at = at->next) {
		struct dentry *next = container_of(at, struct dentry, child_node);
		if (worth(next, parent->super))
			found[count++] = next;
	}
	return count;
}

// The same in another order: the lowest ones above `d`, if that is not NULL.
static unsigned followers_by(enum fs_order by, struct dentry *parent, struct dentry *d, fs_worth *worth,
			     struct dentry **found, unsigned max)
{
	unsigned count = 0, scanned = 0;
	struct dentry *next;
	list_for_each (next, &parent->children, child_node) {
		if (scanned++ >= SCAN_MAX)
			break;
		if (!worth(next, parent->super) || (d && compare(next, d, by) <= 0) ||
		    (count == max && compare(next, found[max - 1], by) >= 0))
			continue;
		unsigned at = count < max ? count++ : max - 1;
		for (; at && compare(next, found[at - 1], by) < 0; at--)
			found[at] = found[at - 1];
		found[at] = next;
	}
	return count;
}

unsigned fs_followers(enum fs_order by, struct dentry *parent, struct dentry *d, fs_worth *worth, struct dentry **found,
		      unsigned max)
{
	return by == FS_ORDER_READ
		       ? followers_as_read(parent, d ? &d->child_node : &parent->children, worth, found, max)
		       : followers_by(by, parent, d, worth, found, max);
}

// ---- batches ----

// Those that come after `d`, or the first of the directory `parent` (d = NULL).
static void batch_fill(struct fs_batch *b, struct dentry *parent, struct dentry *d, unsigned window, enum fs_order by)
{
	struct dentry *found[BROKER_DESCRIPTORS_MAX];
	unsigned count = 0;
	spin_lock(&dentry_tree_lock);
	if (d && (!(d->flags & DENTRY_HASHED) || d->parent == d))
		window = 0;
	else if (d)
		parent = d->parent;
	if (window)
		count = fs_followers(by, parent, d, is_worth_opening, found, window);
	for (unsigned k = 0; k < count; k++)
		b->nodes[b->count++] = fs_node(found[k]->inode);
	spin_unlock(&dentry_tree_lock);
}

static void batch_free(struct fs_batch *b)
{
	if (b->request)
		fs_request_put(b->request);
	kfree(b);
}

// Its request, not sent yet. False: there is no memory.
static bool batch_prepare(struct fs_batch *b, struct fs_connection *c)
{
	struct broker_open_many_in in = { .count = b->count };
	struct fs_request *r = b->request = fs_request_try(c, BROKER_OPEN_MANY, b->nodes[0]);
	if (!r)
		return false;
	fs_arg(r, &in, sizeof(in));
	fs_arg(r, b->nodes, b->count * sizeof(b->nodes[0]));
	fs_reply_room(r, b->count * sizeof(uint32_t));
	r->files = b->files;
	r->files_room = b->count;
	return true;
}

static void file_keep(struct fs_connection *c, uint64_t node, int file, bool ahead)
{
	struct fuse_opened o = { .flags = BROKER_FOPEN_PASSTHROUGH };
	struct fs_handle *h = fs_handle_create(c, node, &o, O_RDONLY, false, file); // owns `file` in any case
	struct inode *i = h ? inode_find(c->super, node) : NULL;
	if (i && inode_is_reg(i)) {
		fs_inode_of(i)->opened_ahead = ahead;
		fs_handle_keep(i, h);
	} else {
		fs_handle_put(c, h, NULL);
	}
	inode_put(i);
}

// What came waits for its programs; what is left over stays the request's. The mounted tree stays meanwhile.
static void batch_keep(struct fs_batch *b)
{
	struct fs_request *r = b->request;
	unsigned taken = 0;
	if (r->error || r->reply_bytes != b->count * sizeof(uint32_t))
		return;
	for (unsigned k = 0; k < b->count && taken < r->file_count; k++) {
		uint32_t failed;
		memcpy(&failed, (const char *)r->reply + k * sizeof(failed), sizeof(failed));
		if (!failed)
			file_keep(r->connection, b->nodes[k], b->files[taken++], k || !b->asked);
	}
	r->file_count -= taken;
	memmove(b->files, b->files + taken, r->file_count * sizeof(b->files[0]));
}

// The batch under way, if any, comes in. Files are kept unless the tree is going.
static bool batch_collect(struct fs_connection *c, bool keep)
{
	struct fs_batch *b = __atomic_exchange_n(&c->batch, NULL, __ATOMIC_ACQ_REL);
	if (!b)
		return false;
	fs_transport_collect(b->request);
	if (keep)
		batch_keep(b);
	batch_free(b);
	return true;
}

void fs_ahead_stop(struct fs_connection *c)
{
	batch_collect(c, false);
	fs_walk_stop(c);
}

void fs_file_keep_ahead(struct fs_connection *c, uint64_t node, int file) { file_keep(c, node, file, true); }

void fs_files_given(struct fs_inode *dir, unsigned count)
{
	dir->ahead_order = dir->connection->ahead_order;
	dir->ahead_window = WINDOW_MAX;
	dir->ahead_given = (uint16_t)count;
	dir->ahead_used = 0;
	dir->ahead_dry = true;
}

// ---- ahead ----

// `d` and what follows it, waited for.
static void open_many(struct dentry *d, struct fs_inode *dir, unsigned window)
{
	struct fs_batch *b = kalloc(sizeof(*b));
	if (!b)
		return;
	b->asked = true;
	b->nodes[b->count++] = fs_node(d->inode);
	batch_fill(b, NULL, d, window, dir->ahead_order);
	if (b->count > 1 && batch_prepare(b, dir->connection) && !fs_call(b->request))
		batch_keep(b);
	dir->ahead_given = (uint16_t)(b->count - 1);
	batch_free(b);
}

// Asks for those after `d` (NULL: the first of `parent`), and does not wait.
static void batch_start(struct fs_inode *dir, struct dentry *parent, struct dentry *d)
{
	struct fs_connection *c = dir->connection;
	struct fs_batch *none = NULL, *b = kalloc(sizeof(*b));
	if (!b)
		return;
	batch_fill(b, parent, d, dir->ahead_window, dir->ahead_order);
	dir->ahead_dry = !b->count;
	if (!b->count || !batch_prepare(b, c) || !fs_post(b->request)) {
		batch_free(b);
		return;
	}
	dir->ahead_given = (uint16_t)(dir->ahead_given - min(dir->ahead_used, dir->ahead_given) + b->count);
	dir->ahead_used = 0;
	dir->ahead_window = (uint16_t)min(dir->ahead_window * 2u, WINDOW_MAX);
	if (__atomic_compare_exchange_n(&c->batch, &none, b, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return;
	fs_transport_collect(b->request); // somebody else was quicker
	batch_keep(b);
	batch_free(b);
}

void fs_open_ahead(struct inode *dir, struct dentry *d)
{
	struct fs_inode *fi = fs_inode_of(dir);
	struct fs_connection *c = fi->connection;
	if (!c->ahead_credit || fi->ahead_window || fi->opens_missed || !fs_supports(c, BROKER_OPEN_MANY) ||
	    __atomic_load_n(&c->batch, __ATOMIC_ACQUIRE))
		return;
	c->ahead_credit--;
	fi->ahead_order = c->ahead_order;
	fi->ahead_window = WINDOW_FIRST;
	batch_start(fi, d, NULL);
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
	struct fs_connection *c = di->connection;
	if (++di->ahead_used * 2 >= di->ahead_given) {
		c->ahead_order = di->ahead_order;
		c->ahead_credit = CREDIT;
	}
	if (di->ahead_given - di->ahead_used <= di->ahead_window && !di->ahead_dry &&
	    !__atomic_load_n(&c->batch, __ATOMIC_ACQUIRE))
		batch_start(di, NULL, d);
	inode_put(dir);
}

struct fs_handle *fs_handle_get_ahead(struct dentry *d)
{
	struct inode *i = d->inode;
	struct fs_handle *h = fs_handle_cached(i, false);
	if (!h && batch_collect(fs_connection_of(i), true))
		h = fs_handle_cached(i, false);
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
