// SPDX-License-Identifier: Apache-2.0
// Attributes and small macros every file wants.
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))
#define array_count(a)                      (sizeof(a) / sizeof((a)[0]))
#define likely(x)                           __builtin_expect(!!(x), 1)
#define unlikely(x)                         __builtin_expect(!!(x), 0)
#define must_check                          __attribute__((warn_unused_result))
#define printf_like(string, first)          __attribute__((format(printf, string, first)))
#define maybe_unused                        __attribute__((unused))
#define min(a, b)                       \
	({                              \
		__typeof__(a) a_ = (a); \
		__typeof__(b) b_ = (b); \
		a_ < b_ ? a_ : b_;      \
	})
#define max(a, b)                       \
	({                              \
		__typeof__(a) a_ = (a); \
		__typeof__(b) b_ = (b); \
		a_ > b_ ? a_ : b_;      \
	})
#define align_up(x, a)   (((x) + ((__typeof__(x))(a)-1)) & ~((__typeof__(x))(a)-1)) // a: power of two
#define align_down(x, a) ((x) & ~((__typeof__(x))(a)-1))
