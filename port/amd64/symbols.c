// SPDX-License-Identifier: Apache-2.0
#include "symbols.h"

struct symbol {
	uint32_t address; // from the image's start
	uint32_t name;    // offset into the names
};

struct symbol_table {
	uint32_t count;
	uint32_t reserved;
	struct symbol symbols[]; // sorted by address; behind them, the names
};

const char *amd64_symbol_find(const char *start, const char *end, uint32_t at, size_t *offset)
{
	const struct symbol_table *t = (const struct symbol_table *)start;
	if (end - start < (ptrdiff_t)sizeof(*t) || !t->count || at < t->symbols[0].address)
		return NULL;
	uint32_t low = 0, high = t->count; // symbols[low].address <= at < symbols[high].address
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;
		if (t->symbols[middle].address <= at)
			low = middle;
		else
			high = middle;
	}
	if (offset)
		*offset = at - t->symbols[low].address;
	return (const char *)&t->symbols[t->count] + t->symbols[low].name;
}
