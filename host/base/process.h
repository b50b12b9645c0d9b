// SPDX-License-Identifier: Apache-2.0
// Children of the launcher. They die with it (PR_SET_PDEATHSIG), are out of reach of the terminal's signals (own
// session), start with default signals, /dev/null as input and a pipe as standard error, and inherit no descriptor but
// those they are given. They live in namespaces of their own; an ordinary user's in a user namespace too, in which only the
// caller's own ids exist.
#pragma once

#include "base/buffer.h"
#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

struct process {
	char what[64];            // for messages: "qemu", "virtiofsd for /srv"
	pid_t pid;                // 0: not running
	int stderr_fd;            // read end; -1
	int status;               // of waitpid, once pid is 0
	unsigned long namespaces; // CLONE_NEW* it got
	bool in_cgroup;           // process_spec.cgroup_fd
	struct buffer said;       // its last words
};

struct process_spec {
	const char *const *argv;
	// Instead of argv: the child is this function, in a copy of the caller's memory, with no descriptors but 0 to 2 and
	// keep_fds; `namespaces`: CLONE_NEW* it is in; its result is the exit status.
	int (*run)(void *context, unsigned long namespaces);
	const int *keep_fds; // stay open at their numbers
	unsigned keep_count;
	unsigned long namespaces; // CLONE_NEW*; CLONE_NEWUSER is added when the caller may not make them without
	// Make a user namespace for root too. In it exist all ids that exist in the caller's: root keeps its rights to files.
	bool user_namespace;
	int cgroup_fd; // make it in this group (version 2) if the host lets us: look at process.in_cgroup; 0: in the caller's
	bool optional; // with fewer namespaces, or none, when the host has no more: look at process.namespaces
	// In the child, before exec: false after writing why to standard error.
	bool (*prepare)(void *context, bool in_user_namespace);
	void *context;
};

// Starts argv[0] (a path), or run(). EXIT_USAGE when the host refuses.
bool process_start(struct process *p, const struct process_spec *spec, struct err *e);
// Closes every descriptor from 3 up but those.
void process_keep_only(const int *fds, unsigned count);
// Default action for every signal, none blocked.
void process_reset_signals(void);
// Reads what stands in the stderr pipe. False at its end.
bool process_listen(struct process *p);
// Kills, waits, closes. Idempotent.
void process_kill(struct process *p);
// Waits for its end, at most so long.
void process_wait(struct process *p, int timeout_ms);
// Notes the end if it has ended; true then.
bool process_reap(struct process *p);
// The last line it said, or "said nothing"; for one-line errors. In a static buffer.
const char *process_last_words(const struct process *p);
// "with exit status 3", "by signal 9 (Killed)". In a static buffer.
const char *process_how_it_ended(const struct process *p);
