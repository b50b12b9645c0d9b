// SPDX-License-Identifier: Apache-2.0
// Finds the program on the host, through the cell's mounts as the cell will see them, before anything starts: what is
// wrong with it is best said in one line now.
#pragma once

#include "manifest/cell.h"

#include <limits.h>

// Host path of a path of the cell, symbolic links followed inside the cell's tree. False with errno: ENOENT also where
// the kernel's own trees (tmpfs, proc, ...) are, which are empty or unknown at start.
bool cell_path_resolve(const struct cell *c, const char *path, char host[PATH_MAX]);

// Looks c->program up (PATH of the cell's environment when it bears no slash), replaces it by the path found and checks
// that it can run: EXIT_NOT_FOUND, EXIT_NOT_EXECUTABLE.
bool cell_program_check(struct cell *c, struct err *e);
