// SPDX-License-Identifier: Apache-2.0
// The leak report.
#include "kernel/leak.h"
#include "lib/fmt.h"
#include "port/host.h"
#include "kernel/timer.h"
#include "kernel/waitq.h"

#define SETTLE_NS    (10 * NSEC_PER_MSEC)
#define SETTLE_TRIES 100u

static struct waitq nothing = WAITQ_INIT(nothing);
static struct leak_counter *counters; // registered at start by one CPU, then constant

void leak_counter_register(struct leak_counter *c)
{
	c->next = counters;
	counters = c;
}

static size_t count_left(char *text, size_t size)
{
	size_t length = 0;

	text[0] = '\0';
	for (struct leak_counter *c = counters; c; c = c->next) {
		int64_t left = c->left();
		if (left && length + 1 < size)
			length += (size_t)fmt_print(text + length, size - length, "%s %ld\n", c->name, left);
	}
	return length;
}

// Where tasks are host threads, one that has ended for everybody else may still be on its way out.
void leak_report(char *text, size_t size)
{
	for (unsigned tries = 0; tries < (PORT_HOST ? SETTLE_TRIES : 1); tries++) {
		if (PORT_HOST)
			port_task_reap();
		if (!count_left(text, size))
			return;
		if (PORT_HOST)
			(void)wait_event_mode(&nothing, false, PARK_UNINTERRUPTIBLE, port_time_ns() + SETTLE_NS);
	}
}
