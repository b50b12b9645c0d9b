// SPDX-License-Identifier: Apache-2.0
// See memmap.h.
#include "memmap.h"

#define PAGE       UINT64_C(4096)
#define ALIGN_2M   (UINT64_C(2) << 20)
#define HIGH_START (UINT64_C(4) << 30)

void memmap_window(uint64_t low_end, uint64_t *start, uint64_t *end)
{
	if (low_end >= MEMMAP_WINDOW_END) {
		*start = MEMMAP_WINDOW_START;
		*end = MEMMAP_WINDOW_END;
		return;
	}
	*end = low_end & ~(PAGE - 1);
	*start = (*end - *end / 4) & ~(ALIGN_2M - 1);
}

static unsigned add(struct port_memory_range *out, unsigned count, unsigned max, uint64_t start, uint64_t end,
		    bool window)
{
	start = (start + PAGE - 1) & ~(PAGE - 1);
	end &= ~(PAGE - 1);
	if (start >= end || count == max)
		return count;
	out[count] = (struct port_memory_range){ .start = start, .end = end, .shared_window = window };
	return count + 1;
}

unsigned memmap_ranges(uint64_t first_free, uint64_t low_end, uint64_t high_end, struct port_memory_range *out,
		       unsigned max)
{
	uint64_t window_start, window_end;
	memmap_window(low_end, &window_start, &window_end);
	if (window_start < first_free)
		window_start = first_free;
	unsigned n = add(out, 0, max, first_free, window_start, false);
	n = add(out, n, max, window_start, window_end, true);
	n = add(out, n, max, window_end > first_free ? window_end : first_free, low_end, false);
	return add(out, n, max, HIGH_START, high_end, false);
}
