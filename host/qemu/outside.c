// SPDX-License-Identifier: Apache-2.0
#include "qemu/outside.h"

#include "base/cleanup.h"
#include "net/published.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

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
	if (net_published_bind(rules, keep + 2, &published, e))
		ok = start(o, program, keep, 2 + published, e);
	for (unsigned i = 0; i < published; i++)
		close(keep[2 + i]);
	return ok;
}
