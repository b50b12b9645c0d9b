// SPDX-License-Identifier: Apache-2.0
// Directory notification: fcntl(2), F_NOTIFY. A signal to the descriptor's owner when something changes in the directory.
//
// A request is a mark on the directory (fsnotify.h). It belongs to an open file and a descriptor table, and ends when that table
// closes any descriptor of the file.
#include <linux/fcntl.h>
#include <linux/inotify.h>

#include "kernel/fs.h"
#include "kernel/slab.h"
#include "kernel/task.h"

#include "fsnotify.h"

struct request {
	struct fsnotify_mark mark;
	struct file *file; // not counted: it tells when it goes
	const struct files *table;
	int fd; // what si_fd says
	bool again;
};

static struct request *request_of(struct fsnotify_mark *m) { return container_of(m, struct request, mark); }

static bool request_tell(struct fsnotify_mark *m, const struct fsnotify_event *e, struct fsnotify_work *work)
{
	struct request *r = request_of(m);
	struct fsnotify_signal *s = kalloc_atomic(sizeof(*s));
	(void)e;
	if (!s)
		return false;
	s->owner = r->file->owner;
	s->fd = r->fd;
	list_add_tail(&work->signals, &s->node);
	return !r->again;
}

static void request_retired(struct fsnotify_mark *m) { (void)m; }
static void request_free(struct fsnotify_mark *m) { kfree(request_of(m)); }

static const struct fsnotify_ops request_ops = {
	.tell = request_tell,
	.retired = request_retired,
	.free = request_free,
};

static struct request *find(const struct file *f, const struct files *table) // fsnotify_lock held
{
	for (struct fsnotify_mark *m = f->inode->marks; m; m = m->next)
		if (m->ops == &request_ops && request_of(m)->file == f && (!table || request_of(m)->table == table))
			return request_of(m);
	return NULL;
}

void dnotify_end(struct file *f, const struct files *table)
{
	struct fsnotify_work work;
	struct request *r;
	fsnotify_work_begin(&work);
	while ((r = find(f, table)))
		fsnotify_retire(&r->mark, &work);
	fsnotify_work_end(&work);
}

static uint32_t events_of(uint32_t wanted)
{
	static const uint32_t events[][2] = {
		{ DN_ACCESS, IN_ACCESS },
		{ DN_MODIFY, IN_MODIFY },
		{ DN_CREATE, IN_CREATE | IN_MOVED_TO },
		{ DN_DELETE, IN_DELETE | IN_MOVED_FROM },
		{ DN_RENAME, FSNOTIFY_RENAMED },
		{ DN_ATTRIB, IN_ATTRIB },
	};
	uint32_t mask = 0;
	for (size_t i = 0; i < array_count(events); i++)
		mask |= wanted & events[i][0] ? events[i][1] : 0;
	return mask;
}

// Adds to the request there is, or makes `fresh` one (consumed when used: *fresh becomes NULL).
static int set_request(struct file *f, int fd, uint32_t wanted, struct request **fresh) // fsnotify_lock held
{
	struct request *r = find(f, current->files);
	bool again = wanted & DN_MULTISHOT;
	if (r) {
		r->mark.mask |= events_of(wanted);
		r->again |= again;
		r->fd = fd;
		return 0;
	}
	r = *fresh;
	*r = (struct request){ { .ops = &request_ops, .mask = events_of(wanted) }, f, current->files, fd, again };
	int error = fsnotify_attach(&r->mark, f->inode);
	if (!error)
		*fresh = NULL;
	return error;
}

int dnotify_request(struct file *f, int fd, uint32_t wanted)
{
	if (!(wanted & ~(uint32_t)DN_MULTISHOT)) {
		dnotify_end(f, current->files);
		return 0;
	}
	if (!inode_is_dir(f->inode))
		return -ENOTDIR;
	struct request *fresh = kalloc(sizeof(*fresh));
	int error = fresh ? 0 : -ENOMEM;
	if (!error && !f->owner.pid)
		error = file_set_owner(f, current->process->own_pid);
	if (!error) {
		spin_lock(&fsnotify_lock);
		error = set_request(f, fd, wanted, &fresh);
		spin_unlock(&fsnotify_lock);
	}
	kfree(fresh);
	if (!error && f->inode->ops->watched)
		f->inode->ops->watched(f->inode, f->path.dentry);
	return error;
}
