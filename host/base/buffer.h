// SPDX-License-Identifier: Apache-2.0
// A growable byte buffer, and a growable list of strings. Running out of memory ends the program: a launcher that
// cannot allocate a few kilobytes can do nothing better.
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct buffer {
	char *data;
	size_t size, capacity;
};

void buffer_fini(struct buffer *b);
void buffer_reserve(struct buffer *b, size_t more);
void buffer_append(struct buffer *b, const void *data, size_t size);
void buffer_consume(struct buffer *b, size_t size); // drops the first `size` bytes

// NULL-terminated at all times once something was added.
struct strings {
	char **items;
	size_t count;
};

void strings_fini(struct strings *s);
void strings_add(struct strings *s, const char *text); // copies
void strings_addf(struct strings *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
// For "NAME=value" lists: replaces the entry of the same NAME, or adds.
void strings_set_variable(struct strings *s, const char *name, const char *value);
const char *strings_get_variable(const struct strings *s, const char *name);

// Never NULL.
char *text_copy(const char *text);
char *text_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
