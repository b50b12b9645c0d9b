// SPDX-License-Identifier: Apache-2.0
// What the device process gives up before it looks at anything the cell says.
#pragma once

#include "base/err.h"

// Root becomes nobody, capabilities go, nothing new can be gained, and system calls are limited to what moving bytes between a
// machine and internet sockets takes: no files, no programs, no other kind of socket. Dies with its parent.
bool vsock_confine(struct err *e);
