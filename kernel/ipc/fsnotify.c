// SPDX-License-Identifier: Apache-2.0
// The hooks that say what happens to files, and the marks that hear of it (fsnotify.h).
#include "fsnotify.h"

#include <linux/inotify.h>

#include "kernel/slab.h"

#define MARKS_MAX 65536u // of the cell; as fs.inotify.max_user_watches

struct spinlock fsnotify_lock = SPINLOCK_INIT;
static struct list all_marks = LIST_INIT(all_marks);
static uint32_t last_cookie;
uint32_t fsnotify_watches;

uint32_t fsnotify_cookie(void) { return __atomic_add_fetch(&last_cookie, 1, __ATOMIC_RELAXED); }

// ---- marks ----

int fsnotify_attach(struct fsnotify_mark *m, struct inode *i)
{
	if (__atomic_load_n(&fsnotify_watches, __ATOMIC_RELAXED) >= MARKS_MAX)
		return -ENOSPC;
	m->inode = i;
	inode_get(i);
	m->next = i->marks;
	i->marks = m;
	list_add_tail(&all_marks, &m->all_node);
	__atomic_fetch_add(&fsnotify_watches, 1, __ATOMIC_RELAXED);
	return 0;
}

void fsnotify_retire(struct fsnotify_mark *m, struct fsnotify_work *work)
{
	struct fsnotify_mark **link = &m->inode->marks;
	while (*link != m)
		link = &(*link)->next;
	*link = m->next;
	list_remove(&m->all_node);
	__atomic_fetch_sub(&fsnotify_watches, 1, __ATOMIC_RELAXED);
	m->ops->retired(m);
	list_add(&work->dead, &m->all_node);
}

void fsnotify_work_begin(struct fsnotify_work *work)
{
	list_init(&work->dead);
	list_init(&work->signals);
	spin_lock(&fsnotify_lock);
}

static void do_work(struct fsnotify_work *work)
{
	while (!list_empty(&work->dead)) {
		struct fsnotify_mark *m = list_first(&work->dead, struct fsnotify_mark, all_node);
		list_remove(&m->all_node);
		inode_put(m->inode);
		m->ops->free(m);
	}
	while (!list_empty(&work->signals)) {
		struct fsnotify_signal *s = list_first(&work->signals, struct fsnotify_signal, node);
		list_remove(&s->node);
		file_owner_tell(&s->owner, s->fd);
		kfree(s);
	}
}

void fsnotify_work_end(struct fsnotify_work *work)
{
	spin_unlock(&fsnotify_lock);
	do_work(work);
}

// ---- hooks ----

static void tell(struct inode *i, const struct fsnotify_event *e, struct fsnotify_work *work) // lock held
{
	struct fsnotify_mark *m, *next;
	for (m = i->marks; m; m = next) {
		next = m->next;
		if ((m->mask & e->mask & (IN_ALL_EVENTS | FSNOTIFY_RENAMED)) && m->ops->tell(m, e, work))
			fsnotify_retire(m, work);
	}
}

void fsnotify_slow(struct inode *i, struct dentry *d, uint32_t mask)
{
	struct fsnotify_event e = { .mask = mask };
	struct fsnotify_work work;
	if (inode_is_dir(i))
		e.mask |= IN_ISDIR;
	struct inode *parent = d && d->parent != d ? d->parent->inode : NULL;
	if (!i->marks && (!parent || !parent->marks))
		return;
	spin_lock(&dentry_tree_lock); // the name holds still
	fsnotify_work_begin(&work);
	if (parent) {
		struct fsnotify_event below = e;
		below.name = d->name;
		below.unlinked = d->flags & DENTRY_DISCONNECTED;
		tell(parent, &below, &work);
	}
	tell(i, &e, &work);
	spin_unlock(&fsnotify_lock);
	spin_unlock(&dentry_tree_lock);
	do_work(&work);
}

void fsnotify_name_slow(struct inode *dir, uint32_t mask, uint32_t cookie, const char *name)
{
	struct fsnotify_event e = { .mask = mask, .cookie = cookie, .name = name };
	struct fsnotify_work work;
	if (!dir->marks)
		return;
	fsnotify_work_begin(&work);
	tell(dir, &e, &work);
	fsnotify_work_end(&work);
}

void fsnotify_inode_gone(struct inode *i)
{
	struct fsnotify_event e = { .mask = IN_DELETE_SELF };
	struct fsnotify_work work;
	fsnotify_work_begin(&work);
	tell(i, &e, &work);
	while (i->marks)
		fsnotify_retire(i->marks, &work);
	fsnotify_work_end(&work);
}

// The superblock goes, and no mark may keep an inode of it.
void fsnotify_super_gone(struct super *s)
{
	struct fsnotify_work work;
	struct fsnotify_mark *m, *next;
	if (!fsnotify_watches)
		return;
	fsnotify_work_begin(&work);
	list_for_each_safe (m, next, &all_marks, all_node)
		if (m->inode->super == s) {
			if (m->ops->unmounted)
				m->ops->unmounted(m);
			fsnotify_retire(m, &work);
		}
	fsnotify_work_end(&work);
}

void fsnotify_overflow(void)
{
	struct fsnotify_event e = { .mask = IN_Q_OVERFLOW };
	struct fsnotify_work work;
	struct fsnotify_mark *m, *next;
	fsnotify_work_begin(&work);
	list_for_each_safe (m, next, &all_marks, all_node)
		if (m->ops->tell(m, &e, &work))
			fsnotify_retire(m, &work);
	fsnotify_work_end(&work);
}
