// SPDX-License-Identifier: Apache-2.0
// Keys and keyrings: secrets that the kernel keeps for programs. keyrings(7), add_key(2), request_key(2), keyctl(2).
// Owner: kernel/keys.
#pragma once

#include "kernel/types.h"

struct key;
struct process;
struct seq;
struct task;

// A key, or NULL: drops a reference; the last one frees. Any context.
void key_put(struct key *k);
// A new process starts with its parent's session keyring and none of its own. parent->lock held.
void keys_fork(struct process *child, const struct process *parent);
// execve(2): the keyrings of thread and process go, the session's stays. The current task, alone in its process.
void keys_exec(void);

// /proc/keys and /proc/key-users, for the current task.
void keys_show(struct seq *s);
void key_users_show(struct seq *s);

// /proc/sys/kernel/keys: of a user, and of root; racy.
struct key_limits {
	uint32_t keys, bytes, root_keys, root_bytes;
};
extern struct key_limits key_limits;
