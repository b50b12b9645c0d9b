// SPDX-License-Identifier: Apache-2.0
// What an attacker who has taken over a cell on port hosted has: the kernel's `syscall` instructions and its memory.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kernel_places {
	uintptr_t task;    // the running task's block: in the shared memory
	uintptr_t current; // the portable kernel's part of it
	uintptr_t text;    // some address in the kernel's text
	uintptr_t gadget;  // `syscall; ret` there
};
extern struct kernel_places places;
void attack_find_kernel(void); // fills it in; opens the kernel's memory where a protection key closes it

// A call of the host's kernel with all six arguments, from kernel text; the result, unless the filter ends it all.
long host(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f);
#define HOST_7(_0, nr, a, b, c, d, e, f, ...) \
	host((nr), (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), (uint64_t)(e), (uint64_t)(f))
#define HOST(nr, ...) HOST_7(0, nr, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)

#define FDS_MAX 4096
// Is there such a descriptor of the host? Its st_mode.
bool host_fd(int fd, unsigned *mode);

// Says something past the cell's kernel, whatever is left of it: to every pipe of the host. The launcher shows it.
__attribute__((format(printf, 1, 2))) void shout(const char *format, ...);

// attack_broker.c
int attack_broker(const char *what, int argc, char **argv);
// attack_network.c
int attack_network(const char *what, int argc, char **argv);
// attack_memory.c
int attack_memory(const char *what, int argc, char **argv);
// attack_stray.c
int attack_stray(int argc, char **argv);
