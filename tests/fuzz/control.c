// SPDX-License-Identifier: Apache-2.0
// Fuzzes the launcher's end of the control channel: the kernel in the cell is not trusted.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli/control.h"

static size_t sum;

static void hello(void *context, uint32_t version) { (void)context, sum += version; }
static void ended(void *context, int32_t status) { (void)context, sum += status; }
static void text(void *context, enum control_type type, const char *bytes, size_t size)
{
	(void)context;
	sum += type;
	for (size_t i = 0; i < size; i++)
		sum += bytes[i];
}
static void failed(void *context, int32_t error, const char *bytes, size_t size)
{
	text(context, CONTROL_START_FAILED, bytes, size);
	sum += error;
}
static void want(void *context, uint32_t bytes) { (void)context, sum += bytes; }
static void closed(void *context, uint32_t stream, uint64_t total) { (void)context, sum += stream + total; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct control_handlers handlers = { hello, ended, text, failed, want, closed };
	struct control control = { .fd = -1, .handlers = &handlers };

	// In two pieces, as a stream may arrive.
	size_t first = size ? data[0] % (size + 1) : 0;
	buffer_append(&control.in, data, first);
	if (control_dispatch(&control)) {
		buffer_append(&control.in, data + first, size - first);
		control_dispatch(&control);
	}
	if (control.in.size > size)
		abort();
	buffer_fini(&control.in);
	buffer_fini(&control.out);
	return 0;
}
