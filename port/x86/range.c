// SPDX-License-Identifier: Apache-2.0
// Page-table operations on ranges: unmap, protect, copy for fork. Each holds one region lock at a time (fork: parent's,
// then child's) and flushes once at the end: pages to be freed stay in the table, marked as going, until then.
#include "aspace.h"
#include "tlb.h"

#include <asm/errno.h>

// One lowest-level table's part of a range.
struct region {
	uint64_t *table;
	uint64_t start, end;
};

static bool entry_occupied(const uint64_t *table, unsigned index)
{
	return __atomic_load_n(&table[index & ~(GROUP_ENTRIES - 1)], __ATOMIC_RELAXED) & PTE_OCCUPIED;
}

// First entry at or after `index` that is in use for the CPU, 512 if there is none.
static unsigned next_present(const uint64_t *table, unsigned index)
{
	while (index < 512) {
		if (!entry_occupied(table, index)) {
			index = (index | (GROUP_ENTRIES - 1)) + 1;
			continue;
		}
		if (__atomic_load_n(&table[index], __ATOMIC_ACQUIRE) & PTE_P)
			return index;
		index++;
	}
	return 512;
}

// Finds the first region in [*at, end) that has a table, skipping what upper levels do not cover, and moves *at past it.
static bool next_region(struct port_aspace *as, uint64_t *at, uint64_t end, struct region *out)
{
	while (*at < end) {
		uint64_t start = *at;
		uint64_t *t = as->pml4;
		unsigned level = 3;
		for (; level > 0; level--) {
			unsigned index = pte_index(start, level), found = next_present(t, index);
			if (found != index) { // 512: the first entry of the next table, if there is one
				uint64_t entry = UINT64_C(1) << (12 + 9 * level);
				*at = (start & ~(entry - 1)) + (found - index) * entry;
				break;
			}
			t = phys_to_virt(t[index] & PTE_FRAME);
		}
		if (level)
			continue;
		*at = pte_span_end(start, 0, end);
		*out = (struct region){ .table = t, .start = start, .end = *at };
		return true;
	}
	return false;
}

static void lock_table(uint64_t *table)
{
	while (__atomic_fetch_or(table, PTE_LOCK, __ATOMIC_ACQUIRE) & PTE_LOCK)
		while (__atomic_load_n(table, __ATOMIC_RELAXED) & PTE_LOCK)
			port_cpu_relax();
}

static void unlock_table(uint64_t *table) { __atomic_fetch_and(table, ~PTE_LOCK, __ATOMIC_RELEASE); }

// Calls for every entry of the region that may be in use: the skeleton of all that follows.
#define FOR_EACH_ENTRY(r, va, pte)                                                                       \
	for (uint64_t va = (r)->start, group_end; va < (r)->end; va = group_end)                         \
		if ((group_end = (va & ~(GROUP_ENTRIES * PAGE_BYTES - 1)) + GROUP_ENTRIES * PAGE_BYTES), \
		    group_end = group_end < (r)->end ? group_end : (r)->end,                             \
		    entry_occupied((r)->table, pte_index(va, 0)))                                        \
			for (uint64_t *pte = &(r)->table[pte_index(va, 0)]; va < group_end; va += PAGE_BYTES, pte++)

// What is to be flushed, grown page by page.
struct flush_range {
	uint64_t start, end;
};

static void flush_add(struct flush_range *f, uint64_t va)
{
	if (!f->end)
		f->start = va;
	f->end = va + PAGE_BYTES;
}

static void flush_finish(struct flush_range *f, struct port_aspace *as)
{
	if (f->end)
		x86_tlb_flush(as, f->start, f->end);
}

// ---- unmap ----

static bool take_out(struct region *r, struct flush_range *flush)
{
	bool any = false;
	lock_table(r->table);
	FOR_EACH_ENTRY(r, va, pte)
	{
		uint64_t old = __atomic_load_n(pte, __ATOMIC_RELAXED);
		if (!pte_installed(old))
			continue;
		// The CPU may be setting accessed and dirty bits until the entry is not present.
		while (!__atomic_compare_exchange_n(pte, &old, (old & ~(PTE_P | PTE_SOFT_PRESENT)) | PTE_GOING, false,
						    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			;
		any = true;
		if ((old & PTE_P) && (old & PTE_A))
			flush_add(flush, va);
	}
	unlock_table(r->table);
	return any;
}

static void hand_over(struct region *r, void (*gone)(void *, uint64_t, const struct port_pte *), void *context)
{
	lock_table(r->table);
	FOR_EACH_ENTRY(r, va, pte)
	{
		uint64_t old = __atomic_load_n(pte, __ATOMIC_RELAXED);
		if (!(old & PTE_GOING))
			continue;
		__atomic_fetch_and(pte, PTE_META, __ATOMIC_RELAXED);
		struct port_pte p;
		pte_decode((old & ~PTE_GOING) | PTE_P | PTE_SOFT_PRESENT, &p);
		gone(context, va, &p);
	}
	unlock_table(r->table);
}

// How many regions with pages in them one flush serves at most; bounds the look back.
#define UNMAP_REGIONS 16u

void port_aspace_unmap(struct port_aspace *as, uint64_t start, uint64_t end,
		       void (*gone)(void *context, uint64_t va, const struct port_pte *pte), void *context)
{
	uint64_t at = start;
	while (at < end) {
		struct region found[UNMAP_REGIONS];
		unsigned count = 0;
		struct flush_range flush = { 0 };
		struct region r;
		while (count < UNMAP_REGIONS && next_region(as, &at, end, &r))
			if (take_out(&r, &flush))
				found[count++] = r;
		flush_finish(&flush, as);
		for (unsigned i = 0; i < count; i++)
			hand_over(&found[i], gone, context);
	}
}

// ---- protect ----

static uint64_t with_prot(uint64_t old, unsigned prot, bool clean)
{
	uint64_t new = pte_encode(old & PTE_FRAME, prot);
	new |= old &(PTE_A | PTE_D | PTE_META);
	return clean ? new & ~PTE_D : new;
}

void port_aspace_protect(struct port_aspace *as, uint64_t start, uint64_t end, unsigned prot, bool limit_write,
			 void (*dirty)(void *context, uint64_t va, paddr_t frame), void *context)
{
	struct flush_range flush = { 0 };
	struct region r;
	if (limit_write)
		prot &= ~PORT_PROT_WRITE;
	for (uint64_t at = start; next_region(as, &at, end, &r);) {
		lock_table(r.table);
		FOR_EACH_ENTRY(&r, va, pte)
		{
			uint64_t old = __atomic_load_n(pte, __ATOMIC_RELAXED);
			if (!pte_installed(old))
				continue;
			uint64_t new;
			do {
				new = with_prot(old, prot, dirty != NULL);
			} while (!__atomic_compare_exchange_n(pte, &old, new, false, __ATOMIC_ACQ_REL,
							      __ATOMIC_RELAXED));
			if (pte_needs_flush(old, new) || ((old & PTE_P) && (old & ~new &PTE_D)))
				flush_add(&flush, va);
			if (dirty && (old & PTE_D))
				dirty(context, va, old & PTE_FRAME);
		}
		unlock_table(r.table);
	}
	flush_finish(&flush, as);
}

// ---- copy ----

struct copy {
	struct port_aspace *from, *to;
	bool cow;
	void (*shared)(void *context, uint64_t va, const struct port_pte *pte);
	void *context;
	struct flush_range flush;
};

static void copy_entry(struct copy *c, uint64_t va, uint64_t *from, uint64_t *to_table)
{
	uint64_t old = __atomic_load_n(from, __ATOMIC_RELAXED);
	if (!pte_installed(old))
		return;
	if (c->cow && (old & PTE_W)) {
		old = __atomic_fetch_and(from, ~PTE_W, __ATOMIC_ACQ_REL);
		flush_add(&c->flush, va);
	}
	struct port_pte p;
	pte_decode(old, &p);
	c->shared(c->context, va, &p);
	unsigned i = pte_index(va, 0);
	uint64_t *head = &to_table[i & ~(GROUP_ENTRIES - 1)];
	uint64_t new = old & ~(PTE_META | (c->cow ? PTE_W : 0));
	// Nobody else can reach the child's tables yet but reclaim, which takes the region lock we hold.
	to_table[i] = new | (to_table[i] & PTE_META);
	*head |= PTE_OCCUPIED;
}

static bool region_empty(const struct region *r)
{
	FOR_EACH_ENTRY(r, va, pte)
	{
		if (pte_installed(__atomic_load_n(pte, __ATOMIC_RELAXED)))
			return false;
	}
	return true;
}

static int copy_region(struct copy *c, struct region *r)
{
	// Pages are installed by other threads' faults at any time; none of them must be copied, so an unlocked look will do.
	if (region_empty(r))
		return 0;
	int error = port_aspace_lock(c->to, r->start); // may allocate the table: not under the parent's lock
	if (error)
		return error;
	port_aspace_unlock(c->to, r->start);
	uint64_t *to_table = x86_aspace_table(c->to, r->start);
	lock_table(r->table);
	lock_table(to_table);
	FOR_EACH_ENTRY(r, va, pte)
	copy_entry(c, va, pte, to_table);
	unlock_table(to_table);
	unlock_table(r->table);
	return 0;
}

int port_aspace_copy(struct port_aspace *to, struct port_aspace *from, uint64_t start, uint64_t end, bool cow,
		     void (*shared)(void *context, uint64_t va, const struct port_pte *pte), void *context)
{
	struct copy c = { .from = from, .to = to, .cow = cow, .shared = shared, .context = context };
	struct region r;
	int error = 0;
	for (uint64_t at = start; !error && next_region(from, &at, end, &r);)
		error = copy_region(&c, &r);
	flush_finish(&c.flush, from);
	return error;
}
