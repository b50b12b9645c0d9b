// SPDX-License-Identifier: Apache-2.0
// Reading directories: getdents(2) over READDIR and READDIRPLUS.
//
// READDIRPLUS answers with names and their inodes: each entry becomes a dentry at once, and the stat that follows every name in ls or
// tar costs no message. It is asked for at the start of a directory, and later on if names of it are being looked up.
// An answer is kept with the open directory and given out as the program takes it. The VFS holds the directory's lock.
//
// The broker opens a directory and reads it in one message, and if that was all, nothing stays open (BROKER_READ_DIRECTORY): there
// opening asks nothing yet. Nor does reading where all names are known already (names.c).
#include "fs.h"

#include "abi/broker.h"
#include "kernel/log.h"
#include "kernel/slab.h"
#include "kernel/task.h"
#include "lib/string.h"

struct fs_open_dir {              // file.private; guarded by the directory's lock
	struct fs_handle *handle; // NULL: not open at the server
	struct page *buffer;      // device memory with the answer, or NULL
	size_t capacity, size, at;
	loff_t position; // of the entry at `at`
	bool plus, filled, ended;
	bool last;   // nothing comes after what the buffer holds
	bool listed; // from what was known (names.c): the buffer is kept, since positions are places in it
	bool exact;  // only a name that is there, letter by letter, is there (BROKER_FOPEN_EXACT)
};

static int opendir_call(struct inode *i, const struct fuse_open_in *in, struct fuse_opened *o)
{
	struct fs_connection *c = fs_connection_of(i);
	struct fs_request *r = fs_request_get(c, FUSE_OPENDIR, fs_node(i));
	if (is_err(r))
		return (int)ptr_err(r);
	fs_arg(r, in, sizeof(*in));
	fs_reply_room(r, sizeof(struct fuse_open_out));
	int error = fs_call(r);
	if (error == -ENOSYS && c->parameters.flags & FUSE_NO_OPENDIR_SUPPORT) {
		*o = (struct fuse_opened){ 0, 0 };
		error = 0;
	} else if (!error) {
		error = fuse_decode_opened(r->reply, r->reply_bytes, o);
	}
	fs_request_put(r);
	return error;
}

static int handle_need(struct inode *i, struct file *f, struct fs_open_dir *dir)
{
	struct fuse_open_in in = { .flags = f->flags & O_ACCMODE };
	struct fuse_opened o;
	if (dir->handle)
		return 0;
	int error = opendir_call(i, &in, &o);
	if (error)
		return error;
	dir->handle = fs_handle_create(fs_connection_of(i), fs_node(i), &o, in.flags, true, -1);
	return dir->handle ? 0 : -ENOMEM;
}

static bool reads_at_once(struct fs_connection *c) { return PORT_HOST && fs_supports(c, BROKER_READ_DIRECTORY); }

static int fs_dir_open(struct inode *i, struct file *f)
{
	struct fs_open_dir *dir = kalloc(sizeof(*dir));
	if (!dir)
		return -ENOMEM;
	int error = reads_at_once(fs_connection_of(i)) ? 0 : handle_need(i, f, dir);
	if (error) {
		kfree(dir);
		return error;
	}
	f->private = dir;
	return 0;
}

static void buffer_free(struct fs_open_dir *dir)
{
	if (dir->buffer)
		page_put(dir->buffer);
	dir->buffer = NULL;
	dir->filled = dir->listed = false;
}

static void fs_dir_release(struct file *f)
{
	struct fs_open_dir *dir = f->private;
	buffer_free(dir);
	fs_handle_put(fs_connection_of(f->inode), dir->handle, NULL);
	kfree(dir);
}

static bool buffer_allocate(struct fs_open_dir *dir)
{
	for (unsigned order = FS_LISTING_ORDER; !dir->buffer; order = 0) {
		dir->buffer = page_alloc(order, FS_PAGE_FLAGS);
		dir->capacity = PAGE_SIZE << order;
		if (!order)
			break;
	}
	return dir->buffer;
}

// ---- entries become dentries ----

struct asking { // when and how entries were asked for
	uint64_t clock, mark, age_ns;
	struct fs_listing *listing; // they were asked for ahead: to be ended
};

static struct asking asking_now(struct inode *dir)
{
	return (struct asking){ .clock = fs_clock_now(fs_connection_of(dir)), .mark = fs_watch_mark(dir) };
}

// Attributes for the inode `d` names already. True: it is that inode.
static bool entry_refresh(struct dentry *d, const struct fuse_entry *e, uint64_t clock)
{
	struct inode *i = d->inode;
	if (!i || (d->flags & DENTRY_MADE_UP) || i->super->type != d->super->type || fs_node(i) != e->nodeid ||
	    (i->mode ^ e->attr.mode) & S_IFMT)
		return false;
	__atomic_add_fetch(&fs_inode_of(i)->forget.count, 1, __ATOMIC_RELAXED);
	fs_attributes_apply(i, &e->attr, e->attr_valid_ns, clock);
	d->expires_ns = fs_entry_expiry(i->super->private, e);
	return true;
}

bool fs_entry_link(struct dentry *parent, const char *name, size_t length, const struct fuse_entry *e, uint64_t clock,
		   uint64_t mark)
{
	struct super *s = parent->super;
	struct dentry *d = dentry_lookup_cached(parent, name, length);
	if (d) {
		bool same = entry_refresh(d, e, clock);
		if (same)
			fs_watch_bless(parent->inode, d, e, mark);
		bool busy = d->flags & (DENTRY_MADE_UP | DENTRY_MOUNTPOINT | DENTRY_HAS_MADE_UP);
		if (!same && !busy)
			dentry_drop(d);
		dentry_put(d);
		if (same)
			return true;
		if (busy) {
			fs_forget_node(s->private, e->nodeid, 1);
			return true;
		}
	}
	struct inode *i = fs_inode_get(s, parent->inode, e, clock);
	if (is_err(i))
		return false;
	d = fs_entry_fits(parent, i) ? dentry_create(parent, name, length) : NULL;
	if (!d) {
		inode_put(i);
		return false;
	}
	d->expires_ns = fs_entry_expiry(s->private, e);
	dentry_instantiate(d, i);
	fs_watch_bless(parent->inode, d, e, mark);
	dentry_hash(d);
	dentry_put(d);
	return true;
}

static bool name_is_dots(const struct fuse_directory_entry *e)
{
	return e->name[0] == '.' && (e->name_length == 1 || (e->name_length == 2 && e->name[1] == '.'));
}

// What was valid for so long when it was asked for.
static void entry_age(struct fuse_entry *e, uint64_t age_ns)
{
	e->entry_valid_ns -= min(age_ns, e->entry_valid_ns);
	e->attr_valid_ns -= min(age_ns, e->attr_valid_ns);
}

// *end: where the next message begins. False: not all of them are cached now.
static bool entries_link(struct dentry *parent, struct fs_open_dir *dir, const struct asking *a, loff_t *end)
{
	struct fuse_directory_entry *e = kalloc(sizeof(*e));
	size_t at = 0;
	bool all = e;
	int more = 0;
	while (e && (more = fuse_decode_dirent(page_address(dir->buffer), dir->size, &at, true, e)) > 0) {
		*end = e->next_offset;
		entry_age(&e->entry, a->age_ns);
		if (e->has_entry)
			all &= fs_entry_link(parent, e->name, e->name_length, &e->entry, a->clock, a->mark);
		else
			all &= name_is_dots(e);
	}
	kfree(e);
	return all && !more;
}

// ---- asking ----

// All names of the directory `d` are about to be cached: should one go meanwhile, `complete` does not stay.
static void names_begin(struct dentry *d) { __atomic_store_n(&d->complete, true, __ATOMIC_SEQ_CST); }

// They are.
static void names_end(struct inode *dir, uint64_t serial)
{
	if (fs_watch_names(dir) == serial)
		fs_inode_of(dir)->names_serial = serial;
}

static bool plus_is_wanted(struct fs_connection *c, struct fs_inode *fi, loff_t position)
{
	if (!(c->parameters.flags & FUSE_DO_READDIRPLUS) || !fs_supports(c, FUSE_READDIRPLUS))
		return false;
	bool wanted = fi->plus_wanted || !position || !(c->parameters.flags & FUSE_READDIRPLUS_AUTO);
	fi->plus_wanted = false;
	return wanted;
}

// Sends `r`, which asks for entries, and takes in those it brings behind `head` bytes of answer.
static int entries_call(struct fs_open_dir *dir, struct fs_request *r, size_t head, void *head_out)
{
	fs_reply_room(r, (uint32_t)head);
	fs_payload(r, page_to_frame(dir->buffer), (uint32_t)dir->capacity, false);
	int error = fs_call(r);
	if (!error && r->reply_bytes < head)
		error = -EIO;
	if (!error && head)
		memcpy(head_out, r->reply, head);
	dir->size = error ? 0 : min(r->reply_bytes - head, dir->capacity);
	fs_request_put(r);
	return error;
}

static int entries_read(struct inode *i, struct fs_open_dir *dir, loff_t position)
{
	struct fuse_read_in in = { .fh = dir->handle->fh,
				   .offset = (uint64_t)position,
				   .size = (uint32_t)dir->capacity };
	struct fs_request *r =
		fs_request_get(fs_connection_of(i), dir->plus ? FUSE_READDIRPLUS : FUSE_READDIR, fs_node(i));
	if (is_err(r))
		return (int)ptr_err(r);
	fs_arg(r, &in, sizeof(in));
	int error = entries_call(dir, r, 0, NULL);
	dir->last = !error && !dir->size;
	return error;
}

// BROKER_READ_DIRECTORY: from the start, whatever was open. `flags`: BROKER_READ_*.
static int read_at_once_call(struct inode *i, struct fs_open_dir *dir, uint32_t flags, struct fuse_open_out *head)
{
	struct fuse_read_in in = { .size = (uint32_t)(dir->capacity + sizeof(struct fuse_open_out)),
				   .read_flags = flags };
	struct fs_request *r = fs_request_get(fs_connection_of(i), BROKER_READ_DIRECTORY, fs_node(i));
	if (is_err(r))
		return (int)ptr_err(r);
	fs_arg(r, &in, sizeof(in));
	return entries_call(dir, r, sizeof(*head), head);
}

// It was asked for ahead, and the answer is here.
static bool listing_use(struct inode *i, struct fs_open_dir *dir, struct asking *a, struct fuse_open_out *head)
{
	uint64_t mark;
	struct fs_listing *l = PORT_HOST ? fs_listing_take(i, &mark) : NULL;
	if (!l)
		return false;
	page_put(dir->buffer);
	dir->buffer = l->buffer;
	l->buffer = NULL;
	dir->capacity = FS_LISTING_BYTES;
	dir->size = l->size;
	*head = l->head;
	*a = (struct asking){ l->clock, mark, clock_monotonic_ns() - l->asked_ns, l };
	return true;
}

// True: files of the directory came along.
static bool asking_end(struct asking *a) { return PORT_HOST && a->listing && fs_listing_end(a->listing); }

// ---- what comes next ----
//
// Entries of a directory were read: what comes after it is asked for before they become dentries, which takes as long as the server needs
// for the next directory. Not where a walk may go on to one of these entries, nor for files of the directory itself.

struct further {
	bool watch; // the directory was to be watched
	bool looked, walking;
};

static bool holds_directories(const struct fs_open_dir *dir)
{
	struct fuse_directory_entry *e = kalloc(sizeof(*e));
	size_t at = 0;
	bool found = !e;
	while (!found && fuse_decode_dirent(page_address(dir->buffer), dir->size, &at, true, e) > 0)
		found = e->has_entry && (e->entry.attr.mode & S_IFMT) == S_IFDIR;
	kfree(e);
	return found;
}

static void walk_further(struct further *f, struct inode *dir, struct dentry *d)
{
	f->looked = true;
	f->walking = fs_walk_on(dir, d, f->watch);
}

static void look_further_early(struct further *f, struct inode *dir, struct dentry *d, const struct fs_open_dir *od)
{
	if (PORT_HOST && od->plus && od->last && !holds_directories(od))
		walk_further(f, dir, d);
}

// They are dentries now.
static void look_further(struct further *f, struct inode *dir, struct dentry *d, bool files_came)
{
	if (!f->looked)
		walk_further(f, dir, d);
	if (!f->walking && !files_came)
		fs_open_ahead(dir, d);
}

// With BROKER_READ_WATCH the directory is watched from now on, if there is room. `a` is to be ended, also after an error.
static int entries_read_at_once(struct inode *i, struct fs_open_dir *dir, uint32_t flags, struct asking *a)
{
	struct fs_connection *c = fs_connection_of(i);
	struct fuse_open_out head = { 0 };
	if (listing_use(i, dir, a, &head)) {
		flags = 0;
	} else {
		struct fs_watch *w = flags & BROKER_READ_WATCH ? fs_watch_begin(i) : NULL;
		*a = asking_now(i);
		int error = read_at_once_call(i, dir, w ? flags : flags & ~BROKER_READ_WATCH, &head);
		if (w)
			a->mark = fs_watch_heard(i, w, error ? error : -(int)min(head.padding, 4095u),
						 head.open_flags & BROKER_FOPEN_COMPLETE);
		if (error)
			return error;
	}
	struct fuse_opened o = { head.fh, head.open_flags };
	fs_handle_put(c, dir->handle, NULL);
	dir->handle = NULL;
	dir->plus = !(flags & BROKER_READ_NAMES);
	dir->last = head.fh == FS_NO_HANDLE;
	dir->exact = head.open_flags & BROKER_FOPEN_EXACT;
	if (dir->last)
		return 0;
	dir->handle = fs_handle_create(c, fs_node(i), &o, 0, true, -1);
	return dir->handle ? 0 : -ENOMEM;
}

// ---- young cells ----
//
// A small program asks for little, and the directories it looks into are large ones: /usr/lib, /etc. So a cell's first questions make it read
// only what surely pays, and start no watches: one costs as much as a question. Who lists a directory then gets its names; their
// attributes cost the broker some 2 us each, and python3, which lists where it may import from, asks for a few. What is not watched is
// believed for a shorter time instead (fs_deadline()), and watched when it is asked for again after that.

#define REQUESTS_FIRST 128u // what starting such a program takes, and some more

bool fs_cell_is_young(void)
{
	uint64_t requests = 0;
	for (struct fs_connection *c = fs_connections(); c && requests < REQUESTS_FIRST; c = c->next)
		requests += __atomic_load_n(&c->next_unique, __ATOMIC_RELAXED) / 2;
	return requests < REQUESTS_FIRST;
}

static bool names_will_do(const struct fs_connection *c) { return !c->names_credit && fs_cell_is_young(); }

// ---- what is known ----

// The entries from `position` on, without asking. False: that would not do.
static bool dir_list(struct file *f, struct fs_open_dir *dir, loff_t position)
{
	struct inode *i = f->inode;
	struct dentry *d = f->path.dentry;
	if (!position) {
		buffer_free(dir);
		size_t size = fs_names_are_known(i, d) ? fs_names_list(i, d, NULL, PAGE_SIZE << FS_LISTING_ORDER) : 0;
		unsigned order = 0;
		while (PAGE_SIZE << order < size)
			order++;
		dir->buffer = size ? page_alloc(order, FS_PAGE_FLAGS) : NULL;
		if (!dir->buffer)
			return false;
		dir->capacity = PAGE_SIZE << order;
		dir->size = fs_names_list(i, d, page_address(dir->buffer), dir->capacity);
		dir->listed = dir->size;
	}
	if (!dir->listed)
		return false;
	dir->at = fs_names_skip(page_address(dir->buffer), dir->size, position);
	dir->position = position;
	dir->plus = false;
	dir->filled = dir->last = true;
	dir->ended = dir->at == dir->size;
	return true;
}

#define SMALL_BYTES 8192u // of a directory that is no great work

// Who lists a small directory again will list it once more: from now on it is watched, and then needs no asking.
static uint32_t listing_flags(struct inode *i)
{
	const struct fs_inode *fi = fs_inode_of(i);
	if (names_will_do(fi->connection))
		return BROKER_READ_NAMES;
	return fi->listed && i->data.size_bytes <= SMALL_BYTES && !fs_cell_is_young() ? BROKER_READ_WATCH : 0;
}

// Fetches the entries from `position` on.
static int dir_fetch(struct file *f, struct fs_open_dir *dir, loff_t position)
{
	struct inode *i = f->inode;
	struct fs_connection *c = fs_connection_of(i);
	dir->filled = false;
	if (PORT_HOST && dir_list(f, dir, position))
		return 0;
	if (!buffer_allocate(dir))
		return -ENOMEM;
	struct asking a = asking_now(i);
	uint64_t names = PORT_HOST && !position ? fs_watch_names(i) : 0;
	uint32_t flags = PORT_HOST && !position ? listing_flags(i) : 0;
	loff_t end;
	int error = !position && reads_at_once(c) ? entries_read_at_once(i, dir, flags, &a) : -ENOSYS;
	if (error == -ENOSYS) {
		dir->plus = plus_is_wanted(c, fs_inode_of(i), position);
		error = handle_need(i, f, dir);
		if (!error)
			error = entries_read(i, dir, position);
	}
	if (error) {
		asking_end(&a);
		return error;
	}
	dir->at = 0;
	dir->position = position;
	dir->filled = true;
	dir->ended = !dir->size;
	if ((a.listing || flags & BROKER_READ_WATCH) && a.mark)
		names = fs_watch_names(i);
	fs_inode_of(i)->listed = dir->plus;
	if (names && dir->plus)
		names_begin(f->path.dentry);
	struct further next = { .watch = flags & BROKER_READ_WATCH };
	look_further_early(&next, i, f->path.dentry, dir);
	bool all = dir->plus && entries_link(f->path.dentry, dir, &a, &end);
	if (names && all && dir->last && dir->exact)
		names_end(i, names);
	bool files = asking_end(&a);
	if (PORT_HOST && all)
		look_further(&next, i, f->path.dentry, files);
	return 0;
}

// ---- looking ahead ----
//
// Each name looked up costs a message to the server and back; all names of a directory with their attributes cost one for some
// hundreds. So once a few have been asked for one by one, more of them the larger the directory is, all are read, and those of the next
// few small directories when the first is asked for: who goes through a tree will ask for more. The directory is watched: what is not
// among the names is not there, and the server need not be asked for that either. In a young cell more has to be asked for first, and
// there is no watch.

#define ASKED_MIN               3u
#define ASKED_SHARE_BYTES       2048u // of the directory's own size, for each name that was asked for
#define ASKED_MIN_YOUNG         16u
#define ASKED_SHARE_BYTES_YOUNG 256u
#define NAMES_QUIET_NS          NSEC_PER_SEC
#define NAMES_CREDIT            32u

bool fs_names_are_known(struct inode *dir, struct dentry *d)
{
	uint64_t serial = fs_inode_of(dir)->names_serial;
	return serial && __atomic_load_n(&d->complete, __ATOMIC_RELAXED) && fs_watch_names(dir) == serial;
}

static bool ahead_pays(struct inode *dir, struct dentry *d)
{
	struct fs_inode *fi = fs_inode_of(dir);
	struct fs_connection *c = fi->connection;
	if (!reads_at_once(c) || fs_names_are_known(dir, d))
		return false;
	uint32_t asked = ++fi->names_asked;
	if (clock_monotonic_ns() < fi->names_quiet_ns)
		return false;
	const bool young = fs_cell_is_young();
	if (asked >= (young ? ASKED_MIN_YOUNG : ASKED_MIN) &&
	    asked >= dir->data.size_bytes / (young ? ASKED_SHARE_BYTES_YOUNG : ASKED_SHARE_BYTES)) {
		c->names_credit = NAMES_CREDIT;
		return true;
	}
	if (!c->names_credit || dir->data.size_bytes > SMALL_BYTES)
		return false;
	c->names_credit--;
	return true;
}

// All names of the directory `d`, whose inode is `dir`.
static int names_read(struct inode *dir, struct dentry *d, struct fs_open_dir *od)
{
	struct asking a = { 0 };
	names_begin(d);
	od->plus = true;
	bool watch = !fs_cell_is_young();
	int error = entries_read_at_once(dir, od, watch ? BROKER_READ_WATCH : 0, &a);
	uint64_t names = a.mark ? fs_watch_names(dir) : 0;
	loff_t position = 0;
	struct further next = { .watch = watch };
	if (!error)
		look_further_early(&next, dir, d, od);
	bool all = !error && entries_link(d, od, &a, &position);
	bool files = asking_end(&a);
	while (!error && !od->last) {
		a = asking_now(dir);
		error = entries_read(dir, od, position);
		if (!error)
			all &= entries_link(d, od, &a, &position);
	}
	if (!error && all && names && od->exact)
		names_end(dir, names);
	if (!error)
		look_further(&next, dir, d, files);
	return error;
}

bool fs_names_ahead(struct inode *dir, struct dentry *d)
{
	struct fs_inode *fi = fs_inode_of(dir);
	bool foreseen = fs_listing_is_of(dir);
	if (foreseen)
		fi->connection->names_credit = NAMES_CREDIT;
	if (!foreseen && !ahead_pays(dir, d))
		return false;
	struct fs_open_dir *od = kalloc(sizeof(*od));
	if (!od || !buffer_allocate(od)) {
		kfree(od);
		return false;
	}
	int error = names_read(dir, d, od);
	fi->names_asked = 0;
	fi->names_quiet_ns = clock_monotonic_ns() + NAMES_QUIET_NS;
	buffer_free(od);
	fs_handle_put(fi->connection, od->handle, NULL);
	kfree(od);
	return !error;
}

// Gives out what the buffer holds. 1: the program's buffer is full; 0: ours is empty.
static int dir_give(struct fs_open_dir *dir, struct dir_context *context, struct fuse_directory_entry *e)
{
	for (;;) {
		size_t before = dir->at;
		int more = fuse_decode_dirent(page_address(dir->buffer), dir->size, &dir->at, dir->plus, e);
		if (more <= 0)
			return more;
		unsigned type = e->has_entry ? e->entry.attr.mode >> 12 : e->type;
		uint64_t ino = e->has_entry ? e->entry.attr.ino : e->ino;
		if (!context->emit(context, e->name, e->name_length, e->next_offset, ino, type)) {
			dir->at = before;
			return 1;
		}
		context->position = dir->position = e->next_offset;
	}
}

static int dir_iterate(struct file *f, struct fs_open_dir *dir, struct dir_context *context,
		       struct fuse_directory_entry *e)
{
	if (dir->position != context->position)
		dir->filled = dir->ended = dir->last = false; // lseek, rewinddir
	while (!dir->ended) {
		int result = dir->filled ? 0 : dir_fetch(f, dir, context->position);
		if (!result && !dir->ended)
			result = dir_give(dir, context, e);
		if (result)
			return min(result, 0);
		dir->filled = false;
		dir->ended |= dir->last;
	}
	if (!dir->listed)
		buffer_free(dir);
	return 0;
}

static int fs_dir_iterate(struct file *f, struct dir_context *context)
{
	struct fuse_directory_entry *e = kalloc(sizeof(*e));
	if (!e)
		return -ENOMEM;
	int error = dir_iterate(f, f->private, context, e);
	kfree(e);
	return error;
}

static int fs_dir_fsync(struct file *f, loff_t start, loff_t end, bool data_only)
{
	struct inode *i = f->inode;
	struct fs_connection *c = fs_connection_of(i);
	struct fs_open_dir *dir = f->private;
	if (!fs_supports(c, FUSE_FSYNCDIR))
		return 0;
	mutex_lock(&i->lock);
	int error = handle_need(i, f, dir);
	struct fuse_fsync_in in = { .fh = error ? 0 : dir->handle->fh,
				    .fsync_flags = data_only ? FUSE_FSYNC_FDATASYNC : 0 };
	mutex_unlock(&i->lock);
	if (error)
		return error;
	struct fs_request *r = fs_request_get(c, FUSE_FSYNCDIR, fs_node(i));
	if (is_err(r))
		return (int)ptr_err(r);
	fs_arg(r, &in, sizeof(in));
	error = fs_call(r);
	fs_request_put(r);
	return error == -ENOSYS ? 0 : error;
}

static loff_t fs_dir_seek(struct file *f, loff_t offset, int whence)
{
	if (whence == 1)
		offset += f->position;
	if ((whence != 0 && whence != 1) || offset < 0)
		return -EINVAL;
	f->position = offset;
	f->readahead_start = 0; // the VFS's count of made-up entries given
	return offset;
}

const struct file_ops fs_dir_file_ops = {
	.open = fs_dir_open,
	.release = fs_dir_release,
	.seek = fs_dir_seek,
	.iterate = fs_dir_iterate,
	.fsync = fs_dir_fsync,
};
