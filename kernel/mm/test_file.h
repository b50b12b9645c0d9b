// SPDX-License-Identifier: Apache-2.0
// Two files for the unit tests of kernel/mm: descriptor 3 has contents that are known, descriptor 4 is memory (tmpfs). With a host,
// the first is a file of the host's. Include after test_support.h.
#pragma once

#define FILE_PAGES 64u
static uint64_t file_words[FILE_PAGES]; // the first word of each page on the "disk"
static unsigned file_reads, file_writes;
static bool file_broken;

static int fake_read_pages(struct mobj *o, struct page **pages, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		assert_true(page_test(pages[i], PAGE_LOCKED));
		assert_int_equal(pages[i]->index, pages[0]->index + i);
		memset(page_address(pages[i]), 0, PAGE_SIZE);
		*(uint64_t *)page_address(pages[i]) = file_words[pages[i]->index];
		mobj_read_done(pages[i], file_broken ? -EIO : 0);
	}
	file_reads++;
	return 0;
}

static int fake_write_pages(struct mobj *o, struct page **pages, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		assert_true(page_test(pages[i], PAGE_WRITEBACK));
		if (!file_broken)
			file_words[pages[i]->index] = *(uint64_t *)page_address(pages[i]);
		mobj_write_done(pages[i], file_broken ? -EIO : 0);
	}
	file_writes++;
	return 0;
}

#define FAKE_HOST_FILE 77 // the host's descriptor

static int fake_host_file(struct mobj *o, struct file *f) { return FAKE_HOST_FILE; }

static const struct mobj_ops fake_mobj_ops = { .read_pages = fake_read_pages, .write_pages = fake_write_pages },
			     fake_host_ops = { .host_file = fake_host_file }, fake_memory_ops = { 0 };
static struct inode fake_inode, fake_memory_inode;
static struct file_ops fake_file_ops;
static struct file fake_file, fake_memory_file;

static void fake_inode_create(struct inode *i, struct file *f, const struct mobj_ops *ops)
{
	refcount_set(&i->refs, 1);
	i->mode = 0100000; // S_IFREG, which <linux/stat.h> hides from users of libc
	i->object = &i->data;
	mobj_init(&i->data, ops, i);
	i->data.size_bytes = FILE_PAGES * PAGE_SIZE;
	refcount_set(&f->refs, 1);
	f->inode = i;
	f->ops = &fake_file_ops;
	f->mode = FILE_READ | FILE_WRITE;
}

static void fake_file_create(void)
{
	for (unsigned i = 0; i < FILE_PAGES; i++)
		file_words[i] = 0x1000 + i;
	fake_inode_create(&fake_inode, &fake_file, PORT_HOST ? &fake_host_ops : &fake_mobj_ops);
	fake_inode_create(&fake_memory_inode, &fake_memory_file, &fake_memory_ops);
}

struct file *fd_get(int fd)
{
	struct file *f = fd == 4 ? &fake_memory_file : &fake_file;
	file_get(f);
	return f;
}
