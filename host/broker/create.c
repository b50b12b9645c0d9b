// SPDX-License-Identifier: Apache-2.0
// New names: files, directories, links. The cell's kernel has applied its umask.
#include "broker/request.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MODE_MAX 07777u

// The entry of what was just made, unless making it failed.
static int made_answer(struct request *r, struct request_name *at, int failed)
{
	int error = failed ? -errno : name_answer(r, at);

	request_name_put(at);
	return error;
}

int op_mkdir(struct request *r)
{
	struct fuse_mkdir_in in;
	struct request_name at;
	int error, failed;

	if (!request_take(r, &in, sizeof(in)))
		return -EINVAL;
	error = request_name_get(r, r->header.nodeid, &at);
	if (error)
		return error;
	identity_assume(r);
	failed = mkdirat(at.fd, at.name, in.mode & MODE_MAX);
	identity_resume(r);
	return made_answer(r, &at, failed);
}

int op_mknod(struct request *r)
{
	struct fuse_mknod_in in;
	struct request_name at;
	int error, failed;

	if (!request_take(r, &in, sizeof(in)))
		return -EINVAL;
	if (!S_ISREG(in.mode) && !S_ISFIFO(in.mode) && !S_ISSOCK(in.mode))
		return -EPERM; // devices
	error = request_name_get(r, r->header.nodeid, &at);
	if (error)
		return error;
	identity_assume(r);
	failed = mknodat(at.fd, at.name, in.mode & (S_IFMT | MODE_MAX), 0);
	identity_resume(r);
	return made_answer(r, &at, failed);
}

int op_symlink(struct request *r)
{
	struct request_name at;
	const char *target;
	int error = request_name_get(r, r->header.nodeid, &at), failed;

	if (error)
		return error;
	target = request_text(r);
	if (!target || !*target || strlen(target) >= PATH_MAX) {
		request_name_put(&at);
		return target && *target ? -ENAMETOOLONG : -EINVAL;
	}
	identity_assume(r);
	failed = symlinkat(target, at.fd, at.name);
	identity_resume(r);
	return made_answer(r, &at, failed);
}

int op_link(struct request *r)
{
	struct fuse_link_in in;
	struct request_name at;
	struct node *n;
	char number[16];
	int error, fd, failed = 0;

	if (!request_take(r, &in, sizeof(in)))
		return -EINVAL;
	error = request_name_get(r, r->header.nodeid, &at);
	if (error)
		return error;
	n = node_get(&r->broker->nodes, r->tree, in.oldnodeid);
	fd = n ? node_fd_get(n) : -ESTALE;
	if (fd >= 0) {
		snprintf(number, sizeof(number), "%d", fd);
		failed = linkat(AT_FDCWD, number, at.fd, at.name, AT_SYMLINK_FOLLOW);
		error = failed ? errno : 0;
		node_fd_put(n);
		errno = error;
	}
	node_put(n);
	if (fd < 0) {
		request_name_put(&at);
		return fd;
	}
	return made_answer(r, &at, failed);
}

// ---- created open ----

static int opened_answer(struct request *r, struct request_name *at, int fd, const struct statx *sx)
{
	struct fuse_open_out *out;
	struct node *n;
	int error = node_enter(at->dir, at->name, sx, &n);

	request_put_fd(r, fd);
	if (error)
		return error;
	entry_put(r, at, n, sx);
	out = request_put(r, sizeof(*out));
	out->open_flags = BROKER_FOPEN_PASSTHROUGH;
	node_put(n);
	return 0;
}

// Makes the file, or opens the one that is there.
static int create(struct request *r, struct request_name *at, const struct fuse_create_in *in, int flags,
		  struct statx *sx)
{
	struct nodes *t = &r->broker->nodes;
	int fd = -EEXIST;

	if (!r->tree->read_only) {
		identity_assume(r);
		fd = node_open_beneath(t, at->fd, at->name, flags | O_CREAT | O_EXCL, in->mode & MODE_MAX);
		identity_resume(r);
	}
	if (fd == -EEXIST && !(in->flags & O_EXCL))
		return file_open_name(at, flags, sx);
	if (fd >= 0 && statx(fd, "", AT_EMPTY_PATH, NODE_STATX_MASK, sx)) {
		close(fd);
		fd = -errno;
	}
	return fd;
}

int op_create(struct request *r)
{
	struct fuse_create_in in;
	struct request_name at;
	struct statx sx;
	int error, flags, fd;

	if (!request_take(r, &in, sizeof(in)))
		return -EINVAL;
	error = file_flags(r->tree, in.flags, &flags);
	if (error)
		return error;
	error = request_name_get(r, r->header.nodeid, &at);
	if (error)
		return error;
	fd = create(r, &at, &in, flags, &sx);
	if (fd == -ENOENT && r->tree->read_only)
		fd = -EROFS;
	error = fd < 0 ? fd : opened_answer(r, &at, fd, &sx);
	request_name_put(&at);
	return error;
}

// ---- files without a name ----

static int nameless_answer(struct request *r, struct node *dir, int fd)
{
	struct fuse_open_out *out;
	struct node *n;
	struct statx sx;
	int error = statx(fd, "", AT_EMPTY_PATH, NODE_STATX_MASK, &sx) ? -errno : 0;
	int path = error ? error : node_reopen(&r->broker->nodes, fd, O_PATH);

	request_put_fd(r, fd);
	if (path < 0)
		return path;
	error = node_enter_nameless(r->tree, &r->broker->nodes, path, &sx, &n);
	if (error)
		return error;
	entry_encode(dir, false, n, &sx, request_put(r, sizeof(struct fuse_entry_out)));
	out = request_put(r, sizeof(*out));
	out->open_flags = BROKER_FOPEN_PASSTHROUGH;
	node_put(n);
	return 0;
}

// As CREATE, nodeid = directory; a name may follow and is not looked at.
int op_tmpfile(struct request *r)
{
	struct fuse_create_in in;
	struct node *dir;
	int error, flags, dir_fd, fd = -ESTALE;

	if (!request_take(r, &in, sizeof(in)))
		return -EINVAL;
	error = file_flags(r->tree, in.flags & ~(uint32_t)O_TMPFILE, &flags);
	if (error || !(flags & O_ACCMODE))
		return error ? error : -EINVAL;
	dir = request_node(r);
	dir_fd = !dir ? -ESTALE : node_is_dir(dir) ? node_fd_get(dir) : -ENOTDIR;
	if (dir_fd >= 0) {
		identity_assume(r);
		fd = node_open_beneath(&r->broker->nodes, dir_fd, ".", flags | O_TMPFILE | (int)(in.flags & O_EXCL),
				       in.mode & MODE_MAX);
		identity_resume(r);
		node_fd_put(dir);
	}
	error = dir_fd < 0 ? dir_fd : fd < 0 ? fd : nameless_answer(r, dir, fd);
	node_put(dir);
	return error;
}
