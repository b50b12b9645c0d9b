// SPDX-License-Identifier: Apache-2.0
// Terminal ioctls (ioctl_tty(2)).
#include <asm/ioctls.h>

#include "kernel/errno.h"
#include "kernel/uaccess.h"
#include "lib/string.h"
#include "tty.h"

static long get_termios(struct tty *t, unsigned command, struct uptr argument)
{
	struct termios2 copy;

	mutex_lock(&t->lock);
	copy = t->termios;
	mutex_unlock(&t->lock);
	// struct termios is the beginning of struct termios2
	return copy_to_user(argument, &copy, command == TCGETS2 ? sizeof(copy) : sizeof(struct termios));
}

static void wait_output(struct tty *t)
{
	if (t->driver->drain)
		t->driver->drain(t);
	else if (t->driver->write_room(t) < TTY_OUTPUT_BYTES / 2)
		(void)wait_event_interruptible(&t->write_wait,
					       t->hung_up || t->driver->write_room(t) >= TTY_OUTPUT_BYTES / 2);
}

static long set_termios(struct tty *t, unsigned command, struct uptr argument)
{
	struct termios2 new, old;
	bool two = command == TCSETS2 || command == TCSETSW2 || command == TCSETSF2;
	bool flush = command == TCSETSF || command == TCSETSF2;

	int error = tty_check_background(t, SIGTTOU);
	if (error)
		return error;
	mutex_lock(&t->lock);
	new = t->termios;
	mutex_unlock(&t->lock);
	if (copy_from_user(&new, argument, two ? sizeof(new) : sizeof(struct termios)))
		return -EFAULT;
	if (command != TCSETS && command != TCSETS2)
		wait_output(t);
	mutex_lock(&t->lock);
	old = t->termios;
	t->termios = new;
	if (flush)
		ldisc_flush_input(t);
	ldisc_mode_changed(t, &old);
	mutex_unlock(&t->lock);
	return 0;
}

static void set_window(struct tty *t, const struct winsize *w)
{
	mutex_lock(&t->lock);
	bool changed = memcmp(&t->window, w, sizeof(*w)) != 0;
	t->window = *w;
	if (changed)
		tty_signal_foreground(t, SIGWINCH);
	mutex_unlock(&t->lock);
}

void tty_set_window(struct tty *t, unsigned rows, unsigned columns)
{
	struct winsize w = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns };
	set_window(t, &w);
}

static long flush(struct tty *t, uint64_t which)
{
	int error = tty_check_background(t, SIGTTOU);
	if (error)
		return error;
	if (which > TCIOFLUSH)
		return -EINVAL;
	if (which != TCOFLUSH) {
		mutex_lock(&t->lock);
		ldisc_flush_input(t);
		mutex_unlock(&t->lock);
	}
	return 0;
}

static long flow(struct tty *t, uint64_t action)
{
	switch (action) {
	case TCOOFF:
	case TCOON:
		mutex_lock(&t->lock);
		t->output_stopped = action == TCOOFF;
		mutex_unlock(&t->lock);
		waitq_wake_all(&t->write_wait);
		return 0;
	case TCIOFF:
	case TCION: return 0;
	}
	return -EINVAL;
}

long tty_ioctl_common(struct tty *t, struct file *f, unsigned command, struct uptr argument)
{
	struct winsize w;

	switch (command) {
	case TCGETS:
	case TCGETS2: return get_termios(t, command, argument);
	case TCSETS:
	case TCSETSW:
	case TCSETSF:
	case TCSETS2:
	case TCSETSW2:
	case TCSETSF2: return set_termios(t, command, argument);
	case TIOCGWINSZ:
		mutex_lock(&t->lock);
		w = t->window;
		mutex_unlock(&t->lock);
		return put_user(w, argument);
	case TIOCSWINSZ:
		if (get_user(&w, argument))
			return -EFAULT;
		set_window(t, &w);
		return 0;
	case TCFLSH: return flush(t, argument.address);
	case TCXONC: return flow(t, argument.address);
	case TCSBRK:
	case TCSBRKP: wait_output(t); return 0;
	case TIOCOUTQ: return put_user((int)0, argument);
	case TIOCGETD: return put_user((int)0, argument); // N_TTY
	case TIOCEXCL:
	case TIOCNXCL: t->exclusive = command == TIOCEXCL; return 0;
	case TIOCGEXCL: return put_user((int)t->exclusive, argument);
	case TIOCSTI: return -EPERM; // injecting input is how programs escape from their caller
	}
	return tty_session_ioctl(t, f, command, argument);
}

long tty_ioctl(struct file *f, unsigned command, uint64_t argument)
{
	struct tty *t = f->private;

	if (t->hung_up)
		return command == TIOCSPGRP ? -ENOTTY : -EIO;
	if (command == FIONREAD)
		return put_user((int)ldisc_input_count(t), (struct uptr){ argument });
	return tty_ioctl_common(t, f, command, (struct uptr){ argument });
}
