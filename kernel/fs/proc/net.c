// SPDX-License-Identifier: Apache-2.0
// /proc/PID/net: tables of sockets and interfaces.
#include "kernel/namespace.h"
#include "kernel/net_tables.h"
#include "proc.h"

static int text_show(struct seq *s, struct pseudo *n)
{
	seq_puts(s, n->entry->data);
	return 0;
}

#define CONSTANT(text, content)                                                          \
	{                                                                                \
		.name = text, .mode = S_IFREG | 0444, .show = text_show, .data = content \
	}

struct table {
	int (*show)(struct seq *s, const struct net_namespace *n);
};

// That of the namespace of the task below whose directory it stands.
static int table_show(struct seq *s, struct pseudo *n)
{
	const struct table *t = n->entry->data;
	struct namespace *space = task_namespace_get(proc_task(n), NAMESPACE_NET);

	if (!space) // the task has ended
		return -EINVAL;
	int error = t->show(s, net_namespace_of(space));
	namespace_put(space);
	return error;
}

#define TABLE(text, function)                                                                                        \
	{                                                                                                            \
		.name = text, .mode = S_IFREG | 0444, .show = table_show, .data = &(const struct table) { function } \
	}

const struct pseudo_entry proc_net_entries[] = {
	TABLE("dev", net_dev_show),
	TABLE("if_inet6", net_if_inet6_show),
	CONSTANT("route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"),
	CONSTANT("arp", "IP address       HW type     Flags       HW address            Mask     Device\n"),
	TABLE("tcp", net_tcp_show),
	TABLE("tcp6", net_tcp6_show),
	TABLE("udp", net_udp_show),
	TABLE("udp6", net_udp6_show),
	CONSTANT("raw",
		 "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"),
	TABLE("unix", net_unix_show),
	CONSTANT("netlink",
		 "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"),
	CONSTANT("packet", "sk       RefCnt Type Proto  Iface R Rmem   User   Inode\n"),
	TABLE("protocols", net_protocols_show),
	TABLE("snmp", net_snmp_show),
	TABLE("sockstat", net_sockstat_show),
	TABLE("sockstat6", net_sockstat6_show),
	{ NULL },
};
