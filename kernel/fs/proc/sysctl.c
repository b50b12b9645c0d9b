// SPDX-License-Identifier: Apache-2.0
// /proc/sys: settings that programs read, and the few that they may write.
#include "kernel/aio.h"
#include "kernel/boot_config.h"
#include "kernel/coredump.h"
#include "kernel/errno.h"
#include "kernel/keys.h"
#include "kernel/mqueue.h"
#include "kernel/random.h"
#include "kernel/uts.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "proc.h"

static int text_show(struct seq *s, struct pseudo *n)
{
	seq_printf(s, "%s\n", (const char *)n->entry->data);
	return 0;
}

// Names of the UTS namespace: the host's where the entry has data, else the domain's.
static int uts_show(struct seq *s, struct pseudo *n)
{
	char name[UTS_NAME_BYTES];

	if (n->entry->data)
		uts_hostname(name);
	else
		uts_domainname(name);
	seq_printf(s, "%s\n", name);
	return 0;
}

static ssize_t uts_write(struct pseudo *n, struct file *f, const char *data, size_t size)
{
	char name[UTS_NAME_BYTES];

	(void)f;
	string_copy(name, data, sizeof(name));
	char *end = strchr(name, '\n');
	if (end)
		*end = '\0';
	int error = uts_set(n->entry->data != NULL, name, strlen(name));
	return error ? error : (ssize_t)size;
}

static void print_uuid(struct seq *s, const uint8_t b[16])
{
	for (int i = 0; i < 16; i++)
		seq_printf(s, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", b[i]);
	seq_putc(s, '\n');
}

static int uuid_show(struct seq *s, struct pseudo *n)
{
	uint8_t b[16];

	(void)n;
	random_bytes(b, sizeof(b));
	b[6] = (b[6] & 0x0f) | 0x40; // RFC 4122, version 4
	b[8] = (b[8] & 0x3f) | 0x80;
	print_uuid(s, b);
	return 0;
}

static int boot_id_show(struct seq *s, struct pseudo *n)
{
	static uint8_t id[16]; // drawn once; a race draws it twice at most before anybody saw it
	static uint32_t drawn;

	(void)n;
	if (!__atomic_exchange_n(&drawn, 1, __ATOMIC_ACQ_REL)) {
		random_bytes(id, sizeof(id));
		id[6] = (id[6] & 0x0f) | 0x40;
		id[8] = (id[8] & 0x3f) | 0x80;
	}
	print_uuid(s, id);
	return 0;
}

static int file_nr_show(struct seq *s, struct pseudo *n)
{
	(void)n;
	seq_printf(s, "%lu\t0\t%lu\n", file_count, UINT64_C(9223372036854775807));
	return 0;
}

static int inode_nr_show(struct seq *s, struct pseudo *n)
{
	struct dentry_stats d;

	(void)n;
	dentry_stats_get(&d);
	seq_printf(s, "%lu\t0\n", d.inodes);
	return 0;
}

static int aio_nr_show(struct seq *s, struct pseudo *n)
{
	(void)n;
	seq_printf(s, "%lu\n", aio_requests());
	return 0;
}

static ssize_t drop_caches_write(struct pseudo *n, struct file *f, const char *data, size_t size)
{
	(void)n, (void)f, (void)data;
	page_drop_caches(false);
	return (ssize_t)size;
}

static ssize_t accept_write(struct pseudo *n, struct file *f, const char *data, size_t size)
{
	(void)n, (void)f, (void)data;
	return cred_capable(current->cred, 21 /* CAP_SYS_ADMIN */) ? (ssize_t)size : -EPERM;
}

static int core_pattern_show(struct seq *s, struct pseudo *n)
{
	char pattern[CORE_PATTERN_BYTES];

	(void)n;
	core_pattern_get(pattern);
	seq_printf(s, "%s\n", pattern);
	return 0;
}

static ssize_t core_pattern_write(struct pseudo *n, struct file *f, const char *data, size_t size)
{
	char pattern[CORE_PATTERN_BYTES];

	(void)n, (void)f;
	if (!cred_capable(current->cred, 21 /* CAP_SYS_ADMIN */))
		return -EPERM;
	string_copy(pattern, data, sizeof(pattern));
	char *end = strchr(pattern, '\n');
	if (end)
		*end = '\0';
	int error = core_pattern_set(pattern);
	return error ? error : (ssize_t)size;
}

// A setting that has effect.
struct number {
	uint32_t *value, min, max;
};

static int number_show(struct seq *s, struct pseudo *n)
{
	const struct number *number = n->entry->data;

	seq_printf(s, "%u\n", __atomic_load_n(number->value, __ATOMIC_RELAXED));
	return 0;
}

static bool number_of(const char *data, uint64_t *value)
{
	char digits[16];

	string_copy(digits, data, sizeof(digits));
	char *end = strchr(digits, '\n');
	if (end)
		*end = '\0';
	return string_to_u64(digits, 10, value);
}

static ssize_t number_write(struct pseudo *n, struct file *f, const char *data, size_t size)
{
	const struct number *number = n->entry->data;
	uint64_t value;

	(void)f;
	if (!cred_capable(current->cred, 21 /* CAP_SYS_ADMIN */))
		return -EPERM;
	if (!number_of(data, &value) || value < number->min || value > number->max)
		return -EINVAL;
	__atomic_store_n(number->value, (uint32_t)value, __ATOMIC_RELAXED);
	return (ssize_t)size;
}

#define NUMBER(text, value, min, max)                                                             \
	{                                                                                         \
		.name = text, .mode = S_IFREG | 0644, .show = number_show, .write = number_write, \
		.data = &(const struct number)                                                    \
		{                                                                                 \
			value, min, max                                                           \
		}                                                                                 \
	}
#define VALUE(text, content)                                                             \
	{                                                                                \
		.name = text, .mode = S_IFREG | 0444, .show = text_show, .data = content \
	}
// Written by programs that tune their host; the value has no effect here and stays.
#define TUNABLE(text, content)                                                                                  \
	{                                                                                                       \
		.name = text, .mode = S_IFREG | 0644, .show = text_show, .write = accept_write, .data = content \
	}
#define DIRECTORY(text, table)                                          \
	{                                                               \
		.name = text, .mode = S_IFDIR | 0555, .children = table \
	}

static const struct pseudo_entry random_entries[] = {
	{ .name = "uuid", .mode = S_IFREG | 0444, .show = uuid_show },
	{ .name = "boot_id", .mode = S_IFREG | 0444, .show = boot_id_show },
	VALUE("entropy_avail", "256"),
	VALUE("poolsize", "256"),
	{ NULL },
};
static const struct pseudo_entry keys_entries[] = {
	NUMBER("maxkeys", &key_limits.keys, 0, INT32_MAX),
	NUMBER("maxbytes", &key_limits.bytes, 0, INT32_MAX),
	NUMBER("root_maxkeys", &key_limits.root_keys, 0, INT32_MAX),
	NUMBER("root_maxbytes", &key_limits.root_bytes, 0, INT32_MAX),
	TUNABLE("gc_delay", "300"),
	{ NULL },
};
static const struct pseudo_entry kernel_entries[] = {
	DIRECTORY("keys", keys_entries),
	VALUE("ostype", "Linux"),
	VALUE("osrelease", UTS_RELEASE),
	VALUE("version", UTS_VERSION),
	{ .name = "hostname", .mode = S_IFREG | 0644, .show = uts_show, .write = uts_write, .data = "host" },
	{ .name = "domainname", .mode = S_IFREG | 0644, .show = uts_show, .write = uts_write },
	VALUE("pid_max", "4194304"),
	VALUE("threads-max", "1048576"),
	VALUE("ngroups_max", "65536"),
	VALUE("cap_last_cap", "40"),
	VALUE("randomize_va_space", "2"),
	VALUE("overflowuid", "65534"),
	VALUE("overflowgid", "65534"),
	{ .name = "core_pattern", .mode = S_IFREG | 0644, .show = core_pattern_show, .write = core_pattern_write },
	NUMBER("core_uses_pid", &core_uses_pid, 0, 1),
	VALUE("core_pipe_limit", "0"),
	VALUE("dmesg_restrict", "0"),
	VALUE("kptr_restrict", "2"),
	VALUE("perf_event_paranoid", "4"),
	VALUE("sem", "32000\t1024000000\t500\t32000"),
	VALUE("shmmax", "18446744073692774399"),
	VALUE("shmall", "18446744073692774399"),
	VALUE("shmmni", "4096"),
	VALUE("msgmax", "8192"),
	VALUE("msgmnb", "16384"),
	VALUE("msgmni", "32000"),
	VALUE("printk", "4\t4\t1\t7"),
	VALUE("sched_rt_runtime_us", "950000"),
	VALUE("sched_rt_period_us", "1000000"),
	VALUE("tainted", "0"),
	VALUE("unprivileged_bpf_disabled", "2"),
	DIRECTORY("random", random_entries),
	{ NULL },
};
static const struct pseudo_entry inotify_entries[] = {
	VALUE("max_user_instances", "1024"),
	VALUE("max_user_watches", "65536"),
	VALUE("max_queued_events", "16384"),
	{ NULL },
};
static const struct pseudo_entry epoll_entries[] = { VALUE("max_user_watches", "1000000"), { NULL } };
static const struct pseudo_entry mqueue_entries[] = {
	NUMBER("queues_max", &mqueue_limits.queues_max, 0, INT32_MAX),
	NUMBER("msg_max", &mqueue_limits.msg_max, 1, MQUEUE_MESSAGES_HARD_MAX),
	NUMBER("msg_default", &mqueue_limits.msg_default, 1, MQUEUE_MESSAGES_HARD_MAX),
	NUMBER("msgsize_max", &mqueue_limits.msgsize_max, 128, MQUEUE_BYTES_HARD_MAX),
	NUMBER("msgsize_default", &mqueue_limits.msgsize_default, 128, MQUEUE_BYTES_HARD_MAX),
	{ NULL },
};
static const struct pseudo_entry fs_entries[] = {
	VALUE("file-max", "9223372036854775807"),
	VALUE("nr_open", "1048576"),
	VALUE("pipe-max-size", "1048576"),
	VALUE("pipe-user-pages-hard", "0"),
	VALUE("pipe-user-pages-soft", "16384"),
	NUMBER("lease-break-time", &lease_break_time, 0, INT32_MAX),
	VALUE("leases-enable", "1"),
	VALUE("dir-notify-enable", "1"),
	NUMBER("aio-max-nr", &aio_max_nr, 0, UINT32_MAX),
	{ .name = "aio-nr", .mode = S_IFREG | 0444, .show = aio_nr_show },
	VALUE("protected_symlinks", "1"),
	VALUE("protected_hardlinks", "1"),
	VALUE("protected_fifos", "1"),
	VALUE("protected_regular", "2"),
	VALUE("suid_dumpable", "0"),
	VALUE("mount-max", "100000"),
	{ .name = "file-nr", .mode = S_IFREG | 0444, .show = file_nr_show },
	{ .name = "inode-nr", .mode = S_IFREG | 0444, .show = inode_nr_show },
	DIRECTORY("inotify", inotify_entries),
	DIRECTORY("epoll", epoll_entries),
	DIRECTORY("mqueue", mqueue_entries),
	{ NULL },
};
static const struct pseudo_entry vm_entries[] = {
	TUNABLE("overcommit_memory", "1"),
	TUNABLE("overcommit_ratio", "50"),
	TUNABLE("swappiness", "60"),
	TUNABLE("max_map_count", "65530"),
	TUNABLE("dirty_ratio", "20"),
	TUNABLE("dirty_background_ratio", "10"),
	VALUE("mmap_min_addr", "65536"),
	VALUE("legacy_va_layout", "0"),
	TUNABLE("nr_hugepages", "0"),
	TUNABLE("min_free_kbytes", "4096"),
	{ .name = "drop_caches", .mode = S_IFREG | 0200, .write = drop_caches_write },
	{ NULL },
};
static const struct pseudo_entry core_entries[] = {
	TUNABLE("somaxconn", "4096"),   TUNABLE("rmem_default", "212992"),
	TUNABLE("rmem_max", "212992"),  TUNABLE("wmem_default", "212992"),
	TUNABLE("wmem_max", "212992"),  TUNABLE("netdev_max_backlog", "1000"),
	TUNABLE("optmem_max", "20480"), { NULL },
};
static const struct pseudo_entry ipv4_entries[] = {
	TUNABLE("ip_local_port_range", "32768\t60999"),
	TUNABLE("ip_unprivileged_port_start", "1024"),
	TUNABLE("ping_group_range", "0\t2147483647"),
	TUNABLE("tcp_syncookies", "1"),
	TUNABLE("tcp_fin_timeout", "60"),
	TUNABLE("tcp_rmem", "4096\t131072\t6291456"),
	TUNABLE("tcp_wmem", "4096\t16384\t4194304"),
	TUNABLE("tcp_max_syn_backlog", "512"),
	TUNABLE("tcp_tw_reuse", "2"),
	TUNABLE("tcp_keepalive_time", "7200"),
	TUNABLE("tcp_keepalive_intvl", "75"),
	TUNABLE("tcp_keepalive_probes", "9"),
	TUNABLE("ip_forward", "0"),
	VALUE("tcp_available_congestion_control", "reno"),
	TUNABLE("tcp_congestion_control", "reno"),
	TUNABLE("tcp_fastopen", "0"),
	{ NULL },
};
static const struct pseudo_entry ipv6_all_entries[] = { TUNABLE("disable_ipv6", "0"),
							TUNABLE("forwarding", "0"),
							{ NULL } };
static const struct pseudo_entry ipv6_conf_entries[] = {
	DIRECTORY("all", ipv6_all_entries),
	DIRECTORY("default", ipv6_all_entries),
	DIRECTORY("lo", ipv6_all_entries),
	{ NULL },
};
static const struct pseudo_entry ipv6_entries[] = { DIRECTORY("conf", ipv6_conf_entries),
						    TUNABLE("bindv6only", "0"),
						    { NULL } };
static const struct pseudo_entry unix_entries[] = { TUNABLE("max_dgram_qlen", "512"), { NULL } };
static const struct pseudo_entry net_entries[] = {
	DIRECTORY("core", core_entries),
	DIRECTORY("ipv4", ipv4_entries),
	DIRECTORY("ipv6", ipv6_entries),
	DIRECTORY("unix", unix_entries),
	{ NULL },
};
// How many namespaces of a kind there may be in the current task's user namespace.
static uint32_t *limit_of(struct pseudo *n)
{
	return &cred_namespace(current->cred)->limits[*(const enum namespace_kind *)n->entry->data];
}

static int limit_show(struct seq *s, struct pseudo *n)
{
	seq_printf(s, "%u\n", __atomic_load_n(limit_of(n), __ATOMIC_RELAXED));
	return 0;
}

static ssize_t limit_write(struct pseudo *n, struct file *f, const char *data, size_t size)
{
	uint64_t value;

	(void)f;
	if (!cred_capable_own(current->cred, 21 /* CAP_SYS_ADMIN */))
		return -EPERM;
	if (!number_of(data, &value) || value > INT32_MAX)
		return -EINVAL;
	__atomic_store_n(limit_of(n), (uint32_t)value, __ATOMIC_RELAXED);
	return (ssize_t)size;
}

#define LIMIT(text, kind)                                                                       \
	{                                                                                       \
		.name = text, .mode = S_IFREG | 0644, .show = limit_show, .write = limit_write, \
		.data = &(const enum namespace_kind)                                            \
		{                                                                               \
			kind                                                                    \
		}                                                                               \
	}
static const struct pseudo_entry user_entries[] = {
	LIMIT("max_user_namespaces", NAMESPACE_USER),     LIMIT("max_uts_namespaces", NAMESPACE_UTS),
	LIMIT("max_ipc_namespaces", NAMESPACE_IPC),       LIMIT("max_pid_namespaces", NAMESPACE_PID),
	LIMIT("max_net_namespaces", NAMESPACE_NET),       LIMIT("max_mnt_namespaces", NAMESPACE_MNT),
	LIMIT("max_cgroup_namespaces", NAMESPACE_CGROUP), { NULL },
};

const struct pseudo_entry proc_sys_entries[] = {
	DIRECTORY("kernel", kernel_entries), DIRECTORY("fs", fs_entries),     DIRECTORY("vm", vm_entries),
	DIRECTORY("net", net_entries),       DIRECTORY("user", user_entries), { NULL },
};
