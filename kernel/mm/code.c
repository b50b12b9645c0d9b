// SPDX-License-Identifier: Apache-2.0
// Program text, for ports that rewrite system-call sites (PORT_HOST; kernel/upcall.h): pages for their stubs, which the program's
// own view of its mappings does not show, and changes of text while no mapping changes.
#include "internal.h"
#include "kernel/task.h"
#include "kernel/upcall.h"
#include "map.h"
#include "port/host.h"
#include "vma.h"

#define STUB_FLAGS (VMA_SPECIAL | VMA_HIDDEN | VMA_DONTDUMP | VMA_READ | VMA_EXEC)

// A free page below `near`, or above it, within reach. mm.lock held.
static uint64_t find_place(struct mm *mm, uint64_t near, uint64_t reach)
{
	struct vma *v = mm_find(mm, near);
	uint64_t low = near > reach ? max(near - reach, PORT_USER_START) : PORT_USER_START;
	// Just below the run of mappings that `near` belongs to: a library's segments and what follows stay together.
	for (; v; v = vma_prev(v)) {
		struct vma *below = vma_prev(v);
		uint64_t floor = below ? below->end : PORT_USER_START;
		uint64_t room = v->flags & VMA_GROWSDOWN ? STACK_GUARD_BYTES + PAGE_SIZE : PAGE_SIZE;
		if (v->start < low + room)
			break;
		if (v->start - room >= floor && v->start - room <= near)
			return v->start - room;
	}
	uint64_t high = min(near + reach, port_user_end());
	return vma_find_gap_up(mm, near, high, PAGE_SIZE);
}

uint64_t kernel_upcall_code_page(uint64_t near, uint64_t reach)
{
	struct mm *mm = current->mm;

	rwsem_write_lock(&mm->lock);
	uint64_t place = find_place(mm, near, reach);
	if (place && mm_map_locked(mm, place, place + PAGE_SIZE, STUB_FLAGS, NULL, NULL, 0, "[stubs]"))
		place = 0;
	rwsem_write_unlock(&mm->lock);
	return place;
}

bool kernel_upcall_code_change(uint64_t address, uint64_t size, void (*fn)(void *context), void *context)
{
	struct mm *mm = current->mm;

	bool locked = mm->lock.owner == current; // code_pages_leave()
	if (!locked)
		rwsem_read_lock(&mm->lock);
	struct vma *v = mm_find(mm, address);
	bool fit = v && v->start <= address && address + size <= v->end && v->object &&
		   (v->flags & (VMA_EXEC | VMA_WRITE | VMA_SHARED | VMA_SPECIAL)) == VMA_EXEC;
	if (fit)
		fn(context);
	if (!locked)
		rwsem_read_unlock(&mm->lock);
	return fit;
}

int code_pages_leave(struct mm *mm, uint64_t start, uint64_t end, struct list *gone)
{
	if (!PORT_HOST)
		return 0;
	for (struct vma *v = mm_find(mm, start), *next; v && v->start < end; v = next) {
		next = vma_next(v);
		if (!(v->flags & VMA_HIDDEN))
			continue;
		int error = port_code_page_leave(mm->aspace, v->start);
		if (error)
			return error;
		vma_unlink(v);
		list_add(gone, &v->object_node);
	}
	return 0;
}
