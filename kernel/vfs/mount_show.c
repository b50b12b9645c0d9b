// SPDX-License-Identifier: Apache-2.0
// What is mounted: /proc/PID/mounts, mountinfo and mountstats. proc(5).
#include "mount.h"

#include <linux/mount.h>

#include "kernel/pseudofs.h"

static void show_options(struct seq *s, uint32_t flags)
{
	seq_puts(s, flags & MS_RDONLY ? "ro" : "rw");
	seq_puts(s, flags & MS_NOSUID ? ",nosuid" : "");
	seq_puts(s, flags & MS_NODEV ? ",nodev" : "");
	seq_puts(s, flags & MS_NOEXEC ? ",noexec" : "");
	seq_puts(s, flags & MS_NOATIME ? ",noatime" : "");
	seq_puts(s, flags & MS_NODIRATIME ? ",nodiratime" : "");
	seq_puts(s, flags & MS_RELATIME ? ",relatime" : "");
	seq_puts(s, flags & MS_NOSYMFOLLOW ? ",nosymfollow" : "");
}

static void show_propagation(struct seq *s, const struct mount *m)
{
	if (m->group)
		seq_printf(s, " shared:%d", m->group);
	if (m->master)
		seq_printf(s, " master:%d", m->master->group);
	seq_puts(s, m->unbindable ? " unbindable" : "");
}

static void show_one(struct seq *s, struct mount *m, const char *where, int kind)
{
	char options[128] = "";
	if (m->super->ops->show_options)
		m->super->ops->show_options(m->super, options, sizeof(options));
	const char *type = m->super->type->name;
	if (kind == 2) {
		seq_puts(s, "device ");
		seq_puts_escaped(s, m->source, SEQ_ESCAPED_FIELD);
		seq_puts(s, " mounted on ");
		seq_puts_escaped(s, where, SEQ_ESCAPED_FIELD);
		seq_printf(s, " with fstype %s\n", type);
		return;
	}
	if (kind == 1) {
		seq_printf(s, "%d %d %u:%u ", m->id, m->parent ? m->parent->id : m->id, DEV_MAJOR(m->super->dev),
			   DEV_MINOR(m->super->dev));
		char root[256];
		struct path inside = { NULL, m->root };
		char *text = path_print(&inside, root, sizeof(root));
		seq_puts_escaped(s, is_err(text) ? "/" : text, SEQ_ESCAPED_FIELD);
		seq_putc(s, ' ');
		seq_puts_escaped(s, where, SEQ_ESCAPED_FIELD);
		seq_putc(s, ' ');
		show_options(s, m->flags);
		show_propagation(s, m);
		seq_printf(s, " - %s ", type);
		seq_puts_escaped(s, m->source, SEQ_ESCAPED_FIELD);
		seq_printf(s, " %s%s%s\n", m->super->flags & MS_RDONLY ? "ro" : "rw", options[0] ? "," : "", options);
		return;
	}
	seq_puts_escaped(s, m->source, SEQ_ESCAPED_FIELD);
	seq_putc(s, ' ');
	seq_puts_escaped(s, where, SEQ_ESCAPED_FIELD);
	seq_printf(s, " %s ", type);
	show_options(s, m->flags | m->super->flags);
	seq_printf(s, "%s%s 0 0\n", options[0] ? "," : "", options);
}

// Of the task's namespace, as seen from its root.
static void show_tree(struct seq *s, struct mnt_namespace *n, const struct path *root, int kind, char *buffer)
{
	rwsem_read_lock(&mount_lock);
	for (struct mount *m = n->root; m; m = mount_next(m, n->root)) {
		struct path p = { m, m->root };
		char *where = path_print_from(root, &p, buffer, PATH_MAX_BYTES);
		if (!is_err(where))
			show_one(s, m, where, kind);
	}
	rwsem_read_unlock(&mount_lock);
}

void mounts_show(struct seq *s, struct task *of, int kind)
{
	char *buffer = kalloc(PATH_MAX_BYTES);
	struct namespace *n = task_namespace_get(of, NAMESPACE_MNT);
	struct path root;
	if (!buffer) {
		s->failed = true;
	} else if (n && task_root_get(of, &root)) {
		show_tree(s, container_of(n, struct mnt_namespace, common), &root, kind, buffer);
		path_put(&root);
	}
	namespace_put(n);
	kfree(buffer);
}
