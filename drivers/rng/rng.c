// SPDX-License-Identifier: Apache-2.0
// Virtio entropy device (VIRTIO 1.2, 5.4): the host's randomness is mixed into the cell's generator at the start and every
// ten minutes. It is added, never trusted: what the device returns cannot make the generator worse.
#include "kernel/errno.h"
#include "kernel/init.h"
#include "kernel/log.h"
#include "kernel/page.h"
#include "kernel/random.h"
#include "kernel/slab.h"
#include "kernel/timer.h"
#include "lib/compiler.h"
#include "lib/string.h"
#include "virtio/virtio.h"

#define SEED_BYTES 64u
#define RESEED_NS  (600 * NSEC_PER_SEC)

struct rng {
	struct virtqueue *queue;
	struct page *page; // the device writes here
	struct ktimer timer;
};

static void rng_request(struct rng *r)
{
	struct vq_segment s = { page_to_frame(r->page), SEED_BYTES };
	if (!virtqueue_add(r->queue, &s, 0, 1, NULL, r))
		virtqueue_kick(r->queue);
}

static void rng_expire(struct ktimer *t) { rng_request(container_of(t, struct rng, timer)); }

static void rng_interrupt(struct virtqueue *q, void *context)
{
	struct rng *r = context;
	uint8_t seed[SEED_BYTES];
	uint32_t size = 0;
	bool answered = false;
	do { // one request is in flight at most, and none is added here
		while (virtqueue_take(q, &size)) {
			memcpy(seed, page_address(r->page), size);
			random_add(seed, size);
			answered = true;
		}
	} while (!virtqueue_enable_callback(q));
	if (virtqueue_is_broken(q))
		klog("rng: the device broke the protocol");
	else if (answered)
		ktimer_set(&r->timer, clock_monotonic_ns() + RESEED_NS);
}

static int rng_probe(struct virtio_device *d)
{
	struct rng *r = kalloc(sizeof(*r));
	int error = virtio_negotiate(d, 0);
	if (error || !r)
		goto fail;
	r->page = page_alloc(0, PAGE_DEVICE | PAGE_ZERO);
	if (!r->page)
		goto fail;
	ktimer_init(&r->timer, rng_expire);
	error = virtio_queue_create(d, 0, 8, 0, rng_interrupt, r);
	if (error)
		goto fail;
	r->queue = d->queues[0];
	virtio_start(d);
	rng_request(r);
	return 0;
fail:
	if (r && r->page)
		page_put(r->page);
	kfree(r);
	return error ? error : -ENOMEM;
}

static struct virtio_driver rng_driver = { .name = "rng", .device_id = VIRTIO_ID_RNG, .probe = rng_probe };

static void rng_init(void) { virtio_driver_register(&rng_driver); }
KERNEL_INIT(2, rng_init);
