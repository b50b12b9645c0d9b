// SPDX-License-Identifier: Apache-2.0
// What the cell knows: one node for each inode it has looked up and not forgotten.
//
// A node is found by number (the cell's requests) or by inode (file system, inode number, mount: hard links share a node). It
// remembers its place, a directory node and a name. Most nodes have no descriptor: a file is reached through its directory
// and its name, and what is found there is compared with what the node was. Directories that are used, and files that have lost their
// name while they are open, have an O_PATH descriptor; those are kept in bounded number, least recently used first
// to be closed, and opened again by the node's place when they are needed. What is no longer there is -ESTALE.
//
// Locks, outermost first, none held over a call on a file system:
//	nodes.topology   places of directories
//	shard.lock       everything else in the nodes of the shard; two are never held at a time
// A shard is chosen by a hash of the inode and stands in the node's number.
#pragma once

#include "lib/list.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#define NODE_SHARDS     64u
#define NODE_NAME_MAX   255u
#define NODE_STATX_MASK (STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID)

struct tree { // constant once the broker serves, but for what is marked
	uint32_t grant;
	bool read_only, no_devices, hide_system;
	bool births_change; // an overlay: a file's time of birth is not the same after it was copied up
	bool long_setxattr; // atomic: the cell sends struct fuse_setxattr_in whole
	struct node *root;
};

// An inode's identity. `born` guards against numbers that the file system gives out again; 0 where it cannot tell.
struct node_identity {
	uint64_t dev, ino, mount;
	int64_t born_seconds;
	uint32_t born_nanoseconds;
	mode_t type; // S_IFMT
};

struct node {
	// Constant.
	struct nodes *table;
	struct node_shard *shard;
	struct tree *tree;
	uint64_t id; // 1: the tree's root, which is never forgotten
	struct node_identity identity;
	// Atomic.
	uint32_t refs;     // one while lookups > 0, one for each node whose place is in here, users
	uint32_t fd_users; // above 0: `fd` stays open
	bool watched;      // the cell is told of all changes in this directory
	int watch;         // guarded by watches.lock: inotify's watch descriptor, -1
	// Guarded by the shard's lock.
	struct node *hash_next;
	bool hashed;
	bool lasting; // without its descriptor it could not be reached again: closed last
	uint64_t lookups;
	int fd; // O_PATH; -1
	struct list lru;
	// The place: NULL, NULL if it has none. Of a directory changed only with nodes.topology held as well.
	struct node *parent;
	char *name;
};

struct node_slot {
	struct node *node;
	uint32_t generation, next_free;
};

struct node_shard {
	pthread_mutex_t lock;
	struct node **buckets;
	uint32_t bucket_count, node_count;
	struct node_slot **chunks;
	uint32_t slot_count, free_first; // free_first 0: none
	struct list lru, lasting;        // nodes with a descriptor, least recently used last
} __attribute__((aligned(64)));

struct nodes {
	struct node_shard shards[NODE_SHARDS];
	pthread_mutex_t topology;
	uint32_t count, count_max;       // atomic; nodes
	uint32_t fd_count, fd_count_max; // atomic; descriptors of nodes
	uint32_t rotor;                  // atomic; where the search for one to close begins
};

void nodes_init(struct nodes *t, uint32_t count_max, uint32_t fd_count_max);
void nodes_fini(struct nodes *t); // nobody uses it any more; closes and frees what is left but roots

// The root of a tree, node number 1. Owns `fd`. -errno.
int nodes_add_root(struct nodes *t, struct tree *tree, int fd);
void nodes_free_root(struct tree *tree);
// The node with this number, with a reference; NULL when the cell does not know it.
struct node *node_get(struct nodes *t, struct tree *tree, uint64_t id);
void node_put(struct node *n);
// What `dir` holds under `name` is `sx`: its node, with a reference and one more lookup. -ENFILE: too many; -ENOMEM.
int node_enter(struct node *dir, const char *name, const struct statx *sx, struct node **out);
// A node without a name (O_TMPFILE), reached through `fd`, which it owns from then on in any case.
int node_enter_nameless(struct tree *tree, struct nodes *t, int fd, const struct statx *sx, struct node **out);
// The node of an inode if there is one, with a reference; else NULL.
struct node *node_find(struct nodes *t, struct tree *tree, const struct statx *sx);
void node_forget(struct nodes *t, struct tree *tree, uint64_t id, uint64_t lookups);
// It is under that name now. -ENOMEM.
int node_move(struct node *n, struct node *dir, const char *name);

bool node_is_same(const struct node *n, const struct statx *sx);
static inline bool node_is_dir(const struct node *n) { return S_ISDIR(n->identity.type); }
// Is its directory watched?
bool node_parent_is_watched(struct node *n);

// Its descriptor, opened if need be; stays open until node_fd_put(). -ESTALE, -EMFILE, what openat2(2) says.
int node_fd_get(struct node *n);
void node_fd_put(struct node *n);
// It is about to lose its name: opens it, and keeps the descriptor as long as others can be closed.
void node_hold(struct node *n);

// How to name a node in a system call: its own descriptor and "", or its directory's descriptor and its name there. What is
// found in the second way need not be the node: compare.
struct node_place {
	struct node *owner; // of `fd`
	int fd;
	int flags; // AT_EMPTY_PATH or AT_SYMLINK_NOFOLLOW
	char name[NODE_NAME_MAX + 1];
};
int node_place_get(struct node *n, struct node_place *p);
void node_place_put(struct node_place *p);
// Attributes; -ESTALE when another inode has its place now.
int node_stat(struct node *n, struct statx *sx);

// openat2(2) of one component beneath a directory: no symbolic or magic link, no way up; close-on-exec. Makes room and
// tries again when descriptors run out. -errno.
int node_open_beneath(struct nodes *t, int dir_fd, const char *name, int flags, mode_t mode);
// Makes an O_PATH descriptor a real one. -errno.
int node_reopen(struct nodes *t, int path_fd, int flags);
