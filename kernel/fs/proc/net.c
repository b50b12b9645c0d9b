// SPDX-License-Identifier: Apache-2.0
// /proc/net: tables of sockets and interfaces.
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

#define TCP_HEAD "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

const struct pseudo_entry proc_net_entries[] = {
	CONSTANT(
		"dev",
		"Inter-|   Receive                                                |  Transmit\n"
		" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"
		"    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n"),
	CONSTANT("if_inet6", "00000000000000000000000000000001 01 80 10 80       lo\n"),
	CONSTANT("route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"),
	CONSTANT("arp", "IP address       HW type     Flags       HW address            Mask     Device\n"),
	CONSTANT("tcp", TCP_HEAD),
	CONSTANT("tcp6", TCP_HEAD),
	CONSTANT("udp", TCP_HEAD),
	CONSTANT("udp6", TCP_HEAD),
	CONSTANT("raw", TCP_HEAD),
	CONSTANT("unix", "Num       RefCount Protocol Flags    Type St Inode Path\n"),
	CONSTANT("netlink",
		 "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"),
	CONSTANT("packet", "sk       RefCnt Type Proto  Iface R Rmem   User   Inode\n"),
	CONSTANT("protocols", ""),
	CONSTANT("sockstat", "sockets: used 0\n"),
	{ NULL },
};
