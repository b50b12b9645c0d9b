// SPDX-License-Identifier: Apache-2.0
// The tracer behind `cloister run --trace`: one line a call on the control channel, like strace. Arguments are decoded from the
// signature in syscalls.def: the type and name of each parameter say how it is printed.
#include "kernel/boot_config.h"
#include "kernel/core.h"
#include "kernel/errno.h"
#include "kernel/task.h"
#include "kernel/uaccess.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "table.h"

struct line {
	char text[512];
	size_t length;
};

static void add(struct line *l, const char *format, ...) printf_like(2, 3);
static void add(struct line *l, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	int n = fmt_vprint(l->text + l->length, sizeof(l->text) - l->length, format, arguments);
	va_end(arguments);
	l->length = min(l->length + (size_t)n, sizeof(l->text) - 1);
}

static void add_quoted(struct line *l, const char *bytes, size_t size, bool cut)
{
	add(l, "\"");
	for (size_t i = 0; i < size; i++) {
		unsigned char c = (unsigned char)bytes[i];
		if (c == '\n')
			add(l, "\\n");
		else if (c == '"' || c == '\\')
			add(l, "\\%c", c);
		else if (c >= ' ' && c < 127)
			add(l, "%c", c);
		else
			add(l, "\\x%02x", c);
	}
	add(l, cut ? "\"..." : "\"");
}

static void add_string(struct line *l, uint64_t address)
{
	char text[128];
	long n = port_string_in(text, address, sizeof(text));

	if (n < 0)
		add(l, "0x%lx", address);
	else
		add_quoted(l, text, min((size_t)n, sizeof(text)), (size_t)n >= sizeof(text));
}

static void add_data(struct line *l, uint64_t address, uint64_t size)
{
	char text[32];
	size_t n = min(size, (uint64_t)sizeof(text));

	if (port_copy_in(text, address, n))
		add(l, "0x%lx", address);
	else
		add_quoted(l, text, n, size > n);
}

static bool begins_with(const char *s, size_t size, const char *start)
{
	size_t n = strlen(start);
	return size >= n && memcmp(s, start, n) == 0;
}

static bool ends_with(const char *s, size_t size, const char *end)
{
	size_t n = strlen(end);
	return size >= n && memcmp(s + size - n, end, n) == 0;
}

// One parameter: `text` is its type and name.
static void add_argument(struct line *l, const char *text, size_t size, uint64_t value, uint64_t next)
{
	bool pointer = begins_with(text, size, "struct uptr ");

	if (pointer && (ends_with(text, size, "path") || ends_with(text, size, "name")))
		add_string(l, value);
	else if (pointer && ends_with(text, size, " data"))
		add_data(l, value, next);
	else if (pointer)
		add(l, value ? "0x%lx" : "NULL", value);
	else if (ends_with(text, size, "flags") || ends_with(text, size, "command"))
		add(l, "0x%lx", value);
	else if (ends_with(text, size, "mode"))
		add(l, "0%lo", value & 07777777);
	else if (begins_with(text, size, "int dir") && (int)value == -100)
		add(l, "AT_FDCWD");
	else if (begins_with(text, size, "int ") || begins_with(text, size, "pid_t "))
		add(l, "%d", (int)value);
	else if (begins_with(text, size, "uint64_t address"))
		add(l, "0x%lx", value);
	else
		add(l, "%ld", (long)value);
}

static void add_call(struct line *l, const struct user_regs *r, uint64_t nr)
{
	const uint64_t values[7] = { r->di, r->si, r->dx, r->r10, r->r8, r->r9, 0 };
	const char *name = syscall_name(nr), *at = syscall_signature(nr);

	add(l, "[%d] ", current->tid);
	if (!name) {
		add(l, "syscall_%lu(0x%lx, 0x%lx, 0x%lx)", nr, r->di, r->si, r->dx);
		return;
	}
	add(l, "%s(", name);
	at++; // the opening parenthesis
	for (unsigned i = 0; i < 6 && strncmp(at, "void", 4) != 0; i++) {
		const char *end = at;
		while (*end != ',' && *end != ')')
			end++;
		add_argument(l, at, (size_t)(end - at), values[i], values[i + 1]);
		if (*end == ')')
			break;
		add(l, ", ");
		at = end + 2;
	}
	add(l, ")");
}

// Calls that do not come back, or come back as another program, are printed before they run.
static bool printed_before(const char *name)
{
	static const char *const names[] = { "exit", "exit_group", "execve", "execveat", "rt_sigreturn" };

	for (unsigned i = 0; name && i < array_count(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

void syscall_trace_enter(const struct user_regs *regs, uint64_t nr)
{
	struct line l = { .length = 0 };

	if (!printed_before(syscall_name(nr)))
		return;
	add_call(&l, regs, nr);
	add(&l, "\n");
	trace_line(l.text);
}

static void add_error(struct line *l, long result)
{
	const char *name = errno_name(-result);

	if (-result >= ERESTARTSYS)
		add(l, " = ? %s\n", name ? name : "(to be restarted)");
	else if (name)
		add(l, " = -1 %s\n", name);
	else
		add(l, " = -1 (errno %ld)\n", -result);
}

void syscall_trace_exit(const struct user_regs *regs, uint64_t nr, long result)
{
	struct line l = { .length = 0 };

	if (printed_before(syscall_name(nr))) {
		if (result >= 0)
			return;
		add(&l, "[%d] %s()", current->tid, syscall_name(nr));
		add_error(&l, result);
		trace_line(l.text);
		return;
	}
	add_call(&l, regs, nr);
	if (result < 0 && result >= -4095)
		add_error(&l, result);
	else if ((unsigned long)result > 0xfffffff)
		add(&l, " = 0x%lx\n", (unsigned long)result);
	else
		add(&l, " = %ld\n", result);
	trace_line(l.text);
}
