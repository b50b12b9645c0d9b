// SPDX-License-Identifier: Apache-2.0
// For tests: a broker over a temporary directory, in a thread of the test or as the confined process it is in earnest, and
// the cell's side of a channel.
#pragma once

#include "broker/request.h"

#include <pthread.h>
#include <sys/types.h>

struct client {
	char top[64];  // the temporary directory; absolute
	char root[80]; // top/root: what is granted, as grant 0
	int channels[2], events;
	uint64_t unique;
	uint16_t flags;        // of requests: BROKER_REQUEST_*
	struct broker *broker; // in this process, or NULL
	pthread_t threads[3];
	pid_t process;
	int exit_status;
	// The last answer.
	char answer[BROKER_MESSAGE_MAX_BYTES];
	size_t answer_bytes; // of its payload
	int fd;              // that came with it; -1. The first of fds
	int fds[BROKER_DESCRIPTORS_MAX];
	unsigned fd_count;
};

struct client_options {
	bool process; // broker_main() in a child
	bool read_only, no_devices, hide_system;
	const char *file; // the grant is this file beneath top/root
	uint32_t nodes_max, descriptors_max;
	// In the child, before broker_main(): opens the root, at `path`.
	void (*open_root)(struct broker_root *root, const char *path);
};

void client_start(struct client *c, const struct client_options *o);
void client_stop(struct client *c); // and removes the directory; fails if the broker left anything behind

// A path beneath the temporary directory, as the host sees it: "root/a", "outside". In one of several static buffers.
const char *client_path(struct client *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void client_write(struct client *c, const char *path, const char *text); // path as for client_path()

// Sends a request; arguments: pointer and size pairs up to NULL. The answer's error.
int client_call(struct client *c, uint32_t opcode, uint64_t nodeid, ...) __attribute__((sentinel));
void client_send(struct client *c, uint32_t opcode, uint64_t nodeid, const void *arguments, size_t size);
int client_receive(struct client *c);
const void *client_payload(struct client *c); // 8-byte aligned

// Shorthands; 0 or -errno.
int client_lookup(struct client *c, uint64_t dir, const char *name, struct fuse_entry_out *out);
uint64_t client_node(struct client *c, uint64_t dir, const char *name); // must be there
int client_attributes(struct client *c, uint64_t node, struct fuse_attr *out);
int client_open(struct client *c, uint64_t node, uint32_t flags); // descriptor or -errno
int client_lookup_open(struct client *c, uint64_t dir, const char *name, uint32_t flags, struct fuse_entry_out *entry);
int client_create(struct client *c, uint64_t dir, const char *name, uint32_t flags, struct fuse_entry_out *entry);
int client_mkdir(struct client *c, uint64_t dir, const char *name, struct fuse_entry_out *entry);
int client_rename(struct client *c, uint64_t from, const char *name, uint64_t to, const char *new_name, uint32_t flags);
void client_forget(struct client *c, uint64_t node, uint64_t lookups);
