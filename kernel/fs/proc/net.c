// SPDX-License-Identifier: Apache-2.0
// /proc/net: tables of sockets and interfaces.
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

#define TABLE(text, function)                                          \
	{                                                              \
		.name = text, .mode = S_IFREG | 0444, .show = function \
	}

const struct pseudo_entry proc_net_entries[] = {
	TABLE("dev", net_dev_show),
	CONSTANT("if_inet6", "00000000000000000000000000000001 01 80 10 80       lo\n"),
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
