// SPDX-License-Identifier: Apache-2.0
// /proc/PID/maps, smaps, smaps_rollup, mem, pagemap.
#include "kernel/errno.h"
#include "kernel/slab.h"
#include "lib/string.h"
#include "proc.h"

// What a reader of another process's memory layout needs; readable without it for oneself.
static struct mm *mm_of(struct pseudo *n, int *error)
{
	*error = ptrace_may_access(proc_task(n));
	return *error ? NULL : task_mm_get(proc_task(n));
}

static void show_line(struct seq *s, const struct vma_info *v, char *path_buffer)
{
	size_t start = s->length;
	struct inode *inode = v->file ? v->file->inode : NULL;
	dev_t dev = 0;
	ino_t ino = 0;

	if (inode)
		inode_identify(inode, &dev, &ino);
	seq_printf(s, "%08lx-%08lx %c%c%c%c %08lx %02x:%02x %lu", v->start, v->end, v->flags & VMA_READ ? 'r' : '-',
		   v->flags & VMA_WRITE ? 'w' : '-', v->flags & VMA_EXEC ? 'x' : '-', v->flags & VMA_SHARED ? 's' : 'p',
		   v->offset_bytes, DEV_MAJOR(dev), DEV_MINOR(dev), ino);
	const char *name = v->name;
	if (!name && v->file && v->file->path.dentry) {
		name = path_print(&v->file->path, path_buffer, PATH_MAX_BYTES);
		if (is_err(name))
			name = NULL;
	}
	seq_putc(s, ' '); // also before no name
	if (name) {
		while (s->length - start < 72)
			seq_putc(s, ' ');
		seq_putc(s, ' ');
		seq_puts_escaped(s, name, SEQ_ESCAPED_LINE);
	}
	seq_putc(s, '\n');
}

static void add_usage(struct mm *mm, const struct vma_info *v, struct vma_usage *total)
{
	struct vma_usage u;

	mm_vma_usage(mm, v->start, v->end, &u);
	total->resident += u.resident;
	total->anonymous += u.anonymous;
	total->shared_clean += u.shared_clean;
	total->shared_dirty += u.shared_dirty;
	total->private_clean += u.private_clean;
	total->private_dirty += u.private_dirty;
	total->referenced += u.referenced;
	total->pss_bytes += u.pss_bytes;
}

static void print_usage(struct seq *s, const struct vma_usage *u)
{
	seq_printf(
		s,
		"Rss:            %8lu kB\nPss:            %8lu kB\nPss_Dirty:      %8lu kB\nShared_Clean:   %8lu kB\nShared_Dirty:   %8lu kB\n",
		u->resident * 4, u->pss_bytes / 1024, (u->private_dirty + u->shared_dirty) * 4, u->shared_clean * 4,
		u->shared_dirty * 4);
	seq_printf(
		s,
		"Private_Clean:  %8lu kB\nPrivate_Dirty:  %8lu kB\nReferenced:     %8lu kB\nAnonymous:      %8lu kB\n",
		u->private_clean * 4, u->private_dirty * 4, u->referenced * 4, u->anonymous * 4);
	seq_puts(
		s,
		"LazyFree:              0 kB\nAnonHugePages:         0 kB\nShmemPmdMapped:        0 kB\nFilePmdMapped:         0 kB\n"
		"Shared_Hugetlb:        0 kB\nPrivate_Hugetlb:       0 kB\nSwap:                  0 kB\nSwapPss:               0 kB\n"
		"Locked:                0 kB\n");
}

static int show_all(struct seq *s, struct pseudo *n, bool usage)
{
	int error;
	struct mm *mm = mm_of(n, &error);
	struct vma_info v = { 0 };

	if (!mm)
		return error;
	char *buffer = kalloc(PATH_MAX_BYTES);
	for (uint64_t at = 0; buffer && mm_next_vma(mm, at, &v); at = v.end) {
		show_line(s, &v, buffer);
		if (usage) {
			struct vma_usage u;
			mm_vma_usage(mm, v.start, v.end, &u);
			seq_printf(
				s,
				"Size:           %8lu kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB\n",
				(v.end - v.start) / 1024);
			print_usage(s, &u);
			seq_printf(s, "THPeligible:    0\nVmFlags: %s%s%s%smr mw me %s\n",
				   v.flags & VMA_READ ? "rd " : "", v.flags & VMA_WRITE ? "wr " : "",
				   v.flags & VMA_EXEC ? "ex " : "", v.flags & VMA_SHARED ? "sh " : "",
				   v.flags & VMA_GROWSDOWN ? "gd " : "");
		}
		if (v.file)
			file_put(v.file);
	}
	kfree(buffer);
	mm_release_user(mm);
	return buffer ? 0 : -ENOMEM;
}

int proc_maps_show(struct seq *s, struct pseudo *n) { return show_all(s, n, false); }
int proc_smaps_show(struct seq *s, struct pseudo *n) { return show_all(s, n, true); }

int proc_smaps_rollup_show(struct seq *s, struct pseudo *n)
{
	int error;
	struct mm *mm = mm_of(n, &error);
	struct vma_usage total = { 0 };
	struct vma_info v;
	uint64_t first = 0, last = 0;

	if (!mm)
		return error;
	for (uint64_t at = 0; mm_next_vma(mm, at, &v); at = v.end) {
		if (!first)
			first = v.start;
		last = v.end;
		add_usage(mm, &v, &total);
		if (v.file)
			file_put(v.file);
	}
	seq_printf(s, "%08lx-%08lx ---p 00000000 00:00 0                          [rollup]\n", first, last);
	print_usage(s, &total);
	mm_release_user(mm);
	return 0;
}

// ---- mem: the process's memory as a file ----

static ssize_t mem_move(struct file *f, struct iov_iter *i, loff_t *pos, bool write)
{
	int error;
	struct mm *mm = mm_of(pseudo_of(f->inode), &error);
	ssize_t done = 0;

	if (!mm)
		return error;
	char *chunk = kalloc(PAGE_SIZE);
	error = chunk ? 0 : -ENOMEM;
	while (!error && i->count) {
		size_t wanted = min(i->count, (size_t)PAGE_SIZE), there, moved;
		if (write) {
			there = iov_copy_from(chunk, i, wanted);
			moved = there ? mm_access(mm, (uint64_t)*pos, chunk, there, true) : 0;
		} else {
			there = mm_access(mm, (uint64_t)*pos, chunk, wanted, false);
			moved = there ? iov_copy_to(i, chunk, there) : 0;
		}
		*pos += (loff_t)moved;
		done += (ssize_t)moved;
		if (moved < wanted)
			error = (write ? there < wanted : moved < there) ? -EFAULT : -EIO;
	}
	kfree(chunk);
	mm_release_user(mm);
	return done ? done : error;
}

static ssize_t mem_read(struct file *f, struct iov_iter *to, loff_t *pos) { return mem_move(f, to, pos, false); }
static ssize_t mem_write(struct file *f, struct iov_iter *from, loff_t *pos) { return mem_move(f, from, pos, true); }

static loff_t mem_seek(struct file *f, loff_t offset, int whence)
{
	if (whence == 1)
		offset += f->position;
	else if (whence != 0)
		return -EINVAL;
	return f->position = offset;
}

const struct file_ops proc_mem_ops = { .read = mem_read, .write = mem_write, .seek = mem_seek };

static ssize_t pagemap_read(struct file *f, struct iov_iter *to, loff_t *pos)
{
	uint64_t entries[64];
	int error;
	struct mm *mm = mm_of(pseudo_of(f->inode), &error);
	ssize_t done = 0;

	if (!mm)
		return error;
	if (*pos % 8 || to->count % 8)
		done = -EINVAL;
	while (done >= 0 && to->count) {
		uint64_t page = (uint64_t)*pos / 8;
		size_t n = min(to->count / 8, array_count(entries));
		if (page >= port_user_end() / PAGE_SIZE)
			break;
		mm_pagemap(mm, page * PAGE_SIZE, entries, n);
		size_t moved = iov_copy_to(to, entries, n * 8);
		*pos += (loff_t)moved;
		done += (ssize_t)moved;
		if (moved < n * 8)
			break;
	}
	mm_release_user(mm);
	return done;
}

const struct file_ops proc_pagemap_ops = { .read = pagemap_read, .seek = mem_seek };
