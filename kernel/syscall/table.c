// SPDX-License-Identifier: Apache-2.0
// The system-call table, made from syscalls.def, and what is known of each call by number.
#include "table.h"

#include "kernel/syscalls.h"
#include "lib/fmt.h"

#define ENTRY(name)                                    (syscall_fn *)(uintptr_t)sys_##name
#define SYSCALL_FULL(name)                             ENTRY(name)
#define SYSCALL_PARTIAL(name)                          ENTRY(name)
#define SYSCALL_STUB(name)                             ENTRY(name)
#define SYSCALL_NONE(name)                             NULL
#define SYSCALL(number, name, status, arguments, note) [number] = SYSCALL_##status(name),
syscall_fn *const syscall_table[SYSCALLS_MAX] = {
#include "syscalls.def"
};
#undef SYSCALL

#define SYSCALL(number, name, status, arguments, note) [number] = #name,
static const char *const names[SYSCALLS_MAX] = {
#include "syscalls.def"
};
#undef SYSCALL

#define SYSCALL(number, name, status, arguments, note) [number] = #arguments,
static const char *const signatures[SYSCALLS_MAX] = {
#include "syscalls.def"
};
#undef SYSCALL

static uint64_t unimplemented[SYSCALLS_MAX]; // calls answered ENOSYS; the last counts numbers beyond the table; atomic

const char *syscall_name(uint64_t nr) { return nr < SYSCALLS_MAX ? names[nr] : NULL; }
const char *syscall_signature(uint64_t nr) { return nr < SYSCALLS_MAX ? signatures[nr] : NULL; }

void syscall_count_unimplemented(uint64_t nr)
{
	__atomic_fetch_add(&unimplemented[min(nr, (uint64_t)SYSCALLS_MAX - 1)], 1, __ATOMIC_RELAXED);
}

void syscall_summary(void (*print)(const char *line))
{
	char line[96];
	bool any = false;

	for (unsigned nr = 0; nr < SYSCALLS_MAX; nr++) {
		uint64_t count = __atomic_load_n(&unimplemented[nr], __ATOMIC_RELAXED);
		if (!count)
			continue;
		fmt_print(line, sizeof(line), "not implemented: system call %u (%s), called %lu times\n", nr,
			  names[nr] ? names[nr] : "unknown", count);
		print(line);
		any = true;
	}
	if (!any)
		print("every system call the program made is implemented\n");
}
