// SPDX-License-Identifier: Apache-2.0
// The registry of byte channels.
#include "kernel/channel.h"
#include "lib/string.h"

static struct channel *channels; // added at start by drivers, never removed; lock
static struct spinlock lock = SPINLOCK_INIT;

void channel_register(struct channel *c)
{
	spin_lock(&lock);
	c->next = channels;
	channels = c;
	spin_unlock(&lock);
}

struct channel *channel_find(const char *name)
{
	spin_lock(&lock);
	struct channel *c = channels;
	while (c && strcmp(c->name, name) != 0)
		c = c->next;
	spin_unlock(&lock);
	return c;
}
