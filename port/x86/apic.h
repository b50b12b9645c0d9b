// SPDX-License-Identifier: Apache-2.0
// The local APIC: timer, interprocessor interrupts, end of interrupt.
#pragma once

#include "cpu.h"

void x86_apic_init_boot(void);           // once: finds it, masks the legacy controllers
void x86_apic_init_cpu(struct cpu *cpu); // on each CPU
void x86_apic_eoi(void);
void x86_apic_send(uint32_t apic_id, unsigned vector);
void x86_apic_send_nmi_others(void);
// INIT and start-up to every other CPU, to begin at real-mode page `page`.
void x86_apic_start_others(unsigned page);
uint32_t x86_apic_id(void);
void x86_apic_timer_mode(bool tsc_deadline); // of this CPU: counting, or by MSR
// The timer counts down once from `count` at its input clock (divided by 1); 0 stops it.
void x86_apic_timer_start(uint32_t count);
uint32_t x86_apic_timer_left(void);

// ---- time.c ----
void x86_time_init_start(void);  // boot: notes the clocks
void x86_time_init_finish(void); // boot: compares and settles
void x86_timer_interrupt(struct cpu *cpu);
