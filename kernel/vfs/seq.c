// SPDX-License-Identifier: Apache-2.0
// Text under construction for pseudo files: a buffer that doubles. No locking: a struct seq belongs to one task at a time.
#include "kernel/pseudofs.h"

#include "kernel/slab.h"
#include "lib/fmt.h"
#include "lib/string.h"

#define SEQ_FIRST_BYTES 1024u
#define SEQ_MAX_BYTES   (64u << 20)

void seq_init(struct seq *s) { *s = (struct seq){ NULL }; }

void seq_fini(struct seq *s)
{
	kfree(s->buffer);
	s->buffer = NULL;
	s->length = s->capacity = 0;
}

static bool make_room(struct seq *s, size_t more)
{
	if (s->failed)
		return false;
	if (s->capacity - s->length > more)
		return true;
	size_t capacity = s->capacity ? s->capacity * 2 : SEQ_FIRST_BYTES;
	while (capacity - s->length <= more)
		capacity *= 2;
	char *buffer = capacity <= SEQ_MAX_BYTES ? kalloc(capacity) : NULL;
	if (!buffer) {
		s->failed = true;
		return false;
	}
	if (s->length)
		memcpy(buffer, s->buffer, s->length);
	kfree(s->buffer);
	s->buffer = buffer;
	s->capacity = capacity;
	return true;
}

void seq_write(struct seq *s, const void *data, size_t size)
{
	if (!make_room(s, size))
		return;
	memcpy(s->buffer + s->length, data, size);
	s->length += size;
}

void seq_puts(struct seq *s, const char *text) { seq_write(s, text, strlen(text)); }
void seq_putc(struct seq *s, char c) { seq_write(s, &c, 1); }

void seq_printf(struct seq *s, const char *format, ...)
{
	size_t guess = 128;
	for (;;) {
		if (!make_room(s, guess))
			return;
		va_list arguments;
		va_start(arguments, format);
		int length = fmt_vprint(s->buffer + s->length, s->capacity - s->length, format, arguments);
		va_end(arguments);
		if (length < 0)
			return;
		if ((size_t)length < s->capacity - s->length) {
			s->length += (size_t)length;
			return;
		}
		guess = (size_t)length + 1;
	}
}

void seq_puts_escaped(struct seq *s, const char *text, const char *escaped)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if (strchr(escaped, c))
			seq_printf(s, "\\%03o", c);
		else
			seq_putc(s, (char)c);
	}
}
