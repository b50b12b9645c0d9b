// SPDX-License-Identifier: Apache-2.0
// A fake port address space for the unit tests of kernel/mm: a hash table of translations. Include after test_support.h.
#pragma once

#include "kernel/upcall.h"

#define SLOTS 16384u // a power of two, several times what a test maps

struct fake_pte {
	uint64_t va; // 0: free; kept when the translation goes, so that probing goes on
	paddr_t frame;
	unsigned prot;
	bool present;
};
struct port_aspace {
	struct fake_pte slots[SLOTS];
	unsigned locked;
};

void *calloc(size_t count, size_t size);
void free(void *p);

bool port_stable_code(void) { return false; }
uint64_t port_user_end(void) { return UINT64_C(0x7ffffffff000); }
int port_aspace_create(struct port_aspace **out)
{
	*out = calloc(1, sizeof(**out));
	return 0;
}
void port_aspace_activate(struct port_aspace *as) {}
void port_aspace_abandon(void) {}
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

size_t port_copy_out(uint64_t user_to, const void *from, size_t size) { return size; }
size_t port_copy_in(void *to, uint64_t user_from, size_t size) { return size; }

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

void port_aspace_get_page(struct port_aspace *as, uint64_t va, struct port_pte *out)
{
	struct fake_pte *p = fake_slot(as, va, false);
	*out = (struct port_pte){ 0 };
	if (p && p->present)
		*out = (struct port_pte){ .frame = p->frame,
					  .prot = (uint8_t)(p->prot ? p->prot | PORT_PROT_READ : 0),
					  .present = true };
}

void port_aspace_set_page(struct port_aspace *as, uint64_t va, paddr_t frame, unsigned prot)
{
	assert_int_equal(as->locked, 1);
	struct fake_pte *p = fake_slot(as, va, true);
	p->frame = frame;
	p->prot = prot;
	p->present = true;
}

void port_aspace_unmap(struct port_aspace *as, uint64_t start, uint64_t end,
		       void (*gone)(void *context, uint64_t va, const struct port_pte *pte), void *context)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		struct fake_pte *p = &as->slots[i];
		if (!p->present || p->va < start || p->va >= end)
			continue;
		struct port_pte pte = { .frame = p->frame, .prot = (uint8_t)p->prot, .present = true };
		p->present = false;
		gone(context, p->va, &pte);
	}
}

void port_aspace_protect(struct port_aspace *as, uint64_t start, uint64_t end, unsigned prot, bool limit_write,
			 void (*dirty)(void *context, uint64_t va, paddr_t frame), void *context)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (as->slots[i].present && as->slots[i].va >= start && as->slots[i].va < end)
			as->slots[i].prot = limit_write ? prot & ~PORT_PROT_WRITE : prot;
}

int port_aspace_copy(struct port_aspace *to, struct port_aspace *from, uint64_t start, uint64_t end, bool cow,
		     void (*shared)(void *context, uint64_t va, const struct port_pte *pte), void *context)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		struct fake_pte *p = &from->slots[i];
		if (!p->present || p->va < start || p->va >= end)
			continue;
		if (cow)
			p->prot &= ~PORT_PROT_WRITE;
		struct port_pte pte = { .frame = p->frame, .prot = (uint8_t)p->prot, .present = true };
		shared(context, p->va, &pte);
		struct fake_pte *q = fake_slot(to, p->va, true);
		q->frame = p->frame;
		q->prot = p->prot;
		q->present = true;
	}
	return 0;
}

// What a program does: touches [va], faulting as often as the CPU would. 0, or the signal.
static int fake_touch(struct mm *mm, uint64_t va, bool write, uint64_t **word)
{
	for (unsigned tries = 0; tries < 4; tries++) {
		struct port_pte pte;
		int signal, code;
		port_aspace_get_page(mm->aspace, va & PAGE_MASK, &pte);
		if (pte.present && pte.prot & PORT_PROT_READ && (!write || pte.prot & PORT_PROT_WRITE)) {
			*word = (uint64_t *)((char *)port_frame_address(pte.frame) + (va & ~PAGE_MASK));
			return 0;
		}
		int error = mm_fault(mm, va, UPCALL_FAULT_USER | (write ? UPCALL_FAULT_WRITE : 0), &signal, &code);
		assert_true(error != -ENOMEM);
		if (error)
			return signal;
	}
	fail_msg("the fault at %lx never ends", (unsigned long)va);
	return 0;
}

static void fake_switch(struct mm *mm) { fake_task.mm = mm; }
static void fake_leave(struct mm *mm) {}

// May the frame be found there? What is counted: kernel/mm.h, resident_anon and resident_file.
static struct page *fake_slot_page(const struct fake_pte *p) { return p->present ? page_from_frame(p->frame) : NULL; }
