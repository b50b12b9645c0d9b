// SPDX-License-Identifier: Apache-2.0
// The cell's random number generator: ChaCha20, seeded from the boot record and the CPU, reseeded. Owner: kernel/core/random.c.
#pragma once

#include "kernel/types.h"

void random_init(const void *seed, size_t size);
void random_add(const void *data, size_t size);
void random_bytes(void *out, size_t size); // any context
uint64_t random_u64(void);
