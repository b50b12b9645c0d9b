// SPDX-License-Identifier: Apache-2.0
// <assert.h> of the freestanding build: a failed assertion is our own bug and stops the cell.
#pragma once

#define static_assert _Static_assert

_Noreturn void kernel_assert_failed(const char *expression, const char *file, int line);
#define assert(e) ((e) ? (void)0 : kernel_assert_failed(#e, __FILE__, __LINE__))
