// SPDX-License-Identifier: Apache-2.0
// The host's terminal while a cell has it: raw, and always given back as it was.
#pragma once

#include <stdbool.h>

#define TERMINAL_EOF 4 // ^D: what a cell's terminal takes for the end of what is typed

// Are standard input, output and error all the same terminal?
bool terminal_is_all_streams(void);
void terminal_size(unsigned short *rows, unsigned short *columns); // 0, 0 when unknown
bool terminal_raw(void);
void terminal_restore(void); // async-signal-safe, idempotent
