// SPDX-License-Identifier: Apache-2.0
// From a message to an operation and back. Source: <linux/fuse.h>, protocol 7.31 to 7.38, abi/broker.h.
#include "broker/request.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// ---- arguments and answers ----

bool request_take(struct request *r, void *to, size_t size)
{
	if (size > r->arguments_bytes)
		return false;
	memcpy(to, r->arguments, size);
	r->arguments += size;
	r->arguments_bytes -= size;
	return true;
}

const char *request_text(struct request *r)
{
	const char *text = r->arguments, *end = memchr(text, 0, r->arguments_bytes);

	if (!end)
		return NULL;
	r->arguments_bytes -= (size_t)(end + 1 - text);
	r->arguments = end + 1;
	return text;
}

void *request_put(struct request *r, size_t size)
{
	void *at = r->answer + r->answer_bytes;

	if (size > r->answer_room - r->answer_bytes)
		return NULL;
	r->answer_bytes += size;
	return memset(at, 0, size);
}

bool tree_hides(const struct node *dir, const char *name)
{
	static const char *const hidden[] = { "proc", "sys", "dev", "run", "tmp" };

	if (!dir->tree->hide_system || dir != dir->tree->root)
		return false;
	for (size_t i = 0; i < sizeof(hidden) / sizeof(*hidden); i++)
		if (!strcmp(name, hidden[i]))
			return true;
	return false;
}

static int name_check(const char *name)
{
	if (!name || !*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return -EINVAL;
	return strlen(name) > NODE_NAME_MAX ? -ENAMETOOLONG : 0;
}

int request_name_find(struct request *r, uint64_t nodeid, const char *name, struct request_name *n)
{
	int error = name_check(name);

	n->name = name;
	if (error)
		return error;
	n->dir = node_get(&r->broker->nodes, r->tree, nodeid);
	if (!n->dir)
		return -ESTALE;
	n->fd = node_is_dir(n->dir) ? node_fd_get(n->dir) : -ENOTDIR;
	if (n->fd >= 0 && tree_hides(n->dir, n->name)) {
		node_fd_put(n->dir);
		n->fd = -ENOENT;
	}
	if (n->fd < 0) {
		node_put(n->dir);
		return n->fd;
	}
	n->watched = node_is_watched(n->dir);
	return 0;
}

int request_name_get(struct request *r, uint64_t nodeid, struct request_name *n)
{
	return request_name_find(r, nodeid, request_text(r), n);
}

void request_name_put(struct request_name *n)
{
	node_fd_put(n->dir);
	node_put(n->dir);
}

// ---- whose new inodes are ----
//
// File-system ids are a thread's own. With SECBIT_NO_SETUID_FIXUP the capabilities stay as they are; the group first, as
// the user would take the right to change it away elsewhere.

static bool identity_is_other(const struct request *r)
{
	const struct broker *b = r->broker;
	return b->can_switch_ids && (r->header.uid != b->uid || r->header.gid != b->gid);
}

void identity_assume(struct request *r)
{
	if (!identity_is_other(r))
		return;
	syscall(SYS_setfsgid, r->header.gid);
	syscall(SYS_setfsuid, r->header.uid);
}

void identity_resume(struct request *r)
{
	int error = errno;

	if (identity_is_other(r)) {
		syscall(SYS_setfsuid, r->broker->uid);
		syscall(SYS_setfsgid, r->broker->gid);
	}
	errno = error;
}

// ---- operations ----

struct operation {
	int (*run)(struct request *r);
	bool changes; // -EROFS on a read-only grant
	bool silent;  // has no answer
};

static int op_interrupt(struct request *r) { return (void)r, 0; } // what is asked for is done by then

static const struct operation fuse_operations[] = {
	[FUSE_LOOKUP] = { op_lookup },
	[FUSE_FORGET] = { op_forget, .silent = true },
	[FUSE_GETATTR] = { op_getattr },
	[FUSE_SETATTR] = { op_setattr, .changes = true },
	[FUSE_READLINK] = { op_readlink },
	[FUSE_SYMLINK] = { op_symlink, .changes = true },
	[FUSE_MKNOD] = { op_mknod, .changes = true },
	[FUSE_MKDIR] = { op_mkdir, .changes = true },
	[FUSE_UNLINK] = { op_unlink, .changes = true },
	[FUSE_RMDIR] = { op_rmdir, .changes = true },
	[FUSE_RENAME] = { op_rename, .changes = true },
	[FUSE_LINK] = { op_link, .changes = true },
	[FUSE_OPEN] = { op_open },
	[FUSE_STATFS] = { op_statfs },
	[FUSE_SETXATTR] = { op_setxattr, .changes = true },
	[FUSE_GETXATTR] = { op_getxattr },
	[FUSE_LISTXATTR] = { op_listxattr },
	[FUSE_REMOVEXATTR] = { op_removexattr, .changes = true },
	[FUSE_INIT] = { op_init },
	[FUSE_OPENDIR] = { op_opendir },
	[FUSE_READDIR] = { op_readdir },
	[FUSE_RELEASEDIR] = { op_releasedir },
	[FUSE_FSYNCDIR] = { op_fsyncdir },
	[FUSE_ACCESS] = { op_access },
	[FUSE_CREATE] = { op_create },
	[FUSE_INTERRUPT] = { op_interrupt, .silent = true },
	[FUSE_DESTROY] = { op_destroy },
	[FUSE_BATCH_FORGET] = { op_batch_forget, .silent = true },
	[FUSE_READDIRPLUS] = { op_readdirplus },
	[FUSE_RENAME2] = { op_rename2, .changes = true },
	[FUSE_SYNCFS] = { op_syncfs },
	[FUSE_TMPFILE] = { op_tmpfile, .changes = true },
};

static const struct operation broker_operations[] = {
	[BROKER_LOOKUP_OPEN - BROKER_LOOKUP_OPEN] = { op_lookup_open },
	[BROKER_WATCH - BROKER_LOOKUP_OPEN] = { op_watch },
	[BROKER_UNWATCH - BROKER_LOOKUP_OPEN] = { op_unwatch, .silent = true },
	[BROKER_READ_DIRECTORY - BROKER_LOOKUP_OPEN] = { op_read_directory },
	[BROKER_OPEN_MANY - BROKER_LOOKUP_OPEN] = { op_open_many },
	[BROKER_WALK - BROKER_LOOKUP_OPEN] = { op_walk },
};

static const struct operation *operation_find(uint32_t opcode)
{
	const struct operation *o = NULL;

	if (opcode < sizeof(fuse_operations) / sizeof(*fuse_operations))
		o = &fuse_operations[opcode];
	else if (opcode - BROKER_LOOKUP_OPEN < sizeof(broker_operations) / sizeof(*broker_operations))
		o = &broker_operations[opcode - BROKER_LOOKUP_OPEN];
	return o && o->run ? o : NULL;
}

static struct tree *tree_find(struct broker *b, uint32_t grant)
{
	for (unsigned i = 0; i < b->tree_count; i++)
		if (b->trees[i].grant == grant)
			return &b->trees[i];
	return NULL;
}

static int run(struct request *r, const struct operation *o)
{
	if (!o)
		return -ENOSYS;
	if (!r->tree)
		return -ENODEV;
	if (o->changes && r->tree->read_only)
		return -EROFS;
	return o->run(r);
}

bool request_serve(struct broker *b, const char *message, size_t size, struct answer *out)
{
	struct broker_request frame;
	struct request r;
	const struct operation *o;
	int error;

	out->size = 0;
	out->fd_count = 0;
	r.broker = b;
	r.fd_count = 0;
	r.answer_bytes = 0;
	if (size < sizeof(frame) + sizeof(r.header))
		return false;
	memcpy(&frame, message, sizeof(frame));
	memcpy(&r.header, message + sizeof(frame), sizeof(r.header));
	if (frame.size_bytes != size - sizeof(frame) || r.header.len != frame.size_bytes)
		return false;
	r.arguments = message + sizeof(frame) + sizeof(r.header);
	r.arguments_bytes = frame.size_bytes - sizeof(r.header);
	r.answer = out->memory + sizeof(struct fuse_out_header);
	r.answer_room = BROKER_MESSAGE_MAX_BYTES - sizeof(struct fuse_out_header);
	r.flags = frame.flags;
	r.tree = tree_find(b, frame.grant);
	o = operation_find(r.header.opcode);
	error = run(&r, o);
	while (error && r.fd_count)
		close(r.fds[--r.fd_count]);
	if (o && o->silent)
		return true;
	out->size = sizeof(struct fuse_out_header) + (error ? 0 : r.answer_bytes);
	memcpy(out->fds, r.fds, r.fd_count * sizeof(*r.fds));
	out->fd_count = r.fd_count;
	*(struct fuse_out_header *)out->memory =
		(struct fuse_out_header){ .len = (uint32_t)out->size, .error = error, .unique = r.header.unique };
	return true;
}
