// SPDX-License-Identifier: Apache-2.0
// The end of a cell, and other things of kernel/core that have no better place.
#pragma once

#include "kernel/types.h"

// The first process ended with `wait_status` (as wait(2) encodes it): kills what is left, writes back, reports, ends the machine.
// Returns at once; the work is done by a kernel task.
void cell_shutdown(int wait_status);
bool cell_is_ending(void); // cell_shutdown() was called
// Waits until the launcher took everything, then port_exit(status). Task context.
_Noreturn void machine_stop(unsigned status);
// CONTROL_START_FAILED.
void control_send_start_failed(int error, const char *why);
// One line to the launcher's --trace output.
void trace_line(const char *line);
