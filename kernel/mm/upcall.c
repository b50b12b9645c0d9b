// SPDX-License-Identifier: Apache-2.0
// Memory for the port's own tables (kernel/upcall.h). The page-fault upcall is in fault.c.
#include "kernel/upcall.h"

#include "internal.h"
#include "kernel/slab.h"

void *kernel_upcall_page_alloc(void)
{
	struct page *p = page_alloc(0, PAGE_ZERO);
	if (!p)
		return NULL;
	mm_count(COUNT_TABLES, 1);
	return page_address(p);
}

void kernel_upcall_page_free(void *page)
{
	mm_count(COUNT_TABLES, -1);
	page_put(page_from_address(page));
}

void *kernel_upcall_alloc(size_t size) { return kalloc(size); }

void kernel_upcall_free(void *object) { kfree(object); }
