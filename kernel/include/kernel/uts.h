// SPDX-License-Identifier: Apache-2.0
// What uname(2) says, for it and for /proc/sys/kernel. Owner: kernel/proc/uts.c.
#pragma once

#include "kernel/types.h"

#define UTS_NAME_BYTES 65
#define UTS_RELEASE    "6.1.0-cloister" // the Linux whose calls this kernel speaks
#define UTS_VERSION    "#1 SMP Cloister " CLOISTER_VERSION

// Of the current task's UTS namespace.
void uts_hostname(char out[UTS_NAME_BYTES]);
void uts_domainname(char out[UTS_NAME_BYTES]);
int uts_set(bool host, const char *name, size_t length); // host or domain name. 0, -EPERM
