// SPDX-License-Identifier: Apache-2.0
// Inside of the file-system client: connection, requests, inodes, handles, and which file does what. It speaks FUSE to a server
// over one of two transports, and keeps files' data in one of two ways; which, is settled when the kernel is linked:
//
//                 a device (virtio-fs): pages        a broker on the host (PORT_HOST): the host's descriptors
//   transport     device.c                           broker.c
//   files         file.c data.c times.c copy.c       passthrough.c
//   attributes    change.c                           freshness.c
//   coherence     timeouts                           watch.c own.c names.c
//   ahead                                            ahead.c walk.c
//   small reads                                      window.c
//
//   request.c  requests: memory, waiting, forgets    inode.c    attributes, inode life
//   mount.c    INIT, superblock, statfs, sync        handle.c   files open at the server, and those kept for the next open
//   dir.c      names: lookup, create, link, rename   readdir.c  directory reading
//   xattr.c    extended attributes                   codec.c    the messages
//
// A call goes: operation (dir.c and kin) -> fs_call() in request.c -> fs_transport_send(); back: fs_request_finish() -> the waiting
// task, or r->complete(). On a device that is an interrupt; the broker is asked and waited for within fs_transport_send().
//
// Lock order: inode.lock (VFS) -> page locks -> fs_inode.lock -> connection.lock; fs_queue.lock -> the virtqueue's. All but the first
// two are spinlocks; none is held over a call to the server. fs_inode.lock -> mobj.lock. watch.c has its own, leaves.
#pragma once

#include "codec.h"

#include "abi/broker.h"
#include "kernel/fs.h"
#include "kernel/page.h"
#include "kernel/refcount.h"
#include "kernel/spinlock.h"
#include "kernel/waitq.h"

#define FS_IO_PAGES   128u // of one READ or WRITE
#define FS_SEGMENTS   (FS_IO_PAGES + 4u)
#define FS_QUEUES_MAX 8u
#define FS_NO_HANDLE  UINT64_MAX // fuse_open_out.fh: nothing to release
#define FS_ROOT_NODE  1u         // FUSE_ROOT_ID

// Pages a server may read and write. Without devices any page will do.
#define FS_PAGE_FLAGS (PORT_HOST ? 0u : PAGE_DEVICE)

struct fs_batch;
struct fs_connection;
struct fs_handle;
struct fs_request;

enum fs_order { FS_ORDER_READ, FS_ORDER_NAME, FS_ORDER_INODE, FS_ORDER_COUNT }; // in which a directory is gone through

struct fs_connection { // a server of one tree; lives for ever. The transport's structure begins with it
	struct fs_connection *next;
	char tag[37];
	bool mounted; // atomic
	bool dead;    // atomic, one way: everything fails with -EIO

	// settled by INIT, constant while mounted
	struct super *super;
	struct fuse_parameters parameters;
	bool writeback;
	uint32_t io_bytes; // most of one READ or WRITE

	uint64_t unsupported;       // atomic bits by opcode: the server said ENOSYS
	uint64_t next_unique;       // atomic
	uint64_t attr_clock;        // atomic: ticks at local changes, orders them with answers
	uint64_t inode_count;       // atomic
	uint64_t negative_valid_ns; // how long "no such name" is believed; racy hint
	uint8_t ahead_order;        // in which files were opened last (ahead.c); racy hint
	uint8_t ahead_credit;       // so many directories get files opened ahead from the first on (ahead.c); racy hint
	struct fs_batch *batch;     // files being opened ahead (ahead.c); atomic
	// Directories read ahead (walk.c); racy hints.
	uint64_t walk_next[FS_ORDER_COUNT]; // nodes foreseen, in each order
	uint8_t walk_order;
	int8_t walk_right;      // so often in a row that was right; below 0: not tried for a while
	uint8_t names_credit;   // so many are read when the first name is asked for (readdir.c); racy hint
	uint64_t attr_valid_ns; // how long the server says attributes are good; racy hint

	struct spinlock lock; // guards what follows
	struct list idle;     // struct fs_request.node
	unsigned idle_count, request_count;
	struct list forgets; // struct fs_forget.node
	unsigned forget_count;
	struct fs_request *forget_request; // NULL while it is with the server
	struct list idle_handles;          // struct fs_inode.idle_node, least recently used first
	unsigned idle_handle_count;
	struct fs_listing *listing; // of a directory, under way (walk.c)
	struct list dirty;          // struct fs_inode.dirty_node: data or times the server does not have yet
	uint32_t holders;           // atomic: inodes held by fs_inode_hold(), for which unmounting waits
	struct waitq idle_wait;
};

// ---- the transport: device.c or broker.c ----

extern const char fs_transport_name[];                        // the type mount(2) and the boot record name
struct fs_connection *fs_connection_find(const char *source); // not mounted yet; NULL
struct fs_connection *fs_connections(void);                   // the first; the others by .next
void fs_connection_init(struct fs_connection *c);             // request.c; zeroed memory
void fs_connection_fail(struct fs_connection *c,
			const char *why); // the server lied: everything fails with -EIO. Any context
// Takes over the device's reference of `r`, ready to go, and sees that fs_request_finish() is called: later, or before the return.
void fs_transport_send(struct fs_request *r);
// broker.c: sends `r` and lets the answer come (taking over a reference), if that keeps nobody else waiting. False: it was not sent.
bool fs_transport_post(struct fs_request *r);
void fs_transport_collect(struct fs_request *r); // one that was posted is done when this returns
// Forgets worth a message of their own.
extern const unsigned fs_transport_forgets;

// ---- request.c ----

#define FS_ARENA_ARGS  1024u // of the arena's page: request, then answer, then the indirect table
#define FS_ARENA_REPLY 896u
#define FS_ARENA_TABLE (FS_ARENA_ARGS + FS_ARENA_REPLY)
static_assert(FS_ARENA_TABLE + FS_SEGMENTS * 16 <= 4096, "a request's arena is one page");
static_assert(FS_ARENA_TABLE % 16 == 0, "table alignment");

struct fs_segment {
	paddr_t address;
	uint32_t size;
};

struct fs_request {
	struct refcount refs; // who issued it, and the device while it has it
	struct list node;     // idle, or waiting for ring space
	struct fs_connection *connection;
	struct page *arena;
	struct fuse_in_header header;
	struct fuse_builder builder;
	uint32_t reply_room;        // payload bytes of the answer that go to the arena
	uint32_t payload_bytes_out; // sum of payload segments when they go out
	unsigned payload_count;
	bool payload_out, no_reply, split_head, forced;
	bool queued_urgent;
	bool wants_file;                         // the answer may bring a descriptor
	bool in_use;                             // what loses its name by this is
	struct fs_segment segments[FS_SEGMENTS]; // payload from [3] on; heads and answer are put around it

	// result
	bool done; // atomic; for waiters
	int error;
	const void *reply;  // payload in the arena: shared memory, decode once
	size_t reply_bytes; // with what went to payload segments
	int file;           // the host's descriptor that came with it, -1: none. fs_request_file() takes it
	int *files;         // the issuer's, for so many that may come instead; file_count: that came
	unsigned files_room, file_count;
	struct waitq wait;

	// asynchronous use: called once in any context, owns the issuer's reference
	void (*complete)(struct fs_request *r);
	struct fs_inode *inode;
	struct fs_handle *handle;
	uint64_t offset, clock;
	uint32_t bytes;
	unsigned page_count;
	struct page *pages[FS_IO_PAGES];
	struct page **bounce; // NULL, or a window page for each page that is not in the window
};

// A request to `nodeid`, empty. Sleeps rather than fails once the connection has some: err_ptr only on a fresh one. Task context.
struct fs_request *fs_request_get(struct fs_connection *c, uint32_t opcode, uint64_t nodeid);
struct fs_request *fs_request_try(struct fs_connection *c, uint32_t opcode, uint64_t nodeid); // NULL rather than sleep
void fs_request_put(struct fs_request *r);                                                    // any context
void fs_request_reuse(struct fs_request *r, uint32_t opcode, uint64_t nodeid); // a finished one, not shared
static inline void fs_arg(struct fs_request *r, const void *data, size_t size) { fuse_put(&r->builder, data, size); }
static inline void fs_name(struct fs_request *r, const struct dentry *d)
{
	fuse_put_name(&r->builder, d->name, d->name_length);
}
static inline void fs_reply_room(struct fs_request *r, size_t size) { r->reply_room = (uint32_t)size; }
// Device-visible memory that travels behind the arguments (out) or the answer's head. Neighbours are joined.
void fs_payload(struct fs_request *r, paddr_t address, uint32_t size, bool out);
// Sends and waits: 0 or -errno. -ENOSYS is remembered: see fs_supports().
int must_check fs_call(struct fs_request *r);
// Sends; r->complete is called when it is over, perhaps before the return.
void fs_send(struct fs_request *r);
// Sends and does not wait: fs_transport_collect() does, and is called for every request posted. False: not now, or never (!PORT_HOST).
bool must_check fs_post(struct fs_request *r);
void fs_request_finish(struct fs_request *r, size_t written, int transport_error); // for the transport
// The request in order, for the transport: what goes out, then what comes in. First segment; counts.
const struct fs_segment *fs_request_segments(struct fs_request *r, unsigned *out_count, unsigned *in_count);
static inline char *fs_request_arena(const struct fs_request *r) { return page_address(r->arena); }
static inline int fs_request_file(struct fs_request *r) // the caller's from now on; -1
{
	int file = r->file;
	r->file = -1;
	return file;
}
// A bit for each operation: FUSE's own are small numbers, the broker's (abi/broker.h) begin at 0x4001.
static inline uint64_t fs_opcode_bit(uint32_t opcode)
{
	return UINT64_C(1) << (opcode < 52 ? opcode : 52 + opcode % 12);
}
static inline bool fs_supports(struct fs_connection *c, uint32_t opcode)
{
	return !(__atomic_load_n(&c->unsupported, __ATOMIC_RELAXED) & fs_opcode_bit(opcode));
}

struct fs_forget {
	struct list node;
	uint64_t nodeid, count;
};
void fs_forget(struct fs_connection *c, struct fs_forget *f);                  // takes it over (kfree'd); any context
void fs_forget_node(struct fs_connection *c, uint64_t nodeid, uint64_t count); // allocates. Task context
void fs_forgets_flush(struct fs_connection *c);                                // sends what waits for company

// ---- inode.c ----

// A file opened at the server. Shared by all open files of an inode that can use it, and kept for a while after the last.
struct fs_handle {
	struct refcount refs;
	uint64_t nodeid, fh;
	uint32_t flags;      // O_* it was opened with
	uint32_t open_flags; // FOPEN_*
	int file;            // the host's descriptor, -1: none
	bool directory;
};

struct fs_inode {
	struct fs_forget forget; // nodeid; count = lookups the server counts (atomic)
	struct inode *inode;
	struct fs_connection *connection;

	struct spinlock lock;     // guards what follows, and the inode's attributes against each other
	uint64_t attr_expires_ns; // 0: ask again
	uint64_t attr_changed;    // connection.attr_clock at the last local change
	uint64_t ino, blocks;
	uint32_t block_size;
	dev_t dev;                         // of a submount; 0: the superblock's
	struct fs_handle *reader, *writer; // cached handles
	unsigned open_files, open_writers;
	struct list idle_node; // connection.idle_handles; connection.lock
	bool ctime_ours;       // something done here changes ctime: a new one does not mean that the host wrote
	bool read_granted;     // the server opened it for reading before: it will again
	bool attr_lasting;     // the server said of its attributes that it will tell when they change
	bool plus_wanted;      // names of this directory are looked up: READDIRPLUS pays
	// of a directory; racy: files opened ahead (ahead.c), at a time, the last time, and of these opened by a program
	int32_t opens_missed; // files that the server had to be asked for
	uint16_t ahead_window, ahead_given, ahead_used;
	uint8_t ahead_order, ahead_tries;
	bool ahead_dry; // nothing was left to open
	// of a directory; its inode.lock
	bool listed;             // with attributes, at its last listing; racy
	uint32_t names_asked;    // for so many names the server was asked since all were read
	uint64_t names_quiet_ns; // they are not read again before
	uint64_t
		names_serial; // those cached are all, if dentry.complete and fs_watch_names() is still this; 0: they are not

	// pages
	struct list dirty_node; // connection.dirty; connection.lock
	unsigned writes_in_flight;
	unsigned writers_active; // write(2) calls under way
	bool writes_blocked;     // a truncation waits for none in flight
	bool times_busy;         // times_request, or its successor, is with the server
	bool times_dirty;        // mtime is ours and the server does not know it
	uint64_t times_version;
	struct fs_request *times_request; // SETATTR ready to go when the last write is over
	struct waitq wait;                // writes_in_flight, writes_blocked

	// the host's descriptors
	bool no_windows;        // the server does not say that mappings show what reads do; racy
	bool opened_ahead;      // no program has asked for the idle handle yet
	uint64_t ours_until_ns; // changes that the host reports until then are our own; racy hint
	mode_t host_mode;       // what fstat(2) said last; the server may show others. lock
	uid_t host_uid;         // lock
	gid_t host_gid;         // lock
	bool host_known;        // lock
	struct fs_watch *watch; // of this directory, or NULL; watch.c, its lock
};

static inline struct fs_inode *fs_inode_of(const struct inode *i) { return i->private; }
static inline struct fs_connection *fs_connection_of(const struct inode *i) { return i->super->private; }
static inline uint64_t fs_node(const struct inode *i) { return fs_inode_of(i)->forget.nodeid; }
static inline uint64_t fs_clock_now(struct fs_connection *c)
{
	return __atomic_load_n(&c->attr_clock, __ATOMIC_ACQUIRE);
}
uint64_t fs_deadline(uint64_t valid_ns);            // from now; saturates; in a young cell soon
#define FS_LASTING_NS (3600 * UINT64_C(1000000000)) // so long is for ever, or until the server tells (PORT_HOST)
static inline bool fs_attributes_fresh(const struct fs_inode *fi)
{
	uint64_t expires = __atomic_load_n(&fi->attr_expires_ns, __ATOMIC_ACQUIRE);
	return expires == UINT64_MAX || (expires && port_time_ns() < expires);
}

// The inode of an entry, referenced; the entry's lookup is counted (or forgotten on error: err_ptr). clock: fs_clock_now() before the call.
struct inode *fs_inode_get(struct super *s, struct inode *dir, const struct fuse_entry *e, uint64_t clock);
// Believes attributes unless something local happened since `clock`. Picks up changes on the host.
void fs_attributes_apply(struct inode *i, const struct fuse_attributes *a, uint64_t valid_ns, uint64_t clock);
// Stores what is the server's; owned: but for size, mtime, ctime. fs_inode.lock held.
void fs_attributes_store(struct inode *i, const struct fuse_attributes *a, bool owned);
void fs_attributes_stale(struct inode *i);   // ask at the next use
void fs_attributes_changed(struct inode *i); // a local change: answers under way are out of date
int must_check fs_attributes_refresh(struct inode *i, struct fs_handle *h); // GETATTR
void fs_stat_fill(struct inode *i, struct kstat *out);                      // from what is known
void fs_identify(const struct inode *i, dev_t *dev, ino_t *ino);
// `our_clock`: "now" is the time in the change, not the server's.
void fs_setattr_encode(const struct attr_change *c, bool our_clock, struct fuse_setattr_in *in);
int must_check fs_setattr_call(struct inode *i, const struct fuse_setattr_in *in, struct fuse_attributes *a,
			       uint64_t *valid_ns);
void fs_evict_inode(struct inode *i);
// Holds an inode found on a list, under that list's lock; its superblock stays until unhold. False: it is going.
bool fs_inode_hold(struct inode *i);
void fs_inode_unhold(struct inode *i);

// ---- handle.c ----
struct fs_handle *fs_handle_get(struct inode *i,
				bool write); // for I/O: cached or freshly opened; err_ptr. Task context
struct fs_handle *fs_handle_cached(struct inode *i, bool write);   // or NULL: asks nobody
struct fs_handle *fs_handle_open(struct inode *i, uint32_t flags); // OPEN, not cached; err_ptr
bool fs_handle_fits(const struct fs_handle *h, bool write);
void fs_handle_put(struct fs_connection *c, struct fs_handle *h,
		   struct fs_request *r);                     // r: a finished request to reuse, or NULL
bool fs_handles_trim(struct fs_connection *c, unsigned keep); // releases idle handles beyond `keep`. True: some went
// Takes over the answer's descriptor, and the server's handle also on failure (NULL).
struct fs_handle *fs_handle_create(struct fs_connection *c, uint64_t nodeid, const struct fuse_opened *o,
				   uint32_t flags, bool directory, int file);
// As fs_handle_get(), to read, for an open(2) of `d`: files that are opened next, most likely, come along (ahead.c).
struct fs_handle *fs_handle_get_ahead(struct dentry *d);
void fs_open_ahead(struct inode *dir, struct dentry *d); // the names of directory `d` were read just now
void fs_ahead_stop(struct fs_connection *c);             // nothing is under way when this returns
void fs_file_keep_ahead(struct fs_connection *c, uint64_t node, int file); // takes `file` over; for who opens that node
void fs_files_given(struct fs_inode *dir, unsigned count);                 // all files of a directory were opened ahead
typedef bool fs_worth(const struct dentry *d, const struct super *s);
// Those of `parent`'s children that are worth it and follow `d`, if that is not NULL, at most `max`. dentry_tree_lock held. Count.
unsigned fs_followers(enum fs_order by, struct dentry *parent, struct dentry *d, fs_worth *worth, struct dentry **found,
		      unsigned max);
void fs_handle_remember(struct inode *i, struct fs_handle *h, bool write); // caches it, unless there is one
void fs_handle_prefer(struct inode *i, struct fs_handle *h);               // caches it, to read, instead of any other
void fs_handle_keep(struct inode *i, struct fs_handle *h); // nobody has the file open: for the next who does
// An open file begins and ends to use h. adopt takes h's reference over, release puts it. release: what the last writer leaves
// cached is returned, to be put.
void fs_handle_adopt(struct inode *i, struct file *f, struct fs_handle *h);
void fs_handle_release(struct file *f);
struct fs_handle *fs_writer_retire(struct fs_inode *fi);
static inline struct fs_handle *fs_file_handle(const struct file *f) { return f->private; }

// ---- walk.c: directories read before a program asks ----
#define FS_LISTING_ORDER (PORT_HOST ? 4u : 3u) // 64 or 32 KiB: some 350 or 150 entries with attributes
#define FS_LISTING_BYTES (4096u << FS_LISTING_ORDER)

struct fs_listing {
	struct fs_request *request;
	struct inode *dir;      // held
	struct fs_watch *watch; // NULL: it was not to be watched
	struct page *buffer;    // entries
	uint64_t asked_ns, clock;
	size_t head_bytes; // of the answer, before them
	// The answer.
	struct fuse_open_out head;
	size_t size; // of the entries
	unsigned file_count;
	uint64_t nodes[BROKER_DESCRIPTORS_MAX];
	int files[BROKER_DESCRIPTORS_MAX]; // the request's
};
bool fs_listing_is_of(struct inode *dir); // is that under way, or here?
// The answer, which the caller ends; its mark as fs_watch_heard() has it. The directory's lock is held. NULL: ask.
struct fs_listing *fs_listing_take(struct inode *dir, uint64_t *mark);
bool fs_listing_end(struct fs_listing *l); // its entries are linked: keeps the files. True: there were some
// The names of the directory `d` were asked for just now, and it was watched or not. True: the next one is under way.
bool fs_walk_on(struct inode *dir, struct dentry *d, bool watch);
void fs_walk_stop(struct fs_connection *c);

// ---- where the data is: pages (file.c, data.c, times.c, attr_pages.c) or the host (passthrough.c, attr_host.c) ----
extern const struct file_ops fs_file_ops;
extern const struct mobj_ops fs_mobj_ops;
int fs_getattr(struct inode *i, struct kstat *out);
int fs_setattr(struct inode *i, const struct attr_change *c);
bool fs_owns_data(struct inode *i);   // size and mtime are ours: written here, not there yet
void fs_data_retire(struct inode *i); // the inode goes: nothing uses it when this returns
int fs_sync_all(struct fs_connection *c);

// ---- pages only ----
void fs_times_touched(struct inode *i); // a local write set mtime
void fs_write_begin(struct inode *i);   // around write(2): data and times are ours from its first byte on
void fs_write_end(struct inode *i, bool written);
int must_check fs_times_flush(struct inode *i); // tells the server and waits
void fs_times_schedule(struct inode *i);        // tells it after the writes under way
void fs_times_writes_over(struct fs_inode *fi); // writes_in_flight fell to zero. Any context
void fs_dirty_add(struct fs_inode *fi);
// copy.c: at the server, for both files on one connection. Bytes; -EOPNOTSUPP: better done here.
ssize_t fs_copy_range(struct file *f_in, loff_t in_pos, struct file *f_out, loff_t out_pos, size_t size);
ssize_t fs_direct_read(struct file *f, struct iov_iter *to, loff_t *pos);
ssize_t fs_direct_write(struct file *f, struct iov_iter *from, loff_t *pos);
void fs_writes_block(struct fs_inode *fi); // returns when none is in flight
void fs_writes_unblock(struct fs_inode *fi);

// ---- the host's descriptors only ----
// What fstat(2) says of an open file, into the inode, and into `out` unless that is NULL. -ESTALE: the server must be asked (owner,
// mode); out is filled all the same.
int fs_host_refresh(struct inode *i, struct fs_handle *h, struct kstat *out);

// window.c: does a read through `f` go there? Else it may be counted.
bool fs_window_serves(struct file *f, const struct iov_iter *to);
bool fs_window_read(struct file *f, struct iov_iter *to, loff_t pos); // all of it; false: the host must be asked
void fs_window_missed(struct file *f, loff_t pos,
		      uint64_t started); // it was, from port_window_clock() on, with success
void fs_window_close(struct file *f);    // the current address space's

// ---- dir.c, readdir.c, xattr.c, mount.c ----
extern const struct inode_ops fs_dir_inode_ops, fs_file_inode_ops, fs_link_inode_ops, fs_special_inode_ops;
extern const struct file_ops fs_dir_file_ops;
extern const struct dentry_ops fs_dentry_ops;
int fs_entry_take(struct inode *dir, struct dentry *d, const struct fuse_entry *e,
		  uint64_t clock); // `d` becomes what the server says of its name
// readdir.c: the same of a name that may be cached or not, in directory `parent`, whose lock is held; asked for with `mark`. False: it is
// not cached. The lookup is counted or forgotten.
bool fs_entry_link(struct dentry *parent, const char *name, size_t length, const struct fuse_entry *e, uint64_t clock,
		   uint64_t mark);
void fs_link_keep(struct inode *i, const char *text);    // a symbolic link's, for every later walk: it never changes
int fs_path_lookup(struct inode *dir, struct dentry *d); // path.c: as inode_ops.lookup
// May the name be put below `parent`? Not a directory that is one of its own ancestors: walks and locks would go round in circles.
bool fs_entry_fits(struct dentry *parent, const struct inode *i);
uint64_t fs_entry_expiry(struct fs_connection *c,
			 const struct fuse_entry *e); // also learns how long negatives may live
void fs_link_dropped(struct inode *i, bool all);      // one of its names went
// readdir.c: reads all names of the directory `d` with their attributes, when looking up one after the other would cost more. Its lock is held.
// True: names became known.
bool fs_names_ahead(struct inode *dir, struct dentry *d);
bool fs_names_are_known(struct inode *dir, struct dentry *d); // a name that is not cached is not there
bool fs_cell_is_young(void);                                  // it has asked for little so far
// names.c: writes the names of the directory `d`, whose lock is held, as READDIR answers (to = NULL: only counts). Bytes; 0: not all are
// known, or more than `capacity`.
size_t fs_names_list(struct inode *dir, struct dentry *d, char *to, size_t capacity);
size_t fs_names_skip(const char *list, size_t size, uint64_t position); // where in a list so many entries end
static inline void fs_names_unsure(struct inode *dir) { fs_inode_of(dir)->names_serial = 0; }
ssize_t fs_getxattr(struct inode *i, const char *name, void *value, size_t size);
int fs_setxattr(struct inode *i, const char *name, const void *value, size_t size, int flags);
ssize_t fs_listxattr(struct inode *i, char *list, size_t size);
int fs_removexattr(struct inode *i, const char *name);

// ---- watch.c, own.c: the host tells of changes ---- (PORT_HOST; elsewhere nothing is watched and these vanish)
//
// Ask with a mark, and if it still holds when the answer is stored, the answer is good until the host says otherwise.
uint64_t fs_watch_mark_of(struct inode *dir);
bool fs_watch_holds(struct inode *dir, uint64_t mark);
// For who asks the server to watch along with something else (BROKER_READ_WATCH): begin says whether to (NULL: no), heard what came
// of it; the mark that answer was given with, 0: none or something was told meanwhile. The directory's lock is held by who hears, and from
// the one to the other unless changes made here are told apart otherwise (walk.c).
struct fs_watch *fs_watch_begin(struct inode *dir);
uint64_t fs_watch_heard(struct inode *dir, struct fs_watch *w, int error, bool complete);
void fs_watch_start(struct inode *dir, bool pin); // makes the server watch it, if there is room. Task context
void fs_watch_inode_gone(struct fs_inode *fi);
void fs_watched(struct inode *i, struct dentry *d); // inode_ops.watched
// A number that changes when the host adds names to the directory; 0: nobody would tell.
uint64_t fs_watch_names(struct inode *dir);
// What the cell itself is about to do, so that the host's report of it is not taken for news. end: it did not happen.
uint64_t fs_own_record(struct inode *dir, const char *name, size_t length, uint32_t mask);
void fs_own_cancel(uint64_t ticket);

void fs_watch_bless_attributes(struct inode *dir, struct inode *i, uint64_t mark);

static inline uint64_t fs_watch_mark(struct inode *dir) { return PORT_HOST ? fs_watch_mark_of(dir) : 0; }
static inline void fs_watch_want(struct inode *dir)
{
	if (PORT_HOST && !fs_inode_of(dir)->watch)
		fs_watch_start(dir, false);
}
// d and the attributes of its inode were just stored, as `e` said, asked for with `mark`: good from now on?
void fs_watch_bless_entry(struct inode *dir, struct dentry *d, const struct fuse_entry *e, uint64_t mark);
static inline void fs_watch_bless(struct inode *dir, struct dentry *d, const struct fuse_entry *e, uint64_t mark)
{
	if (PORT_HOST && mark && e->entry_valid_ns >= FS_LASTING_NS)
		fs_watch_bless_entry(dir, d, e, mark);
}
static inline uint64_t fs_own_begin(struct inode *dir, const struct dentry *d, uint32_t mask)
{
	return PORT_HOST && fs_inode_of(dir)->watch ? fs_own_record(dir, d->name, d->name_length, mask) : 0;
}
static inline void fs_own_end(uint64_t ticket, int error)
{
	if (PORT_HOST && ticket && error)
		fs_own_cancel(ticket);
}
