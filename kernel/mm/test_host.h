// SPDX-License-Identifier: Apache-2.0
// A fake port with a host below it (PORT_HOST) for the unit tests of kernel/mm: what the host maps where, with the first word of
// each page, and the table of frames. It asserts what the contract says: nothing is mapped over something, only the current address
// space changes. Include after test_support.h and test_file.h.
#pragma once

#include <linux/mman.h>

#include "kernel/upcall.h"
#include "port/host.h"

#define SLOTS 16384u // a power of two, several times what a test maps

struct fake_pte {
	uint64_t va; // 0: free; kept when the page goes, so that probing goes on
	paddr_t frame;
	unsigned prot;
	bool present; // in the table of frames
	// what the host has
	bool mapped, file, shared, copied, resident, dont_fork, wipe_on_fork;
	uint64_t file_page;
	uint64_t word; // of a private page
};
struct port_aspace {
	struct fake_pte slots[SLOTS];
	unsigned locked;
	bool active;
};

static struct port_aspace *fake_aspace; // of the current task
static int fake_map_error;              // of the next port_aspace_map()
static unsigned fake_maps_until_error;
static int fake_spawn_error;

void *calloc(size_t count, size_t size);
void free(void *p);

bool port_stable_code(void) { return false; }
uint64_t port_user_end(void) { return UINT64_C(0x7ffffffff000); }
bool port_aspace_is_current(const struct port_aspace *as) { return as == fake_aspace; }
int port_aspace_create(struct port_aspace **out)
{
	*out = calloc(1, sizeof(**out));
	return 0;
}
void port_aspace_activate(struct port_aspace *as)
{
	if (fake_aspace) {
		fake_aspace->active = false;
		for (unsigned i = 0; i < SLOTS; i++)
			fake_aspace->slots[i].mapped = false;
	}
	fake_aspace = as;
	if (as)
		as->active = true;
}
void port_aspace_abandon(void) { port_aspace_activate(NULL); }
void port_aspace_destroy(struct port_aspace *as)
{
	for (unsigned i = 0; i < SLOTS; i++)
		assert_false(as->slots[i].present);
	free(as);
}
int port_aspace_lock(struct port_aspace *as, uint64_t va) { return as->locked++ ? -EINVAL : 0; }
void port_aspace_unlock(struct port_aspace *as, uint64_t va)
{
	assert_int_equal(as->locked, 1);
	as->locked--;
}

static struct fake_pte *fake_slot(struct port_aspace *as, uint64_t va, bool make)
{
	for (unsigned i = (unsigned)(va >> 12) * 2654435761u % SLOTS;; i = (i + 1) % SLOTS) {
		if (as->slots[i].va == va)
			return &as->slots[i];
		if (!as->slots[i].va) {
			if (make)
				as->slots[i].va = va;
			return make ? &as->slots[i] : NULL;
		}
	}
}

static struct page *fake_slot_page(const struct fake_pte *p) { return p->present ? page_from_frame(p->frame) : NULL; }

// ---- frames ----

void port_aspace_get_page(struct port_aspace *as, uint64_t va, struct port_pte *out)
{
	struct fake_pte *p = fake_slot(as, va, false);
	*out = (struct port_pte){ 0 };
	if (p && p->present)
		*out = (struct port_pte){ .frame = p->frame, .prot = (uint8_t)p->prot, .present = true };
}

void port_aspace_set_page(struct port_aspace *as, uint64_t va, paddr_t frame, unsigned prot)
{
	assert_int_equal(as->locked, 1);
	assert_ptr_equal(as, fake_aspace);
	struct fake_pte *p = fake_slot(as, va, true);
	assert_false(p->present && p->prot & PORT_PROT_PRIVATE); // a copy would be lost
	assert_false(p->mapped && !p->present);
	*p = (struct fake_pte){ .va = va, .frame = frame, .prot = prot, .present = true, .mapped = true };
}

void port_aspace_unmap(struct port_aspace *as, uint64_t start, uint64_t end,
		       void (*gone)(void *context, uint64_t va, const struct port_pte *pte), void *context)
{
	assert_true(as == fake_aspace || !as->active);
	for (unsigned i = 0; i < SLOTS; i++) {
		struct fake_pte *p = &as->slots[i];
		if (!(p->present || p->mapped) || p->va < start || p->va >= end)
			continue;
		struct port_pte pte = { .frame = p->frame, .prot = (uint8_t)p->prot, .present = true };
		bool present = p->present;
		p->present = p->mapped = false;
		if (present)
			gone(context, p->va, &pte);
	}
}

void port_aspace_protect(struct port_aspace *as, uint64_t start, uint64_t end, unsigned prot, bool limit_write,
			 void (*dirty)(void *context, uint64_t va, paddr_t frame), void *context)
{
	assert_ptr_equal(as, fake_aspace);
	assert_false(limit_write || prot & ~7u);
	for (unsigned i = 0; i < SLOTS; i++)
		if (as->slots[i].mapped && as->slots[i].va >= start && as->slots[i].va < end)
			as->slots[i].prot = prot | (as->slots[i].prot & PORT_PROT_PRIVATE);
}

int port_aspace_copy(struct port_aspace *to, struct port_aspace *from, uint64_t start, uint64_t end, bool cow,
		     void (*shared)(void *context, uint64_t va, const struct port_pte *pte), void *context)
{
	assert_false(cow || to->active);
	for (unsigned i = 0; i < SLOTS; i++) {
		struct fake_pte *p = &from->slots[i];
		if (!p->present || p->va < start || p->va >= end)
			continue;
		struct port_pte pte = { .frame = p->frame, .prot = (uint8_t)p->prot, .present = true };
		shared(context, p->va, &pte);
		*fake_slot(to, p->va, true) =
			(struct fake_pte){ .va = p->va, .frame = p->frame, .prot = p->prot, .present = true };
	}
	return 0;
}

// ---- the host's mappings ----

int port_task_spawn(struct port_task *child, struct port_aspace *as)
{
	if (fake_spawn_error)
		return fake_spawn_error;
	as->active = true;
	for (unsigned i = 0; i < SLOTS; i++) {
		const struct fake_pte *p = &fake_aspace->slots[i];
		if (!p->mapped || p->dont_fork)
			continue;
		struct fake_pte *q = fake_slot(as, p->va, true);
		assert_int_equal(q->present, p->present); // else the child maps a frame without a reference
		*q = *p;
		if (p->wipe_on_fork)
			q->word = 0;
	}
	return 0;
}

int port_aspace_map(struct port_aspace *as, uint64_t start, uint64_t end, unsigned prot, const struct port_backing *b)
{
	if (as != fake_aspace) {
		assert_false(as->active);
		return 0;
	}
	if (fake_map_error && !fake_maps_until_error--) {
		int error = fake_map_error;
		fake_map_error = 0;
		fake_maps_until_error = 0;
		return error;
	}
	assert_true(b->file == -1 || b->file == FAKE_HOST_FILE);
	for (uint64_t va = start; va < end; va += PAGE_SIZE) {
		struct fake_pte *p = fake_slot(as, va, true);
		assert_false(p->mapped || p->present);
		*p = (struct fake_pte){ .va = va,
					.prot = prot,
					.mapped = true,
					.file = b->file >= 0,
					.shared = b->shared,
					.file_page = ((va - start) + b->offset) >> PAGE_SHIFT };
	}
	return 0;
}

int port_aspace_move(struct port_aspace *as, uint64_t from, uint64_t to, uint64_t size)
{
	assert_ptr_equal(as, fake_aspace);
	for (uint64_t at = 0; at < size; at += PAGE_SIZE) {
		struct fake_pte *p = fake_slot(as, from + at, false), *q = fake_slot(as, to + at, true);
		assert_true(p && p->mapped && !p->present && !q->mapped);
		*q = *p;
		q->va = to + at;
		p->mapped = false;
	}
	return 0;
}

static int fake_advise(struct fake_pte *p, int advice)
{
	switch (advice) {
	case MADV_DONTNEED:
		p->copied = p->resident = false;
		p->word = 0;
		return 0;
	case MADV_POPULATE_WRITE:
		if (!(p->prot & PROT_WRITE))
			return -EINVAL;
		p->resident = true;
		return p->file && p->file_page >= FILE_PAGES ? -EFAULT : 0;
	case MADV_POPULATE_READ:
		p->resident |= p->prot & PROT_READ;
		return !(p->prot & PROT_READ) ? -EINVAL : p->file && p->file_page >= FILE_PAGES ? -EFAULT : 0;
	case MADV_DONTFORK:
	case MADV_DOFORK: p->dont_fork = advice == MADV_DONTFORK; return 0;
	case MADV_WIPEONFORK:
	case MADV_KEEPONFORK: p->wipe_on_fork = advice == MADV_WIPEONFORK; return 0;
	default: return 0;
	}
}

int port_aspace_advise(struct port_aspace *as, uint64_t start, uint64_t end, int advice)
{
	int error = 0;
	assert_ptr_equal(as, fake_aspace);
	for (uint64_t va = start; va < end && !error; va += PAGE_SIZE) {
		struct fake_pte *p = fake_slot(as, va, false);
		bool fork = advice == MADV_DONTFORK || advice == MADV_DOFORK;
		if (!p || !p->mapped)
			error = fork ? 0 : -ENOMEM;
		else if (p->present && !fork)
			fail_msg("advice %d for a frame", advice);
		else
			error = fake_advise(p, advice);
	}
	return error;
}

int port_aspace_resident(struct port_aspace *as, uint64_t start, uint64_t end, uint8_t *vector)
{
	assert_ptr_equal(as, fake_aspace);
	for (uint64_t va = start; va < end; va += PAGE_SIZE) {
		struct fake_pte *p = fake_slot(as, va, false);
		assert_true(p && p->mapped && !p->present);
		*vector++ = p->resident;
	}
	return 0;
}

static uint64_t fake_synced_start, fake_synced_end;
int port_aspace_sync(struct port_aspace *as, uint64_t start, uint64_t end, int flags)
{
	fake_synced_start = start;
	fake_synced_end = end;
	return 0;
}

int port_code_page_leave(struct port_aspace *as, uint64_t va) { return (void)as, (void)va, -ENOMEM; }

int port_barrier(int command, unsigned flags) { return 0; }

// ---- what a program does ----

// The word at the beginning of a page as the CPU finds it. NULL: the host faults, with flags besides those of the access.
static uint64_t *fake_word(uint64_t va, bool write, unsigned *flags)
{
	struct fake_pte *p = fake_slot(fake_aspace, va, false);
	*flags = 0;
	if (!p || !p->mapped || !(p->prot & 7) || (write && !(p->prot & PORT_PROT_WRITE)))
		return NULL;
	if (p->file && p->file_page >= FILE_PAGES) {
		*flags = UPCALL_FAULT_BUS;
		return NULL;
	}
	p->resident = true;
	bool is_private = p->present ? p->prot & PORT_PROT_PRIVATE : p->file && !p->shared;
	uint64_t *source = p->present ? port_frame_address(p->frame) : p->file ? &file_words[p->file_page] : &p->word;
	if (is_private && write && !p->copied) {
		p->word = *source;
		p->copied = true;
	}
	return is_private && p->copied ? &p->word : source;
}

static int fake_touch(struct mm *mm, uint64_t va, bool write, uint64_t **word)
{
	assert_ptr_equal(mm->aspace, fake_aspace);
	for (unsigned tries = 0; tries < 4; tries++) {
		unsigned flags;
		int signal, code;
		*word = fake_word(va & PAGE_MASK, write, &flags);
		if (*word)
			return 0;
		int error =
			mm_fault(mm, va, flags | UPCALL_FAULT_USER | (write ? UPCALL_FAULT_WRITE : 0), &signal, &code);
		assert_true(error != -ENOMEM);
		if (error)
			return signal;
	}
	fail_msg("the fault at %lx never ends", (unsigned long)va);
	return 0;
}

static uint64_t *fake_kernel_word(uint64_t va, bool write)
{
	for (unsigned tries = 0; tries < 4; tries++) {
		unsigned flags;
		uint64_t *word = fake_word(va & PAGE_MASK, write, &flags);
		if (word)
			return word;
		if (kernel_upcall_page_fault(NULL, va, flags | (write ? UPCALL_FAULT_WRITE : 0)))
			return NULL;
	}
	fail_msg("the fault at %lx never ends", (unsigned long)va);
	return NULL;
}

// Only the first word of a page is there, the rest is zero.
size_t port_copy_in(void *to, uint64_t user_from, size_t size)
{
	uint64_t *word = fake_kernel_word(user_from, false);
	assert_true(!(user_from & ~PAGE_MASK) && size >= 8 && size <= PAGE_SIZE);
	if (!word)
		return size;
	memset(to, 0, size);
	memcpy(to, word, 8);
	return 0;
}

#define FAKE_BUFFER UINT64_C(0x1000000000) // where a test lets a system call answer
static char fake_buffer[PAGE_SIZE];

size_t port_copy_out(uint64_t user_to, const void *from, size_t size)
{
	if (user_to >= FAKE_BUFFER && user_to + size <= FAKE_BUFFER + sizeof(fake_buffer)) {
		memcpy(fake_buffer + (user_to - FAKE_BUFFER), from, size);
		return 0;
	}
	uint64_t *word = fake_kernel_word(user_to, true);
	if (!word)
		return size;
	memcpy(word, from, 8);
	return 0;
}

// The test goes on as the only task of another process.
static void fake_switch(struct mm *mm)
{
	fake_task.mm = mm;
	fake_aspace = mm->aspace;
}

// Its last task is gone.
static void fake_leave(struct mm *mm)
{
	mm->active = mm->aspace->active = false;
	for (unsigned i = 0; i < SLOTS; i++)
		mm->aspace->slots[i].mapped = false;
}
