// SPDX-License-Identifier: Apache-2.0
// /sys: CPU and memory topology, and the few other entries that programs look for (sysfs(5)).
#include <linux/magic.h>

#include "kernel/errno.h"
#include "kernel/init.h"
#include "kernel/page.h"
#include "kernel/namespace.h"
#include "kernel/pseudofs.h"
#include "lib/fmt.h"
#include "lib/string.h"

#define CACHES_MAX 8u

// Below cpuN and indexM the node's key holds the numbers: cpu in the low half, cache index in the high half.
static unsigned cpu_of(struct pseudo *n) { return (unsigned)n->key; }
static unsigned cache_of(struct pseudo *n) { return (unsigned)(n->key >> 32); }

static int text_show(struct seq *s, struct pseudo *n)
{
	seq_printf(s, "%s\n", (const char *)n->entry->data);
	return 0;
}

static void print_range(struct seq *s, unsigned count) { seq_printf(s, count > 1 ? "0-%u\n" : "%u\n", count - 1); }

static int online_show(struct seq *s, struct pseudo *n)
{
	(void)n;
	print_range(s, port_cpu_count());
	return 0;
}

// A bitmap of CPUs [first, first + count) as sysfs prints it: 32-bit groups from the highest.
static void print_mask(struct seq *s, unsigned first, unsigned count)
{
	unsigned total = port_cpu_count();

	for (int word = (int)((total - 1) / 32); word >= 0; word--) {
		unsigned bits = 0;
		for (unsigned i = 0; i < 32; i++) {
			unsigned cpu = (unsigned)word * 32 + i;
			if (cpu >= first && cpu < first + count && cpu < total)
				bits |= 1u << i;
		}
		seq_printf(s, total > 32 ? "%08x%s" : "%x%s", bits, word ? "," : "\n");
	}
}

static void print_list(struct seq *s, unsigned first, unsigned count)
{
	unsigned last = min(first + count, port_cpu_count()) - 1;

	seq_printf(s, last > first ? "%u-%u\n" : "%u\n", first, last);
}

// ---- cpu topology ----

enum topology_field { PACKAGE_ID, CORE_ID, CORE_SIBLINGS, CORE_SIBLINGS_LIST, THREAD_SIBLINGS, THREAD_SIBLINGS_LIST };

static int topology_show(struct seq *s, struct pseudo *n)
{
	struct port_cpu_topology t;
	unsigned cpu = cpu_of(n);

	port_cpu_topology(cpu, &t);
	unsigned threads = max(t.threads_per_core, 1u), package = max(t.cores_per_package, 1u) * threads;
	switch ((enum topology_field)(uintptr_t)n->entry->data) {
	case PACKAGE_ID: seq_printf(s, "%u\n", t.package_id); break;
	case CORE_ID: seq_printf(s, "%u\n", t.core_id); break;
	case CORE_SIBLINGS: print_mask(s, cpu / package * package, package); break;
	case CORE_SIBLINGS_LIST: print_list(s, cpu / package * package, package); break;
	case THREAD_SIBLINGS: print_mask(s, cpu / threads * threads, threads); break;
	case THREAD_SIBLINGS_LIST: print_list(s, cpu / threads * threads, threads); break;
	}
	return 0;
}

#define FIELD(text, function, value)                                                                             \
	{                                                                                                        \
		.name = text, .mode = S_IFREG | 0444, .show = function, .data = (const void *)(uintptr_t)(value) \
	}
#define VALUE(text, content)                                                             \
	{                                                                                \
		.name = text, .mode = S_IFREG | 0444, .show = text_show, .data = content \
	}
#define DIRECTORY(text, table)                                          \
	{                                                               \
		.name = text, .mode = S_IFDIR | 0555, .children = table \
	}

static const struct pseudo_entry topology_entries[] = {
	FIELD("physical_package_id", topology_show, PACKAGE_ID),
	FIELD("core_id", topology_show, CORE_ID),
	FIELD("core_siblings", topology_show, CORE_SIBLINGS),
	FIELD("core_siblings_list", topology_show, CORE_SIBLINGS_LIST),
	FIELD("package_cpus", topology_show, CORE_SIBLINGS),
	FIELD("package_cpus_list", topology_show, CORE_SIBLINGS_LIST),
	FIELD("thread_siblings", topology_show, THREAD_SIBLINGS),
	FIELD("thread_siblings_list", topology_show, THREAD_SIBLINGS_LIST),
	FIELD("core_cpus", topology_show, THREAD_SIBLINGS),
	FIELD("core_cpus_list", topology_show, THREAD_SIBLINGS_LIST),
	{ NULL },
};

// ---- caches ----

enum cache_field { LINE_SIZE, LEVEL, SETS, PARTITION, SHARED_MAP, SHARED_LIST, SIZE, TYPE, WAYS, ID };

static bool cache_get(unsigned index, struct port_cpu_cache *out)
{
	struct port_cpu_cache caches[CACHES_MAX];
	unsigned count = port_cpu_caches(caches, CACHES_MAX);

	if (index >= count)
		return false;
	*out = caches[index];
	return true;
}

static int cache_show(struct seq *s, struct pseudo *n)
{
	struct port_cpu_cache c;
	unsigned cpu = cpu_of(n);

	if (!cache_get(cache_of(n), &c))
		return -ENOENT;
	unsigned shared = max(c.shared_cpus, 1u);
	switch ((enum cache_field)(uintptr_t)n->entry->data) {
	case LINE_SIZE: seq_printf(s, "%u\n", c.line_bytes); break;
	case LEVEL: seq_printf(s, "%u\n", c.level); break;
	case SETS: seq_printf(s, "%u\n", c.sets); break;
	case PARTITION: seq_printf(s, "%u\n", c.partitions); break;
	case SHARED_MAP: print_mask(s, cpu / shared * shared, shared); break;
	case SHARED_LIST: print_list(s, cpu / shared * shared, shared); break;
	case SIZE: seq_printf(s, "%uK\n", c.size_bytes / 1024); break;
	case TYPE: seq_puts(s, c.type == 'D' ? "Data\n" : c.type == 'I' ? "Instruction\n" : "Unified\n"); break;
	case WAYS: seq_printf(s, "%u\n", c.ways); break;
	case ID: seq_printf(s, "%u\n", cpu / shared); break;
	}
	return 0;
}

static const struct pseudo_entry cache_entries[] = {
	FIELD("coherency_line_size", cache_show, LINE_SIZE),
	FIELD("level", cache_show, LEVEL),
	FIELD("number_of_sets", cache_show, SETS),
	FIELD("physical_line_partition", cache_show, PARTITION),
	FIELD("shared_cpu_map", cache_show, SHARED_MAP),
	FIELD("shared_cpu_list", cache_show, SHARED_LIST),
	FIELD("size", cache_show, SIZE),
	FIELD("type", cache_show, TYPE),
	FIELD("ways_of_associativity", cache_show, WAYS),
	FIELD("id", cache_show, ID),
	{ NULL },
};
static const struct pseudo_entry cache_index_entry = { .mode = S_IFDIR | 0555, .children = cache_entries };

// "prefixN" with a decimal N without leading zeros.
static bool numbered(const char *name, const char *prefix, uint64_t *number)
{
	size_t n = strlen(prefix);

	return strncmp(name, prefix, n) == 0 && !(name[n] == '0' && name[n + 1]) && string_to_u64(name + n, 10, number);
}

static int numbered_iterate(struct pseudo *dir, struct dir_context *c, const char *prefix, unsigned count)
{
	char name[32];

	for (unsigned i = (unsigned)(c->position - PSEUDO_DYNAMIC_FIRST); i < count; i++) {
		fmt_print(name, sizeof(name), "%s%u", prefix, i);
		if (!pseudo_emit(dir, c, name, (loff_t)PSEUDO_DYNAMIC_FIRST + i + 1, S_IFDIR))
			break;
	}
	return 0;
}

static int cache_lookup(struct pseudo *dir, const char *name, struct pseudo_child *out)
{
	struct port_cpu_cache c;
	uint64_t index;

	if (!numbered(name, "index", &index) || index >= CACHES_MAX || !cache_get((unsigned)index, &c))
		return -ENOENT;
	*out = (struct pseudo_child){ .entry = &cache_index_entry, .key = index << 32 | cpu_of(dir) };
	return 0;
}

static int cache_iterate(struct pseudo *dir, struct dir_context *c)
{
	struct port_cpu_cache caches[CACHES_MAX];

	return numbered_iterate(dir, c, "index", port_cpu_caches(caches, CACHES_MAX));
}

// ---- cpu ----

static const struct pseudo_entry cpu_entries[] = {
	VALUE("online", "1"),
	DIRECTORY("topology", topology_entries),
	{ .name = "cache", .mode = S_IFDIR | 0555, .lookup = cache_lookup, .iterate = cache_iterate },
	{ NULL },
};
static const struct pseudo_entry cpu_entry = { .mode = S_IFDIR | 0555, .children = cpu_entries };

static int cpu_lookup(struct pseudo *dir, const char *name, struct pseudo_child *out)
{
	uint64_t cpu;

	(void)dir;
	if (!numbered(name, "cpu", &cpu) || cpu >= port_cpu_count())
		return -ENOENT;
	*out = (struct pseudo_child){ .entry = &cpu_entry, .key = cpu };
	return 0;
}

static int cpu_iterate(struct pseudo *dir, struct dir_context *c)
{
	return numbered_iterate(dir, c, "cpu", port_cpu_count());
}

static int kernel_max_show(struct seq *s, struct pseudo *n)
{
	(void)n;
	seq_puts(s, "255\n");
	return 0;
}

static const struct pseudo_entry cpus_entries[] = {
	FIELD("online", online_show, 0),
	FIELD("possible", online_show, 0),
	FIELD("present", online_show, 0),
	VALUE("offline", ""),
	VALUE("isolated", ""),
	FIELD("kernel_max", kernel_max_show, 0),
	{ NULL },
};

// ---- node: one ----

static int node_cpumap_show(struct seq *s, struct pseudo *n)
{
	(void)n;
	print_mask(s, 0, port_cpu_count());
	return 0;
}

static int node_meminfo_show(struct seq *s, struct pseudo *n)
{
	struct page_stats m;

	(void)n;
	page_stats_get(&m);
	seq_printf(
		s,
		"Node 0 MemTotal:       %8lu kB\nNode 0 MemFree:        %8lu kB\nNode 0 MemUsed:        %8lu kB\nNode 0 FilePages:      %8lu kB\n"
		"Node 0 AnonPages:      %8lu kB\nNode 0 Shmem:          %8lu kB\nNode 0 PageTables:     %8lu kB\nNode 0 HugePages_Total:     0\n"
		"Node 0 HugePages_Free:      0\nNode 0 HugePages_Surp:      0\n",
		m.total_pages * 4, m.free_pages * 4, (m.total_pages - m.free_pages) * 4, m.cached_pages * 4,
		m.anonymous_pages * 4, m.shmem_pages * 4, m.table_pages * 4);
	return 0;
}

static const struct pseudo_entry huge_entries[] = {
	VALUE("nr_hugepages", "0"),
	VALUE("free_hugepages", "0"),
	VALUE("surplus_hugepages", "0"),
	{ NULL },
};
static const struct pseudo_entry hugepages_entries[] = { DIRECTORY("hugepages-2048kB", huge_entries),
							 DIRECTORY("hugepages-1048576kB", huge_entries),
							 { NULL } };
static const struct pseudo_entry node0_entries[] = {
	FIELD("cpumap", node_cpumap_show, 0),   FIELD("cpulist", online_show, 0),          VALUE("distance", "10"),
	FIELD("meminfo", node_meminfo_show, 0), DIRECTORY("hugepages", hugepages_entries), { NULL },
};
static const struct pseudo_entry node_entries[] = {
	DIRECTORY("node0", node0_entries),
	VALUE("online", "0"),
	VALUE("possible", "0"),
	VALUE("has_cpu", "0"),
	VALUE("has_memory", "0"),
	VALUE("has_normal_memory", "0"),
	{ NULL },
};

// ---- the rest ----

static const struct pseudo_entry thp_entries[] = {
	VALUE("enabled", "always madvise [never]"),
	VALUE("defrag", "always defer defer+madvise madvise [never]"),
	VALUE("hpage_pmd_size", "2097152"),
	{ NULL },
};
static const struct pseudo_entry kernel_hugepages_entries[] = { DIRECTORY("hugepages-2048kB", huge_entries), { NULL } };
static const struct pseudo_entry mm_entries[] = { DIRECTORY("transparent_hugepage", thp_entries),
						  DIRECTORY("hugepages", kernel_hugepages_entries),
						  { NULL } };
static const struct pseudo_entry kernel_entries[] = { DIRECTORY("mm", mm_entries), { NULL } };
static const struct pseudo_entry system_entries[] = {
	{ .name = "cpu",
	  .mode = S_IFDIR | 0555,
	  .children = cpus_entries,
	  .lookup = cpu_lookup,
	  .iterate = cpu_iterate },
	DIRECTORY("node", node_entries),
	{ NULL },
};
static const struct pseudo_entry devices_entries[] = { DIRECTORY("system", system_entries), { NULL } };
static const struct pseudo_entry none[] = { { NULL } };
static const struct pseudo_entry lo_entries[] = {
	VALUE("address", "00:00:00:00:00:00"),
	VALUE("mtu", "65536"),
	VALUE("ifindex", "1"),
	VALUE("operstate", "unknown"),
	VALUE("flags", "0x9"),
	VALUE("type", "772"),
	{ NULL },
};
static const struct pseudo_entry class_net_entries[] = { DIRECTORY("lo", lo_entries), { NULL } };
static const struct pseudo_entry class_entries[] = {
	DIRECTORY("net", class_net_entries), DIRECTORY("tty", none), DIRECTORY("block", none), { NULL }
};
static const struct pseudo_entry fs_entries[] = { DIRECTORY("cgroup", none), { NULL } };
static const struct pseudo_entry root_entries[] = {
	DIRECTORY("devices", devices_entries),
	DIRECTORY("kernel", kernel_entries),
	DIRECTORY("class", class_entries),
	DIRECTORY("fs", fs_entries),
	DIRECTORY("block", none),
	DIRECTORY("bus", none),
	DIRECTORY("module", none),
	{ NULL },
};
static const struct pseudo_entry root = { .name = "", .mode = S_IFDIR | 0555, .children = root_entries };

static int sysfs_mount(struct super *s, const char *source, const char *options)
{
	(void)source, (void)options;
	return pseudo_fill_super(s, &root, SYSFS_MAGIC);
}

static struct user_namespace *sysfs_owner(void) { return &user_namespace_initial; }

static struct fs_type sysfs_type = {
	.owner = sysfs_owner, .name = "sysfs", .flags = FS_NODEV | FS_SINGLE | FS_USERNS, .mount = sysfs_mount
};

static void sysfs_init(void) { fs_type_register(&sysfs_type); }
KERNEL_INIT(2, sysfs_init);
