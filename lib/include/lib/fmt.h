// SPDX-License-Identifier: Apache-2.0
// Formatted text: the printf subset the kernel needs: d i u x X o c s p %, flags 0 - # + space, width, precision, *,
// lengths hh h l ll z t j.
#pragma once

#include <stdarg.h>

#include "lib/compiler.h"

// Like snprintf: always terminates when size > 0, returns the length it would have had.
int fmt_print(char *buffer, size_t size, const char *format, ...) printf_like(3, 4);
int fmt_vprint(char *buffer, size_t size, const char *format, va_list arguments) printf_like(3, 0);
