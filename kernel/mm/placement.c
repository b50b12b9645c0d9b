// SPDX-License-Identifier: Apache-2.0
// Where the code of programs goes: address-space randomisation, and its price under translation.
//
// A port that translates code block by block (port_stable_code()) translates it again for each new address: with fresh
// random addresses every exec pays for translating the loader and the C library anew, many times the cost of the exec. There
// the addresses of code are random for each cell instead of each exec: the areas of programs and mappings begin at offsets
// drawn once, and a shared library keeps the place it was given when it was first mapped, in any process. Stacks and heaps,
// which hold no code, are random each time everywhere.
//
// Locks: placement_lock guards the offsets, the free end of the library area, and mobj.place.
#include "kernel/boot_config.h"
#include "kernel/mm.h"
#include "kernel/random.h"
#include "kernel/spinlock.h"
#include "lib/string.h"
#include "internal.h"

#include <elf.h>

#define LIBRARIES_START   UINT64_C(0x600000000000)
#define LIBRARIES_SLOTS   UINT64_C(0x4000) // of a GiB: where the area may begin
#define LIBRARIES_BYTES   (UINT64_C(1) << 30)
#define LIBRARY_BYTES_MAX (UINT64_C(64) << 20)

static struct spinlock placement_lock = SPINLOCK_INIT;
static uint64_t drawn[PLACEMENT_COUNT]; // + 1; 0 = not yet
static uint64_t libraries_used;

static uint64_t draw_once(enum placement what)
{
	if (!drawn[what])
		drawn[what] = (random_u64() >> 1) + 1;
	return drawn[what] - 1;
}

uint64_t placement_random_pages(enum placement what, uint64_t count)
{
	if (!port_stable_code())
		return random_u64() % count;
	spin_lock(&placement_lock);
	uint64_t r = draw_once(what);
	spin_unlock(&placement_lock);
	return r % count;
}

// The loader has just read the header, so it is in the page cache.
static bool looks_like_library(struct mobj *o)
{
	struct page *p = mobj_find(o, 0);
	if (!p)
		return false;
	bool elf = page_test(p, PAGE_UPTODATE) && !memcmp(page_address(p), ELFMAG, SELFMAG);
	page_put(p);
	return elf;
}

uint64_t placement_of_library(struct mobj *o, uint64_t size)
{
	if (!port_stable_code() || size > LIBRARY_BYTES_MAX)
		return 0;
	if (!__atomic_load_n(&o->place, __ATOMIC_RELAXED) && !looks_like_library(o))
		return 0;
	spin_lock(&placement_lock);
	if (!o->place && libraries_used + size <= LIBRARIES_BYTES) {
		bool randomize = !(boot_config.options.flags & BOOT_OPTION_NO_ASLR);
		uint64_t area = LIBRARIES_START +
				(randomize ? draw_once(PLACEMENT_LIBRARIES) % LIBRARIES_SLOTS * LIBRARIES_BYTES : 0);
		libraries_used += size;
		o->place = area + LIBRARIES_BYTES - libraries_used;
	}
	uint64_t place = o->place;
	spin_unlock(&placement_lock);
	return place;
}
