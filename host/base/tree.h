// SPDX-License-Identifier: Apache-2.0
// A directory tree as a mount of its own, for a process in a private mount namespace with the capabilities in it.
#pragma once

#include "base/err.h"

#include <stdbool.h>

// What becomes of changes to all mounts of the namespace: MS_PRIVATE or MS_SLAVE. False and errno when the caller may not.
bool tree_propagate(unsigned long how);
// A copy of `source`, a directory or a file, with all that is mounted beneath, attached nowhere: no devices, and no writing if
// read_only. Its descriptor (O_PATH), or -1 after EXIT_GRANT.
int tree_clone(const char *source, bool read_only, struct err *e);
// Covers the host's own proc, sys, dev, run and tmp beneath `root` by empty directories: they are no part of a grant of
// "/", the cell has its own.
bool tree_cover_system(const char *root, struct err *e);
