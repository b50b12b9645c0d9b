// SPDX-License-Identifier: Apache-2.0
// The ROM: loads kernel and boot record by fw_cfg DMA and enters the kernel. No PCI, no timers, no interrupts, and it
// touches no memory but what it loads, so that starting a cell costs microseconds.
//
// Runs identity-mapped in 64-bit mode from the ROM itself: no writable data, no tables of pointers.
#include "abi/control.h"
#include "abi/handoff.h"
#include "fwcfg.h"
#include "io.h"
#include "machine.h"

#include <elf.h>

#define PROGRAM_HEADERS_MAX 16u

static _Noreturn void refuse(const char *why)
{
	for (const char *s = "cloister rom: "; *s; s++)
		out8(PORT_DEBUGCON, (uint8_t)*s);
	for (; *why; why++)
		out8(PORT_DEBUGCON, (uint8_t)*why);
	out8(PORT_DEBUGCON, '\n');
	out32(PORT_DEBUG_EXIT, MACHINE_EXIT_BOOT);
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void clear(uint64_t start, uint64_t end)
{
	for (; start < end && start % 8; start++)
		*(volatile uint8_t *)start = 0;
	for (; start + 8 <= end; start += 8)
		*(volatile uint64_t *)start = 0;
	for (; start < end; start++)
		*(volatile uint8_t *)start = 0;
}

static bool header_valid(const Elf64_Ehdr *e)
{
	return e->e_ident[EI_MAG0] == ELFMAG0 && e->e_ident[EI_MAG1] == ELFMAG1 && e->e_ident[EI_MAG2] == ELFMAG2 &&
	       e->e_ident[EI_MAG3] == ELFMAG3 && e->e_ident[EI_CLASS] == ELFCLASS64 && e->e_machine == EM_X86_64 &&
	       e->e_phentsize == sizeof(Elf64_Phdr) && e->e_phnum <= PROGRAM_HEADERS_MAX;
}

static void load_segment(uint16_t file, const Elf64_Phdr *p)
{
	if (p->p_memsz < p->p_filesz || p->p_paddr < HANDOFF_KERNEL_START || p->p_memsz > HANDOFF_KERNEL_LIMIT ||
	    p->p_paddr > HANDOFF_KERNEL_LIMIT - p->p_memsz || p->p_offset > UINT32_MAX)
		refuse("a kernel segment lies outside of [1 MiB, 4 MiB)");
	if (!fw_cfg_skip(file, true, (uint32_t)p->p_offset) ||
	    !fw_cfg_read(file, false, (void *)p->p_paddr, (uint32_t)p->p_filesz))
		refuse("fw_cfg: the kernel cannot be read");
	clear(p->p_paddr + p->p_filesz, p->p_paddr + p->p_memsz);
}

static uint64_t load_kernel(void)
{
	struct fw_cfg_file f;
	if (!fw_cfg_find(HANDOFF_FILE_KERNEL, &f))
		refuse("fw_cfg has no " HANDOFF_FILE_KERNEL);
	Elf64_Ehdr *e = (Elf64_Ehdr *)HANDOFF_SCRATCH;
	if (!fw_cfg_read(f.selector, true, e, sizeof(*e)) || !header_valid(e) || e->e_phoff > UINT32_MAX)
		refuse("the kernel is no x86-64 ELF file");
	Elf64_Phdr *p = (Elf64_Phdr *)(e + 1);
	if (!fw_cfg_skip(f.selector, true, (uint32_t)e->e_phoff) ||
	    !fw_cfg_read(f.selector, false, p, e->e_phnum * (uint32_t)sizeof(*p)))
		refuse("fw_cfg: the kernel cannot be read");

	uint64_t entry = 0;
	for (unsigned i = 0; i < e->e_phnum; i++) {
		if (p[i].p_type != PT_LOAD)
			continue;
		load_segment(f.selector, &p[i]);
		if (e->e_entry - p[i].p_vaddr < p[i].p_filesz)
			entry = e->e_entry - p[i].p_vaddr + p[i].p_paddr;
	}
	if (!entry)
		refuse("the kernel has no entry point");
	return entry;
}

uint64_t rom_main(void);
uint64_t rom_main(void)
{
	if (!fw_cfg_present())
		refuse("no fw_cfg device with DMA");
	struct handoff *h = (struct handoff *)HANDOFF_ADDRESS;
	clear(HANDOFF_ADDRESS, HANDOFF_ADDRESS + sizeof(*h));
	const char *why = machine_describe(h);
	if (why)
		refuse(why);
	return load_kernel();
}
