// SPDX-License-Identifier: Apache-2.0
// Character devices by number.
#include "kernel/errno.h"
#include "kernel/fs.h"
#include "kernel/slab.h"

struct range {
	unsigned major, first, count;
	const struct file_ops *ops;
	struct range *next;
};

static struct range *ranges; // pushed at start, never removed; readers need no lock

int chrdev_register(unsigned major, unsigned minor_first, unsigned minor_count, const struct file_ops *ops)
{
	struct range *r = kalloc(sizeof(*r));

	if (!r)
		return -ENOMEM;
	*r = (struct range){ major, minor_first, minor_count, ops, __atomic_load_n(&ranges, __ATOMIC_ACQUIRE) };
	while (!__atomic_compare_exchange_n(&ranges, &r->next, r, false, __ATOMIC_RELEASE, __ATOMIC_ACQUIRE))
		;
	return 0;
}

const struct file_ops *chrdev_find(dev_t dev)
{
	for (struct range *r = __atomic_load_n(&ranges, __ATOMIC_ACQUIRE); r; r = r->next)
		if (r->major == DEV_MAJOR(dev) && DEV_MINOR(dev) - r->first < r->count)
			return r->ops;
	return NULL;
}

static int open_by_number(struct inode *inode, struct file *f)
{
	const struct file_ops *ops = chrdev_find(inode->rdev);

	if (!ops)
		return -ENXIO;
	f->ops = ops;
	return ops->open ? ops->open(inode, f) : 0;
}

const struct file_ops chrdev_open_ops = { .open = open_by_number };
