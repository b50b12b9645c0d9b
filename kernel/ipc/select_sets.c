// SPDX-License-Identifier: Apache-2.0
// The set arithmetic of select(2).

#include "select.h"

#include "lib/bitmap.h"

#define READ_EVENTS   (EPOLLRDNORM | EPOLLRDBAND | EPOLLIN | EPOLLHUP | EPOLLERR)
#define WRITE_EVENTS  (EPOLLWRBAND | EPOLLWRNORM | EPOLLOUT | EPOLLERR)
#define EXCEPT_EVENTS EPOLLPRI

unsigned select_events_wanted(uint64_t *const in[3], unsigned fd)
{
	return (bitmap_test(in[0], fd) ? READ_EVENTS : 0) | (bitmap_test(in[1], fd) ? WRITE_EVENTS : 0) |
	       (bitmap_test(in[2], fd) ? EXCEPT_EVENTS : 0);
}

unsigned select_events_store(uint64_t *const in[3], uint64_t *const out[3], unsigned fd, unsigned events)
{
	static const unsigned meaning[3] = { READ_EVENTS, WRITE_EVENTS, EXCEPT_EVENTS };
	unsigned set, count = 0;

	for (set = 0; set < 3; set++) {
		if (!bitmap_test(in[set], fd) || !(events & meaning[set]))
			continue;
		bitmap_set(out[set], fd);
		count++;
	}
	return count;
}

int select_next(uint64_t *const in[3], unsigned words, int from)
{
	unsigned word = (unsigned)from / 64;
	uint64_t bits;

	if (word >= words)
		return -1;
	bits = (in[0][word] | in[1][word] | in[2][word]) & ~UINT64_C(0) << (from % 64);
	while (!bits) {
		if (++word == words)
			return -1;
		bits = in[0][word] | in[1][word] | in[2][word];
	}
	return (int)(word * 64) + __builtin_ctzll(bits);
}
