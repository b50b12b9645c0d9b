// SPDX-License-Identifier: Apache-2.0
// What the parts of the terminal code share.
//
// Lock order: tty.lock (mutex: termios, input queue, sessions' groups) -> tasklist_lock -> sighand.lock; output.lock (spinlock) is a leaf.
// The two sides of a pseudo-terminal are one struct tty with an output queue that the master reads.
#pragma once

#include "kernel/tty.h"

#define TTY_INPUT_BYTES  4096u
#define TTY_OUTPUT_BYTES 16384u

struct tty_driver {
	// Takes processed output: bytes taken, 0 = full (wait on write_wait), -EIO when hung up. Atomic: may be called with tty.lock held.
	size_t (*write)(struct tty *t, const char *data, size_t size);
	size_t (*write_room)(struct tty *t);
	void (*input_taken)(struct tty *t); // room in the input queue again
	void (*resized)(struct tty *t);
	void (*drain)(
		struct tty *t); // waits until all output has left, or a signal; NULL: half of the room free will do
};

struct tty {
	struct refcount refs;
	const struct tty_driver *driver;
	dev_t device;
	struct mutex lock;

	// lock
	struct termios2 termios;
	struct winsize window;
	struct pid *foreground, *session; // referenced
	char input[TTY_INPUT_BYTES];
	uint8_t line_end[TTY_INPUT_BYTES / 8]; // bit: this byte ends a line
	uint32_t head, tail;                   // input positions, free running
	uint32_t line_head;                    // end of the last complete line (canonical mode)
	uint32_t lines;                        // complete lines in the queue
	bool literal_next;
	unsigned column, canon_column; // output column; where the line being edited began
	bool output_stopped;           // ^S
	bool exclusive;

	bool hung_up; // atomic: no more input or output
	struct waitq read_wait, write_wait;

	// pseudo-terminal
	int index;
	bool is_pty, locked, packet_mode;
	uid_t uid; // of the slave's node, as gid and mode; the pairs' lock
	gid_t gid;
	mode_t mode;
	uint32_t master_open, slave_open, slave_was_open; // atomic
	uint8_t packet_status;                            // lock
	struct spinlock output_lock;
	char *output; // ring of TTY_OUTPUT_BYTES: slave's output for the master; output_lock
	uint32_t output_head, output_tail;
	struct waitq master_wait;
};

struct tty *tty_create(const struct tty_driver *driver, dev_t device);
static inline void tty_get(struct tty *t) { refcount_get(&t->refs); }
void tty_put(struct tty *t);
void tty_hangup(struct tty *t);
extern const struct file_ops tty_file_ops;     // file->private: struct tty, referenced
int tty_opened(struct tty *t, struct file *f); // controlling terminal rules; sets f->private

// ---- line discipline (ldisc.c) ----
void ldisc_receive(struct tty *t, const char *data, size_t size); // input from the wire; takes tty.lock
size_t ldisc_room(struct tty *t);                                 // input bytes that fit
ssize_t ldisc_read(struct tty *t, struct file *f, struct iov_iter *to);
ssize_t ldisc_write(struct tty *t, struct file *f, struct iov_iter *from);
bool ldisc_readable(struct tty *t);                                 // racy
void ldisc_flush_input(struct tty *t);                              // lock held
void ldisc_mode_changed(struct tty *t, const struct termios2 *old); // lock held
size_t ldisc_input_count(struct tty *t);

// ---- job control (session.c) ----
int tty_check_background(struct tty *t, int signal);   // 0 to go on, -EIO, -ERESTARTSYS
void tty_signal_foreground(struct tty *t, int signal); // lock held
long tty_session_ioctl(struct tty *t, struct file *f, unsigned command, struct uptr argument);
void tty_acquire(struct tty *t, bool steal); // TIOCSCTTY by a leader without one; lock not held

// ---- ioctls common to both ends of a pty (ioctl.c) ----
long tty_ioctl(struct file *f, unsigned command, uint64_t argument);
void tty_set_window(struct tty *t, unsigned rows, unsigned columns);
long tty_ioctl_common(struct tty *t, struct file *f, unsigned command, struct uptr argument);
