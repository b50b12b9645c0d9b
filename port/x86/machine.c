// SPDX-License-Identifier: Apache-2.0
// See machine.h. Runs identity-mapped, in ROM or in the kernel image before it is relocated: no tables of pointers.
#include "machine.h"

#include "abi/boot.h"
#include "fwcfg.h"

#define GIB      (UINT64_C(1) << 30)
#define E820_RAM 1u

struct e820_entry {
	uint64_t address, size;
	uint32_t type;
} __attribute__((packed));

static bool read_e820(struct handoff *h)
{
	struct fw_cfg_file f;
	if (!fw_cfg_find("etc/e820", &f))
		return false;
	for (uint32_t i = 0; i < f.size_bytes / sizeof(struct e820_entry); i++) {
		struct e820_entry e;
		if (!fw_cfg_read(f.selector, i == 0, &e, sizeof(e)))
			return false;
		if (e.type != E820_RAM)
			continue;
		if (e.address == 0)
			h->low_ram_end = e.size;
		else if (e.address == 4 * GIB)
			h->high_ram_end = e.address + e.size;
	}
	return h->low_ram_end != 0;
}

// Without the table: the rule of QEMU's q35 (2 GiB below the hole when RAM would reach 2.75 GiB).
static bool guess_ram(struct handoff *h)
{
	uint64_t ram = 0;
	if (!fw_cfg_read(FW_CFG_RAM_SIZE, true, &ram, sizeof(ram)) || !ram)
		return false;
	h->low_ram_end = ram;
	if (ram >= UINT64_C(0xb0000000)) {
		h->low_ram_end = 2 * GIB;
		h->high_ram_end = 4 * GIB + ram - 2 * GIB;
	}
	return true;
}

static const char *load_record(struct handoff *h)
{
	struct fw_cfg_file f;
	if (!fw_cfg_find(HANDOFF_FILE_RECORD, &f))
		return "fw_cfg has no " HANDOFF_FILE_RECORD;
	if (f.size_bytes > BOOT_RECORD_MAX_BYTES)
		return "the boot record is too large";
	if (HANDOFF_RECORD + f.size_bytes > h->low_ram_end)
		return "memory too small for the boot record";
	if (!fw_cfg_read(f.selector, true, (void *)HANDOFF_RECORD, f.size_bytes))
		return "fw_cfg: the boot record cannot be read";
	h->record_start = HANDOFF_RECORD;
	h->record_size_bytes = f.size_bytes;
	return 0;
}

const char *machine_describe(struct handoff *h)
{
	uint16_t count = 1, limit = 0;
	if (!fw_cfg_read(FW_CFG_NB_CPUS, true, &count, sizeof(count)) ||
	    !fw_cfg_read(FW_CFG_MAX_CPUS, true, &limit, sizeof(limit)))
		return "fw_cfg: the CPU count cannot be read";
	h->magic = HANDOFF_MAGIC;
	h->version = HANDOFF_VERSION;
	h->size_bytes = sizeof(*h);
	h->cpu_count = count ? count : 1;
	h->apic_id_limit = limit > count ? limit : h->cpu_count;
	if (!h->low_ram_end && !read_e820(h) && !guess_ram(h))
		return "fw_cfg: the memory size cannot be read";
	return h->record_size_bytes ? 0 : load_record(h);
}
