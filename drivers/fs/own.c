// SPDX-License-Identifier: Apache-2.0
// What this cell does to names in watched directories, remembered until the host reports it.
//
// The host's report of a change comes on another way than the answer to the request that made it, before or after. So an operation
// is recorded before it is sent; a report that finds its record (directory, name, kind) is no news and takes the record away. A
// record that no report ever takes (the watch began or ended meanwhile) goes after some seconds. watch.c does not let a wrong
// match make a stale entry last: it looks again where the entry does not agree with the report.
//
// One list, oldest first, as reports come in about that order; its lock is a leaf.
#include "own.h"

#include <linux/inotify.h>

#include "fs.h"
#include "kernel/slab.h"
#include "kernel/timer.h"
#include "lib/string.h"

#define LIFE_NS     (5 * NSEC_PER_SEC)
#define RECORDS_MAX 4096u
#define KIND(mask)  ((mask) & (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO))

struct record {
	struct list node;
	uint64_t ticket, expires_ns;
	struct fs_connection *connection;
	uint64_t nodeid; // of the directory
	uint32_t kind;
	uint32_t length;
	char name[];
};

static struct spinlock lock = SPINLOCK_INIT; // guards what follows
static struct list records = LIST_INIT(records);
static unsigned record_count;
static uint64_t last_ticket;

static void take_off(struct record *r) // lock
{
	list_remove(&r->node);
	record_count--;
}

// The oldest, if its time is over or there are too many. lock
static struct record *expired(uint64_t now)
{
	struct record *r = list_empty(&records) ? NULL : list_first(&records, struct record, node);
	if (!r || (r->expires_ns > now && record_count < RECORDS_MAX))
		return NULL;
	take_off(r);
	return r;
}

uint64_t fs_own_record(struct inode *dir, const char *name, size_t length, uint32_t mask)
{
	struct record *r = kalloc(sizeof(*r) + length), *old;
	uint64_t now = clock_monotonic_ns(), ticket;
	if (!r)
		return 0;
	r->expires_ns = now + LIFE_NS;
	r->connection = fs_connection_of(dir);
	r->nodeid = fs_node(dir);
	r->kind = KIND(mask);
	r->length = (uint32_t)length;
	memcpy(r->name, name, length);
	spin_lock(&lock);
	old = expired(now);
	ticket = r->ticket = ++last_ticket;
	list_add_tail(&records, &r->node);
	record_count++;
	spin_unlock(&lock);
	kfree(old);
	return ticket;
}

void fs_own_cancel(uint64_t ticket)
{
	struct record *r, *next, *found = NULL;
	spin_lock(&lock);
	list_for_each_safe (r, next, &records, node)
		if (r->ticket == ticket) {
			take_off(r);
			found = r;
			break;
		}
	spin_unlock(&lock);
	kfree(found);
}

bool fs_own_match(struct fs_connection *c, uint64_t nodeid, const char *name, size_t length, uint32_t mask)
{
	struct record *r, *next, *found = NULL;
	uint64_t now = clock_monotonic_ns();
	spin_lock(&lock);
	list_for_each_safe (r, next, &records, node) {
		if (r->nodeid != nodeid || r->connection != c || r->kind != KIND(mask) || r->length != length ||
		    memcmp(r->name, name, length) != 0)
			continue;
		take_off(r);
		found = r;
		break;
	}
	bool match = found && found->expires_ns > now;
	spin_unlock(&lock);
	kfree(found);
	return match;
}
