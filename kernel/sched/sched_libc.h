// SPDX-License-Identifier: Apache-2.0
// Force-included into unit tests of kernel/sched, before anything else: libc's headers, with those names out of the way that
// the kernel's user-space headers define too.
#pragma once

#define sigset_t libc_sigset_t
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#undef sigset_t
#define _LINUX_TIME_H // <linux/time.h>: libc has defined its structures
#include <linux/time_types.h>
