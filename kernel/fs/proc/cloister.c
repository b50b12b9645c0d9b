// SPDX-License-Identifier: Apache-2.0
// /proc/cloister: what the kernel counts about itself; docs/debugging.md.
#include "kernel/leak.h"
#include "kernel/log.h"
#include "kernel/slab.h"
#include "kernel/syscall.h"
#include "kernel/trace_ring.h"
#include "lib/asan.h"
#include "lib/string.h"
#include "proc.h"

static int counters_show(struct seq *s, struct pseudo *n)
{
	struct page_stats m;
	struct dentry_stats d;

	(void)n;
	page_stats_get(&m);
	dentry_stats_get(&d);
	seq_printf(
		s,
		"pages_total %lu\npages_free %lu\npages_cached %lu\npages_anonymous %lu\npages_slab %lu\npages_tables %lu\npages_untouched %lu\n",
		m.total_pages, m.free_pages, m.cached_pages, m.anonymous_pages, m.slab_pages, m.table_pages,
		m.untouched_pages);
	seq_printf(s,
		   "dentries %lu\ndentries_unused %lu\ninodes %lu\nfiles %lu\npids %u\nreclaimed %lu\noom_kills %lu\n",
		   d.dentries, d.unused, d.inodes, file_count, pid_count(), m.reclaimed, m.oom_kills);
	return 0;
}

static struct seq *summary; // under summary_lock
static struct mutex summary_lock = MUTEX_INIT(summary_lock);

static void summary_line(const char *line) { seq_puts(summary, line); }
static void summary_text(const char *text, size_t size) { seq_write(summary, text, size); }

static int unimplemented_show(struct seq *s, struct pseudo *n)
{
	(void)n;
	mutex_lock(&summary_lock);
	summary = s;
	syscall_summary(summary_line);
	mutex_unlock(&summary_lock);
	return 0;
}

static int trace_show(struct seq *s, struct pseudo *n)
{
	(void)n;
	mutex_lock(&summary_lock);
	summary = s;
	trace_ring_print(summary_text, 256);
	mutex_unlock(&summary_lock);
	return 0;
}

static int leaks_show(struct seq *s, struct pseudo *n)
{
	char *text = kalloc(PAGE_SIZE);

	(void)n;
	if (!text)
		return -ENOMEM;
	leak_report(text, PAGE_SIZE);
	seq_puts(s, text);
	kfree(text);
	return 0;
}

// Deeper than any stack.
static int descend(volatile int *left)
{
	volatile int here = *left - 1;
	return here ? descend(&here) + here : 0;
}

// For the tests of what a panic prints; root's only, and it ends nothing but the writer's own cell.
static ssize_t panic_write(struct pseudo *n, struct file *f, const char *data, size_t size)
{
	(void)n, (void)f, (void)size;
	if (strncmp(data, "fault", 5) == 0)
		*(volatile int *)UINT64_C(0xffffdead00000000) = 1;
	if (strncmp(data, "descend", 7) == 0)
		(void)descend(&(volatile int){ 1 << 20 });
	if (CLOISTER_ASAN)
		proc_bad_access(data);
	panic("asked for by process %d", current->process->pid);
}

const struct pseudo_entry proc_cloister_entries[] = {
	{ .name = "counters", .mode = S_IFREG | 0444, .show = counters_show },
	{ .name = "unimplemented", .mode = S_IFREG | 0444, .show = unimplemented_show },
	{ .name = "trace", .mode = S_IFREG | 0400, .show = trace_show },
	{ .name = "panic", .mode = S_IFREG | 0200, .write = panic_write },
	{ .name = "leaks", .mode = S_IFREG | 0400, .show = leaks_show },
	{ NULL },
};
