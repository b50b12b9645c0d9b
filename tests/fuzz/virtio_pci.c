// SPDX-License-Identifier: Apache-2.0
// Fuzzes the finding and the start of virtio devices against one whose configuration space and registers say anything, and change
// at any time: capabilities that loop or lead nowhere, structures outside their BARs, queues of any size, interrupts when
// nobody waits for them.
//
// Whatever it does: nothing outside what was mapped is touched, what a driver gets is in bounds, and no interrupt arrives before the
// driver has started the device, or for a queue that is not there.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_ring.h>

#include "kernel/errno.h"
#include "kernel/init.h"
#include "kernel/log.h"
#include "kernel/page.h"
#include "kernel/slab.h"
#include "kernel/spinlock.h"
#include "kernel/timer.h"
#include "port/device.h"
#include "virtio.h"

#define CONFIG_BYTES 512u // of configuration space; the rest reads as zeroes
#define BARS         6u
#define BAR_BYTES    2048u
#define MAPS_MAX     16u
#define VECTORS      8u
#define QUEUES       4u
#define PAGES_MAX    16u
#define DEVICE_KIND  VIRTIO_ID_RNG

struct port_pci_device {
	uint8_t config[CONFIG_BYTES];
};

static struct port_pci_device pci;
static uint8_t *maps[MAPS_MAX]; // each of its exact size
static size_t map_bytes[MAPS_MAX];
static unsigned map_count;
static struct {
	port_irq_handler *handler;
	void *context;
} vectors[VECTORS];

static const uint8_t *input;
static size_t input_left;
static bool may_interrupt;

static uint8_t take(void) { return input_left ? input_left--, *input++ : 0; }

// The device does something by itself.
static void device_acts(void)
{
	uint8_t what = take();

	if (map_count && what & 1) {
		unsigned m = take() % map_count;
		if (map_bytes[m])
			maps[m][(take() | take() << 8) % map_bytes[m]] = take();
	}
	if (what & 2) {
		unsigned v = take() % VECTORS;
		if (vectors[v].handler)
			vectors[v].handler(vectors[v].context);
	}
}

// ---- what the code under test needs ----

void *kalloc(size_t size) { return calloc(1, size); }
void kfree(void *p) { free(p); }
void spin_lock(struct spinlock *l) { l->word = 1; }
void spin_unlock(struct spinlock *l) { l->word = 0; }
void klog(const char *format, ...) { (void)format; }
void trace_event(const char *what, uint64_t a, uint64_t b) { (void)what, (void)a, (void)b; }

uint64_t port_time_ns(void)
{
	static uint64_t now;
	device_acts();
	return now += 30 * NSEC_PER_MSEC;
}

static struct page *pages[PAGES_MAX]; // rings that stay with a device that is given up

struct page *page_alloc(unsigned order, unsigned flags)
{
	struct page *p = calloc(1, sizeof(*p));
	unsigned n = 0;

	(void)flags;
	while (n < PAGES_MAX && pages[n])
		n++;
	if (n == PAGES_MAX)
		abort();
	p->private = (uint64_t)calloc(1, PAGE_SIZE << order);
	refcount_set(&p->refs, 1);
	return pages[n] = p;
}

void page_free(struct page *p)
{
	for (unsigned n = 0; n < PAGES_MAX; n++)
		if (pages[n] == p)
			pages[n] = NULL;
	free((void *)p->private);
	free(p);
}

void *page_address(const struct page *p) { return (void *)p->private; }
paddr_t page_to_frame(const struct page *p) { return p->private; }

struct port_pci_device *port_pci_get(unsigned index) { return index ? NULL : &pci; }

uint32_t port_pci_read(struct port_pci_device *d, unsigned offset, unsigned size)
{
	uint32_t value = 0;

	if (offset + size > 4096)
		abort();
	device_acts();
	if (offset + size <= CONFIG_BYTES)
		memcpy(&value, d->config + offset, size);
	return value;
}

void *port_pci_map_bar(struct port_pci_device *d, unsigned bar, uint64_t offset, uint64_t size)
{
	(void)d;
	if (bar >= BARS || offset > BAR_BYTES || size > BAR_BYTES - offset || map_count == MAPS_MAX)
		return NULL;
	uint8_t *map = malloc(size ? size : 1);
	for (size_t i = 0; i < size; i++)
		map[i] = i < 128 ? take() : 0;
	maps[map_count] = map;
	map_bytes[map_count++] = size;
	return map;
}

void port_pci_enable(struct port_pci_device *d) { (void)d; }
unsigned port_pci_msix_count(struct port_pci_device *d) { return (void)d, take() % (VECTORS + 1); }

int port_pci_msix_attach(struct port_pci_device *d, unsigned entry, unsigned cpu, port_irq_handler *handler,
			 void *context)
{
	(void)d, (void)cpu;
	if (entry >= VECTORS || take() % 16 == 15)
		return -ENOSPC;
	vectors[entry].handler = handler;
	vectors[entry].context = context;
	device_acts();
	return 0;
}

// ---- a driver ----

static void callback(struct virtqueue *q, void *context)
{
	uint32_t written;

	(void)context;
	if (!may_interrupt)
		abort();
	while (virtqueue_take(q, &written))
		if (written > 64)
			abort();
	(void)!virtqueue_enable_callback(q);
}

static void use(struct virtqueue *q, uint64_t features)
{
	static uint8_t tables[VIRTIO_QUEUES_MAX][16 * 8] __attribute__((aligned(16)));
	static int token;
	struct vq_segment s[2] = { { 0x1000, 32 }, { 0x2000, 64 } };
	struct vq_table table = { tables[virtqueue_index(q)], 0x3000, 8 };
	unsigned size = virtqueue_size(q);

	if (!size || size > VIRTQUEUE_SIZE_MAX || size & (size - 1))
		abort();
	for (unsigned i = take() % 4; i; i--)
		(void)!virtqueue_add(q, s, 1, 1, features >> VIRTIO_RING_F_INDIRECT_DESC & 1 ? &table : NULL, &token);
	virtqueue_kick(q);
}

static int probe(struct virtio_device *d)
{
	const unsigned offset = take(), size = take() % 64;
	int error = virtio_negotiate(d, UINT64_C(1) << take() % 64);
	uint8_t *config = malloc(size ? size : 1);

	virtio_config_read(d, offset, config, size);
	free(config);
	for (unsigned i = 0; i < QUEUES && !error; i++)
		error = virtio_queue_create(d, take() % 8 == 7 ? take() : i, 1u << take() % 12, 0, callback, NULL);
	device_acts();
	if (!error) {
		may_interrupt = true;
		virtio_start(d);
	}
	for (unsigned i = 0; i < d->queue_count && !error; i++)
		if (d->queues[i])
			use(d->queues[i], d->features);
	for (unsigned i = 0; i < 16 && input_left; i++)
		device_acts();
	virtio_stop(d);
	return error;
}

static struct virtio_driver driver = { .name = "fuzz", .device_id = DEVICE_KIND, .probe = probe };

// ---- a life ----

extern const struct init_entry __start_init_table_3[], __stop_init_table_3[];

static void forget(void)
{
	struct virtio_device *d = virtio_devices;

	for (unsigned i = 0; d && i < d->queue_count; i++) {
		if (!d->queues[i])
			continue;
		while (virtqueue_detach(d->queues[i]))
			;
		virtqueue_destroy(d->queues[i]);
	}
	for (unsigned n = 0; n < PAGES_MAX; n++)
		if (pages[n])
			page_put(pages[n]);
	free(d); // the first of what the transport knows of it
	virtio_devices = NULL;
	for (unsigned i = 0; i < map_count; i++)
		free(maps[i]);
	map_count = 0;
	memset(vectors, 0, sizeof(vectors));
	may_interrupt = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool registered;
	const uint32_t id = 0x1af4u | (0x1040u + DEVICE_KIND) << 16;
	size_t config_bytes = size < CONFIG_BYTES / 2 ? size : CONFIG_BYTES / 2;

	if (!registered)
		virtio_driver_register(&driver);
	registered = true;
	memset(&pci, 0, sizeof(pci));
	memcpy(pci.config, data, config_bytes);
	memcpy(pci.config, &id, sizeof(id)); // others are not looked at
	input = data + config_bytes;
	input_left = size - config_bytes;
	for (const struct init_entry *e = __start_init_table_3; e < __stop_init_table_3; e++)
		e->fn();
	forget();
	return 0;
}
