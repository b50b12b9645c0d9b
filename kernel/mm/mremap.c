// SPDX-License-Identifier: Apache-2.0
// mremap(2): grow and shrink in place, move.
//
// A move takes the translations from the old place and installs them at the new one, page by page under the region locks, with
// mm.lock held for writing. For mappings of an object its vma_lock is held too: truncation must find every page at one of the two.
//
// With PORT_HOST the host moves its own mappings. A private page of a frame, which the host may have copied unseen, moves by its contents.
#include <linux/mman.h>

#include "host.h"
#include "internal.h"
#include "kernel/errno.h"
#include "kernel/sched.h"
#include "kernel/slab.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "lib/string.h"
#include "map.h"
#include "port/host.h"
#include "vma.h"

struct moved_page {
	struct port_pte pte;
	bool taken;
};

static void page_taken(void *context, uint64_t va, const struct port_pte *pte)
{
	struct moved_page *m = context;
	m->pte = *pte;
	m->taken = true;
}

static void lift(struct mm *mm, uint64_t va, unsigned prot)
{
	port_aspace_protect(mm->aspace, va, va + PAGE_SIZE, prot & 7, false, NULL, NULL);
}

// Reads a private page that the host may have copied.
static int copy_save(struct mm *mm, uint64_t va, const struct port_pte *pte, char *contents)
{
	lift(mm, va, pte->prot | PORT_PROT_READ);
	size_t left = port_copy_in(contents, va, PAGE_SIZE);
	lift(mm, va, pte->prot);
	return left ? -EFAULT : 0;
}

// Makes the host copy the page at its new place, if what was read is no longer what the frame holds.
static int copy_restore(struct mm *mm, uint64_t va, const struct port_pte *pte, const char *contents)
{
	if (!memcmp(contents, port_frame_address(pte->frame), PAGE_SIZE))
		return 0;
	lift(mm, va, pte->prot | PORT_PROT_READ | PORT_PROT_WRITE);
	size_t left = port_copy_out(va, contents, PAGE_SIZE);
	lift(mm, va, pte->prot);
	return left ? -EFAULT : 0;
}

// Moves one translation; its references and counters stay as they are. contents: room for a page, for those the host may have
// copied. -ENOMEM, -EFAULT: it is where it was.
static int move_page(struct mm *mm, uint64_t from, uint64_t to, char *contents)
{
	struct port_pte pte;
	struct moved_page m = { 0 };
	port_aspace_get_page(mm->aspace, from, &pte);
	if (!pte.present && !pte.busy)
		return 0;
	int error = port_aspace_lock(mm->aspace, to); // makes the table, so that nothing can fail from here on
	if (error)
		return error;
	port_aspace_unlock(mm->aspace, to);
	error = contents && pte.present ? copy_save(mm, from, &pte, contents) : 0;
	if (error)
		return error;
	mutex_lock(&mm->unmap_lock);
	port_aspace_unmap(mm->aspace, from, from + PAGE_SIZE, page_taken, &m);
	if (m.taken) {
		(void)port_aspace_lock(mm->aspace, to);
		port_aspace_set_page(mm->aspace, to, m.pte.frame, m.pte.prot);
		port_aspace_unlock(mm->aspace, to);
	}
	mutex_unlock(&mm->unmap_lock);
	return contents && m.taken ? copy_restore(mm, to, &m.pte, contents) : 0;
}

static int move_pages(struct mm *mm, uint64_t from, uint64_t to, uint64_t size, bool host_copies)
{
	char *contents = host_copies ? kalloc(PAGE_SIZE) : NULL;
	int error = host_copies && !contents ? -ENOMEM : 0;
	uint64_t offset = 0;
	for (; offset < size && !error; offset += PAGE_SIZE)
		error = move_page(mm, from + offset, to + offset, contents);
	if (error) {
		while (offset > 0) { // back, into tables that are there
			offset -= PAGE_SIZE;
			(void)move_page(mm, to + offset, from + offset, contents);
		}
	}
	kfree(contents);
	return error;
}

static uint64_t object_page_at(const struct vma *v, uint64_t address)
{
	return v->object ? v->object_page + ((address - v->start) >> PAGE_SHIFT) : 0;
}

// [start, start + size) is new, [old_start, old_start + old_size) of `v` moves there. keep: the old place is mapped anew.
static int host_move(struct mm *mm, struct vma *v, uint64_t old_start, uint64_t old_size, uint64_t start, uint64_t size,
		     bool keep)
{
	uint64_t moved = min(old_size, size);
	int error = 0;
	// What grows comes first: that is undone without fail.
	if (size > moved)
		error = host_map(mm, start + moved, start + size, v->flags, v->file, v->object,
				 object_page_at(v, old_start + moved));
	if (error)
		return error;
	if (moved)
		error = port_aspace_move(mm->aspace, old_start, start, moved);
	if (!error && keep && moved) {
		error = host_map(mm, old_start, old_start + old_size, v->flags, v->file, v->object,
				 object_page_at(v, old_start));
		if (error)
			(void)port_aspace_move(mm->aspace, start, old_start, moved);
	}
	if (error && size > moved)
		mm_unmap_pages(mm, start + moved, start + size);
	return error;
}

// The same for whatever kind of mapping; the new one is linked.
static int move_contents(struct mm *mm, struct vma *v, uint64_t old_start, uint64_t old_size, uint64_t start,
			 uint64_t size, bool keep)
{
	if (vma_is_host(v))
		return host_move(mm, v, old_start, old_size, start, size, keep);
	if (!(v->flags & VMA_HAS_ANON) && !v->object)
		return 0;
	bool host_copies = PORT_HOST && (v->flags & (VMA_HAS_ANON | VMA_SHARED)) == VMA_HAS_ANON;
	if (v->object)
		mutex_lock(&v->object->vma_lock);
	int error = move_pages(mm, old_start, start, min(old_size, size), host_copies);
	if (v->object)
		mutex_unlock(&v->object->vma_lock);
	if (error)
		mm_unmap_pages(mm, start, start + size);
	return error;
}

// Makes a mapping like `v` of [start, start + size) and moves the pages of the first min(old_size, size) bytes there.
static int move_vma(struct mm *mm, struct vma *v, uint64_t old_start, uint64_t old_size, uint64_t start, uint64_t size,
		    bool keep)
{
	struct vma *copy = vma_create(mm, start, start + size, v->flags);
	if (!copy)
		return -ENOMEM;
	copy->name = v->name;
	vma_attach(copy, v->file, v->object, object_page_at(v, old_start));
	vma_link(mm, copy);
	int error = move_contents(mm, v, old_start, old_size, start, size, keep);
	if (error) {
		vma_unlink(copy);
		vma_free(copy);
		return error;
	}
	vma_merge(copy);
	return 0;
}

static long do_move(struct mm *mm, uint64_t address, uint64_t old_size, uint64_t new_size, unsigned flags,
		    uint64_t new_address, struct list *gone)
{
	struct vma *v = mm_find(mm, address);
	uint64_t grows = new_size > old_size ? (new_size - old_size) >> PAGE_SHIFT : 0;
	if (flags & MREMAP_DONTUNMAP)
		grows = new_size >> PAGE_SHIFT;
	int error = grows ? mm_check_limits(mm, grows, v->flags) : 0;
	if (!error && grows && v->flags & VMA_LOCKED)
		error = mm_check_locked(mm, grows);
	if (error)
		return error;
	long start = mm_choose_address(mm, flags & MREMAP_FIXED ? new_address : 0, new_size,
				       flags & MREMAP_FIXED ? MAP_FIXED : 0, gone);
	if (start < 0)
		return start;
	v = mm_find(mm, address); // MAP_FIXED may have split it
	bool keep = flags & MREMAP_DONTUNMAP || !old_size;
	if (PORT_HOST && !keep) { // once the host has moved it, unmapping the old place must not fail
		error = vma_split(v, address);
		v = mm_find(mm, address);
		if (!error)
			error = vma_split(v, address + old_size);
		if (error)
			return error;
	}
	error = move_vma(mm, v, address, old_size, (uint64_t)start, new_size, keep);
	if (error)
		return error;
	if (!(flags & MREMAP_DONTUNMAP))
		error = mm_unmap_locked(mm, address, address + old_size, gone);
	return error ? error : start;
}

static bool can_grow_here(struct mm *mm, struct vma *v, uint64_t end)
{
	struct vma *next = vma_next(v);
	uint64_t guard = next && next->flags & VMA_GROWSDOWN ? STACK_GUARD_BYTES : 0;
	return end <= port_user_end() && (!next || next->start >= end + guard);
}

// [address, address + old_size) inside one mapping, as mremap wants it. NULL: *error.
static struct vma *source_vma(struct mm *mm, uint64_t address, uint64_t old_size, uint64_t new_size, int *error)
{
	struct vma *v = vma_find_shown(mm, address);
	*error = -EFAULT;
	if (!v || v->start > address)
		return NULL;
	*error = -EINVAL;
	if (!old_size && !(v->flags & VMA_SHARED))
		return NULL;
	*error = -EFAULT;
	if (old_size > v->end - address)
		return NULL;
	if (new_size > old_size && v->flags & VMA_SPECIAL)
		return NULL;
	if (v->object && v->object_page + ((address - v->start + new_size) >> PAGE_SHIFT) < v->object_page) {
		*error = -EINVAL;
		return NULL;
	}
	return v;
}

static long remap_locked(struct mm *mm, uint64_t address, uint64_t old_size, uint64_t new_size, unsigned flags,
			 uint64_t new_address, struct list *gone)
{
	int error;
	if (!(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && old_size >= new_size && old_size) {
		struct vma *v = vma_find_shown(mm, address);
		if (!v || v->start > address)
			return -EFAULT;
		error = old_size > new_size ? mm_unmap_locked(mm, address + new_size, address + old_size, gone) : 0;
		return error ? error : (long)address;
	}
	if (flags & MREMAP_FIXED && old_size > new_size) {
		error = mm_unmap_locked(mm, address + new_size, address + old_size, gone);
		if (error)
			return error;
		old_size = new_size;
	}
	struct vma *v = source_vma(mm, address, old_size, new_size, &error);
	if (!v)
		return error;
	if (flags & MREMAP_DONTUNMAP && (v->flags & VMA_SPECIAL))
		return -EINVAL;
	if (!(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && old_size == v->end - address &&
	    can_grow_here(mm, v, address + new_size)) {
		uint64_t pages = (new_size - old_size) >> PAGE_SHIFT;
		error = mm_check_limits(mm, pages, v->flags);
		if (!error && v->flags & VMA_LOCKED)
			error = mm_check_locked(mm, pages);
		if (!error)
			error = host_map(mm, address + old_size, address + new_size, v->flags, v->file, v->object,
					 object_page_at(v, address + old_size));
		if (error)
			return error;
		vma_resize(v, v->start, address + new_size);
		vma_merge(v);
		return (long)address;
	}
	if (!(flags & MREMAP_MAYMOVE))
		return -ENOMEM;
	return do_move(mm, address, old_size, new_size, flags, new_address, gone);
}

long sys_mremap(uint64_t address, uint64_t old_size, uint64_t new_size, unsigned flags, uint64_t new_address)
{
	struct mm *mm = current->mm;
	struct list gone = LIST_INIT(gone);
	if (flags & ~(unsigned)(MREMAP_FIXED | MREMAP_MAYMOVE | MREMAP_DONTUNMAP) || address & ~PAGE_MASK)
		return -EINVAL;
	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) && !(flags & MREMAP_MAYMOVE))
		return -EINVAL;
	old_size = align_up(old_size, PAGE_SIZE);
	new_size = align_up(new_size, PAGE_SIZE);
	if (!new_size || (flags & MREMAP_DONTUNMAP && old_size != new_size))
		return -EINVAL;
	if (flags & MREMAP_FIXED) {
		if (new_address & ~PAGE_MASK || !user_range_ok(new_address, new_size))
			return -EINVAL;
		if (address + old_size > new_address && new_address + new_size > address)
			return -EINVAL;
	}
	if (!user_range_ok(address, old_size))
		return -EINVAL;
	rwsem_write_lock(&mm->lock);
	long result = remap_locked(mm, address, old_size, new_size, flags, new_address, &gone);
	struct vma *v = result > 0 && new_size > old_size ? mm_find(mm, (uint64_t)result) : NULL;
	bool populate = v && v->flags & VMA_LOCKED;
	rwsem_write_unlock(&mm->lock);
	vma_list_free(&gone);
	if (populate)
		(void)mm_populate(mm, (uint64_t)result + old_size, new_size - old_size, false);
	return result;
}
