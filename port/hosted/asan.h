// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lib/asan.h"

#if CLOISTER_ASAN
// Maps the shadow of the kernel's region, for all processes of the cell. Before anything that keeps variables in memory on its
// stack runs; the loader's memory is gone.
void hosted_asan_init(void);
#else
static inline void hosted_asan_init(void) {}
#endif
