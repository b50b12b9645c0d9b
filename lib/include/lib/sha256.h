// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4), for the boot record's measurement.
#pragma once

#include "lib/compiler.h"

void sha256(const void *data, size_t size, uint8_t digest[32]);
