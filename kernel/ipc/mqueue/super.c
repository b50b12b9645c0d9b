// SPDX-License-Identifier: Apache-2.0
// The mqueue file system: one flat directory whose files are the POSIX message queues of an IPC namespace. A mount of it (/dev/mqueue)
// shows them; mq_open(2) reaches them without. mq_overview(7).
//
// An entry is a pinned, hashed dentry below the root's; dentry->private is its position in readdir, which grows in the order of making.

#include "../namespace.h"
#include "mqueue.h"

#include <asm/siginfo.h>
#include <linux/capability.h>
#include <linux/limits.h>

#include "kernel/init.h"
#include "kernel/mqueue.h"
#include "kernel/slab.h"
#include "kernel/task.h"
#include "lib/fmt.h"

#define MQUEUE_MAGIC 0x19800202
#define STATUS_BYTES 80 // st_size of a queue
#define ENTRY_BYTES  20 // what a name adds to the root's

struct mqueue_limits mqueue_limits = {
	.queues_max = 256, .msg_max = 10, .msg_default = 10, .msgsize_max = 8192, .msgsize_default = 8192
};

struct queues {               // super->private
	uint32_t count;       // atomic
	loff_t next_position; // root's lock
};

static struct queues *queues_of(const struct super *s) { return s->private; }

struct dentry *mqueue_root(void)
{
	struct dentry *root = ipc_mine()->mqueues->root;

	dentry_get(root);
	return root;
}

// ---- names ----

static int lookup(struct inode *dir, struct dentry *d) { return 0; } // what is not in the cache is not there

static int root_getattr(struct inode *i, struct kstat *out)
{
	generic_getattr(i, out);
	out->size = (uint64_t)__atomic_load_n(&queues_of(i->super)->count, __ATOMIC_RELAXED) * ENTRY_BYTES;
	return 0;
}

static int queue_getattr(struct inode *i, struct kstat *out)
{
	generic_getattr(i, out);
	out->size = STATUS_BYTES;
	return 0;
}

static const struct inode_ops queue_ops = { .getattr = queue_getattr };

static int count_queue(struct queues *all)
{
	uint32_t count = __atomic_add_fetch(&all->count, 1, __ATOMIC_RELAXED);

	if (count <= mqueue_limits.queues_max || cred_capable(current->cred, CAP_SYS_RESOURCE))
		return 0;
	__atomic_sub_fetch(&all->count, 1, __ATOMIC_RELAXED);
	return -ENOSPC;
}

static struct inode *queue_inode(struct super *super, mode_t mode, struct mqueue *q)
{
	struct inode *i = inode_create(super, __atomic_fetch_add(&super->next_ino, 1, __ATOMIC_RELAXED));

	if (!i)
		return NULL;
	inode_init_owner(i, NULL, S_IFREG | mode);
	i->atime = i->mtime = i->ctime = i->btime = timestamp_now();
	i->nlink = 1;
	i->ops = &queue_ops;
	i->file_ops = &mqueue_file_ops;
	i->private = q;
	return i;
}

int mqueue_make(struct inode *root, struct dentry *d, mode_t mode, int64_t message_max, int64_t size_max)
{
	struct queues *all = queues_of(root->super);
	struct mqueue *q;
	struct inode *i;
	int error = count_queue(all);

	if (error)
		return error;
	q = mqueue_create(message_max, size_max);
	if (is_err(q)) {
		error = (int)ptr_err(q);
		goto uncount;
	}
	i = queue_inode(root->super, mode & 07777, q);
	if (!i) {
		error = -ENOMEM;
		goto destroy;
	}
	d->private = (uint64_t)all->next_position++;
	root->mtime = root->ctime = timestamp_now();
	dentry_instantiate(d, i);
	dentry_pin(d);
	return 0;
destroy:
	mqueue_destroy(q);
uncount:
	__atomic_sub_fetch(&all->count, 1, __ATOMIC_RELAXED);
	return error;
}

static int create(struct inode *dir, struct dentry *d, mode_t mode, bool exclusive)
{
	(void)exclusive;
	return mqueue_make(dir, d, mode, min(mqueue_limits.msg_max, mqueue_limits.msg_default),
			   min(mqueue_limits.msgsize_max, mqueue_limits.msgsize_default));
}

int mqueue_remove(struct inode *root, struct dentry *d)
{
	d->inode->nlink--;
	d->inode->ctime = root->mtime = root->ctime = timestamp_now();
	dentry_unpin(d);
	return 0;
}

static const struct inode_ops root_ops = {
	.lookup = lookup,
	.create = create,
	.unlink = mqueue_remove,
	.getattr = root_getattr,
};

// The first entry at or after `position`, referenced, or NULL. The root is locked: entries stay.
static struct dentry *next_entry(struct dentry *root, uint64_t position)
{
	struct dentry *d, *found = NULL;

	spin_lock(&dentry_tree_lock);
	list_for_each (d, &root->children, child_node)
		if (d->inode && d->flags & DENTRY_PINNED && d->private >= position) {
			dentry_get(d);
			found = d;
			break;
		}
	spin_unlock(&dentry_tree_lock);
	return found;
}

static int iterate(struct file *f, struct dir_context *c)
{
	struct dentry *d;
	bool more = dir_emit_dots(f, c);

	while (more && (d = next_entry(f->path.dentry, (uint64_t)c->position))) {
		loff_t after = (loff_t)d->private + 1;
		more = c->emit(c, d->name, d->name_length, after, d->inode->ino, S_IFREG >> 12);
		if (more)
			c->position = after;
		dentry_put(d);
	}
	return 0;
}

static const struct file_ops root_file_ops = { .iterate = iterate };

// ---- open queues ----

static ssize_t queue_read(struct file *f, struct iov_iter *to, loff_t *pos)
{
	struct mqueue *q = mqueue_of(f->inode);
	const struct mqueue_notification *n = &q->notification;
	char text[STATUS_BYTES];
	size_t length, done;

	spin_lock(&q->lock);
	length =
		(size_t)fmt_print(text, sizeof(text), "QSIZE:%-10lu NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n", q->bytes,
				  n->owner ? n->kind : 0, n->owner && n->kind == SIGEV_SIGNAL ? n->signal : 0,
				  n->owner ? pid_shown(n->owner->pid) : 0);
	spin_unlock(&q->lock);
	if (*pos < 0 || (size_t)*pos >= length)
		return 0;
	length = min(length - (size_t)*pos, to->count);
	done = iov_copy_to(to, text + *pos, length);
	*pos += (loff_t)done;
	return done || !length ? (ssize_t)done : -EFAULT;
}

static unsigned queue_poll(struct file *f, struct poll_table *t)
{
	struct mqueue *q = mqueue_of(f->inode);
	unsigned events = 0;

	poll_wait(t, f, &q->readers);
	poll_wait(t, f, &q->writers);
	spin_lock(&q->lock);
	if (q->count)
		events |= EPOLLIN | EPOLLRDNORM;
	if (q->count < q->message_max)
		events |= EPOLLOUT | EPOLLWRNORM;
	spin_unlock(&q->lock);
	return events;
}

static int queue_flush(struct file *f)
{
	mqueue_notification_forget(mqueue_of(f->inode));
	return 0;
}

const struct file_ops mqueue_file_ops = { .read = queue_read, .poll = queue_poll, .flush = queue_flush };

// ---- the superblock ----

static void evict_inode(struct inode *i)
{
	if (!i->private)
		return;
	mqueue_destroy(i->private);
	i->private = NULL;
	__atomic_sub_fetch(&queues_of(i->super)->count, 1, __ATOMIC_RELAXED);
}

static void put_super(struct super *s) { kfree(s->private); }

static const struct super_ops super_ops = { .evict_inode = evict_inode, .put_super = put_super };

// A mount shows the queues of the namespace it is made in.
static struct super *of_caller(void)
{
	struct super *s = ipc_mine()->mqueues;

	refcount_get(&s->refs);
	return s;
}

static struct user_namespace *owner(void) { return ipc_mine()->common.owner; }

static struct fs_type mqueue_type = {
	.name = "mqueue", .flags = FS_NODEV | FS_USERNS, .of_caller = of_caller, .owner = owner
};

static int fill(struct super *s)
{
	struct inode *i;

	s->ops = &super_ops;
	s->magic = MQUEUE_MAGIC;
	s->private = kalloc(sizeof(struct queues));
	if (!s->private)
		return -ENOMEM;
	queues_of(s)->next_position = 2;
	i = inode_create(s, 1);
	if (!i)
		return -ENOMEM;
	i->mode = S_IFDIR | 01777;
	i->nlink = 2;
	i->ops = &root_ops;
	i->file_ops = &root_file_ops;
	i->atime = i->mtime = i->ctime = i->btime = timestamp_now();
	s->root = dentry_make_root(i);
	return s->root ? 0 : -ENOMEM;
}

struct super *mqueue_super_create(void)
{
	struct super *s = super_create(&mqueue_type);

	if (s && fill(s)) {
		super_put(s);
		return NULL;
	}
	return s;
}

static void init(void) { fs_type_register(&mqueue_type); }
KERNEL_INIT(2, init);
