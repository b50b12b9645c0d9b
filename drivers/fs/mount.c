// SPDX-License-Identifier: Apache-2.0
// Mounting a server's tree: INIT, the root, statfs, sync, and the end.
#include "fs.h"

#include <linux/magic.h>

#include "kernel/init.h"
#include "kernel/log.h"
#include "lib/fmt.h"
#include "lib/string.h"

// What we can do with pages, and with the host's descriptors. No POSIX ACLs, no remote locks (locks are the cell's own), no umask at the server (the VFS applies it).
#define FS_FLAGS_COMMON                                                                                           \
	(FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_PARALLEL_DIROPS | \
	 FUSE_CACHE_SYMLINKS | FUSE_NO_OPENDIR_SUPPORT | FUSE_SUBMOUNTS)
#define FS_FLAGS_PAGES                                                                                         \
	(FUSE_ATOMIC_O_TRUNC | FUSE_AUTO_INVAL_DATA | FUSE_ASYNC_DIO | FUSE_WRITEBACK_CACHE | FUSE_MAX_PAGES | \
	 FUSE_NO_OPEN_SUPPORT)
#define FS_FLAGS (FS_FLAGS_COMMON | (PORT_HOST ? 0 : FS_FLAGS_PAGES))

static int init_call(struct fs_connection *c)
{
	struct fuse_init_in in = { .major = FUSE_KERNEL_VERSION,
				   .minor = FUSE_KERNEL_MINOR_VERSION,
				   .max_readahead = FS_IO_PAGES * (uint32_t)PAGE_SIZE,
				   .flags = FS_FLAGS };
	struct fs_request *r = fs_request_get(c, FUSE_INIT, 0);
	if (is_err(r))
		return (int)ptr_err(r);
	fs_arg(r, &in, sizeof(in));
	fs_reply_room(r, sizeof(struct fuse_init_out));
	int error = fs_call(r);
	if (!error)
		error = fuse_decode_init(r->reply, r->reply_bytes, &c->parameters);
	fs_request_put(r);
	if (error)
		return error;
	c->parameters.flags &= FS_FLAGS;
	c->writeback = c->parameters.flags & FUSE_WRITEBACK_CACHE;
	uint32_t pages = min(min(c->parameters.max_pages, c->parameters.max_write / (unsigned)PAGE_SIZE), FS_IO_PAGES);
	c->io_bytes = pages * (uint32_t)PAGE_SIZE;
	return 0;
}

// The root has no name to look up: its attributes come from GETATTR, and no lookup of it is ever counted.
static struct inode *root_get(struct super *s)
{
	struct fs_connection *c = s->private;
	struct fuse_getattr_in in = { 0 };
	struct fuse_entry e = { .nodeid = FS_ROOT_NODE };
	struct fs_request *r = fs_request_get(c, FUSE_GETATTR, FS_ROOT_NODE);
	if (is_err(r))
		return err_ptr(ptr_err(r));
	fs_arg(r, &in, sizeof(in));
	fs_reply_room(r, sizeof(struct fuse_attr_out));
	int error = fs_call(r);
	if (!error)
		error = fuse_decode_attributes(r->reply, r->reply_bytes, &e.attr, &e.attr_valid_ns);
	fs_request_put(r);
	if (error)
		return err_ptr(error);
	e.attr.submount = false; // st_dev of the root is the superblock's
	struct inode *i = fs_inode_get(s, NULL, &e, fs_clock_now(c));
	if (!is_err(i))
		fs_inode_of(i)->forget.count = 0;
	return i;
}

// ---- superblock ----

static int fs_statfs(struct super *s, struct statfs64_kernel *out)
{
	struct fs_connection *c = s->private;
	struct fuse_statistics st;
	struct fs_request *r = fs_request_get(c, FUSE_STATFS, FS_ROOT_NODE);
	if (is_err(r))
		return (int)ptr_err(r);
	fs_reply_room(r, sizeof(struct fuse_statfs_out));
	int error = fs_call(r);
	if (!error)
		error = fuse_decode_statistics(r->reply, r->reply_bytes, &st);
	fs_request_put(r);
	if (error)
		return error;
	out->type = FUSE_SUPER_MAGIC;
	out->block_size = st.block_size;
	out->fragment_size = st.fragment_size;
	out->blocks = st.blocks;
	out->blocks_free = st.blocks_free;
	out->blocks_available = st.blocks_available;
	out->files = st.files;
	out->files_free = st.files_free;
	out->name_max = st.name_max;
	return 0;
}

// Where data is the host's, nothing is dirty here.
static int fs_sync(struct super *s, bool stored)
{
	struct fs_connection *c = s->private;
	return stored || !PORT_HOST ? fs_sync_all(c) : 0;
}

static void nothing_done(struct fs_request *r) { fs_request_put(r); }

static void fs_put_super(struct super *s)
{
	struct fs_connection *c = s->private;
	if (PORT_HOST)
		fs_ahead_stop(c);
	wait_event(&c->idle_wait, !__atomic_load_n(&c->holders, __ATOMIC_ACQUIRE));
	struct fs_request *r = fs_request_get(c, FUSE_DESTROY, 0);
	if (!is_err(r)) {
		r->complete = nothing_done;
		fs_send(r);
	}
	spin_lock(&c->lock);
	c->super = NULL;
	spin_unlock(&c->lock);
	__atomic_store_n(&c->mounted, false, __ATOMIC_RELEASE);
}

static void fs_show_options(struct super *s, char *buffer, size_t size)
{
	struct fs_connection *c = s->private;
	fmt_print(buffer, size, "%s", c->writeback || PORT_HOST ? "" : ",sync");
}

static const struct super_ops fs_super_ops = {
	.statfs = fs_statfs,
	.sync = fs_sync,
	.evict_inode = fs_evict_inode,
	.put_super = fs_put_super,
	.show_options = fs_show_options,
};

static int connection_start(struct fs_connection *c)
{
	int error = init_call(c);
	c->ahead_credit = c->names_credit = 0;
	c->walk_right = 0;
	if (error || c->forget_request)
		return error;
	struct fs_request *r = fs_request_get(c, FUSE_BATCH_FORGET, 0);
	if (is_err(r))
		return (int)ptr_err(r);
	c->forget_request = r;
	return 0;
}

static int fs_mount(struct super *s, const char *source, const char *options)
{
	if (!source)
		return -EINVAL;
	struct fs_connection *c = fs_connection_find(source);
	if (!c)
		return -ENODEV;
	if (__atomic_exchange_n(&c->mounted, true, __ATOMIC_ACQ_REL))
		return -EBUSY;
	int error = connection_start(c);
	if (error) {
		klog("%s: %s: the server does not start: error %d", fs_transport_name, c->tag, error);
		__atomic_store_n(&c->mounted, false, __ATOMIC_RELEASE);
		return error;
	}
	s->private = c;
	s->ops = &fs_super_ops;
	s->dentry_ops = &fs_dentry_ops;
	s->magic = FUSE_SUPER_MAGIC;
	s->flags |= SUPER_NOATIME; // the server's
	c->super = s;
	struct inode *root = root_get(s);
	if (is_err(root))
		return (int)ptr_err(root);
	if (!inode_is_dir(root)) {
		inode_put(root);
		return -ENOTDIR;
	}
	s->root = dentry_make_root(root);
	return s->root ? 0 : -ENOMEM;
}

static struct fs_type fs_type = { .name = fs_transport_name, .mount = fs_mount };

static void fs_type_init(void) { fs_type_register(&fs_type); }
KERNEL_INIT(2, fs_type_init);
