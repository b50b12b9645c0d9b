// SPDX-License-Identifier: Apache-2.0
// QEMU's fw_cfg device by DMA: how the ROM, and the kernel after a PVH start, read what the launcher hands over.
// Source: QEMU docs/specs/fw_cfg. Addresses are physical and must be identity-mapped: start-up code only.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define FW_CFG_RAM_SIZE 0x03u
#define FW_CFG_NB_CPUS  0x05u
#define FW_CFG_MAX_CPUS 0x0fu

struct fw_cfg_file {
	uint32_t size_bytes;
	uint16_t selector;
};

bool fw_cfg_present(void);
// Reads from the start of an entry (select) or goes on where the last read ended. False on a device error.
bool fw_cfg_read(uint16_t selector, bool select, void *to, uint32_t size);
bool fw_cfg_skip(uint16_t selector, bool select, uint32_t size);
bool fw_cfg_find(const char *name, struct fw_cfg_file *out);
