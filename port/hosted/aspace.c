// SPDX-License-Identifier: Apache-2.0
// Address spaces. Ranges are the host's business: they are mapped, moved and protected by its calls, and found there at fork.
// For frames of the kernel's (tmpfs, shared memory) a table says which is mapped where, because the kernel counts them: entries are
// made one at a time after faults, and reported to the kernel when they go.
//
// Only a task that runs in an address space can change what is mapped; everybody may change its table.
//
// Lock: port_aspace.lock, taken by the kernel through port_aspace_lock() or here. The host's calls are made under it when an entry
// changes, so that table and memory agree.
#include "aspace.h"

#include "kernel/upcall.h"
#include "layout.h"
#include "lib/compiler.h"
#include "port/host.h"
#include "syscall.h"
#include "task.h"
#include "time.h"
#include "window.h"

#include <asm/errno.h>
#include <linux/mman.h>

#define ENTRY_PRESENT UINT64_C(1)
#define ENTRY_PROT    UINT64_C(0x700) // PORT_PROT_*, from bit 8 on
#define ENTRY_FRAME   UINT64_C(0xfffffffffffff000)
#define ENTRY_PRIVATE UINT64_C(0x800)
#define LEVELS        4u
#define INDEX_BITS    9u
#define TABLE_ENTRIES (1u << INDEX_BITS)

static inline bool is_mine(const struct port_aspace *as) { return current_port()->aspace == as; }

bool port_aspace_is_current(const struct port_aspace *as) { return is_mine(as); }

static int host_prot(unsigned prot)
{
	// Execute without read is a key of its own on some hosts: no program expects that of PROT_EXEC here.
	return (prot & (PORT_PROT_READ | PORT_PROT_EXEC) ? PROT_READ : 0) | (prot & PORT_PROT_WRITE ? PROT_WRITE : 0) |
	       (prot & PORT_PROT_EXEC ? PROT_EXEC : 0);
}

// ---- life ----

int port_aspace_create(struct port_aspace **out)
{
	struct port_aspace *as = kernel_upcall_alloc(sizeof(*as));
	*out = as;
	if (as)
		as->refs = 1;
	return as ? 0 : -ENOMEM;
}

static void table_free(uint64_t *table, unsigned level)
{
	for (unsigned i = 0; level && i < TABLE_ENTRIES; i++)
		if (table[i])
			table_free((uint64_t *)table[i], level - 1);
	kernel_upcall_page_free(table);
}

static void aspace_put(struct port_aspace *as)
{
	if (__atomic_sub_fetch(&as->refs, 1, __ATOMIC_ACQ_REL))
		return;
	hosted_rewrite_destroy(&as->rewriting);
	hosted_windows_destroy(as->windows);
	if (as->root)
		table_free(as->root, LEVELS - 1);
	kernel_upcall_free(as);
}

// Threads that are on their way out may still have it.
void port_aspace_destroy(struct port_aspace *as) { aspace_put(as); }

void hosted_aspace_enter(struct port_aspace *as)
{
	__atomic_fetch_add(&as->refs, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&as->threads, 1, __ATOMIC_RELAXED);
}

void hosted_aspace_leave(struct port_aspace *as)
{
	if (__atomic_sub_fetch(&as->threads, 1, __ATOMIC_ACQ_REL) == 0)
		__atomic_store_n(&as->tgid, 0, __ATOMIC_RELEASE);
	aspace_put(as);
}

size_t port_aspace_table_bytes(struct port_aspace *as) { return as->table_pages * PAGE_BYTES; }

int32_t port_aspace_process(const struct port_aspace *as) { return __atomic_load_n(&as->tgid, __ATOMIC_ACQUIRE); }

uint64_t port_aspace_time_ns(struct port_aspace *as)
{
	int32_t tgid = __atomic_load_n(&as->tgid, __ATOMIC_ACQUIRE);
	return tgid ? hosted_process_time_ns(tgid) : 0;
}

int hosted_memory_init(void)
{
	long error = HOST(munmap, 0, hosted.image_start);
	uint64_t end = hosted.arena_end + HOSTED_OPEN_BYTES;

	if (!error)
		error = HOST(munmap, end, USER_LIMIT - end);
	return (int)error;
}

// ---- the table ----

static inline unsigned index_at(uint64_t va, unsigned level)
{
	return va >> (12 + level * INDEX_BITS) & (TABLE_ENTRIES - 1);
}

// The entry of `va`, or NULL when there is no table for it.
static uint64_t *entry_find(const struct port_aspace *as, uint64_t va)
{
	uint64_t *table = as->root;
	for (unsigned level = LEVELS - 1; table && level; level--)
		table = (uint64_t *)__atomic_load_n(&table[index_at(va, level)], __ATOMIC_ACQUIRE);
	return table ? &table[index_at(va, 0)] : NULL;
}

static uint64_t *table_new(struct port_aspace *as)
{
	uint64_t *t = kernel_upcall_page_alloc();
	if (t)
		as->table_pages++;
	return t;
}

static uint64_t *entry_make(struct port_aspace *as, uint64_t va)
{
	if (!as->root)
		as->root = table_new(as);
	uint64_t *table = as->root;
	for (unsigned level = LEVELS - 1; table && level; level--) {
		uint64_t *slot = &table[index_at(va, level)];
		if (!*slot)
			__atomic_store_n(slot, (uint64_t)table_new(as), __ATOMIC_RELEASE);
		table = (uint64_t *)*slot;
	}
	return table ? &table[index_at(va, 0)] : NULL;
}

// Calls fn for each present entry of [start, end), in order.
static void for_each(struct port_aspace *as, uint64_t *table, unsigned level, uint64_t base, uint64_t start,
		     uint64_t end, void (*fn)(struct port_aspace *as, uint64_t va, uint64_t *entry, void *context),
		     void *context)
{
	const unsigned shift = 12 + level * INDEX_BITS;
	uint64_t first = start > base ? (start - base) >> shift : 0;
	for (uint64_t i = first; i < TABLE_ENTRIES; i++) {
		uint64_t va = base + (i << shift);
		if (va >= end)
			return;
		if (!table[i])
			continue;
		if (level)
			for_each(as, (uint64_t *)table[i], level - 1, va, start, end, fn, context);
		else if (table[i] & ENTRY_PRESENT)
			fn(as, va, &table[i], context);
	}
}

static void walk(struct port_aspace *as, uint64_t start, uint64_t end,
		 void (*fn)(struct port_aspace *as, uint64_t va, uint64_t *entry, void *context), void *context)
{
	if (as->root)
		for_each(as, as->root, LEVELS - 1, 0, start, end, fn, context);
}

static void decode(uint64_t entry, struct port_pte *out)
{
	*out = (struct port_pte){ 0 };
	if (!(entry & ENTRY_PRESENT))
		return;
	out->present = true;
	out->frame = entry & ENTRY_FRAME;
	out->prot = (uint8_t)((entry & ENTRY_PROT) >> 8 & 7u) | (entry & ENTRY_PRIVATE ? PORT_PROT_PRIVATE : 0);
}

static uint64_t encode(paddr_t frame, unsigned prot)
{
	return frame | ENTRY_PRESENT | (uint64_t)(prot & 7) << 8 | (prot & PORT_PROT_PRIVATE ? ENTRY_PRIVATE : 0);
}

void port_aspace_get_page(struct port_aspace *as, uint64_t va, struct port_pte *out)
{
	uint64_t *e = entry_find(as, va);
	decode(e ? __atomic_load_n(e, __ATOMIC_ACQUIRE) : 0, out);
}

int port_aspace_lock(struct port_aspace *as, uint64_t va)
{
	hosted_lock(&as->lock);
	if (likely(entry_make(as, va) != NULL))
		return 0;
	hosted_unlock(&as->lock);
	return -ENOMEM;
}

void port_aspace_unlock(struct port_aspace *as, uint64_t va)
{
	(void)va;
	hosted_unlock(&as->lock);
}

// Makes the host's mapping of a page what the entry says. A private page may have been written: the same frame is only protected anew,
// not mapped anew.
static bool host_page_set(uint64_t va, uint64_t entry, bool protect_only)
{
	int prot = host_prot(entry >> 8 & 7);

	if (protect_only)
		return HOST(mprotect, va, PAGE_BYTES, prot) == 0;
	return HOST(mmap, va, PAGE_BYTES, prot, MAP_FIXED | (entry & ENTRY_PRIVATE ? MAP_PRIVATE : MAP_SHARED),
		    hosted.memory_fd, entry & ENTRY_FRAME) == (long)va;
}

void port_aspace_set_page(struct port_aspace *as, uint64_t va, paddr_t frame, unsigned prot)
{
	uint64_t *e = entry_find(as, va), fresh = encode(frame, prot), old = *e;
	bool same = old & ENTRY_PRESENT && (old & ENTRY_FRAME) == frame && !((old ^ fresh) & ENTRY_PRIVATE);

	// The host refuses when the process has too many mappings. The kernel counts the page as mapped all the same; whoever needs
	// it faults, and finds out by hosted_aspace_agrees().
	if (is_mine(as) && !host_page_set(va, fresh, same))
		__atomic_store_n(&as->refused, true, __ATOMIC_RELAXED);
	__atomic_store_n(e, fresh, __ATOMIC_RELEASE);
}

bool hosted_aspace_agrees(struct port_aspace *as, uint64_t va)
{
	uint8_t resident;

	if (likely(!__atomic_load_n(&as->refused, __ATOMIC_RELAXED)))
		return true;
	va &= ~(PAGE_BYTES - 1);
	hosted_lock(&as->lock);
	uint64_t *e = entry_find(as, va);
	bool agrees =
		!e || !(*e & ENTRY_PRESENT) || host_page_set(va, *e, HOST(mincore, va, PAGE_BYTES, &resident) == 0);
	hosted_unlock(&as->lock);
	return agrees;
}

// ---- ranges with pages of either kind ----

struct unmapping {
	void (*gone)(void *context, uint64_t va, const struct port_pte *pte);
	void *context;
};

static void entry_gone(struct port_aspace *as, uint64_t va, uint64_t *entry, void *context)
{
	struct unmapping *u = context;
	struct port_pte pte;

	(void)as;
	decode(*entry, &pte);
	__atomic_store_n(entry, 0, __ATOMIC_RELEASE);
	u->gone(u->context, va, &pte);
}

void port_aspace_unmap(struct port_aspace *as, uint64_t start, uint64_t end,
		       void (*gone)(void *context, uint64_t va, const struct port_pte *pte), void *context)
{
	struct unmapping u = { gone, context };

	hosted_lock(&as->lock);
	if (is_mine(as))
		(void)HOST(munmap, start, end - start);
	walk(as, start, end, entry_gone, &u);
	hosted_unlock(&as->lock);
}

static void entry_protect(struct port_aspace *as, uint64_t va, uint64_t *entry, void *context)
{
	unsigned prot = *(unsigned *)context;

	if (is_mine(as) && HOST(mprotect, va, PAGE_BYTES, host_prot(prot)))
		__atomic_store_n(&as->refused, true, __ATOMIC_RELAXED);
	__atomic_store_n(entry, (*entry & ~UINT64_C(0x700)) | (uint64_t)(prot & 7) << 8, __ATOMIC_RELEASE);
}

// limit_write: pages lose nothing here. Copy-on-write is the host's, and no object whose pages are frames is written back.
void port_aspace_protect(struct port_aspace *as, uint64_t start, uint64_t end, unsigned prot, bool limit_write,
			 void (*dirty)(void *context, uint64_t va, paddr_t frame), void *context)
{
	(void)limit_write, (void)dirty, (void)context;
	// In a mapping of frames not every page is mapped; the host stops at the first hole.
	if (is_mine(as) && !HOST(mprotect, start, end - start, host_prot(prot)) && !as->root)
		return;
	hosted_lock(&as->lock);
	walk(as, start, end, entry_protect, &prot);
	hosted_unlock(&as->lock);
}

struct copying {
	struct port_aspace *to;
	void (*shared)(void *context, uint64_t va, const struct port_pte *pte);
	void *context;
	int error;
};

static void entry_copy(struct port_aspace *as, uint64_t va, uint64_t *entry, void *context)
{
	struct copying *c = context;
	struct port_pte pte;
	uint64_t *copy = c->error ? NULL : entry_make(c->to, va);

	(void)as;
	if (!copy) {
		c->error = -ENOMEM;
		return;
	}
	decode(*entry, &pte);
	c->shared(c->context, va, &pte);
	*copy = *entry;
}

int port_aspace_copy(struct port_aspace *to, struct port_aspace *from, uint64_t start, uint64_t end, bool cow,
		     void (*shared)(void *context, uint64_t va, const struct port_pte *pte), void *context)
{
	struct copying c = { .to = to, .shared = shared, .context = context };

	(void)cow; // the host has made the child's memory a copy
	hosted_lock(&from->lock);
	hosted_lock(&to->lock);
	walk(from, start, end, entry_copy, &c);
	hosted_unlock(&to->lock);
	hosted_unlock(&from->lock);
	return c.error;
}

// ---- whole ranges ----

int port_aspace_map(struct port_aspace *as, uint64_t start, uint64_t end, unsigned prot, const struct port_backing *b)
{
	if (!is_mine(as))
		return 0;
	int flags =
		MAP_FIXED | MAP_NORESERVE | (b->shared ? MAP_SHARED : MAP_PRIVATE) | (b->file < 0 ? MAP_ANONYMOUS : 0);
	long r = HOST(mmap, start, end - start, host_prot(prot), flags, b->file, b->file < 0 ? 0 : b->offset);
	return r < 0 ? (int)r : 0;
}

int port_aspace_move(struct port_aspace *as, uint64_t from, uint64_t to, uint64_t size)
{
	if (!is_mine(as))
		return 0;
	long r = HOST(mremap, from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	if (r != -EFAULT || size <= PAGE_BYTES)
		return r < 0 ? (int)r : 0;
	// Several mappings of the host's, which moves one at a time: half by half.
	uint64_t half = size / 2 & ~(PAGE_BYTES - 1);
	int error = port_aspace_move(as, from, to, half);
	return error ? error : port_aspace_move(as, from + half, to + half, size - half);
}

int port_aspace_advise(struct port_aspace *as, uint64_t start, uint64_t end, int advice)
{
	return is_mine(as) ? (int)HOST(madvise, start, end - start, advice) : 0;
}

int port_aspace_resident(struct port_aspace *as, uint64_t start, uint64_t end, uint8_t *vector)
{
	return is_mine(as) ? (int)HOST(mincore, start, end - start, vector) : -ESRCH;
}

int port_aspace_sync(struct port_aspace *as, uint64_t start, uint64_t end, int flags)
{
	return is_mine(as) ? (int)HOST(msync, start, end - start, flags) : 0;
}

int port_barrier(int command, unsigned flags) { return (int)HOST(membarrier, command, flags, 0); }
