// SPDX-License-Identifier: Apache-2.0
// Virtio over PCI, modern interface (VIRTIO 1.2, 4.1): finds the device's structures by vendor capabilities, gives each queue an
// MSI-X vector, and rings doorbells. Everything read from configuration space is bounded: capability lists may loop, structures
// may claim to be anywhere.
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

#include "kernel/errno.h"
#include "kernel/init.h"
#include "kernel/log.h"
#include "kernel/slab.h"
#include "lib/compiler.h"
#include "lib/string.h"
#include "port/device.h"
#include "virtio.h"

#define VIRTIO_VENDOR       0x1af4u
#define MODERN_DEVICE_FIRST 0x1040u // device id = this + VIRTIO_ID_*
#define CAPABILITIES_MAX    48u
#define CONFIG_MAX_BYTES    256u

struct virtio_pci;

struct pci_queue {
	struct virtio_pci *owner;
	struct virtqueue *queue;
	volatile void *doorbell;
};

struct virtio_pci {
	struct virtio_device device;
	struct port_pci_device *pci;
	volatile struct virtio_pci_common_cfg *common;
	volatile uint8_t *notify;
	uint32_t notify_bytes, notify_multiplier;
	volatile uint8_t *config;
	uint32_t config_bytes;
	unsigned vectors;
	struct pci_queue queues[VIRTIO_QUEUES_MAX];
};

static struct virtio_pci *to_pci(struct virtio_device *d) { return container_of(d, struct virtio_pci, device); }

static uint8_t pci_get_status(struct virtio_device *d) { return mmio_read8(&to_pci(d)->common->device_status); }
static void pci_set_status(struct virtio_device *d, uint8_t s) { mmio_write8(&to_pci(d)->common->device_status, s); }
static uint8_t pci_config_generation(struct virtio_device *d)
{
	return mmio_read8(&to_pci(d)->common->config_generation);
}

static uint64_t pci_get_features(struct virtio_device *d)
{
	volatile struct virtio_pci_common_cfg *c = to_pci(d)->common;
	mmio_write32(&c->device_feature_select, 0);
	uint64_t low = mmio_read32(&c->device_feature);
	mmio_write32(&c->device_feature_select, 1);
	return low | (uint64_t)mmio_read32(&c->device_feature) << 32;
}

static void pci_set_features(struct virtio_device *d, uint64_t features)
{
	volatile struct virtio_pci_common_cfg *c = to_pci(d)->common;
	for (unsigned half = 0; half < 2; half++) {
		mmio_write32(&c->guest_feature_select, half);
		mmio_write32(&c->guest_feature, (uint32_t)(features >> (32 * half)));
	}
}

static void pci_config_read(struct virtio_device *d, unsigned offset, void *out, size_t size)
{
	struct virtio_pci *v = to_pci(d);
	uint8_t *bytes = out;
	for (size_t i = 0; i < size; i++)
		bytes[i] = offset + i < v->config_bytes ? mmio_read8(v->config + offset + i) : 0;
}

static unsigned pci_queue_size(struct virtio_device *d, unsigned index)
{
	volatile struct virtio_pci_common_cfg *c = to_pci(d)->common;
	if (index >= mmio_read16(&c->num_queues))
		return 0;
	mmio_write16(&c->queue_select, (uint16_t)index);
	return mmio_read16(&c->queue_size);
}

static void pci_queue_interrupt(void *context)
{
	const struct pci_queue *pq = context;
	virtio_interrupt(&pq->owner->device, pq->queue);
}

static void write_address(volatile __le32 *low, volatile __le32 *high, paddr_t address)
{
	mmio_write32(low, (uint32_t)address);
	mmio_write32(high, (uint32_t)(address >> 32));
}

static int pci_queue_enable(struct virtio_device *d, struct virtqueue *q, unsigned cpu)
{
	struct virtio_pci *v = to_pci(d);
	volatile struct virtio_pci_common_cfg *c = v->common;
	unsigned index = virtqueue_index(q);
	if (index >= v->vectors)
		return -ENOSPC;
	mmio_write16(&c->queue_select, (uint16_t)index);
	uint64_t doorbell = (uint64_t)mmio_read16(&c->queue_notify_off) * v->notify_multiplier;
	if (doorbell % 2 || v->notify_bytes < 2 || doorbell > v->notify_bytes - 2)
		return -EIO;
	mmio_write16(&c->queue_msix_vector, (uint16_t)index);
	if (mmio_read16(&c->queue_msix_vector) != index)
		return -EIO;
	paddr_t areas[3];
	virtqueue_areas(q, areas);
	mmio_write16(&c->queue_size, (uint16_t)virtqueue_size(q));
	write_address(&c->queue_desc_lo, &c->queue_desc_hi, areas[0]);
	write_address(&c->queue_avail_lo, &c->queue_avail_hi, areas[1]);
	write_address(&c->queue_used_lo, &c->queue_used_hi, areas[2]);
	v->queues[index] = (struct pci_queue){ v, q, v->notify + doorbell };
	// Nothing may fail after it: a hostile device interrupts when it likes.
	int error = port_pci_msix_attach(v->pci, index, cpu, pci_queue_interrupt, &v->queues[index]);
	if (error)
		return error;
	mmio_write16(&c->queue_enable, 1);
	return 0;
}

static void pci_notify(struct virtqueue *q, void *device)
{
	unsigned index = virtqueue_index(q);
	mmio_write16(to_pci(device)->queues[index].doorbell, (uint16_t)index);
}

static const struct virtio_transport pci_transport = {
	.get_status = pci_get_status,
	.set_status = pci_set_status,
	.get_features = pci_get_features,
	.set_features = pci_set_features,
	.config_generation = pci_config_generation,
	.config_read = pci_config_read,
	.queue_size = pci_queue_size,
	.queue_enable = pci_queue_enable,
	.notify = pci_notify,
};

// ---- finding it ----

static void capability_use(struct virtio_pci *v, unsigned at)
{
	uint32_t type = port_pci_read(v->pci, at + offsetof(struct virtio_pci_cap, cfg_type), 1);
	uint32_t bar = port_pci_read(v->pci, at + offsetof(struct virtio_pci_cap, bar), 1);
	uint32_t offset = port_pci_read(v->pci, at + offsetof(struct virtio_pci_cap, offset), 4);
	uint32_t length = port_pci_read(v->pci, at + offsetof(struct virtio_pci_cap, length), 4);
	if (bar > 5)
		return;
	switch (type) {
	case VIRTIO_PCI_CAP_COMMON_CFG:
		if (!v->common && !(offset % 4) && length >= offsetof(struct virtio_pci_common_cfg, queue_used_hi) + 4)
			v->common = port_pci_map_bar(v->pci, bar, offset, sizeof(struct virtio_pci_common_cfg));
		break;
	case VIRTIO_PCI_CAP_NOTIFY_CFG:
		if (v->notify || offset % 2)
			break;
		v->notify_multiplier = port_pci_read(v->pci, at + VIRTIO_PCI_NOTIFY_CAP_MULT, 4);
		v->notify = port_pci_map_bar(v->pci, bar, offset, length);
		v->notify_bytes = length;
		break;
	case VIRTIO_PCI_CAP_DEVICE_CFG:
		if (v->config)
			break;
		v->config_bytes = min(length, CONFIG_MAX_BYTES);
		v->config = port_pci_map_bar(v->pci, bar, offset, v->config_bytes);
		if (!v->config)
			v->config_bytes = 0;
		break;
	}
}

static void capabilities_walk(struct virtio_pci *v)
{
	if (!(port_pci_read(v->pci, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST))
		return;
	unsigned at = port_pci_read(v->pci, PCI_CAPABILITY_LIST, 1) & ~3u;
	for (unsigned i = 0; i < CAPABILITIES_MAX && at >= PCI_STD_HEADER_SIZEOF && at <= 0xf0; i++) {
		if (port_pci_read(v->pci, at, 1) == PCI_CAP_ID_VNDR)
			capability_use(v, at);
		at = port_pci_read(v->pci, at + PCI_CAP_LIST_NEXT, 1) & ~3u;
	}
}

static void function_probe(struct port_pci_device *pci, unsigned device_id)
{
	struct virtio_pci *v = kalloc(sizeof(*v));
	if (!v)
		return;
	v->pci = pci;
	v->device.transport = &pci_transport;
	v->device.device_id = device_id;
	port_pci_enable(pci);
	capabilities_walk(v);
	v->vectors = port_pci_msix_count(pci);
	if (!v->common || !v->notify || !v->vectors) {
		klog("virtio: PCI device %#x lacks the modern interface or MSI-X", device_id + MODERN_DEVICE_FIRST);
		kfree(v);
		return;
	}
	virtio_device_add(&v->device);
}

static void virtio_pci_init(void)
{
	struct port_pci_device *pci;
	for (unsigned i = 0; (pci = port_pci_get(i)); i++) {
		uint32_t id = port_pci_read(pci, PCI_VENDOR_ID, 4);
		unsigned device = id >> 16;
		if ((id & 0xffff) != VIRTIO_VENDOR)
			continue;
		// Transitional devices (0x1000 to 0x103f) have their kind in the subsystem id.
		if (device >= 0x1000 && device < MODERN_DEVICE_FIRST)
			function_probe(pci, port_pci_read(pci, PCI_SUBSYSTEM_ID, 2));
		else if (device >= MODERN_DEVICE_FIRST && device < MODERN_DEVICE_FIRST + 0x40)
			function_probe(pci, device - MODERN_DEVICE_FIRST);
	}
}
KERNEL_INIT(3, virtio_pci_init);
