// SPDX-License-Identifier: Apache-2.0
// What must be zero when no process is left: open files, references of dentries that nothing explains, dentries and inodes
// that no superblock's tree leads to. Each superblock's tree is walked; a dentry may be referenced by the hash, by its pin,
// by its children and by mounts.
#include "internal.h"

#include "kernel/init.h"
#include "kernel/leak.h"

struct census {
	int64_t dentries, inodes, references; // found; found; unexplained
};

static int64_t explained(struct dentry *d, const struct super *s)
{
	struct dentry *child;
	int64_t count = mount_references(d) + (d == s->root ? 1 : 0);
	count += (d->flags & DENTRY_HASHED ? 1 : 0) + (d->flags & DENTRY_PINNED && d != s->root ? 1 : 0);
	list_for_each (child, &d->children, child_node)
		count += child->flags & DENTRY_MADE_UP ? 2 : 1; // see make_up()
	return count;
}

static void visit(struct dentry *d, const struct super *s, struct census *c)
{
	c->dentries++;
	c->references += refcount_read(&d->refs) - explained(d, s);
	if (d->inode && d->inode->dentries.next == &d->alias_node)
		c->inodes++; // once, at its first name
}

// The dentry after `d` in its tree. Tree lock.
static struct dentry *next_in_tree(struct dentry *d, struct dentry *root)
{
	if (!list_empty(&d->children))
		return list_first(&d->children, struct dentry, child_node);
	while (d != root) {
		if (d->child_node.next != &d->parent->children)
			return list_first(&d->child_node, struct dentry, child_node);
		d = d->parent;
	}
	return NULL;
}

static void visit_super(struct super *s, void *context)
{
	if (!s->root)
		return;
	spin_lock(&mount_hash_lock);
	spin_lock(&dentry_tree_lock);
	for (struct dentry *d = s->root; d; d = next_in_tree(d, s->root))
		visit(d, s, context);
	spin_unlock(&dentry_tree_lock);
	spin_unlock(&mount_hash_lock);
}

static struct census take_census(void)
{
	struct census c = { 0 };
	for (int pass = 0; pass < 3; pass++) // a look to forget the use, then leaves, then what they held
		while (dentry_shrink(UINT32_MAX))
			;
	super_for_each(visit_super, &c);
	return c;
}

static int64_t files_left(void) { return (int64_t)__atomic_load_n(&file_count, __ATOMIC_RELAXED); }

static int64_t dentries_left(void)
{
	struct census c = take_census();
	struct dentry_stats stats;
	dentry_stats_get(&stats);
	return (int64_t)stats.dentries - c.dentries + c.references;
}

static int64_t inodes_left(void)
{
	struct census c = take_census();
	return (int64_t)__atomic_load_n(&inode_count, __ATOMIC_RELAXED) - c.inodes;
}

static struct leak_counter file_leaks = { .name = "files", .left = files_left },
			   dentry_leaks = { .name = "dentries", .left = dentries_left },
			   inode_leaks = { .name = "inodes", .left = inodes_left };

static void init(void)
{
	leak_counter_register(&file_leaks);
	leak_counter_register(&dentry_leaks);
	leak_counter_register(&inode_leaks);
}
KERNEL_INIT(2, init);
