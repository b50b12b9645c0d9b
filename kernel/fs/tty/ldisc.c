// SPDX-License-Identifier: Apache-2.0
// The N_TTY line discipline: editing, echo, signals from characters, canonical and raw reading (termios(3)).
//
// The input queue is a ring indexed by free-running positions: [tail, line_head) are complete lines in canonical mode,
// [line_head, head) is the line being edited. line_end marks the last byte of a line; an end-of-file character is stored as
// a marked NUL that a read does not deliver.
#include "kernel/errno.h"
#include "kernel/sched.h"
#include "lib/string.h"
#include "tty.h"

#define EOF_BYTE '\0'

static bool input_flag(struct tty *t, unsigned f) { return t->termios.c_iflag & f; }
static bool local_flag(struct tty *t, unsigned f) { return t->termios.c_lflag & f; }
static bool is_char(struct tty *t, unsigned index, unsigned char c)
{
	return t->termios.c_cc[index] == c && c != 0; // 0: _POSIX_VDISABLE
}

static bool is_line_end(struct tty *t, uint32_t at)
{
	at %= TTY_INPUT_BYTES;
	return t->line_end[at / 8] >> (at % 8) & 1;
}

static void set_line_end(struct tty *t, uint32_t at, bool on)
{
	at %= TTY_INPUT_BYTES;
	if (on)
		t->line_end[at / 8] |= (uint8_t)(1u << (at % 8));
	else
		t->line_end[at / 8] &= (uint8_t) ~(1u << (at % 8));
}

// ---- output processing ----

// One character with OPOST applied: false when the driver has no room for all of it.
static bool output_char(struct tty *t, char c)
{
	unsigned flags = t->termios.c_oflag;
	char text[8];
	size_t size = 1;

	text[0] = c;
	if (flags & OPOST) {
		switch (c) {
		case '\n':
			if (flags & ONLCR) {
				memcpy(text, "\r\n", 2);
				size = 2;
			}
			break;
		case '\r':
			if ((flags & ONOCR) && t->column == 0)
				return true;
			if (flags & OCRNL)
				text[0] = '\n';
			break;
		case '\t':
			if ((flags & TABDLY) == XTABS) {
				size = 8 - t->column % 8;
				memset(text, ' ', size);
			}
			break;
		}
	}
	if (t->driver->write_room(t) < size)
		return false;
	t->driver->write(t, text, size);
	if (c == '\n' || c == '\r')
		t->column = 0;
	else if (c == '\t')
		t->column = (t->column | 7) + 1;
	else if (c == '\b')
		t->column -= t->column > 0;
	else if ((unsigned char)c >= ' ' && ((unsigned char)c & 0xc0) != 0x80)
		t->column++;
	return true;
}

static void echo_raw(struct tty *t, char c) { output_char(t, c); } // an echo that does not fit is lost, as on Linux

static void echo(struct tty *t, unsigned char c)
{
	if (local_flag(t, ECHOCTL) && (c < ' ' || c == 127) && c != '\t' && c != '\n') {
		echo_raw(t, '^');
		echo_raw(t, (char)(c ^ 64));
	} else {
		echo_raw(t, (char)c);
	}
}

ssize_t ldisc_write(struct tty *t, struct file *f, struct iov_iter *from)
{
	char chunk[256];
	ssize_t done = 0;

	if (t->termios.c_lflag & TOSTOP) {
		int error = tty_check_background(t, SIGTTOU);
		if (error)
			return error;
	}
	while (from->count) {
		size_t n = iov_copy_from(chunk, from, sizeof(chunk)), put = 0;
		if (n == 0)
			return done ? done : -EFAULT;
		while (put < n) {
			if (t->hung_up)
				return done ? done : -EIO;
			mutex_lock(&t->lock);
			while (put < n && !t->output_stopped && output_char(t, chunk[put]))
				put++;
			mutex_unlock(&t->lock);
			if (put == n)
				break;
			if (file_nonblock(f)) {
				iov_revert(from, n - put);
				done += (ssize_t)put;
				return done ? done : -EAGAIN;
			}
			int error =
				wait_event_interruptible(&t->write_wait, t->hung_up || (!t->output_stopped &&
											t->driver->write_room(t) >= 8));
			if (error) {
				iov_revert(from, n - put);
				done += (ssize_t)put;
				return done ? done : -ERESTARTSYS;
			}
		}
		done += (ssize_t)n;
	}
	return done;
}

// ---- input ----

size_t ldisc_room(struct tty *t)
{
	size_t used = __atomic_load_n(&t->head, __ATOMIC_RELAXED) - __atomic_load_n(&t->tail, __ATOMIC_RELAXED);
	// A line being edited never blocks the wire: what does not fit is refused one by one with a bell.
	if (local_flag(t, ICANON) && !t->lines)
		return TTY_INPUT_BYTES;
	return TTY_INPUT_BYTES - used;
}

static bool store(struct tty *t, char c, bool line_end)
{
	if (t->head - t->tail >= TTY_INPUT_BYTES - !line_end) // one byte stays for the line's end
		return false;
	t->input[t->head % TTY_INPUT_BYTES] = c;
	set_line_end(t, t->head, line_end);
	t->head++;
	return true;
}

static void finish_line(struct tty *t, char c)
{
	if (!store(t, c, true))
		return;
	t->line_head = t->head;
	t->lines++;
	waitq_wake_events(&t->read_wait, 0, POLLIN | POLLRDNORM);
}

static unsigned char last_char(struct tty *t) { return (unsigned char)t->input[(t->head - 1) % TTY_INPUT_BYTES]; }

// Column where the last character of the edited line began, to rub out a tab.
static unsigned column_before_last(struct tty *t)
{
	unsigned column = t->canon_column;

	for (uint32_t i = t->line_head; i != t->head; i++) {
		unsigned char c = (unsigned char)t->input[i % TTY_INPUT_BYTES];
		if (c == '\t')
			column = (column | 7) + 1;
		else if (c < ' ' || c == 127)
			column += local_flag(t, ECHOCTL) ? 2 : 0;
		else if (!((c & 0xc0) == 0x80 && input_flag(t, IUTF8)))
			column++;
	}
	return column;
}

static void rub_out(struct tty *t, unsigned char c)
{
	unsigned count = 1;

	if (c == '\t')
		count = t->column > column_before_last(t) ? t->column - column_before_last(t) : 0;
	else if (c < ' ' || c == 127)
		count = local_flag(t, ECHOCTL) ? 2 : 0;
	while (count--) {
		echo_raw(t, '\b');
		if (c != '\t') {
			echo_raw(t, ' ');
			echo_raw(t, '\b');
		}
	}
}

static bool erase_char(struct tty *t)
{
	unsigned char c;

	if (t->head == t->line_head)
		return false;
	do { // a UTF-8 sequence goes as one
		c = last_char(t);
		t->head--;
	} while (input_flag(t, IUTF8) && (c & 0xc0) == 0x80 && t->head != t->line_head);
	if (local_flag(t, ECHO)) {
		if (local_flag(t, ECHOE))
			rub_out(t, c);
		else
			echo(t, t->termios.c_cc[VERASE]);
	}
	return true;
}

static bool is_word_char(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 128;
}

static void erase_word(struct tty *t)
{
	while (t->head != t->line_head && !is_word_char(last_char(t)))
		erase_char(t);
	while (t->head != t->line_head && is_word_char(last_char(t)))
		erase_char(t);
}

static void erase_line(struct tty *t)
{
	if (local_flag(t, ECHO) && !(local_flag(t, ECHOK) && local_flag(t, ECHOKE) && local_flag(t, ECHOE))) {
		t->head = t->line_head;
		echo(t, t->termios.c_cc[VKILL]);
		if (local_flag(t, ECHOK))
			echo_raw(t, '\n');
		return;
	}
	while (erase_char(t))
		;
}

static void reprint(struct tty *t)
{
	echo(t, t->termios.c_cc[VREPRINT]);
	echo_raw(t, '\n');
	for (uint32_t i = t->line_head; i != t->head; i++)
		echo(t, (unsigned char)t->input[i % TTY_INPUT_BYTES]);
}

void ldisc_flush_input(struct tty *t)
{
	t->tail = t->line_head = t->head;
	t->lines = 0;
	t->literal_next = false;
	if (t->driver->input_taken)
		t->driver->input_taken(t);
}

static bool signal_char(struct tty *t, unsigned char c)
{
	int signal = is_char(t, VINTR, c)   ? SIGINT
		     : is_char(t, VQUIT, c) ? SIGQUIT
		     : is_char(t, VSUSP, c) ? SIGTSTP
					    : 0;

	if (!signal)
		return false;
	if (!local_flag(t, NOFLSH))
		ldisc_flush_input(t);
	if (local_flag(t, ECHO))
		echo(t, c);
	t->output_stopped = false;
	tty_signal_foreground(t, signal);
	waitq_wake_all(&t->write_wait);
	return true;
}

// Editing and line ends of canonical mode: true when `c` was one.
static bool canonical_char(struct tty *t, unsigned char c)
{
	if (is_char(t, VERASE, c)) {
		erase_char(t);
	} else if (is_char(t, VKILL, c)) {
		erase_line(t);
	} else if (is_char(t, VWERASE, c) && local_flag(t, IEXTEN)) {
		erase_word(t);
	} else if (is_char(t, VLNEXT, c) && local_flag(t, IEXTEN)) {
		t->literal_next = true;
		if (local_flag(t, ECHO) && local_flag(t, ECHOCTL)) {
			echo_raw(t, '^');
			echo_raw(t, '\b');
		}
	} else if (is_char(t, VREPRINT, c) && local_flag(t, IEXTEN) && local_flag(t, ECHO)) {
		reprint(t);
	} else if (c == '\n') {
		if (local_flag(t, ECHO) || local_flag(t, ECHONL))
			echo_raw(t, '\n');
		finish_line(t, '\n');
	} else if (is_char(t, VEOF, c)) {
		finish_line(t, EOF_BYTE);
	} else if (is_char(t, VEOL, c) || (is_char(t, VEOL2, c) && local_flag(t, IEXTEN))) {
		if (local_flag(t, ECHO))
			echo(t, c);
		finish_line(t, (char)c);
	} else {
		return false;
	}
	return true;
}

static void plain_char(struct tty *t, unsigned char c)
{
	if (t->head == t->line_head)
		t->canon_column = t->column;
	if (!store(t, (char)c, false)) {
		if (input_flag(t, IMAXBEL))
			echo_raw(t, '\a');
		return;
	}
	if (local_flag(t, ECHO))
		echo(t, c);
	if (!local_flag(t, ICANON))
		waitq_wake_events(&t->read_wait, 0, POLLIN | POLLRDNORM);
}

static void receive_char(struct tty *t, unsigned char c)
{
	if (input_flag(t, ISTRIP))
		c &= 0x7f;
	if (t->literal_next) {
		t->literal_next = false;
		plain_char(t, c);
		return;
	}
	if (input_flag(t, IXON)) {
		if (is_char(t, VSTOP, c) || is_char(t, VSTART, c)) {
			t->output_stopped = is_char(t, VSTOP, c);
			if (!t->output_stopped)
				waitq_wake_all(&t->write_wait);
			return;
		}
		if (t->output_stopped && input_flag(t, IXANY)) {
			t->output_stopped = false;
			waitq_wake_all(&t->write_wait);
		}
	}
	if (local_flag(t, ISIG) && signal_char(t, c))
		return;
	if (c == '\r') {
		if (input_flag(t, IGNCR))
			return;
		if (input_flag(t, ICRNL))
			c = '\n';
	} else if (c == '\n' && input_flag(t, INLCR)) {
		c = '\r';
	}
	if (local_flag(t, ICANON) && canonical_char(t, c))
		return;
	plain_char(t, c);
}

void ldisc_receive(struct tty *t, const char *data, size_t size)
{
	mutex_lock(&t->lock);
	for (size_t i = 0; i < size && !t->hung_up; i++)
		receive_char(t, (unsigned char)data[i]);
	mutex_unlock(&t->lock);
}

void ldisc_mode_changed(struct tty *t, const struct termios2 *old)
{
	if ((old->c_lflag ^ t->termios.c_lflag) & ICANON) {
		// What was typed becomes readable as it is (to raw), or one line (to canonical).
		memset(t->line_end, 0, sizeof(t->line_end));
		t->line_head = t->head;
		t->lines = 0;
		if (local_flag(t, ICANON) && t->head != t->tail) {
			set_line_end(t, t->head - 1, true);
			t->lines = 1;
		}
		waitq_wake_all(&t->read_wait);
	}
	if ((old->c_iflag & IXON) && !input_flag(t, IXON) && t->output_stopped) {
		t->output_stopped = false;
		waitq_wake_all(&t->write_wait);
	}
}

// ---- reading ----

bool ldisc_readable(struct tty *t)
{
	if (local_flag(t, ICANON))
		return t->lines > 0;
	unsigned need = t->termios.c_cc[VTIME] || !t->termios.c_cc[VMIN] ? 1 : t->termios.c_cc[VMIN];
	return t->head - t->tail >= need;
}

size_t ldisc_input_count(struct tty *t)
{
	mutex_lock(&t->lock);
	size_t n = local_flag(t, ICANON) ? t->line_head - t->tail : t->head - t->tail;
	if (local_flag(t, ICANON)) // end-of-file marks are no data
		for (uint32_t i = t->tail; i != t->line_head; i++)
			n -= is_line_end(t, i) && t->input[i % TTY_INPUT_BYTES] == EOF_BYTE;
	mutex_unlock(&t->lock);
	return n;
}

// Takes at most one line into `chunk`. *end: the line's end was reached.
static size_t take_canonical(struct tty *t, char *chunk, size_t size, bool *end)
{
	size_t n = 0;

	while (n < size && t->tail != t->line_head && !*end) {
		char c = t->input[t->tail % TTY_INPUT_BYTES];
		*end = is_line_end(t, t->tail);
		set_line_end(t, t->tail, false);
		t->tail++;
		if (*end)
			t->lines--;
		if (!*end || c != EOF_BYTE)
			chunk[n++] = c;
	}
	// A full buffer just before an end-of-file mark: the mark goes with the data, else the next read would see a false end.
	if (n == size && !*end && t->tail != t->line_head && is_line_end(t, t->tail) &&
	    t->input[t->tail % TTY_INPUT_BYTES] == EOF_BYTE) {
		set_line_end(t, t->tail++, false);
		t->lines--;
		*end = true;
	}
	return n;
}

static size_t take_raw(struct tty *t, char *chunk, size_t size)
{
	size_t n = 0;

	while (n < size && t->tail != t->head)
		chunk[n++] = t->input[t->tail++ % TTY_INPUT_BYTES];
	t->line_head = t->head;
	return n;
}

static ssize_t read_canonical(struct tty *t, struct iov_iter *to)
{
	char chunk[256];
	ssize_t done = 0;
	bool end = false;

	while (to->count && !end) {
		mutex_lock(&t->lock);
		size_t n = take_canonical(t, chunk, min(to->count, sizeof(chunk)), &end);
		mutex_unlock(&t->lock);
		if (!n)
			break;
		if (iov_copy_to(to, chunk, n) != n)
			return done ? done : -EFAULT;
		done += (ssize_t)n;
	}
	return done;
}

static ssize_t read_raw(struct tty *t, struct iov_iter *to)
{
	char chunk[256];
	ssize_t done = 0;

	while (to->count) {
		mutex_lock(&t->lock);
		size_t n = take_raw(t, chunk, min(to->count, sizeof(chunk)));
		mutex_unlock(&t->lock);
		if (!n)
			break;
		if (iov_copy_to(to, chunk, n) != n)
			return done ? done : -EFAULT;
		done += (ssize_t)n;
	}
	return done;
}

// Waits for input by the rules of VMIN and VTIME (termios(3), "Canonical and noncanonical mode"): 0 when a read should go on,
// 1 when it returns nothing, or an error.
static int wait_input(struct tty *t, struct file *f, size_t wanted)
{
	uint64_t deadline = PARK_FOREVER;
	unsigned vmin = t->termios.c_cc[VMIN], vtime = t->termios.c_cc[VTIME];
	int error;

	if (t->hung_up)
		return 1;
	if (local_flag(t, ICANON)) {
		if (t->lines)
			return 0;
		if (file_nonblock(f))
			return -EAGAIN;
		error = wait_event_interruptible(&t->read_wait, t->lines || t->hung_up || !local_flag(t, ICANON));
		return error ? -ERESTARTSYS : 0;
	}
	if (file_nonblock(f))
		return t->head != t->tail ? 0 : -EAGAIN;
	unsigned need = vmin ? (unsigned)min((size_t)vmin, wanted) : 1;
	if (vmin && vtime) { // the clock starts with the first byte, and anew with each
		error = wait_event_interruptible(&t->read_wait, t->head != t->tail || t->hung_up);
		if (error)
			return -ERESTARTSYS;
		while (t->head - t->tail < need && !t->hung_up) {
			uint32_t seen = t->head;
			deadline = port_time_ns() + vtime * 100 * (uint64_t)NSEC_PER_MSEC;
			error = wait_event_deadline(&t->read_wait, t->head != seen || t->hung_up, deadline);
			if (error == -ETIMEDOUT)
				return 0;
			if (error)
				return -ERESTARTSYS;
		}
		return 0;
	}
	if (!vmin) {
		if (t->head != t->tail)
			return 0;
		if (!vtime)
			return 1;
		deadline = port_time_ns() + vtime * 100 * (uint64_t)NSEC_PER_MSEC;
	}
	error = wait_event_deadline(&t->read_wait, t->head - t->tail >= need || t->hung_up || local_flag(t, ICANON),
				    deadline);
	if (error == -ETIMEDOUT)
		return 1;
	return error ? -ERESTARTSYS : 0;
}

ssize_t ldisc_read(struct tty *t, struct file *f, struct iov_iter *to)
{
	for (;;) {
		int error = tty_check_background(t, SIGTTIN);
		if (error)
			return error;
		error = wait_input(t, f, to->count);
		if (error)
			return error > 0 ? 0 : error;
		bool canonical = local_flag(t, ICANON);
		if (canonical && !t->lines)
			continue; // another reader was faster, or the mode changed
		ssize_t n = canonical ? read_canonical(t, to) : read_raw(t, to);
		if (t->driver->input_taken)
			t->driver->input_taken(t);
		if (n == 0 && !canonical && !t->hung_up && t->termios.c_cc[VMIN])
			continue;
		return n;
	}
}
