// SPDX-License-Identifier: Apache-2.0
#include "net/rules.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "lib/endpoint.h"
#include "net/resolve.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static bool add(struct net_rules *rules, const struct outside_rule *r, struct err *e)
{
	if (rules->count == OUTSIDE_RULES_MAX)
		return err_set(e, EXIT_USAGE, "more than %u network grants", OUTSIDE_RULES_MAX);
	rules->list[rules->count++] = *r;
	return true;
}

// Digits up to `end`, at most max.
static bool number(const char *text, const char *end, unsigned max, unsigned *out)
{
	unsigned value = 0;

	if (text == end)
		return false;
	for (; text < end; text++) {
		if (!isdigit((unsigned char)*text))
			return false;
		value = value * 10 + (unsigned)(*text - '0');
		if (value > max)
			return false;
	}
	*out = value;
	return true;
}

static bool port(const char *text, const char *end, uint16_t *out)
{
	unsigned value;

	if (!number(text, end, 65535, &value) || !value)
		return false;
	*out = (uint16_t)value;
	return true;
}

// "N", "N-M" or "*".
static bool ports(const char *text, struct outside_rule *r)
{
	const char *end = text + strlen(text), *dash = strchr(text, '-');

	if (!strcmp(text, "*")) {
		r->port_first = 1;
		r->port_last = 65535;
		return true;
	}
	if (!dash) {
		if (!port(text, end, &r->port_first))
			return false;
		r->port_last = r->port_first;
		return true;
	}
	return port(text, dash, &r->port_first) && port(dash + 1, end, &r->port_last) && r->port_first <= r->port_last;
}

// A numeric address into mapped form. *v4 tells which it was.
static bool address(const char *text, uint8_t ip[16], bool *v4)
{
	memcpy(ip, endpoint_v4_prefix, sizeof(endpoint_v4_prefix));
	*v4 = inet_pton(AF_INET, text, ip + 12) == 1;
	if (*v4)
		return true;
	if (inet_pton(AF_INET6, text, ip) != 1)
		return false;
	*v4 = false; // ::ffff:a.b.c.d in IPv6 notation: prefix lengths count from the front
	return true;
}

// Bits of host part must be zero: a grant that says one thing and means another helps nobody.
static bool prefix_is_clean(const struct outside_rule *r)
{
	for (unsigned bit = r->prefix_bits; bit < 128; bit++)
		if (r->address[bit / 8] >> (7 - bit % 8) & 1)
			return false;
	return true;
}

static bool add_names(struct net_rules *rules, const char *text, const char *name, struct outside_rule *r,
		      struct err *e)
{
	uint8_t found[OUTSIDE_RULES_MAX + 1][16]; // one too many is an error
	struct err why = { 0 };
	unsigned count;

	if (!resolve_name(name, found, OUTSIDE_RULES_MAX + 1, &count, &why))
		return err_set(e, why.exit_status, "network grant '%s': %s", text, why.text);
	r->prefix_bits = 128;
	for (unsigned i = 0; i < count; i++) {
		memcpy(r->address, found[i], sizeof(r->address));
		if (!add(rules, r, e))
			return false;
	}
	return true;
}

// Takes "ADDRESS", "ADDRESS/BITS", "[ADDRESS]", "[ADDRESS]/BITS" or "[ADDRESS/BITS]" apart. False: a bracket too few or too many.
static bool split_host(char *host, char **plain, char **bits)
{
	char *close = strchr(host, ']');

	*plain = host;
	*bits = strchr(host, '/');
	if (*host == '[') {
		if (!close || (close[1] && close[1] != '/'))
			return false;
		++*plain;
		*close = 0;
	} else if (close) {
		return false;
	}
	if (*bits)
		*(*bits)++ = 0;
	return true;
}

static bool add_host(struct net_rules *rules, const char *text, char *host, struct outside_rule *r, struct err *e)
{
	const bool bracket = *host == '[';
	char *plain, *bits_text;
	unsigned bits = 0;
	bool v4;

	if (!strcmp(host, "*"))
		return add(rules, r, e);
	if (!split_host(host, &plain, &bits_text))
		return err_set(e, EXIT_USAGE, "network grant '%s': brackets do not match", text);
	if (!address(plain, r->address, &v4)) {
		if (bits_text || bracket || !*plain)
			return err_set(e, EXIT_USAGE, "network grant '%s': '%s' is no address", text, plain);
		return add_names(rules, text, plain, r, e);
	}
	if (bits_text && !number(bits_text, bits_text + strlen(bits_text), v4 ? 32 : 128, &bits))
		return err_set(e, EXIT_USAGE, "network grant '%s': want a prefix length of 0 to %u", text,
			       v4 ? 32 : 128);
	r->prefix_bits = (uint8_t)(!bits_text ? 128 : v4 ? bits + 96 : bits);
	if (!prefix_is_clean(r))
		return err_set(e, EXIT_USAGE, "network grant '%s': the address has bits beyond its prefix length",
			       text);
	return add(rules, r, e);
}

bool net_rules_add_connect(struct net_rules *rules, const char *text, struct err *e)
{
	struct outside_rule r = { .kind = OUTSIDE_RULE_CONNECT };
	cleanup_free char *copy = text_copy(text);
	char *host = copy + 4, *colon;

	if (!strncmp(text, "tcp:", 4))
		r.protocol = OUTSIDE_TCP;
	else if (!strncmp(text, "udp:", 4))
		r.protocol = OUTSIDE_UDP;
	else
		return err_set(e, EXIT_USAGE, "network grant '%s': want tcp:HOST:PORT or udp:HOST:PORT", text);
	colon = strrchr(host, ':');
	if (!colon || colon == host || (*host != '[' && memchr(host, ':', (size_t)(colon - host))))
		return err_set(e, EXIT_USAGE, "network grant '%s': want %.3s:HOST:PORT (an IPv6 address in brackets)",
			       text, text);
	*colon = 0;
	if (!ports(colon + 1, &r))
		return err_set(e, EXIT_USAGE, "network grant '%s': '%s' is no port: want N, N-M or *", text, colon + 1);
	return add_host(rules, text, host, &r, e);
}

static bool is_published(const struct net_rules *rules, const struct outside_rule *r)
{
	for (unsigned i = 0; i < rules->count; i++) {
		const struct outside_rule *other = &rules->list[i];

		if (other->kind == OUTSIDE_RULE_PUBLISH && other->protocol == r->protocol &&
		    other->port_first == r->port_first && !memcmp(other->address, r->address, sizeof(r->address)))
			return true;
	}
	return false;
}

bool net_rules_add_publish(struct net_rules *rules, const char *text, struct err *e)
{
	struct outside_rule r = { .kind = OUTSIDE_RULE_PUBLISH, .protocol = OUTSIDE_TCP, .prefix_bits = 128 };
	cleanup_free char *copy = text_copy(text);
	char *slash = strrchr(copy, '/'), *cell, *host, *plain = copy;
	bool v4;

	if (slash && !strcmp(slash, "/udp"))
		r.protocol = OUTSIDE_UDP;
	else if (slash && strcmp(slash, "/tcp"))
		return err_set(e, EXIT_USAGE, "publish '%s': '%s' is neither tcp nor udp", text, slash + 1);
	if (slash)
		*slash = 0;
	cell = strrchr(copy, ':');
	if (!cell)
		return err_set(e, EXIT_USAGE, "publish '%s': want [IP:]HOSTPORT:CELLPORT[/tcp|udp]", text);
	*cell++ = 0;
	host = strrchr(copy, ':');
	if (host)
		*host++ = 0;
	else
		host = copy;
	if (!port(cell, cell + strlen(cell), &r.cell_port) || !port(host, host + strlen(host), &r.port_first))
		return err_set(e, EXIT_USAGE, "publish '%s': want ports from 1 to 65535", text);
	r.port_last = r.port_first;
	if (host == copy)
		plain = "0.0.0.0";
	if (*plain == '[' && plain[strlen(plain) - 1] == ']') {
		plain[strlen(plain) - 1] = 0;
		plain++;
	}
	if (!address(plain, r.address, &v4))
		return err_set(e, EXIT_USAGE, "publish '%s': '%s' is no address", text, plain);
	if (is_published(rules, &r))
		return err_set(e, EXIT_USAGE, "publish '%s': port %u is published twice", text, r.port_first);
	return add(rules, &r, e);
}

bool net_rules_admit(const struct net_rules *rules, enum outside_protocol protocol, const struct outside_endpoint *to)
{
	for (unsigned i = 0; i < rules->count; i++)
		if (outside_rule_admits(&rules->list[i], protocol, to))
			return true;
	return false;
}
