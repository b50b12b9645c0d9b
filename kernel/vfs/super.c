// SPDX-License-Identifier: Apache-2.0
// File system types and superblocks. A superblock lives as long as a mount of it, or a file of an unmounted one.
//
// Locks: list_lock guards both lists; super.hash_lock is the inode table's (inode.c).
#include "internal.h"

#include <linux/magic.h>

#include "kernel/init.h"
#include "kernel/leak.h"
#include "kernel/pseudofs.h"
#include "lib/string.h"

static struct spinlock list_lock = SPINLOCK_INIT;
static struct fs_type *types;
static struct list supers = LIST_INIT(supers);
static unsigned next_minor = 1; // anonymous device numbers; list lock

struct super *anonymous_super;

void fs_type_register(struct fs_type *t)
{
	spin_lock(&list_lock);
	t->next = types;
	types = t;
	spin_unlock(&list_lock);
}

struct fs_type *fs_type_find(const char *name)
{
	struct fs_type *t;
	spin_lock(&list_lock);
	for (t = types; t && strcmp(t->name, name); t = t->next)
		;
	spin_unlock(&list_lock);
	return t;
}

void fs_types_show(struct seq *s)
{
	for (struct fs_type *t = types; t; t = t->next) // only ever grows at its head, at boot
		seq_printf(s, "%s\t%s\n", t->flags & FS_NODEV ? "nodev" : "", t->name);
}

static struct super *find(const struct fs_type *t, bool any, const void *private)
{
	struct super *s, *found = NULL;
	spin_lock(&list_lock);
	list_for_each (s, &supers, node)
		if (s->type == t && (any || s->private == private) && refcount_get_unless_zero(&s->refs)) {
			found = s;
			break;
		}
	spin_unlock(&list_lock);
	return found;
}

struct super *super_find(const struct fs_type *t, const void *private) { return find(t, false, private); }

struct super *super_create(struct fs_type *t)
{
	if (t->flags & FS_SINGLE) {
		struct super *s = find(t, true, NULL);
		if (s)
			return s;
	}
	struct super *s = kalloc(sizeof(*s));
	if (!s)
		return NULL;
	refcount_set(&s->refs, 1);
	s->type = t;
	s->block_size = PAGE_SIZE;
	s->max_file_bytes = SUPER_MAX_BYTES;
	s->next_ino = 2; // 1 is the root
	mutex_init(&s->rename_lock);
	spin_init(&s->hash_lock);
	spin_lock(&list_lock);
	s->dev = DEV_MAKE(0, next_minor++);
	list_add_tail(&supers, &s->node);
	spin_unlock(&list_lock);
	return s;
}

void super_put(struct super *s)
{
	if (!s || !refcount_put(&s->refs))
		return;
	spin_lock(&list_lock);
	list_remove(&s->node);
	spin_unlock(&list_lock);
	fsnotify_super_gone(s);
	if (s->root) {
		if (s->ops && s->ops->sync)
			s->ops->sync(s, false);
		dentry_kill_super(s);
		dentry_put(s->root);
	}
	if (s->ops && s->ops->put_super)
		s->ops->put_super(s);
	if (s->type->gone)
		s->type->gone(s);
	leak_pages_kept(-inode_hash_pages(s->inode_hash_size));
	if (s->owner)
		namespace_put(&s->owner->common);
	kfree(s->inode_hash);
	kfree(s);
}

void super_for_each(void (*fn)(struct super *s, void *context), void *context)
{
	struct super *previous = NULL;
	spin_lock(&list_lock);
	struct list *node = supers.next;
	while (node != &supers) {
		struct super *s = list_entry(node, struct super, node);
		node = node->next;
		if (!refcount_get_unless_zero(&s->refs))
			continue;
		spin_unlock(&list_lock);
		super_put(previous); // kept until now so that its place in the list stayed
		fn(s, context);
		previous = s;
		spin_lock(&list_lock);
		node = s->node.next;
	}
	spin_unlock(&list_lock);
	super_put(previous);
}

// ---- the anonymous file system: pipes, sockets, event descriptors, made-up mount points ----

static struct fs_type anonymous_type = { .name = "anon_inodefs", .flags = FS_NODEV };

static void init(void)
{
	anonymous_super = super_create(&anonymous_type);
	assert(anonymous_super);
	anonymous_super->magic = ANON_INODE_FS_MAGIC;
	anonymous_super->next_ino = 1000; // netstat takes "socket:[N]" with less than three digits for no socket
}
KERNEL_INIT(1, init);
