// SPDX-License-Identifier: Apache-2.0
// Network grants: their text forms, and whether one admits a destination. Used by the launcher, which reads them, and by whatever
// process makes the real sockets, which checks them.
#pragma once

#include "abi/outside.h"
#include "base/err.h"

struct net_rules {
	unsigned count;
	struct outside_rule list[OUTSIDE_RULES_MAX];
};

// "tcp|udp:HOST:PORTS": HOST is an address, an IPv6 address in brackets, either with /BITS, a name (looked up now, all its
// addresses), or * (everything but loopback); PORTS is N, N-M or *. EXIT_USAGE; EXIT_GRANT when a name is not found.
bool net_rules_add_connect(struct net_rules *rules, const char *text, struct err *e);
// "[IP:]HOSTPORT:CELLPORT[/tcp|udp]"; without an address all of the host's IPv4 ones.
bool net_rules_add_publish(struct net_rules *rules, const char *text, struct err *e);
// May the cell send to `to`?
bool net_rules_admit(const struct net_rules *rules, enum outside_protocol protocol, const struct outside_endpoint *to);
