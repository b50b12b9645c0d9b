// SPDX-License-Identifier: Apache-2.0
// The broker's inside: what it holds, and a request on its way through it.
//
// channel.c receives a request and checks its frame, request.c finds the operation and reads arguments, the operations are in
// lookup.c, attributes.c, xattr.c, create.c, remove.c, open.c, directory.c and watch.c, node.c and node_fd.c are the
// table of what the cell knows. Arguments are checked completely before anything is done.
#pragma once

#include "abi/broker.h"
#include "broker/broker.h"
#include "broker/node.h"

#include <linux/fuse.h>
#include <stddef.h>

#define BROKER_TREES_MAX 64u

struct handle;

struct handles { // directories the cell has open
	pthread_mutex_t lock;
	struct handle **items; // guarded by `lock`, as what follows
	uint32_t capacity, count, free_first;
	uint32_t count_max; // constant
};

struct watch;

struct watches {
	pthread_mutex_t lock;
	pthread_cond_t started; // `inotify` is there, or it is over
	int inotify;            // guarded by `lock`, as what follows; -1
	bool over;
	struct watch **buckets; // by watch descriptor
	uint32_t bucket_count, count;
	uint32_t count_max; // constant
	int events;         // constant; -1
	int circle[2];      // constant: a socket pair; -1
};

struct broker {
	// Constant while it serves.
	struct tree trees[BROKER_TREES_MAX];
	unsigned tree_count;
	bool can_switch_ids; // new inodes can be given to whom the cell says
	uint32_t uid, gid;
	struct nodes nodes;
	struct handles handles;
	struct watches watches;
};

struct request {
	struct broker *broker;
	struct tree *tree;
	struct fuse_in_header header;
	uint16_t flags;        // BROKER_REQUEST_*
	const char *arguments; // what is left of them
	size_t arguments_bytes;
	char *answer; // payload
	size_t answer_bytes, answer_room;
	int fds[BROKER_DESCRIPTORS_MAX]; // go with the answer, and are closed then
	unsigned fd_count;
};

// Storage for one answer, 8-byte aligned: struct fuse_out_header and payload.
struct answer {
	char *memory;                    // BROKER_MESSAGE_MAX_BYTES
	size_t size;                     // 0: there is none
	int fds[BROKER_DESCRIPTORS_MAX]; // to be sent along and closed
	unsigned fd_count;
};

// broker.c: everything but confinement and threads. False: said why. broker_fini() once nobody uses it.
bool broker_init(struct broker *b, const struct broker_spec *spec, struct err *e);
void broker_fini(struct broker *b);

// One message of the cell: 8-byte aligned, of `size` bytes. False: it is no request, end the conversation.
bool request_serve(struct broker *b, const char *message, size_t size, struct answer *out);
// channel.c: serves a channel until its end, and closes nothing.
void channel_serve(struct broker *b, int channel);

// ---- for operations ----

// The next argument, copied. False: there is not as much.
bool request_take(struct request *r, void *to, size_t size);
// The next argument: a NUL-terminated text; NULL when there is none.
const char *request_text(struct request *r);
// The answer's next part, zeroed; NULL when there is no room.
void *request_put(struct request *r, size_t size);

// A descriptor for the answer, which owns it; there is room. Negative: none.
static inline void request_put_fd(struct request *r, int fd)
{
	if (fd >= 0)
		r->fds[r->fd_count++] = fd;
}

// A directory of the cell's choice and a name in it, checked: one component.
struct request_name {
	struct node *dir;
	int fd;       // of dir
	bool watched; // is the directory; before anything else was looked at
	const char *name;
};
// Takes the name from the arguments. -ESTALE, -EINVAL, -ENAMETOOLONG, -ENOTDIR, -ENOENT.
int request_name_get(struct request *r, uint64_t nodeid, struct request_name *n);
// The same of a name that stays where it is until request_name_put().
int request_name_find(struct request *r, uint64_t nodeid, const char *name, struct request_name *n);
void request_name_put(struct request_name *n);
static inline struct node *request_node(struct request *r)
{
	return node_get(&r->broker->nodes, r->tree, r->header.nodeid);
}
// Is it the name of a tree that is no part of the grant?
bool tree_hides(const struct node *dir, const char *name);

// Everything created in between belongs to the request's user and group, as far as the broker may.
void identity_assume(struct request *r);
void identity_resume(struct request *r);

// attributes.c
void attributes_encode(const struct statx *sx, struct fuse_attr *out);
// `watched`: is the directory (of an entry; for the attributes: node_is_watched()), since before `sx` was read.
void entry_encode(struct node *dir, bool watched, struct node *n, const struct statx *sx, struct fuse_entry_out *out);
int entry_put(struct request *r, struct request_name *at, struct node *n, const struct statx *sx);
bool node_is_watched(struct node *n);
int attributes_put(struct request *r, struct node *n, const struct statx *sx, bool watched);
// Looks at `name` in `dir` and enters it: the node with a reference and one more lookup.
int name_enter(struct request_name *at, struct statx *sx, struct node **out);
// Answers with the entry of `at`, which was just made.
int name_answer(struct request *r, struct request_name *at);

// open.c: a descriptor of a regular file. -ESTALE when another inode has its place.
int file_open(struct node *n, int flags);
uint32_t file_open_flags(int fd); // of a fuse_open_out: BROKER_FOPEN_*
// What `name` is at this moment, with its attributes after opening; nothing but a regular file is.
int file_open_at(struct tree *tree, struct nodes *t, int dir_fd, const char *name, int flags, struct statx *sx);
// The same, with attributes also of what cannot be opened (stx_mask = 0: there are none).
int file_open_name(struct request_name *at, int flags, struct statx *sx);
// O_* the cell asks for -> what is passed on. -EROFS, -EINVAL.
int file_flags(const struct tree *tree, uint32_t asked, int *flags);

// directory.c
void handles_init(struct handles *h, uint32_t count_max);
void handles_fini(struct handles *h);

// watch.c
void watches_init(struct watches *w, int events, uint32_t count_max);
void watches_fini(struct watches *w);
void watches_run(struct broker *b);  // tells the cell, until its socket is closed
void watches_stop(struct broker *b); // also if there never was one to tell of
int watch_add(struct broker *b, struct node *dir,
	      uint32_t mask);                          // inotify(7)'s IN_*; more of it if there is one. -errno
void watch_remove(struct broker *b, struct node *dir); // if there is one

// Operations: 0 or -errno; the answer through request_put().
int op_init(struct request *r);
int op_destroy(struct request *r);
int op_lookup(struct request *r);
int op_lookup_open(struct request *r);
int op_walk(struct request *r);
int op_forget(struct request *r);
int op_batch_forget(struct request *r);
int op_getattr(struct request *r);
int op_setattr(struct request *r);
int op_readlink(struct request *r);
int op_access(struct request *r);
int op_statfs(struct request *r);
int op_syncfs(struct request *r);
int op_symlink(struct request *r);
int op_mknod(struct request *r);
int op_mkdir(struct request *r);
int op_link(struct request *r);
int op_create(struct request *r);
int op_tmpfile(struct request *r);
int op_unlink(struct request *r);
int op_rmdir(struct request *r);
int op_rename(struct request *r);
int op_rename2(struct request *r);
int op_open(struct request *r);
int op_open_many(struct request *r);
int op_opendir(struct request *r);
int op_readdir(struct request *r);
int op_readdirplus(struct request *r);
int op_read_directory(struct request *r);
int op_releasedir(struct request *r);
int op_fsyncdir(struct request *r);
int op_setxattr(struct request *r);
int op_getxattr(struct request *r);
int op_listxattr(struct request *r);
int op_removexattr(struct request *r);
int op_watch(struct request *r);
int op_unwatch(struct request *r);
