// SPDX-License-Identifier: Apache-2.0
// copy_file_range(2) at the server: large copies within one tree need not travel through the cell at all, and a host file
// system that can share extents does.
//
// The server copies what it has: dirty pages of the source go there first; cached pages of the destination's range go away.
#include "fs.h"

#include "lib/string.h"

#define WORTH_IT_BYTES (1u << 20) // below, the page cache is quicker than two syncs and a round trip
#define ONE_CALL_BYTES (1u << 26) // so that a signal does not wait for a disk for minutes

static ssize_t copy_call(struct inode *in, struct fs_handle *from, loff_t in_pos, struct inode *out,
			 struct fs_handle *to, loff_t out_pos, uint32_t size)
{
	struct fuse_copy_file_range_in message = {
		.fh_in = from->fh,
		.off_in = (uint64_t)in_pos,
		.nodeid_out = fs_node(out),
		.fh_out = to->fh,
		.off_out = (uint64_t)out_pos,
		.len = size,
	};
	struct fs_request *r = fs_request_get(fs_connection_of(in), FUSE_COPY_FILE_RANGE, fs_node(in));
	uint32_t copied = 0;
	if (is_err(r))
		return ptr_err(r);
	fs_arg(r, &message, sizeof(message));
	fs_reply_room(r, sizeof(struct fuse_write_out));
	int error = fs_call(r);
	if (!error)
		error = fuse_decode_written(r->reply, r->reply_bytes, size, &copied);
	fs_request_put(r);
	if (error == -ENOSYS || error == -EXDEV || error == -EINVAL)
		return -EOPNOTSUPP;
	return error ? error : (ssize_t)copied;
}

// Destination locked and marked as being written.
static ssize_t copy_locked(struct inode *in, struct fs_handle *from, loff_t in_pos, struct inode *out,
			   struct fs_handle *to, loff_t out_pos, uint32_t size)
{
	struct mobj *o = &out->data;
	int error = mobj_sync(&in->data, (uint64_t)in_pos, (uint64_t)in_pos + size, true);
	if (!error)
		error = mobj_sync(o, (uint64_t)out_pos, (uint64_t)out_pos + size, true);
	if (error)
		return error;
	ssize_t n = copy_call(in, from, in_pos, out, to, out_pos, size);
	if (n <= 0)
		return n;
	uint64_t end = (uint64_t)out_pos + (uint64_t)n;
	if (end > o->size_bytes)
		__atomic_store_n(&o->size_bytes, end, __ATOMIC_RELEASE);
	mobj_truncate(o, align_down((uint64_t)out_pos, PAGE_SIZE), align_up(end, PAGE_SIZE));
	out->mtime = out->ctime = timestamp_now();
	return n;
}

ssize_t fs_copy_range(struct file *f_in, loff_t in_pos, struct file *f_out, loff_t out_pos, size_t size)
{
	struct inode *in = f_in->inode, *out = f_out->inode;
	struct fs_connection *c = fs_connection_of(out);
	uint64_t in_size = __atomic_load_n(&in->data.size_bytes, __ATOMIC_ACQUIRE);
	size = min(size, in_size > (uint64_t)in_pos ? in_size - (uint64_t)in_pos : 0);
	if (size < WORTH_IT_BYTES || in == out || !fs_supports(c, FUSE_COPY_FILE_RANGE))
		return -EOPNOTSUPP;
	struct fs_handle *from = fs_handle_get(in, false);
	if (is_err(from))
		return ptr_err(from);
	struct fs_handle *to = fs_handle_get(out, true);
	ssize_t n = is_err(to) ? ptr_err(to) : 0;
	if (!n) {
		mutex_lock(&out->lock);
		fs_write_begin(out);
		n = copy_locked(in, from, in_pos, out, to, out_pos, (uint32_t)min(size, (size_t)ONE_CALL_BYTES));
		fs_write_end(out, n > 0);
		mutex_unlock(&out->lock);
		fs_handle_put(c, to, NULL);
	}
	fs_handle_put(c, from, NULL);
	return n;
}
