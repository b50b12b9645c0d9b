// SPDX-License-Identifier: Apache-2.0
// The end of a cell: once its first process ended, everything else is killed, what is dirty is written back, the
// launcher gets the status, and the machine stops.
#include "abi/control.h"
#include "kernel/boot_config.h"
#include "kernel/channel.h"
#include "kernel/core.h"
#include "kernel/fs.h"
#include "kernel/leak.h"
#include "kernel/log.h"
#include "kernel/stdio.h"
#include "kernel/syscall.h"
#include "kernel/task.h"
#include "lib/fmt.h"
#include "lib/string.h"

static int32_t cell_status;
static uint32_t started; // atomic

_Noreturn void machine_stop(unsigned status)
{
	control_flush();
	port_exit(status);
}

static void summary_line(const char *line) { control_send_text(CONTROL_SUMMARY, line); }

static void report(void)
{
	static char text[CONTROL_PAYLOAD_MAX_BYTES]; // the shutdown task's only

	if (boot_config.options.flags & BOOT_OPTION_VERBOSE)
		syscall_summary(summary_line);
	if (boot_config.options.flags & BOOT_OPTION_LEAK_CHECK) {
		leak_report(text, sizeof(text));
		control_send(CONTROL_LEAK, text, strlen(text));
	}
}

static void shutdown(void *unused)
{
	(void)unused;
	process_kill_all();
	super_sync_all();
	stdio_drain();
	report();
	control_send(CONTROL_EXIT, &cell_status, sizeof(cell_status));
	machine_stop(MACHINE_EXIT_DONE);
}

bool cell_is_ending(void) { return __atomic_load_n(&started, __ATOMIC_RELAXED); }

void cell_shutdown(int wait_status)
{
	if (__atomic_exchange_n(&started, 1, __ATOMIC_SEQ_CST))
		return;
	cell_status = wait_status;
	trace_event("shutdown", (uint64_t)wait_status, 0);
	if (is_err(kernel_task_create("shutdown", shutdown, NULL)))
		port_exit(MACHINE_EXIT_PANIC);
}
