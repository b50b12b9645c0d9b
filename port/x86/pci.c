// SPDX-License-Identifier: Apache-2.0
// PCI on q35 without firmware: the host bridge's PCIEXBAR is programmed through the legacy ports, everything else through
// memory-mapped configuration space (ECAM). Buses are numbered depth first; BARs of memory type are sized and placed in
// the hole below 4 GiB, those of functions behind a bridge inside the bridge's window. I/O BARs are left alone.
//
// Single-threaded at boot; afterwards configuration space is each driver's own. irq_lock guards vector allocation.
// Source: PCI Local Bus 3.0 ch. 6, PCI-to-PCI Bridge 1.2 ch. 3, Intel 3 series chipset datasheet (PCIEXBAR).
#include "pci.h"

#include "apic.h"
#include "cpu.h"
#include "io.h"
#include "lib/compiler.h"
#include "lock.h"

#include <asm/errno.h>
#include <linux/pci_regs.h>

#define CONFIG_ADDRESS 0xcf8u
#define CONFIG_DATA    0xcfcu
#define Q35_PCIEXBAR   0x60u

#define DEVICES_MAX       64u
#define BARS              6u
#define BUSES_MAX         32u
#define CLASS_HOST_BRIDGE 0x0600u
#define CLASS_ISA_BRIDGE  0x0601u
#define WINDOW_ALIGN      UINT64_C(0x100000) // bridge windows have 1 MiB grain

struct bar {
	uint64_t address, size;
};

struct port_pci_device {
	volatile uint8_t *config; // 4 KiB
	uint8_t bus, slot, function;
	uint16_t msix; // capability, 0 = none
	struct bar bars[BARS];
	volatile uint32_t *msix_table;
};

static struct port_pci_device devices[DEVICES_MAX];
static unsigned device_count;
static unsigned next_bus = 1;
static uint64_t next_address = BAR_START;
static struct x86_lock irq_lock;

// ---- configuration space ----

static volatile uint8_t *function_config(unsigned bus, unsigned slot, unsigned function)
{
	return phys_to_virt(ECAM_BASE + (bus << 20 | slot << 15 | function << 12));
}

static uint8_t read8(volatile uint8_t *c, unsigned o) { return mmio_read8(c + o); }
static uint16_t read16(volatile uint8_t *c, unsigned o) { return mmio_read16(c + o); }
static uint32_t read32(volatile uint8_t *c, unsigned o) { return mmio_read32(c + o); }
static void write16(volatile uint8_t *c, unsigned o, uint16_t v) { mmio_write16(c + o, v); }
static void write32(volatile uint8_t *c, unsigned o, uint32_t v) { mmio_write32(c + o, v); }

struct port_pci_device *port_pci_get(unsigned index) { return index < device_count ? &devices[index] : NULL; }

uint32_t port_pci_read(struct port_pci_device *d, unsigned offset, unsigned size)
{
	switch (size) {
	case 1: return read8(d->config, offset);
	case 2: return read16(d->config, offset);
	default: return read32(d->config, offset);
	}
}

void port_pci_write(struct port_pci_device *d, unsigned offset, unsigned size, uint32_t value)
{
	switch (size) {
	case 1: mmio_write8(d->config + offset, (uint8_t)value); break;
	case 2: write16(d->config, offset, (uint16_t)value); break;
	default: write32(d->config, offset, value); break;
	}
}

// ---- finding and placing ----

static uint64_t place(uint64_t size)
{
	uint64_t at = (next_address + size - 1) & ~(size - 1);
	if (size > BAR_END - BAR_START || at + size > BAR_END)
		return 0;
	next_address = at + size;
	return at;
}

// Sizes BAR `i` by writing ones; the words it takes.
static unsigned place_bar(struct port_pci_device *d, unsigned i)
{
	unsigned o = PCI_BASE_ADDRESS_0 + 4 * i;
	uint32_t low = read32(d->config, o);
	if (low & PCI_BASE_ADDRESS_SPACE_IO)
		return 1;
	bool wide = (low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
	write32(d->config, o, UINT32_MAX);
	uint64_t mask = read32(d->config, o) & ~UINT32_C(15);
	if (wide && i + 1 < BARS) {
		write32(d->config, o + 4, UINT32_MAX);
		mask |= (uint64_t)read32(d->config, o + 4) << 32;
	} else if (mask) {
		mask |= UINT64_C(0xffffffff) << 32;
	}
	uint64_t size = mask ? ~mask + 1 : 0;
	uint64_t at = size ? place(size) : 0;
	write32(d->config, o, (uint32_t)at);
	if (wide && i + 1 < BARS)
		write32(d->config, o + 4, (uint32_t)(at >> 32));
	if (at)
		d->bars[i] = (struct bar){ .address = at, .size = size };
	return wide ? 2 : 1;
}

static uint16_t find_capability(struct port_pci_device *d, uint8_t id)
{
	if (!(read16(d->config, PCI_STATUS) & PCI_STATUS_CAP_LIST))
		return 0;
	uint8_t at = read8(d->config, PCI_CAPABILITY_LIST) & ~3u;
	for (unsigned n = 0; at && n < 48; n++) { // a list that loops ends here
		uint16_t head = read16(d->config, at);
		if ((head & 0xff) == id)
			return at;
		at = (uint8_t)(head >> 8) & ~3u;
	}
	return 0;
}

static void scan_bus(unsigned bus);

// A bridge: numbers the bus behind it and opens a window around what is placed there.
static void configure_bridge(volatile uint8_t *c, unsigned bus)
{
	if (next_bus >= BUSES_MAX)
		return;
	unsigned secondary = next_bus++;
	write32(c, PCI_PRIMARY_BUS, bus | secondary << 8 | 0xff << 16);
	next_address = align_up(next_address, WINDOW_ALIGN);
	uint64_t start = next_address;
	scan_bus(secondary);
	next_address = align_up(next_address, WINDOW_ALIGN);
	write32(c, PCI_PRIMARY_BUS, bus | secondary << 8 | (next_bus - 1) << 16);
	// An empty window has its limit below its base.
	uint64_t last = next_address > start ? next_address - 1 : start - WINDOW_ALIGN;
	write32(c, PCI_MEMORY_BASE, (uint32_t)(start >> 16 & 0xfff0) | (uint32_t)(last & 0xfff00000));
	write32(c, PCI_PREF_MEMORY_BASE, 0x0000fff0); // none
	write16(c, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void add_function(volatile uint8_t *c, unsigned bus, unsigned slot, unsigned function)
{
	uint8_t type = read8(c, PCI_HEADER_TYPE) & 0x7f;
	if (type == PCI_HEADER_TYPE_BRIDGE) {
		configure_bridge(c, bus);
		return;
	}
	if (type != PCI_HEADER_TYPE_NORMAL || device_count == DEVICES_MAX)
		return;
	struct port_pci_device *d = &devices[device_count++];
	*d = (struct port_pci_device){
		.config = c, .bus = (uint8_t)bus, .slot = (uint8_t)slot, .function = (uint8_t)function
	};
	uint16_t class = read16(c, PCI_CLASS_DEVICE);
	if (class == CLASS_HOST_BRIDGE || class == CLASS_ISA_BRIDGE)
		return; // their registers are not BARs of ours
	for (unsigned i = 0; i < BARS;)
		i += place_bar(d, i);
	d->msix = find_capability(d, PCI_CAP_ID_MSIX);
}

static void scan_bus(unsigned bus)
{
	for (unsigned slot = 0; slot < 32; slot++) {
		for (unsigned function = 0; function < 8; function++) {
			volatile uint8_t *c = function_config(bus, slot, function);
			if (read16(c, PCI_VENDOR_ID) == 0xffff) {
				if (!function)
					break;
				continue;
			}
			add_function(c, bus, slot, function);
			if (!function && !(read8(c, PCI_HEADER_TYPE) & 0x80))
				break; // not multifunction
		}
	}
}

static void config_write_legacy(unsigned offset, uint32_t value)
{
	out32(CONFIG_ADDRESS, 0x80000000u | offset); // bus 0, device 0, function 0
	out32(CONFIG_DATA, value);
}

void x86_pci_init(void)
{
	out32(CONFIG_ADDRESS, 0x80000000u);
	if (in32(CONFIG_DATA) == UINT32_MAX)
		return; // no PCI here
	config_write_legacy(Q35_PCIEXBAR + 4, 0);
	config_write_legacy(Q35_PCIEXBAR, (uint32_t)ECAM_BASE | 1); // 256 buses, enabled
	scan_bus(0);
}

// ---- what drivers ask for ----

void *port_pci_map_bar(struct port_pci_device *d, unsigned bar, uint64_t offset, uint64_t size)
{
	if (bar >= BARS || !d->bars[bar].address || offset > d->bars[bar].size || size > d->bars[bar].size - offset)
		return NULL;
	return phys_to_virt(d->bars[bar].address + offset);
}

void port_pci_enable(struct port_pci_device *d)
{
	write16(d->config, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
}

unsigned port_pci_msix_count(struct port_pci_device *d)
{
	return d->msix ? (read16(d->config, d->msix + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE) + 1u : 0;
}

static int open_msix(struct port_pci_device *d)
{
	if (d->msix_table)
		return 0;
	unsigned count = port_pci_msix_count(d);
	if (!count)
		return -ENODEV;
	uint32_t where = read32(d->config, d->msix + PCI_MSIX_TABLE);
	volatile uint32_t *table = port_pci_map_bar(d, where & PCI_MSIX_TABLE_BIR, where & PCI_MSIX_TABLE_OFFSET,
						    (uint64_t)count * PCI_MSIX_ENTRY_SIZE);
	if (!table)
		return -ENODEV;
	// Every entry is masked after reset.
	write16(d->config, d->msix + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE);
	d->msix_table = table;
	return 0;
}

// A vector that is free on both CPUs, with the handler on both.
static bool allocate_vector(struct cpu *a, struct cpu *b, unsigned *vector, const struct irq_slot *slot)
{
	for (unsigned v = 0; v < array_count(a->irqs); v++) {
		if (a->irqs[v].handler || b->irqs[v].handler)
			continue;
		a->irqs[v].context = b->irqs[v].context = slot->context;
		// Last: an interrupt on the other CPU must find both.
		__atomic_store_n(&a->irqs[v].handler, slot->handler, __ATOMIC_RELEASE);
		__atomic_store_n(&b->irqs[v].handler, slot->handler, __ATOMIC_RELEASE);
		*vector = VECTOR_DEVICE_FIRST + v;
		return true;
	}
	return false;
}

static void aim(volatile uint32_t *entry, const struct cpu *cpu)
{
	mmio_write32(entry + PCI_MSIX_ENTRY_LOWER_ADDR / 4, (uint32_t)APIC_BASE | (cpu->apic_id & 0xff) << 12);
}

int port_pci_msix_attach(struct port_pci_device *d, unsigned entry, unsigned cpu_index, port_irq_handler *handler,
			 void *context)
{
	int error = open_msix(d);
	if (error)
		return error;
	if (entry >= port_pci_msix_count(d) || cpu_index >= x86_cpu_count)
		return -ENODEV;
	volatile uint32_t *e = d->msix_table + entry * (PCI_MSIX_ENTRY_SIZE / 4);
	const struct irq_slot slot = { .handler = handler, .context = context };
	unsigned vector;
	x86_lock(&irq_lock);
	// Until a CPU is up the boot CPU takes its interrupts.
	struct cpu *wanted = x86_cpus[cpu_index], *now = wanted->online ? wanted : x86_cpus[0];
	bool found = allocate_vector(wanted, now, &vector, &slot);
	if (found) {
		aim(e, now);
		mmio_write32(e + PCI_MSIX_ENTRY_UPPER_ADDR / 4, 0);
		mmio_write32(e + PCI_MSIX_ENTRY_DATA / 4, vector);
		mmio_write32(e + PCI_MSIX_ENTRY_VECTOR_CTRL / 4, 0);
		if (now != wanted)
			wanted->irqs[vector - VECTOR_DEVICE_FIRST].moves_here = e;
	}
	x86_unlock(&irq_lock);
	return found ? 0 : -ENOSPC;
}

void x86_pci_take_interrupts(struct cpu *cpu)
{
	x86_lock(&irq_lock);
	for (unsigned v = 0; v < array_count(cpu->irqs); v++) {
		volatile uint32_t *e = cpu->irqs[v].moves_here;
		if (!e)
			continue;
		// An entry may change only while it is masked; what the device has to say meanwhile is kept pending.
		mmio_write32(e + PCI_MSIX_ENTRY_VECTOR_CTRL / 4, PCI_MSIX_ENTRY_CTRL_MASKBIT);
		aim(e, cpu);
		mmio_write32(e + PCI_MSIX_ENTRY_VECTOR_CTRL / 4, 0);
		cpu->irqs[v].moves_here = NULL;
	}
	x86_unlock(&irq_lock);
}
