// SPDX-License-Identifier: Apache-2.0
// From the loader's identity map to the kernel's own: chooses the random bases, builds the final page tables, relocates
// the image. Runs once, on the boot CPU, at physical addresses: everything it touches is reached relative to RIP, and no
// table of pointers may be used before elf_relocate().
//
// W^X holds from the first instruction at the final address on, for the image and for its alias in the direct map.
// Source: SDM vol. 3, 4.5 (4-level paging).
#include "early.h"

#include "abi/boot.h"
#include "abi/control.h"
#include "amd64/log.h"
#include "cpu.h"
#include "amd64/cpuid.h"
#include "io.h"
#include "layout.h"
#include "lib/string.h"
#include "log.h"
#include "reloc.h"

struct boot_facts x86_boot_facts;
uint64_t x86_direct_base, x86_stacks_base, x86_image_slide;
uint64_t *x86_kernel_pml4;

static bool direct_map_ready;
static uint64_t entropy;

extern char x86_image_start[], x86_text_end[], x86_rodata_start[], x86_relro_start[], x86_data_start[], x86_image_end[];
extern const Elf64_Rela x86_rela_start[], x86_rela_end[];

void *early_pages(size_t count)
{
	struct boot_facts *b = &x86_boot_facts;
	uint64_t size = count * PAGE_BYTES;
	if (b->next_free + size > b->handoff.low_ram_end)
		return NULL;
	uint64_t at = b->next_free;
	b->next_free += size;
	void *p = direct_map_ready ? phys_to_virt(at) : (void *)at;
	memset(p, 0, size);
	return p;
}

static void *must_pages(size_t count)
{
	void *p = early_pages(count);
	if (!p)
		amd64_refuse("memory too small");
	return p;
}

// ---- the little of the boot record that must be known this early ----

static void mix(uint64_t v)
{
	// splitmix64: enough to spread a seed over a few base addresses; the kernel's generator is another matter.
	entropy += v + UINT64_C(0x9e3779b97f4a7c15);
	entropy = (entropy ^ entropy >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	entropy = (entropy ^ entropy >> 27) * UINT64_C(0x94d049bb133111eb);
	entropy ^= entropy >> 31;
}

static void read_item(uint32_t type, const uint8_t *payload, uint32_t size)
{
	struct boot_facts *b = &x86_boot_facts;
	if (type == BOOT_ITEM_OPTIONS && size >= sizeof(struct boot_options)) {
		b->options = ((const struct boot_options *)payload)->flags;
	} else if (type == BOOT_ITEM_TIME && size >= sizeof(struct boot_time)) {
		b->tsc_hz = ((const struct boot_time *)payload)->tsc_hz;
	} else if (type == BOOT_ITEM_SEED) {
		for (uint32_t i = 0; i + 8 <= size; i += 8)
			mix(*(const uint64_t *)(payload + i));
	}
}

// Tolerant: a bad record is refused later, by the kernel, with a reason.
static void read_record(const uint8_t *record, uint64_t size)
{
	const struct boot_header *h = (const void *)record;
	if (size < sizeof(*h) || h->magic != BOOT_MAGIC || h->size_bytes > size)
		return;
	uint64_t at = sizeof(*h);
	for (uint32_t i = 0; i < h->item_count && at + sizeof(struct boot_item) <= h->size_bytes; i++) {
		const struct boot_item *item = (const void *)(record + at);
		at += sizeof(*item);
		if (item->size_bytes > h->size_bytes - at)
			return;
		read_item(item->type & ~BOOT_ITEM_OPTIONAL, record + at, item->size_bytes);
		at += (item->size_bytes + 7u) & ~7u;
	}
}

// ---- random bases ----

static uint64_t random_below(uint64_t limit)
{
	uint64_t r;
	unsigned char ok = 0;
	if (cpuid(1, 0).c & 1u << 30)
		__asm__ volatile("rdrand %0; setc %1" : "=r"(r), "=q"(ok));
	if (ok)
		mix(r);
	mix(rdtsc());
	return entropy % limit;
}

static void choose_bases(void)
{
	x86_direct_base = DIRECT_BASE;
	x86_stacks_base = STACKS_BASE;
	x86_image_slide = 0;
	if (x86_boot_facts.options & BOOT_OPTION_NO_ASLR)
		return;
	x86_direct_base += random_below(DIRECT_SLOTS_GIB) * GIB;
	x86_stacks_base += random_below(STACKS_SLOTS) * STACKS_BYTES;
	x86_image_slide = random_below(IMAGE_SLIDE_MAX / IMAGE_SLIDE_STEP) * IMAGE_SLIDE_STEP;
}

// ---- page tables (pointers are physical addresses here) ----

static uint64_t *next_table(uint64_t *table, unsigned index)
{
	if (!(table[index] & PTE_P))
		table[index] = (uint64_t)must_pages(1) | PTE_P | PTE_W;
	return (uint64_t *)(table[index] & PTE_FRAME);
}

// `size` is 4 KiB, 2 MiB or 1 GiB.
static void map(uint64_t va, uint64_t pa, uint64_t size, uint64_t flags)
{
	uint64_t *t = next_table(x86_kernel_pml4, va >> 39 & 511);
	if (size == GIB) {
		t[va >> 30 & 511] = pa | flags | PTE_HUGE;
		return;
	}
	t = next_table(t, va >> 30 & 511);
	if (size == REGION_BYTES) {
		t[va >> 21 & 511] = pa | flags | PTE_HUGE;
		return;
	}
	t = next_table(t, va >> 21 & 511);
	t[va >> 12 & 511] = pa | flags;
}

#define FLAGS_DATA (PTE_P | PTE_W | PTE_A | PTE_D | PTE_G | PTE_NX)

static uint64_t image_flags(uint64_t pa)
{
	if (pa < (uint64_t)x86_image_start || pa >= (uint64_t)x86_data_start)
		return FLAGS_DATA;
	if (pa < (uint64_t)x86_text_end)
		return PTE_P | PTE_A | PTE_G;
	return PTE_P | PTE_A | PTE_G | PTE_NX;
}

static void map_image(void)
{
	for (uint64_t pa = (uint64_t)x86_image_start; pa < (uint64_t)x86_image_end; pa += PAGE_BYTES)
		map(LINK_BASE + x86_image_slide + pa, pa, PAGE_BYTES, image_flags(pa));
}

static void map_direct_range(uint64_t start, uint64_t end, uint64_t flags, bool giant)
{
	while (start < end) {
		uint64_t size = giant && start % GIB == 0 && end - start >= GIB ? GIB : REGION_BYTES;
		map(x86_direct_base + start, start, size, flags);
		start += size;
	}
}

static void map_direct(void)
{
	struct handoff *h = &x86_boot_facts.handoff;
	bool giant = cpuid(0x80000001, 0).d & 1u << 26;

	// The image's alias must not be writable: this part has small pages.
	for (uint64_t pa = 0; pa < HANDOFF_KERNEL_LIMIT; pa += PAGE_BYTES) {
		uint64_t flags = image_flags(pa);
		map(x86_direct_base + pa, pa, PAGE_BYTES, flags | PTE_NX);
	}
	map_direct_range(HANDOFF_KERNEL_LIMIT, h->low_ram_end, FLAGS_DATA, giant);
	map_direct_range(ECAM_BASE, 4 * GIB, FLAGS_DATA | PTE_PCD | PTE_PWT, false);
	if (h->high_ram_end)
		map_direct_range(4 * GIB, h->high_ram_end, FLAGS_DATA, giant);
}

static void build_tables(void)
{
	x86_kernel_pml4 = must_pages(1);
	map_image();
	map_direct();
	next_table(x86_kernel_pml4, x86_stacks_base >> 39 & 511);
	// The jump happens under both maps; x86_main() removes the loader's. The other CPUs start on the loader's top-level
	// table, which therefore gets the kernel half.
	uint64_t *loader = (uint64_t *)HANDOFF_TABLES;
	x86_kernel_pml4[0] = loader[0];
	for (unsigned i = 256; i < 512; i++)
		loader[i] = x86_kernel_pml4[i];
}

// ---- entry ----

static struct early_jump jump;

static void check_machine(struct handoff *h)
{
	if (h->magic != HANDOFF_MAGIC || h->version != HANDOFF_VERSION || h->size_bytes != sizeof(*h))
		amd64_refuse("no handoff of this version");
	h->low_ram_end &= ~(REGION_BYTES - 1);
	h->high_ram_end &= ~(REGION_BYTES - 1);
	if (h->high_ram_end > PHYSICAL_MAX_GIB * GIB)
		h->high_ram_end = PHYSICAL_MAX_GIB * GIB;
	if (h->low_ram_end > ECAM_BASE)
		h->low_ram_end = ECAM_BASE;
	struct cpuid_regs f = cpuid(0x80000001, 0);
	if (!(f.d & 1u << 20))
		amd64_refuse("the CPU has no NX bit");
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE | EFER_SCE);
}

struct early_jump *x86_early_boot(const struct handoff *from);
struct early_jump *x86_early_boot(const struct handoff *from)
{
	struct boot_facts *b = &x86_boot_facts;
	x86_log_early_init();
	b->handoff = *from;
	check_machine(&b->handoff);
	uint64_t record_end = b->handoff.record_start + b->handoff.record_size_bytes;
	b->next_free = record_end > HANDOFF_KERNEL_LIMIT ? record_end : HANDOFF_KERNEL_LIMIT;
	b->next_free = (b->next_free + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	read_record((const uint8_t *)b->handoff.record_start, b->handoff.record_size_bytes);

	choose_bases();
	build_tables();
	if (!elf_relocate(x86_rela_start, (size_t)(x86_rela_end - x86_rela_start), LINK_BASE, 0,
			  LINK_BASE + (uint64_t)x86_image_start, LINK_BASE + (uint64_t)x86_image_end, x86_image_slide))
		amd64_refuse("the image has a relocation it cannot have");

	struct cpu *boot_cpu = must_pages(sizeof(struct cpu) / PAGE_BYTES);
	x86_cpus[0] = phys_to_virt((paddr_t)boot_cpu);
	jump.cr3 = (uint64_t)x86_kernel_pml4;
	jump.stack = (uint64_t)&x86_cpus[0]->boot_stack[CPU_BOOT_STACK_BYTES];
	jump.entry = LINK_BASE + x86_image_slide + (uint64_t)x86_main;
	x86_kernel_pml4 = phys_to_virt((paddr_t)x86_kernel_pml4);
	direct_map_ready = true;
	return &jump;
}
