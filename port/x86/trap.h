// SPDX-License-Identifier: Apache-2.0
// Traps as entry.S delivers them.
#pragma once

#include "port/port.h"

void x86_user_trap(struct user_regs *regs, unsigned vector, uint64_t error);
void x86_kernel_trap(struct user_regs *regs, unsigned vector, uint64_t error);
_Noreturn void x86_fatal_trap(struct user_regs *regs, unsigned vector, uint64_t error);
int x86_check_user_frame(struct user_regs *regs);
_Noreturn void x86_enter_user(struct user_regs *regs);
