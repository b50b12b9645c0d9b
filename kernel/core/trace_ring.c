// SPDX-License-Identifier: Apache-2.0
// The trace ring: the last events of each CPU, for the panic message and for boot timing. Writers never wait: a slot is
// claimed by an atomic counter, and a torn slot is tolerable in a post-mortem.
#include "kernel/log.h"
#include "kernel/trace_ring.h"
#include "lib/fmt.h"
#include "lib/string.h"

#define EVENTS 256u
#define RINGS  8u // CPUs share rings beyond that

struct event {
	uint64_t time_ns;
	const char *what;
	uint64_t a, b;
};

static struct {
	uint32_t next; // atomic
	struct event events[EVENTS];
} rings[RINGS];

void trace_event(const char *what, uint64_t a, uint64_t b)
{
	unsigned r = port_cpu_index() % RINGS;
	uint32_t slot = __atomic_fetch_add(&rings[r].next, 1, __ATOMIC_RELAXED) % EVENTS;

	rings[r].events[slot] = (struct event){ port_time_ns(), what, a, b };
}

void trace_ring_print(void (*print)(const char *text, size_t size), unsigned newest)
{
	char line[160];

	for (unsigned r = 0; r < RINGS; r++) {
		uint32_t end = rings[r].next, count = min(min(end, EVENTS), newest);
		for (uint32_t i = end - count; i != end; i++) {
			const struct event *e = &rings[r].events[i % EVENTS];
			int n = fmt_print(line, sizeof(line), "  cpu %u %8lu.%03lu us  %s %lx %lx\n", r,
					  e->time_ns / 1000, e->time_ns % 1000, e->what ? e->what : "?", e->a, e->b);
			print(line, min((size_t)n, sizeof(line) - 1));
		}
	}
}
