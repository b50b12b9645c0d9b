// SPDX-License-Identifier: Apache-2.0
#include "net/resolve.h"

#include "base/process.h"
#include "lib/endpoint.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define GETENT_PATH "/usr/bin/getent"
#define PATIENCE_MS 60000

static bool parse_address(const char *text, uint8_t ip[16])
{
	memcpy(ip, endpoint_v4_prefix, sizeof(endpoint_v4_prefix));
	return inet_pton(AF_INET, text, ip + 12) == 1 || inet_pton(AF_INET6, text, ip) == 1;
}

// "ADDRESS  STREAM NAME"; an address has other lines for other types of sockets.
static void parse_answer(char *text, uint8_t (*out)[16], unsigned max, unsigned *count)
{
	char *rest, address[64], type[16];

	for (char *line = strtok_r(text, "\n", &rest); line && *count < max; line = strtok_r(NULL, "\n", &rest))
		if (sscanf(line, "%63s %15s", address, type) == 2 && !strcmp(type, "STREAM") &&
		    parse_address(address, out[*count]))
			++*count;
}

bool resolve_name(const char *name, uint8_t (*out)[16], unsigned max, unsigned *count, struct err *e)
{
	const char *const argv[] = { GETENT_PATH, "ahosts", "--", name, NULL };
	const struct process_spec spec = { .argv = argv };
	struct process getent = { .what = "getent", .stderr_fd = -1 };
	bool in_time;

	*count = 0;
	if (access(GETENT_PATH, X_OK))
		return err_set(e, EXIT_HOST_MISSING, "%s, which looks up '%s', is missing: install libc-bin",
			       GETENT_PATH, name);
	if (!process_start(&getent, &spec, e))
		return false;
	process_wait(&getent, PATIENCE_MS);
	in_time = !getent.pid;
	buffer_append(&getent.said, "", 1);
	if (in_time)
		parse_answer(getent.said.data, out, max, count);
	process_kill(&getent);
	if (*count)
		return true;
	return err_set(e, EXIT_GRANT, in_time ? "this host knows no address of '%s'" : "looking up '%s' took too long",
		       name);
}
