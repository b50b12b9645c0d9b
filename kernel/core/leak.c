// SPDX-License-Identifier: Apache-2.0
// The leak report.
#include "kernel/leak.h"
#include "lib/fmt.h"
#include "port/host.h"
#include "port/inline.h"

static struct leak_counter *counters; // registered at start by one CPU, then constant

void leak_counter_register(struct leak_counter *c)
{
	c->next = counters;
	counters = c;
}

void leak_report(char *text, size_t size)
{
	size_t length = 0;

	if (PORT_HOST)
		port_task_reap();
	text[0] = '\0';
	for (struct leak_counter *c = counters; c; c = c->next) {
		int64_t left = c->left();
		if (left && length + 1 < size)
			length += (size_t)fmt_print(text + length, size - length, "%s %ld\n", c->name, left);
	}
}
