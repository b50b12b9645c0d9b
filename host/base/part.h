// SPDX-License-Identifier: Apache-2.0
// The files of Cloister itself: kernels, firmware, programs that help the launcher, found in the build tree the launcher stands in or where they are installed.
#pragma once

#include "base/err.h"

// Opens `explicit_path` (given by `option`) when it is not NULL; else `name` in `directory` of the build tree, or the installed
// one. A descriptor, close-on-exec; -1 and EXIT_HOST_MISSING.
int part_open(const char *explicit_path, const char *option, const char *directory, const char *name, struct err *e);
// The path of a program, likewise; to be freed. NULL and EXIT_HOST_MISSING.
char *part_find_program(const char *name, const char *directory, struct err *e);
