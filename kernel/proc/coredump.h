// SPDX-License-Identifier: Apache-2.0
// Core files, core(5): what coredump.c (who, when, where to), coredump_name.c and coredump_elf.c (what is in one) share.
#pragma once

#include "internal.h"

#include <linux/elf.h>

// ---- names (coredump_name.c) ----

struct core_name {
	pid_t pid, tid;
	uid_t uid;
	gid_t gid;
	int signal;
	uint64_t limit;
	int64_t time;
	const char *host, *comm, *exe; // exe: a path
};
// Writes out the pattern; uses_pid: ".PID" follows unless the pattern has %p. 0, -ENAMETOOLONG.
int core_name_print(char *out, size_t size, const char *pattern, bool uses_pid, const struct core_name *n);

// ---- content (coredump_elf.c) ----

struct core_prstatus { // struct elf_prstatus of <sys/procfs.h>
	int32_t signo, code, error;
	int16_t cursig;
	uint64_t pending, blocked;
	int32_t pid, ppid, pgrp, sid;
	struct {
		int64_t seconds, microseconds;
	} user, system, children_user, children_system;
	struct user_regs_full regs;
	int32_t fpvalid;
};
static_assert(sizeof(struct core_prstatus) == 336, "elf_prstatus");

// A thread as it was when it stopped.
struct core_thread {
	struct list node;
	struct core_prstatus status;
	uint8_t xstate[]; // port_xstate_size_bytes()
};
struct core_thread *core_thread_create(void); // the current task; NULL
// Writes the file of the current process, whose other threads stand still. Stops silently at the file's or the process's limits, and when
// the process is killed. False: nothing was written.
bool core_write(struct file *f, const struct list *threads, const siginfo_t *info, uint64_t limit);

// ---- coordination (coredump.c) ----

// A signal with action core hit the current task: what there is to be written, to be begun or ended; NULL: there is to be no core file. No
// lock held.
struct core_dump *core_dump_prepare(int signal);
// The process has just begun to exit; sighand->lock held since then.
void core_dump_begin(struct core_dump *c);
// Writes it, if it was begun, and frees it. No lock held.
void core_dump_end(struct core_dump *c, const siginfo_t *info);
// The process of the current, exiting task writes a core file: adds the task to it and waits until it is written. No lock held.
void core_dump_join(void);
// A thread of the process never began and will not come. There is a core file to be; sighand->lock held.
void core_dump_miss(struct process *p);
