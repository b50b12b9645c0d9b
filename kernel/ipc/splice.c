// SPDX-License-Identifier: Apache-2.0
// splice(2), tee(2), vmsplice(2). Between pipes pages move or are shared; between a pipe and a file bytes are copied once,
// from or into the pipe's pages.
//
// Locks: one pipe's lock is held while its pages are read or written, as in Linux; two pipes in order of address.
#include "pipe_internal.h"

#include <linux/fcntl.h>

#include "kernel/sched.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "kernel/uaccess.h"

// splice(2)'s flags; in no kernel header that is exported.
#define SPLICE_MOVE     1u
#define SPLICE_NONBLOCK 2u
#define SPLICE_MORE     4u
#define SPLICE_GIFT     8u
#define SPLICE_ALL      15u

#define SPLICE_MAX_BYTES (INT32_MAX & PAGE_MASK)

// Locks the pipe with something to read in it. 1: nothing will come (no writers). 0, -EAGAIN, -ERESTARTSYS.
static int lock_readable(struct pipe *p, bool nonblock)
{
	for (;;) {
		if (mutex_lock_killable(&p->lock))
			return -ERESTARTSYS;
		if (!pipe_empty(p))
			return 0;
		bool closed = !p->writers;
		mutex_unlock(&p->lock);
		if (closed)
			return 1;
		if (nonblock)
			return -EAGAIN;
		int error = pipe_wait_readable(p);
		if (error)
			return error;
	}
}

// Locks the pipe with room in it.
static int lock_writable(struct pipe *p, bool nonblock)
{
	for (;;) {
		if (mutex_lock_killable(&p->lock))
			return -ERESTARTSYS;
		if (!p->readers) {
			mutex_unlock(&p->lock);
			return pipe_broken();
		}
		if (!pipe_full(p))
			return 0;
		mutex_unlock(&p->lock);
		if (nonblock)
			return -EAGAIN;
		int error = pipe_wait_writable(p);
		if (error)
			return error;
	}
}

// ---- file to pipe ----

// One page's worth. Bytes, 0 at the end, -errno. The pipe is locked and has room.
static ssize_t read_page(struct pipe *p, struct file *in, loff_t *pos, size_t size)
{
	struct page *page = pipe_page_get(p);
	if (!page)
		return -ENOMEM;
	struct iov_iter to;
	iov_init_kernel(&to, page_address(page), min(size, (size_t)PAGE_SIZE));
	ssize_t n = file_read(in, &to, pos);
	if (n > 0)
		pipe_push(p, page, 0, (uint32_t)n, PIPE_BUFFER_MERGE);
	else if (p->spare)
		page_put(page);
	else
		p->spare = page;
	return n;
}

static ssize_t file_to_pipe(struct file *in, loff_t *pos, struct file *out, size_t size, unsigned flags)
{
	struct pipe *p = pipe_of(out);
	ssize_t done = 0, n = lock_writable(p, (flags & SPLICE_NONBLOCK) || (out->flags & O_NONBLOCK));
	if (n)
		return n;
	while ((size_t)done < size && !pipe_full(p)) {
		n = read_page(p, in, pos, size - (size_t)done);
		if (n <= 0)
			break;
		done += n;
		if (in->mode & FILE_STREAM)
			break; // what is there now; the next read might wait
	}
	mutex_unlock(&p->lock);
	if (done)
		pipe_wake_readers(p);
	return done ? done : n;
}

// ---- pipe to file ----

static ssize_t write_buffer(struct pipe *p, struct file *out, loff_t *pos, size_t size)
{
	struct pipe_buffer *b = pipe_slot(p, p->tail);
	struct iov_iter from;
	iov_init_kernel(&from, (char *)page_address(b->page) + b->offset, min(size, (size_t)b->length));
	ssize_t n = file_write(out, &from, pos);
	if (n <= 0)
		return n;
	b->offset += (uint32_t)n;
	b->length -= (uint32_t)n;
	if (!b->length || (b->flags & PIPE_BUFFER_PACKET))
		pipe_pop(p);
	return n;
}

static ssize_t pipe_to_file(struct file *in, struct file *out, loff_t *pos, size_t size, unsigned flags)
{
	struct pipe *p = pipe_of(in);
	ssize_t done = 0, n = lock_readable(p, (flags & SPLICE_NONBLOCK) || (in->flags & O_NONBLOCK));
	if (n)
		return n == 1 ? 0 : n;
	while ((size_t)done < size && !pipe_empty(p)) {
		n = write_buffer(p, out, pos, size - (size_t)done);
		if (n <= 0)
			break;
		done += n;
	}
	mutex_unlock(&p->lock);
	if (done)
		pipe_wake_writers(p);
	return done ? done : n;
}

// ---- pipe to pipe ----

static void lock_two(struct pipe *a, struct pipe *b)
{
	mutex_lock(a < b ? &a->lock : &b->lock);
	mutex_lock(a < b ? &b->lock : &a->lock);
}

static void unlock_two(struct pipe *a, struct pipe *b)
{
	mutex_unlock(&a->lock);
	mutex_unlock(&b->lock);
}

// Moves (or, keep: shares) buffers. Both locked.
static ssize_t transfer(struct pipe *in, struct pipe *out, size_t size, bool keep)
{
	ssize_t done = 0;
	for (unsigned k = in->tail; (size_t)done < size && k != in->head && !pipe_full(out); k++) {
		struct pipe_buffer *b = pipe_slot(in, k);
		uint32_t n = (uint32_t)min(size - (size_t)done, (size_t)b->length);
		page_get(b->page);
		// Shared pages are not appended to: each pipe's bytes stay its own.
		pipe_push(out, b->page, b->offset, n, b->flags & ~PIPE_BUFFER_MERGE);
		done += n;
		if (keep)
			continue;
		b->offset += n;
		b->length -= n;
		if (!b->length)
			pipe_pop(in);
	}
	return done;
}

static ssize_t pipe_to_pipe(struct file *in_file, struct file *out_file, size_t size, unsigned flags, bool keep)
{
	struct pipe *in = pipe_of(in_file), *out = pipe_of(out_file);
	bool nonblock = (flags & SPLICE_NONBLOCK) || ((in_file->flags | out_file->flags) & O_NONBLOCK);
	if (in == out)
		return -EINVAL;
	for (;;) {
		lock_two(in, out);
		bool closed = !in->writers, broken = !out->readers, empty = pipe_empty(in), full = pipe_full(out);
		ssize_t done = broken || empty || full ? 0 : transfer(in, out, size, keep);
		unlock_two(in, out);
		if (done) {
			pipe_wake_readers(out);
			if (!keep)
				pipe_wake_writers(in);
			return done;
		}
		if (broken)
			return pipe_broken();
		if (empty && closed)
			return 0;
		if (nonblock)
			return -EAGAIN;
		int error = empty ? pipe_wait_readable(in) : pipe_wait_writable(out);
		if (error)
			return error;
	}
}

// ---- system calls ----

struct offset {
	struct uptr user;
	loff_t value;
	loff_t *pointer; // NULL: the file's own
};

static int offset_get(struct offset *o, struct uptr user, const struct file *f)
{
	o->user = user;
	o->pointer = NULL;
	if (uptr_is_null(user))
		return 0;
	if (f->mode & FILE_STREAM)
		return -ESPIPE;
	o->pointer = &o->value;
	if (get_user(&o->value, user))
		return -EFAULT;
	return o->value < 0 ? -EINVAL : 0;
}

static int offset_put(const struct offset *o) { return o->pointer ? put_user(o->value, o->user) : 0; }

static bool bad_position(const struct file *f, const loff_t *pos) { return pos && f->mode & FILE_STREAM; }

long file_splice(struct file *in, loff_t *in_pos, struct file *out, loff_t *out_pos, size_t size, unsigned flags)
{
	if (flags & ~SPLICE_ALL)
		return -EINVAL;
	size = min(size, SPLICE_MAX_BYTES);
	if (bad_position(in, in_pos) || bad_position(out, out_pos))
		return -ESPIPE;
	if ((in_pos && *in_pos < 0) || (out_pos && *out_pos < 0))
		return -EINVAL;
	if (!(in->mode & FILE_READ) || !(out->mode & FILE_WRITE))
		return -EBADF;
	if (file_is_pipe(in) && file_is_pipe(out))
		return pipe_to_pipe(in, out, size, flags, false);
	if (file_is_pipe(in))
		return out->flags & O_APPEND ? -EINVAL : pipe_to_file(in, out, out_pos, size, flags);
	if (file_is_pipe(out))
		return file_to_pipe(in, in_pos, out, size, flags);
	return -EINVAL;
}

long sys_splice(int in_fd, struct uptr in_offset, int out_fd, struct uptr out_offset, size_t size, unsigned flags)
{
	if (flags & ~SPLICE_ALL)
		return -EINVAL;
	if (!size)
		return 0;
	struct file *in = fd_get(in_fd), *out = fd_get(out_fd);
	long result = -EBADF;
	if (in && out) {
		struct offset in_pos, out_pos;
		result = offset_get(&in_pos, in_offset, in);
		if (!result)
			result = offset_get(&out_pos, out_offset, out);
		if (!result)
			result = file_splice(in, in_pos.pointer, out, out_pos.pointer, size, flags);
		if (result >= 0 && (offset_put(&in_pos) || offset_put(&out_pos)))
			result = -EFAULT;
	}
	file_put(in);
	file_put(out);
	return result;
}

long file_tee(struct file *in, struct file *out, size_t size, unsigned flags)
{
	if (flags & ~SPLICE_ALL)
		return -EINVAL;
	if (!(in->mode & FILE_READ) || !(out->mode & FILE_WRITE))
		return -EBADF;
	if (!file_is_pipe(in) || !file_is_pipe(out))
		return -EINVAL;
	return pipe_to_pipe(in, out, min(size, SPLICE_MAX_BYTES), flags, true);
}

long sys_tee(int in_fd, int out_fd, size_t size, unsigned flags)
{
	if (flags & ~SPLICE_ALL)
		return -EINVAL;
	if (!size)
		return 0;
	struct file *in = fd_get(in_fd), *out = fd_get(out_fd);
	long result = in && out ? file_tee(in, out, size, flags) : -EBADF;
	file_put(in);
	file_put(out);
	return result;
}

// Copies where Linux may map: what the program sees is the same, but that it may reuse its memory at once.
long sys_vmsplice(int fd, struct uptr vector, size_t count, unsigned flags)
{
	if (flags & ~SPLICE_ALL)
		return -EINVAL;
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	struct iov_vector v;
	struct iov_iter i;
	long result = file_is_pipe(f) ? iov_import(&v, vector, count, &i) : -EBADF;
	if (file_is_pipe(f)) {
		if (!result)
			result = f->mode & FILE_WRITE ? file_write(f, &i, NULL) : file_read(f, &i, NULL);
		iov_import_done(&v);
	}
	file_put(f);
	return result;
}
