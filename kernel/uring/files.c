// SPDX-License-Identifier: Apache-2.0
// Registered files: IORING_REGISTER_FILES and its kin, IORING_OP_FILES_UPDATE, and operations that put what they open there.
//
// uring.lock guards the table. A request has a reference of its own, so a file may leave the table at any time.
#include "files.h"

#include <linux/resource.h>

#define FILES_MAX (1u << 15) // as Linux

struct uring_files {
	uint32_t count;
	uint32_t alloc_from, alloc_to; // IORING_FILE_INDEX_ALLOC takes of these
	struct {
		struct file *file; // reference; NULL: free
		uint64_t tag;
	} slots[];
};

struct file *uring_file_fixed(struct uring *u, uint32_t index)
{
	struct file *f = NULL;

	mutex_lock(&u->lock);
	if (u->files && index < u->files->count)
		f = u->files->slots[index].file;
	if (f)
		file_get(f);
	mutex_unlock(&u->lock);
	return f;
}

// A registered thing is no longer used under its tag.
void uring_tell_tag(struct uring *u, uint64_t tag)
{
	struct io_uring_cqe c = { .user_data = tag };

	if (tag)
		(void)!uring_post(u, &c, true);
}

// A file that may be registered: -1 is none. 0, -EBADF.
static int file_of(int32_t fd, struct file **out)
{
	*out = NULL;
	if (fd == -1)
		return 0;
	*out = fd_get(fd);
	if (*out && !uring_of(*out))
		return 0;
	if (*out)
		file_put(*out); // a ring that holds a ring would never go
	*out = NULL;
	return -EBADF;
}

static void clear_slot(struct uring *u, uint32_t index)
{
	struct file *f = u->files->slots[index].file;

	u->files->slots[index].file = NULL;
	if (f) {
		uring_tell_tag(u, u->files->slots[index].tag);
		file_put(f);
	}
	u->files->slots[index].tag = 0;
}

void uring_files_drop(struct uring *u)
{
	mutex_lock(&u->lock);
	for (uint32_t i = 0; u->files && i < u->files->count; i++)
		clear_slot(u, i);
	kfree(u->files);
	u->files = NULL;
	mutex_unlock(&u->lock);
}

// ---- io_uring_register(2); uring.lock held ----

// What entry `index` of the program's two arrays says; a NULL array is of -1, or of no tags.
static int entry_from_user(struct uptr fds, struct uptr tags, uint32_t index, int32_t *fd, uint64_t *tag)
{
	*fd = -1;
	*tag = 0;
	if (!uptr_is_null(fds) && get_user(fd, uptr_add(fds, index * sizeof(*fd))))
		return -EFAULT;
	if (!uptr_is_null(tags) && get_user(tag, uptr_add(tags, index * sizeof(*tag))))
		return -EFAULT;
	return 0;
}

int uring_files_register(struct uring *u, struct uptr fds, struct uptr tags, uint32_t count)
{
	struct uring_files *t;
	int error = 0;

	if (u->files)
		return -EBUSY;
	if (!count)
		return -EINVAL;
	if (count > FILES_MAX || count > process_rlimit(current->process, RLIMIT_NOFILE))
		return -EMFILE;
	t = kalloc(sizeof(*t) + count * sizeof(t->slots[0]));
	if (!t)
		return -ENOMEM;
	t->count = count;
	t->alloc_to = count;
	for (uint32_t i = 0; i < count && !error; i++) {
		int32_t fd;

		error = entry_from_user(fds, tags, i, &fd, &t->slots[i].tag);
		if (!error && fd == -1 && t->slots[i].tag)
			error = -EINVAL;
		if (!error)
			error = file_of(fd, &t->slots[i].file);
	}
	if (error) {
		for (uint32_t i = 0; i < count; i++)
			if (t->slots[i].file)
				file_put(t->slots[i].file);
		kfree(t);
		return error;
	}
	u->files = t;
	return 0;
}

int uring_files_unregister(struct uring *u)
{
	if (!u->files)
		return -ENXIO;
	for (uint32_t i = 0; i < u->files->count; i++)
		clear_slot(u, i);
	kfree(u->files);
	u->files = NULL;
	return 0;
}

int uring_files_update(struct uring *u, uint32_t from, struct uptr fds, struct uptr tags, uint32_t count)
{
	uint32_t done;
	int error = 0;

	if (!u->files)
		return -ENXIO;
	if (from + count < from || from + count > u->files->count)
		return -EINVAL;
	for (done = 0; done < count; done++) {
		struct file *f;
		uint64_t tag;
		int32_t fd;

		error = entry_from_user(fds, tags, done, &fd, &tag);
		if (!error && (fd == -1 || fd == IORING_REGISTER_FILES_SKIP) && tag)
			error = -EINVAL;
		if (!error && fd == IORING_REGISTER_FILES_SKIP)
			continue;
		if (!error)
			error = file_of(fd, &f);
		if (error)
			break;
		clear_slot(u, from + done);
		u->files->slots[from + done].file = f;
		u->files->slots[from + done].tag = tag;
	}
	return done ? (int)done : error;
}

int uring_files_alloc_range(struct uring *u, struct uptr user)
{
	struct io_uring_file_index_range r;
	uint32_t end;

	if (get_user(&r, user))
		return -EFAULT;
	if (__builtin_add_overflow(r.off, r.len, &end))
		return -EOVERFLOW;
	if (r.resv || !u->files || end > u->files->count)
		return -EINVAL;
	u->files->alloc_from = r.off;
	u->files->alloc_to = end;
	return 0;
}

// ---- for operations ----

int uring_files_install(struct uring *u, struct file *f, uint32_t where)
{
	int result = where == IORING_FILE_INDEX_ALLOC ? -ENFILE : -EINVAL;

	if (uring_of(f)) { // as when one is registered
		file_put(f);
		return -EBADF;
	}
	mutex_lock(&u->lock);
	if (!u->files) {
		result = -ENXIO;
	} else if (where == IORING_FILE_INDEX_ALLOC) {
		for (uint32_t i = u->files->alloc_from; i < u->files->alloc_to && result < 0; i++)
			if (!u->files->slots[i].file)
				result = (int)i;
		if (result >= 0)
			u->files->slots[result].file = f;
	} else if (where - 1 < u->files->count) {
		clear_slot(u, where - 1);
		u->files->slots[where - 1].file = f;
		result = 0;
	}
	mutex_unlock(&u->lock);
	if (result < 0)
		file_put(f);
	return result;
}

int uring_files_close(struct uring *u, uint32_t index)
{
	int error = -EBADF;

	mutex_lock(&u->lock);
	if (!u->files)
		error = -ENXIO;
	else if (index >= u->files->count)
		error = -EINVAL;
	else if (u->files->slots[index].file)
		error = 0;
	if (!error)
		clear_slot(u, index);
	mutex_unlock(&u->lock);
	return error;
}

int uring_files_update_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;

	return s->flags & (IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT) || s->rw_flags || s->splice_fd_in || !s->len
		       ? -EINVAL
		       : 0;
}

// With IORING_FILE_INDEX_ALLOC each descriptor gets a slot, whose number replaces it in the array.
static int update_allocating(struct uring *u, struct uptr fds, uint32_t count)
{
	uint32_t done;
	int error = 0;

	for (done = 0; done < count; done++) {
		struct file *f = NULL;
		int32_t fd;

		if (get_user(&fd, uptr_add(fds, done * sizeof(fd))))
			error = -EFAULT;
		if (!error)
			error = fd == -1 ? -EBADF : file_of(fd, &f);
		if (!error)
			error = fd = uring_files_install(u, f, IORING_FILE_INDEX_ALLOC);
		if (error < 0)
			break;
		error = 0;
		if (put_user(fd, uptr_add(fds, done * sizeof(fd)))) {
			(void)uring_files_close(u, (uint32_t)fd);
			error = -EFAULT;
			break;
		}
	}
	return done ? (int)done : error;
}

int uring_files_update_issue(struct uring_request *r, bool wait)
{
	const struct io_uring_sqe *s = &r->sqe;
	struct uptr fds = { s->addr };
	int result;

	(void)wait;
	if ((uint32_t)s->off == IORING_FILE_INDEX_ALLOC)
		return update_allocating(r->ring, fds, s->len);
	mutex_lock(&r->ring->lock);
	result = uring_files_update(r->ring, (uint32_t)s->off, fds, (struct uptr){ 0 }, s->len);
	mutex_unlock(&r->ring->lock);
	r->failed = result < (int)s->len;
	return result;
}
