// SPDX-License-Identifier: Apache-2.0
#include "net/published.h"

#include "base/cleanup.h"
#include "net/endpoint.h"

#include <errno.h>
#include <unistd.h>

static int bind_one(const struct outside_rule *r, struct err *e)
{
	struct outside_endpoint to = { .port = r->port_first };
	bool tcp = r->protocol == OUTSIDE_TCP, v4 = endpoint_is_v4(r->address);
	cleanup_close int fd =
		socket(v4 ? AF_INET : AF_INET6, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	char text[INET6_ADDRSTRLEN] = "?";
	union net_sockaddr a;
	socklen_t size;
	int on = 1;

	memcpy(to.ip, r->address, sizeof(to.ip));
	size = net_to_sockaddr(&to, false, &a);
	if (fd >= 0 && tcp)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)); // connections of the last cell may linger
	if (fd >= 0 && !v4)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (fd >= 0 && !bind(fd, &a.any, size))
		return take_fd(fd);
	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? (void *)&a.in.sin_addr : (void *)&a.in6.sin6_addr, text, sizeof(text));
	err_set_text(e, EXIT_GRANT, "cannot publish %s port %u: %s", text, r->port_first, strerror(errno));
	return -1;
}

bool net_published_bind(const struct net_rules *rules, int fds[OUTSIDE_RULES_MAX], unsigned *count, struct err *e)
{
	*count = 0;
	for (unsigned i = 0; i < rules->count; i++) {
		if (rules->list[i].kind != OUTSIDE_RULE_PUBLISH)
			continue;
		fds[*count] = bind_one(&rules->list[i], e);
		if (fds[*count] >= 0) {
			++*count;
			continue;
		}
		while (*count)
			close(fds[--*count]);
		return false;
	}
	return true;
}

unsigned net_published_count(const struct net_rules *rules)
{
	unsigned n = 0;

	for (unsigned i = 0; i < rules->count; i++)
		n += rules->list[i].kind == OUTSIDE_RULE_PUBLISH;
	return n;
}
