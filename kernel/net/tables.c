// SPDX-License-Identifier: Apache-2.0
// The tables of /proc/net, as ss, netstat and lsof read them. proc(5).
//
// A table is made by going over the sockets of a namespace, each looked at by itself: it is no picture of one moment, as on Linux. Addresses of the
// kernel, which Linux shows to nobody unprivileged either, are zeros.

#include "kernel/net_tables.h"

#include <linux/tcp.h>

#include "inet.h"
#include "kernel/pseudofs.h"
#include "lib/string.h"
#include "tables.h"

enum { UNIX_UNCONNECTED = 1, UNIX_CONNECTING, UNIX_CONNECTED }; // SS_* of Linux
#define UNIX_ACCEPTS 0x10000u                                   // __SO_ACCEPTCON

// ---- what one socket is ----

static bool is_internet(const struct socket *s) { return s->domain == AF_INET || s->domain == AF_INET6; }

// lock held
static unsigned state_of_stream(const struct socket *s, unsigned ready)
{
	bool sent_end = s->shut_write && !s->peer_gone; // a peer that is gone shuts both
	bool got_end = s->peer_gone || ready & EPOLLRDHUP ||
		       (s->peer && __atomic_load_n(&s->peer->shut_write, __ATOMIC_RELAXED));

	switch (s->state) {
	case SOCKET_LISTENING: return TCP_LISTEN;
	case SOCKET_CONNECTING: return TCP_SYN_SENT;
	case SOCKET_CONNECTED: break;
	default: return TCP_CLOSE;
	}
	if (s->peer_gone && !s->peer_name.size && !s->channel) // reset
		return TCP_CLOSE;
	if (got_end)
		return sent_end ? TCP_LAST_ACK : TCP_CLOSE_WAIT;
	return sent_end ? TCP_FIN_WAIT2 : TCP_ESTABLISHED;
}

struct socket_view socket_look(struct socket *s)
{
	struct net_channel *c = s->type == SOCK_STREAM ? socket_channel_get(s) : NULL;
	bool carries = c && __atomic_load_n(&c->answered, __ATOMIC_ACQUIRE) && s->state == SOCKET_CONNECTED;
	unsigned ready = carries ? c->ops->ready(c) : 0;
	struct socket_view v = { .socket = s, .receive_bytes = carries ? c->ops->queued(c) : 0 };

	spin_lock(&s->lock);
	v.state = s->type == SOCK_STREAM         ? state_of_stream(s, ready)
		  : s->state == SOCKET_CONNECTED ? TCP_ESTABLISHED
						 : TCP_CLOSE;
	v.has_file = s->file;
	v.inode = s->file ? s->file->inode->ino : 0;
	v.receive_bytes += s->receive_bytes;
	v.backlog_count = s->backlog_count;
	v.backlog_max = s->backlog_max;
	spin_unlock(&s->lock);
	if (c)
		net_channel_put(c);
	return v;
}

// ---- tcp, tcp6, udp, udp6 ----

bool socket_in_table(const struct socket_view *v, int domain, int type)
{
	const struct socket *s = v->socket;

	if (s->domain != domain || s->type != type)
		return false;
	return type == SOCK_STREAM ? v->state != TCP_CLOSE : s->named && s->protocol == IPPROTO_UDP;
}

// Words as the processor reads them from memory, as Linux prints them.
static void show_endpoint(struct seq *out, int domain, const struct net_address *a)
{
	const uint8_t *at = domain == AF_INET ? (const uint8_t *)&a->in.sin_addr : (const uint8_t *)&a->in6.sin6_addr;
	uint16_t port = domain == AF_INET ? a->in.sin_port : a->in6.sin6_port;
	unsigned i, words = domain == AF_INET ? 1 : 4;

	for (i = 0; i < words; i++) {
		uint32_t word;

		memcpy(&word, at + i * sizeof(word), sizeof(word));
		seq_printf(out, "%08X", word);
	}
	seq_printf(out, ":%04X", (unsigned)(uint16_t)(port << 8 | port >> 8));
}

static void show_name(struct seq *out, struct socket *s, bool peer)
{
	struct net_address a;

	if (s->family->get_name(s, peer, &a))
		a = (struct net_address){ 0 };
	show_endpoint(out, s->domain, &a);
}

static void show_internet(struct seq *out, const struct socket_view *v, unsigned number)
{
	struct socket *s = v->socket;
	bool stream = s->type == SOCK_STREAM, listens = v->state == TCP_LISTEN;

	seq_printf(out, stream ? "%4u: " : "%5u: ", number);
	show_name(out, s, false);
	seq_putc(out, ' ');
	show_name(out, s, true);
	seq_printf(out, " %02X %08X:%08X 00:00000000 00000000 %5u        0 %lu %d 0000000000000000", v->state, 0u,
		   (unsigned)(listens ? v->backlog_count : v->receive_bytes), uid_shown(current->cred, s->self.uid),
		   v->inode,
		   refcount_read(&s->refs) - 1); // but ours
	if (!stream)
		seq_puts(out, " 0\n");
	else if (listens)
		seq_puts(out, " 100 0 0 10 0\n");
	else
		seq_puts(out, " 20 4 30 10 -1\n");
}

static int show_internet_table(struct seq *out, const struct net_namespace *n, const char *head, int domain, int type)
{
	struct socket *s = NULL;
	unsigned number = 0;

	seq_puts(out, head);
	while ((s = socket_next(s))) {
		if (s->net != n || s->domain != domain)
			continue;
		struct socket_view v = socket_look(s);
		if (socket_in_table(&v, domain, type))
			show_internet(out, &v, number++);
	}
	return 0;
}

#define HEAD_REST   "st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
#define HEAD_NARROW "local_address rem_address   "
#define HEAD_WIDE   "local_address                         remote_address                        "

int net_tcp_show(struct seq *s, const struct net_namespace *n)
{
	return show_internet_table(s, n, "  sl  " HEAD_NARROW HEAD_REST "\n", AF_INET, SOCK_STREAM);
}

int net_tcp6_show(struct seq *s, const struct net_namespace *n)
{
	return show_internet_table(s, n, "  sl  " HEAD_WIDE HEAD_REST "\n", AF_INET6, SOCK_STREAM);
}

int net_udp_show(struct seq *s, const struct net_namespace *n)
{
	return show_internet_table(s, n, "   sl  " HEAD_NARROW HEAD_REST " ref pointer drops\n", AF_INET, SOCK_DGRAM);
}

int net_udp6_show(struct seq *s, const struct net_namespace *n)
{
	return show_internet_table(s, n, "  sl  " HEAD_WIDE HEAD_REST " ref pointer drops\n", AF_INET6, SOCK_DGRAM);
}

// ---- unix ----

// An abstract name begins with @, which also stands for each of its NUL bytes.
static void show_unix_name(struct seq *out, struct socket *s)
{
	struct net_address a;
	unsigned i, first = offsetof(struct sockaddr_un, sun_path);

	if (s->family->get_name(s, false, &a) || a.size <= first)
		return;
	unsigned end = min(a.size, (unsigned)sizeof(a.un));
	if (a.bytes[first] && !a.bytes[end - 1]) // a path's end
		end--;
	seq_putc(out, ' ');
	for (i = first; i < end; i++)
		seq_putc(out, a.bytes[i] ? a.bytes[i] : '@');
}

int net_unix_show(struct seq *out, const struct net_namespace *n)
{
	struct socket *s = NULL;

	seq_puts(out, "Num       RefCount Protocol Flags    Type St Inode Path\n");
	while ((s = socket_next(s))) {
		bool connected = s->state == SOCKET_CONNECTED, listens = s->state == SOCKET_LISTENING;

		if (s->net != n || s->domain != AF_UNIX || s->state == SOCKET_CLOSED)
			continue;
		struct socket_view v = socket_look(s);
		seq_printf(out, "0000000000000000: %08X 00000000 %08X %04X %02X %5lu",
			   (unsigned)(refcount_read(&s->refs) - 1), listens ? UNIX_ACCEPTS : 0u, (unsigned)s->type,
			   !connected   ? (unsigned)UNIX_UNCONNECTED
			   : v.has_file ? (unsigned)UNIX_CONNECTED
					: (unsigned)UNIX_CONNECTING,
			   v.inode);
		show_unix_name(out, s);
		seq_putc(out, '\n');
	}
	return 0;
}

// ---- sums ----

struct counts {
	unsigned all, unix_sockets, netlink;
	unsigned tcp[2], tcp_used[2], tcp_connected, udp[2]; // [1]: IPv6
};

static struct counts count(const struct net_namespace *n)
{
	struct counts c = { 0 };
	struct socket *s = NULL;

	while ((s = socket_next(s))) {
		bool v6 = s->domain == AF_INET6;

		if (s->net != n || s->state == SOCKET_CLOSED)
			continue;
		c.all++;
		c.unix_sockets += s->domain == AF_UNIX;
		c.netlink += s->domain == AF_NETLINK;
		if (!is_internet(s))
			continue;
		c.udp[v6] += s->protocol == IPPROTO_UDP;
		c.tcp[v6] += s->type == SOCK_STREAM;
		c.tcp_used[v6] += s->type == SOCK_STREAM && s->state != SOCKET_FREE;
		c.tcp_connected += s->type == SOCK_STREAM && s->state == SOCKET_CONNECTED;
	}
	return c;
}

int net_sockstat_show(struct seq *s, const struct net_namespace *n)
{
	struct counts c = count(n);

	seq_printf(s, "sockets: used %u\n", c.all);
	seq_printf(s, "TCP: inuse %u orphan 0 tw 0 alloc %u mem 0\n", c.tcp_used[0], c.tcp[0] + c.tcp[1]);
	seq_printf(s, "UDP: inuse %u mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n", c.udp[0]);
	return 0;
}

int net_sockstat6_show(struct seq *s, const struct net_namespace *n)
{
	struct counts c = count(n);

	seq_printf(s, "TCP6: inuse %u\nUDP6: inuse %u\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n",
		   c.tcp_used[1], c.udp[1]);
	return 0;
}

// What a connection is made by, and retried, does not exist here: of Linux's counters there are the connections and lo's packets.
int net_snmp_show(struct seq *s, const struct net_namespace *n)
{
	struct counts c = count(n);
	uint64_t packets, bytes;

	socket_loopback_count(n, &packets, &bytes);
	seq_puts(
		s,
		"Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards "
		"InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs "
		"FragFails FragCreates\n");
	seq_printf(s, "Ip: 2 64 %lu 0 0 0 0 0 %lu %lu 0 0 0 0 0 0 0 0 0\n", packets, packets, packets);
	seq_puts(s,
		 "Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab "
		 "InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors\n");
	seq_printf(s, "Tcp: 1 200 120000 -1 0 0 0 0 %u 0 0 0 0 0 0\n", c.tcp_connected);
	return 0;
}

static void show_protocol(struct seq *s, const char *name, unsigned sockets)
{
	seq_printf(s, "%-9s %4u %6u  %6d   %-3s %6u   %-3s  %-10s\n", name, (unsigned)sizeof(struct socket), sockets,
		   -1, "NI", 0u, "yes", "kernel");
}

int net_protocols_show(struct seq *s, const struct net_namespace *n)
{
	struct counts c = count(n);

	seq_puts(s, "protocol  size sockets  memory press maxhdr  slab module\n");
	show_protocol(s, "UDPv6", c.udp[1]);
	show_protocol(s, "TCPv6", c.tcp[1]);
	show_protocol(s, "UNIX", c.unix_sockets);
	show_protocol(s, "UDP", c.udp[0]);
	show_protocol(s, "TCP", c.tcp[0]);
	show_protocol(s, "NETLINK", c.netlink);
	return 0;
}

int net_dev_show(struct seq *s, const struct net_namespace *n)
{
	uint64_t packets, bytes;

	socket_loopback_count(n, &packets, &bytes);
	seq_puts(s, "Inter-|   Receive                                                |  Transmit\n"
		    " face |bytes    packets errs drop fifo frame compressed multicast|"
		    "bytes    packets errs drop fifo colls carrier compressed\n");
	seq_printf(s, "    lo: %7lu %7lu    0    0    0     0          0         0 ", bytes, packets);
	seq_printf(s, "%8lu %7lu    0    0    0     0       0          0\n", bytes, packets);
	return 0;
}

int net_if_inet6_show(struct seq *s, const struct net_namespace *n)
{
	if (lo_is_up(n))
		seq_puts(s, "00000000000000000000000000000001 01 80 10 80       lo\n");
	return 0;
}
