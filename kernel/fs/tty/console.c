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

static struct tty *console;      // set at start, for ever
static struct channel *channel;

static size_t console_write(struct tty *t, const char *data, size_t size)
{
	ssize_t n = channel->ops->write(channel, data, size, true);

	(void)t;
	return n > 0 ? (size_t)n : 0;
}

static size_t console_room(struct tty *t)
{
	(void)t;
	return channel->ops->ready(channel) & POLLOUT ? 64 : 0; // a driver that is writable takes at least this
}

static const struct tty_driver console_driver = { .write = console_write, .write_room = console_room };

static bool console_wake(struct waiter *w, unsigned events)
{
	(void)w;
	if (!events || events & POLLOUT)
		waitq_wake_events(&console->write_wait, 0, POLLOUT | POLLWRNORM);
	return false;
}

// Moves what the host's terminal types into the line discipline.
static void console_reader(void *unused)
{
	static struct waiter output_waiter;
	char chunk[256];

	(void)unused;
	waiter_init(&output_waiter);
	output_waiter.wake = console_wake;
	waitq_add(&channel->wait, &output_waiter);
	for (;;) {
		ssize_t n = channel->ops->read(channel, chunk, sizeof(chunk), false);
		if (n == -ERESTARTSYS || n == -EAGAIN)
			continue;
		if (n <= 0)
			break;
		ldisc_receive(console, chunk, (size_t)n);
	}
	tty_hangup(console);
	waitq_remove(&channel->wait, &output_waiter);
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

struct file *tty_console_open(int flags)
{
	return console ? file_open("/dev/console", flags, 0) : err_ptr(-ENXIO);
}

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
	kernel_task_create("console", console_reader, NULL);
}
KERNEL_INIT(4, console_start);
