// SPDX-License-Identifier: Apache-2.0
// The x86 kernel's virtual memory. Each base is randomised at boot unless BOOT_OPTION_NO_ASLR.
//
//     user          [0x10000, 0x7ffffffff000)
//     direct map    all of physical memory, RAM as huge pages, the PCI hole uncached     x86_direct_base
//     stacks        kernel stacks of tasks, a guard before each                          x86_stacks_base
//     image         the kernel: text RX, read-only data R, data RW                       the top 2 GiB
//
// The kernel half has few top-level entries and they never change after boot: an address space copies them once.
#pragma once

#include "port/port.h"

#define PAGE_BYTES   UINT64_C(4096)
#define REGION_BYTES (UINT64_C(1) << 21)
#define GIB          (UINT64_C(1) << 30)

#define LINK_BASE        UINT64_C(0xffffffff80000000) // KERNEL_LINK in kernel.ld
#define DIRECT_BASE      UINT64_C(0xffff800000000000)
#define DIRECT_SLOTS_GIB 32768u // the direct map begins at one of these GiB
#define STACKS_BASE      UINT64_C(0xffffc00000000000)
#define STACKS_SLOTS     32u // top-level entries to choose from
#define STACKS_BYTES     (UINT64_C(1) << 39)
#define IMAGE_SLIDE_STEP UINT64_C(0x10000)
#define IMAGE_SLIDE_MAX  UINT64_C(0x7f000000)

#define PHYSICAL_MAX_GIB 516u // 512 GiB of RAM and the hole below 4 GiB
#define USER_END         UINT64_C(0x7ffffffff000)

// Where devices are: from the end of low RAM at the latest. Memory-mapped configuration space, then BARs, then APICs.
#define ECAM_BASE  UINT64_C(0xb0000000)
#define ECAM_BYTES UINT64_C(0x10000000)
#define BAR_START  UINT64_C(0xc0000000)
#define BAR_END    UINT64_C(0xfe000000)
#define APIC_BASE  UINT64_C(0xfee00000)

// Page-table entries: SDM vol. 3, 4.5.
#define PTE_P     (UINT64_C(1) << 0)
#define PTE_W     (UINT64_C(1) << 1)
#define PTE_U     (UINT64_C(1) << 2)
#define PTE_PWT   (UINT64_C(1) << 3)
#define PTE_PCD   (UINT64_C(1) << 4)
#define PTE_A     (UINT64_C(1) << 5)
#define PTE_D     (UINT64_C(1) << 6)
#define PTE_HUGE  (UINT64_C(1) << 7)
#define PTE_G     (UINT64_C(1) << 8)
#define PTE_NX    (UINT64_C(1) << 63)
#define PTE_FRAME UINT64_C(0x000ffffffffff000)

extern uint64_t x86_direct_base, x86_stacks_base;
extern uint64_t x86_image_slide;  // run address - link address
extern uint64_t *x86_kernel_pml4; // direct-mapped

static inline void *phys_to_virt(paddr_t p) { return (void *)(x86_direct_base + p); }
static inline paddr_t virt_to_phys(const void *v) { return (uint64_t)v - x86_direct_base; }
