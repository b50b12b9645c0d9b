// SPDX-License-Identifier: Apache-2.0
// The top of /proc: what concerns the whole cell.
#include <linux/magic.h>

#include "kernel/keys.h"
#include "kernel/boot_config.h"
#include "kernel/init.h"
#include "kernel/slab.h"
#include "kernel/timer.h"
#include "kernel/uts.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "proc.h"

static int cpuinfo_show(struct seq *s, struct pseudo *n)
{
	char *text = kalloc(PAGE_SIZE);

	(void)n;
	if (!text)
		return -ENOMEM;
	for (unsigned cpu = 0; cpu < port_cpu_count(); cpu++) {
		port_cpuinfo(cpu, text, PAGE_SIZE);
		seq_puts(s, text);
	}
	kfree(text);
	return 0;
}

static int locks_file_show(struct seq *s, struct pseudo *n)
{
	(void)n;
	return locks_show(s);
}

static int keys_file_show(struct seq *s, struct pseudo *n)
{
	(void)n;
	keys_show(s);
	return 0;
}

static int key_users_file_show(struct seq *s, struct pseudo *n)
{
	(void)n;
	key_users_show(s);
	return 0;
}

static int meminfo_show(struct seq *s, struct pseudo *n)
{
	struct page_stats m;

	(void)n;
	page_stats_get(&m);
	uint64_t available = m.free_pages + m.cached_pages - min(m.cached_pages, m.shmem_pages + m.dirty_pages);
	const struct {
		const char *name;
		uint64_t pages;
	} rows[] = {
		{ "MemTotal", m.total_pages },
		{ "MemFree", m.free_pages },
		{ "MemAvailable", available },
		{ "Buffers", 0 },
		{ "Cached", m.cached_pages },
		{ "SwapCached", 0 },
		{ "Active", m.anonymous_pages },
		{ "Inactive", m.cached_pages },
		{ "SwapTotal", 0 },
		{ "SwapFree", 0 },
		{ "Dirty", m.dirty_pages },
		{ "Writeback", m.writeback_pages },
		{ "AnonPages", m.anonymous_pages },
		{ "Mapped", 0 },
		{ "Shmem", m.shmem_pages },
		{ "KReclaimable", 0 },
		{ "Slab", m.slab_pages },
		{ "SReclaimable", 0 },
		{ "SUnreclaim", m.slab_pages },
		{ "KernelStack", 0 },
		{ "PageTables", m.table_pages },
		{ "CommitLimit", m.total_pages },
		{ "Committed_AS", m.anonymous_pages },
		{ "VmallocTotal", UINT64_C(0x1fffffff) },
		{ "VmallocUsed", 0 },
	};
	for (unsigned i = 0; i < array_count(rows); i++)
		seq_printf(s, "%s:%*lu kB\n", rows[i].name, (int)(23 - strlen(rows[i].name)), rows[i].pages * 4);
	seq_puts(
		s,
		"HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\nHugePages_Surp:        0\nHugepagesize:       2048 kB\n");
	return 0;
}

static void stat_cpu(struct seq *s, const struct sched_cpu_stats *c)
{
	const uint64_t tick = NSEC_PER_SEC / 100;

	seq_printf(s, " %lu %lu %lu %lu 0 0 0 0 0 0\n", c->user_ns / tick, c->nice_ns / tick, c->system_ns / tick,
		   c->idle_ns / tick);
}

static int stat_show(struct seq *s, struct pseudo *n)
{
	struct sched_cpu_stats total = { 0 }, c;

	(void)n;
	for (unsigned cpu = 0; cpu < port_cpu_count(); cpu++) {
		sched_cpu_stats_get(cpu, &c);
		total.user_ns += c.user_ns;
		total.nice_ns += c.nice_ns;
		total.system_ns += c.system_ns;
		total.idle_ns += c.idle_ns;
		total.switches += c.switches;
	}
	seq_puts(s, "cpu ");
	stat_cpu(s, &total);
	for (unsigned cpu = 0; cpu < port_cpu_count(); cpu++) {
		sched_cpu_stats_get(cpu, &c);
		seq_printf(s, "cpu%u", cpu);
		stat_cpu(s, &c);
	}
	seq_printf(s, "intr 0\nctxt %lu\nbtime %ld\nprocesses %u\nprocs_running %u\nprocs_blocked 0\nsoftirq 0\n",
		   total.switches, clock_realtime_offset_ns() / NSEC_PER_SEC, pid_count(), sched_runnable_count());
	return 0;
}

static int uptime_show(struct seq *s, struct pseudo *n)
{
	uint64_t now = port_time_ns(), idle = 0;

	(void)n;
	for (unsigned cpu = 0; cpu < port_cpu_count(); cpu++) {
		struct sched_cpu_stats c;
		sched_cpu_stats_get(cpu, &c);
		idle += c.idle_ns;
	}
	seq_printf(s, "%lu.%02lu %lu.%02lu\n", now / NSEC_PER_SEC, now / 10000000 % 100, idle / NSEC_PER_SEC,
		   idle / 10000000 % 100);
	return 0;
}

static int loadavg_show(struct seq *s, struct pseudo *n)
{
	uint64_t load[3];

	(void)n;
	sched_load_average(load);
	for (int i = 0; i < 3; i++)
		seq_printf(s, "%lu.%02lu ", load[i] >> 16, (load[i] & 0xffff) * 100 >> 16);
	seq_printf(s, "%u/%u %d\n", sched_runnable_count(), pid_count(), current->tid);
	return 0;
}

static int version_show(struct seq *s, struct pseudo *n)
{
	(void)n;
	seq_printf(s, "Linux version " UTS_RELEASE " (cloister) " UTS_VERSION "\n");
	return 0;
}

static int cmdline_show(struct seq *s, struct pseudo *n)
{
	(void)n;
	seq_printf(s, "%s\n", boot_config.program);
	return 0;
}

static int filesystems_show(struct seq *s, struct pseudo *n)
{
	(void)n;
	fs_types_show(s);
	return 0;
}

static int text_show(struct seq *s, struct pseudo *n)
{
	seq_puts(s, n->entry->data);
	return 0;
}

static int vmstat_show(struct seq *s, struct pseudo *n)
{
	struct page_stats m;

	(void)n;
	page_stats_get(&m);
	seq_printf(
		s,
		"nr_free_pages %lu\nnr_anon_pages %lu\nnr_file_pages %lu\nnr_dirty %lu\nnr_writeback %lu\nnr_shmem %lu\nnr_page_table_pages %lu\n"
		"oom_kill %lu\n",
		m.free_pages, m.anonymous_pages, m.cached_pages, m.dirty_pages, m.writeback_pages, m.shmem_pages,
		m.table_pages, m.oom_kills);
	return 0;
}

static ssize_t self_readlink(struct pseudo *n, char *buffer, size_t size)
{
	pid_t pid = pid_shown_in(proc_pid_namespace(n), current->process->pid);

	return pid ? fmt_print(buffer, size, "%d", pid) : -ENOENT;
}

static ssize_t thread_self_readlink(struct pseudo *n, char *buffer, size_t size)
{
	const struct pid_namespace *space = proc_pid_namespace(n);
	pid_t pid = pid_shown_in(space, current->process->pid);

	return pid ? fmt_print(buffer, size, "%d/task/%d", pid, pid_shown_in(space, current->tid)) : -ENOENT;
}

static ssize_t link_readlink(struct pseudo *n, char *buffer, size_t size)
{
	return (ssize_t)string_copy(buffer, n->entry->data, size);
}

#define TEXT(text, function)                                           \
	{                                                              \
		.name = text, .mode = S_IFREG | 0444, .show = function \
	}
#define CONSTANT(text, content)                                                          \
	{                                                                                \
		.name = text, .mode = S_IFREG | 0444, .show = text_show, .data = content \
	}
#define LINK(text, target)                                                                      \
	{                                                                                       \
		.name = text, .mode = S_IFLNK | 0777, .readlink = link_readlink, .data = target \
	}

const struct pseudo_entry proc_root_entries[] = {
	TEXT("cpuinfo", cpuinfo_show),
	TEXT("meminfo", meminfo_show),
	TEXT("keys", keys_file_show),
	TEXT("key-users", key_users_file_show),
	TEXT("stat", stat_show),
	TEXT("uptime", uptime_show),
	TEXT("loadavg", loadavg_show),
	TEXT("version", version_show),
	TEXT("cmdline", cmdline_show),
	TEXT("filesystems", filesystems_show),
	TEXT("vmstat", vmstat_show),
	TEXT("locks", locks_file_show),
	CONSTANT(
		"devices",
		"Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n136 pts\n\nBlock devices:\n"),
	CONSTANT("swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
	CONSTANT("partitions", "major minor  #blocks  name\n\n"),
	CONSTANT("diskstats", ""),
	CONSTANT("modules", ""),
	CONSTANT("interrupts", ""),
	CONSTANT("misc", ""),
	LINK("mounts", "self/mounts"),
	LINK("net", "self/net"),
	{ .name = "self", .mode = S_IFLNK | 0777, .readlink = self_readlink },
	{ .name = "thread-self", .mode = S_IFLNK | 0777, .readlink = thread_self_readlink },
	{ .name = "sys", .mode = S_IFDIR | 0555, .children = proc_sys_entries },
	{ .name = "cloister", .mode = S_IFDIR | 0555, .children = proc_cloister_entries },
	{ NULL },
};

static const struct pseudo_entry root = {
	.name = "",
	.mode = S_IFDIR | 0555,
	.children = proc_root_entries,
	.lookup = proc_pid_lookup,
	.iterate = proc_pid_iterate,
	.subdirectories = proc_pid_subdirectories,
};

static int proc_mount(struct super *s, const char *source, const char *options)
{
	struct pid_namespace *space = task_pid_namespace(current);

	(void)source, (void)options;
	int error = pseudo_fill_super(s, &root, PROC_SUPER_MAGIC);
	if (error)
		return error;
	namespace_get(&space->common);
	s->private = space;
	return 0;
}

// Nothing of it is hidden from anybody here.
static int proc_check_option(const char *key, const char *value)
{
	if (!strcmp(key, "subset"))
		return value && !strcmp(value, "pid") ? 0 : -EINVAL;
	return strcmp(key, "gid") != 0 && strcmp(key, "hidepid") != 0 ? -ENOENT : value && *value ? 0 : -EINVAL;
}

static struct user_namespace *proc_owner(void) { return task_pid_namespace(current)->common.owner; }
static struct super *proc_of_caller(void);
static void proc_gone(struct super *s)
{
	struct pid_namespace *space = s->private;

	if (space)
		namespace_put(&space->common);
}

static struct fs_type proc_type = {
	.name = "proc",
	.flags = FS_NODEV | FS_USERNS,
	.mount = proc_mount,
	.check_option = proc_check_option,
	.of_caller = proc_of_caller,
	.owner = proc_owner,
	.gone = proc_gone,
};

static struct super *proc_of_caller(void) { return super_find(&proc_type, task_pid_namespace(current)); }

static void proc_init(void) { fs_type_register(&proc_type); }
KERNEL_INIT(2, proc_init);
