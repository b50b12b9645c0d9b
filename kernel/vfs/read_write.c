// SPDX-License-Identifier: Apache-2.0
// read(2), write(2) and their many forms, lseek(2), sendfile(2), copy_file_range(2).
//
// The descriptor is borrowed (fd_begin), the program's buffers become an iov_iter, the file's own operation moves the
// bytes. file.position_lock is taken only when someone else can reach the same open file.
#include "internal.h"

#include <linux/fs.h>
#include <linux/inotify.h>
#include <linux/resource.h>
#include <linux/uio.h>

#include "lib/string.h"

#define COPY_CHUNK (32u << 10)

// ---- one transfer ----

static ssize_t at_position(struct file *f, struct iov_iter *i,
			   ssize_t (*fn)(struct file *, struct iov_iter *, loff_t *))
{
	if (f->mode & FILE_STREAM) {
		loff_t none = 0;
		return fn(f, i, &none);
	}
	bool shared = refcount_read(&f->refs) > 1;
	if (shared)
		mutex_lock(&f->position_lock);
	loff_t pos = f->position;
	ssize_t result = fn(f, i, &pos);
	f->position = pos;
	if (shared)
		mutex_unlock(&f->position_lock);
	return result;
}

ssize_t file_read(struct file *f, struct iov_iter *to, loff_t *pos)
{
	if (unlikely(!(f->mode & FILE_READ)))
		return -EBADF;
	if (unlikely(!f->ops->read))
		return inode_is_dir(f->inode) ? -EISDIR : -EINVAL;
	ssize_t result = pos ? f->ops->read(f, to, pos) : at_position(f, to, f->ops->read);
	if (result > 0) {
		fsnotify(f->inode, f->path.dentry, IN_ACCESS);
		current->io.bytes_read += (uint64_t)result;
	}
	current->io.reads++;
	return result;
}

ssize_t file_write(struct file *f, struct iov_iter *from, loff_t *pos)
{
	if (unlikely(!(f->mode & FILE_WRITE)))
		return -EBADF;
	if (unlikely(!f->ops->write))
		return -EINVAL;
	ssize_t result = pos ? f->ops->write(f, from, pos) : at_position(f, from, f->ops->write);
	if (result > 0) {
		fsnotify(f->inode, f->path.dentry, IN_MODIFY);
		current->io.bytes_written += (uint64_t)result;
	}
	current->io.writes++;
	return result;
}

ssize_t file_read_kernel(struct file *f, void *buffer, size_t size, loff_t pos)
{
	if (!f->ops->read)
		return inode_is_dir(f->inode) ? -EISDIR : -EINVAL;
	struct iov_iter to;
	size_t done = 0;
	while (done < size) { // exec wants all there is, not what is there now
		iov_init_kernel(&to, (char *)buffer + done, size - done);
		ssize_t n = f->ops->read(f, &to, &pos);
		if (n < 0)
			return done ? (ssize_t)done : n;
		if (!n)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int write_limit(struct file *f, loff_t pos, size_t *count)
{
	uint64_t limit = process_rlimit(current->process, RLIMIT_FSIZE), end = f->inode->super->max_file_bytes;
	if (unlikely(limit != RLIM64_INFINITY)) {
		if ((uint64_t)pos >= limit) {
			signal_send_task(current, SIGXFSZ, NULL);
			return -EFBIG;
		}
		*count = min((uint64_t)*count, limit - (uint64_t)pos);
	}
	if ((uint64_t)pos >= end)
		return -EFBIG;
	*count = min((uint64_t)*count, end - (uint64_t)pos);
	return 0;
}

// ---- read(2), write(2), pread(2), pwrite(2) ----

long sys_read(int fd, struct uptr buffer, size_t size)
{
	struct fd_borrow b = fd_begin(fd);
	if (unlikely(!b.file))
		return -EBADF;
	struct iov_iter to;
	iov_init_user(&to, buffer, min(size, RW_MAX_BYTES));
	ssize_t result = user_range_ok(buffer.address, size) ? file_read(b.file, &to, NULL) : -EFAULT;
	fd_end(b);
	return result;
}

long sys_write(int fd, struct uptr data, size_t size)
{
	struct fd_borrow b = fd_begin(fd);
	if (unlikely(!b.file))
		return -EBADF;
	struct iov_iter from;
	iov_init_user(&from, data, min(size, RW_MAX_BYTES));
	ssize_t result = user_range_ok(data.address, size) ? file_write(b.file, &from, NULL) : -EFAULT;
	fd_end(b);
	return result;
}

long sys_pread64(int fd, struct uptr buffer, size_t size, loff_t offset)
{
	if (offset < 0)
		return -EINVAL;
	struct fd_borrow b = fd_begin(fd);
	if (unlikely(!b.file))
		return -EBADF;
	struct iov_iter to;
	iov_init_user(&to, buffer, min(size, RW_MAX_BYTES));
	ssize_t result = b.file->mode & FILE_STREAM             ? -ESPIPE
			 : !user_range_ok(buffer.address, size) ? -EFAULT
								: file_read(b.file, &to, &offset);
	fd_end(b);
	return result;
}

long sys_pwrite64(int fd, struct uptr data, size_t size, loff_t offset)
{
	if (offset < 0)
		return -EINVAL;
	struct fd_borrow b = fd_begin(fd);
	if (unlikely(!b.file))
		return -EBADF;
	struct iov_iter from;
	iov_init_user(&from, data, min(size, RW_MAX_BYTES));
	ssize_t result = b.file->mode & FILE_STREAM           ? -ESPIPE
			 : !user_range_ok(data.address, size) ? -EFAULT
							      : file_write(b.file, &from, &offset);
	fd_end(b);
	return result;
}

// ---- vectors ----

static_assert(sizeof(struct iov_segment) == sizeof(struct iovec), "a segment is what the program's iovec is");

static int check_segments(struct iov_segment *s, size_t count, size_t *total)
{
	*total = 0;
	for (size_t k = 0; k < count; k++) {
		if ((int64_t)s[k].size < 0)
			return -EINVAL;
		if (!user_range_ok(s[k].address, s[k].size))
			return -EFAULT;
		s[k].size = min(s[k].size, RW_MAX_BYTES - *total);
		*total += s[k].size;
	}
	return 0;
}

int iov_import(struct iov_vector *v, struct uptr user, size_t count, struct iov_iter *out)
{
	v->segments = v->few;
	if (count > UIO_MAXIOV)
		return -EINVAL;
	if (count > array_count(v->few)) {
		v->segments = kalloc_array(count, sizeof(*v->segments));
		if (!v->segments) {
			v->segments = v->few;
			return -ENOMEM;
		}
	}
	if (copy_from_user(v->segments, user, count * sizeof(*v->segments)))
		return -EFAULT;
	out->segments = v->segments;
	out->segment_count = (unsigned)count;
	out->segment_offset = 0;
	out->kernel = NULL;
	out->append = false;
	if (!count) { // the iterator wants one
		v->few[0] = (struct iov_segment){ 0, 0 };
		out->segment_count = 1;
	}
	return check_segments(v->segments, count, &out->count);
}

void iov_import_done(struct iov_vector *v)
{
	if (v->segments != v->few)
		kfree(v->segments);
}

static int sync_after(struct file *f, loff_t end, ssize_t count, int flags)
{
	if (count <= 0 || !(flags & (RWF_SYNC | RWF_DSYNC)) || !f->ops->fsync)
		return 0;
	return f->ops->fsync(f, end - count, end, !(flags & RWF_SYNC));
}

unsigned file_transfer_flags(bool write) { return RWF_HIPRI | RWF_DSYNC | RWF_SYNC | (write ? RWF_APPEND : 0); }

ssize_t file_transfer(struct file *f, struct iov_iter *i, loff_t *pos, int flags, bool write)
{
	i->append = flags & RWF_APPEND;
	ssize_t result = write ? file_write(f, i, pos) : file_read(f, i, pos);
	if (result <= 0 || !write)
		return result;
	int error = sync_after(f, pos ? *pos : f->position, result, flags);
	return error ? error : result;
}

// offset -1: the file's position.
static long transfer_vector(int fd, struct uptr vector, size_t count, loff_t offset, int flags, bool write)
{
	if ((unsigned)flags & ~file_transfer_flags(write))
		return -EOPNOTSUPP;
	struct fd_borrow b = fd_begin(fd);
	if (!b.file)
		return -EBADF;
	struct iov_vector v;
	struct iov_iter i;
	loff_t pos = offset;
	long result = iov_import(&v, vector, count, &i);
	if (!result && offset != -1 && (b.file->mode & FILE_STREAM))
		result = -ESPIPE;
	if (!result)
		result = file_transfer(b.file, &i, offset == -1 ? NULL : &pos, flags, write);
	iov_import_done(&v);
	fd_end(b);
	return result;
}

long sys_readv(int fd, struct uptr vector, size_t count) { return transfer_vector(fd, vector, count, -1, 0, false); }
long sys_writev(int fd, struct uptr vector, size_t count) { return transfer_vector(fd, vector, count, -1, 0, true); }

long sys_preadv(int fd, struct uptr vector, size_t count, uint64_t offset_low, uint64_t offset_high)
{
	return (loff_t)offset_low < 0 ? -EINVAL : transfer_vector(fd, vector, count, (loff_t)offset_low, 0, false);
}

long sys_pwritev(int fd, struct uptr vector, size_t count, uint64_t offset_low, uint64_t offset_high)
{
	return (loff_t)offset_low < 0 ? -EINVAL : transfer_vector(fd, vector, count, (loff_t)offset_low, 0, true);
}

long sys_preadv2(int fd, struct uptr vector, size_t count, uint64_t offset_low, uint64_t offset_high, int flags)
{
	return (loff_t)offset_low < -1 ? -EINVAL : transfer_vector(fd, vector, count, (loff_t)offset_low, flags, false);
}

long sys_pwritev2(int fd, struct uptr vector, size_t count, uint64_t offset_low, uint64_t offset_high, int flags)
{
	return (loff_t)offset_low < -1 ? -EINVAL : transfer_vector(fd, vector, count, (loff_t)offset_low, flags, true);
}

// ---- lseek(2) ----

loff_t file_seek(struct file *f, loff_t offset, int whence)
{
	if (f->mode & FILE_STREAM)
		return -ESPIPE;
	bool shared = refcount_read(&f->refs) > 1;
	if (shared)
		mutex_lock(&f->position_lock);
	loff_t result = f->ops->seek ? f->ops->seek(f, offset, whence) : generic_seek(f, offset, whence);
	if (result >= 0 && inode_is_dir(f->inode))
		f->readahead_start = 0; // readdir.c: made-up names start over
	if (shared)
		mutex_unlock(&f->position_lock);
	return result;
}

long sys_lseek(int fd, loff_t offset, int whence)
{
	struct fd_borrow b = fd_begin(fd);
	if (!b.file)
		return -EBADF;
	loff_t result = file_seek(b.file, offset, whence);
	fd_end(b);
	return result;
}

// ---- file to file ----

// Copies through a kernel buffer. in_pos or out_pos NULL: the file's own position. What was read and could not be written is
// given back to the input by its position, so the input must have one.
static ssize_t copy_between(struct file *in, loff_t *in_pos, struct file *out, loff_t *out_pos, size_t count)
{
	size_t chunk = min(count, (size_t)COPY_CHUNK), done = 0;
	char *buffer = kalloc(chunk);
	if (!buffer)
		return -ENOMEM;
	ssize_t result = 0;
	while (done < count && !(done && signal_pending(current))) {
		struct iov_iter i;
		loff_t start = *in_pos;
		iov_init_kernel(&i, buffer, min(chunk, count - done));
		result = file_read(in, &i, in_pos);
		if (result <= 0)
			break;
		ssize_t got = result;
		iov_init_kernel(&i, buffer, (size_t)got);
		result = file_write(out, &i, out_pos);
		*in_pos = start + max(result, (ssize_t)0);
		if (result <= 0)
			break;
		done += (size_t)result;
		if (result < got)
			break;
		sched_preempt_point();
	}
	kfree(buffer);
	return done ? (ssize_t)done : result;
}

static long sendfile(struct file *in, loff_t *in_pos, struct file *out, size_t count)
{
	if ((in->mode & FILE_STREAM) || !in->ops->read || (out->flags & O_APPEND))
		return -EINVAL;
	if (in_pos)
		return *in_pos < 0 ? -EINVAL : copy_between(in, in_pos, out, NULL, min(count, RW_MAX_BYTES));
	mutex_lock(&in->position_lock);
	loff_t pos = in->position;
	ssize_t result = copy_between(in, &pos, out, NULL, min(count, RW_MAX_BYTES));
	in->position = pos;
	mutex_unlock(&in->position_lock);
	return result;
}

long sys_sendfile(int out_fd, int in_fd, struct uptr offset, size_t count)
{
	loff_t pos = 0;
	if (!uptr_is_null(offset) && get_user(&pos, offset))
		return -EFAULT;
	struct fd_borrow in = fd_begin(in_fd), out = fd_begin(out_fd);
	long result = -EBADF;
	if (in.file && out.file) {
		if (!uptr_is_null(offset) && (in.file->mode & FILE_STREAM))
			result = -ESPIPE;
		else if (!(in.file->mode & FILE_READ) || !(out.file->mode & FILE_WRITE))
			result = -EBADF;
		else if (in.file == out.file && uptr_is_null(offset))
			result = -EINVAL;
		else
			result = sendfile(in.file, uptr_is_null(offset) ? NULL : &pos, out.file, count);
	}
	fd_end(in);
	fd_end(out);
	if (result >= 0 && !uptr_is_null(offset) && put_user(pos, offset))
		return -EFAULT;
	return result;
}

static int check_copy(struct file *in, struct file *out, loff_t in_pos, loff_t out_pos, size_t size)
{
	if (inode_is_dir(in->inode) || inode_is_dir(out->inode))
		return -EISDIR;
	if (!inode_is_reg(in->inode) || !inode_is_reg(out->inode))
		return -EINVAL;
	if (!(in->mode & FILE_READ) || !(out->mode & FILE_WRITE) || (out->flags & O_APPEND))
		return -EBADF;
	if (in_pos < 0 || out_pos < 0)
		return -EINVAL;
	if ((uint64_t)in_pos + size < size || (uint64_t)out_pos + size < size)
		return -EOVERFLOW;
	if (in->inode == out->inode && (uint64_t)in_pos < (uint64_t)out_pos + size &&
	    (uint64_t)out_pos < (uint64_t)in_pos + size)
		return -EINVAL;
	return 0;
}

static long copy_range(struct file *in, struct uptr in_offset, struct file *out, struct uptr out_offset, size_t size)
{
	loff_t in_pos = in->position, out_pos = out->position;
	if ((!uptr_is_null(in_offset) && get_user(&in_pos, in_offset)) ||
	    (!uptr_is_null(out_offset) && get_user(&out_pos, out_offset)))
		return -EFAULT;
	size = min(size, RW_MAX_BYTES);
	int error = check_copy(in, out, in_pos, out_pos, size);
	if (error || !size)
		return error;
	ssize_t result = -EOPNOTSUPP;
	if (out->ops->copy_range && in->inode->super == out->inode->super) {
		size_t allowed = size;
		error = write_limit(out, out_pos, &allowed);
		result = error ? error : out->ops->copy_range(in, in_pos, out, out_pos, allowed);
		in_pos += max(result, (ssize_t)0);
		out_pos += max(result, (ssize_t)0);
	}
	if (result == -EOPNOTSUPP)
		result = copy_between(in, &in_pos, out, &out_pos, size);
	if (result < 0)
		return result;
	if (uptr_is_null(in_offset))
		in->position = in_pos;
	else if (put_user(in_pos, in_offset))
		return -EFAULT;
	if (uptr_is_null(out_offset))
		out->position = out_pos;
	else if (put_user(out_pos, out_offset))
		return -EFAULT;
	return result;
}

long sys_copy_file_range(int in_fd, struct uptr in_offset, int out_fd, struct uptr out_offset, size_t size,
			 unsigned flags)
{
	if (flags)
		return -EINVAL;
	struct fd_borrow in = fd_begin(in_fd), out = fd_begin(out_fd);
	long result = in.file && out.file ? copy_range(in.file, in_offset, out.file, out_offset, size) : -EBADF;
	fd_end(in);
	fd_end(out);
	return result;
}
