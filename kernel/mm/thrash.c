// SPDX-License-Identifier: Apache-2.0
// Thrashing: programs wait for pages of files that were dropped a moment ago, and reading those drops others.
//
// Reclaim alone does not end it, for it always finds a clean page to drop. Here the last REMEMBERED dropped pages are known by a
// fingerprint. Time in which somebody waits, in a page fault, for one of them is lost. When half of a period is lost, and the page
// cache is too small for it to be anything but what the programs run on, the greediest process dies. Reads by read(2) do not
// count: a large file read over and over is slow, and no reason to kill.
//
// Lock order: lock is a leaf. The table is racy: a collision costs a needless or a missing mark.
#include "internal.h"
#include "kernel/mm.h"
#include "kernel/spinlock.h"
#include "kernel/timer.h"
#include "lib/hash.h"

#define REMEMBERED     8192u
#define PERIOD_NS      (2 * NSEC_PER_SEC)
#define CACHE_FRACTION 16u // of memory: with more clean page cache than that it is no thrashing

static uint32_t fingerprints[REMEMBERED];

static struct spinlock lock;
static unsigned waiting;          // tasks that wait for a page of ours
static uint64_t waiting_since_ns; // while waiting > 0, what is not in lost_ns yet
static uint64_t period_start_ns, lost_ns;

static uint32_t *slot_of(const struct mobj *o, uint64_t index, uint32_t *fingerprint)
{
	uint64_t h = hash_u64(hash_u64((uintptr_t)o) + index);
	*fingerprint = (uint32_t)(h >> 32) | 1;
	return &fingerprints[h % REMEMBERED];
}

void thrash_note_dropped(const struct mobj *o, uint64_t index)
{
	uint32_t fingerprint, *slot = slot_of(o, index, &fingerprint);
	__atomic_store_n(slot, fingerprint, __ATOMIC_RELAXED);
}

bool thrash_wait_begin(const struct mobj *o, uint64_t index)
{
	uint32_t fingerprint, *slot = slot_of(o, index, &fingerprint);
	if (likely(__atomic_load_n(slot, __ATOMIC_RELAXED) != fingerprint))
		return false;
	__atomic_store_n(slot, 0, __ATOMIC_RELAXED);
	uint64_t now = port_time_ns();
	spin_lock(&lock);
	if (!waiting++)
		waiting_since_ns = now;
	if (now - period_start_ns > 2 * PERIOD_NS) { // nothing for a while
		period_start_ns = now;
		lost_ns = 0;
	}
	spin_unlock(&lock);
	return true;
}

// The end of a period in which too much was lost? Lock held.
static bool lost_too_much(uint64_t now)
{
	uint64_t period = now - period_start_ns;
	if (period < PERIOD_NS)
		return false;
	bool too_much = lost_ns >= period / 2 && reclaim_clean_count() < page_total_count() / CACHE_FRACTION;
	period_start_ns = now;
	lost_ns = 0;
	return too_much;
}

void thrash_wait_end(void)
{
	spin_lock(&lock);
	uint64_t now = max(port_time_ns(), waiting_since_ns);
	lost_ns += now - waiting_since_ns;
	waiting_since_ns = now;
	waiting--;
	bool kill = lost_too_much(now);
	spin_unlock(&lock);
	if (kill)
		(void)process_oom_kill();
}
