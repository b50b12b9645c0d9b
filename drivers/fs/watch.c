// SPDX-License-Identifier: Apache-2.0
// Staying in step with the host: directories it watches for us (abi/broker.h), what it reports, and what that makes of entries,
// attributes and the cell's own inotify watches.
//
// A directory is watched once something of it had to be asked for again, so a program that looks at everything once pays nothing.
// From then on its entries are good for ever, and so are the attributes of its files with one name, and its own; a report takes
// back what it names. There is room for so many watches; the one not used for longest goes, and what it vouched for with it.
//
// Answers and reports race. Each watch has a serial number that changes with every report; who asks takes it as a mark, and the
// answer lasts only if the mark still holds once it is stored. Reports are worked on under the directory's lock, under which names
// are looked up and hashed: what is not there yet then finds its mark gone.
//
// Locks: inode.lock of the directory -> watch_lock (spinlock, a leaf) and dentry_tree_lock.
#include <linux/inotify.h>
#include <linux/uio.h>

#include "abi/broker.h"
#include "broker.h"
#include "kernel/init.h"
#include "kernel/log.h"
#include "kernel/sched.h"
#include "kernel/slab.h"
#include "kernel/task.h"
#include "kernel/timer.h"
#include "lib/string.h"
#include "own.h"
#include "port/host.h"

#define WATCHES_MAX  1024u // that the caches ask for
#define PINNED_MAX   16384u
#define QUIET_NS     (10 * NSEC_PER_SEC) // a watch used since is not given up for another
#define BUFFER_ORDER 3u
#define NAME_EVENTS  (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)
#define REPORTED     (NAME_EVENTS | IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE)

struct fs_watch {
	struct list node; // watches, least recently used first
	struct fs_inode *directory;
	uint64_t serial; // 0: the server was not heard yet
	uint64_t names;  // as serial, but changes only when the host adds names
	bool complete;   // all names are told
	bool early;      // something was reported before the server was heard
	uint64_t used_ns;
	bool pinned; // a program's inotify counts on it
};

static struct spinlock watch_lock = SPINLOCK_INIT; // guards what follows, and fs_inode.watch
static struct list watches = LIST_INIT(watches);
static unsigned watch_count, watch_max = WATCHES_MAX;
static uint64_t last_serial;
static bool deaf; // nobody reports (any more)

// ---- marks ----

uint64_t fs_watch_mark_of(struct inode *dir)
{
	struct fs_inode *fi = fs_inode_of(dir);
	uint64_t serial = 0;
	if (!__atomic_load_n(&fi->watch, __ATOMIC_RELAXED))
		return 0;
	spin_lock(&watch_lock);
	if (fi->watch) {
		serial = fi->watch->serial;
		fi->watch->used_ns = clock_monotonic_ns();
		list_remove(&fi->watch->node);
		list_add_tail(&watches, &fi->watch->node);
	}
	spin_unlock(&watch_lock);
	return serial;
}

bool fs_watch_holds(struct inode *dir, uint64_t mark)
{
	struct fs_inode *fi = fs_inode_of(dir);
	spin_lock(&watch_lock);
	bool holds = mark && fi->watch && fi->watch->serial == mark;
	spin_unlock(&watch_lock);
	return holds;
}

uint64_t fs_watch_names(struct inode *dir)
{
	struct fs_inode *fi = fs_inode_of(dir);
	uint64_t names = 0;
	if (!__atomic_load_n(&fi->watch, __ATOMIC_RELAXED))
		return 0;
	spin_lock(&watch_lock);
	if (fi->watch && fi->watch->serial && fi->watch->complete)
		names = fi->watch->names;
	spin_unlock(&watch_lock);
	return names;
}

void fs_watch_bless_attributes(struct inode *dir, struct inode *i, uint64_t mark)
{
	struct fs_inode *fi = fs_inode_of(i);
	// Another name may be in another directory; what happens in a directory is reported by its own watch.
	if (!mark || (inode_is_dir(i) ? i != dir : i->nlink != 1) || !fi->attr_lasting || !fs_attributes_fresh(fi))
		return;
	__atomic_store_n(&fi->attr_expires_ns, UINT64_MAX, __ATOMIC_RELEASE);
	if (!fs_watch_holds(dir, mark))
		fs_attributes_stale(i);
}

void fs_watch_bless_entry(struct inode *dir, struct dentry *d, const struct fuse_entry *e, uint64_t mark)
{
	d->expires_ns = UINT64_MAX;
	if (!fs_watch_holds(dir, mark)) {
		d->expires_ns = 0;
		return;
	}
	if (d->inode && e->attr_valid_ns >= FS_LASTING_NS)
		fs_watch_bless_attributes(dir, d->inode, mark);
}

// ---- beginning and end ----

static void attributes_unbless(struct inode *i)
{
	uint64_t forever = UINT64_MAX;
	__atomic_compare_exchange_n(&fs_inode_of(i)->attr_expires_ns, &forever, 0, false, __ATOMIC_ACQ_REL,
				    __ATOMIC_RELAXED);
}

// Some directory entry of `dir`, referenced; NULL: nobody knows it by a name.
static struct dentry *directory_dentry(struct inode *dir)
{
	struct dentry *d = NULL;
	spin_lock(&dir->alias_lock);
	if (!list_empty(&dir->dentries))
		d = list_first(&dir->dentries, struct dentry, alias_node);
	if (d && !refcount_get_unless_zero(&d->refs))
		d = NULL;
	spin_unlock(&dir->alias_lock);
	return d;
}

// Everything in `dir` is to be asked for again. dir->lock held.
static void entries_unbless(struct inode *dir)
{
	struct dentry *parent = directory_dentry(dir), *d;
	attributes_unbless(dir);
	if (!parent)
		return;
	spin_lock(&dentry_tree_lock);
	list_for_each (d, &parent->children, child_node) {
		if (d->flags & DENTRY_MADE_UP)
			continue;
		d->expires_ns = 0;
		if (d->inode && d->inode->super == dir->super)
			attributes_unbless(d->inode);
	}
	spin_unlock(&dentry_tree_lock);
	dentry_put(parent);
}

static void watch_unlink(struct fs_watch *w) // watch_lock
{
	w->directory->watch = NULL;
	list_remove(&w->node);
	watch_count--;
}

static void unwatch_send(struct inode *dir)
{
	struct fs_request *r = fs_request_try(fs_connection_of(dir), BROKER_UNWATCH, fs_node(dir));
	if (!r)
		return;
	(void)!fs_call(r);
	fs_request_put(r);
}

// The watch of `dir` is over. dir->lock held.
static void watch_end(struct inode *dir)
{
	struct fs_inode *fi = fs_inode_of(dir);
	spin_lock(&watch_lock);
	struct fs_watch *w = fi->watch;
	if (w)
		watch_unlink(w);
	spin_unlock(&watch_lock);
	if (!w)
		return;
	kfree(w);
	entries_unbless(dir);
}

void fs_watch_inode_gone(struct fs_inode *fi)
{
	spin_lock(&watch_lock);
	struct fs_watch *w = fi->watch;
	if (w)
		watch_unlink(w);
	spin_unlock(&watch_lock);
	kfree(w);
}

// The directory to give up for another, referenced and locked; NULL: all are in use.
static struct inode *victim_get(bool whatever)
{
	uint64_t now = clock_monotonic_ns();
	bool pins = __atomic_load_n(&fsnotify_watches, __ATOMIC_RELAXED);
	struct inode *found = NULL;
	struct fs_watch *w;
	spin_lock(&watch_lock);
	list_for_each (w, &watches, node) {
		struct inode *dir = w->directory->inode;
		if (!whatever && now - w->used_ns < QUIET_NS)
			break;
		if ((w->pinned && pins) || !w->serial || !fs_inode_hold(dir))
			continue;
		found = dir;
		break;
	}
	spin_unlock(&watch_lock);
	// Not waited for: the caller may hold another directory's lock, or this one's.
	if (found && !mutex_try_lock(&found->lock)) {
		fs_inode_unhold(found);
		return NULL;
	}
	return found;
}

static bool room_make(bool pin)
{
	if (__atomic_load_n(&watch_count, __ATOMIC_RELAXED) < (pin ? PINNED_MAX : watch_max))
		return true;
	struct inode *dir = victim_get(pin);
	if (!dir)
		return false;
	unwatch_send(dir);
	watch_end(dir);
	mutex_unlock(&dir->lock);
	fs_inode_unhold(dir);
	return true;
}

// BROKER_WATCH by itself.
static int watch_call(struct inode *dir, bool pin, bool *complete)
{
	struct broker_watch_out out = { 0 };
	struct broker_watch_in in = { .mask = BROKER_WATCH_DEFAULT | (pin ? IN_CLOSE_WRITE : 0) };
	struct fs_request *r = fs_request_try(fs_connection_of(dir), BROKER_WATCH, fs_node(dir));
	if (!r)
		return -ENOMEM;
	fs_arg(r, &in, sizeof(in));
	fs_reply_room(r, sizeof(out));
	int error = fs_call(r);
	if (!error)
		memcpy(&out, r->reply, min(r->reply_bytes, sizeof(out)));
	*complete = out.complete == 1;
	fs_request_put(r);
	return error;
}

uint64_t fs_watch_heard(struct inode *dir, struct fs_watch *w, int error, bool complete)
{
	struct fs_inode *fi = fs_inode_of(dir);
	uint64_t mark = 0;
	spin_lock(&watch_lock);
	bool there = fi->watch == w;
	if (there && !error) {
		w->names = w->serial = ++last_serial;
		w->complete = complete;
		mark = w->early ? 0 : w->serial;
	} else if (there)
		watch_unlink(w);
	if (error == -ENOSPC) // the host's limit: no more than there are
		watch_max = max(watch_count, 16u);
	spin_unlock(&watch_lock);
	if (there && error)
		kfree(w);
	return mark;
}

// *more: there is a watch, which was not pinned yet.
static struct fs_watch *watch_begin(struct inode *dir, bool pin, bool *more)
{
	struct fs_inode *fi = fs_inode_of(dir);
	*more = false;
	if (__atomic_load_n(&deaf, __ATOMIC_RELAXED) || !inode_is_dir(dir) ||
	    !fs_supports(fi->connection, BROKER_WATCH))
		return NULL;
	struct fs_watch *w = fi->watch || !room_make(pin) ? NULL : kalloc(sizeof(*w));
	if (w) {
		list_init(&w->node);
		w->directory = fi;
		w->used_ns = clock_monotonic_ns();
	}
	spin_lock(&watch_lock);
	bool fresh = w && !fi->watch;
	if (fresh) {
		fi->watch = w;
		list_add_tail(&watches, &w->node);
		watch_count++;
	}
	if (pin && fi->watch) {
		*more = !fresh && !fi->watch->pinned;
		fi->watch->pinned = true;
	}
	spin_unlock(&watch_lock);
	if (!fresh)
		kfree(w);
	return fresh ? w : NULL;
}

struct fs_watch *fs_watch_begin(struct inode *dir)
{
	bool more;
	return watch_begin(dir, false, &more);
}

void fs_watch_start(struct inode *dir, bool pin)
{
	bool more, complete;
	struct fs_watch *w = watch_begin(dir, pin, &more);
	if (w) {
		int error = watch_call(dir, pin, &complete);
		fs_watch_heard(dir, w, error, complete);
	}
	if (more)
		(void)!watch_call(dir, true, &complete); // it was for the caches only
}

void fs_watched(struct inode *i, struct dentry *d)
{
	struct inode *dir = NULL;
	if (inode_is_dir(i)) {
		fs_watch_start(i, true);
		return;
	}
	spin_lock(&dentry_tree_lock);
	if (d->parent != d) {
		dir = d->parent->inode;
		inode_get(dir);
	}
	spin_unlock(&dentry_tree_lock);
	if (dir && dir->super == i->super)
		fs_watch_start(dir, true);
	if (dir)
		inode_put(dir);
}

// ---- reports ----

struct report {
	struct broker_event head;
	char name[NAME_MAX_BYTES + 1];
	size_t length;
	struct fs_connection *connection;
	struct inode *directory, *child; // child: what the name meant here, referenced, or NULL
	bool own;
};

// The host has added a name.
static void names_step(struct inode *dir)
{
	struct fs_inode *fi = fs_inode_of(dir);
	spin_lock(&watch_lock);
	if (fi->watch)
		fi->watch->names = ++last_serial;
	spin_unlock(&watch_lock);
}

static void serial_step(struct inode *dir)
{
	struct fs_inode *fi = fs_inode_of(dir);
	spin_lock(&watch_lock);
	if (fi->watch && fi->watch->serial)
		fi->watch->serial = ++last_serial;
	else if (fi->watch)
		fi->watch->early = true;
	spin_unlock(&watch_lock);
}

static bool child_is_ours(struct inode *i)
{
	struct fs_inode *fi = fs_inode_of(i);
	return fi->open_writers || clock_monotonic_ns() < __atomic_load_n(&fi->ours_until_ns, __ATOMIC_RELAXED);
}

static bool is_fixed(const struct dentry *d)
{
	return d->flags & (DENTRY_MADE_UP | DENTRY_MOUNTPOINT | DENTRY_HAS_MADE_UP);
}

// The entry `d`, cached here, and what the host says happened to its name.
static void entry_take_back(struct report *e, struct dentry *d)
{
	struct inode *i = d->inode;
	if (is_fixed(d))
		return;
	if (e->head.mask & (IN_CREATE | IN_MOVED_TO)) {
		if (!i || !e->own)
			d->expires_ns = 0;
	} else if (e->head.mask & (IN_DELETE | IN_MOVED_FROM) && i) {
		d->expires_ns = 0; // if it was our doing: the name has been made anew since, most likely
		if (!e->own) {
			if (e->head.mask & IN_DELETE)
				fs_link_dropped(i, inode_is_dir(i));
			dentry_drop_removed(d);
		}
	}
}

static void name_take(struct report *e)
{
	struct inode *dir = e->directory;
	struct dentry *parent, *d = NULL;
	mutex_lock(&dir->lock);
	parent = directory_dentry(dir);
	if (parent)
		d = dentry_lookup_cached(parent, e->name, e->length);
	if (d && d->inode && !(d->flags & DENTRY_MADE_UP) && d->inode->super == dir->super) {
		e->child = d->inode;
		inode_get(e->child);
	}
	if (e->head.mask & NAME_EVENTS) {
		e->own = fs_own_match(e->connection, e->head.nodeid, e->name, e->length, e->head.mask);
		fs_attributes_stale(dir);
		if (!e->own && e->head.mask & (IN_CREATE | IN_MOVED_TO))
			names_step(dir);
		if (d)
			entry_take_back(e, d);
	} else if (e->child) {
		e->own = child_is_ours(e->child);
		fs_attributes_stale(e->child);
	}
	mutex_unlock(&dir->lock);
	dentry_put(d);
	dentry_put(parent);
}

// Both halves of a rename come one after the other and carry the host's cookie.
static uint32_t cookie_of(const struct report *e)
{
	static uint32_t hosts, ours; // the task's only
	if (!(e->head.mask & (IN_MOVED_FROM | IN_MOVED_TO)))
		return 0;
	if (hosts != e->head.cookie || !ours) {
		hosts = e->head.cookie;
		ours = fsnotify_cookie();
	}
	return ours;
}

// The second half of a rename whose first was in the same directory.
static bool renamed_within(const struct report *e)
{
	static struct broker_event from; // the task's only
	if (e->head.mask & IN_MOVED_FROM)
		from = e->head;
	return e->head.mask & IN_MOVED_TO && e->head.cookie == from.cookie && e->head.grant == from.grant &&
	       e->head.nodeid == from.nodeid;
}

static void programs_tell(struct report *e)
{
	uint32_t mask = e->head.mask & (REPORTED | IN_ISDIR);
	uint32_t cookie = cookie_of(e);
	bool within = renamed_within(e);
	if (e->own || !(mask & REPORTED))
		return;
	fsnotify_name(e->directory, mask, cookie, e->name);
	if (within)
		fsnotify_name(e->directory, FSNOTIFY_RENAMED, cookie, e->name);
	if (e->child && !(mask & NAME_EVENTS))
		fsnotify(e->child, NULL, mask & ~IN_ISDIR);
}

static void directory_take(struct report *e)
{
	struct inode *dir = e->directory;
	fs_attributes_stale(dir);
	if (e->head.mask & (IN_IGNORED | IN_UNMOUNT | IN_DELETE_SELF)) {
		mutex_lock(&dir->lock);
		watch_end(dir);
		mutex_unlock(&dir->lock);
	} else if (e->head.mask & IN_ATTRIB && !child_is_ours(dir)) {
		fsnotify(dir, NULL, IN_ATTRIB);
	}
}

// Anything may have happened anywhere.
static void everything_take(void)
{
	spin_lock(&watch_lock);
	uint64_t from = last_serial;
	spin_unlock(&watch_lock);
	for (bool more = true; more;) {
		struct inode *dir = NULL;
		struct fs_watch *w;
		spin_lock(&watch_lock);
		list_for_each (w, &watches, node) {
			w->early |= !w->serial;
			if (!w->serial || w->serial > from)
				continue;
			w->names = w->serial = ++last_serial;
			if (!fs_inode_hold(w->directory->inode))
				continue;
			dir = w->directory->inode;
			break;
		}
		spin_unlock(&watch_lock);
		more = dir;
		if (!dir)
			break;
		mutex_lock(&dir->lock);
		entries_unbless(dir);
		mutex_unlock(&dir->lock);
		fs_inode_unhold(dir);
	}
	fsnotify_overflow();
}

// The mounted tree of a connection, held; NULL.
static struct super *super_get(struct fs_connection *c)
{
	spin_lock(&c->lock);
	struct super *s = c->super;
	if (s && !refcount_get_unless_zero(&s->refs))
		s = NULL;
	spin_unlock(&c->lock);
	return s;
}

static void report_take(struct report *e)
{
	if (e->head.mask & IN_Q_OVERFLOW) {
		everything_take();
		return;
	}
	e->connection = broker_connection(e->head.grant);
	struct super *s = e->connection ? super_get(e->connection) : NULL;
	if (!s)
		return;
	e->directory = inode_find(s, e->head.nodeid);
	if (e->directory && inode_is_dir(e->directory)) {
		serial_step(e->directory);
		if (e->length) {
			name_take(e);
			programs_tell(e);
		} else {
			directory_take(e);
		}
		inode_put(e->child);
	}
	inode_put(e->directory);
	super_put(s);
}

// The next report of a message. False: there is none, or no sense in the rest.
static bool report_next(const char *message, size_t size, size_t *at, struct report *e)
{
	size_t left = size - *at;
	if (left < sizeof(e->head))
		return false;
	memcpy(&e->head, message + *at, sizeof(e->head));
	e->length = e->head.name_bytes;
	if (e->length > NAME_MAX_BYTES || e->length > left - sizeof(e->head))
		return false;
	memcpy(e->name, message + *at + sizeof(e->head), e->length);
	e->name[e->length] = 0;
	e->child = e->directory = NULL;
	e->own = false;
	*at += sizeof(e->head) + e->length;
	return !memchr(e->name, 0, e->length) && !memchr(e->name, '/', e->length);
}

void broker_reports_take(const char *message, size_t size)
{
	struct report *e = kalloc(sizeof(*e));
	size_t at = 0;
	if (!e) {
		everything_take();
		return;
	}
	while (report_next(message, size, &at, e))
		report_take(e);
	kfree(e);
	if (at != size) // a report we could not read may have said anything
		everything_take();
}

static void watches_give_up(void)
{
	__atomic_store_n(&deaf, true, __ATOMIC_RELEASE);
	for (;;) {
		struct inode *dir = NULL;
		struct fs_watch *w;
		spin_lock(&watch_lock);
		list_for_each (w, &watches, node)
			if (fs_inode_hold(w->directory->inode)) {
				dir = w->directory->inode;
				break;
			}
		spin_unlock(&watch_lock);
		if (!dir)
			return;
		mutex_lock(&dir->lock);
		watch_end(dir);
		mutex_unlock(&dir->lock);
		fs_inode_unhold(dir);
	}
}

static void listen(void *unused)
{
	size_t capacity = PAGE_SIZE << BUFFER_ORDER;
	struct page *buffer = page_alloc(BUFFER_ORDER, 0);
	struct iovec v = { buffer ? page_address(buffer) : NULL, capacity };
	(void)unused;
	for (long n = 1; buffer && n > 0;) {
		n = port_message_receive(port_host_events(), &v, 1, NULL, NULL);
		if (n == -EINTR)
			n = 1;
		else if (n == (long)capacity) // more than that, cut off
			everything_take();
		else if (n > 0)
			broker_reports_take(v.iov_base, (size_t)n);
	}
	if (buffer)
		page_put(buffer);
	klog("broker: no more word of changes on the host");
	watches_give_up();
}

static void listen_start(void)
{
	if (port_host_events() < 0 || is_err(kernel_task_create("broker-events", listen, NULL)))
		deaf = true;
}
KERNEL_INIT(3, listen_start);
