// SPDX-License-Identifier: Apache-2.0
// Names to nodes, and nodes forgotten; the beginning and the end of a session.
#include "broker/request.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// What is known stays known for so long. Where changes are told of, until they are; more than an hour is for ever.
#define VALID_SECONDS         1u
#define VALID_SECONDS_WATCHED 86400u

#define INIT_FLAGS                                                                                                    \
	(FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_PARALLEL_DIROPS | \
	 FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS | FUSE_SUBMOUNTS | FUSE_SETXATTR_EXT | FUSE_ASYNC_READ | FUSE_INIT_EXT)

int op_init(struct request *r)
{
	struct fuse_init_in in;
	struct fuse_init_out *out;
	// Older kernels send less; what is read here all of them send.
	if (r->arguments_bytes < offsetof(struct fuse_init_in, flags2))
		return -EINVAL;
	memset(&in, 0, sizeof(in));
	request_take(r, &in, r->arguments_bytes < sizeof(in) ? r->arguments_bytes : sizeof(in));
	if (in.major != FUSE_KERNEL_VERSION)
		return -EPROTO;
	out = request_put(r, sizeof(*out));
	out->major = FUSE_KERNEL_VERSION;
	out->minor = in.minor < FUSE_KERNEL_MINOR_VERSION ? in.minor : FUSE_KERNEL_MINOR_VERSION;
	out->flags = in.flags & (uint32_t)INIT_FLAGS;
	out->max_readahead = in.max_readahead;
	out->max_write = BROKER_MESSAGE_MAX_BYTES / 2;
	out->max_pages = BROKER_MESSAGE_MAX_BYTES / 2 / 4096;
	out->time_gran = 1;
	__atomic_store_n(&r->tree->long_setxattr, (out->flags & FUSE_SETXATTR_EXT) != 0, __ATOMIC_RELEASE);
	return 0;
}

int op_destroy(struct request *r) { return (void)r, 0; }

// ---- entries ----
//
// A watch tells of changes to a directory, and to the files in it made under their names there. Whether there is one counts
// from before their attributes were read.

bool node_is_watched(struct node *n)
{
	return node_is_dir(n) ? __atomic_load_n(&n->watched, __ATOMIC_ACQUIRE) : node_parent_is_watched(n);
}

static unsigned valid_seconds(bool watched) { return watched ? VALID_SECONDS_WATCHED : VALID_SECONDS; }

int attributes_put(struct request *r, struct node *n, const struct statx *sx, bool watched)
{
	struct fuse_attr_out *out = request_put(r, sizeof(*out));

	out->attr_valid = valid_seconds(watched && (node_is_dir(n) || sx->stx_nlink == 1));
	attributes_encode(sx, &out->attr);
	return 0;
}

void entry_encode(struct node *dir, bool watched, struct node *n, const struct statx *sx, struct fuse_entry_out *out)
{
	memset(out, 0, sizeof(*out));
	out->nodeid = n->id;
	out->entry_valid = valid_seconds(watched);
	out->attr_valid = valid_seconds(watched && !node_is_dir(n) && sx->stx_nlink == 1);
	attributes_encode(sx, &out->attr);
	if (node_is_dir(n) && n->identity.dev != dir->identity.dev)
		out->attr.flags |= FUSE_ATTR_SUBMOUNT;
}

int entry_put(struct request *r, struct request_name *at, struct node *n, const struct statx *sx)
{
	entry_encode(at->dir, at->watched, n, sx, request_put(r, sizeof(struct fuse_entry_out)));
	return 0;
}

int name_enter(struct request_name *at, struct statx *sx, struct node **out)
{
	if (statx(at->fd, at->name, AT_SYMLINK_NOFOLLOW, NODE_STATX_MASK, sx))
		return -errno;
	return node_enter(at->dir, at->name, sx, out);
}

int name_answer(struct request *r, struct request_name *at)
{
	struct statx sx;
	struct node *n;
	int error = name_enter(at, &sx, &n);

	if (error)
		return error;
	entry_put(r, at, n, &sx);
	node_put(n);
	return 0;
}

// The name is not there, and will be believed not to be for a while.
static void absence_put(struct request *r, const struct request_name *at)
{
	struct fuse_entry_out *out = request_put(r, sizeof(*out));
	out->entry_valid = valid_seconds(at->watched);
}

int op_lookup(struct request *r)
{
	struct request_name at;
	int error = request_name_get(r, r->header.nodeid, &at);

	if (error)
		return error;
	error = name_answer(r, &at);
	if (error == -ENOENT) {
		absence_put(r, &at);
		error = 0;
	}
	request_name_put(&at);
	return error;
}

// The text of a symbolic link that was just looked up, unless it is long, or something else by now. Its length.
static size_t link_put(struct request *r, const struct request_name *at, const struct node *n)
{
	char text[BROKER_LINK_MAX + 1];
	ssize_t length = S_ISLNK(n->identity.type) ? readlinkat(at->fd, at->name, text, sizeof(text)) : 0;
	struct statx sx;

	if (length <= 0 || length > (ssize_t)BROKER_LINK_MAX ||
	    statx(at->fd, at->name, AT_SYMLINK_NOFOLLOW, NODE_STATX_MASK, &sx) || !node_is_same(n, &sx))
		return 0;
	memcpy(request_put(r, (size_t)length), text, (size_t)length);
	return (size_t)length;
}

// ---- several names ----

// One more: *dir becomes its node if it is a directory, and 0 if the walk ends here.
static int walk_step(struct request *r, const char *name, uint64_t *dir, struct broker_walk_out *out)
{
	struct request_name at;
	struct statx sx;
	struct node *n;
	int error = request_name_find(r, *dir, name, &at);

	*dir = 0;
	if (error)
		return error;
	error = name_enter(&at, &sx, &n);
	if (error == -ENOENT) {
		absence_put(r, &at);
		out->count++;
	} else if (!error) {
		entry_put(r, &at, n, &sx);
		out->count++;
		out->link_bytes = (uint32_t)link_put(r, &at, n);
		if (node_is_dir(n))
			*dir = n->id;
		node_put(n);
	}
	request_name_put(&at);
	return error == -ENOENT ? 0 : error;
}

int op_walk(struct request *r)
{
	const char *path = request_text(r);
	struct broker_walk_out *out = request_put(r, sizeof(*out));
	char name[NODE_NAME_MAX + 1];
	uint64_t dir = r->header.nodeid;
	int error = path ? 0 : -EINVAL;

	while (!error && dir && *path && out->count < BROKER_WALK_MAX) {
		size_t length = strcspn(path, "/");
		if (length > NODE_NAME_MAX) {
			error = -ENAMETOOLONG;
			break;
		}
		memcpy(name, path, length);
		name[length] = 0;
		path += length + (path[length] == '/');
		error = walk_step(r, name, &dir, out);
	}
	return out->count ? 0 : error ? error : -EINVAL;
}

// ---- lookup and open ----

static int lookup_open(struct request *r, struct request_name *at, uint32_t asked)
{
	struct statx sx = { .stx_mask = 0 };
	struct fuse_open_out *out;
	struct node *n = NULL;
	int flags, error = file_flags(r->tree, asked, &flags);
	int fd = error ? error : file_open_name(at, flags, &sx);

	if (!sx.stx_mask && statx(at->fd, at->name, AT_SYMLINK_NOFOLLOW, NODE_STATX_MASK, &sx)) {
		error = -errno;
		if (error != -ENOENT)
			return error;
		absence_put(r, at);
	} else {
		error = node_enter(at->dir, at->name, &sx, &n);
		if (error && fd >= 0)
			close(fd);
		if (error)
			return error;
		entry_put(r, at, n, &sx);
	}
	out = request_put(r, sizeof(*out));
	out->fh = fd < 0 ? UINT64_MAX : 0;
	out->padding = fd < 0 ? (uint32_t)-fd : 0;
	out->open_flags = fd < 0 ? 0 : file_open_flags(fd);
	if (n) {
		link_put(r, at, n);
		node_put(n);
	}
	request_put_fd(r, fd);
	return 0;
}

int op_lookup_open(struct request *r)
{
	struct broker_lookup_open_in in;
	struct request_name at;
	int error;

	if (!request_take(r, &in, sizeof(in)))
		return -EINVAL;
	error = request_name_get(r, r->header.nodeid, &at);
	if (error)
		return error;
	error = lookup_open(r, &at, in.flags);
	request_name_put(&at);
	return error;
}

// ---- forgetting ----

static void forget(struct request *r, uint64_t nodeid, uint64_t lookups)
{
	struct node *n = node_get(&r->broker->nodes, r->tree, nodeid);

	if (!n)
		return;
	node_forget(&r->broker->nodes, r->tree, nodeid, lookups);
	if (node_is_dir(n) && nodeid != 1) {
		struct node *still = node_get(&r->broker->nodes, r->tree, nodeid);
		if (!still)
			watch_remove(r->broker, n);
		node_put(still);
	}
	node_put(n);
}

int op_forget(struct request *r)
{
	struct fuse_forget_in in;

	if (request_take(r, &in, sizeof(in)))
		forget(r, r->header.nodeid, in.nlookup);
	return 0;
}

int op_batch_forget(struct request *r)
{
	struct fuse_batch_forget_in in;
	struct fuse_forget_one one;

	if (!request_take(r, &in, sizeof(in)))
		return 0;
	for (uint32_t i = 0; i < in.count && request_take(r, &one, sizeof(one)); i++)
		forget(r, one.nodeid, one.nlookup);
	return 0;
}
