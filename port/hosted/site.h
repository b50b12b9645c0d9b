// SPDX-License-Identifier: Apache-2.0
// What stands around a `syscall` instruction, and which of it can become a jump. Pure: looks at bytes only.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SITE_PREFIX_MAX   22u  // bytes of instructions that a stub does in the site's place
#define SITE_WINDOW_BYTES 128u // as far as this looks to either side
#define SITE_JUMP_BYTES   5u   // jmp rel32
#define SITE_SHORT_BYTES  2u   // jmp rel8

struct call_site {
	uint64_t at; // the first byte that changes
	unsigned
		length; // SITE_JUMP_BYTES, or SITE_SHORT_BYTES: then a jump goes to `pad`, where one to the stub is put
	uint64_t pad;
	// What the changed bytes and those up to the `syscall` instruction did; from prefix_at on.
	uint64_t prefix_at;
	unsigned prefix_bytes;
	uint8_t prefix[SITE_PREFIX_MAX];
};

// before: the bytes up to `site`, the address of the instruction; after: those behind its two. nr: RAX at the call.
bool hosted_site_find(struct call_site *out, const uint8_t *before, size_t before_bytes, const uint8_t *after,
		      size_t after_bytes, uint64_t site, uint32_t nr);
// Can the bytes at call_site.at, as they were, begin with this one?
bool hosted_site_may_start(uint8_t byte);
// The prefix as it has to read at `place`, into `out` (prefix_bytes). False: an address in it cannot be reached from there.
bool hosted_site_relocate(const struct call_site *s, uint64_t place, uint8_t *out);
