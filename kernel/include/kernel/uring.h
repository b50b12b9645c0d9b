// SPDX-License-Identifier: Apache-2.0
// io_uring as processes know it. Owner: kernel/uring/.
#pragma once

#include "lib/compiler.h"

struct file;
struct process;
struct task;

// The process ends or execs: its requests are cancelled, and nothing starts a worker any more for them. Task context.
void uring_process_exit(struct process *p);
// A task that has uring_rings ends or execs; one that is a worker ends.
void uring_task_exit(struct task *t);
void uring_worker_exit(struct task *t);
bool file_is_uring(const struct file *f);
