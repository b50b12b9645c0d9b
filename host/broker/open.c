// SPDX-License-Identifier: Apache-2.0
// Regular files, opened for the cell: it gets the host's descriptor. Nothing else is ever opened for reading or writing.
//
// Where no mount allows devices, a path is opened and what came out is looked at; a FIFO that somebody put there meanwhile does
// not block (O_NONBLOCK). Elsewhere opening a device could do something already: there the path is looked up first (O_PATH),
// and opened when it is known to be a regular file.
#include "broker/request.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#define FLAGS_IGNORED                                                                                          \
	(O_CREAT | O_EXCL | O_NOCTTY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW | O_LARGEFILE | O_ASYNC | 0100000 | \
	 0x20 /* FMODE_EXEC */)
#define FLAGS_PASSED (O_ACCMODE | O_TRUNC | O_APPEND | O_DSYNC | O_SYNC | O_DIRECT | O_NOATIME)

int file_flags(const struct tree *tree, uint32_t asked, int *flags)
{
	*flags = (int)asked & FLAGS_PASSED;
	if (asked & ~(uint32_t)(FLAGS_IGNORED | FLAGS_PASSED) || (asked & O_ACCMODE) == O_ACCMODE)
		return -EINVAL;
	return tree->read_only && *flags & (O_ACCMODE | O_TRUNC) ? -EROFS : 0;
}

static int no_file(mode_t mode)
{
	if (S_ISDIR(mode))
		return -EISDIR;
	return S_ISLNK(mode) ? -ELOOP : -ENXIO;
}

// Attributes of what is open; -errno when it is no regular file, and then closed.
static int file_check(int fd, struct statx *sx)
{
	int error = statx(fd, "", AT_EMPTY_PATH, NODE_STATX_MASK, sx) ? -errno : 0;

	if (!error && !S_ISREG(sx->stx_mode))
		error = no_file(sx->stx_mode);
	if (error)
		close(fd);
	return error ? error : fd;
}

static int open_carefully(struct nodes *t, int dir_fd, const char *name, int flags, struct statx *sx)
{
	int path = node_open_beneath(t, dir_fd, name, O_PATH, 0), fd;

	if (path < 0)
		return path;
	path = file_check(path, sx);
	if (path < 0)
		return path;
	fd = node_reopen(t, path, flags);
	close(path);
	return fd < 0 ? fd : file_check(fd, sx); // its attributes may be others now
}

int file_open_at(struct tree *tree, struct nodes *t, int dir_fd, const char *name, int flags, struct statx *sx)
{
	int fd = tree->no_devices ? node_open_beneath(t, dir_fd, name, flags, 0) : -EAGAIN;

	if (fd == -EAGAIN) // also: somebody holds a lease, and is worth waiting for
		return open_carefully(t, dir_fd, name, flags, sx);
	return fd < 0 ? fd : file_check(fd, sx);
}

int file_open_name(struct request_name *at, int flags, struct statx *sx)
{
	struct statx now;
	int fd;

	if (statx(at->fd, at->name, AT_SYMLINK_NOFOLLOW, NODE_STATX_MASK, sx)) {
		sx->stx_mask = 0;
		return -errno;
	}
	if (!S_ISREG(sx->stx_mode))
		return no_file(sx->stx_mode);
	fd = file_open_at(at->dir->tree, at->dir->table, at->fd, at->name, flags, &now);
	if (fd >= 0)
		*sx = now;
	return fd;
}

static int truncate_open(struct nodes *t, int fd, int flags)
{
	int writer;

	if (flags & O_ACCMODE)
		return ftruncate(fd, 0) ? -errno : 0;
	writer = node_reopen(t, fd, O_WRONLY | O_TRUNC); // O_RDONLY | O_TRUNC truncates, too
	if (writer < 0)
		return writer;
	close(writer);
	return 0;
}

// By name; what is found there is not touched before it was compared.
static int open_placed(struct node *n, const struct node_place *p, int flags)
{
	struct statx sx;
	int fd = file_open_at(n->tree, n->table, p->fd, p->name, flags & ~O_TRUNC, &sx), error = 0;

	if (fd == -ENOENT || fd == -ELOOP || fd == -EISDIR || fd == -ENXIO || fd == -ENOTDIR)
		return -ESTALE;
	if (fd < 0)
		return fd;
	if (!node_is_same(n, &sx))
		error = -ESTALE;
	else if (flags & O_TRUNC)
		error = truncate_open(n->table, fd, flags);
	if (error)
		close(fd);
	return error ? error : fd;
}

int file_open(struct node *n, int flags)
{
	struct node_place p;
	int fd, error;

	if (!S_ISREG(n->identity.type))
		return no_file(n->identity.type);
	error = node_place_get(n, &p);
	if (error)
		return error;
	fd = p.flags == AT_EMPTY_PATH ? node_reopen(n->table, p.fd, flags) : open_placed(n, &p, flags);
	node_place_put(&p);
	return fd;
}

// Where mappings and reads come from one page cache. Not OVERLAYFS: a file is read from the upper layer once it was copied there,
// while older mappings stay with the lower one. Not TMPFS: looking at a hole through a mapping allocates a page.
uint32_t file_open_flags(int fd)
{
	static const unsigned long coherent[] = { EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC,
						  F2FS_SUPER_MAGIC };
	struct statfs s;

	if (!fstatfs(fd, &s))
		for (size_t i = 0; i < sizeof(coherent) / sizeof(*coherent); i++)
			if ((unsigned long)s.f_type == coherent[i])
				return BROKER_FOPEN_PASSTHROUGH | BROKER_FOPEN_COHERENT;
	return BROKER_FOPEN_PASSTHROUGH;
}

int op_open(struct request *r)
{
	struct fuse_open_in in;
	struct fuse_open_out *out;
	struct node *n;
	int flags, error, fd;

	if (!request_take(r, &in, sizeof(in)))
		return -EINVAL;
	error = file_flags(r->tree, in.flags, &flags);
	if (error)
		return error;
	n = request_node(r);
	fd = n ? file_open(n, flags) : -ESTALE;
	if (fd >= 0) {
		out = request_put(r, sizeof(*out));
		out->open_flags = file_open_flags(fd);
		request_put_fd(r, fd);
	}
	node_put(n);
	return fd < 0 ? fd : 0;
}

int op_open_many(struct request *r)
{
	struct broker_open_many_in in;
	uint32_t *errors;

	if (!request_take(r, &in, sizeof(in)) || in.count > BROKER_DESCRIPTORS_MAX ||
	    r->arguments_bytes < in.count * sizeof(uint64_t))
		return -EINVAL;
	errors = request_put(r, in.count * sizeof(*errors));
	for (uint32_t i = 0; i < in.count; i++) {
		uint64_t id = 0;
		struct node *n;
		int fd;
		request_take(r, &id, sizeof(id));
		n = node_get(&r->broker->nodes, r->tree, id);
		fd = n ? file_open(n, O_RDONLY) : -ESTALE;
		errors[i] = fd < 0 ? (uint32_t)-fd : 0;
		request_put_fd(r, fd);
		node_put(n);
	}
	return 0;
}
