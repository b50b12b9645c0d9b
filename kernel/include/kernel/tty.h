// SPDX-License-Identifier: Apache-2.0
// Terminals: the cell's console and pseudo-terminals, with the N_TTY line discipline, job control and sessions. termios(3),
// ioctl_tty(2), pty(7). Owner: kernel/fs/tty/.
#pragma once

#include <asm/termbits.h>
#include <asm/termios.h>

#include "kernel/fs.h"
#include "kernel/mutex.h"
#include "kernel/refcount.h"
#include "kernel/task.h"

struct tty;

// Session leader exits or gives up its terminal: the foreground group gets SIGHUP and SIGCONT, nobody keeps the terminal.
void tty_disassociate(struct process *leader, bool exiting);
// Drops a process's reference to its controlling terminal (exit, setsid); tasklist_lock not held.
void tty_process_release(struct process *p);
// A new process inherits its parent's; tasklist_lock held.
void tty_process_inherit(struct process *child, struct process *parent);
// For /proc/PID/stat: device number and foreground group, 0 and -1 without one.
void tty_process_info(struct process *p, dev_t *device, pid_t *foreground);

// The cell's console terminal: exists when the launcher gave one (BOOT_OPTION_TTY).
void tty_console_resize(unsigned rows, unsigned columns);
void tty_console_drain(void);             // waits until the console's output has left the cell
struct file *tty_console_open(int flags); // err_ptr; -ENXIO without one
