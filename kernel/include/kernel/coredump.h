// SPDX-License-Identifier: Apache-2.0
// Core files, core(5): what /proc/sys/kernel says of them. Owner: kernel/proc/coredump.c.
#pragma once

#include "kernel/types.h"

#define CORE_PATTERN_BYTES  128   // with its NUL
#define CORE_FILTER_DEFAULT 0x33u // of mm.dump_filter, bits of core(5)
#define CORE_FILTER_ALL     0x1ffu

extern uint32_t core_uses_pid;
void core_pattern_get(char out[CORE_PATTERN_BYTES]);
// -EINVAL: a pipe. A cell has no context of its own in which to start a program; core files are files.
int core_pattern_set(const char *pattern);
