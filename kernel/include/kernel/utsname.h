// SPDX-License-Identifier: Apache-2.0
// Host and domain name of the cell. Owner: kernel/proc/uname.c.
#pragma once

#include "kernel/types.h"

void utsname_hostname_get(char out[65]);
void utsname_hostname_set(const char *name); // cut to 64 bytes
