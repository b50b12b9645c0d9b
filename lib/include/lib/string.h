// SPDX-License-Identifier: Apache-2.0
// The freestanding part of <string.h>, plus what the kernel uses instead of the unsafe rest.
#pragma once

#include "lib/compiler.h"

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
int memcmp(const void *a, const void *b, size_t size);
void *memchr(const void *s, int byte, size_t size);
size_t strlen(const char *s);
size_t strnlen(const char *s, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t max);
char *strchr(const char *s, int c);
char *strrchr(const char *s, int c);

// Copies at most size - 1 bytes and always terminates (size > 0). Length of `from`; >= size means it was cut.
size_t string_copy(char *to, const char *from, size_t size);
// Parses an unsigned number; base 0 understands 0x and 0. False on no digits, trailing bytes or overflow.
bool string_to_u64(const char *s, unsigned base, uint64_t *out);
