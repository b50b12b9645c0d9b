// SPDX-License-Identifier: Apache-2.0
// Pseudo-terminals: /dev/ptmx and the devpts file system (pty(7)). A pair is one struct tty: the slave side is the
// terminal, the master side writes its input and reads its output ring.
#include <asm/ioctls.h>
#include <linux/magic.h>
#include <linux/tty.h>

#include "kernel/errno.h"
#include "kernel/init.h"
#include "kernel/pseudofs.h"
#include "kernel/slab.h"
#include "kernel/uaccess.h"
#include "lib/fmt.h"
#include "lib/radix.h"
#include "lib/string.h"
#include "tty.h"

#define PTY_SLAVE_MAJOR 136u
#define PTMX_MINOR      2u
#define PTY_MAX         4096
#define TTY_GROUP       5 // as Debian mounts devpts

static struct mutex pairs_lock = MUTEX_INIT(pairs_lock);
static struct radix pairs; // index -> struct tty, while the master is open; pairs_lock

// ---- the ring from slave to master ----

static size_t ring_write(struct tty *t, const char *data, size_t size)
{
	spin_lock(&t->output_lock);
	size_t n = min(size, (size_t)(TTY_OUTPUT_BYTES - (t->output_head - t->output_tail)));
	for (size_t i = 0; i < n; i++)
		t->output[t->output_head++ % TTY_OUTPUT_BYTES] = data[i];
	spin_unlock(&t->output_lock);
	__atomic_thread_fence(__ATOMIC_SEQ_CST); // the lock's release may be a plain store
	if (n && !waitq_empty(&t->master_wait))
		waitq_wake_events(&t->master_wait, 0, POLLIN | POLLRDNORM);
	return n;
}

static size_t ring_room(struct tty *t)
{
	if (!__atomic_load_n(&t->master_open, __ATOMIC_ACQUIRE))
		return TTY_OUTPUT_BYTES; // nobody reads: swallowed, the writer gets EIO from the hang-up
	spin_lock(&t->output_lock);
	size_t room = TTY_OUTPUT_BYTES - (t->output_head - t->output_tail);
	spin_unlock(&t->output_lock);
	return room;
}

static size_t ring_read(struct tty *t, char *to, size_t size)
{
	spin_lock(&t->output_lock);
	size_t n = min(size, (size_t)(t->output_head - t->output_tail));
	for (size_t i = 0; i < n; i++)
		to[i] = t->output[t->output_tail++ % TTY_OUTPUT_BYTES];
	spin_unlock(&t->output_lock);
	return n;
}

static bool ring_has_data(struct tty *t) { return t->output_head != t->output_tail; }

static void pty_input_taken(struct tty *t) { waitq_wake_events(&t->master_wait, 0, POLLOUT | POLLWRNORM); }

static const struct tty_driver pty_driver = { .write = ring_write,
					      .write_room = ring_room,
					      .input_taken = pty_input_taken };

// ---- master ----

static bool slave_gone(struct tty *t)
{
	return t->slave_was_open && !__atomic_load_n(&t->slave_open, __ATOMIC_ACQUIRE);
}

static ssize_t master_read(struct file *f, struct iov_iter *to, loff_t *pos)
{
	struct tty *t = f->private;
	char chunk[512];
	ssize_t done = 0;

	(void)pos;
	if (!to->count)
		return 0;
	if (!ring_has_data(t) && !t->packet_status) {
		if (slave_gone(t))
			return -EIO;
		if (file_nonblock(f))
			return -EAGAIN;
		if (wait_event_interruptible(&t->master_wait, ring_has_data(t) || t->packet_status || slave_gone(t)))
			return -ERESTARTSYS;
		if (!ring_has_data(t) && !t->packet_status)
			return -EIO;
	}
	if (t->packet_mode) {
		char status = (char)__atomic_exchange_n(&t->packet_status, 0, __ATOMIC_ACQ_REL);
		if (iov_copy_to(to, &status, 1) != 1)
			return -EFAULT;
		done = 1;
		if (status)
			return done;
	}
	while (to->count) {
		size_t n = ring_read(t, chunk, min(to->count, sizeof(chunk)));
		if (!n)
			break;
		if (iov_copy_to(to, chunk, n) != n)
			return done ? done : -EFAULT;
		done += (ssize_t)n;
	}
	waitq_wake_events(&t->write_wait, 0, POLLOUT | POLLWRNORM);
	return done;
}

static ssize_t master_write(struct file *f, struct iov_iter *from, loff_t *pos)
{
	struct tty *t = f->private;
	char chunk[256];
	ssize_t done = 0;

	(void)pos;
	while (from->count) {
		size_t room = ldisc_room(t);
		if (!room) {
			if (file_nonblock(f))
				return done ? done : -EAGAIN;
			if (wait_event_interruptible(&t->master_wait, ldisc_room(t) > 0))
				return done ? done : -ERESTARTSYS;
			continue;
		}
		size_t n = iov_copy_from(chunk, from, min(room, sizeof(chunk)));
		if (!n)
			return done ? done : -EFAULT;
		ldisc_receive(t, chunk, n);
		done += (ssize_t)n;
	}
	return done;
}

static unsigned master_poll(struct file *f, struct poll_table *table)
{
	struct tty *t = f->private;
	unsigned events = 0;

	poll_wait(table, f, &t->master_wait);
	if (ring_has_data(t) || t->packet_status)
		events |= POLLIN | POLLRDNORM;
	if (slave_gone(t))
		events |= POLLHUP | POLLIN | POLLRDNORM;
	if (ldisc_room(t))
		events |= POLLOUT | POLLWRNORM;
	return events;
}

static struct file *slave_open_by_master(struct tty *t, int flags);

static long master_ioctl(struct file *f, unsigned command, uint64_t argument)
{
	struct tty *t = f->private;
	struct uptr p = { argument };
	int value;

	switch (command) {
	case TIOCGPTN: return put_user((unsigned)t->index, p);
	case TIOCSPTLCK:
		if (get_user(&value, p))
			return -EFAULT;
		t->locked = value != 0;
		return 0;
	case TIOCGPTLCK: return put_user((int)t->locked, p);
	case TIOCPKT:
		if (get_user(&value, p))
			return -EFAULT;
		t->packet_mode = value != 0;
		return 0;
	case TIOCGPKT: return put_user((int)t->packet_mode, p);
	case TIOCSIG:
		if (argument < 1 || argument > SIGNALS_MAX)
			return -EINVAL;
		mutex_lock(&t->lock);
		tty_signal_foreground(t, (int)argument);
		mutex_unlock(&t->lock);
		return 0;
	case TIOCGPTPEER: {
		struct file *slave = slave_open_by_master(t, (int)argument);
		return is_err(slave) ? ptr_err(slave) : fd_install_new(slave, argument & O_CLOEXEC);
	}
	case FIONREAD: return put_user((int)(t->output_head - t->output_tail), p);
	}
	return tty_ioctl_common(t, f, command, p);
}

static void master_release(struct file *f)
{
	struct tty *t = f->private;

	mutex_lock(&pairs_lock);
	radix_remove(&pairs, (uint64_t)t->index);
	mutex_unlock(&pairs_lock);
	__atomic_store_n(&t->master_open, 0, __ATOMIC_RELEASE);
	tty_hangup(t);
	tty_put(t);
}

static int ptmx_open(struct inode *inode, struct file *f);
static const struct file_ops master_ops = {
	.open = ptmx_open,
	.release = master_release,
	.read = master_read,
	.write = master_write,
	.poll = master_poll,
	.async = true,
	.ioctl = master_ioctl,
	.stream = true,
};

static int pair_create(struct tty **out)
{
	struct tty *t = tty_create(&pty_driver, 0);
	int error = -ENOMEM;

	if (!t)
		return -ENOMEM;
	t->output = kalloc(TTY_OUTPUT_BYTES);
	if (!t->output)
		goto fail;
	t->is_pty = true;
	t->locked = true;
	t->uid = current->cred->fsuid;
	t->gid = TTY_GROUP;
	t->mode = S_IFCHR | 0620;
	t->master_open = 1;
	mutex_lock(&pairs_lock);
	error = -ENOSPC;
	for (int i = 0; i < PTY_MAX && error == -ENOSPC; i++)
		if (!radix_lookup(&pairs, (uint64_t)i)) {
			t->index = i;
			error = radix_insert(&pairs, (uint64_t)i, t);
		}
	mutex_unlock(&pairs_lock);
	if (error)
		goto fail;
	t->device = DEV_MAKE(PTY_SLAVE_MAJOR, (unsigned)t->index);
	*out = t;
	return 0;
fail:
	tty_put(t);
	return error;
}

static int ptmx_open(struct inode *inode, struct file *f)
{
	struct tty *t;

	(void)inode;
	int error = pair_create(&t);
	if (error)
		return error;
	f->private = t;
	f->ops = &master_ops;
	return 0;
}

// ---- slave ----

static struct tty *pair_find(int index)
{
	mutex_lock(&pairs_lock);
	struct tty *t = radix_lookup(&pairs, (uint64_t)index);
	if (t)
		tty_get(t);
	mutex_unlock(&pairs_lock);
	return t;
}

static void slave_release(struct file *f)
{
	struct tty *t = f->private;

	if (__atomic_sub_fetch(&t->slave_open, 1, __ATOMIC_ACQ_REL) == 0)
		waitq_wake_events(&t->master_wait, 0, POLLIN | POLLHUP);
	tty_put(t);
}

static struct file_ops slave_ops; // tty_file_ops with its own release

static int slave_attach(struct tty *t, struct file *f)
{
	if (t->locked)
		return -EIO;
	int error = tty_opened(t, f);
	if (error)
		return error;
	__atomic_add_fetch(&t->slave_open, 1, __ATOMIC_ACQ_REL);
	t->slave_was_open = 1;
	f->ops = &slave_ops;
	return 0;
}

static int slave_open(struct inode *inode, struct file *f)
{
	struct tty *t = pair_find((int)DEV_MINOR(inode->rdev));

	if (!t)
		return -EIO;
	int error = slave_attach(t, f);
	tty_put(t);
	return error;
}

static struct file *slave_open_by_master(struct tty *t, int flags)
{
	char path[32];

	t->locked = false;
	fmt_print(path, sizeof(path), "/dev/pts/%d", t->index);
	return file_open(path, flags, 0);
}

// ---- /dev/pts ----

static const struct pseudo_entry slave_entry = { .mode = S_IFCHR | 0620, .file_ops = &chrdev_open_ops };

static void slave_node_refresh(struct pseudo *n)
{
	mutex_lock(&pairs_lock);
	struct tty *t = radix_lookup(&pairs, n->key);
	if (t) {
		n->inode->uid = t->uid;
		n->inode->gid = t->gid;
		n->inode->mode = t->mode;
	}
	mutex_unlock(&pairs_lock);
	n->inode->rdev = DEV_MAKE(PTY_SLAVE_MAJOR, (unsigned)n->key);
}

static int slave_node_change(struct pseudo *n, const struct attr_change *c)
{
	generic_setattr(n->inode, c);
	mutex_lock(&pairs_lock);
	struct tty *t = radix_lookup(&pairs, n->key);
	if (t) {
		t->uid = n->inode->uid;
		t->gid = n->inode->gid;
		t->mode = n->inode->mode;
	}
	mutex_unlock(&pairs_lock);
	return t ? 0 : -EIO;
}

static bool slave_node_alive(struct pseudo *n)
{
	mutex_lock(&pairs_lock);
	bool there = radix_lookup(&pairs, n->key) != NULL;
	mutex_unlock(&pairs_lock);
	return there;
}

static const struct pseudo_object_ops slave_node_ops = { .alive = slave_node_alive,
							 .refresh = slave_node_refresh,
							 .change = slave_node_change };

static int devpts_lookup(struct pseudo *dir, const char *name, struct pseudo_child *out)
{
	uint64_t index;

	(void)dir;
	if (!string_to_u64(name, 10, &index) || (name[0] == '0' && name[1]) || index >= PTY_MAX)
		return -ENOENT;
	struct tty *t = pair_find((int)index);
	if (!t)
		return -ENOENT;
	tty_put(t);
	*out = (struct pseudo_child){ .entry = &slave_entry, .object_ops = &slave_node_ops, .key = index };
	return 0;
}

static int devpts_iterate(struct pseudo *dir, struct dir_context *c)
{
	uint64_t index = (uint64_t)(c->position - PSEUDO_DYNAMIC_FIRST);

	for (;; index++) {
		char name[16];
		mutex_lock(&pairs_lock);
		bool found = radix_next(&pairs, &index) != NULL;
		mutex_unlock(&pairs_lock);
		if (!found)
			return 0;
		fmt_print(name, sizeof(name), "%lu", index);
		if (!pseudo_emit(dir, c, name, (loff_t)(PSEUDO_DYNAMIC_FIRST + index + 1), S_IFCHR))
			return 0;
	}
}

static const struct pseudo_entry devpts_children[] = {
	{ .name = "ptmx", .mode = S_IFCHR | 0666, .file_ops = &chrdev_open_ops, .rdev = DEV_MAKE(5, PTMX_MINOR) },
	{ NULL },
};
static const struct pseudo_entry devpts_root = {
	.name = "",
	.mode = S_IFDIR | 0755,
	.children = devpts_children,
	.lookup = devpts_lookup,
	.iterate = devpts_iterate,
};

static int devpts_mount(struct super *s, const char *source, const char *options)
{
	(void)source;
	(void)options;
	return pseudo_fill_super(s, &devpts_root, DEVPTS_SUPER_MAGIC);
}

static struct fs_type devpts_type = { .name = "devpts",
				      .flags = FS_NODEV | FS_SINGLE | FS_USERNS | FS_DEVICES | FS_ANY_OPTION,
				      .mount = devpts_mount };
static const struct file_ops slave_device_ops = { .open = slave_open };

static void pty_init(void)
{
	slave_ops = tty_file_ops;
	slave_ops.release = slave_release;
	fs_type_register(&devpts_type);
	chrdev_register(5, PTMX_MINOR, 1, &master_ops);
	chrdev_register(PTY_SLAVE_MAJOR, 0, PTY_MAX, &slave_device_ops);
}
KERNEL_INIT(2, pty_init);
