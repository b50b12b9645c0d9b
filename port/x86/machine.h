// SPDX-License-Identifier: Apache-2.0
// What the loader asks fw_cfg about the machine: RAM and CPUs. Shared by the ROM and the PVH entry.
#pragma once

#include "abi/handoff.h"

#include <stdbool.h>

// Fills the RAM and CPU fields and loads the boot record to HANDOFF_RECORD. NULL, or what is wrong.
const char *machine_describe(struct handoff *h);
