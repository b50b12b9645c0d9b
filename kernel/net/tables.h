// SPDX-License-Identifier: Apache-2.0
// What tables.c and sock_diag.c know of a socket. Each looks at one by itself.
#pragma once

#include "socket.h"

enum { // include/net/tcp_states.h of Linux
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_FIN_WAIT2 = 5,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
};

struct socket_view {
	struct socket *socket;
	unsigned state; // TCP_*
	uint64_t inode; // 0: nobody has accepted it yet
	size_t receive_bytes;
	unsigned backlog_count, backlog_max;
	bool has_file;
};
struct socket_view socket_look(struct socket *s);
// Is it listed among the internet sockets of that domain and type?
bool socket_in_table(const struct socket_view *v, int domain, int type);
