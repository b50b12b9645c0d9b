// SPDX-License-Identifier: Apache-2.0
// The address sanitizer of debug kernels: what allocators and copies tell it. The compiler has every access of C code looked up in
// shadow memory, one byte for eight: 0, all of them may be touched; 1 to 7, only so many; more, none, and why. A port that has
// shadow memory (CLOISTER_ASAN=1) provides what is declared here; elsewhere it is nothing.
//
// Shadow bytes have no lock: who calls has the memory for itself. Any context.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#ifndef CLOISTER_ASAN
#define CLOISTER_ASAN 0
#endif

enum asan_poison {
	ASAN_PAGE_FREE = 0xe0,
	ASAN_OBJECT_FREE = 0xe1,
	ASAN_OBJECT_END = 0xe2, // behind an object, or where none is yet
	ASAN_STACK_FREE = 0xe3, // of a task that is gone
	// gcc's
	ASAN_STACK_LEFT = 0xf1,
	ASAN_STACK_MIDDLE = 0xf2,
	ASAN_STACK_RIGHT = 0xf3,
	ASAN_STACK_SCOPE = 0xf8, // the variable's block was left
	ASAN_GLOBAL_END = 0xf9,
};

#if CLOISTER_ASAN

// Behind every object: who allocated it, and who freed it.
#define ASAN_REDZONE_BYTES 64u

// For code whose business is memory that nobody may touch.
#define asan_exempt __attribute__((no_sanitize_address, noinline))

// From `start` on, which may lie within eight bytes whose first part may be touched, to a multiple of eight.
void asan_poison(const void *start, size_t size, enum asan_poison why);
// `start` is a multiple of eight.
void asan_unpoison(const void *start, size_t size);

// An allocator hands out `size` bytes, or takes them back, of the `room` from `object` on; the last ASAN_REDZONE_BYTES are the sanitizer's.
void asan_object_alloc(void *object, size_t size, size_t room);
void asan_object_free(void *object, size_t room);

// For what the compiler does not see: assembly, the host's calls. Addresses of programs are nobody's business here.
void asan_check(const void *start, size_t size, bool write);

#else

#define ASAN_REDZONE_BYTES 0u
#define asan_exempt

static inline void asan_poison(const void *start, size_t size, enum asan_poison why)
{
	(void)start, (void)size, (void)why;
}
static inline void asan_unpoison(const void *start, size_t size) { (void)start, (void)size; }
static inline void asan_object_alloc(void *object, size_t size, size_t room) { (void)object, (void)size, (void)room; }
static inline void asan_object_free(void *object, size_t room) { (void)object, (void)room; }
static inline void asan_check(const void *start, size_t size, bool write) { (void)start, (void)size, (void)write; }

#endif
