// SPDX-License-Identifier: Apache-2.0
// The broker of a cell on port hosted: the one process that holds what the cell was granted of the host's files.
//
// It serves the requests of abi/broker.h until the cell closes its ends of the channels, then exits with status 0. The cell
// is not trusted: all it can reach is what lies beneath a granted root, by names of one component at a time.
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct broker_root {
	uint32_t grant;   // number of the grant, as in abi/broker.h
	int fd;           // O_PATH: a directory, or one regular file
	bool read_only;   // nothing is changed, no descriptor is opened for writing
	bool no_devices;  // all mounts beneath are nodev: a path can be opened without looking first
	bool hide_system; // proc, sys, dev, run and tmp in the root do not exist (where mounts cannot cover them)
};

struct broker_spec {
	const struct broker_root *roots;
	unsigned root_count;
	const int *channels; // SOCK_SEQPACKET, blocking; at most HOSTED_CHANNELS_MAX
	unsigned channel_count;
	int events; // SOCK_SEQPACKET, blocking; -1: nothing can be watched
	// Bounds; 0 = default.
	uint32_t nodes_max;       // names the cell may know at a time
	uint32_t descriptors_max; // of the broker itself; default: all that RLIMIT_NOFILE allows
	uint32_t watches_max;     // default: a share of what the host allows its user
	int enclosure;            // broker_enclose(); 0: none
};

// Opens the host's `source` as the root of a grant: sets `fd` and `no_devices`, reads the other fields. `private_mounts`: the
// caller has a mount namespace of its own, with the capabilities in it; then the tree is cloned, so that "read only" and
// "no devices" are the host kernel's to enforce. EXIT_GRANT.
bool broker_root_open(struct broker_root *root, const char *source, bool private_mounts, struct err *e);
// Covers the system trees of cloned roots that hide_system, which those need not say any more. The caller's /tmp is lost: open
// all roots before. Roots that are not cloned stay for the broker to mind.
bool broker_roots_cover(struct broker_root *roots, unsigned count, struct err *e);

uint32_t broker_watches_allowed(void); // the default, while paths lead to /proc

// Takes everything but the roots and the process's own descriptors out of reach of paths: an empty root directory, and a working
// directory that nothing is above. For a process with private mounts, after all roots are open; where the host refuses, it
// stays as it was.
void broker_enclose(struct broker_spec *spec);

// Becomes the broker: closes every descriptor that is not in `spec` and not standard error, confines itself, serves.
// For a child of the launcher with one thread. Says one line on standard error and exits with EXIT_USAGE when it cannot.
_Noreturn void broker_main(const struct broker_spec *spec);
