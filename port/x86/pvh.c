// SPDX-License-Identifier: Apache-2.0
// The PVH start (`qemu -kernel cloister.img`): makes the handoff the ROM would have made. Memory from the start info's
// map when it has one, the boot record from the first module (`-initrd`) or from fw_cfg. Runs at physical addresses.
// Source: Xen's public/arch-x86/hvm/start_info.h.
#include "abi/boot.h"
#include "amd64/log.h"
#include "fwcfg.h"
#include "layout.h"
#include "log.h"
#include "machine.h"

#define START_INFO_MAGIC 0x336ec578u
#define MEMORY_RAM       1u

struct start_info {
	uint32_t magic, version, flags, module_count;
	uint64_t modules, command_line, rsdp;
	uint64_t memory_map; // version 1
	uint32_t memory_map_entries, reserved;
};

struct module {
	uint64_t address, size, command_line, reserved;
};

struct memory_map_entry {
	uint64_t address, size;
	uint32_t type, reserved;
};

static void read_memory_map(struct handoff *h, const struct start_info *s)
{
	const struct memory_map_entry *m = (const void *)s->memory_map;
	for (uint32_t i = 0; i < s->memory_map_entries; i++) {
		if (m[i].type != MEMORY_RAM)
			continue;
		uint64_t end = m[i].address + m[i].size;
		if (m[i].address <= HANDOFF_KERNEL_START && end > HANDOFF_KERNEL_LIMIT)
			h->low_ram_end = end;
		else if (m[i].address == 4 * GIB)
			h->high_ram_end = end;
	}
}

// Modules are put high; the record's place is as good as any, but the image's is not.
static void read_module(struct handoff *h, const struct start_info *s)
{
	const struct module *m = (const void *)s->modules;
	if (!s->module_count || !m->size || m->address < HANDOFF_KERNEL_LIMIT || m->size > BOOT_RECORD_MAX_BYTES)
		return;
	volatile uint64_t *to = (volatile uint64_t *)HANDOFF_RECORD;
	const uint64_t *from = (const uint64_t *)m->address;
	for (uint64_t i = 0; i < (m->size + 7) / 8; i++)
		to[i] = from[i];
	h->record_start = HANDOFF_RECORD;
	h->record_size_bytes = m->size;
}

const struct handoff *x86_pvh_handoff(const struct start_info *s);
const struct handoff *x86_pvh_handoff(const struct start_info *s)
{
	struct handoff *h = (struct handoff *)HANDOFF_ADDRESS;
	x86_log_early_init();
	if (s->magic != START_INFO_MAGIC)
		amd64_refuse("entered by something that does not speak PVH");
	*h = (struct handoff){ 0 };
	if (s->version >= 1)
		read_memory_map(h, s);
	read_module(h, s);
	if (!fw_cfg_present())
		amd64_refuse("no fw_cfg device with DMA");
	const char *why = machine_describe(h);
	if (why)
		amd64_refuse(why);
	return h;
}
