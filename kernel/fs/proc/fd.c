// SPDX-License-Identifier: Apache-2.0
// /proc/PID/fd and fdinfo: one magic link, one text, a descriptor.
#include "kernel/errno.h"
#include "kernel/slab.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "proc.h"

// Nodes here inherit the task as their object; the descriptor's number is kept in the upper half of the key (the lower says
// whether the node is below task/TID).
static int fd_of(struct pseudo *n) { return (int)(n->key >> 32); }

static struct file *file_of(struct pseudo *n)
{
	struct files *files = task_files_get(proc_task(n));
	struct file *f = NULL;

	if (files) {
		f = files_lookup(files, fd_of(n));
		files_put(files);
	}
	return f;
}

static ssize_t fd_readlink(struct pseudo *n, char *buffer, size_t size)
{
	int error = ptrace_may_access(proc_task(n));
	struct file *f = error ? NULL : file_of(n);

	if (!f)
		return error ? error : -ENOENT;
	char *text = kalloc(PATH_MAX_BYTES);
	ssize_t length = -ENOMEM;
	if (text) {
		char *path = path_print(&f->path, text, PATH_MAX_BYTES);
		length = is_err(path) ? ptr_err(path) : (ssize_t)min(string_copy(buffer, path, size), size - 1);
		kfree(text);
	}
	file_put(f);
	return length;
}

static int fd_follow(struct pseudo *n, struct path *out)
{
	int error = ptrace_may_access(proc_task(n));
	struct file *f = error ? NULL : file_of(n);

	if (!f)
		return error ? error : -ENOENT;
	*out = f->path;
	path_get(out);
	file_put(f);
	return 0;
}

static int fdinfo_show(struct seq *s, struct pseudo *n)
{
	struct files *files = task_files_get(proc_task(n));
	struct file *f = file_of(n);
	char extra[512] = "";
	dev_t dev = 0;
	ino_t ino = 0;

	if (f) {
		if (f->inode)
			inode_identify(f->inode, &dev, &ino);
		unsigned flags = f->flags | (files && files_is_cloexec(files, fd_of(n)) ? O_CLOEXEC : 0);
		seq_printf(s, "pos:\t%ld\nflags:\t0%o\nmnt_id:\t%d\nino:\t%lu\n", f->position, flags,
			   f->path.mount ? f->path.mount->id : 0, ino);
		if (f->ops->show_fdinfo) {
			f->ops->show_fdinfo(f, extra, sizeof(extra));
			seq_puts(s, extra);
		}
		file_put(f);
	}
	if (files)
		files_put(files);
	return f ? 0 : -ENOENT;
}

static bool fd_alive(struct pseudo *n)
{
	struct file *f = file_of(n);

	if (f)
		file_put(f);
	return f != NULL;
}

static void fd_get_task(void *object) { task_get(object); }
static void fd_put_task(void *object) { task_put(object); }

static void fd_refresh(struct pseudo *n)
{
	struct file *f = file_of(n);
	const struct cred *c = task_cred_get(proc_task(n));

	n->inode->uid = c->euid;
	n->inode->gid = c->egid;
	cred_put(c);
	if (!f)
		return;
	if (inode_is_link(n->inode))
		n->inode->mode = S_IFLNK | (f->mode & FILE_READ ? 0500 : 0) | (f->mode & FILE_WRITE ? 0300 : 0);
	file_put(f);
}

static const struct pseudo_object_ops fd_ops = {
	.get = fd_get_task, .put = fd_put_task, .alive = fd_alive, .refresh = fd_refresh
};
static const struct pseudo_entry fd_entry = { .mode = S_IFLNK | 0700, .readlink = fd_readlink, .follow = fd_follow };
static const struct pseudo_entry fdinfo_entry = { .mode = S_IFREG | 0400, .show = fdinfo_show };

static int lookup(struct pseudo *dir, const char *name, struct pseudo_child *out, const struct pseudo_entry *entry)
{
	uint64_t number;
	struct task *t = proc_task(dir);

	if (!string_to_u64(name, 10, &number) || (name[0] == '0' && name[1]) || number > INT32_MAX)
		return -ENOENT;
	struct files *files = task_files_get(t);
	struct file *f = files ? files_lookup(files, (int)number) : NULL;
	if (files)
		files_put(files);
	if (!f)
		return -ENOENT;
	file_put(f);
	task_get(t);
	*out = (struct pseudo_child){
		.entry = entry, .object = t, .object_ops = &fd_ops, .key = number << 32 | (dir->key & 1)
	};
	return 0;
}

int proc_fd_lookup(struct pseudo *dir, const char *name, struct pseudo_child *out)
{
	return lookup(dir, name, out, &fd_entry);
}
int proc_fdinfo_lookup(struct pseudo *dir, const char *name, struct pseudo_child *out)
{
	return lookup(dir, name, out, &fdinfo_entry);
}

int proc_fd_iterate(struct pseudo *dir, struct dir_context *c)
{
	struct files *files = task_files_get(proc_task(dir));
	char name[16];

	if (!files)
		return 0;
	for (unsigned fd = (unsigned)(c->position - PSEUDO_DYNAMIC_FIRST); fd < files_max_open(files); fd++) {
		struct file *f = files_lookup(files, (int)fd);
		if (!f)
			continue;
		file_put(f);
		fmt_print(name, sizeof(name), "%u", fd);
		if (!pseudo_emit(dir, c, name, (loff_t)PSEUDO_DYNAMIC_FIRST + fd + 1, S_IFLNK))
			break;
	}
	files_put(files);
	return 0;
}
