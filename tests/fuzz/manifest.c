// SPDX-License-Identifier: Apache-2.0
// Fuzzes the manifest: whatever the TOML, an error that says something or a cell.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "manifest/manifest.h"
#include "net/resolve.h"

// Names in network grants are not looked up here.
bool resolve_name(const char *name, uint8_t (*out)[16], unsigned max, unsigned *count, struct err *e)
{
	(void)out, (void)max, (void)count;
	return err_set(e, EXIT_GRANT, "no address of '%s'", name);
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
