// SPDX-License-Identifier: Apache-2.0
// The kernel's printf.
#include "lib/fmt.h"
#include "lib/string.h"

struct out {
	char *buffer;
	size_t size, length;
};

struct spec {
	bool left, zero, plus, space, alternate;
	int width, precision; // precision -1: none
	int length;           // bytes of the argument: 1, 2, 4, 8
	char conversion;
};

static void put(struct out *o, char c)
{
	if (o->length + 1 < o->size)
		o->buffer[o->length] = c;
	o->length++;
}

static void pad(struct out *o, char c, int count)
{
	while (count-- > 0)
		put(o, c);
}

static void put_text(struct out *o, const struct spec *s, const char *text, size_t length)
{
	int fill = s->width - (int)length;

	if (!s->left)
		pad(o, ' ', fill);
	for (size_t i = 0; i < length; i++)
		put(o, text[i]);
	if (s->left)
		pad(o, ' ', fill);
}

static void put_number(struct out *o, const struct spec *s, uint64_t value, bool negative)
{
	char digits[24];
	const char *alphabet = s->conversion == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
	unsigned base = s->conversion == 'o' ? 8 : (s->conversion == 'x' || s->conversion == 'X') ? 16 : 10;
	int count = 0;
	char prefix[3];
	int prefix_length = 0;

	for (uint64_t v = value; v; v /= base)
		digits[count++] = alphabet[v % base];
	if (!count && s->precision != 0)
		digits[count++] = '0';
	if (negative)
		prefix[prefix_length++] = '-';
	else if (s->plus)
		prefix[prefix_length++] = '+';
	else if (s->space)
		prefix[prefix_length++] = ' ';
	if (s->alternate && base == 16 && value) {
		prefix[prefix_length++] = '0';
		prefix[prefix_length++] = s->conversion;
	}
	int zeros = s->precision > count ? s->precision - count : 0;
	if (s->alternate && base == 8 && !zeros)
		zeros = 1;
	int fill = s->width - count - zeros - prefix_length;
	if (s->zero && !s->left && s->precision < 0 && fill > 0) {
		zeros += fill;
		fill = 0;
	}
	if (!s->left)
		pad(o, ' ', fill);
	for (int i = 0; i < prefix_length; i++)
		put(o, prefix[i]);
	pad(o, '0', zeros);
	while (count)
		put(o, digits[--count]);
	if (s->left)
		pad(o, ' ', fill);
}

static const char *parse_flags(const char *f, struct spec *s)
{
	for (;; f++) {
		switch (*f) {
		case '-': s->left = true; break;
		case '0': s->zero = true; break;
		case '+': s->plus = true; break;
		case ' ': s->space = true; break;
		case '#': s->alternate = true; break;
		default: return f;
		}
	}
}

static int parse_int(const char **f)
{
	int n = 0;
	while (**f >= '0' && **f <= '9')
		n = n * 10 + *(*f)++ - '0';
	return n;
}

static const char *parse_length(const char *f, struct spec *s)
{
	s->length = 4;
	if (*f == 'h') {
		s->length = 2;
		if (*++f == 'h') {
			s->length = 1;
			f++;
		}
	} else if (*f == 'l' || *f == 'z' || *f == 't' || *f == 'j') {
		s->length = 8;
		if (*f++ == 'l' && *f == 'l')
			f++;
	}
	return f;
}

static uint64_t truncate_unsigned(uint64_t v, int length)
{
	return length == 8 ? v : v & ((UINT64_C(1) << (length * 8)) - 1);
}

static int64_t truncate_signed(int64_t v, int length)
{
	return length == 8 ? v : length == 4 ? (int32_t)v : length == 2 ? (int16_t)v : (int8_t)v;
}

int fmt_vprint(char *buffer, size_t size, const char *format, va_list arguments)
{
	struct out o = { buffer, size, 0 };

	for (const char *f = format; *f; f++) {
		if (*f != '%') {
			put(&o, *f);
			continue;
		}
		struct spec s = { .precision = -1 };
		f = parse_flags(f + 1, &s);
		if (*f == '*') {
			s.width = va_arg(arguments, int);
			f++;
			if (s.width < 0) {
				s.left = true;
				s.width = -s.width;
			}
		} else {
			s.width = parse_int(&f);
		}
		if (*f == '.') {
			f++;
			if (*f == '*') {
				s.precision = va_arg(arguments, int);
				f++;
			} else {
				s.precision = parse_int(&f);
			}
		}
		f = parse_length(f, &s);
		s.conversion = *f;
		switch (*f) {
		case 'd':
		case 'i': {
			int64_t v = s.length == 8 ? va_arg(arguments, int64_t) : va_arg(arguments, int);
			v = truncate_signed(v, s.length);
			put_number(&o, &s, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, v < 0);
			break;
		}
		case 'u':
		case 'x':
		case 'X':
		case 'o': {
			uint64_t v = s.length == 8 ? va_arg(arguments, uint64_t) : va_arg(arguments, unsigned);
			s.plus = s.space = false;
			put_number(&o, &s, truncate_unsigned(v, s.length), false);
			break;
		}
		case 'p':
			s.alternate = true;
			s.conversion = 'x';
			put_number(&o, &s, (uintptr_t)va_arg(arguments, void *), false);
			break;
		case 'c': {
			char c = (char)va_arg(arguments, int);
			put_text(&o, &s, &c, 1);
			break;
		}
		case 's': {
			const char *text = va_arg(arguments, const char *);
			if (!text)
				text = "(null)";
			put_text(&o, &s, text, s.precision < 0 ? strlen(text) : strnlen(text, (size_t)s.precision));
			break;
		}
		case '%': put(&o, '%'); break;
		case '\0': f--; break;
		default: // unknown: show it
			put(&o, '%');
			put(&o, *f);
		}
	}
	if (size)
		buffer[o.length < size ? o.length : size - 1] = '\0';
	return (int)o.length;
}

int fmt_print(char *buffer, size_t size, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	int n = fmt_vprint(buffer, size, format, arguments);
	va_end(arguments);
	return n;
}
