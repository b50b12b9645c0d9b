// SPDX-License-Identifier: Apache-2.0
// SipHash-1-3 (Aumasson, Bernstein 2012) with a 64-bit key spread over both key words.
#include "lib/hash.h"
#include "lib/string.h"

static inline uint64_t rotate(uint64_t x, int n) { return x << n | x >> (64 - n); }

struct state {
	uint64_t a, b, c, d;
};

static inline void sip_round(struct state *s)
{
	s->a += s->b;
	s->b = rotate(s->b, 13) ^ s->a;
	s->a = rotate(s->a, 32);
	s->c += s->d;
	s->d = rotate(s->d, 16) ^ s->c;
	s->a += s->d;
	s->d = rotate(s->d, 21) ^ s->a;
	s->c += s->b;
	s->b = rotate(s->b, 17) ^ s->c;
	s->c = rotate(s->c, 32);
}

static inline void absorb(struct state *s, uint64_t word)
{
	s->d ^= word;
	sip_round(s);
	s->a ^= word;
}

uint64_t hash_bytes(uint64_t key, const void *data, size_t size)
{
	uint64_t second = key * UINT64_C(0x9e3779b97f4a7c15);
	struct state s = { key ^ UINT64_C(0x736f6d6570736575), second ^ UINT64_C(0x646f72616e646f6d),
			   key ^ UINT64_C(0x6c7967656e657261), second ^ UINT64_C(0x7465646279746573) };
	const char *p = data;
	size_t left = size;

	for (; left >= 8; left -= 8, p += 8) {
		uint64_t word;
		memcpy(&word, p, 8);
		absorb(&s, word);
	}
	uint64_t last = (uint64_t)size << 56;
	for (size_t i = 0; i < left; i++)
		last |= (uint64_t)(unsigned char)p[i] << (8 * i);
	absorb(&s, last);
	s.c ^= 0xff;
	sip_round(&s);
	sip_round(&s);
	sip_round(&s);
	return s.a ^ s.b ^ s.c ^ s.d;
}
