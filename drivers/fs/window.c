// SPDX-License-Identifier: Apache-2.0
// Files that are read in small pieces, through one open file again and again: databases. After some such reads the port keeps them mapped
// and copies (port/host.h).
//
// struct file.window is the number of such reads, and then the name by which the port knows the file. Each process that reads has windows of
// its own, and closes them when it closes a descriptor of the file. They are mapped through a descriptor that can only be read: one open for
// writing would keep others from executing the file.
//
// Which file systems show in a mapping what reads show is the server's to say, when it opens a file.
#include "fs.h"

#include <asm/stat.h>
#include <linux/fcntl.h>

#include "port/host.h"

#define READS_MAX_BYTES (16u << 10)
#define READS_BEFORE    32u
#define NEVER           (READS_BEFORE + 1)
#define NAMES_FROM      (NEVER + 1)

bool fs_window_serves(struct file *f, const struct iov_iter *to)
{
	if (to->count > READS_MAX_BYTES || to->segment_count != 1 || !to->segments)
		return false;
	uint64_t w = __atomic_load_n(&f->window, __ATOMIC_RELAXED);
	if (likely(w >= NAMES_FROM))
		return true;
	if (w < READS_BEFORE)
		__atomic_store_n(&f->window, w + 1, __ATOMIC_RELAXED); // two at a time may count as one
	return w == READS_BEFORE;
}

bool fs_window_read(struct file *f, struct iov_iter *to, loff_t pos)
{
	uint64_t w = __atomic_load_n(&f->window, __ATOMIC_RELAXED);
	size_t count = to->count;
	if (w < NAMES_FROM ||
	    !port_window_read(w, (uint64_t)pos, (void *)(to->segments->address + to->segment_offset), count))
		return false;
	iov_advance(to, count);
	return true;
}

// The server is asked once for each file, by opening it, unless it has said so of a handle that serves. err_ptr.
static struct fs_handle *coherent_reader(struct inode *i)
{
	struct fs_inode *fi = fs_inode_of(i);
	struct fs_handle *h = fs_handle_cached(i, false);
	if (h && (h->flags & O_ACCMODE) == O_RDONLY && h->open_flags & BROKER_FOPEN_COHERENT)
		return h;
	fs_handle_put(fi->connection, h, NULL);
	if (fi->no_windows)
		return err_ptr(-EOPNOTSUPP);
	h = fs_handle_open(i, O_RDONLY);
	if (is_err(h))
		return h;
	if (h->open_flags & BROKER_FOPEN_COHERENT) {
		fs_handle_prefer(i, h);
		return h;
	}
	fi->no_windows = true;
	fs_handle_put(fi->connection, h, NULL);
	return err_ptr(-EOPNOTSUPP);
}

// The size of the file behind `h`, which is the one that f reads. -errno
static int64_t size_of_same(const struct file *f, const struct fs_handle *h)
{
	struct stat there, here;
	int error = port_file_stat(h->file, &there);
	if (!error && h != fs_file_handle(f)) {
		error = port_file_stat(fs_file_handle(f)->file, &here);
		if (!error && (here.st_dev != there.st_dev || here.st_ino != there.st_ino))
			error = -ESTALE;
	}
	return error ? error : there.st_size;
}

// The file's name, given at the first time; or NEVER.
static uint64_t name_of(struct file *f)
{
	static uint64_t last = NAMES_FROM; // atomic
	uint64_t seen = __atomic_load_n(&f->window, __ATOMIC_RELAXED);
	if (seen != READS_BEFORE)
		return seen;
	uint64_t name = __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
	bool first = __atomic_compare_exchange_n(&f->window, &seen, name, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	return first ? name : seen;
}

static int open_window(struct file *f, uint64_t name, loff_t pos)
{
	if (f->flags & (O_DIRECT | O_NOATIME))
		return -EINVAL;
	struct fs_handle *h = coherent_reader(f->inode);
	if (is_err(h))
		return (int)ptr_err(h);
	int64_t size = size_of_same(f, h);
	if (size >= 0)
		port_window_open(name, h->file, (uint64_t)pos, (uint64_t)size);
	fs_handle_put(fs_connection_of(f->inode), h, NULL);
	return size < 0 ? (int)size : 0;
}

void fs_window_missed(struct file *f, loff_t pos, uint64_t started)
{
	uint64_t w = name_of(f);
	if (w == NEVER || !port_window_wanted(w, (uint64_t)pos, started))
		return;
	if (unlikely(open_window(f, w, pos))) {
		port_window_close(w);
		__atomic_store_n(&f->window, NEVER, __ATOMIC_RELAXED);
	}
}

void fs_window_close(struct file *f)
{
	uint64_t w = __atomic_load_n(&f->window, __ATOMIC_RELAXED);
	if (unlikely(w >= NAMES_FROM))
		port_window_close(w);
}
