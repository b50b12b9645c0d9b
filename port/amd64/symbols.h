// SPDX-License-Identifier: Apache-2.0
// The kernel's table of its own functions, for panics: made by symbols.py from the first link of the image.
#pragma once

#include "lib/compiler.h"

// The function that contains the byte `at` of the image, by the table that lies from `start` to `end` (8-byte aligned), and, unless NULL,
// the offset in it. NULL: unknown.
const char *amd64_symbol_find(const char *start, const char *end, uint32_t at, size_t *offset);
