// SPDX-License-Identifier: Apache-2.0
// The virtual file system: superblocks, inodes, dentries, mounts, open files. Owner: kernel/vfs/.
//
// Lock order:
//   super.rename_lock (directory renames) -> inode.lock of directories (parent before child, else by address) -> inode.lock of files
//   -> dentry_tree_lock -> dentry.lock -> dentry hash bucket lock; mount_lock (rwsem) is taken before all of them, never held over
//   I/O; the mount hash has a spinlock of its own, a leaf.
// inode.lock is a mutex: directory contents, and writes, size and attributes of a file. Reads of a file do not take it.
#pragma once

#include <linux/fcntl.h>
#include <linux/stat.h>

#include "kernel/errno.h"
#include "kernel/mm.h"
#include "kernel/mutex.h"
#include "kernel/poll.h"
#include "kernel/refcount.h"
#include "kernel/types.h"

struct dentry;
struct file;
struct files;
struct file_lock;
struct inode;
struct mnt_namespace;
struct mount;
struct open_how;
struct statfs64_kernel;
struct statx;
struct socket;
struct super;
struct task;
struct user_namespace;

#define NAME_MAX_BYTES 255
#define PATH_MAX_BYTES 4096

struct path {
	struct mount *mount;
	struct dentry *dentry;
};

struct timestamp {
	int64_t seconds;
	uint32_t nanoseconds;
};
struct timestamp timestamp_now(void);

// ---- data in flight ----

// Where a read goes or a write comes from: the program's buffers or one kernel buffer. Copies advance it.
struct iov_segment {
	uint64_t address, size;
};
struct iov_iter {
	const struct iov_segment *segments; // user segments; NULL: kernel buffer
	unsigned segment_count;
	size_t segment_offset;
	char *kernel;              // kernel buffer, advances
	size_t count;              // bytes left in total
	struct iov_segment single; // storage of the one-segment case
	bool append;               // RWF_APPEND: a write goes to the end of the file
};
void iov_init_user(struct iov_iter *i, struct uptr buffer, size_t size);
void iov_init_kernel(struct iov_iter *i, void *buffer, size_t size);
// Copies up to `size` bytes; returns bytes copied: fewer only at a fault (or the end).
size_t iov_copy_to(struct iov_iter *to, const void *from, size_t size);
size_t iov_copy_from(void *to, struct iov_iter *from, size_t size);
size_t iov_zero(struct iov_iter *to, size_t size);
// The program's vector of `count` iovecs becomes *out; 0, -EINVAL, -EFAULT, -ENOMEM. Pair with iov_import_done() in every case.
struct iov_vector {
	struct iov_segment *segments;
	struct iov_segment few[8];
};
int iov_import(struct iov_vector *v, struct uptr user, size_t count, struct iov_iter *out);
void iov_import_done(struct iov_vector *v);
void iov_advance(struct iov_iter *i, size_t size);
void iov_revert(struct iov_iter *i, size_t size);
// Somebody who does not fault (another kernel) could not reach the program's memory at the front of `i`: makes some of it present.
// 0: try again; -EFAULT: there is nothing, or it may not be stored to. Task context, no lock.
int iov_fault_in(struct iov_iter *i, bool store);

// ---- inodes ----

struct kstat {
	uint64_t ino, size, blocks, nlink;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	dev_t dev, rdev;
	uint32_t block_size;
	struct timestamp atime, mtime, ctime, btime;
	bool has_btime;
};

#define ATTR_MODE      0x01u
#define ATTR_UID       0x02u
#define ATTR_GID       0x04u
#define ATTR_SIZE      0x08u
#define ATTR_ATIME     0x10u
#define ATTR_MTIME     0x20u
#define ATTR_CTIME     0x40u
#define ATTR_ATIME_NOW 0x80u
#define ATTR_MTIME_NOW 0x100u

struct attr_change {
	unsigned valid; // ATTR_*
	mode_t mode;
	uid_t uid;
	gid_t gid;
	loff_t size;
	struct timestamp atime, mtime, ctime;
	struct file *file; // ftruncate: the open file, or NULL
};

// In mknod, mkdir, symlink, link and create, `d` is a hashed negative dentry; success instantiates it. link, unlink, rmdir and rename are called
// with the lock of the other inode held too (the source of a link, the victim, a renamed non-directory). Dentries are moved
// and dropped by the caller afterwards; link counts and times are the file system's.
struct inode_ops {
	// Directories; `dir` locked. lookup: dentry_instantiate(d, inode or NULL) itself, or returns -errno. -ENOENT is not an error: instantiate NULL.
	int (*lookup)(struct inode *dir, struct dentry *d);
	// Optional: as lookup, for an open(2) with `flags` (O_*) that comes next: the file system may fetch what that needs as well. May it be
	// opened is not yet asked.
	int (*lookup_open)(struct inode *dir, struct dentry *d, int flags);
	// Optional: a name of `d`, a directory, that is not cached is looked up next. True: others were made known, and it perhaps too.
	bool (*look_ahead)(struct inode *dir, struct dentry *d);
	// Optional: create and open in one step (FUSE); f is to be set up. NULL: create, then open.
	int (*create)(struct inode *dir, struct dentry *d, mode_t mode, bool exclusive);
	// `d` is negative (hashed or not); on success it was instantiated and f is open as file_ops->open leaves it (ops, private, object).
	// f->inode and f->path are set by the caller afterwards. -ENOSYS: create, then open.
	int (*create_open)(struct inode *dir, struct dentry *d, struct file *f, mode_t mode);
	int (*mknod)(struct inode *dir, struct dentry *d, mode_t mode, dev_t rdev);
	int (*mkdir)(struct inode *dir, struct dentry *d, mode_t mode);
	int (*symlink)(struct inode *dir, struct dentry *d, const char *target);
	int (*link)(struct dentry *from, struct inode *dir, struct dentry *d);
	int (*unlink)(struct inode *dir, struct dentry *d);
	int (*rmdir)(struct inode *dir, struct dentry *d);
	int (*rename)(struct inode *from_dir, struct dentry *from, struct inode *to_dir, struct dentry *to,
		      unsigned flags);
	int (*tmpfile)(struct inode *dir, struct inode **out, mode_t mode);
	// Target of a symlink into buffer, NUL-terminated: length or -errno.
	ssize_t (*readlink)(struct inode *i, struct dentry *d, char *buffer, size_t size);
	// Magic link (/proc/self/fd/N, exe): jumps straight to a path, references taken. NULL: ordinary.
	// -ENOSYS: follow the text after all.
	int (*follow)(struct inode *i, struct dentry *d, struct path *out);
	int (*getattr)(struct inode *i, struct kstat *out); // NULL: from the inode's fields
	// Optional: device and number as getattr tells them, from what is known. Any context.
	void (*identify)(const struct inode *i, dev_t *dev, ino_t *ino);
	int (*setattr)(struct inode *i, const struct attr_change *c); // locked; NULL: only the fields
	int (*permission)(struct inode *i, unsigned mask); // NULL: mode bits. May end in generic_permission()
	ssize_t (*getxattr)(struct inode *i, const char *name, void *value, size_t size); // size 0: length only
	int (*setxattr)(struct inode *i, const char *name, const void *value, size_t size, int flags);
	ssize_t (*listxattr)(struct inode *i, char *list, size_t size);
	int (*removexattr)(struct inode *i, const char *name);
	// Optional: a program watches it now (by the name d): changes made elsewhere are to be told by fsnotify() from here on.
	void (*watched)(struct inode *i, struct dentry *d);
};

struct inode {
	struct refcount refs;
	const struct inode_ops *ops;
	const struct file_ops *file_ops; // for open
	struct super *super;
	ino_t ino;
	mode_t mode;    // type and permissions; lock
	uid_t uid;      // lock
	gid_t gid;      // lock
	uint32_t nlink; // lock
	dev_t rdev;
	struct timestamp atime, mtime, ctime, btime; // lock (atime: racy)
	struct mutex lock;
	struct mobj *object; // what reads, writes and maps: &data, or NULL
	struct mobj data;
	struct list hash_node; // super's inode hash
	struct list dentries;  // aliases; alias_lock
	struct spinlock alias_lock;
	struct list locks; // POSIX, OFD and flock locks; kernel/vfs/lock.c
	struct spinlock locks_lock;
	struct waitq *locks_wait;
	int32_t write_count;         // writers open (> 0), or executing/deny-write (< 0); atomic
	struct lease *leases;        // kernel/vfs/lease.c; locks_lock
	struct list locks_node;      // among those that have either
	int32_t read_count;          // who has it open for reading only; atomic
	struct pipe *pipe;           // FIFO
	struct socket *socket;       // bound AF_UNIX name; kernel/net/unix.c
	struct fsnotify_mark *marks; // who hears what happens; kernel/ipc/fsnotify.c
	uint64_t version;
	uint32_t state; // INODE_*; atomic
	const char *
		link; // symlink: its text when at hand, unchanged as long as the inode lives; else NULL and ops->readlink is asked
	void *private; // file system's
};
#define INODE_NEW          1u // being filled by inode_get_cached()'s caller
#define INODE_DEAD         2u // removed directory, or failed to fill
#define INODE_UNHASHED     4u
#define INODE_NOSUID_CLEAN 8u // a write has nothing to strip (S_ISUID, S_ISGID, capabilities); cleared by chmod
#define inode_is_dir(i)    (((i)->mode & S_IFMT) == S_IFDIR)
#define inode_is_reg(i)    (((i)->mode & S_IFMT) == S_IFREG)
#define inode_is_link(i)   (((i)->mode & S_IFMT) == S_IFLNK)

struct inode *inode_create(struct super *s, ino_t ino); // refs = 1, not hashed; NULL
// Finds inode `ino` of `s` in its cache (waits until it is ready), or creates it hashed with *is_new = true: the caller fills it, then says
// inode_ready(); with !good it leaves the cache and the caller still puts it. NULL: out of memory.
struct inode *inode_get_cached(struct super *s, ino_t ino, bool *is_new);
void inode_ready(struct inode *i, bool good);
struct inode *inode_find(struct super *s, ino_t ino); // in the cache and ready: a reference, or NULL. Does not sleep
static inline void inode_get(struct inode *i) { refcount_get(&i->refs); }
void inode_put(struct inode *i);
int inode_permission(struct inode *i, unsigned mask); // MAY_*; current fs credentials
#define MAY_EXEC  1u
#define MAY_WRITE 2u
#define MAY_READ  4u
ssize_t inode_readlink(struct dentry *d, char *buffer, size_t size); // the text of a symlink, as ops->readlink
int generic_permission(struct inode *i, unsigned mask);              // by mode bits and capabilities
int inode_getattr(struct inode *i, struct kstat *out);
void inode_identify(const struct inode *i, dev_t *dev, ino_t *ino); // st_dev and st_ino
void generic_getattr(struct inode *i, struct kstat *out);           // from the inode's fields
void generic_setattr(struct inode *i, const struct attr_change *c); // only the fields (not size); locked
// Owner, group and mode (set-group-ID directories) of a new inode in `dir`.
void inode_init_owner(struct inode *i, const struct inode *dir, mode_t mode);
// Executing and writing exclude each other: 0 or -ETXTBSY. inode_write_end() and inode_allow_write() undo.
int inode_write_begin(struct inode *i);
void inode_write_end(struct inode *i);
int inode_deny_write(struct inode *i);
void inode_allow_write(struct inode *i);
// F_SETLEASE, F_GETLEASE: a lease's type, F_RDLCK, F_WRLCK or F_UNLCK. Owner: kernel/vfs/lease.c.
int lease_set(struct file *f, int fd, uint64_t type);
int lease_get(struct file *f);
bool lease_end(struct file *f);   // false: it had none
extern uint32_t lease_break_time; // seconds; 0: as long as it takes
// The inode is opened or truncated by somebody: leases that conflict are broken, and waited for. The caller has counted itself in it.
// 0, -EWOULDBLOCK (not to wait), -ERESTARTSYS, -ENOLCK. Task context, no lock held.
int lease_break_slow(struct inode *i, bool write, bool wait);
static inline int lease_break(struct inode *i, bool write, bool wait)
{
	return unlikely(__atomic_load_n(&i->leases, __ATOMIC_RELAXED)) ? lease_break_slow(i, write, wait) : 0;
}
struct seq;
int locks_show(struct seq *s);                             // /proc/locks
int inode_setattr(struct inode *i, struct attr_change *c); // checks rights, takes the lock

// ---- dentries ----

struct dentry_ops {
	// Is the cached entry still right? 1 yes, 0 no (it is dropped and looked up again), -errno. May sleep. NULL: always.
	// Asked only once d->expires_ns (monotonic clock) has passed; 0 (the default): at every use.
	int (*revalidate)(struct dentry *d);
	void (*release)(struct dentry *d);
};

// A hashed dentry is referenced by the hash: with refs == 1 it is merely cached, and reclaimed least recently used first.
struct dentry {
	struct refcount refs;
	uint32_t flags;        // DENTRY_*; lock
	struct dentry *parent; // held (the root: itself, not held); changed by renames under lock and dentry_tree_lock
	struct inode *inode;   // NULL: negative
	const char *name;      // NUL-terminated; inline_name or kalloc
	uint32_t name_length, hash;
	struct dentry *hash_next, **hash_link; // bucket lock
	struct list child_node, children;      // hashed ones; dentry_tree_lock
	struct list alias_node;                // inode->alias_lock
	struct list lru;                       // dentry_tree_lock
	bool referenced;                       // used since the LRU last looked; racy
	bool complete; // for the file system: it set this when all names of the directory were below. dentry_tree_lock
	struct spinlock lock;
	struct super *super;
	const struct dentry_ops *ops;
	uint64_t expires_ns; // entry timeout, see dentry_ops
	uint64_t private;
	char inline_name[40];
};
#define DENTRY_MOUNTPOINT   1u
#define DENTRY_DISCONNECTED 2u // unhashed: unlinked or anonymous
#define DENTRY_PINNED \
	4u // not on the LRU: tmpfs, where the dentry tree is the directory (and holds a reference), and made-up mount points
#define DENTRY_HASHED      8u
#define DENTRY_MADE_UP     16u // a mount point that the file system does not have
#define DENTRY_HAS_MADE_UP 32u // a directory with such children: readdir shows them
extern struct spinlock
	dentry_tree_lock; // guards every parent and name, children lists and the LRU; taken before dentry.lock

static inline void dentry_get(struct dentry *d) { refcount_get(&d->refs); }
void dentry_put(struct dentry *d);
struct dentry *dentry_create(struct dentry *parent, const char *name, size_t length); // not hashed; NULL
void dentry_instantiate(struct dentry *d, struct inode *inode); // consumes the inode reference; NULL: negative
void dentry_hash(struct dentry *d);                             // the hash takes its own reference
// For file systems whose directories are the dentries: keeps `d` (a reference), moves it to the end of its parent's children. unpin undoes.
void dentry_pin(struct dentry *d);
void dentry_unpin(struct dentry *d);
// Unhash: later lookups ask the file system again. removed: the name is not there any more, for all that is known here.
void dentry_drop(struct dentry *d);
void dentry_drop_removed(struct dentry *d);
struct dentry *dentry_lookup_cached(struct dentry *parent, const char *name, size_t length); // reference or NULL
// Cached or looked up child; parent's inode lock taken as needed. err_ptr.
struct dentry *dentry_lookup(struct dentry *parent, const char *name, size_t length);
// The same with the parent's inode locked by the caller (create, unlink, rename). err_ptr.
struct dentry *dentry_lookup_locked(struct dentry *parent, const char *name, size_t length);
struct dentry *dentry_make_root(struct inode *inode); // consumes the inode reference also on failure (NULL)
// Gives `d` the name and parent of `to` (rename); `to` is unhashed. Both directories are locked.
void dentry_move(struct dentry *d, struct dentry *to);
void dentry_exchange(struct dentry *a, struct dentry *b);
// Frees up to `count` unused dentries (and with them inodes): memory pressure. Count freed. May sleep; no inode lock of an unused inode is held.
uint64_t dentry_shrink(uint64_t count);
struct dentry_stats {
	uint64_t dentries, unused, negative, inodes;
};
void dentry_stats_get(struct dentry_stats *out);

void path_get(const struct path *p);
void path_put(const struct path *p);

// ---- superblocks, types, mounts ----

struct super_ops {
	int (*statfs)(struct super *s, struct statfs64_kernel *out); // changes what is in *out; NULL: it has no blocks
	// Hands everything dirty to whoever keeps it; `stored`: and waits until that is as durable as it gets. 0 or -errno.
	int (*sync)(struct super *s, bool stored);
	void (*evict_inode)(struct inode *i); // last reference went: forget, free private; its pages are gone already
	void (*put_super)(struct super *s);
	void (*show_options)(struct super *s, char *buffer, size_t size);
};
struct statfs64_kernel {
	uint64_t type, block_size, blocks, blocks_free, blocks_available, files, files_free, name_max, fragment_size,
		flags, fsid;
};
struct super {
	struct refcount refs;
	const struct super_ops *ops;
	const struct fs_type *type;
	const struct dentry_ops *dentry_ops;
	dev_t dev;
	uint32_t flags; // SB_*: MS_RDONLY...
	uint32_t block_size;
	uint64_t max_file_bytes;
	uint64_t magic; // statfs f_type
	struct dentry *root;
	struct mutex rename_lock;
	struct spinlock hash_lock; // guards the table
	struct list *inode_hash;   // made on first use by inode_get_cached()
	unsigned inode_hash_size, inode_hash_count;
	struct list node;             // all superblocks
	ino_t next_ino;               // atomic
	struct user_namespace *owner; // of whoever mounted it first; a reference, NULL: the cell's first
	int sync_error;
	void *private;
};
#define SUPER_RDONLY         1u          // MS_RDONLY
#define SUPER_NOATIME        1024u       // MS_NOATIME: the file system, or its server, keeps access times
#define SUPER_NODEV          4u          // MS_NODEV: devices on it cannot be opened
#define SUPER_GRANTED_RDONLY 0x40000000u // the launcher granted it so: SUPER_RDONLY stays
#define SUPER_MAX_BYTES      INT64_MAX
struct fs_type {
	const char *name;
	uint32_t flags; // FS_*
	// Fills s (root, ops). `source`: device or tag; `options`: comma separated or NULL.
	int (*mount)(struct super *s, const char *source, const char *options);
	// Optional: fsconfig(2) asks about one of those options. 0, -ENOENT: there is no such, -EINVAL: not with that value (NULL: none given).
	int (*check_option)(const char *key, const char *value);
	// Optional: takes other options, or what it does not know of. 0 or -errno. Spinlocks only.
	int (*reconfigure)(struct super *s, const char *options);
	// Optional: the superblock that a mount by the current task shows, referenced; NULL: a new one.
	struct super *(*of_caller)(void);
	// Optional: whose CAP_SYS_ADMIN a mount takes, beside that over the mount namespace.
	struct user_namespace *(*owner)(void);
	void (*gone)(struct super *s); // optional: the last reference went
	struct fs_type *next;
};
#define FS_NODEV      1u
#define FS_USERNS     4u                  // may be mounted by the root of a user namespace
#define FS_DEVICES    16u                 // whose devices are its own
#define FS_ANY_OPTION 32u                 // takes options that it does not look at
#define FS_BIND_ANY   8u                  // its files may be bound though no mount has them
#define FS_SINGLE     2u                  // one superblock for all mounts (proc, sysfs, devpts)
void fs_type_register(struct fs_type *t); // level 2 or 3
struct super *super_create(
	struct fs_type *t); // a superblock without mount (or the one there is: FS_SINGLE); root not set yet. NULL
struct super *super_find(const struct fs_type *t, const void *private); // one with that ->private, referenced; NULL
void super_put(struct super *s);                                        // last: dentries, inodes, put_super

struct mount {
	struct refcount refs;
	struct super *super;
	struct dentry *root;
	struct mount *parent;      // mount_lock
	struct dentry *mountpoint; // mount_lock
	struct list children, child_node, hash_node;
	uint32_t flags;   // MS_*: MOUNT_FLAGS
	uint32_t writers; // files open for writing; atomic
	int id;
	// The rest: mount_lock, kernel/vfs/mount_tree.c.
	struct mnt_namespace *space; // it is in; NULL: none
	uint32_t locked_flags;       // that may not be taken away
	bool atime_locked;           // nor may those about access times change
	bool locked;                 // may not be taken off its mount point: it came from somebody who may more
	bool unbindable;
	int group;             // of its peers; 0: it is not shared
	struct list peer_node; // ring of peers
	struct mount *master;  // whom it hears changes from, or NULL
	struct list slaves, slave_node;
	// For the length of one operation.
	struct mount *copy, *spread, *place, *heard_from;
	uint64_t heard_mark;
	struct list heard_node, gone_node;
	bool heard_as_peer, going;
	struct path off; // what it lay on
	char source[64];
};
// Mounts at an absolute path (or the root when there is none yet). A missing mount point is made up: a directory that exists in the
// mount's view only. For the boot record. 0 or -errno.
int mount_at(const char *type, const char *source, const char *target, uint32_t flags, const char *options);
// Text of /proc/PID/mounts (0), mountinfo (1) and mountstats (2).
struct seq;
void super_sync_all(bool stored); // super_ops.sync of every superblock
void mounts_show(struct seq *s, struct task *of, int kind);
bool mount_may_suid(const struct mount *m); // do set-ID bits of files on it count for the current task?
int mount_statfs(const struct path *p, struct statfs64_kernel *out);
bool mount_is_readonly(const struct mount *m); // the mount or its superblock: EROFS

// ---- open files ----

struct dir_context {
	// Takes one entry; false: full, stop and do not advance. offset: position *after* this entry.
	bool (*emit)(struct dir_context *c, const char *name, size_t length, loff_t next_offset, ino_t ino,
		     unsigned type);
	loff_t position;
};
// Emits "." and ".." of the open directory `f` at positions 0 and 1. False: full.
bool dir_emit_dots(struct file *f, struct dir_context *c);

struct file_ops {
	int (*open)(struct inode *i, struct file *f); // NULL: fine. May replace f->ops.
	void (*release)(struct file *f);              // last reference
	int (*flush)(struct file *f);                 // each close(2)
	ssize_t (*read)(struct file *f, struct iov_iter *to, loff_t *pos);
	ssize_t (*write)(struct file *f, struct iov_iter *from,
			 loff_t *pos); // O_APPEND and limits are the caller's where inode is regular
	loff_t (*seek)(struct file *f, loff_t offset, int whence); // NULL: by inode size
	int (*iterate)(struct file *f, struct dir_context *c);
	unsigned (*poll)(struct file *f, struct poll_table *t); // NULL: always readable and writable
	long (*ioctl)(struct file *f, unsigned command, uint64_t argument);
	// Chooses the object of a new mapping: *object (reference), and maybe vma flags and the object's page. NULL: inode->object, or -ENODEV.
	int (*mmap)(struct file *f, uint64_t *page, uint64_t size, unsigned *vma_flags, struct mobj **object);
	int (*fsync)(struct file *f, loff_t start, loff_t end, bool data_only);
	long (*fallocate)(struct file *f, int mode, loff_t offset, loff_t size);
	// Copies between two regular files of one superblock without the data passing here. Bytes, or -EOPNOTSUPP: read and write.
	ssize_t (*copy_range)(struct file *in, loff_t in_pos, struct file *out, loff_t out_pos, size_t size);
	int (*lock)(struct file *f, int command, struct file_lock *l); // NULL: local
	void (*show_fdinfo)(struct file *f, char *buffer, size_t size);
	bool stream;         // no position: pread gives ESPIPE
	bool async;          // O_ASYNC has effect: poll names queues that live as long as the file
	bool poll_by_caller; // poll answers for whoever asks, and its queue may go before the file
};

// Who gets the signals of a file. fcntl(2); changes race with sending, as on Linux.
struct file_owner {
	int pid, type;      // F_OWNER_*; pid 0: nobody
	int signal;         // F_SETSIG; 0: SIGIO
	uint32_t uid, euid; // of whoever said so
};

struct file {
	struct refcount refs;
	const struct file_ops *ops;
	struct path path;    // may have a NULL mount for anonymous files
	struct inode *inode; // path.dentry->inode; held through the dentry
	uint32_t flags;      // O_*; F_SETFL bits atomic
	uint32_t mode;       // FILE_*
	loff_t position;     // position_lock
	struct mutex position_lock;
	const struct cred *cred;                                  // opener's
	struct mobj *object;                                      // page cache for mmap and read, usually inode->object
	uint64_t readahead_next, readahead_size, readahead_start; // racy hints
	struct list epoll_items;                                  // struct epitem: kernel/ipc/epoll.c
	struct spinlock epoll_lock;
	struct file_owner owner;
	struct file_async *async; // kernel/vfs/async.c; NULL
	void *private;
	uint64_t window; // drivers/fs/window.c
};
#define FILE_READ          1u
#define FILE_WRITE         2u
#define FILE_PATH          4u // O_PATH
#define FILE_EXEC          8u
#define FILE_STREAM        16u
#define FILE_WRITE_COUNTED 32u  // holds inode->write_count
#define FILE_WRITE_DENIED  64u  // a program's file: its inode may not be opened for writing (ETXTBSY) until it is put
#define FILE_READ_COUNTED  128u // holds inode->read_count
#define FILE_TREE          256u // a tree of mounts that is attached nowhere goes with it
#define OPEN_EXEC          0x40000000 // file_open_path(): the right to execute is asked for, not that to read

static inline void file_get(struct file *f) { refcount_get(&f->refs); }
// Must an operation on it say -EAGAIN rather than wait? O_NONBLOCK, or the current task's TASK_NOWAIT.
bool file_nonblock(const struct file *f);
extern uint64_t file_count;    // open files of the cell; atomic
void file_put(struct file *f); // any task context without spinlocks
// Opens. flags O_*, err_ptr. at: AT_FDCWD or a directory descriptor; path in kernel memory.
struct file *file_open(const char *path, int flags, mode_t mode);
struct file *file_open_at(int at, const char *path, int flags, mode_t mode, unsigned resolve_flags);
// openat2(2); and what openat(2)'s arguments come to.
struct file *file_open_how(int at, const char *path, const struct open_how *how);
void file_how_of(struct open_how *how, int flags, mode_t mode);
struct file *file_open_path(const struct path *p, int flags); // existing inode
// A file that has no name (pipe, socket, eventfd): own inode on the anonymous file system, `name` as /proc/self/fd shows it; a name that ends
// in ':' ("pipe:", "socket:") gets the inode number appended: pipe:[123]. err_ptr. Does not call ops->release on failure.
struct file *file_create_anonymous(const char *name, const struct file_ops *ops, void *private, int flags, mode_t mode);
// A further file on the same anonymous inode (the other end of a pipe): d is the first one's path.dentry. err_ptr.
struct file *file_open_anonymous(struct dentry *d, const struct file_ops *ops, void *private, int flags);
// kernel/ipc/epoll.c: the last reference of `f` goes and its epoll_items are not empty.
void epoll_release_file(struct file *f);
ssize_t file_read(struct file *f, struct iov_iter *to, loff_t *pos); // checks mode; pos NULL: f->position
ssize_t file_write(struct file *f, struct iov_iter *from, loff_t *pos);
ssize_t file_read_kernel(struct file *f, void *buffer, size_t size, loff_t pos); // exec and such
// One transfer with RWF_* flags, of which file_transfer_flags() are known; *pos (NULL: the file's own) moves on. preadv2(2).
ssize_t file_transfer(struct file *f, struct iov_iter *i, loff_t *pos, int flags, bool write);
unsigned file_transfer_flags(bool write);
#define RW_MAX_BYTES (INT32_MAX & PAGE_MASK)   // as Linux: one call moves at most this
int file_sync(struct file *f, bool data_only); // fsync(2); -EINVAL: not a file of that kind
long file_preallocate(struct file *f, int mode, loff_t offset, loff_t size);      // fallocate(2)
long file_sync_range(struct file *f, loff_t offset, loff_t size, unsigned flags); // sync_file_range(2)
long file_advise(struct file *f, loff_t offset, loff_t size, int advice);         // posix_fadvise(2)
// splice(2) and tee(2); positions NULL: the files' own.
long file_splice(struct file *in, loff_t *in_pos, struct file *out, loff_t *out_pos, size_t size, unsigned flags);
long file_tee(struct file *in, struct file *out, size_t size, unsigned flags);
unsigned file_poll(struct file *f, struct poll_table *t);
void file_send_signal(struct file *f, int signal);        // to its owner, if it has one. Task context, no spinlock held
void file_owner_tell(const struct file_owner *o, int fd); // POLL_MSG, by SIGIO or F_SETSIG's signal; likewise
int file_set_owner(struct file *f, int pid); // F_SETOWN: a process, or with -pid a group. 0, -ESRCH, -EINVAL
// How many bytes of a write at `pos` may be done: RLIMIT_FSIZE (SIGXFSZ), the file system's and LFS limits. 0 or -EFBIG.
int write_limit(struct file *f, loff_t pos, size_t *count);
// Generic operations over inode->object.
ssize_t generic_file_read(struct file *f, struct iov_iter *to, loff_t *pos);
ssize_t generic_file_write(struct file *f, struct iov_iter *from,
			   loff_t *pos); // takes inode->lock, limits, times, setuid drop
loff_t generic_seek(struct file *f, loff_t offset, int whence);

// Walks. flags: LOOKUP_*. 0 or -errno; *out referenced.
#define LOOKUP_FOLLOW       1u
#define LOOKUP_DIRECTORY    2u
#define LOOKUP_PARENT       4u  // stops before the last component, which path_parent returns
#define LOOKUP_EMPTY        8u  // AT_EMPTY_PATH
#define LOOKUP_NO_AUTOMOUNT 16u // accepted, no effect
int path_lookup(int at, const char *name, unsigned flags, struct path *out);
int path_lookup_user(int at, struct uptr name, unsigned flags, struct path *out);
// mkdirat(2), unlinkat(2), symlinkat(2), linkat(2), renameat2(2), statx(2), with names in kernel memory.
int path_mkdir(int at, const char *name, mode_t mode);
int path_remove(int at, const char *name, bool is_dir);
int path_symlink(const char *target, int at, const char *name);
int path_link(int at, const char *name, int new_at, const char *new_name, int flags);
int path_rename(int at, const char *name, int new_at, const char *new_name, unsigned flags);
int path_statx(int at, const char *name, int flags, unsigned mask, struct statx *out);
// Absolute path of `p` as seen from the current root, into the end of buffer: pointer or err_ptr. " (deleted)" appended. Does not sleep.
char *path_print(const struct path *p, char *buffer, size_t size);
// The same as seen from `root`; what cannot be reached from there is -ENOENT.
char *path_print_from(const struct path *root, const struct path *p, char *buffer, size_t size);
bool task_root_get(struct task *t, struct path *out); // referenced; false: it has ended
// Path string from the program into a fresh kernel buffer: err_ptr. Free with path_string_free().
char *path_string_get(struct uptr user);
void path_string_free(char *s);

// ---- descriptors ----

struct fs_context { // what CLONE_FS shares
	struct refcount refs;
	struct spinlock lock;
	struct path root, cwd;
	mode_t umask;
};
struct fs_context *fs_context_copy(
	struct fs_context *f); // NULL: out of memory. f NULL: the first one, at the root mount
void fs_context_put(struct fs_context *f);
bool fs_root_is_changed(void); // the current task is in a chroot(2)

struct files *files_create(void);
struct files *files_copy(struct files *f); // fork; err_ptr
struct files *files_get(struct files *f);
void files_put(struct files *f); // last: closes all
void files_close_on_exec(struct files *f);
int files_unshare(void); // exec, unshare: private copy for the current task
// A reference the caller puts with file_put(); NULL: EBADF. fd_get() refuses O_PATH files, fd_get_any() does not.
struct file *fd_get(int fd);
struct file *fd_get_any(int fd);
struct file *files_lookup(struct files *f, int fd); // of another task; reference or NULL
// Borrowed for the length of a system call: no atomics while the table is not shared. Pair with fd_end().
struct fd_borrow {
	struct file *file;
	bool counted;
};
struct fd_borrow fd_begin(int fd);
void fd_end(struct fd_borrow b);
int fd_reserve(int from, bool cloexec);           // a free descriptor >= from, or -EMFILE
void fd_install(int fd, struct file *f);          // consumes the file reference
void fd_cancel(int fd);                           // gives a reserved one back
int fd_install_new(struct file *f, bool cloexec); // reserve + install; on error the file is put. fd or -errno
int fd_replace(int fd, struct file *f,
	       bool cloexec); // dup2(2): what was open there is closed; its own reference. fd or -errno
int fd_close(int fd);
unsigned files_max_open(struct files *f); // one past the highest open descriptor
bool files_is_cloexec(struct files *f, int fd);

// Hooks for inotify and directory notification; one load when nothing is watched anywhere. Owner: kernel/ipc/fsnotify.c.
#define FSNOTIFY_RENAMED 0x10000000u // beside IN_*: a name was changed within the directory; inotify has no such event
extern uint32_t fsnotify_watches;    // atomic: how many there are
void fsnotify_slow(struct inode *i, struct dentry *d, uint32_t mask);
void fsnotify_name_slow(struct inode *dir, uint32_t mask, uint32_t cookie, const char *name);
uint32_t fsnotify_cookie(void); // ties the two halves of a move
// `i` had `mask` (IN_*) happen to it; d, when not NULL, is its name: watches of the directory hear too.
static inline void fsnotify(struct inode *i, struct dentry *d, uint32_t mask)
{
	if (unlikely(__atomic_load_n(&fsnotify_watches, __ATOMIC_RELAXED)))
		fsnotify_slow(i, d, mask);
}
// In directory `dir`, `name` had `mask` happen.
static inline void fsnotify_name(struct inode *dir, uint32_t mask, uint32_t cookie, const char *name)
{
	if (unlikely(__atomic_load_n(&fsnotify_watches, __ATOMIC_RELAXED)))
		fsnotify_name_slow(dir, mask, cookie, name);
}
void fsnotify_inode_gone(
	struct inode *i); // the last link and name went: IN_DELETE_SELF, watches go. i is still referenced
void fsnotify_super_gone(struct super *s); // unmounted: watches go
// F_NOTIFY: `wanted` are DN_* for the descriptor fd. 0, -ENOTDIR, -ENOMEM, -ENOSPC.
int dnotify_request(struct file *f, int fd, uint32_t wanted);
void dnotify_end(struct file *f,
		 const struct files *table); // a close: what that table (NULL: anybody) requested by `f` is over
void fsnotify_overflow(void);                // changes made elsewhere were missed: every queue hears IN_Q_OVERFLOW

// Device numbers: character devices register their file operations. Owner: kernel/fs/dev.
int chrdev_register(unsigned major, unsigned minor_first, unsigned minor_count, const struct file_ops *ops);
const struct file_ops *chrdev_find(dev_t dev);
extern const struct file_ops chrdev_open_ops; // open: finds the device's own operations
extern const struct file_ops fifo_open_ops;   // kernel/ipc/pipe.c
extern const struct file_ops socket_name_ops; // open(2) of a bound socket: ENXIO
// Sets mode, file_ops (and rdev) of a special inode by its type.
void inode_init_special(struct inode *i, mode_t mode, dev_t rdev);
// Binds an AF_UNIX name: makes a socket inode at `name` (kernel memory); *out is referenced. -EADDRINUSE when the name exists.
int inode_make_socket(const char *name, mode_t mode, struct path *out);
