// SPDX-License-Identifier: Apache-2.0
// What inet.c (addresses, the loopback), ping.c (ICMP) and outside.c (the way out) know of each other.
#pragma once

#include "socket.h"

// An address in IPv6 form, in which all are compared.
struct endpoint {
	uint8_t ip[16];
	uint16_t port; // host order
	bool any;
	bool v4; // mapped IPv4, or the IPv4 wildcard
};

int inet_endpoint_of(const struct net_address *a, struct endpoint *e); // 0, -EINVAL, -EAFNOSUPPORT
void inet_address_of(int domain, const struct endpoint *e, struct net_address *out);
int inet_bind_endpoint(struct socket *s, struct endpoint *e); // port 0: picks one. -EINVAL, -EADDRINUSE
int inet_autobind(struct socket *s);
bool inet_is_loopback(const struct endpoint *e); // or the wildcard
void inet_set_loopback(struct endpoint *e);      // what the wildcard of its kind means to who sends
// Of the families, for ping.c
int inet_get_name(struct socket *s, bool peer, struct net_address *out);
void inet_unbind(struct socket *s);
int inet_set_option(struct socket *s, int level, int option, struct uptr value, int size);
int inet_get_option(struct socket *s, int level, int option, struct uptr value, struct uptr size);
int32_t inet_kept_option(const struct socket *s, int level, int option); // one that is kept and given back

void ping_create(struct socket *s); // of a datagram socket without protocol makes one of ICMP or ICMPv6: ping.c

// outside.c: hooks of the families (socket.h), and
int outside_connect(struct socket *s, const struct net_address *a, bool nonblock);
int outside_listen(struct socket *s);
ssize_t outside_send(struct socket *s, struct message *m);
int outside_bound(struct socket *s); // UDP: opens a published port
// The real address of a socket that is connected to the outside. False: it is not.
bool outside_name(struct socket *s, bool peer, struct net_address *out);
