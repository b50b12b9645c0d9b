// SPDX-License-Identifier: Apache-2.0
// A directory whose names are all known here (readdir.c, watch.c), listed without asking for them. The list is as a READDIR's answer;
// positions in it count its entries.
#include "fs.h"

#include "lib/string.h"

struct list_builder {
	char *memory; // NULL: only counts
	size_t capacity, size;
	uint64_t count;
};

// False: it does not fit.
static bool list_put(struct list_builder *b, const char *name, size_t length, const struct inode *i)
{
	struct fuse_dirent head = {
		.ino = fs_inode_of(i)->ino, .off = ++b->count, .namelen = (uint32_t)length, .type = i->mode >> 12
	};
	size_t size = FUSE_REC_ALIGN(FUSE_NAME_OFFSET + length);
	if (size > b->capacity - b->size)
		return false;
	if (b->memory) {
		char *at = b->memory + b->size;
		memset(at + size - 8, 0, 8);
		memcpy(at, &head, FUSE_NAME_OFFSET);
		memcpy(at + FUSE_NAME_OFFSET, name, length);
	}
	b->size += size;
	return true;
}

// dentry_tree_lock
static bool list_build(struct list_builder *b, const struct inode *dir, const struct dentry *d)
{
	const struct inode *above = d->parent->inode && d->parent->inode->super == dir->super ? d->parent->inode : dir;
	bool fits = list_put(b, ".", 1, dir) && list_put(b, "..", 2, above);
	struct dentry *child;
	list_for_each (child, &d->children, child_node) {
		const struct inode *i = child->inode;
		if (!fits)
			break;
		if (i && i->super == dir->super && child->flags & DENTRY_HASHED && !(child->flags & DENTRY_MADE_UP))
			fits = list_put(b, child->name, child->name_length, i);
	}
	return fits;
}

size_t fs_names_list(struct inode *dir, struct dentry *d, char *to, size_t capacity)
{
	struct list_builder b = { .memory = to, .capacity = capacity };
	spin_lock(&dentry_tree_lock);
	bool all = list_build(&b, dir, d) && fs_names_are_known(dir, d);
	spin_unlock(&dentry_tree_lock);
	return all ? b.size : 0;
}

size_t fs_names_skip(const char *list, size_t size, uint64_t position)
{
	size_t at = 0;
	while (at < size && position--) {
		struct fuse_dirent head;
		memcpy(&head, list + at, FUSE_NAME_OFFSET);
		at += FUSE_REC_ALIGN(FUSE_NAME_OFFSET + head.namelen);
	}
	return at;
}
