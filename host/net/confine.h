// SPDX-License-Identifier: Apache-2.0
// What a process that serves a cell's network grants gives up before it looks at anything the cell says.
#pragma once

#include "base/err.h"

// Root becomes nobody, capabilities go, nothing new can be gained, and system calls are limited to what moving bytes between a
// cell and internet sockets takes: no files, no programs, no other kind of socket. Dies with its parent.
bool net_confine(struct err *e);
