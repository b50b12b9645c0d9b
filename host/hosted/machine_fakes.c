// SPDX-License-Identifier: Apache-2.0
// Stands in for the broker and the network's process in machine_test.c: they grant nothing, and end when the cell does. The real ones
// cannot run under sanitizers.
#include "broker/broker.h"

#include "base/process.h"
#include "net/server.h"

#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

bool broker_root_open(struct broker_root *root, const char *source, bool private_mounts, struct err *e)
{
	(void)root, (void)source, (void)private_mounts, (void)e;
	return true;
}

bool broker_roots_cover(struct broker_root *roots, unsigned count, struct err *e)
{
	(void)roots, (void)count, (void)e;
	return true;
}

void broker_enclose(struct broker_spec *spec) { (void)spec; }

_Noreturn void broker_main(const struct broker_spec *spec)
{
	char byte;

	process_keep_only(spec->channels, spec->channel_count);
	for (unsigned i = 0; i < spec->channel_count; i++)
		while (recv(spec->channels[i], &byte, 1, 0) > 0)
			;
	_exit(0);
}

int network_main(const struct network_spec *spec)
{
	char byte;

	while (recv(spec->link, &byte, 1, 0) > 0)
		;
	return 0;
}
