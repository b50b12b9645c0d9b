// SPDX-License-Identifier: Apache-2.0
// Names that go or move. The table follows: what moved is reached by its new name, and what lost its name while the cell has
// it open, or by which it has further names, by a descriptor.
#include "broker/request.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct node *known_node(struct request_name *at, struct statx *sx)
{
	if (statx(at->fd, at->name, AT_SYMLINK_NOFOLLOW, NODE_STATX_MASK, sx))
		return NULL;
	return node_find(at->dir->table, at->dir->tree, sx);
}

// The name goes: what it stands for must stay within reach if it lives on.
static void name_vanishes(const struct request *r, struct request_name *at)
{
	struct statx sx;
	struct node *n = known_node(at, &sx);

	if (n && (node_is_dir(n) || sx.stx_nlink > 1 || r->flags & BROKER_REQUEST_HOLD))
		node_hold(n);
	node_put(n);
}

static int remove_name(struct request *r, int flags)
{
	struct request_name at;
	int error = request_name_get(r, r->header.nodeid, &at);

	if (error)
		return error;
	name_vanishes(r, &at);
	error = unlinkat(at.fd, at.name, flags) ? -errno : 0;
	request_name_put(&at);
	return error;
}

int op_unlink(struct request *r) { return remove_name(r, 0); }
int op_rmdir(struct request *r) { return remove_name(r, AT_REMOVEDIR); }

static void name_appeared(struct request_name *at)
{
	struct statx sx;
	struct node *n = known_node(at, &sx);

	if (n)
		(void)node_move(n, at->dir, at->name);
	node_put(n);
}

static int rename_at(const struct request *r, struct request_name *from, struct request_name *to, unsigned flags)
{
	if (!flags)
		name_vanishes(r, to);
	// libc's wrapper makes another call when there are no flags.
	if (syscall(SYS_renameat2, from->fd, from->name, to->fd, to->name, flags))
		return -errno;
	name_appeared(to);
	if (flags & RENAME_EXCHANGE)
		name_appeared(from);
	return 0;
}

static int rename_names(struct request *r, uint64_t newdir, unsigned flags)
{
	struct request_name from, to;
	int error = request_name_get(r, r->header.nodeid, &from);

	if (error)
		return error;
	error = request_name_get(r, newdir, &to);
	if (!error) {
		error = rename_at(r, &from, &to, flags);
		request_name_put(&to);
	}
	request_name_put(&from);
	return error;
}

int op_rename(struct request *r)
{
	struct fuse_rename_in in;

	return request_take(r, &in, sizeof(in)) ? rename_names(r, in.newdir, 0) : -EINVAL;
}

int op_rename2(struct request *r)
{
	struct fuse_rename2_in in;

	if (!request_take(r, &in, sizeof(in)) || in.flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	return rename_names(r, in.newdir, in.flags);
}
