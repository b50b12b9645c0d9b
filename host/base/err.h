// SPDX-License-Identifier: Apache-2.0
// Errors of host programs: one line for a person, and the exit status it ends the launcher with.
//
// Functions that can fail return false (or NULL) after err_set(); callers add what they were doing with err_wrap().
#pragma once

#include <stdbool.h>

// Exit statuses of `cloister run` that are not the program's. Documented in docs/cloister.1.
enum exit_status {
	EXIT_MEMORY = 119,         // a cell had used up its memory for good, and the host killed one of its processes
	EXIT_CELL_KILLED = 120,    // somebody killed a process of the cell: the host when it had no memory, a person
	EXIT_CELL_CRASHED = 124,   // kernel panic, or QEMU, virtiofsd or the broker died under the cell
	EXIT_USAGE = 125,          // bad options or manifest, or the launcher's own failure
	EXIT_NOT_EXECUTABLE = 126, // the program exists and cannot be run
	EXIT_NOT_FOUND = 127,      // the program is not there
	EXIT_HOST_MISSING = 123,   // QEMU, virtiofsd, the kernel image or something of the host kernel is missing
	EXIT_GRANT = 122,          // a mount cannot be granted
	EXIT_RESOURCES = 121,      // memory or CPUs out of range or not to be had
};

struct err {
	int exit_status;
	char text[1024];
};

// err_set(e, status, format, ...) sets the error; err_wrap(e, format, ...) puts "what: " before the text that is there.
// Both are false, visibly to the compiler, so that `return err_set(...)` reads well.
#define err_set(...)  (err_set_text(__VA_ARGS__), false)
#define err_wrap(...) (err_wrap_text(__VA_ARGS__), false)
void err_set_text(struct err *e, int exit_status, const char *format, ...) __attribute__((format(printf, 3, 4)));
void err_wrap_text(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
