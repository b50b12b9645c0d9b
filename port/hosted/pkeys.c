// SPDX-License-Identifier: Apache-2.0
#include "pkeys.h"

#include "layout.h"
#include "lib/compiler.h"
#include "syscall.h"

#include <linux/mman.h>

extern const struct hosted_ways hosted_ways_plain, hosted_ways_keyed;

const struct hosted_ways *hosted_ways = &hosted_ways_plain;

// Executing needs no key: the program's jump to hosted_entry_keyed comes through.
int hosted_pkeys_init(void)
{
	const struct {
		uint64_t start, end;
		int prot;
	} closed[] = {
		{ hosted.image_start, hosted.text_end, PROT_READ | PROT_EXEC },
		{ hosted.text_end, hosted.data_start, PROT_READ },
		{ hosted.data_start, hosted_stacks_start + HOSTED_OPEN_BYTES, PROT_READ | PROT_WRITE },
	};

	if (!(hosted.flags & HOSTED_FLAG_PKEYS))
		return 0;
	long key = HOST(pkey_alloc, 0, 0), error = key < 0 ? key : 0;
	for (unsigned i = 0; i < array_count(closed) && !error; i++)
		error = HOST(pkey_mprotect, closed[i].start, closed[i].end - closed[i].start, closed[i].prot, key);
	if (!error)
		hosted_ways = &hosted_ways_keyed;
	return (int)error;
}
