// SPDX-License-Identifier: Apache-2.0
#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *grow(void *old, size_t size)
{
	void *p = realloc(old, size);

	if (!p) {
		fputs("cloister: out of memory\n", stderr);
		abort();
	}
	return p;
}

void buffer_fini(struct buffer *b)
{
	free(b->data);
	*b = (struct buffer){ 0 };
}

void buffer_reserve(struct buffer *b, size_t more)
{
	if (b->capacity - b->size >= more)
		return;
	b->capacity = (b->size + more) * 3 / 2 + 64;
	b->data = grow(b->data, b->capacity);
}

void buffer_append(struct buffer *b, const void *data, size_t size)
{
	if (!size)
		return;
	buffer_reserve(b, size);
	memcpy(b->data + b->size, data, size);
	b->size += size;
}

void buffer_consume(struct buffer *b, size_t size)
{
	b->size -= size;
	if (b->size)
		memmove(b->data, b->data + size, b->size);
}

void strings_fini(struct strings *s)
{
	for (size_t i = 0; i < s->count; i++)
		free(s->items[i]);
	free(s->items);
	*s = (struct strings){ 0 };
}

static void strings_take(struct strings *s, char *text)
{
	s->items = grow(s->items, (s->count + 2) * sizeof(*s->items));
	s->items[s->count++] = text;
	s->items[s->count] = NULL;
}

void strings_add(struct strings *s, const char *text) { strings_take(s, text_copy(text)); }

static char *format_text(const char *format, va_list arguments)
{
	char *text = NULL;

	if (vasprintf(&text, format, arguments) < 0)
		abort();
	return text;
}

void strings_addf(struct strings *s, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	strings_take(s, format_text(format, arguments));
	va_end(arguments);
}

static char **find_variable(const struct strings *s, const char *name)
{
	size_t length = strlen(name);

	for (size_t i = 0; i < s->count; i++)
		if (!strncmp(s->items[i], name, length) && s->items[i][length] == '=')
			return &s->items[i];
	return NULL;
}

void strings_set_variable(struct strings *s, const char *name, const char *value)
{
	char **place = find_variable(s, name);

	if (!place) {
		strings_addf(s, "%s=%s", name, value);
		return;
	}
	char *old = *place;
	*place = text_format("%s=%s", name, value);
	free(old);
}

const char *strings_get_variable(const struct strings *s, const char *name)
{
	char **place = find_variable(s, name);

	return place ? *place + strlen(name) + 1 : NULL;
}

char *text_copy(const char *text)
{
	size_t size = strlen(text) + 1;

	return memcpy(grow(NULL, size), text, size);
}

char *text_format(const char *format, ...)
{
	va_list arguments;
	char *text;

	va_start(arguments, format);
	text = format_text(format, arguments);
	va_end(arguments);
	return text;
}
