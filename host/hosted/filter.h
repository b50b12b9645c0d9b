// SPDX-License-Identifier: Apache-2.0
// The seccomp filter of a hosted cell, as data: the launcher makes it, the cell's kernel installs it. It admits the calls of
// docs/security.md, from instructions in the kernel's text only; everything else is SECCOMP_RET_TRAP, so that a program's
// system call becomes a SIGSYS, which is the kernel's.
#pragma once

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FILTER_MAX 512u // instructions

struct filter_bounds {
	uint64_t text_start, text_end; // of the kernel; not across a multiple of 4 GiB
	uint64_t user_end;             // calls that change mappings must stay below: the kernel's region begins here
	bool fsgsbase;                 // the processor sets thread pointers itself: no call for that
};

// The number of instructions, constant whatever the addresses.
unsigned filter_build(struct sock_filter out[FILTER_MAX], const struct filter_bounds *bounds);

// The calls it may admit, for tests and documentation.
struct filter_call {
	const char *name;
	int number;
	bool without_fsgsbase; // only where the processor lacks these instructions
};
const struct filter_call *filter_calls(unsigned *count);
