// SPDX-License-Identifier: Apache-2.0
// /dev: a fixed tree of device nodes and links. Only what the cell has is there.
#include <linux/magic.h>

#include "kernel/init.h"
#include "kernel/pseudofs.h"
#include "lib/string.h"

static ssize_t link_text(struct pseudo *n, char *buffer, size_t size)
{
	return (ssize_t)string_copy(buffer, n->entry->data, size);
}

#define DEVICE(text, permissions, major, minor)                                              \
	{                                                                                    \
		.name = text, .mode = S_IFCHR | (permissions), .file_ops = &chrdev_open_ops, \
		.rdev = DEV_MAKE(major, minor)                                               \
	}
#define LINK(text, target)                                                                  \
	{                                                                                   \
		.name = text, .mode = S_IFLNK | 0777, .readlink = link_text, .data = target \
	}

static const struct pseudo_entry none[] = { { NULL } };

static const struct pseudo_entry entries[] = {
	DEVICE("null", 0666, 1, 3),
	DEVICE("zero", 0666, 1, 5),
	DEVICE("full", 0666, 1, 7),
	DEVICE("random", 0666, 1, 8),
	DEVICE("urandom", 0666, 1, 9),
	DEVICE("kmsg", 0644, 1, 11),
	DEVICE("tty", 0666, 5, 0),
	DEVICE("console", 0620, 5, 1),
	DEVICE("vsock", 0666, 10, 121),
	LINK("ptmx", "pts/ptmx"),
	LINK("fd", "/proc/self/fd"),
	LINK("stdin", "/proc/self/fd/0"),
	LINK("stdout", "/proc/self/fd/1"),
	LINK("stderr", "/proc/self/fd/2"),
	LINK("core", "/proc/kcore"),
	{ .name = "pts", .mode = S_IFDIR | 0755, .children = none },
	{ .name = "shm", .mode = S_IFDIR | 01777, .children = none },
	{ .name = "mqueue", .mode = S_IFDIR | 01777, .children = none },
	{ NULL },
};
static const struct pseudo_entry root = { .name = "", .mode = S_IFDIR | 0755, .children = entries };

static int devtmpfs_mount(struct super *s, const char *source, const char *options)
{
	(void)source, (void)options;
	return pseudo_fill_super(s, &root, TMPFS_MAGIC);
}

static struct fs_type devtmpfs_type = { .name = "devtmpfs",
					.flags = FS_NODEV | FS_SINGLE | FS_ANY_OPTION,
					.mount = devtmpfs_mount };

static void devtmpfs_init(void) { fs_type_register(&devtmpfs_type); }
KERNEL_INIT(2, devtmpfs_init);
