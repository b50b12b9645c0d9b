// SPDX-License-Identifier: Apache-2.0
// Address spaces as a whole: creation, fork, the end; and the start of the memory subsystem.
//
// struct mm has two counts. `users`: tasks that run in it and whoever holds a user reference; when it reaches zero everything is
// unmapped. `refs`: those, and whoever only needs the structure.
//
// Lock order: parent's mm.lock -> child's mm.lock (which nobody else can want yet); parent's mm.lock -> child's unmap_lock.
#include "kernel/mm.h"

#include "host.h"
#include "internal.h"
#include "kernel/aio.h"
#include "kernel/boot_config.h"
#include "kernel/coredump.h"
#include "kernel/errno.h"
#include "kernel/fs.h"
#include "kernel/init.h"
#include "kernel/random.h"
#include "kernel/slab.h"
#include "kernel/task.h"
#include "lib/string.h"
#include "map.h"
#include "port/host.h"
#include "remote.h"
#include "vma.h"

#define STACK_RANDOM_PAGES (UINT64_C(1) << 22) // 16 GiB, as Linux
#define MMAP_RANDOM_PAGES  (UINT64_C(1) << 28) // 1 TiB
#define STACK_GAP_MIN      (UINT64_C(128) << 20)
#define STACK_DEFAULT      (UINT64_C(8) << 20)
#define RUN_GAP_BYTES      (UINT64_C(64) << 20)

static struct slab_cache *mm_cache;

void mm_init(void)
{
	page_lock_init();
	page_init();
	slab_init();
	mobj_module_init();
	vma_module_init();
	mm_cache = slab_cache_create("mm", sizeof(struct mm), 64);
	fault_module_init();
}

KERNEL_INIT(3, writeback_start);

// ---- layout ----

void mm_layout(struct mm *mm, uint64_t stack_limit_bytes, bool randomize)
{
	uint64_t end = port_user_end();
	uint64_t stack_random = randomize ? (random_u64() % STACK_RANDOM_PAGES) << PAGE_SHIFT : 0;
	uint64_t mmap_random =
		randomize ? placement_random_pages(PLACEMENT_MAPPINGS, MMAP_RANDOM_PAGES) << PAGE_SHIFT : 0;
	uint64_t room = STACK_RANDOM_PAGES << PAGE_SHIFT;
	uint64_t gap = min(max(stack_limit_bytes, STACK_GAP_MIN), end / 6 * 5 - room);
	gap = align_up(gap, PAGE_SIZE) + STACK_GUARD_BYTES + (randomize ? room : 0);
	mm->stack_top = end - PAGE_SIZE - stack_random;
	mm->mmap_base = align_down(end - gap - mmap_random, PAGE_SIZE);
	mm->search_from = mm->mmap_base;
	mm->hole_above = 0;
}

struct mm *mm_create(void)
{
	struct mm *mm = slab_alloc(mm_cache);
	if (!mm)
		return NULL;
	if (port_aspace_create(&mm->aspace)) {
		slab_free(mm_cache, mm);
		return NULL;
	}
	refcount_set(&mm->users, 1);
	refcount_set(&mm->refs, 1);
	rwsem_init(&mm->lock);
	mutex_init(&mm->unmap_lock);
	spin_init(&mm->aio_lock);
	remote_init(mm);
	mm->dumpable = true;
	mm->dump_filter = CORE_FILTER_DEFAULT;
	mm_layout(mm, STACK_DEFAULT, !(boot_config.options.flags & BOOT_OPTION_NO_ASLR));
	return mm;
}

// ---- the end ----

void mm_put(struct mm *mm)
{
	if (refcount_put(&mm->refs))
		slab_free(mm_cache, mm);
}

// Unmaps everything, in runs of neighbouring mappings: the port need not look through the emptiness between them.
static void unmap_runs(struct mm *mm)
{
	uint64_t start = 0, end = 0;
	for (struct vma *v = vma_first(mm); v; v = vma_next(v)) {
		if (v->start - end > RUN_GAP_BYTES) {
			if (end)
				mm_unmap_pages(mm, start, end);
			start = v->start;
		}
		end = v->end;
	}
	if (end)
		mm_unmap_pages(mm, start, end);
}

static void tear_down(struct mm *mm)
{
	struct list gone = LIST_INIT(gone);
	if (PORT_HOST)
		remote_close(mm); // the host was left with the last task: mm_leave()
	else if (!current || !current->mm || current->mm == mm)
		port_aspace_activate(NULL);
	// Nobody else runs here or holds the lock; it is taken for those who check.
	rwsem_write_lock(&mm->lock);
	// Off the objects' lists first: their walkers must not meet an address space without page tables.
	for (struct vma *v = vma_first(mm); v; v = vma_next(v)) {
		vma_unlink_final(v);
		list_add(&gone, &v->object_node);
	}
	unmap_runs(mm);
	mm->vmas = (struct rb_root){ NULL };
	mm->cache = NULL;
	rwsem_write_unlock(&mm->lock);
	vma_list_free(&gone);
	port_aspace_destroy(mm->aspace);
	__atomic_store_n(&mm->aspace, NULL, __ATOMIC_RELEASE);
	oom_forget(mm);
	if (mm->exe)
		file_put(mm->exe);
	mm->exe = NULL;
}

void mm_release_user(struct mm *mm)
{
	if (refcount_put(&mm->users)) {
		if (mm->aio_contexts.node)
			aio_release(mm);
		tear_down(mm);
	}
	mm_put(mm);
}

// ---- fork ----

struct fork_pages {
	uint64_t anonymous, file;
};

static void page_shared(void *context, uint64_t va, const struct port_pte *pte)
{
	struct fork_pages *f = context;
	struct page *p = page_from_frame(pte->frame);
	(void)va;
	if (p == mm_zero_page)
		return;
	if (p->flags & 1u << PAGE_CACHE)
		f->file++;
	else
		f->anonymous++;
	page_get(p);
}

static void fork_fields(struct mm *to, const struct mm *from)
{
	to->mmap_base = from->mmap_base;
	to->search_from = from->search_from;
	to->hole_above = from->hole_above;
	to->brk_start = from->brk_start;
	to->brk_end = from->brk_end;
	to->stack_top = from->stack_top;
	to->arg_start = from->arg_start;
	to->arg_end = from->arg_end;
	to->env_start = from->env_start;
	to->env_end = from->env_end;
	to->vdso = from->vdso;
	memcpy(to->auxv, from->auxv, sizeof(to->auxv));
	to->auxv_words = from->auxv_words;
	to->dumpable = from->dumpable;
	to->dump_filter = from->dump_filter;
	to->exe = from->exe;
	if (to->exe)
		file_get(to->exe);
}

static int fork_vma(struct mm *to, struct vma *v, struct vma **last)
{
	struct vma *copy = vma_create(to, v->start, v->end, v->flags & ~VMA_LOCKED);
	if (!copy)
		return -ENOMEM;
	copy->name = v->name;
	if (v->flags & VMA_WIPEONFORK && !PORT_HOST)
		copy->flags &= ~VMA_HAS_ANON;
	vma_attach(copy, v->file, v->object, v->object_page);
	vma_link_last(to, copy, *last, v);
	*last = copy;
	if (PORT_HOST)
		return 0; // later, all at once: fork_host()
	if (!(copy->flags & VMA_HAS_ANON))
		return 0; // what it maps comes back by faults from the object
	struct fork_pages pages = { 0 };
	int error = port_aspace_copy(to->aspace, v->mm->aspace, v->start, v->end, true, page_shared, &pages);
	to->resident_anon += pages.anonymous;
	to->resident_file += pages.file;
	return error;
}

// The frames that are mapped, and then the host process with a copy of all the rest. Neither takes a vma_lock: whoever holds one and
// wants pages out of `to` waits for unmap_lock, and then for the child or its undoing.
static int fork_host(struct mm *to, struct mm *from, struct port_task *child)
{
	struct fork_pages pages = { 0 };
	int error = 0;
	for (struct vma *v = vma_first(from); v; v = vma_next(v))
		if (v->flags & VMA_DONTFORK && !vma_is_host(v)) // pages that came since madvise()
			(void)host_fork_advice(from, v->start, v->end, VMA_DONTFORK);
	mutex_lock(&to->unmap_lock);
	for (struct vma *v = vma_first(to); v && !error; v = vma_next(v))
		if (!vma_is_host(v))
			error = port_aspace_copy(to->aspace, from->aspace, v->start, v->end, false, page_shared,
						 &pages);
	to->resident_anon = pages.anonymous;
	to->resident_file = pages.file;
	to->host_anon = from->host_anon;
	to->host_file = from->host_file;
	if (!error)
		error = port_task_spawn(child, to->aspace);
	if (!error)
		remote_activate(to);
	mutex_unlock(&to->unmap_lock);
	return error;
}

struct mm *mm_fork(struct mm *from, struct port_task *child)
{
	struct mm *to = mm_create();
	if (!to)
		return err_ptr(-ENOMEM);
	int error = 0;
	struct vma *last = NULL;
	rwsem_write_lock(&from->lock);
	fork_fields(to, from);
	for (struct vma *v = vma_first(from); v && !error; v = vma_next(v))
		if (!(v->flags & VMA_DONTFORK))
			error = fork_vma(to, v, &last);
	if (PORT_HOST && !error)
		error = fork_host(to, from, child);
	rwsem_write_unlock(&from->lock);
	if (error) {
		mm_release_user(to);
		return err_ptr(error);
	}
	return to;
}

// ---- exec ----

int mm_activate(struct mm *mm)
{
	int error = 0;
	if (!PORT_HOST) {
		port_aspace_activate(mm->aspace);
		return 0;
	}
	mutex_lock(&mm->unmap_lock);
	port_aspace_activate(mm->aspace);
	remote_activate(mm);
	mutex_unlock(&mm->unmap_lock);
	mm_enter(mm, current);
	rwsem_write_lock(&mm->lock);
	for (struct vma *v = vma_first(mm); v && !error; v = vma_next(v))
		error = host_map_vma(mm, v);
	rwsem_write_unlock(&mm->lock);
	return error;
}
