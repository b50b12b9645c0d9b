// SPDX-License-Identifier: Apache-2.0
// The cell's console terminal over the launcher's channel, /dev/console and /dev/tty.
#include "abi/control.h"
#include "kernel/boot_config.h"
#include "kernel/channel.h"
#include "kernel/errno.h"
#include "kernel/init.h"
#include "kernel/log.h"
#include "lib/string.h"
#include "tty.h"

#define OUTPUT_BYTES 8192u
#define CHUNK_BYTES  1024u

static struct tty *console; // set at start, for ever
static struct channel *channel;

// The line discipline writes a few bytes at a time and may not sleep; the channel wants large pieces and may. Between them
// is this ring and a task that empties it.
static struct spinlock output_lock = SPINLOCK_INIT;
static char output[OUTPUT_BYTES];                          // output_lock
static uint32_t output_head, output_tail;                  // output_lock: positions, free running
static bool output_busy;                                   // output_lock: the task has bytes in its hands
static struct waitq output_wait = WAITQ_INIT(output_wait); // bytes came, or all are gone

static size_t console_write(struct tty *t, const char *data, size_t size)
{
	(void)t;
	spin_lock(&output_lock);
	size_t n = min(size, (size_t)(OUTPUT_BYTES - (output_head - output_tail)));
	bool first = output_head == output_tail;
	for (size_t i = 0; i < n; i++)
		output[output_head++ % OUTPUT_BYTES] = data[i];
	spin_unlock(&output_lock);
	if (first && n)
		waitq_wake_all(&output_wait);
	return n;
}

static size_t console_room(struct tty *t)
{
	(void)t;
	spin_lock(&output_lock);
	size_t room = OUTPUT_BYTES - (output_head - output_tail);
	spin_unlock(&output_lock);
	return room;
}

static bool output_pending(void)
{
	spin_lock(&output_lock);
	bool pending = output_head != output_tail;
	spin_unlock(&output_lock);
	return pending;
}

static bool output_gone(void)
{
	spin_lock(&output_lock);
	bool gone = output_head == output_tail && !output_busy;
	spin_unlock(&output_lock);
	return gone || console->hung_up;
}

static size_t output_take(char *chunk)
{
	size_t n = 0;
	spin_lock(&output_lock);
	while (n < CHUNK_BYTES && output_tail != output_head)
		chunk[n++] = output[output_tail++ % OUTPUT_BYTES];
	output_busy = n > 0;
	spin_unlock(&output_lock);
	return n;
}

static void console_writer(void *unused)
{
	static char chunk[CHUNK_BYTES]; // this task's only

	(void)unused;
	for (;;) {
		wait_event(&output_wait, output_pending());
		for (size_t size = output_take(chunk), put = 0; put < size;) {
			ssize_t n = channel->ops->write(channel, chunk + put, size - put, false);
			if (n < 0 && n != -ERESTARTSYS && n != -EAGAIN)
				break; // the launcher is gone: the reader hangs the terminal up
			put += n > 0 ? (size_t)n : 0;
		}
		spin_lock(&output_lock);
		output_busy = false;
		spin_unlock(&output_lock);
		waitq_wake_all(&output_wait);
		waitq_wake_events(&console->write_wait, 0, POLLOUT | POLLWRNORM);
	}
}

static void console_drain(struct tty *t)
{
	(void)t;
	if (!wait_event_interruptible(&output_wait, output_gone()))
		channel->ops->flush(channel);
}

void tty_console_drain(void)
{
	if (console)
		console_drain(console);
}

static const struct tty_driver console_driver = { .write = console_write,
						  .write_room = console_room,
						  .drain = console_drain };

// Moves what the host's terminal types into the line discipline.
static void console_reader(void *unused)
{
	char chunk[256];

	(void)unused;
	for (;;) {
		ssize_t n = channel->ops->read(channel, chunk, sizeof(chunk), false);
		if (n == -ERESTARTSYS || n == -EAGAIN)
			continue;
		if (n <= 0)
			break;
		ldisc_receive(console, chunk, (size_t)n);
	}
	tty_hangup(console);
	waitq_wake_all(&output_wait);
	sched_exit_current();
}

void tty_console_resize(unsigned rows, unsigned columns)
{
	if (console)
		tty_set_window(console, rows, columns);
}

static int console_open(struct inode *inode, struct file *f)
{
	(void)inode;
	if (!console)
		return -ENXIO;
	int error = tty_opened(console, f);
	if (!error)
		f->ops = &tty_file_ops;
	return error;
}

static int tty_self_open(struct inode *inode, struct file *f)
{
	(void)inode;
	spin_lock(&tasklist_lock);
	struct tty *t = current->process->tty;
	if (t)
		tty_get(t);
	spin_unlock(&tasklist_lock);
	if (!t)
		return -ENXIO;
	int error = tty_opened(t, f);
	if (!error)
		f->ops = &tty_file_ops;
	tty_put(t);
	return error;
}

static const struct file_ops console_ops = { .open = console_open };
static const struct file_ops tty_self_ops = { .open = tty_self_open };

struct file *tty_console_open(int flags) { return console ? file_open("/dev/console", flags, 0) : err_ptr(-ENXIO); }

static void console_init(void)
{
	chrdev_register(5, 1, 1, &console_ops);
	chrdev_register(5, 0, 1, &tty_self_ops);
}
KERNEL_INIT(2, console_init);

static void console_start(void)
{
	channel = channel_find(TTY_PORT_NAME);
	if (!channel || !(boot_config.options.flags & BOOT_OPTION_TTY))
		return;
	console = tty_create(&console_driver, DEV_MAKE(5, 1));
	if (!console) {
		klog("no memory for the console terminal");
		return;
	}
	tty_console_resize(boot_config.options.tty_rows, boot_config.options.tty_columns);
	kernel_task_create("console-in", console_reader, NULL);
	kernel_task_create("console-out", console_writer, NULL);
}
KERNEL_INIT(4, console_start);
