// SPDX-License-Identifier: Apache-2.0
// The random number generator: ChaCha20 (RFC 8439) in the fast-key-erasure construction: every block of output also yields
// the next key, so that a later look at the state tells nothing about earlier output. Seeded from the boot record, the
// CPU's generator and timing; random_add() mixes in what drivers deliver. One state per CPU slot, each with its own lock.
#include "kernel/random.h"
#include "kernel/spinlock.h"
#include "lib/sha256.h"
#include "lib/string.h"

#define SLOTS 16u

struct generator {
	struct spinlock lock;
	uint32_t key[8];     // lock
	uint64_t generation; // of the pool this key was drawn from; lock
};

static struct {
	struct spinlock lock;
	uint8_t state[32]; // lock
} pool;
static uint64_t generation; // atomic; grows when the pool took new entropy
static struct generator generators[SLOTS];

static uint32_t rotate(uint32_t x, int n) { return x << n | x >> (32 - n); }

static void quarter(uint32_t *s, int a, int b, int c, int d)
{
	s[a] += s[b];
	s[d] = rotate(s[d] ^ s[a], 16);
	s[c] += s[d];
	s[b] = rotate(s[b] ^ s[c], 12);
	s[a] += s[b];
	s[d] = rotate(s[d] ^ s[a], 8);
	s[c] += s[d];
	s[b] = rotate(s[b] ^ s[c], 7);
}

static void chacha20_block(const uint32_t key[8], uint32_t counter, uint32_t out[16])
{
	uint32_t in[16] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };

	memcpy(&in[4], key, 32);
	in[12] = counter;
	memcpy(out, in, sizeof(in));
	for (int i = 0; i < 10; i++) {
		quarter(out, 0, 4, 8, 12);
		quarter(out, 1, 5, 9, 13);
		quarter(out, 2, 6, 10, 14);
		quarter(out, 3, 7, 11, 15);
		quarter(out, 0, 5, 10, 15);
		quarter(out, 1, 6, 11, 12);
		quarter(out, 2, 7, 8, 13);
		quarter(out, 3, 4, 9, 14);
	}
	for (int i = 0; i < 16; i++)
		out[i] += in[i];
}

void random_add(const void *data, size_t size)
{
	struct {
		uint8_t state[32], data[32];
		uint64_t time, hardware;
	} mix = { .time = port_time_ns() };

	sha256(data, size, mix.data);
	port_random64(&mix.hardware);
	spin_lock(&pool.lock);
	memcpy(mix.state, pool.state, sizeof(mix.state));
	sha256(&mix, sizeof(mix), pool.state);
	spin_unlock(&pool.lock);
	__atomic_fetch_add(&generation, 1, __ATOMIC_RELEASE);
}

void random_init(const void *seed, size_t size) { random_add(seed, size); }

// A fresh key for `g` from the pool; the pool moves on.
static void rekey(struct generator *g, uint64_t now)
{
	struct {
		uint8_t state[32];
		uint64_t slot, time, hardware;
	} mix = { .slot = (uint64_t)(g - generators), .time = port_time_ns() };

	port_random64(&mix.hardware);
	spin_lock(&pool.lock);
	memcpy(mix.state, pool.state, sizeof(mix.state));
	sha256(&mix, sizeof(mix), (uint8_t *)g->key);
	mix.slot = UINT64_MAX;
	sha256(&mix, sizeof(mix), pool.state);
	spin_unlock(&pool.lock);
	g->generation = now;
}

void random_bytes(void *out, size_t size)
{
	struct generator *g = &generators[port_cpu_index() % SLOTS];
	uint32_t block[16], key[8];
	uint32_t counter = 1;
	char *to = out;

	spin_lock(&g->lock);
	uint64_t now = __atomic_load_n(&generation, __ATOMIC_ACQUIRE);
	if (g->generation != now)
		rekey(g, now);
	chacha20_block(g->key, 0, block);
	memcpy(g->key, block, 32);
	memcpy(key, &block[8], 32);
	spin_unlock(&g->lock);
	while (size) {
		size_t n = min(size, sizeof(block));
		chacha20_block(key, counter++, block);
		memcpy(to, block, n);
		to += n;
		size -= n;
	}
	memset(key, 0, sizeof(key));
	__asm__ volatile("" : : "r"(key) : "memory"); // the wipe stays
}

uint64_t random_u64(void)
{
	uint64_t v;
	random_bytes(&v, sizeof(v));
	return v;
}
