// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>

void hosted_time_init(void);
void hosted_wake_all(uint32_t *word);
uint64_t hosted_process_time_ns(int32_t tgid); // 0: gone
