// SPDX-License-Identifier: Apache-2.0
// File systems whose content the kernel makes up: proc, sys and parts of dev. A tree is described by static tables of
// struct pseudo_entry; directories may add entries at run time by callbacks. Owner: kernel/vfs/pseudofs.c.
//
//	static int show_uptime(struct seq *s, struct pseudo *n) { seq_printf(s, "%llu\n", ...); return 0; }
//	static const struct pseudo_entry root_children[] = {
//		{ .name = "uptime", .mode = S_IFREG | 0444, .show = show_uptime },
//		{ .name = "sys", .mode = S_IFDIR | 0555, .children = sys_children },
//		{ .name = "self", .mode = S_IFLNK | 0777, .readlink = self_readlink },
//		{ NULL },
//	};
//	static const struct pseudo_entry root = { .name = "", .mode = S_IFDIR | 0555, .children = root_children };
//	static int proc_mount(struct super *s, const char *source, const char *options)
//	{ return pseudo_fill_super(s, &root, PROC_SUPER_MAGIC); }
#pragma once

#include "kernel/fs.h"

// ---- text under construction: a growing buffer ----
struct seq {
	char *buffer;
	size_t length, capacity;
	bool failed;       // out of memory: the read fails with ENOMEM
	struct file *file; // being read, or NULL
};
void seq_init(struct seq *s);
void seq_fini(struct seq *s);
void seq_printf(struct seq *s, const char *format, ...) printf_like(2, 3);
void seq_puts(struct seq *s, const char *text);
void seq_putc(struct seq *s, char c);
void seq_write(struct seq *s, const void *data, size_t size);
// Text with \ooo for each character that is in `escaped`.
void seq_puts_escaped(struct seq *s, const char *text, const char *escaped);
#define SEQ_ESCAPED_FIELD " \t\n\\" // as in /proc/mounts
#define SEQ_ESCAPED_LINE  "\n"      // as in /proc/PID/maps

struct pseudo;

// What a dynamic entry stands for (a task, a descriptor). The whole static subtree below inherits it.
struct pseudo_object_ops {
	void (*get)(void *object);
	void (*put)(void *object);
	bool (*alive)(struct pseudo *n);   // NULL: always. False: the cached name is dropped and looked up again.
	void (*refresh)(struct pseudo *n); // NULL: none. Sets n->inode's mode, uid, gid, times before they are used.
	// NULL: as the entry's type has it. chmod(2) and chown(2), rights were checked; inode locked.
	int (*change)(struct pseudo *n, const struct attr_change *c);
};

struct pseudo { // inode->private of every inode of such a file system
	const struct pseudo_entry *entry;
	struct inode *inode;
	void *object;
	const struct pseudo_object_ops *object_ops; // NULL when object is no counted thing
	uint64_t key;                               // the callbacks' own; inherited as well
};

struct pseudo_child {                     // the answer of a dynamic lookup
	const struct pseudo_entry *entry; // its name is ignored
	void *object;                     // a reference that passes to the new node (object_ops->put)
	const struct pseudo_object_ops *object_ops;
	uint64_t key;
};

struct pseudo_entry {
	const char *name; // NULL ends a table
	mode_t mode;      // type and permissions; owner is root unless refresh() says otherwise
	// Regular files: content. Called on the first read and whenever a read starts at offset 0. 0 or -errno.
	int (*show)(struct seq *s, struct pseudo *n);
	// Regular files: one write(2), copied in, NUL-terminated. Bytes taken or -errno. NULL: EACCES/EIO.
	ssize_t (*write)(struct pseudo *n, struct file *f, const char *data, size_t size);
	// Checks at open(2); NULL: mode bits only.
	int (*open)(struct pseudo *n, struct file *f);
	// Instead of show and write: operations of its own (f->inode->private is the struct pseudo). Also for S_IFCHR nodes.
	const struct file_ops *file_ops;
	dev_t rdev;
	// Symbolic links: text (length or -errno), and optionally a jump (magic link).
	ssize_t (*readlink)(struct pseudo *n, char *buffer, size_t size);
	int (*follow)(struct pseudo *n, struct path *out);
	// Directories: static entries, then dynamic ones.
	const struct pseudo_entry *children;
	int (*lookup)(struct pseudo *dir, const char *name, struct pseudo_child *out); // 0, -ENOENT, -errno
	// Emits dynamic entries after c->position (>= PSEUDO_DYNAMIC_FIRST) with pseudo_emit(); stops when that says false.
	int (*iterate)(struct pseudo *dir, struct dir_context *c);
	// How many of the dynamic entries are directories, for the number of links. NULL: none.
	unsigned (*subdirectories)(struct pseudo *dir);
	const void *data; // the callbacks' own
};

#define PSEUDO_DYNAMIC_FIRST 0x10000

// Text of /proc/filesystems.
void fs_types_show(struct seq *s);
// Gives a superblock its root and operations. 0 or -ENOMEM.
int pseudo_fill_super(struct super *s, const struct pseudo_entry *root, uint64_t magic);
// Emits one dynamic entry; `next` is the position after it. False: the buffer is full.
bool pseudo_emit(struct pseudo *dir, struct dir_context *c, const char *name, loff_t next, mode_t mode);
static inline struct pseudo *pseudo_of(const struct inode *i) { return i->private; }
// The process an open /proc/PID directory stands for, referenced; NULL: `f` is none, or the process is gone. (kernel/fs/proc/pid.c)
struct pid;
struct pid *proc_directory_pid(const struct file *f);
