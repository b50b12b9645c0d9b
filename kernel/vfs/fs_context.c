// SPDX-License-Identifier: Apache-2.0
// Root, working directory and umask of a task (what CLONE_FS shares): chdir(2), chroot(2), getcwd(2), umask(2).
// fs_context.lock guards all fields; it is a leaf.
#include "mount.h"

#include <linux/capability.h>

#include "kernel/boot_config.h"
#include "lib/string.h"

static struct path first_root(void)
{
	return (struct path){ mnt_namespace_first.root, mnt_namespace_first.root->root };
}

struct fs_context *fs_context_copy(struct fs_context *f)
{
	struct fs_context *copy = kalloc(sizeof(*copy));
	if (!copy)
		return NULL;
	refcount_set(&copy->refs, 1);
	spin_init(&copy->lock);
	if (!f) {
		copy->root = copy->cwd = first_root();
		copy->umask = boot_config.options.umask & BOOT_UMASK_SET ? boot_config.options.umask & 0777 : 022;
		path_get(&copy->root);
		path_get(&copy->cwd);
		return copy;
	}
	spin_lock(&f->lock);
	copy->root = f->root;
	copy->cwd = f->cwd;
	copy->umask = f->umask;
	path_get(&copy->root);
	path_get(&copy->cwd);
	spin_unlock(&f->lock);
	return copy;
}

void fs_context_put(struct fs_context *f)
{
	if (!f || !refcount_put(&f->refs))
		return;
	path_put(&f->root);
	path_put(&f->cwd);
	kfree(f);
}

static void get(struct path *out, size_t offset)
{
	struct fs_context *f = current->fs;
	if (unlikely(!f)) { // kernel tasks, boot
		*out = first_root();
		path_get(out);
		return;
	}
	spin_lock(&f->lock);
	*out = *(struct path *)((char *)f + offset);
	path_get(out);
	spin_unlock(&f->lock);
}

void fs_root_get(struct path *out) { get(out, offsetof(struct fs_context, root)); }
void fs_cwd_get(struct path *out) { get(out, offsetof(struct fs_context, cwd)); }

bool task_root_get(struct task *t, struct path *out)
{
	spin_lock(&t->lock);
	struct fs_context *f = t->fs;
	if (f) {
		spin_lock(&f->lock);
		*out = f->root;
		path_get(out);
		spin_unlock(&f->lock);
	}
	spin_unlock(&t->lock);
	return f;
}

// Consumes the references of `p`.
static void set(struct path *which, struct path p)
{
	struct fs_context *f = current->fs;
	spin_lock(&f->lock);
	struct path old = *which;
	*which = p;
	spin_unlock(&f->lock);
	path_put(&old);
}

long sys_chdir(struct uptr path)
{
	struct path p;
	long result = path_lookup_user(AT_FDCWD, path, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &p);
	if (result)
		return result;
	result = inode_permission(p.dentry->inode, MAY_EXEC);
	if (result)
		path_put(&p);
	else
		set(&current->fs->cwd, p);
	return result;
}

long sys_fchdir(int fd)
{
	struct file *f = fd_get_any(fd);
	if (!f)
		return -EBADF;
	long result = inode_is_dir(f->inode) ? inode_permission(f->inode, MAY_EXEC) : -ENOTDIR;
	if (!result) {
		path_get(&f->path);
		set(&current->fs->cwd, f->path);
	}
	file_put(f);
	return result;
}

long sys_chroot(struct uptr path)
{
	struct path p;
	long result = path_lookup_user(AT_FDCWD, path, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &p);
	if (result)
		return result;
	result = inode_permission(p.dentry->inode, MAY_EXEC);
	if (!result && !cred_capable_own(current->cred, CAP_SYS_CHROOT))
		result = -EPERM;
	if (result)
		path_put(&p);
	else
		set(&current->fs->root, p);
	return result;
}

bool fs_root_is_changed(void)
{
	struct path root, whole;
	fs_root_get(&root);
	mnt_namespace_root_get(mnt_namespace_mine(), &whole);
	bool changed = root.mount != whole.mount || root.dentry != whole.dentry;
	path_put(&whole);
	path_put(&root);
	return changed;
}

long sys_umask(mode_t mask)
{
	struct fs_context *f = current->fs;
	spin_lock(&f->lock);
	mode_t old = f->umask;
	f->umask = mask & 0777;
	spin_unlock(&f->lock);
	return old;
}

// Is the working directory inside the root? getcwd(2) says "(unreachable)" when not.
static bool reachable(const struct path *cwd, const struct path *root)
{
	struct path p = *cwd;
	path_get(&p);
	bool found;
	do {
		found = p.mount == root->mount && dentry_is_below(p.dentry, root->dentry);
	} while (!found && mount_cross_up(&p));
	path_put(&p);
	return found;
}

long sys_getcwd(struct uptr buffer, size_t size)
{
	char *text = kalloc(PATH_MAX_BYTES);
	if (!text)
		return -ENOMEM;
	struct path cwd, root;
	fs_cwd_get(&cwd);
	fs_root_get(&root);
	long result = -ENOENT;
	if (!(cwd.dentry->flags & DENTRY_DISCONNECTED)) {
		char *s = path_print(&cwd, text, PATH_MAX_BYTES);
		static const char unreachable[] = "(unreachable)";
		size_t extra = is_err(s) || reachable(&cwd, &root) ? 0 : sizeof(unreachable) - 1;
		if (!is_err(s) && s - text >= extra) {
			s -= extra;
			memcpy(s, unreachable, extra);
		}
		size_t length = is_err(s) ? 0 : strlen(s) + 1;
		result = is_err(s)                         ? ptr_err(s)
			 : length > size                   ? -ERANGE
			 : copy_to_user(buffer, s, length) ? -EFAULT
							   : (long)length;
	}
	path_put(&root);
	path_put(&cwd);
	kfree(text);
	return result;
}
