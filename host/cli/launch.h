// SPDX-License-Identifier: Apache-2.0
// A cell while it runs: its processes, its streams, and what is known of its end.
#pragma once

#include "base/machine.h"
#include "base/relay.h"
#include "base/tsc.h"
#include "cli/control.h"
#include "cli/options.h"

struct launch {
	struct run_options *options;
	struct machine machine;
	struct control control;
	struct relay *input, *output, *error; // with a terminal: input and output only
	struct buffer log; // what the kernel said on its early console: its last words when it panics
	int64_t started_ns;
	struct tsc_sample started_tsc;
	unsigned closed_streams; // bit n: the caller had standard stream n closed

	bool hello;      // the kernel runs
	bool exit_known; // CONTROL_EXIT came
	int wait_status;
	bool start_failed; // the kernel could not start the program; start_text says why
	int start_error;
	char start_text[512];
	bool stopping; // a second SIGTERM, or a signal before the kernel ran
	int stop_signal;
	unsigned memory_checks;           // how often memory was found low without a pause
	int64_t memory_ns;                // when to look again; 0: never
	bool nonsense;                    // the kernel broke the control protocol
	const struct process *dead_child; // a helper that ended under the cell
	int64_t dead_ns;                  // when
	int terms;                        // SIGTERMs seen
	int64_t deadline_ns;              // after the exit is known the machine has until then; 0: none
};

// Starts everything and sees the cell through to its end. The exit status of the launcher; false with an error when the
// cell did not end by itself.
bool launch_run(struct launch *l, int *exit_status, struct err *e);
// Ends and frees whatever is there. Idempotent; the terminal is restored.
void launch_fini(struct launch *l);

// launch_loop.c: relays streams, control messages and signals until the machine has ended.
bool launch_loop(struct launch *l, int signals, struct err *e);
int64_t monotonic_ns(void);
void launch_say(const struct launch *l, const char *format, ...) __attribute__((format(printf, 2, 3))); // at --verbose
