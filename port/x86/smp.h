// SPDX-License-Identifier: Apache-2.0
// The other CPUs.
#pragma once

#include "cpu.h"

void x86_smp_init(void); // boot: memory and tables of every CPU; starts none
// Lets the other CPUs run; when the first program is about to run. Returns at once.
void x86_smp_start(void);
extern bool x86_smp_started;
extern uint32_t x86_apic_ids_contiguous; // a CPU's APIC identifier is its index
