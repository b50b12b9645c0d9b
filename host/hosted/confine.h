// SPDX-License-Identifier: Apache-2.0
// What the processes of a hosted cell give up before they meet anything that is not trusted. None of it fails for want of a right:
// what the host forbids is left out, and the seccomp filter, which needs no right, is what counts.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

// The caller's process group, death signal, root directory, identity, capabilities and limits, for a process of the cell.
// `parent`: the supervisor, without which it must not live; `namespaces`: CLONE_NEW* the caller is in; `tasks_max`: 0: no limit.
// False after saying why on standard error.
bool confine_cell(pid_t parent, unsigned long namespaces, uint64_t tasks_max);
// Gives up all capabilities but those in `keep` (bits by number), and new ones for ever.
bool confine_capabilities(uint64_t keep);
