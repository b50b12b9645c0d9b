// SPDX-License-Identifier: Apache-2.0
// Page faults: anonymous memory, copy-on-write, file mappings, growing stacks.
//
// A fault holds mm.lock for reading, prepares a page (which may sleep), then takes the region lock of the page table, looks
// whether the entry is still what it was, and installs. Whoever removes a page from its object or a mapping from its mm unmaps
// afterwards under the same region lock, so either the fault sees that the page is gone, or the unmapping sees the fault's entry.
//
// Anonymous pages have no PAGE_CACHE; their references are the page tables that map them. One reference: the page is ours to write.
// Anonymous memory that was only read is mm_zero_page, mapped read-only and not counted.
//
// Where the port stands on another kernel (PORT_HOST), only memory objects whose pages are the kernel's frames come here in full. Their
// private mappings are mapped copy-on-write and the host copies: read-only until the first store, so that a page that was never
// stored to is known (mobj.c). Faults on the host's own mappings mean that something is just being mapped, or that it is an error.
//
// Lock order: mm.lock (read) -> region lock -> mobj.lock. Specification: mmap(2), the SIGSEGV and SIGBUS parts of sigaction(2).
#include <asm/siginfo.h>
#include <asm/signal.h>

#include "host.h"
#include "internal.h"
#include "kernel/errno.h"
#include "kernel/sched.h"
#include "kernel/task.h"
#include "kernel/upcall.h"
#include "lib/string.h"
#include "map.h"
#include "port/host.h"
#include "remote.h"
#include "vma.h"

#define AROUND_PAGES   16u // cached neighbours a file fault maps
#define AHEAD_PAGES    16u // pages a sequential anonymous fault makes at most
#define REGION_BYTES   (UINT64_C(2) << 20)
#define POPULATE_BYTES (UINT64_C(16) << 20)  // of the host's mappings, between looks for a fatal signal
#define GROW_BYTES     (UINT64_C(128) << 10) // by which stacks grow with PORT_HOST

#define FAULT_RETRY 1 // look again: something changed under us

struct page *mm_zero_page;

struct fault {
	struct mm *mm;
	struct vma *vma;
	uint64_t va; // page aligned
	bool write;
	bool force;    // ptrace: a copy although the mapping is read-only
	unsigned prot; // of a page that may be used in full
};

void fault_module_init(void) { mm_zero_page = page_alloc(0, PAGE_ZERO); }

static void mark_anonymous(struct vma *v)
{
	if (unlikely(!(v->flags & VMA_HAS_ANON)))
		__atomic_fetch_or(&v->flags, VMA_HAS_ANON, __ATOMIC_RELAXED);
}

static inline void count_resident(uint64_t *counter, uint64_t pages)
{
	__atomic_fetch_add(counter, pages, __ATOMIC_RELAXED);
}

// Locks the region and reads the entry. 0, FAULT_RETRY (not locked), -ENOMEM.
static int lock_entry(struct fault *f, struct port_pte *pte)
{
	int error = port_aspace_lock(f->mm->aspace, f->va);
	if (unlikely(error))
		return error;
	port_aspace_get_page(f->mm->aspace, f->va, pte);
	if (unlikely(pte->busy)) { // another CPU is unmapping it: its references are not settled yet
		port_aspace_unlock(f->mm->aspace, f->va);
		port_cpu_relax();
		return FAULT_RETRY;
	}
	return 0;
}

static void unlock_entry(struct fault *f) { port_aspace_unlock(f->mm->aspace, f->va); }

static bool satisfied(const struct fault *f, const struct port_pte *pte)
{
	return pte->present && pte->prot & 7 && (!f->write || pte->prot & PORT_PROT_WRITE) &&
	       (!(f->prot & PORT_PROT_EXEC) || pte->prot & PORT_PROT_EXEC);
}

// ---- anonymous memory ----

// How many pages from f->va on to make: more and more while the faults come in sequence.
static unsigned ahead_count(struct fault *f)
{
	struct vma *v = f->vma;
	unsigned count = 1;
	if (v->ahead_next == f->va)
		count = min(v->ahead_pages * 2, AHEAD_PAGES);
	uint64_t limit = min(v->end, align_down(f->va, REGION_BYTES) + REGION_BYTES);
	count = (unsigned)min((uint64_t)max(count, 1u), (limit - f->va) >> PAGE_SHIFT);
	v->ahead_pages = count;
	v->ahead_next = f->va + ((uint64_t)count << PAGE_SHIFT);
	return count;
}

static int fault_new_pages(struct fault *f)
{
	struct page *pages[AHEAD_PAGES];
	unsigned want = ahead_count(f), made = 0, installed = 0;
	struct port_pte pte;
	pages[0] = page_alloc(0, PAGE_ZERO | PAGE_USER);
	if (!pages[0])
		return -ENOMEM;
	for (made = 1; made < want; made++)
		if (!(pages[made] = page_alloc(0, PAGE_ZERO | PAGE_USER | PAGE_ATOMIC)))
			break;
	int error = lock_entry(f, &pte);
	if (!error) {
		struct port_aspace *as = f->mm->aspace;
		mark_anonymous(f->vma);
		for (unsigned i = 0; i < made; i++) {
			uint64_t va = f->va + i * PAGE_SIZE;
			if (i > 0)
				port_aspace_get_page(as, va, &pte);
			// The page that was asked for may be the zero page by now; a private copy needs it replaced.
			bool zero = i == 0 && pte.present && page_from_frame(pte.frame) == mm_zero_page;
			if ((pte.present && !zero) || pte.busy)
				continue;
			port_aspace_set_page(as, va, page_to_frame(pages[i]), f->prot);
			pages[i] = NULL;
			installed++;
		}
		unlock_entry(f);
		count_resident(&f->mm->resident_anon, installed);
	}
	for (unsigned i = 0; unlikely(installed < made) && i < made; i++)
		if (pages[i])
			page_put(pages[i]);
	return error;
}

static int fault_zero_page(struct fault *f)
{
	struct port_pte pte;
	int error = lock_entry(f, &pte);
	if (error)
		return error;
	mark_anonymous(f->vma); // mprotect() skips anonymous mappings without it
	if (!pte.present)
		port_aspace_set_page(f->mm->aspace, f->va, page_to_frame(mm_zero_page), f->prot & ~PORT_PROT_WRITE);
	unlock_entry(f);
	return 0;
}

// A store to a page that is there but read-only: copy it, unless nobody else has it. `source` is what the entry named.
static int fault_copy(struct fault *f, struct page *source)
{
	struct page *copy = NULL;
	struct port_pte pte;
	bool cached = page_test(source, PAGE_CACHE);
	if (cached || refcount_read(&source->refs) > 1) {
		copy = page_alloc(0, PAGE_USER);
		if (!copy)
			return -ENOMEM;
	}
	int error = lock_entry(f, &pte);
	if (error)
		goto out;
	struct port_aspace *as = f->mm->aspace;
	error = FAULT_RETRY;
	if (!pte.present || page_from_frame(pte.frame) != source)
		goto unlock;
	if (!cached && refcount_read(&source->refs) == 1) {
		port_aspace_set_page(as, f->va, pte.frame, f->prot);
	} else if (copy) {
		// Under the lock, the entry's reference keeps the source; nobody who can write it is there.
		port_copy_page(page_address(copy), page_address(source));
		mark_anonymous(f->vma);
		port_aspace_set_page(as, f->va, page_to_frame(copy), f->prot);
		if (cached) {
			count_resident(&f->mm->resident_file, (uint64_t)-1);
			count_resident(&f->mm->resident_anon, 1);
		}
		copy = source; // the entry's reference, to be dropped below
	} else {
		goto unlock;
	}
	error = 0;
unlock:
	unlock_entry(f);
out:
	if (copy)
		page_put(copy);
	return error;
}

// Private memory is written: whatever the entry holds becomes a page of our own.
static int fault_private_present(struct fault *f, const struct port_pte *pte)
{
	struct page *p = page_from_frame(pte->frame);
	if (satisfied(f, pte))
		return 0;
	if (f->write)
		return p == mm_zero_page ? fault_new_pages(f) : fault_copy(f, p);
	// Readable again after mprotect(), or just mapped by another thread.
	struct port_pte now;
	int error = lock_entry(f, &now);
	if (error)
		return error;
	if (now.present && now.frame == pte->frame)
		port_aspace_set_page(f->mm->aspace, f->va, now.frame,
				     (f->prot & ~PORT_PROT_WRITE) | (now.prot & PORT_PROT_WRITE));
	unlock_entry(f);
	return 0;
}

static int fault_anonymous(struct fault *f)
{
	struct port_pte pte;
	port_aspace_get_page(f->mm->aspace, f->va, &pte); // a guess, checked under the lock
	if (unlikely(pte.present))
		return fault_private_present(f, &pte);
	return f->write ? fault_new_pages(f) : fault_zero_page(f);
}

// ---- mapped objects ----

static uint64_t object_index(const struct vma *v, uint64_t va)
{
	return v->object_page + ((va - v->start) >> PAGE_SHIFT);
}

static bool beyond_end(const struct mobj *o, uint64_t index)
{
	return index >= (mobj_size(o) + PAGE_SIZE - 1) >> PAGE_SHIFT;
}

// The object's page under f->va, read in, with a reference.
static int object_page_get(struct fault *f, struct page **out)
{
	struct mobj *o = f->vma->object;
	uint64_t index = object_index(f->vma, f->va);
	if (beyond_end(o, index))
		return FAULT_BUS;
	struct page *p = mobj_find(o, index);
	if (likely(p && page_test(p, PAGE_UPTODATE))) {
		*out = p;
		return 0;
	}
	if (p)
		page_put(p);
	bool dropped = !p && mobj_has_backing(o) && thrash_wait_begin(o, index);
	if (!p && mobj_has_backing(o)) {
		readahead_fault(o, index);
		current->maj_faults++;
	}
	int error = mobj_get_page(o, index, true, out);
	if (dropped)
		thrash_wait_end();
	return !error || error == -ENOMEM ? error : FAULT_BUS;
}

// Is the page still what the object has there? Region locked.
static bool still_in_object(const struct mobj *o, const struct page *p)
{
	return __atomic_load_n(&p->object, __ATOMIC_ACQUIRE) == o && !beyond_end(o, p->index);
}

// Maps the cached neighbours of f->va that are not mapped yet. Region locked; never crosses the region or the mapping.
static uint64_t map_around(struct fault *f, unsigned prot)
{
	struct vma *v = f->vma;
	struct mobj *o = v->object;
	struct port_aspace *as = f->mm->aspace;
	uint64_t start = max(align_down(f->va, AROUND_PAGES * PAGE_SIZE), v->start);
	uint64_t end = min(align_down(f->va, AROUND_PAGES * PAGE_SIZE) + AROUND_PAGES * PAGE_SIZE, v->end);
	uint64_t mapped = 0, index = object_index(v, start), last = object_index(v, end - PAGE_SIZE);
	spin_lock(&o->lock);
	for (; index <= last; index++) {
		struct page *p = radix_next(&o->pages, &index);
		if (!p || index > last)
			break;
		uint64_t va = v->start + ((index - v->object_page) << PAGE_SHIFT);
		struct port_pte pte;
		if (va == f->va || !page_test(p, PAGE_UPTODATE) || beyond_end(o, index))
			continue;
		port_aspace_get_page(as, va, &pte);
		if (pte.present || pte.busy)
			continue;
		page_get(p);
		port_aspace_set_page(as, va, page_to_frame(p), prot);
		mapped++;
	}
	spin_unlock(&o->lock);
	return mapped;
}

// A load, or a store to shared memory: the object's own page is mapped.
static int fault_map_object(struct fault *f)
{
	struct mobj *o = f->vma->object;
	struct page *p;
	struct port_pte pte;
	bool shared = f->vma->flags & VMA_SHARED, tracked = mobj_tracks_dirty(o);
	// Writable only once a store has made the page dirty; objects that are never written back need not know.
	bool writable = shared ? !tracked || f->write : PORT_HOST && f->write;
	unsigned prot = writable ? f->prot : f->prot & ~PORT_PROT_WRITE;
	if (PORT_HOST && !shared)
		prot |= PORT_PROT_PRIVATE;
	int error = object_page_get(f, &p);
	if (error)
		return error;
	error = lock_entry(f, &pte);
	if (error)
		goto put;
	uint64_t mapped = 0;
	bool same = pte.present && pte.frame == page_to_frame(p);
	if (pte.present && (!same || (PORT_HOST && !shared))) { // a private copy came between
		error = satisfied(f, &pte) ? 0 : FAULT_RETRY;
	} else if (!still_in_object(o, p)) {
		error = FAULT_RETRY;
	} else {
		port_aspace_set_page(f->mm->aspace, f->va, page_to_frame(p), prot);
		if (f->write && tracked)
			mobj_mark_dirty(p);
		if (PORT_HOST && f->write && !shared)
			mark_anonymous(f->vma);
		if (!same) {
			mapped = 1;
			if (!f->write)
				mapped += map_around(f, prot);
			page_get(p);
		}
	}
	unlock_entry(f);
	if (mapped)
		count_resident(&f->mm->resident_file, mapped);
put:
	page_put(p);
	return error;
}

// A store to a private mapping where nothing is mapped yet: a copy of the object's page.
static int fault_copy_object(struct fault *f)
{
	struct mobj *o = f->vma->object;
	struct page *p, *copy;
	struct port_pte pte;
	int error = object_page_get(f, &p);
	if (error)
		return error;
	copy = page_alloc(0, PAGE_USER);
	error = copy ? lock_entry(f, &pte) : -ENOMEM;
	if (error)
		goto put;
	if (pte.present || !still_in_object(o, p)) {
		error = FAULT_RETRY;
	} else {
		port_copy_page(page_address(copy), page_address(p));
		mark_anonymous(f->vma);
		port_aspace_set_page(f->mm->aspace, f->va, page_to_frame(copy), f->prot);
		count_resident(&f->mm->resident_anon, 1);
		copy = NULL;
	}
	unlock_entry(f);
put:
	if (copy)
		page_put(copy);
	page_put(p);
	return error;
}

// A page of a private mapping that is there and may hold a copy of the host's: only its protection can change.
static int fault_reprotect(struct fault *f, const struct port_pte *pte)
{
	if (satisfied(f, pte))
		return 0;
	if (f->write)
		mark_anonymous(f->vma);
	unsigned write = f->write ? PORT_PROT_WRITE : pte->prot & PORT_PROT_WRITE;
	port_aspace_protect(f->mm->aspace, f->va, f->va + PAGE_SIZE, f->prot & (write | ~PORT_PROT_WRITE), false, NULL,
			    NULL);
	return 0;
}

static int fault_object(struct fault *f)
{
	struct port_pte pte;
	if (f->vma->flags & VMA_SHARED)
		return fault_map_object(f);
	port_aspace_get_page(f->mm->aspace, f->va, &pte);
	if (PORT_HOST)
		return pte.present ? fault_reprotect(f, &pte) : fault_map_object(f);
	if (pte.present)
		return fault_private_present(f, &pte);
	return f->write ? fault_copy_object(f) : fault_map_object(f);
}

// ---- dispatch ----

// One page of a mapping; mm.lock held for reading. 0, -ENOMEM, FAULT_BUS.
static int fault_page(struct fault *f)
{
	int error;
	f->prot = f->vma->flags & 7u;
	if (f->force && f->write && !(f->prot & PORT_PROT_WRITE) && f->vma->flags & VMA_SHARED)
		return -EFAULT;
	do {
		error = f->vma->object ? fault_object(f) : fault_anonymous(f);
	} while (error == FAULT_RETRY);
	return error;
}

static bool allowed(const struct vma *v, unsigned fault_flags)
{
	if (fault_flags & UPCALL_FAULT_WRITE)
		return v->flags & VMA_WRITE;
	if (fault_flags & UPCALL_FAULT_EXEC)
		return v->flags & VMA_EXEC;
	return v->flags & (VMA_READ | VMA_WRITE | VMA_EXEC);
}

// Grows the stack `v` down to `start`. mm.lock held for writing.
static bool grow_to(struct mm *mm, struct vma *v, uint64_t start)
{
	uint64_t pages = (v->start - start) >> PAGE_SHIFT;
	struct process *p = current ? current->process : NULL;
	if (p && v->end - start > process_rlimit(p, RLIMIT_STACK))
		return false;
	struct vma *below = vma_prev(v);
	if (below && !(below->flags & VMA_GROWSDOWN) && below->flags & 7 && start < below->end + STACK_GUARD_BYTES)
		return false;
	if ((below && start < below->end) || start < PORT_USER_START || mm_check_limits(mm, pages, v->flags))
		return false;
	if (v->flags & VMA_LOCKED && mm_check_locked(mm, pages))
		return false;
	if (PORT_HOST && host_map(mm, start, v->start, v->flags, NULL, NULL, 0))
		return false;
	vma_resize(v, start, v->end);
	return true;
}

static bool grow_stack(struct mm *mm, struct vma *v, uint64_t address)
{
	uint64_t start = align_down(address, PAGE_SIZE);
	// A fault is dear where it comes as a signal of the host: some more at once.
	if (PORT_HOST && start > GROW_BYTES && grow_to(mm, v, align_down(start, GROW_BYTES)))
		return true;
	return grow_to(mm, v, start);
}

// The mapping for `address`, growing a stack if that is what it takes. mm.lock read; may be dropped and taken again.
static struct vma *find_or_grow(struct mm *mm, uint64_t address)
{
	struct vma *v = mm_find(mm, address);
	if (likely(v && address >= v->start))
		return v;
	if (!v || !(v->flags & VMA_GROWSDOWN))
		return NULL;
	rwsem_read_unlock(&mm->lock);
	rwsem_write_lock(&mm->lock);
	v = mm_find(mm, address);
	if (v && address < v->start && (!(v->flags & VMA_GROWSDOWN) || !grow_stack(mm, v, address)))
		v = NULL;
	rwsem_downgrade(&mm->lock);
	return v;
}

int mm_fault(struct mm *mm, uint64_t address, unsigned fault_flags, int *signal, int *code)
{
	struct fault f = { .mm = mm, .va = align_down(address, PAGE_SIZE), .write = fault_flags & UPCALL_FAULT_WRITE };
	int error = -EFAULT;
	*signal = SIGSEGV;
	*code = SEGV_MAPERR;
	rwsem_read_lock(&mm->lock);
	f.vma = find_or_grow(mm, address);
	if (likely(f.vma != NULL)) {
		if (unlikely(!allowed(f.vma, fault_flags)))
			*code = SEGV_ACCERR;
		else if (PORT_HOST && fault_flags & UPCALL_FAULT_BUS)
			error = FAULT_BUS;
		else if (vma_is_host(f.vma))
			error = host_fault(mm, f.va, f.write, code);
		else
			error = fault_page(&f);
	}
	rwsem_read_unlock(&mm->lock);
	if (error == FAULT_BUS) {
		*signal = SIGBUS;
		*code = BUS_ADRERR;
		error = -EFAULT;
	}
	return error;
}

// The error code the CPU pushed (SDM vol. 3, 4.7), as far as a signal frame shows it.
static uint64_t hardware_error(struct mm *mm, int code, uint64_t address, unsigned flags)
{
	struct port_pte pte = { .present = PORT_HOST && code == SEGV_ACCERR }; // the port knows frames only
	if (mm && !PORT_HOST)
		port_aspace_get_page(mm->aspace, address, &pte);
	return (pte.present ? 1 : 0) | (flags & UPCALL_FAULT_WRITE ? 2 : 0) | (flags & UPCALL_FAULT_USER ? 4 : 0) |
	       (flags & UPCALL_FAULT_EXEC ? 16 : 0);
}

static void fault_signal(struct mm *mm, int signal, int code, uint64_t address, unsigned flags)
{
	signal_force_trap(signal, code, address, 14, hardware_error(mm, code, address, flags));
}

int kernel_upcall_page_fault(struct user_regs *regs, uint64_t address, unsigned flags)
{
	struct task *t = current;
	int signal, code;
	if (unlikely(!t->mm || address >= port_user_end())) {
		if (flags & UPCALL_FAULT_USER)
			fault_signal(NULL, SIGSEGV, SEGV_MAPERR, address, flags);
		return -EFAULT;
	}
	if (PORT_HOST && t->mm->lock.owner == t)
		return -EFAULT; // touched under the write lock, where nothing can be mapped (remote.c, mremap.c)
	int error = mm_fault(t->mm, address, flags, &signal, &code);
	if (likely(!error)) {
		t->min_faults++;
		return 0;
	}
	if (error == -ENOMEM) {
		// The killer took somebody: us, or one whose death will let the next try succeed. With nobody to kill, it is us.
		if (flags & UPCALL_FAULT_USER && !fatal_signal_pending(t) && !process_oom_kill())
			signal_force(SIGKILL, SI_KERNEL, address);
		return flags & UPCALL_FAULT_USER ? 0 : -EFAULT;
	}
	if (flags & UPCALL_FAULT_USER)
		fault_signal(t->mm, signal, code, address, flags);
	return -EFAULT;
}

// ---- on behalf of others ----

// The page at `va`, with a reference, as a read or a (forced) write would find it; NULL when there is none. mm.lock read.
static struct page *page_for_access(struct mm *mm, struct vma *v, uint64_t va, bool write)
{
	struct fault f = { .mm = mm, .vma = v, .va = align_down(va, PAGE_SIZE), .write = write, .force = true };
	for (;;) {
		struct port_pte pte;
		if (fault_page(&f))
			return NULL;
		int error = lock_entry(&f, &pte);
		if (error == FAULT_RETRY)
			continue;
		if (error)
			return NULL;
		struct page *p = pte.present ? page_from_frame(pte.frame) : NULL;
		// A forced write made a copy that the mapping's protection keeps read-only.
		bool good = p && (!write || pte.prot & PORT_PROT_WRITE ||
				  (p != mm_zero_page && !page_test(p, PAGE_CACHE) && refcount_read(&p->refs) == 1));
		if (good)
			page_get(p);
		unlock_entry(&f);
		if (good)
			return p;
		if (fatal_signal_pending(current))
			return NULL;
	}
}

bool mm_may_access(const struct vma *v, bool write, bool forced)
{
	if (write)
		return forced ? v->flags & VMA_MAY_WRITE && !(v->flags & VMA_SPECIAL) : v->flags & VMA_WRITE;
	return forced || v->flags & VMA_READ;
}

int mm_prepare_forced(struct mm *mm, struct vma *v, uint64_t va, bool write)
{
	struct fault f = { .mm = mm, .vma = v, .va = va, .write = write, .force = true };
	if (write && (v->flags & (VMA_SHARED | VMA_WRITE)) == VMA_SHARED)
		return -EFAULT;
	return vma_is_host(v) ? 0 : fault_page(&f);
}

static size_t access(struct mm *mm, uint64_t address, void *buffer, size_t size, bool write, bool forced)
{
	size_t done = 0;
	if (PORT_HOST)
		return remote_access(mm, address, buffer, size, write, forced);
	rwsem_read_lock(&mm->lock);
	while (done < size) {
		struct vma *v = mm_find(mm, address);
		if (!v || address < v->start || !mm_may_access(v, write, forced))
			break;
		struct page *p = page_for_access(mm, v, address, write);
		if (!p)
			break;
		size_t offset = address & ~PAGE_MASK, n = min((size_t)(PAGE_SIZE - offset), size - done);
		char *at = (char *)page_address(p) + offset;
		if (write)
			memcpy(at, (char *)buffer + done, n);
		else
			memcpy((char *)buffer + done, at, n);
		page_put(p);
		done += n;
		address += n;
	}
	rwsem_read_unlock(&mm->lock);
	return done;
}

size_t mm_access(struct mm *mm, uint64_t address, void *buffer, size_t size, bool write)
{
	return access(mm, address, buffer, size, write, true);
}

size_t mm_access_checked(struct mm *mm, uint64_t address, void *buffer, size_t size, bool write)
{
	return access(mm, address, buffer, size, write, false);
}

int mm_populate(struct mm *mm, uint64_t start, uint64_t size, bool write)
{
	uint64_t end = start + align_up(size, PAGE_SIZE);
	int error = 0;
	rwsem_read_lock(&mm->lock);
	for (uint64_t va = start; va < end && !error;) {
		struct vma *v = mm_find(mm, va);
		if (!v || v->start > va) {
			error = -ENOMEM;
			break;
		}
		for (; va < min(end, v->end) && !error; va += PAGE_SIZE) {
			struct port_pte pte;
			// As Linux: memory that may be written is populated for writing, unless it is shared.
			bool store = write || (v->flags & (VMA_WRITE | VMA_SHARED)) == VMA_WRITE;
			struct fault f = { .mm = mm, .vma = v, .va = va, .write = store };
			if (!(v->flags & (store ? VMA_WRITE : 7u))) {
				error = -EFAULT;
				break;
			}
			if (vma_is_host(v)) {
				uint64_t until = min(min(end, v->end), va + POPULATE_BYTES);
				error = host_populate(mm, va, until, store);
				va = until - PAGE_SIZE;
				if (!error && fatal_signal_pending(current))
					error = -EINTR;
				continue;
			}
			port_aspace_get_page(mm->aspace, va, &pte);
			if (pte.present && (!store || pte.prot & PORT_PROT_WRITE))
				continue;
			error = fault_page(&f);
			if (!error && fatal_signal_pending(current))
				error = -EINTR;
		}
	}
	rwsem_read_unlock(&mm->lock);
	return error == FAULT_BUS ? -EFAULT : error;
}

int mm_futex_key(struct mm *mm, uint64_t address, bool write, struct mobj **object, uint64_t *offset)
{
	int error = -EFAULT;
	*object = NULL;
	*offset = address;
	rwsem_read_lock(&mm->lock);
	struct vma *v = mm_find(mm, address);
	if (v && address >= v->start && v->flags & (write ? VMA_WRITE : 7u)) {
		error = 0;
		if (v->object && v->flags & VMA_SHARED) {
			mobj_get(v->object);
			*object = v->object;
			*offset = (v->object_page << PAGE_SHIFT) + (address - v->start);
		}
	}
	rwsem_read_unlock(&mm->lock);
	return error;
}
