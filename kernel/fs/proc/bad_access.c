// SPDX-License-Identifier: Apache-2.0
// Bugs of each kind that the address sanitizer (lib/asan.h) is to find, for its tests: what is written to /proc/cloister/panic names one.
// What the compiler could see through is volatile.
#include "kernel/log.h"
#include "kernel/page.h"
#include "kernel/slab.h"
#include "kernel/task.h"
#include "lib/string.h"
#include "proc.h"

#define BYTES 24u

static volatile size_t bytes = BYTES;

static char *object_new(size_t size)
{
	char *object = kalloc(size);
	if (!object)
		panic("no memory for a bad access");
	return object;
}

static void touch(volatile char *at) { *at = 1; }

static void heap(void) { touch(object_new(bytes) + bytes); }

static void large(void) { (void)*(volatile char *)(object_new(bytes + 3 * PAGE_SIZE) + bytes + 3 * PAGE_SIZE); }

static void use_freed(void)
{
	char *object = object_new(bytes);
	kfree(object);
	touch(object + bytes - 1);
}

static void free_twice(void)
{
	char *object = object_new(bytes);
	kfree(object);
	kfree(object);
}

static void free_page(void)
{
	struct page *p = page_alloc(0, 0);
	if (!p)
		panic("no memory for a bad access");
	page_put(p);
	(void)*(volatile char *)page_address(p);
}

static void global(void)
{
	static char variable[BYTES];
	touch(variable + bytes);
}

static void stack(void)
{
	char variable[BYTES];
	touch(variable + bytes);
}

static void scope(void)
{
	volatile uintptr_t at; // not a pointer: the compiler would see
	{
		char inner[BYTES];
		at = (uintptr_t)inner;
		touch((char *)at);
	}
	touch((char *)at);
}

static void copy(void)
{
	(void)port_copy_out(port_task_regs(current->port)->sp - PAGE_SIZE, object_new(bytes), bytes + 1);
}

static void string(void)
{
	char *object = object_new(bytes);
	memset(object, 'x', bytes);
	volatile size_t length = strlen(object);
	(void)length;
}

static void null(void) { touch((volatile char *)(bytes / 3)); }

static const struct {
	const char *name;
	void (*access)(void);
} kinds[] = {
	{ "heap", heap },      { "large", large },   { "free", use_freed }, { "twice", free_twice },
	{ "page", free_page }, { "global", global }, { "stack", stack },    { "scope", scope },
	{ "copy", copy },      { "string", string }, { "null", null },
};

void proc_bad_access(const char *kind)
{
	for (unsigned i = 0; i < array_count(kinds); i++)
		if (!strncmp(kind, kinds[i].name, strlen(kinds[i].name)))
			kinds[i].access();
}
