// SPDX-License-Identifier: Apache-2.0
// The process between the launcher and a hosted cell: parent of all the cell's processes and of the broker, the first process of
// their pid namespace where the host makes one. It starts both, waits, and ends what is left as soon as
//
//	a process of the cell exits with another status than 0 (the kernel ends the cell so, MACHINE_EXIT_* in abi/control.h)
//	a process of the cell is killed by a signal
//	the broker ends while the cell goes on
//	the launcher dies
//
// All processes of the cell are its children: the kernel clones them with CLONE_PARENT.
#pragma once

#include "hosted/loader.h"
#include "manifest/cell.h"

#include <sys/types.h>

enum supervisor_end {
	SUPERVISOR_RUNS,   // or was killed itself
	SUPERVISOR_CELL,   // a process of the cell exited with the status
	SUPERVISOR_KILLED, // a process of the cell was killed by a signal: the wait status
	SUPERVISOR_BROKER, // the broker ended: the wait status
	SUPERVISOR_FAILED, // it could not start them, and has said why
	SUPERVISOR_TOLD,   // the launcher is gone or wants the end
};

// In memory shared with the launcher.
struct supervisor_report {
	enum supervisor_end end;
	int status;   // as wait(2) has it
	pid_t kernel; // and process group of the whole cell, in the supervisor's pid namespace
};

struct cgroup;
struct supervisor {
	const struct cell *cell;
	struct loader_spec *loader; // complete but for what the supervisor makes: channels, events, flags
	struct supervisor_report *report;
	struct cgroup *cgroup; // to join; its descriptors are closed then
};

// The most tasks a cell with such memory may have.
uint64_t supervisor_tasks_max(const struct loader_spec *l);
// For process_spec.run.
int supervisor_run(void *supervisor, unsigned long namespaces);
