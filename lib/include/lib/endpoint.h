// SPDX-License-Identifier: Apache-2.0
// Internet endpoints and the rules over them (abi/outside.h), as kernel and host both decide them.
#pragma once

#include "abi/outside.h"
#include "lib/compiler.h"
#include "lib/string.h"

static const uint8_t endpoint_v4_prefix[12] = { [10] = 0xff, [11] = 0xff };

static inline bool endpoint_is_v4(const uint8_t ip[16]) { return !memcmp(ip, endpoint_v4_prefix, 12); }

static inline bool endpoint_equal(const struct outside_endpoint *a, const struct outside_endpoint *b)
{
	return a->port == b->port && !memcmp(a->ip, b->ip, sizeof(a->ip));
}

static inline bool endpoint_in_prefix(const uint8_t ip[16], const uint8_t prefix[16], unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	if (bits > 128 || memcmp(ip, prefix, whole))
		return false;
	return !rest || !((ip[whole] ^ prefix[whole]) >> (8 - rest));
}

static inline bool endpoint_is_loopback(const uint8_t ip[16])
{
	static const uint8_t one[16] = { [15] = 1 };

	return endpoint_is_v4(ip) ? ip[12] == 127 : !memcmp(ip, one, sizeof(one));
}

static inline bool endpoint_is_any(const uint8_t ip[16])
{
	static const uint8_t zero[16];

	return !memcmp(ip, zero, 16) || (endpoint_is_v4(ip) && !memcmp(ip + 12, zero, 4));
}

static inline bool outside_rule_is_sane(const struct outside_rule *r)
{
	return (r->kind == OUTSIDE_RULE_CONNECT || r->kind == OUTSIDE_RULE_PUBLISH) &&
	       (r->protocol == OUTSIDE_TCP || r->protocol == OUTSIDE_UDP) && r->prefix_bits <= 128 && r->port_first &&
	       r->port_first <= r->port_last && (r->kind != OUTSIDE_RULE_PUBLISH || r->cell_port);
}

// Does it grant all loopback addresses it covers by name? A rule for everything does not mean the host's own services.
static inline bool outside_rule_means_loopback(const struct outside_rule *r)
{
	return endpoint_is_loopback(r->address) && r->prefix_bits >= (endpoint_is_v4(r->address) ? 104 : 128);
}

// May the cell send to `to`?
static inline bool outside_rule_admits(const struct outside_rule *r, unsigned protocol,
				       const struct outside_endpoint *to)
{
	if (r->kind != OUTSIDE_RULE_CONNECT || r->protocol != protocol || endpoint_is_any(to->ip))
		return false;
	if (endpoint_is_loopback(to->ip) && !outside_rule_means_loopback(r))
		return false;
	return to->port >= r->port_first && to->port <= r->port_last &&
	       endpoint_in_prefix(to->ip, r->address, r->prefix_bits);
}
