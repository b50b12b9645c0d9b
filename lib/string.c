// SPDX-License-Identifier: Apache-2.0
// Memory and string functions of the freestanding build. Copies go eight bytes at a time: the string instructions
// of the CPU are slow under software emulation, and what is large goes through the port's page functions.
#include "lib/string.h"

typedef uint64_t __attribute__((may_alias, aligned(1))) word;

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
	char *t = to;
	const char *f = from;

	for (; size >= 32; size -= 32, t += 32, f += 32) {
		word a = ((const word *)f)[0], b = ((const word *)f)[1], c = ((const word *)f)[2],
		     d = ((const word *)f)[3];
		((word *)t)[0] = a;
		((word *)t)[1] = b;
		((word *)t)[2] = c;
		((word *)t)[3] = d;
	}
	for (; size >= 8; size -= 8, t += 8, f += 8)
		*(word *)t = *(const word *)f;
	while (size--) {
		*t++ = *f++;
		__asm__("" : "+r"(t)); // keeps the compiler from making this loop a call to memcpy
	}
	return to;
}

void *memmove(void *to, const void *from, size_t size)
{
	char *t = to;
	const char *f = from;

	if ((uintptr_t)t - (uintptr_t)f >= size)
		return memcpy(to, from, size);
	while (size >= 8) {
		size -= 8;
		*(word *)(t + size) = *(const word *)(f + size);
	}
	while (size--) {
		t[size] = f[size];
		__asm__("" : "+r"(t));
	}
	return to;
}

void *memset(void *to, int byte, size_t size)
{
	char *t = to;
	uint64_t fill = (uint8_t)byte * UINT64_C(0x0101010101010101);

	for (; size >= 32; size -= 32, t += 32) {
		((word *)t)[0] = fill;
		((word *)t)[1] = fill;
		((word *)t)[2] = fill;
		((word *)t)[3] = fill;
	}
	for (; size >= 8; size -= 8, t += 8)
		*(word *)t = fill;
	while (size--) {
		*t++ = (char)byte;
		__asm__("" : "+r"(t));
	}
	return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
	const unsigned char *x = a, *y = b;

	for (; size >= 8 && *(const word *)x == *(const word *)y; size -= 8, x += 8, y += 8)
		;
	for (; size; size--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

void *memchr(const void *s, int byte, size_t size)
{
	for (const unsigned char *p = s; size; size--, p++)
		if (*p == (unsigned char)byte)
			return (void *)p;
	return NULL;
}

size_t strlen(const char *s)
{
	const char *p = s;
	while (*p) {
		p++;
		__asm__("" : "+r"(p));
	}
	return (size_t)(p - s);
}

size_t strnlen(const char *s, size_t max)
{
	size_t n = 0;
	while (n < max && s[n])
		n++;
	return n;
}

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (unsigned char)*a - (unsigned char)*b;
}

int strncmp(const char *a, const char *b, size_t max)
{
	for (; max; max--, a++, b++)
		if (*a != *b || !*a)
			return (unsigned char)*a - (unsigned char)*b;
	return 0;
}

char *strchr(const char *s, int c)
{
	for (;; s++) {
		if (*s == (char)c)
			return (char *)s;
		if (!*s)
			return NULL;
	}
}

char *strrchr(const char *s, int c)
{
	const char *found = NULL;
	for (;; s++) {
		if (*s == (char)c)
			found = s;
		if (!*s)
			return (char *)found;
	}
}
