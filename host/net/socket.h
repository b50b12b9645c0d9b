// SPDX-License-Identifier: Apache-2.0
// Making the real sockets of a cell, and what they are called. Whether it may have them is asked before (rules.h).
#pragma once

#include "abi/outside.h"

#include <stdbool.h>

// The socket's own address, or its peer's. False with errno.
bool net_socket_name(int fd, struct outside_endpoint *out, bool peer);
// A non-blocking TCP socket on its way to `to`; *connected: already there. -1 with errno: ENOBUFS also for want of descriptors.
int net_stream_connect(const struct outside_endpoint *to, bool *connected);
// What every TCP connection of a cell is set to.
void net_stream_settle(int fd);
// The next connection of a listening socket, non-blocking and settled. -1 with errno.
int net_stream_accept(int listener, struct outside_endpoint *peer);
// A non-blocking UDP socket with a port of its own; v6: for peers of both kinds. -1 with errno.
int net_datagram_create(bool v6);
// connect(2) of such a socket; `to` without a port dissolves. False with errno.
bool net_datagram_target(int fd, bool v6, const struct outside_endpoint *to);
// Its connect(2) is over. 0, or what became of it as a positive errno. From then on the host takes the socket for connected whatever
// happens: whoever is given it cannot connect it anew, not by sendmsg(2) with MSG_FASTOPEN either.
int net_stream_finish(int fd, const struct outside_endpoint *to, struct outside_endpoint *local,
		      struct outside_endpoint *peer);
