// SPDX-License-Identifier: Apache-2.0
// The name of a core file from its pattern: core(5), "Naming of core dump files".
#include "coredump.h"

#include "kernel/errno.h"
#include "lib/fmt.h"
#include "lib/string.h"

struct name {
	char *out;
	size_t size, length; // length >= size: it did not fit
};

static void put(struct name *n, const char *text)
{
	for (; *text; text++, n->length++)
		if (n->length < n->size)
			n->out[n->length] = *text;
}

static void put_number(struct name *n, int64_t value)
{
	char text[24];
	fmt_print(text, sizeof(text), "%ld", value);
	put(n, text);
}

// A text that somebody else chose: it is no path, whatever is in it.
static void put_component(struct name *n, const char *text)
{
	size_t start = n->length;
	put(n, !*text || !strcmp(text, ".") ? "!" : !strcmp(text, "..") ? "!." : text);
	for (size_t i = start; i < min(n->length, n->size); i++)
		if (n->out[i] == '/')
			n->out[i] = '!';
}

static const char *last_component(const char *path)
{
	const char *last = path;
	for (; *path; path++)
		if (*path == '/')
			last = path + 1;
	return last;
}

static void put_field(struct name *n, char field, const struct core_name *v)
{
	switch (field) {
	case '%': put(n, "%"); break;
	case 'p':
	case 'P': put_number(n, v->pid); break;
	case 'i':
	case 'I': put_number(n, v->tid); break;
	case 'u': put_number(n, v->uid); break;
	case 'g': put_number(n, v->gid); break;
	case 'd': put_number(n, 1); break; // what must not be dumped is not
	case 's': put_number(n, v->signal); break;
	case 't': put_number(n, v->time); break;
	case 'c': put_number(n, (int64_t)v->limit); break;
	case 'h': put_component(n, v->host); break;
	case 'e': put_component(n, v->comm); break;
	case 'f': put_component(n, last_component(v->exe)); break;
	case 'E': put_component(n, v->exe); break;
	}
}

int core_name_print(char *out, size_t size, const char *pattern, bool uses_pid, const struct core_name *v)
{
	struct name n = { .out = out, .size = size };
	for (; *pattern; pattern++) {
		char literal[2] = { *pattern, '\0' };
		if (*pattern != '%') {
			put(&n, literal);
			continue;
		}
		if (!*++pattern)
			break; // one at the end stands for nothing
		uses_pid &= *pattern != 'p';
		put_field(&n, *pattern, v);
	}
	if (uses_pid) {
		put(&n, ".");
		put_number(&n, v->pid);
	}
	if (n.length >= size)
		return -ENAMETOOLONG;
	out[n.length] = '\0';
	return 0;
}
