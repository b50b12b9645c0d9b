// SPDX-License-Identifier: Apache-2.0
// Names of hosts. The launcher is linked statically, and the host's name service consists of modules that a static program does
// better not to load: getent(1), of the C library's package, is asked.
#pragma once

#include "base/err.h"

#include <stdint.h>

// All addresses of a name, IPv4 ones mapped (::ffff:a.b.c.d), in `out`, at most `max`; *count. May take seconds. EXIT_GRANT without
// one, EXIT_HOST_MISSING.
bool resolve_name(const char *name, uint8_t (*out)[16], unsigned max, unsigned *count, struct err *e);
