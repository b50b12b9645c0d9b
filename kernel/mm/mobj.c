// SPDX-License-Identifier: Apache-2.0
// Memory objects: the page cache of a file, or the pages of shared memory, by page number.
//
// The cache holds one reference of each page. A page without contents yet is locked while it is being read; PAGE_UPTODATE
// is set before it is unlocked. A page that was truncated away has object == NULL, set under the object's lock; whoever
// locks or maps a page checks that afterwards.
//
// Lock order: see kernel/mm.h. radix nodes are allocated atomically under mobj.lock; node_reserve() makes that succeed.
#include "kernel/mm.h"

#include "internal.h"
#include "kernel/errno.h"
#include "kernel/fs.h"
#include "kernel/sched.h"
#include "kernel/slab.h"
#include "lib/string.h"
#include "map.h"
#include "remote.h"
#include "vma.h"

#define NODE_BYTES 560u // seven to a page; lib/radix.c keeps its nodes to itself

static struct slab_cache *mobj_cache, *node_cache;

void mobj_module_init(void)
{
	mobj_cache = slab_cache_create("mobj", sizeof(struct mobj), 64);
	node_cache = slab_cache_create("radix-node", NODE_BYTES, 8);
}

void *radix_node_allocate(size_t size)
{
	assert(size <= NODE_BYTES);
	return slab_alloc_atomic(node_cache);
}

void radix_node_free(void *node, size_t size)
{
	(void)size;
	slab_free(node_cache, node);
}

// Makes sure that the CPU's magazine holds a few nodes, sleeping if it must.
static bool node_reserve(void)
{
	void *node = slab_alloc(node_cache);
	slab_free(node_cache, node);
	return node != NULL;
}

void mobj_init(struct mobj *o, const struct mobj_ops *ops, struct inode *inode)
{
	*o = (struct mobj){ .ops = ops, .inode = inode };
	refcount_set(&o->refs, 1);
	spin_init(&o->lock);
	mutex_init(&o->vma_lock);
	list_init(&o->vmas);
	list_init(&o->dirty_node);
	o->readahead_trigger = UINT64_MAX;
}

static const struct mobj_ops anonymous_ops; // zero-filled, never written anywhere

struct mobj *mobj_create_anonymous(uint64_t size_bytes)
{
	struct mobj *o = slab_alloc(mobj_cache);
	if (o) {
		mobj_init(o, &anonymous_ops, NULL);
		o->size_bytes = size_bytes;
	}
	return o;
}

void mobj_get(struct mobj *o)
{
	if (o->inode)
		inode_get(o->inode);
	else
		refcount_get(&o->refs);
}

void mobj_put(struct mobj *o)
{
	if (o->inode) {
		inode_put(o->inode);
		return;
	}
	if (!refcount_put(&o->refs))
		return;
	mobj_destroy(o);
	if (o->ops == &anonymous_ops)
		slab_free(mobj_cache, o);
	else if (o->ops->release)
		o->ops->release(o);
}

// ---- single pages ----

struct page *mobj_find(struct mobj *o, uint64_t index)
{
	spin_lock(&o->lock);
	struct page *p = radix_lookup(&o->pages, index);
	if (p)
		page_get(p);
	spin_unlock(&o->lock);
	return p;
}

int mobj_insert(struct mobj *o, uint64_t index, struct page *p)
{
	int error = o->ops->charge ? o->ops->charge(o, 1) : 0;
	if (error)
		return error;
	p->object = o;
	p->index = index;
	page_test_set(p, PAGE_CACHE);
	page_get(p);
	for (unsigned attempt = 0; attempt < 3; attempt++) {
		spin_lock(&o->lock);
		error = radix_insert(&o->pages, index, p);
		spin_unlock(&o->lock);
		if (error != -ENOMEM || !node_reserve())
			break;
	}
	if (error) {
		if (o->ops->charge)
			o->ops->charge(o, -1);
		p->object = NULL;
		page_put(p);
		return error;
	}
	mm_count(COUNT_CACHED, 1);
	if (mobj_has_backing(o))
		reclaim_add(p);
	else
		mm_count(COUNT_SHMEM, 1);
	return 0;
}

int mobj_insert_page(struct mobj *o, uint64_t index, struct page *p)
{
	page_test_set(p, PAGE_UPTODATE);
	if (!page_test_set(p, PAGE_CHARGED)) // so that the sum of cached and anonymous memory stays right
		page_charge_adjust(1);
	return mobj_insert(o, index, p);
}

// The bookkeeping of a page that was just taken out of the tree; drops the cache's reference.
static void page_removed(struct mobj *o, struct page *p)
{
	mm_count(COUNT_CACHED, -1);
	if (mobj_has_backing(o))
		reclaim_remove(p);
	else
		mm_count(COUNT_SHMEM, -1);
	if (o->ops->charge)
		o->ops->charge(o, -1);
	page_put(p);
}

static void remove_locked(struct mobj *o, struct page *p)
{
	radix_remove(&o->pages, p->index);
	p->object = NULL;
	if (page_test_clear(p, PAGE_DIRTY))
		mm_count(COUNT_DIRTY, -1);
}

bool mobj_evict(struct mobj *o, struct page *p, unsigned expected_refs)
{
	spin_lock(&o->lock);
	bool gone = p->object == o && refcount_read(&p->refs) == (int32_t)expected_refs && !page_test(p, PAGE_DIRTY) &&
		    !page_test(p, PAGE_WRITEBACK);
	if (gone)
		remove_locked(o, p);
	spin_unlock(&o->lock);
	if (gone)
		page_removed(o, p);
	return gone;
}

void mobj_read_done(struct page *p, int error)
{
	page_test_set(p, error ? PAGE_ERROR : PAGE_UPTODATE);
	page_unlock(p);
}

// A page that exists but is not uptodate: waits for its reader, or reads it again after an error. -EAGAIN: it was truncated.
static int page_make_uptodate(struct mobj *o, struct page *p)
{
	page_lock(p);
	if (p->object != o || page_test(p, PAGE_UPTODATE)) {
		bool truncated = p->object != o;
		page_unlock(p);
		return truncated ? -EAGAIN : 0;
	}
	page_test_clear(p, PAGE_ERROR);
	int error = o->ops->read_pages(o, &p, 1);
	if (error)
		mobj_read_done(p, error);
	page_wait_unlocked(p);
	if (page_test(p, PAGE_UPTODATE))
		return 0;
	return error ? error : -EIO;
}

static int page_create_zeroed(struct mobj *o, uint64_t index, struct page **out)
{
	struct page *p = page_alloc(0, PAGE_ZERO | PAGE_USER | o->page_flags);
	if (!p)
		return -ENOMEM;
	page_test_set(p, PAGE_UPTODATE);
	int error = mobj_insert(o, index, p);
	if (error)
		page_put(p);
	else
		*out = p;
	return error;
}

int mobj_get_page(struct mobj *o, uint64_t index, bool fill, struct page **out)
{
	for (;;) {
		struct page *p = mobj_find(o, index);
		int error = 0;
		if (p) {
			if (likely(page_test(p, PAGE_UPTODATE)))
				goto found;
			error = page_make_uptodate(o, p);
			if (!error)
				goto found;
			page_put(p);
			if (error != -EAGAIN)
				return error;
			continue;
		}
		*out = NULL;
		if (!fill)
			return 0;
		if (!mobj_has_backing(o)) {
			error = page_create_zeroed(o, index, out);
			if (error != -EEXIST)
				return error;
		} else {
			error = readahead_one(o, index);
			if (error && error != -EEXIST)
				return error;
		}
		continue;
found:
		if (!page_test(p, PAGE_ACTIVE))
			page_test_set(p, PAGE_ACTIVE);
		*out = p;
		return 0;
	}
}

void mobj_mark_dirty(struct page *p)
{
	// The store into the page must not be overtaken by the test: write-back clears the bit, then reads the page.
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (page_test(p, PAGE_DIRTY))
		return;
	struct mobj *o = __atomic_load_n(&p->object, __ATOMIC_ACQUIRE);
	if (!o || !mobj_tracks_dirty(o))
		return;
	spin_lock(&o->lock);
	if (p->object == o && !page_test_set(p, PAGE_DIRTY)) {
		radix_mark_set(&o->pages, p->index, RADIX_MARK_DIRTY);
		mm_count(COUNT_DIRTY, 1);
	}
	spin_unlock(&o->lock);
	if (!__atomic_load_n(&o->on_dirty_list, __ATOMIC_ACQUIRE))
		mobj_dirty_list_add(o);
}

// ---- ranges ----

#define BATCH 16u

// The next up to BATCH pages of [*index, last], with references; *index moves past them.
static unsigned pages_gather(struct mobj *o, uint64_t *index, uint64_t last, struct page **out)
{
	unsigned count = 0;
	spin_lock(&o->lock);
	for (uint64_t i = *index; count < BATCH; i++) {
		struct page *p = radix_next(&o->pages, &i);
		if (!p || i > last)
			break;
		page_get(p);
		out[count++] = p;
		*index = i + 1;
		if (i == UINT64_MAX)
			break;
	}
	spin_unlock(&o->lock);
	return count;
}

static void truncate_page(struct mobj *o, struct page *p)
{
	page_lock(p);
	page_wait_writeback(p);
	spin_lock(&o->lock);
	bool ours = p->object == o;
	if (ours)
		remove_locked(o, p);
	spin_unlock(&o->lock);
	page_unlock(p);
	if (ours)
		page_removed(o, p);
}

static void zero_partial(struct mobj *o, uint64_t start, uint64_t end)
{
	struct page *p = NULL;
	if (start >= end || mobj_get_page(o, start >> PAGE_SHIFT, false, &p) || !p)
		return;
	memset((char *)page_address(p) + (start & ~PAGE_MASK), 0, end - start);
	page_put(p);
}

static void pages_drop(struct mobj *o, uint64_t first, uint64_t last)
{
	struct page *pages[BATCH];
	unsigned count;
	while ((count = pages_gather(o, &first, last, pages)) > 0) {
		for (unsigned i = 0; i < count; i++) {
			truncate_page(o, pages[i]);
			page_put(pages[i]);
		}
		sched_preempt_point();
	}
}

void mobj_truncate(struct mobj *o, uint64_t start, uint64_t end)
{
	if (start >= end)
		return;
	uint64_t first_end = align_down(start, PAGE_SIZE) + PAGE_SIZE;
	if (start & ~PAGE_MASK)
		zero_partial(o, start, min(first_end, end));
	if (end != UINT64_MAX && (end & ~PAGE_MASK) && align_down(end, PAGE_SIZE) >= start)
		zero_partial(o, align_down(end, PAGE_SIZE), end);

	uint64_t first = (start >> PAGE_SHIFT) + (start & ~PAGE_MASK ? 1 : 0);
	uint64_t after = end == UINT64_MAX ? UINT64_MAX >> PAGE_SHIFT : end >> PAGE_SHIFT;
	if (first >= after)
		return;
	// Removal first: a fault that still finds a page installs it under the region lock only if it is in the object, and the
	// unmapping takes that lock afterwards.
	pages_drop(o, first, after - 1);
	mobj_unmap_all(o, first, after - 1, end == UINT64_MAX);
}

void mobj_invalidate(struct mobj *o, uint64_t start, uint64_t end)
{
	uint64_t first = (start + PAGE_SIZE - 1) >> PAGE_SHIFT;
	uint64_t after = end == UINT64_MAX ? UINT64_MAX >> PAGE_SHIFT : end >> PAGE_SHIFT;
	struct page *pages[BATCH];
	unsigned count;
	if (!mobj_has_backing(o) || first >= after)
		return;
	while ((count = pages_gather(o, &first, after - 1, pages)) > 0) {
		for (unsigned i = 0; i < count; i++) {
			if (page_try_lock(pages[i])) {
				mobj_evict(o, pages[i], 2);
				page_unlock(pages[i]);
			}
			page_put(pages[i]);
		}
		sched_preempt_point();
	}
}

void mobj_destroy(struct mobj *o)
{
	mobj_dirty_list_remove(o);
	pages_drop(o, 0, UINT64_MAX);
	assert(list_empty(&o->vmas));
}

// ---- reverse mapping ----

// The part of `v` that maps pages [first, last] of its object, as addresses; false: none.
static bool vma_overlap(const struct vma *v, uint64_t first, uint64_t last, uint64_t *start, uint64_t *end)
{
	uint64_t v_first = v->object_page;
	uint64_t v_last = v_first + ((v->end - v->start) >> PAGE_SHIFT) - 1;
	if (last < v_first || first > v_last)
		return false;
	*start = v->start + ((max(first, v_first) - v_first) << PAGE_SHIFT);
	*end = v->start + ((min(last, v_last) - v_first + 1) << PAGE_SHIFT);
	return true;
}

// Does the entry show the object's own page, not a private copy? A host's copies are told from the page by the protection alone
// (fault.c), and only where the mapping may be written; in doubt it is a copy.
static bool is_cache_page(const struct vma *v, const struct port_pte *pte)
{
	if (!pte->present)
		return false;
	if (PORT_HOST)
		return v->flags & VMA_WRITE && !(pte->prot & PORT_PROT_WRITE);
	return page_test(page_from_frame(pte->frame), PAGE_CACHE);
}

// Unmaps cache pages only, page by page: private copies in the range stay.
static void unmap_cache_pages(struct vma *v, uint64_t start, uint64_t end)
{
	for (uint64_t va = start; va < end; va += PAGE_SIZE) {
		struct port_pte pte;
		port_aspace_get_page(v->mm->aspace, va, &pte);
		if (is_cache_page(v, &pte))
			mm_unmap_pages_locked(v->mm, va, va + PAGE_SIZE);
	}
}

struct unmap_part {
	struct vma *v; // vma_lock keeps it as it is
	uint64_t start, end;
	bool private_copies;
};

// unmap_lock held.
static void unmap_part(struct mm *mm, void *arg)
{
	struct unmap_part *u = arg;
	if (u->private_copies || u->v->flags & VMA_SHARED || !(u->v->flags & VMA_HAS_ANON))
		mm_unmap_pages_locked(mm, u->start, u->end);
	else
		unmap_cache_pages(u->v, u->start, u->end);
}

static void unmap_all_locked(struct mobj *o, uint64_t first, uint64_t last, bool private_copies)
{
	struct unmap_part u = { .private_copies = private_copies };
	list_for_each (u.v, &o->vmas, object_node)
		if (vma_overlap(u.v, first, last, &u.start, &u.end) && !vma_is_host(u.v))
			remote_unmap(u.v->mm, unmap_part, &u);
}

void mobj_unmap_all(struct mobj *o, uint64_t first, uint64_t last, bool private_copies)
{
	mutex_lock(&o->vma_lock);
	unmap_all_locked(o, first, last, private_copies);
	mutex_unlock(&o->vma_lock);
}

bool mobj_try_unmap_page(struct mobj *o, uint64_t index)
{
	if (!mutex_try_lock(&o->vma_lock))
		return false;
	unmap_all_locked(o, index, index, false);
	mutex_unlock(&o->vma_lock);
	return true;
}

void mobj_write_protect(struct mobj *o, uint64_t index)
{
	struct vma *v;
	uint64_t start, end;
	if (PORT_HOST || !__atomic_load_n(&o->shared_writers, __ATOMIC_ACQUIRE))
		return; // what a host maps it writes back itself
	mutex_lock(&o->vma_lock);
	list_for_each (v, &o->vmas, object_node)
		if (v->flags & VMA_SHARED && vma_overlap(v, index, index, &start, &end))
			port_aspace_protect(v->mm->aspace, start, end, v->flags & 7, true, NULL, NULL);
	mutex_unlock(&o->vma_lock);
}
