// SPDX-License-Identifier: Apache-2.0
// Hash functions for kernel tables: SipHash-1-3 where the outside chooses the keys, a multiply mix elsewhere.
#pragma once

#include "lib/compiler.h"

static inline uint64_t hash_u64(uint64_t x)
{
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 32;
	return x;
}

// Keyed hash of bytes (names); the key is random per boot.
uint64_t hash_bytes(uint64_t key, const void *data, size_t size);
