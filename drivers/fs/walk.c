// SPDX-License-Identifier: Apache-2.0
// Directories read before a program asks: who goes through a tree goes on to the first directory in the one just read, or to the next
// beside it or beside one above. That one is asked for (BROKER_READ_DIRECTORY), with its files open if files were opened lately, and
// not waited for: the broker works while the program is busy here.
//
// It is earned: from the second time on that the next directory was foreseen, in the order in which directories were read, of names or of
// inodes' numbers. One that is not asked for in time ends that for a while. One a connection is under way.
//
// A listing is taken in under its directory's lock, when the first of its names is wanted. Nothing of the directory was known when it
// was asked for; if a name in it was made or removed here since, or the host told of any change, it is asked for again. So it is when it is
// not new and the host would not have told.
#include "fs.h"

#include "abi/broker.h"
#include "kernel/slab.h"
#include "kernel/task.h"
#include "kernel/timer.h"
#include "lib/string.h"

#define EARNED      2
#define RIGHT_MAX   8
#define MISS_PAUSE  8
#define LEVELS_MAX  8u
#define PATIENCE_NS (20 * NSEC_PER_MSEC)  // so long a listing waits for its program when another is wanted
#define UNTOLD_NS   (100 * NSEC_PER_MSEC) // so old it may be where the host does not tell of changes

static bool is_worth_listing(const struct dentry *d, const struct super *s)
{
	const struct inode *i = d->inode;
	return i && i->super == s && inode_is_dir(i) && !(d->flags & (DENTRY_MADE_UP | DENTRY_MOUNTPOINT)) &&
	       list_empty(&d->children) && !fs_inode_of(i)->watch;
}

// ---- taking ----

static void listing_free(struct fs_listing *l)
{
	if (l->buffer)
		page_put(l->buffer);
	fs_request_put(l->request);
	fs_inode_unhold(l->dir);
	kfree(l);
}

// Its answer is here now. False: it is none. *mark: 0 if it was to be watched and that is not so, or something was told already.
static bool listing_collect(struct fs_listing *l, uint64_t *mark)
{
	struct fs_request *r = l->request;
	struct broker_read_opened opened = { 0 };
	fs_transport_collect(r);
	bool good = !r->error && r->reply_bytes >= l->head_bytes;
	if (good) {
		memcpy(&l->head, r->reply, sizeof(l->head));
		memcpy(&opened, (const char *)r->reply + sizeof(l->head), l->head_bytes - sizeof(l->head));
		l->size = min(r->reply_bytes - l->head_bytes, (size_t)FS_LISTING_BYTES);
	}
	l->file_count = min(opened.count, r->file_count);
	memcpy(l->nodes, opened.nodes, sizeof(l->nodes));
	int watch_error = good ? -(int)min((unsigned)l->head.padding, 4095u) : -EIO;
	*mark = l->watch ? fs_watch_heard(l->dir, l->watch, watch_error, l->head.open_flags & BROKER_FOPEN_COMPLETE)
			 : 0;
	return good;
}

// Nobody wants it: what the server counted and holds for it goes.
static void listing_drop(struct fs_listing *l)
{
	struct fs_connection *c = fs_connection_of(l->dir);
	struct fuse_directory_entry *e = kalloc(sizeof(*e));
	struct fuse_opened o = { l->head.fh, l->head.open_flags };
	size_t at = 0;
	while (e && fuse_decode_dirent(page_address(l->buffer), l->size, &at, true, e) > 0)
		if (e->has_entry && e->entry.nodeid)
			fs_forget_node(c, e->entry.nodeid, 1);
	kfree(e);
	if (l->size && o.fh != FS_NO_HANDLE)
		fs_handle_put(c, fs_handle_create(c, fs_node(l->dir), &o, 0, true, -1), NULL);
	listing_free(l);
}

// The listing under way, if it is of `dir` (NULL: of whatever directory), or asked for before `before_ns`.
static struct fs_listing *listing_get(struct fs_connection *c, const struct inode *dir, uint64_t before_ns)
{
	spin_lock(&c->lock);
	struct fs_listing *l = c->listing;
	if (l && (l->dir == dir || l->asked_ns < before_ns))
		c->listing = NULL;
	else
		l = NULL;
	spin_unlock(&c->lock);
	return l;
}

bool fs_listing_is_of(struct inode *dir)
{
	struct fs_connection *c = fs_connection_of(dir);
	if (!__atomic_load_n(&c->listing, __ATOMIC_RELAXED))
		return false;
	spin_lock(&c->lock);
	bool is = c->listing && c->listing->dir == dir;
	spin_unlock(&c->lock);
	return is;
}

// Is it still as the server said?
static bool is_current(const struct fs_listing *l, uint64_t mark)
{
	if (__atomic_load_n(&fs_inode_of(l->dir)->attr_changed, __ATOMIC_RELAXED) > l->clock || (l->watch && !mark))
		return false;
	return (mark && l->head.open_flags & BROKER_FOPEN_COMPLETE) || clock_monotonic_ns() - l->asked_ns < UNTOLD_NS;
}

struct fs_listing *fs_listing_take(struct inode *dir, uint64_t *mark)
{
	struct fs_connection *c = fs_connection_of(dir);
	struct fs_listing *l = __atomic_load_n(&c->listing, __ATOMIC_RELAXED) ? listing_get(c, dir, 0) : NULL;
	if (!l)
		return NULL;
	if (listing_collect(l, mark) && is_current(l, *mark))
		return l;
	listing_drop(l);
	return NULL;
}

bool fs_listing_end(struct fs_listing *l)
{
	struct fs_inode *fi = fs_inode_of(l->dir);
	struct fs_request *r = l->request;
	unsigned count = l->file_count;
	for (unsigned k = 0; k < count; k++)
		fs_file_keep_ahead(fi->connection, l->nodes[k], l->files[k]);
	r->file_count -= count;
	memmove(l->files, l->files + count, r->file_count * sizeof(l->files[0]));
	if (count)
		fs_files_given(fi, count);
	listing_free(l);
	return count;
}

void fs_walk_stop(struct fs_connection *c)
{
	uint64_t mark;
	struct fs_listing *l = listing_get(c, NULL, UINT64_MAX);
	if (!l)
		return;
	listing_collect(l, &mark);
	listing_drop(l);
}

// ---- asking ----

static bool listing_send(struct fs_listing *l)
{
	struct fs_request *r = l->request;
	struct fuse_read_in in = { .size = (uint32_t)(FS_LISTING_BYTES + l->head_bytes),
				   .read_flags = (l->watch ? BROKER_READ_WATCH : 0) |
						 (l->head_bytes > sizeof(l->head) ? BROKER_READ_OPEN : 0) };
	fs_arg(r, &in, sizeof(in));
	fs_reply_room(r, l->head_bytes);
	fs_payload(r, page_to_frame(l->buffer), FS_LISTING_BYTES, false);
	r->files = l->files;
	r->files_room = array_count(l->files);
	return fs_post(r);
}

// Of `dir`, which is held and stays so.
static struct fs_listing *listing_make(struct inode *dir, bool open)
{
	struct fs_connection *c = fs_connection_of(dir);
	struct fs_listing *l = kalloc(sizeof(*l));
	if (!l)
		return NULL;
	l->buffer = page_alloc(FS_LISTING_ORDER, FS_PAGE_FLAGS);
	l->request = l->buffer ? fs_request_try(c, BROKER_READ_DIRECTORY, fs_node(dir)) : NULL;
	if (!l->request) {
		if (l->buffer)
			page_put(l->buffer);
		kfree(l);
		return NULL;
	}
	l->dir = dir;
	l->head_bytes = sizeof(l->head) + (open ? sizeof(struct broker_read_opened) : 0);
	l->asked_ns = clock_monotonic_ns();
	l->clock = fs_clock_now(c);
	return l;
}

// True: it is under way.
static bool listing_start(struct fs_connection *c, struct inode *dir, bool watch)
{
	bool open = c->ahead_credit;
	struct fs_listing *l = listing_make(dir, open);
	if (!l) {
		fs_inode_unhold(dir);
		return false;
	}
	l->watch = watch ? fs_watch_begin(dir) : NULL;
	if (!listing_send(l)) {
		if (l->watch)
			fs_watch_heard(dir, l->watch, -EAGAIN, false);
		listing_free(l);
		return false;
	}
	if (open)
		c->ahead_credit--;
	spin_lock(&c->lock);
	bool first = !c->listing;
	if (first)
		c->listing = l;
	spin_unlock(&c->lock);
	if (first)
		return true;
	uint64_t mark;
	listing_collect(l, &mark); // somebody else was quicker
	listing_drop(l);
	return false;
}

// Where a walk goes on after the directory `d`, in this order. dentry_tree_lock. NULL: it ends.
static struct inode *next_find(struct dentry *d, enum fs_order by)
{
	struct dentry *found = NULL, *parent = d, *after = NULL;
	for (unsigned level = 0; level < LEVELS_MAX; level++) {
		if (fs_followers(by, parent, after, is_worth_listing, &found, 1))
			return found->inode;
		if (parent->parent == parent || !(parent->flags & DENTRY_HASHED))
			break;
		after = parent;
		parent = parent->parent;
	}
	return NULL;
}

// The inode held, or NULL; and for next time what would have been right.
static struct inode *next_foresee(struct fs_connection *c, struct dentry *d, bool earned)
{
	struct inode *next[FS_ORDER_COUNT] = { 0 }, *found;
	spin_lock(&dentry_tree_lock);
	for (unsigned by = 0; by < FS_ORDER_COUNT; by++) {
		if (!earned || by == c->walk_order)
			next[by] = next_find(d, by);
		c->walk_next[by] = next[by] ? fs_node(next[by]) : 0;
	}
	found = earned ? next[c->walk_order] : NULL;
	if (found && !fs_inode_hold(found))
		found = NULL;
	spin_unlock(&dentry_tree_lock);
	return found;
}

// Was the directory with this node foreseen?
static void foresight_judge(struct fs_connection *c, uint64_t node)
{
	unsigned by = c->walk_order;
	for (unsigned k = 0; k < FS_ORDER_COUNT && c->walk_next[by] != node; k++)
		by = (by + 1) % FS_ORDER_COUNT;
	if (c->walk_next[by] != node) {
		c->walk_right = min(c->walk_right, (int8_t)0);
		return;
	}
	c->walk_order = (uint8_t)by;
	if (c->walk_right < RIGHT_MAX)
		c->walk_right++;
}

// False: the one under way still has time.
static bool listing_expire(struct fs_connection *c)
{
	if (!__atomic_load_n(&c->listing, __ATOMIC_RELAXED))
		return true;
	struct fs_listing *late = listing_get(c, NULL, clock_monotonic_ns() - PATIENCE_NS);
	uint64_t mark;
	if (late) {
		listing_collect(late, &mark);
		listing_drop(late);
		c->walk_right = -MISS_PAUSE;
	}
	return false;
}

bool fs_walk_on(struct inode *dir, struct dentry *d, bool watch)
{
	struct fs_connection *c = fs_connection_of(dir);
	foresight_judge(c, fs_node(dir));
	struct inode *next = next_foresee(c, d, listing_expire(c) && c->walk_right >= EARNED);
	return next && listing_start(c, next, watch);
}
