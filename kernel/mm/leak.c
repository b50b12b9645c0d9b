// SPDX-License-Identifier: Apache-2.0
// What memory must be back when no process is left (kernel/leak.h): anonymous pages, address spaces, mappings, and pages that no
// counter explains beyond those the kernel held when the first process started.
#include "kernel/leak.h"

#include "internal.h"
#include "kernel/init.h"
#include "kernel/slab.h"
#include "lib/string.h"

#define SLACK_PAGES 256 // stacks and the buffers of file requests, kept for the next use

static int64_t
	at_start; // unexplained pages when the first process was about to start; later those kept for good; atomic

void leak_pages_kept(int64_t count) { __atomic_fetch_add(&at_start, count, __ATOMIC_RELAXED); }

static int64_t unexplained(void)
{
	struct page_stats s;
	page_stats_get(&s);
	return (int64_t)s.total_pages -
	       (int64_t)(s.free_pages + s.cached_pages + s.anonymous_pages + s.slab_pages + s.table_pages);
}

static int64_t slab_used(const char *name)
{
	struct slab_info info;
	for (unsigned i = 0; slab_info_get(i, &info); i++)
		if (!strcmp(info.name, name))
			return (int64_t)info.objects_used;
	return 0;
}

static int64_t anonymous_left(void)
{
	struct page_stats s;
	page_drop_caches(true);
	page_stats_get(&s);
	return (int64_t)s.anonymous_pages;
}

static int64_t spaces_left(void) { return slab_used("mm"); }
static int64_t mappings_left(void) { return slab_used("vma"); }

static int64_t pages_left(void)
{
	int64_t more = unexplained() - __atomic_load_n(&at_start, __ATOMIC_RELAXED);
	return more > SLACK_PAGES ? more : 0;
}

static struct leak_counter anonymous = { .name = "anonymous-pages", .left = anonymous_left },
			   spaces = { .name = "address-spaces", .left = spaces_left },
			   mappings = { .name = "mappings", .left = mappings_left },
			   pages = { .name = "pages", .left = pages_left };

static void init(void)
{
	leak_counter_register(&pages);
	leak_counter_register(&mappings);
	leak_counter_register(&spaces);
	leak_counter_register(&anonymous);
}
KERNEL_INIT(2, init);

static void start(void) { at_start = unexplained(); }
KERNEL_INIT(4, start);
