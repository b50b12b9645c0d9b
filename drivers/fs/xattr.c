// SPDX-License-Identifier: Apache-2.0
// Extended attributes, xattr(7): passed through. Values travel in pages of their own.
#include "fs.h"

#include "lib/string.h"

#define VALUE_BYTES_MAX 65536u // XATTR_SIZE_MAX

// Servers have those of programs only (host/broker/xattr.c, host/qemu/share.c). Every cp -a and ls -l asks for others, for every file.
static bool is_foreign(const char *name) { return name && strncmp(name, "user.", 5) != 0; }

static int unsupported(int error) { return error == -ENOSYS ? -EOPNOTSUPP : error; }

static struct page *value_pages(size_t size)
{
	unsigned order = 0;
	while ((PAGE_SIZE << order) < size)
		order++;
	return page_alloc(order, FS_PAGE_FLAGS);
}

// GETXATTR or LISTXATTR into `out`; size 0 asks for the length only.
static ssize_t value_get(struct inode *i, unsigned opcode, const char *name, void *out, size_t size)
{
	struct fs_connection *c = fs_connection_of(i);
	size = min(size, (size_t)VALUE_BYTES_MAX);
	struct fuse_getxattr_in in = { .size = (uint32_t)size };
	uint32_t length;
	if (is_foreign(name) || !fs_supports(c, opcode))
		return -EOPNOTSUPP;
	struct page *p = size ? value_pages(size) : NULL;
	if (size && !p)
		return -ENOMEM;
	struct fs_request *r = fs_request_get(c, opcode, fs_node(i));
	ssize_t result = is_err(r) ? ptr_err(r) : 0;
	if (result)
		goto out;
	fs_arg(r, &in, sizeof(in));
	if (name)
		fuse_put_name(&r->builder, name, strlen(name));
	if (p)
		fs_payload(r, page_to_frame(p), (uint32_t)size, false);
	else
		fs_reply_room(r, sizeof(struct fuse_getxattr_out));
	result = unsupported(fs_call(r));
	if (!result && !p)
		result = fuse_decode_xattr_size(r->reply, r->reply_bytes, &length)
				 ? -EIO
				 : (ssize_t)min(length, VALUE_BYTES_MAX);
	else if (!result) {
		result = (ssize_t)min(r->reply_bytes, size);
		memcpy(out, page_address(p), (size_t)result);
	}
	fs_request_put(r);
out:
	if (p)
		page_put(p);
	return result;
}

ssize_t fs_getxattr(struct inode *i, const char *name, void *value, size_t size)
{
	return value_get(i, FUSE_GETXATTR, name, value, size);
}

ssize_t fs_listxattr(struct inode *i, char *list, size_t size)
{
	ssize_t n = value_get(i, FUSE_LISTXATTR, NULL, list, size);
	if (n == -EOPNOTSUPP)
		return 0;
	return n > 0 && size && list[n - 1] ? -EIO : n; // names end in NUL each
}

int fs_setxattr(struct inode *i, const char *name, const void *value, size_t size, int flags)
{
	struct fs_connection *c = fs_connection_of(i);
	struct fuse_setxattr_in in = { .size = (uint32_t)size, .flags = (uint32_t)flags };
	if (size > VALUE_BYTES_MAX)
		return -E2BIG;
	if (is_foreign(name) || !fs_supports(c, FUSE_SETXATTR))
		return -EOPNOTSUPP;
	struct page *p = size ? value_pages(size) : NULL;
	if (size && !p)
		return -ENOMEM;
	struct fs_request *r = fs_request_get(c, FUSE_SETXATTR, fs_node(i));
	int error = is_err(r) ? (int)ptr_err(r) : 0;
	if (!error) {
		fs_arg(r, &in, c->parameters.flags & FUSE_SETXATTR_EXT ? sizeof(in) : FUSE_COMPAT_SETXATTR_IN_SIZE);
		fuse_put_name(&r->builder, name, strlen(name));
		if (p) {
			memcpy(page_address(p), value, size);
			fs_payload(r, page_to_frame(p), (uint32_t)size, true);
		}
		error = unsupported(fs_call(r));
		fs_request_put(r);
	}
	if (p)
		page_put(p);
	fs_attributes_changed(i); // ctime, perhaps mode
	fs_attributes_stale(i);
	return error;
}

int fs_removexattr(struct inode *i, const char *name)
{
	struct fs_connection *c = fs_connection_of(i);
	if (is_foreign(name) || !fs_supports(c, FUSE_REMOVEXATTR))
		return -EOPNOTSUPP;
	struct fs_request *r = fs_request_get(c, FUSE_REMOVEXATTR, fs_node(i));
	if (is_err(r))
		return (int)ptr_err(r);
	fuse_put_name(&r->builder, name, strlen(name));
	int error = unsupported(fs_call(r));
	fs_request_put(r);
	fs_attributes_changed(i);
	fs_attributes_stale(i);
	return error;
}
