// SPDX-License-Identifier: Apache-2.0
// Attributes, links' targets, rights, and what statfs(2) tells.
//
// Changes are made on a descriptor that was compared with the node, never on a name.
#include "broker/request.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

static uint32_t encode_rdev(uint32_t major, uint32_t minor)
{
	return (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
}

void attributes_encode(const struct statx *sx, struct fuse_attr *out)
{
	*out = (struct fuse_attr){
		.ino = sx->stx_ino,
		.size = sx->stx_size,
		.blocks = sx->stx_blocks,
		.atime = (uint64_t)sx->stx_atime.tv_sec,
		.mtime = (uint64_t)sx->stx_mtime.tv_sec,
		.ctime = (uint64_t)sx->stx_ctime.tv_sec,
		.atimensec = sx->stx_atime.tv_nsec,
		.mtimensec = sx->stx_mtime.tv_nsec,
		.ctimensec = sx->stx_ctime.tv_nsec,
		.mode = sx->stx_mode,
		.nlink = sx->stx_nlink,
		.uid = sx->stx_uid,
		.gid = sx->stx_gid,
		.rdev = encode_rdev(sx->stx_rdev_major, sx->stx_rdev_minor),
		.blksize = sx->stx_blksize,
	};
}

static int attributes_answer(struct request *r, struct node *n)
{
	struct statx sx;
	bool watched = node_is_watched(n);
	int error = node_stat(n, &sx);

	return error ? error : attributes_put(r, n, &sx, watched);
}

int op_getattr(struct request *r)
{
	struct node *n = request_node(r); // its arguments speak of file handles, which mean nothing here
	int error = n ? attributes_answer(r, n) : -ESTALE;

	node_put(n);
	return error;
}

// ---- changes ----

static int change_owner(int fd, const struct fuse_setattr_in *in)
{
	uid_t uid = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
	gid_t gid = in->valid & FATTR_GID ? in->gid : (gid_t)-1;

	return fchownat(fd, "", uid, gid, AT_EMPTY_PATH) ? -errno : 0;
}

static int change_mode(int fd, mode_t mode)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", fd);
	return fchmodat(AT_FDCWD, number, mode & 07777, 0) ? -errno : 0;
}

static int change_size(struct node *n, int path_fd, uint64_t size)
{
	int fd, error;

	if (!S_ISREG(n->identity.type))
		return node_is_dir(n) ? -EISDIR : -EINVAL;
	if (size > INT64_MAX)
		return -EINVAL;
	fd = node_reopen(n->table, path_fd, O_WRONLY);
	if (fd < 0)
		return fd;
	error = ftruncate(fd, (off_t)size) ? -errno : 0;
	close(fd);
	return error;
}

static struct timespec time_of(const struct fuse_setattr_in *in, uint32_t set, uint32_t now, uint64_t seconds,
			       uint32_t nanoseconds)
{
	if (!(in->valid & set))
		return (struct timespec){ .tv_nsec = UTIME_OMIT };
	if (in->valid & now)
		return (struct timespec){ .tv_nsec = UTIME_NOW };
	return (struct timespec){ (time_t)seconds, nanoseconds };
}

static int change_times(int fd, const struct fuse_setattr_in *in)
{
	struct timespec times[2] = {
		time_of(in, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec),
		time_of(in, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec),
	};

	return utimensat(fd, "", times, AT_EMPTY_PATH) ? -errno : 0;
}

// Owner first: it takes set-user-id bits away.
static int change(struct node *n, int fd, const struct fuse_setattr_in *in)
{
	int error = 0;

	if (in->valid & (FATTR_UID | FATTR_GID))
		error = change_owner(fd, in);
	if (!error && in->valid & FATTR_MODE)
		error = change_mode(fd, in->mode);
	if (!error && in->valid & FATTR_SIZE)
		error = change_size(n, fd, in->size);
	if (!error && in->valid & (FATTR_ATIME | FATTR_MTIME))
		error = change_times(fd, in);
	return error;
}

static bool setattr_is_sound(const struct fuse_setattr_in *in)
{
	const uint32_t nanoseconds_end = 1000000000;

	// Numbers that utimensat(2) and fchownat(2) read as something else.
	return in->atimensec < nanoseconds_end && in->mtimensec < nanoseconds_end &&
	       !(in->valid & FATTR_UID && in->uid == UINT32_MAX) && !(in->valid & FATTR_GID && in->gid == UINT32_MAX);
}

int op_setattr(struct request *r)
{
	struct fuse_setattr_in in;
	struct node *n;
	int fd, error;

	if (!request_take(r, &in, sizeof(in)) || !setattr_is_sound(&in))
		return -EINVAL;
	n = request_node(r);
	if (!n)
		return -ESTALE;
	fd = node_fd_get(n);
	error = fd < 0 ? fd : change(n, fd, &in);
	if (fd >= 0)
		node_fd_put(n);
	if (!error)
		error = attributes_answer(r, n);
	node_put(n);
	return error;
}

// ---- questions ----

static int link_put(struct request *r, const struct node_place *p)
{
	ssize_t length = readlinkat(p->fd, p->name, r->answer, PATH_MAX);

	if (length < 0)
		return errno == EINVAL || errno == ENOENT ? -ESTALE : -errno; // something else is there now
	r->answer_bytes = (size_t)length;
	return 0;
}

int op_readlink(struct request *r)
{
	struct node_place p;
	struct node *n = request_node(r);
	int error = !n ? -ESTALE : S_ISLNK(n->identity.type) ? node_place_get(n, &p) : -EINVAL;

	if (!error) {
		error = link_put(r, &p);
		node_place_put(&p);
	}
	node_put(n);
	return error;
}

int op_access(struct request *r)
{
	struct fuse_access_in in;
	struct node_place p;
	struct node *n;
	int error;

	if (!request_take(r, &in, sizeof(in)) || in.mask & ~(uint32_t)(R_OK | W_OK | X_OK))
		return -EINVAL;
	n = request_node(r);
	error = n ? node_place_get(n, &p) : -ESTALE;
	if (!error) {
		if (in.mask & W_OK && r->tree->read_only && (S_ISREG(n->identity.type) || node_is_dir(n)))
			error = -EROFS;
		else if (syscall(SYS_faccessat2, p.fd, p.name, in.mask, AT_EACCESS | p.flags))
			error = -errno;
		node_place_put(&p);
	}
	node_put(n);
	return error;
}

static int statfs_put(struct request *r, int fd)
{
	struct fuse_statfs_out *out;
	struct statfs s;

	if (fstatfs(fd, &s))
		return -errno;
	out = request_put(r, sizeof(*out));
	out->st = (struct fuse_kstatfs){
		.blocks = s.f_blocks,
		.bfree = s.f_bfree,
		.bavail = s.f_bavail,
		.files = s.f_files,
		.ffree = s.f_ffree,
		.bsize = (uint32_t)s.f_bsize,
		.namelen = (uint32_t)s.f_namelen,
		.frsize = (uint32_t)s.f_frsize,
	};
	return 0;
}

int op_statfs(struct request *r)
{
	struct node_place p;
	struct node *n = request_node(r);
	int error = n ? node_place_get(n, &p) : -ESTALE;

	if (!error) {
		error = statfs_put(r, p.fd);
		node_place_put(&p);
	}
	node_put(n);
	return error;
}

int op_syncfs(struct request *r)
{
	int fd, error;

	if (r->tree->read_only)
		return 0;
	fd = node_reopen(&r->broker->nodes, r->tree->root->fd, O_RDONLY);
	if (fd < 0)
		return fd;
	error = syncfs(fd) ? -errno : 0;
	close(fd);
	return error;
}
