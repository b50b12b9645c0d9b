// SPDX-License-Identifier: Apache-2.0
// The cell's control group: it bounds the memory and the number of tasks of all the cell's processes together, the broker and the
// supervisor included, page cache and all. Version 2 where the launcher may make a group with a memory controller below or beside its
// own, else version 1 (hierarchies "memory" and "pids"), else none.
//
// A notice tells when it is used up, so that the cell's kernel can end the greediest program. If that does not help, the host kills a
// process of the group.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define CGROUP_CONTROLLERS 2 // memory, pids: each with a directory of its own in version 1
#define CGROUP_WHY_BYTES   256
#define CGROUP_ROOT        "/sys/fs/cgroup"

struct control_usage;

struct cgroup {
	unsigned version;                      // 0: none
	char *directories[CGROUP_CONTROLLERS]; // version 2: one
	int fds[CGROUP_CONTROLLERS];           // the directories, locked as long as a launcher uses them; -1
	int notice;                            // ready with `notice_events` (poll(2)) when memory runs low; -1
	short notice_events;
	uint64_t limit_bytes, low_bytes;
	bool told;           // version 1: the kernel, that somebody waits for memory
	uint64_t lent_bytes; // version 1: the limit is higher by that for the moment
};

void cgroup_init(struct cgroup *g); // none
// Sweeps what killed launchers have left behind, and makes one. `root`: CGROUP_ROOT; `membership`: /proc/self/cgroup. False with the
// reason in `why`, and nothing made.
bool cgroup_create(struct cgroup *g, const char *root, const char *membership, uint64_t memory_bytes, uint64_t tasks,
		   char why[CGROUP_WHY_BYTES]);
// Version 1: the calling process, which has one thread, and all it makes from now on are in the group. False: not.
bool cgroup_join(const struct cgroup *g);
// Version 2: for CLONE_INTO_CGROUP; -1.
int cgroup_clone_fd(const struct cgroup *g);
// After a notice, and again a little later as long as it is true: somebody must end. It is not page cache that fills the group.
bool cgroup_is_low(struct cgroup *g);
// What the group's processes use, greediest first, by their numbers in their innermost pid namespace. Count.
unsigned cgroup_usage(const struct cgroup *g, struct control_usage *out, unsigned max);
// Has the host killed a process of the group because it was full?
bool cgroup_has_killed(const struct cgroup *g);
// Once its processes are gone. Idempotent.
void cgroup_remove(struct cgroup *g);
