// SPDX-License-Identifier: Apache-2.0
// Endpoints of the protocol (abi/outside.h) as socket addresses and back. IPv4 for mapped ones, so that one needs a socket of that
// kind; for_v6 keeps the mapped form, for IPv6 sockets.
#pragma once

#include "lib/endpoint.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

union net_sockaddr {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static inline socklen_t net_to_sockaddr(const struct outside_endpoint *e, bool for_v6, union net_sockaddr *out)
{
	memset(out, 0, sizeof(*out));
	if (endpoint_is_v4(e->ip) && !for_v6) {
		out->in.sin_family = AF_INET;
		out->in.sin_port = htons(e->port);
		memcpy(&out->in.sin_addr, e->ip + 12, 4);
		return sizeof(out->in);
	}
	out->in6.sin6_family = AF_INET6;
	out->in6.sin6_port = htons(e->port);
	memcpy(&out->in6.sin6_addr, e->ip, 16);
	return sizeof(out->in6);
}

static inline struct outside_endpoint net_from_sockaddr(const union net_sockaddr *a)
{
	struct outside_endpoint e = { 0 };

	if (a->any.sa_family == AF_INET) {
		memcpy(e.ip, endpoint_v4_prefix, sizeof(endpoint_v4_prefix));
		memcpy(e.ip + 12, &a->in.sin_addr, 4);
		e.port = ntohs(a->in.sin_port);
	} else if (a->any.sa_family == AF_INET6) {
		memcpy(e.ip, &a->in6.sin6_addr, 16);
		e.port = ntohs(a->in6.sin6_port);
	}
	return e;
}
