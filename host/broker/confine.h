// SPDX-License-Identifier: Apache-2.0
// What a broker gives up before it listens to a cell.
#pragma once

#include "base/err.h"

#include <stdbool.h>

// Capabilities but those on files, the way to new ones, core dumps. For a process with one thread; threads inherit it.
bool confine_rights(struct err *e);
// System calls but those of serving, for all threads.
bool confine_calls(struct err *e);
