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

#define CHUNK_BYTES      16384u
#define INPUT_WANT_MAX   (1u << 20) // what one read asks the launcher for at most
#define INPUT_POLL_BYTES 4096u      // what a poll asks for: it cannot know without

// What the launcher must be told (abi/control.h): that somebody waits for input, for it reads none that nobody wants; and
// that the last descriptor of an output stream is gone.
static struct spinlock account_lock = SPINLOCK_INIT;
static uint64_t input_wanted;     // account_lock: bytes asked for and not yet read here
static uint64_t bytes_written[3]; // account_lock
static unsigned open_files[3];    // account_lock

static const char *const stream_names[3] = { STDIN_PORT_NAME, STDOUT_PORT_NAME, STDERR_PORT_NAME };
static struct channel *streams[3]; // set before the first process runs

static void input_want(struct channel *c, size_t size)
{
	uint32_t more = 0;

	if (c->ops->ready(c) & (POLLIN | POLLHUP))
		return;
	spin_lock(&account_lock);
	if (input_wanted < size) {
		more = (uint32_t)(size - input_wanted);
		input_wanted = size;
	}
	spin_unlock(&account_lock);
	if (more)
		control_send(CONTROL_STDIN_WANT, &more, sizeof(more));
}

static void input_got(size_t size)
{
	spin_lock(&account_lock);
	input_wanted -= min(input_wanted, (uint64_t)size);
	spin_unlock(&account_lock);
}

static int stream_number(const struct channel *c) { return c == streams[1] ? 1 : c == streams[2] ? 2 : 0; }

static void stream_release(struct file *f)
{
	struct channel *c = f->private;
	struct control_stream_closed closed = { .stream = (uint32_t)stream_number(c) };

	spin_lock(&account_lock);
	bool last = !--open_files[closed.stream];
	closed.total_bytes = bytes_written[closed.stream];
	spin_unlock(&account_lock);
	if (closed.stream && last)
		control_send(CONTROL_STREAM_CLOSED, &closed, sizeof(closed));
}

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
	input_want(c, min(to->count, (size_t)INPUT_WANT_MAX));
	ssize_t n = c->ops->read(c, chunk, size, file_nonblock(f));
	if (n > 0)
		input_got((size_t)n);
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
			n = c->ops->write(c, chunk + put, size - put, file_nonblock(f));
			if (n < 0)
				break;
			put += (size_t)n;
		}
		done += (ssize_t)put;
	}
	kfree(chunk);
	spin_lock(&account_lock);
	bytes_written[stream_number(c)] += (uint64_t)done;
	spin_unlock(&account_lock);
	if (n == -EPIPE && !done)
		signal_send_task(current, SIGPIPE, NULL);
	return done ? done : n;
}

static unsigned stream_poll(struct file *f, struct poll_table *table)
{
	struct channel *c = f->private;

	poll_wait(table, f, &c->wait);
	if (f->mode & FILE_READ)
		input_want(c, INPUT_POLL_BYTES);
	unsigned events = c->ops->ready(c);
	if (!(f->mode & FILE_READ))
		events = (events & ~(POLLIN | POLLRDNORM | POLLHUP)) | (events & POLLHUP ? POLLERR : 0);
	if (!(f->mode & FILE_WRITE))
		events &= ~(POLLOUT | POLLWRNORM);
	return events;
}

static const struct file_ops stream_ops = {
	.read = stream_read, .write = stream_write, .poll = stream_poll, .release = stream_release, .stream = true
};

static void stream_attach(struct file *f, struct channel *c)
{
	f->private = c;
	spin_lock(&account_lock);
	open_files[stream_number(c)]++;
	spin_unlock(&account_lock);
}

// Another open of the same stream, by /dev/stdout or /proc/self/fd.
static int stream_reopen(struct inode *i, struct file *f)
{
	f->ops = &stream_ops;
	stream_attach(f, i->private);
	return 0;
}

static const struct file_ops stream_open_ops = { .open = stream_reopen, .stream = true };

static struct file *stream_open(struct channel *c, int flags)
{
	struct file *f = file_create_anonymous("pipe:", &stream_ops, c, flags, S_IFIFO | 0600);

	if (is_err(f))
		return f;
	f->inode->file_ops = &stream_open_ops;
	f->inode->private = c;
	stream_attach(f, c);
	return f;
}

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
		if (i == 2 && boot_config.options.flags & BOOT_OPTION_MERGED_STDERR && streams[1]) {
			int fd = fd_install_new(fd_get(1), false);
			if (fd < 0)
				return fd;
			continue;
		}
		streams[i] = channel_find(stream_names[i]);
		bool closed = boot_config.options.stdin_closed >> i & 1;
		if (streams[i] && !closed)
			f = stream_open(streams[i], i ? O_WRONLY : O_RDONLY);
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
	for (int i = 1; i < 3; i++)
		if (streams[i] && streams[i]->ops->flush)
			streams[i]->ops->flush(streams[i]);
	tty_console_drain();
}
