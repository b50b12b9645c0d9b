// SPDX-License-Identifier: Apache-2.0
// Protection keys (pkeys(7), SDM vol. 3, 4.6.2): while the program runs, the kernel's region is closed to reads and writes but for the
// entry areas (task.h), so that a wild access faults in the program. It is a help against mistakes, no boundary: a program can open
// the region by WRPKRU.
#pragma once

#include <stdint.h>

// One set of the ways between program and kernel: addresses in entry.S, which knows the order.
struct hosted_ways {
	uint64_t entry; // where a rewritten call site arrives
	uint64_t leave, leave_jump, leave_iret,
		leave_end; // to the program; its last instruction is one of the middle two
	uint64_t again;    // what was interrupted between leave and leave_end starts over here; RSP = frame
	uint64_t signal;   // the host's signal handler
};

extern const struct hosted_ways *hosted_ways; // constant once hosted_pkeys_init() has run

// Boot, before the filter and before any signal handler: closes the region if the hand-off says so. -errno
int hosted_pkeys_init(void);
