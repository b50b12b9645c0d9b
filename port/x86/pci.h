// SPDX-License-Identifier: Apache-2.0
// PCI: found and configured at boot by nobody but us.
#pragma once

#include "port/device.h"

struct cpu;

void x86_pci_init(void);
void x86_pci_take_interrupts(struct cpu *cpu); // `cpu` itself, once it is up: those attached for it before
