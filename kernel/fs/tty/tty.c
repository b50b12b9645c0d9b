// SPDX-License-Identifier: Apache-2.0
// Terminals as files: creation, open, read, write, poll, hang-up.
#include "kernel/errno.h"
#include "kernel/slab.h"
#include "lib/string.h"
#include "tty.h"

static const struct termios2 default_termios = {
	.c_iflag = ICRNL | IXON,
	.c_oflag = OPOST | ONLCR,
	.c_cflag = B38400 | CS8 | CREAD | HUPCL,
	.c_lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
	.c_cc = { [VINTR] = 3,
		  [VQUIT] = 28,
		  [VERASE] = 127,
		  [VKILL] = 21,
		  [VEOF] = 4,
		  [VMIN] = 1,
		  [VSTART] = 17,
		  [VSTOP] = 19,
		  [VSUSP] = 26,
		  [VREPRINT] = 18,
		  [VDISCARD] = 15,
		  [VWERASE] = 23,
		  [VLNEXT] = 22 },
	.c_ispeed = 38400,
	.c_ospeed = 38400,
};

struct tty *tty_create(const struct tty_driver *driver, dev_t device)
{
	struct tty *t = kalloc(sizeof(*t));

	if (!t)
		return NULL;
	refcount_set(&t->refs, 1);
	t->driver = driver;
	t->device = device;
	t->termios = default_termios;
	mutex_init(&t->lock);
	waitq_init(&t->read_wait);
	waitq_init(&t->write_wait);
	waitq_init(&t->master_wait);
	return t;
}

void tty_put(struct tty *t)
{
	if (!t || !refcount_put(&t->refs))
		return;
	if (t->foreground)
		pid_put(t->foreground);
	if (t->session)
		pid_put(t->session);
	kfree(t->output);
	kfree(t);
}

void tty_hangup(struct tty *t)
{
	mutex_lock(&t->lock);
	__atomic_store_n(&t->hung_up, true, __ATOMIC_SEQ_CST);
	ldisc_flush_input(t);
	tty_signal_foreground(t, SIGHUP);
	tty_signal_foreground(t, SIGCONT);
	if (t->session) { // the session leader hears of it even when it is in the background
		struct process *leader = process_find(t->session->number);
		if (leader) {
			signal_send_process(leader, SIGHUP, NULL);
			signal_send_process(leader, SIGCONT, NULL);
			process_put(leader);
		}
	}
	mutex_unlock(&t->lock);
	waitq_wake_events(&t->read_wait, 0, POLLIN | POLLHUP);
	waitq_wake_events(&t->write_wait, 0, POLLOUT | POLLHUP);
	waitq_wake_events(&t->master_wait, 0, POLLIN | POLLHUP);
}

int tty_opened(struct tty *t, struct file *f)
{
	if (t->hung_up)
		return -EIO;
	tty_get(t);
	f->private = t;
	f->mode |= FILE_STREAM;
	if (!(f->flags & O_NOCTTY))
		tty_acquire(t, false);
	return 0;
}

static void tty_release(struct file *f) { tty_put(f->private); }

static ssize_t tty_read(struct file *f, struct iov_iter *to, loff_t *pos)
{
	(void)pos;
	return to->count ? ldisc_read(f->private, f, to) : 0;
}

static ssize_t tty_write(struct file *f, struct iov_iter *from, loff_t *pos)
{
	struct tty *t = f->private;

	(void)pos;
	return t->hung_up ? -EIO : ldisc_write(t, f, from);
}

static unsigned tty_poll(struct file *f, struct poll_table *table)
{
	struct tty *t = f->private;
	unsigned events = 0;

	poll_wait(table, f, &t->read_wait);
	poll_wait(table, f, &t->write_wait);
	if (ldisc_readable(t))
		events |= POLLIN | POLLRDNORM;
	if (t->hung_up)
		events |= POLLIN | POLLRDNORM | POLLHUP;
	if (!t->output_stopped && t->driver->write_room(t) >= 8)
		events |= POLLOUT | POLLWRNORM;
	return events;
}

const struct file_ops tty_file_ops = {
	.release = tty_release,
	.read = tty_read,
	.write = tty_write,
	.poll = tty_poll,
	.async = true,
	.ioctl = tty_ioctl,
	.stream = true,
};
