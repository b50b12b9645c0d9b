// SPDX-License-Identifier: Apache-2.0
// Standard streams: each is a file of FIFO type over a byte channel, so that programs see what they would see in a pipeline
// (fstat, no seeking, SIGPIPE and EPIPE when the reader is gone, end of file when the writer is).
#include "abi/control.h"
#include "kernel/boot_config.h"
#include "kernel/channel.h"
#include "kernel/errno.h"
#include "kernel/fs.h"
#include "kernel/slab.h"
#include "kernel/stdio.h"
#include "kernel/task.h"
#include "kernel/tty.h"

#define CHUNK_BYTES 16384u

static const char *const stream_names[3] = { STDIN_PORT_NAME, STDOUT_PORT_NAME, STDERR_PORT_NAME };
static struct channel *streams[3]; // set before the first process runs

static ssize_t stream_read(struct file *f, struct iov_iter *to, loff_t *pos)
{
	struct channel *c = f->private;
	size_t size = min(to->count, (size_t)CHUNK_BYTES);

	(void)pos;
	if (!size)
		return 0;
	char *chunk = kalloc(size);
	if (!chunk)
		return -ENOMEM;
	ssize_t n = c->ops->read(c, chunk, size, f->flags & O_NONBLOCK);
	if (n > 0 && iov_copy_to(to, chunk, (size_t)n) != (size_t)n)
		n = -EFAULT;
	kfree(chunk);
	return n;
}

static ssize_t stream_write(struct file *f, struct iov_iter *from, loff_t *pos)
{
	struct channel *c = f->private;
	ssize_t done = 0, n = 0;

	(void)pos;
	char *chunk = kalloc(min(from->count, (size_t)CHUNK_BYTES));
	if (!chunk)
		return -ENOMEM;
	while (from->count && n >= 0) {
		size_t size = iov_copy_from(chunk, from, CHUNK_BYTES), put = 0;
		if (!size) {
			n = -EFAULT;
			break;
		}
		while (put < size) {
			n = c->ops->write(c, chunk + put, size - put, f->flags & O_NONBLOCK);
			if (n < 0)
				break;
			put += (size_t)n;
		}
		done += (ssize_t)put;
	}
	kfree(chunk);
	if (n == -EPIPE && !done)
		signal_send_task(current, SIGPIPE, NULL);
	return done ? done : n;
}

static unsigned stream_poll(struct file *f, struct poll_table *table)
{
	struct channel *c = f->private;

	poll_wait(table, f, &c->wait);
	unsigned events = c->ops->ready(c);
	if (!(f->mode & FILE_READ))
		events = (events & ~(POLLIN | POLLRDNORM | POLLHUP)) | (events & POLLHUP ? POLLERR : 0);
	if (!(f->mode & FILE_WRITE))
		events &= ~(POLLOUT | POLLWRNORM);
	return events;
}

static const struct file_ops stream_ops = { .read = stream_read, .write = stream_write, .poll = stream_poll, .stream = true };

static int open_terminal(void)
{
	for (int i = 0; i < 3; i++) {
		struct file *f = i ? fd_get(0) : tty_console_open(O_RDWR);
		if (is_err(f))
			return (int)ptr_err(f);
		int fd = fd_install_new(f, false);
		if (fd < 0)
			return fd;
	}
	return 0;
}

int stdio_open(void)
{
	if (boot_config.options.flags & BOOT_OPTION_TTY)
		return open_terminal();
	for (int i = 0; i < 3; i++) {
		struct file *f;
		streams[i] = channel_find(stream_names[i]);
		bool closed = boot_config.options.stdin_closed >> i & 1;
		if (streams[i] && !closed)
			f = file_create_anonymous("pipe", &stream_ops, streams[i], i ? O_WRONLY : O_RDONLY, S_IFIFO | 0600);
		else
			f = file_open("/dev/null", O_RDWR, 0);
		if (is_err(f))
			return (int)ptr_err(f);
		int fd = fd_install_new(f, false);
		if (fd < 0)
			return fd;
	}
	for (int i = 0; i < 3; i++) // last, so that the numbers stay
		if (boot_config.options.stdin_closed >> i & 1)
			fd_close(i);
	return 0;
}

void stdio_drain(void)
{
	struct channel *tty = channel_find(TTY_PORT_NAME);

	for (int i = 1; i < 3; i++)
		if (streams[i] && streams[i]->ops->flush)
			streams[i]->ops->flush(streams[i]);
	if (tty && tty->ops->flush)
		tty->ops->flush(tty);
}
