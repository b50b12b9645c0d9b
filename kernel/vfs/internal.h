// SPDX-License-Identifier: Apache-2.0
// What the files of kernel/vfs share with each other and with nobody else.
#pragma once

#include "kernel/cred.h"
#include "kernel/fs.h"
#include "kernel/slab.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "kernel/uaccess.h"

// ---- dentry.c ----
extern uint64_t dentry_hash_key;
// Hash of a name as the dentry table wants it; the path walk computes it while it looks for the next slash.
#define NAME_HASH_STEP(h, c) (((h) ^ (unsigned char)(c)) * UINT64_C(0x100000001b3))
static inline uint32_t name_hash_end(uint64_t h) { return (uint32_t)(h ^ h >> 32); }
uint32_t name_hash(const char *name, size_t length);
// As dentry_lookup_cached() and dentry_lookup(), the name's hash known.
struct dentry *dentry_find(struct dentry *parent, const char *name, size_t length, uint32_t hash);
// open_flags: O_* of the open(2) that comes next, or NO_OPEN.
#define NO_OPEN (-1)
struct dentry *dentry_lookup_slow(struct dentry *parent, const char *name, size_t length, int open_flags);
struct dentry *dentry_lookup_for(struct dentry *parent, const char *name, size_t length, int open_flags); // locked
// As if a file of that name were not cached: after -ESTALE.
void dentry_forget_file(struct dentry *parent, const char *name, size_t length, uint32_t hash);
// 1: still good. Asks the file system only when the entry's time is over.
int dentry_revalidate(struct dentry *d);
static inline bool dentry_needs_revalidate(const struct dentry *d) { return d->ops && d->ops->revalidate; }
void dentry_kill_tree(struct dentry *root);                      // drops every hashed dentry below
void dentry_kill_super(struct super *s);                         // umount: all of its dentries, but the root
bool dentry_is_below(struct dentry *d, struct dentry *ancestor); // or the same

// ---- inode.c ----
extern uint64_t inode_count;
bool inode_capable(const struct inode *i, unsigned cap); // over its owner and group, too
bool inode_owner_or_capable(const struct inode *i);
int inode_sticky_check(struct inode *dir, struct inode *victim);
int inode_remove_privileges(struct inode *i);              // write by an ordinary user: set-ID bits go; locked
void inode_touch_access(struct file *f);                   // atime after a read, relatime
void inode_touch_modify(struct inode *i);                  // mtime, ctime after a write; locked
int notify_change(struct inode *i, struct attr_change *c); // setattr with checks; locked

// ---- super.c, mount.c ----
struct fs_type *fs_type_find(const char *name);
void super_for_each(void (*fn)(struct super *s, void *context), void *context);
extern struct super *anonymous_super;

extern struct rwsem mount_lock;
// Pages that a superblock's table of inodes takes.
static inline int64_t inode_hash_pages(unsigned buckets)
{
	return (int64_t)(buckets * sizeof(struct list) / PAGE_SIZE);
}

extern struct spinlock mount_hash_lock; // parents and mount points; before dentry_tree_lock
// What is mounted on `p`, all the way up: *p is replaced (references too). True when it moved.
bool mount_cross_down(struct path *p);
bool mount_cross_up(struct path *p); // root of a mount -> its mount point; false at the top
static inline void mount_get(struct mount *m) { refcount_get(&m->refs); }
void mount_put(struct mount *m);
void mount_dissolve(struct mount *m);        // a file that a tree was made with goes; no lock held
int mount_want_write(const struct path *p);  // 0 or -EROFS
bool mount_is_on(struct dentry *d);          // is it a mount point in the current namespace?
unsigned mount_references(struct dentry *d); // of mounts, as root or mount point; mount_hash_lock held

// ---- lookup.c ----
#define LINKS_MAX 40
enum last_type { LAST_NORMAL, LAST_DOT, LAST_DOTDOT, LAST_ROOT };

struct walk_link {           // a symlink on the way
	const char *rest;    // what follows it in the text it was found in; NULL: nothing, or resumed already
	char *buffer;        // its text, ours
	struct dentry *held; // or: keeps the inode that has the text
};

// A walk in progress. Begin with walk_start(), end with walk_end() in every case.
struct walk {
	struct path path; // where it is; referenced
	struct path root; // referenced when rooted
	const char *name; // what is left to walk
	unsigned flags;   // LOOKUP_*
	unsigned resolve; // RESOLVE_*
	int open_flags;   // of the open(2) the walk is for, or NO_OPEN
	bool again;       // what is cached of the last component led to -ESTALE
	bool rooted;
	bool trailing_slash;      // after the last component: it must be a directory
	enum last_type last_type; // LOOKUP_PARENT: the last component
	const char *last;
	uint32_t last_length, last_hash;
	unsigned link_count;     // symlinks followed so far
	unsigned pending;        // links with a rest
	struct walk_link *links; // first, or an array of LINKS_MAX
	struct walk_link first[2];
};
int walk_start(struct walk *w, int at, const char *name, unsigned flags, unsigned resolve);
int walk_run(struct walk *w); // to the end, or (LOOKUP_PARENT) to the directory of the last component
// Follows `link`, found as the last component of a LOOKUP_PARENT walk; walk_run() then finds the next last component, or
// says LAST_ROOT when a magic link jumped: w->path is the result.
int walk_follow_last(struct walk *w, struct dentry *link);
void walk_end(struct walk *w);

// A program's path: short ones stay on the stack.
struct path_name {
	char *string;
	long length;
	char buffer[232];
};
int path_name_get(struct path_name *n, struct uptr user);       // 0 or -errno; ENOENT when empty
int path_name_get_empty(struct path_name *n, struct uptr user); // may be ""
static inline void path_name_put(struct path_name *n)
{
	if (n->string != n->buffer)
		kfree(n->string);
}
int path_lookup_name(int at, const struct path_name *name, unsigned flags, struct path *out);
void fs_root_get(struct path *out);
void fs_cwd_get(struct path *out);

// ---- open.c ----
struct open_how_kernel {
	int flags;
	mode_t mode;
	unsigned resolve;
};
struct file *file_allocate(int flags); // refs 1, no ops; NULL
struct file *do_open(int at, const char *name, const struct open_how_kernel *how);

// ---- namei.c ----
int dir_may_write(struct path *dir); // may names be made in it?
int may_remove(struct path *dir, struct dentry *victim, bool is_dir);
int make_node(int at, const char *name, mode_t mode, dev_t dev);

// ---- fdtable.c ----
struct files {
	struct refcount refs;
	struct spinlock lock;
	unsigned capacity;  // slots; lock to change; readers that do not share it need none
	unsigned next_hint; // no free descriptor below; lock
	struct file **slots;
	uint64_t *open_bits, *cloexec_bits; // reserved ones are open with a NULL slot
};

int fd_set_cloexec(int fd, bool on);
long fd_duplicate(int fd, int from, bool cloexec); // dup(2), F_DUPFD

// ---- lock.c ----
void locks_close(struct file *f, struct files *owner); // close(2): POSIX locks of the process on the inode
void locks_release_file(struct file *f);               // last reference: flock and OFD locks
long fcntl_lock(int fd, struct file *f, unsigned command, struct uptr argument);

// ---- read_write.c ----
loff_t file_seek(struct file *f, loff_t offset, int whence);

// ---- fcntl.c ----
int file_set_flags(struct file *f, int fd, unsigned flags);
// async.c: starts or stops the signals of O_ASYNC; release: the last reference goes, and f->async is not NULL. 0, -ENOMEM, -EAGAIN.
int file_set_async(struct file *f, int fd, bool on);
void file_async_release(struct file *f);
