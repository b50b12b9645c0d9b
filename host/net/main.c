// SPDX-License-Identifier: Apache-2.0
// The process that serves a hosted cell's network grants. It ends when the cell does: what the cell has written is in the host's
// sockets, or in the link, which is read to its end.
#include "net/confine.h"
#include "net/server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

int network_main(const struct network_spec *spec)
{
	static struct server server;
	struct err error = { 0 };
	bool failed;

	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NAME, "cloister-net");
	if (!net_confine(&error)) {
		fprintf(stderr, "%s\n", error.text);
		return error.exit_status;
	}
	if (!server_init(&server, spec->link, spec->rules, spec->sockets)) {
		fprintf(stderr, "cannot start: %s\n", strerror(errno));
		return EXIT_RESOURCES;
	}
	while (server_step(&server, -1))
		;
	failed = server.failure != NULL;
	if (failed)
		fprintf(stderr, "%s\n", server.failure);
	server_fini(&server);
	return failed ? EXIT_CELL_CRASHED : 0;
}
