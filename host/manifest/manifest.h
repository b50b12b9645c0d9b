// SPDX-License-Identifier: Apache-2.0
// The manifest: a TOML file that says what a cell runs and what it is granted. Keys are Gramine's where they exist;
// docs/manifest.md lists them. An unknown key is an error that names it: a grant that is misspelt must not vanish.
#pragma once

#include "manifest/cell.h"

// Reads the file at `path` into `c` (which cell_init() made). `path` is also what relative `file:` URIs start from: its
// directory. EXIT_USAGE with file, line and key; EXIT_GRANT.
bool manifest_load(struct cell *c, const char *path, struct err *e);
// The same from text; `directory` is the base of relative URIs.
bool manifest_parse(struct cell *c, const char *text, size_t size, const char *name, const char *directory,
		    struct err *e);
