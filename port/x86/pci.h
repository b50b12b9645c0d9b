// SPDX-License-Identifier: Apache-2.0
// PCI: found and configured at boot by nobody but us.
#pragma once

#include "port/device.h"

void x86_pci_init(void);
