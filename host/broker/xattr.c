// SPDX-License-Identifier: Apache-2.0
// Extended attributes, xattr(7): those of programs ("user."). The others mean something to the host, or tell of it.
#include "broker/request.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#define USER_PREFIX     "user."
#define VALUE_BYTES_MAX 65536u // XATTR_SIZE_MAX, XATTR_LIST_MAX

static int name_take(struct request *r, const char **name)
{
	*name = request_text(r);
	if (!*name || !**name)
		return -EINVAL;
	if (strlen(*name) > NODE_NAME_MAX)
		return -ERANGE;
	return strncmp(*name, USER_PREFIX, strlen(USER_PREFIX)) ? -EOPNOTSUPP : 0;
}

// The node of the request as a path: its descriptor's number; the working directory is /proc/self/fd.
struct xattr_path {
	struct node *node;
	char text[16];
};

static int path_get(struct request *r, struct xattr_path *p)
{
	int fd;

	p->node = request_node(r);
	fd = p->node ? node_fd_get(p->node) : -ESTALE;
	if (fd < 0) {
		node_put(p->node);
		return fd;
	}
	snprintf(p->text, sizeof(p->text), "%d", fd);
	return 0;
}

static void path_put(struct xattr_path *p)
{
	node_fd_put(p->node);
	node_put(p->node);
}

int op_setxattr(struct request *r)
{
	struct fuse_setxattr_in in = { 0 };
	bool whole = __atomic_load_n(&r->tree->long_setxattr, __ATOMIC_ACQUIRE);
	struct xattr_path p;
	const char *name;
	int error;

	if (!request_take(r, &in, whole ? sizeof(in) : FUSE_COMPAT_SETXATTR_IN_SIZE) ||
	    in.flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	error = name_take(r, &name);
	if (!error && (in.size > VALUE_BYTES_MAX || in.size > r->arguments_bytes))
		error = -E2BIG;
	if (!error)
		error = path_get(r, &p);
	if (error)
		return error;
	if (setxattr(p.text, name, r->arguments, in.size, (int)in.flags))
		error = -errno;
	path_put(&p);
	return error;
}

static int size_put(struct request *r, size_t size)
{
	struct fuse_getxattr_out *out = request_put(r, sizeof(*out));
	out->size = (uint32_t)size;
	return 0;
}

int op_getxattr(struct request *r)
{
	struct fuse_getxattr_in in;
	struct xattr_path p;
	const char *name;
	ssize_t n;
	int error;

	if (!request_take(r, &in, sizeof(in)))
		return -EINVAL;
	error = name_take(r, &name);
	if (!error)
		error = path_get(r, &p);
	if (error)
		return error;
	n = getxattr(p.text, name, r->answer, in.size < VALUE_BYTES_MAX ? in.size : VALUE_BYTES_MAX);
	error = n < 0 ? -errno : 0;
	path_put(&p);
	if (error)
		return error;
	if (!in.size)
		return size_put(r, (size_t)n);
	r->answer_bytes = (size_t)n;
	return 0;
}

// Leaves only the names of programs' attributes. Their size.
static size_t names_select(char *names, size_t size)
{
	size_t kept = 0;

	for (size_t at = 0, length; at < size; at += length) {
		length = strnlen(names + at, size - at) + 1;
		if (at + length > size)
			break;
		if (!strncmp(names + at, USER_PREFIX, strlen(USER_PREFIX))) {
			memmove(names + kept, names + at, length);
			kept += length;
		}
	}
	return kept;
}

int op_listxattr(struct request *r)
{
	struct fuse_getxattr_in in;
	struct xattr_path p;
	ssize_t n;
	size_t size;
	int error;

	if (!request_take(r, &in, sizeof(in)))
		return -EINVAL;
	error = path_get(r, &p);
	if (error)
		return error;
	n = listxattr(p.text, r->answer, VALUE_BYTES_MAX);
	error = n < 0 ? -errno : 0;
	path_put(&p);
	if (error)
		return error;
	size = names_select(r->answer, (size_t)n);
	if (!in.size)
		return size_put(r, size);
	if (size > in.size)
		return -ERANGE;
	r->answer_bytes = size;
	return 0;
}

int op_removexattr(struct request *r)
{
	struct xattr_path p;
	const char *name;
	int error = name_take(r, &name);

	if (!error)
		error = path_get(r, &p);
	if (error)
		return error;
	if (removexattr(p.text, name))
		error = -errno;
	path_put(&p);
	return error;
}
