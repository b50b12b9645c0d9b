// SPDX-License-Identifier: Apache-2.0
// Vector state: XSAVE standard format. Source: SDM vol. 1, chapter 13.
#pragma once

#include "task.h"

void x86_xstate_init_boot(void); // after x86_features_detect(): chooses XCR0
void x86_xstate_init_cpu(void);
void x86_xstate_save(struct port_task *p);    // registers -> p
void x86_xstate_restore(struct port_task *p); // p -> registers
