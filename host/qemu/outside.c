// SPDX-License-Identifier: Apache-2.0
#include "qemu/outside.h"

#include "base/cleanup.h"
#include "net/endpoint.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

// Bound and not listening: nobody is answered until a program in the cell listens.
static int bind_published(const struct outside_rule *r, struct err *e)
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

static int bind_all(const struct net_rules *rules, int *fds, unsigned *count, struct err *e)
{
	for (unsigned i = 0; i < rules->count; i++) {
		if (rules->list[i].kind != OUTSIDE_RULE_PUBLISH)
			continue;
		fds[*count] = bind_published(&rules->list[i], e);
		if (fds[*count] < 0)
			return -1;
		++*count;
	}
	return 0;
}

static int rules_file(const struct net_rules *rules, struct err *e)
{
	cleanup_close int fd = memfd_create("cloister-network-rules", MFD_CLOEXEC);
	size_t size = rules->count * sizeof(rules->list[0]);

	if (fd < 0 || write(fd, rules->list, size) != (ssize_t)size) {
		err_set_text(e, EXIT_USAGE, "cannot hold the network grants: %s", strerror(errno));
		return -1;
	}
	return take_fd(fd);
}

static bool start(struct outside *o, const char *program, int *keep, unsigned count, struct err *e)
{
	struct strings command = { 0 };
	struct process_spec spec = { .namespaces = CLONE_NEWPID | CLONE_NEWIPC, .keep_fds = keep, .keep_count = count };
	bool ok;

	strings_add(&command, program);
	for (unsigned i = 0; i < count; i++)
		strings_addf(&command, "%d", keep[i]);
	spec.argv = (const char *const *)command.items;
	snprintf(o->process.what, sizeof(o->process.what), "cloister-vsock");
	ok = process_start(&o->process, &spec, e);
	strings_fini(&command);
	return ok;
}

bool outside_start(struct outside *o, const char *program, const struct net_rules *rules, struct err *e)
{
	int keep[2 + OUTSIDE_RULES_MAX], pair[2];
	cleanup_close int file = rules_file(rules, e), theirs = -1;
	unsigned published = 0;
	bool ok = false;

	if (file < 0)
		return false;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return err_set(e, EXIT_USAGE, "cannot make a socket pair: %s", strerror(errno));
	o->socket = pair[0];
	theirs = pair[1];
	keep[0] = theirs;
	keep[1] = file;
	if (!bind_all(rules, keep + 2, &published, e))
		ok = start(o, program, keep, 2 + published, e);
	for (unsigned i = 0; i < published; i++)
		close(keep[2 + i]);
	return ok;
}
