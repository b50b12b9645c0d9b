// SPDX-License-Identifier: Apache-2.0
#pragma once

void hosted_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void hosted_refuse(const char *why); // one line, and the end
