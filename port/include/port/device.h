// SPDX-License-Identifier: Apache-2.0
// The port contract's second part: what drivers need. Only ports with devices implement it (x86); the portable
// kernel never includes it. Source: PCI Local Bus 3.0, PCI Express ECAM, MSI-X.
#pragma once

#include "port/port.h"

struct port_pci_device; // one function; lives for ever

// The `index`th PCI function found at boot, NULL past the end.
struct port_pci_device *port_pci_get(unsigned index);
uint32_t port_pci_read(struct port_pci_device *d, unsigned offset, unsigned size);
void port_pci_write(struct port_pci_device *d, unsigned offset, unsigned size, uint32_t value);
// Maps `size` bytes at `offset` of memory BAR `bar`, uncached; NULL when the BAR is absent or too small.
void *port_pci_map_bar(struct port_pci_device *d, unsigned bar, uint64_t offset, uint64_t size);
void port_pci_enable(struct port_pci_device *d); // memory space + bus master, INTx off

typedef void port_irq_handler(void *context); // interrupt context
// Routes MSI-X table entry `entry` of `d` to `handler` on `cpu`. -ENOSPC, -ENODEV.
int port_pci_msix_attach(struct port_pci_device *d, unsigned entry, unsigned cpu, port_irq_handler *handler,
			 void *context);
unsigned port_pci_msix_count(struct port_pci_device *d);

// The shared window as a device sees it. Offsets handed to devices are physical addresses inside it.
void port_dma_window(paddr_t *start, paddr_t *end);

static inline uint8_t mmio_read8(const volatile void *a) { return *(const volatile uint8_t *)a; }
static inline uint16_t mmio_read16(const volatile void *a) { return *(const volatile uint16_t *)a; }
static inline uint32_t mmio_read32(const volatile void *a) { return *(const volatile uint32_t *)a; }
static inline void mmio_write8(volatile void *a, uint8_t v) { *(volatile uint8_t *)a = v; }
static inline void mmio_write16(volatile void *a, uint16_t v) { *(volatile uint16_t *)a = v; }
static inline void mmio_write32(volatile void *a, uint32_t v) { *(volatile uint32_t *)a = v; }
static inline void mmio_write64(volatile void *a, uint64_t v) { *(volatile uint64_t *)a = v; }
