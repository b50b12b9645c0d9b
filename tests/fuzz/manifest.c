// SPDX-License-Identifier: Apache-2.0
// Fuzzes the manifest: whatever the TOML, an error that says something or a cell.
#include <netdb.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "manifest/manifest.h"

// Names in network grants are not looked up here.
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
	(void)name, (void)service, (void)hints, (void)out;
	return EAI_NONAME;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cell cell;
	struct err error = { 0 };

	cell_init(&cell);
	if (!manifest_parse(&cell, (const char *)data, size, "manifest.toml", "/nonexistent", &error) &&
	    error.exit_status == 0)
		abort();
	cell_fini(&cell);
	return 0;
}
