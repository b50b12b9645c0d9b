// SPDX-License-Identifier: Apache-2.0
// own.c for watch.c: is the host's report one of our own doings? Takes the record.
#pragma once

#include "kernel/types.h"

struct fs_connection;

bool fs_own_match(struct fs_connection *c, uint64_t nodeid, const char *name, size_t length, uint32_t mask);
