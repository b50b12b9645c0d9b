// SPDX-License-Identifier: Apache-2.0
// What stands around a `syscall` instruction, and which of it can become a jump.
//
// A jump takes five bytes, and all of them must belong to one instruction: then nobody can be between them, and what jumps behind them
// still finds what was there. Four shapes are known:
//
//  1.	mov $nr, %eax ; some simple instructions ; syscall		C libraries, Go's runtime
//	The five bytes of `mov` become the jump. So do the first five of
//	mov $nr, %r8d ; ... mov %r8, %rax ... ; syscall			musl, gcc's sanitizers
//  2.	mov 8(%rsp), %r9 ; syscall					syscall(3) of glibc
//	So do these five. Its like in Go, Syscall6, ends in two moves of three bytes each, which no jump ever separates.
//  3.	xor %eax, %eax ; syscall					read(2) of glibc
//	Two bytes take a short jump, to padding between functions that has room for a long one. Padding is what stands between the
//	usual end of a system call (compare with -4095, branch if above, return) and a multiple of 16 and is made of
//	no-operations: nobody comes there.
//
//  4.	mov %esi, %eax ; syscall					_exit(2) of glibc
//	The same, with padding that is known because all of the function up to there is.
//
// Source: SDM vol. 2, ch. 2 (instruction format).
#include "site.h"

#include "lib/string.h"

#define MODRM_MOD(b) ((b) >> 6)
#define MODRM_REG(b) ((b) >> 3 & 7)
#define MODRM_RM(b)  ((b)&7)

// Length of ModRM, SIB and displacement at p; 0: not all there. *rip: offset of a RIP-relative displacement, or 0.
static size_t operand_bytes(const uint8_t *p, size_t room, size_t *rip)
{
	if (!room)
		return 0;
	unsigned mod = MODRM_MOD(p[0]), rm = MODRM_RM(p[0]);
	size_t n = 1;
	if (mod == 3)
		return n;
	if (rm == 4) {
		if (room < 2)
			return 0;
		n++;
		if (mod == 0 && MODRM_RM(p[1]) == 5)
			n += 4;
	} else if (rm == 5 && mod == 0) {
		*rip = n;
		n += 4;
	}
	n += mod == 1 ? 1 : mod == 2 ? 4 : 0;
	return n <= room ? n : 0;
}

// Length of the instruction at p if it is one of those that do the same elsewhere; 0: it is not. *rip: offset in it of a
// displacement that depends on where it stands, or 0.
static size_t simple_instruction(const uint8_t *p, size_t room, size_t *rip)
{
	size_t n = room && (p[0] & 0xf0) == 0x40 ? 1 : 0, operand, immediate = 0, at = 0;

	*rip = 0;
	if (n >= room)
		return 0;
	uint8_t code = p[n++];
	if (code >= 0xb8 && code <= 0xbf) // mov $imm32, reg
		return !(n == 2 && p[0] & 8) && n + 4 <= room ? n + 4 : 0;
	switch (code) {
	case 0x31:
	case 0x33:
	case 0x29:
	case 0x2b:
	case 0x01:
	case 0x03: // xor, sub, add
	case 0x09:
	case 0x0b:
	case 0x21:
	case 0x23: // or, and
	case 0x85:
	case 0x63: // test, movslq
	case 0x89:
	case 0x8b:
	case 0x8d: break; // mov, lea
	case 0x80:
	case 0x83: immediate = 1; break; // with an 8-bit immediate
	case 0x81:
	case 0xc7: immediate = 4; break;
	default: return 0;
	}
	operand = operand_bytes(p + n, room - n, &at);
	if (!operand || n + operand + immediate > room)
		return 0;
	if (at)
		*rip = n + at;
	return n + operand + immediate;
}

static bool equal(const uint8_t *p, const void *bytes, size_t size) { return !memcmp(p, bytes, size); }

// Are these bytes a sequence of such instructions? *from_r8: one of them is `mov %r8, %rax`.
static bool simple_sequence(const uint8_t *p, size_t size, bool *from_r8)
{
	size_t rip;
	*from_r8 = false;
	while (size) {
		size_t n = simple_instruction(p, size, &rip);
		if (!n)
			return false;
		if (n == 3 && (equal(p, "\x4c\x89\xc0", 3) || equal(p, "\x44\x89\xc0", 3)))
			*from_r8 = true;
		p += n;
		size -= n;
	}
	return true;
}

static bool take(struct call_site *out, const uint8_t *prefix, unsigned bytes, uint64_t at)
{
	out->at = out->prefix_at = at;
	out->length = SITE_JUMP_BYTES;
	out->prefix_bytes = bytes;
	memcpy(out->prefix, prefix, bytes);
	return true;
}

// Could what looks like `mov $imm32, %eax` at p, of which `before` bytes are known, be the end of another instruction? Read
// backwards code is ambiguous; what might be one is left alone.
static bool may_be_tail(const uint8_t *p, size_t before)
{
	if (before >= 1 && (p[-1] & 0xf1) == 0x41) // a REX prefix that names another register: mov $imm32, %r8d
		return true;
	// 0xb8 is an offset: movl $imm32, -0x48(%rbp), or with a SIB byte -0x48(%rsp).
	if (before >= 2 && (p[-2] == 0xc7 || p[-2] == 0x81) && MODRM_MOD(p[-1]) == 1 && MODRM_RM(p[-1]) != 4)
		return true;
	return before >= 3 && (p[-3] == 0xc7 || p[-3] == 0x81) && MODRM_MOD(p[-2]) == 1 && MODRM_RM(p[-2]) == 4;
}

// The same for `mov $imm32, %r8d`, when R8 is moved to RAX behind it: 0x41 is a REX prefix, unless it is a ModRM byte.
static bool is_move_to_r8(const uint8_t *p, size_t before)
{
	return before >= 1 && p[-1] == 0x41 && !(before >= 2 && (p[-2] == 0xc7 || p[-2] == 0x81));
}

static bool find_move(struct call_site *out, const uint8_t *end, size_t before, uint64_t site, uint32_t nr)
{
	uint8_t move[5] = { 0xb8 };

	memcpy(move + 1, &nr, sizeof(nr));
	for (unsigned d = sizeof(move); d <= SITE_PREFIX_MAX && d <= before; d++) {
		const uint8_t *p = end - d;
		bool from_r8;

		if (!equal(p, move, sizeof(move)) || !simple_sequence(p + sizeof(move), d - sizeof(move), &from_r8))
			continue;
		if (from_r8 && is_move_to_r8(p, before - d) && d < SITE_PREFIX_MAX)
			return take(out, p - 1, d + 1, site - d - 1);
		return !from_r8 && !may_be_tail(p, before - d) && take(out, p, d, site - d);
	}
	return false;
}

static bool find_function(struct call_site *out, const uint8_t *end, size_t before, uint64_t site)
{
	static const uint8_t glibc[] = { 0x4c, 0x8b, 0x4c, 0x24, 0x08 };
	static const uint8_t go[] = { 0x49, 0x89, 0xf2, 0x48, 0x89, 0xfa, 0x48, 0x89, 0xce, 0x48, 0x89, 0xdf };

	if (before >= sizeof(glibc) && equal(end - sizeof(glibc), glibc, sizeof(glibc)))
		return take(out, end - sizeof(glibc), sizeof(glibc), site - sizeof(glibc));
	if (before >= sizeof(go) && equal(end - sizeof(go), go, sizeof(go)))
		return take(out, end - 6, 6, site - 6);
	return false;
}

// How many bytes of no-operations stand at p.
static size_t padding_bytes(const uint8_t *p, size_t room)
{
	static const struct {
		uint8_t size, bytes[10];
	} nops[] = {
		{ 10, { 0x66, 0x2e, 0x0f, 0x1f, 0x84 } },
		{ 9, { 0x66, 0x0f, 0x1f, 0x84 } },
		{ 8, { 0x0f, 0x1f, 0x84 } },
		{ 7, { 0x0f, 0x1f, 0x80 } },
		{ 6, { 0x66, 0x0f, 0x1f, 0x44 } },
		{ 5, { 0x0f, 0x1f, 0x44 } },
		{ 4, { 0x0f, 0x1f, 0x40 } },
		{ 3, { 0x0f, 0x1f } },
		{ 2, { 0x66, 0x90 } },
		{ 1, { 0x90 } },
		{ 1, { 0xcc } },
	};
	size_t n = 0;

	for (unsigned i = 0; i < sizeof(nops) / sizeof(*nops); i++)
		while (n + nops[i].size <= room && equal(p + n, nops[i].bytes, nops[i].size)) {
			n += nops[i].size;
			i = 0;
		}
	return n;
}

// Padding with room for a jump behind the end of a system call, in [p, p + size) at address va; 0: none.
static uint64_t find_pad(const uint8_t *p, size_t size, uint64_t va, uint64_t jump_from)
{
	for (size_t i = 0; i + 9 + SITE_JUMP_BYTES <= size; i++) {
		bool end = p[i] == 0x48 && p[i + 1] == 0x3d && p[i + 2] <= 1 && p[i + 3] == 0xf0 && p[i + 4] == 0xff &&
			   p[i + 5] == 0xff && p[i + 6] == 0x77 && p[i + 8] == 0xc3;
		if (!end)
			continue;
		size_t room = padding_bytes(p + i + 9, size - i - 9);
		uint64_t pad = va + i + 9;
		int64_t way = (int64_t)(pad - (jump_from + SITE_SHORT_BYTES));
		if (room >= SITE_JUMP_BYTES && (pad + room) % 16 == 0 && way >= -128 && way <= 127)
			return pad;
	}
	return 0;
}

static bool find_zero(struct call_site *out, const uint8_t *end, size_t before, const uint8_t *after,
		      size_t after_bytes, uint64_t site)
{
	static const uint8_t zero[] = { 0x31, 0xc0 };

	if (before < sizeof(zero) || !equal(end - sizeof(zero), zero, sizeof(zero)))
		return false;
	if (before > sizeof(zero) && (end[-3] & 0xf0) == 0x40 && end[-3] & 5) // with other registers: xor %r8d, %r8d
		return false;
	take(out, end - sizeof(zero), sizeof(zero), site - sizeof(zero));
	out->length = SITE_SHORT_BYTES;
	out->pad = find_pad(after, after_bytes, site + 2, out->at);
	if (!out->pad)
		out->pad = find_pad(end - before, before, site - before, out->at);
	return out->pad != 0;
}

static bool find_exit(struct call_site *out, const uint8_t *end, size_t before, uint64_t site)
{
	static const uint8_t glibc[] = {
		0xbe, 0xe7, 0,    0,    0,                      // mov  $231, %esi
		0xba, 0x3c, 0,    0,    0,                      // mov  $60, %edx
		0xeb, 0x12,                                     // jmp  to the last line
		0x0f, 0x1f, 0x44, 0,    0,                      // padding
		0x89, 0xd0, 0x0f, 0x05,                         // mov  %edx, %eax ; syscall
		0x48, 0x3d, 0,    0xf0, 0xff, 0xff, 0x77, 0x1c, // cmp  $-4096, %rax ; ja
		0xf4,                                           // hlt
		0x89, 0xf0,                                     // mov  %esi, %eax
	};
	const size_t pad = 12, move = 2;

	if (before < sizeof(glibc) || !equal(end - sizeof(glibc), glibc, sizeof(glibc)))
		return false;
	take(out, end - move, move, site - move);
	out->length = SITE_SHORT_BYTES;
	out->pad = site - sizeof(glibc) + pad;
	return true;
}

bool hosted_site_find(struct call_site *out, const uint8_t *before, size_t before_bytes, const uint8_t *after,
		      size_t after_bytes, uint64_t site, uint32_t nr)
{
	const uint8_t *end = before + before_bytes;

	*out = (struct call_site){ 0 };
	return find_move(out, end, before_bytes, site, nr) || find_function(out, end, before_bytes, site) ||
	       (nr == 0 && find_zero(out, end, before_bytes, after, after_bytes, site)) ||
	       find_exit(out, end, before_bytes, site);
}

bool hosted_site_may_start(uint8_t byte)
{
	return byte == 0xb8 || byte == 0x41 || byte == 0x4c || byte == 0x48 || byte == 0x31 || byte == 0x89;
}

bool hosted_site_relocate(const struct call_site *s, uint64_t place, uint8_t *out)
{
	size_t rip;

	memcpy(out, s->prefix, s->prefix_bytes);
	for (size_t at = 0; at < s->prefix_bytes;) {
		size_t n = simple_instruction(s->prefix + at, s->prefix_bytes - at, &rip);
		if (!n)
			return false;
		if (rip) {
			int32_t old;
			memcpy(&old, out + at + rip, sizeof(old));
			int64_t now = old + (int64_t)(s->prefix_at - place);
			if (now != (int32_t)now)
				return false;
			old = (int32_t)now;
			memcpy(out + at + rip, &old, sizeof(old));
		}
		at += n;
	}
	return true;
}
