// SPDX-License-Identifier: Apache-2.0
// The tree of mappings of an address space: finding, linking, splitting, merging, and looking for gaps.
//
// All of it under mm.lock held for writing, except vma_find (reading). Mappings of an object are also on the object's list; their
// bounds change only under the object's vma_lock, so that whoever walks that list sees them whole.
//
// Lock order: mm.lock -> mobj.vma_lock.
#include "vma.h"

#include "internal.h"
#include "kernel/errno.h"
#include "kernel/fs.h"
#include "kernel/slab.h"

static struct slab_cache *vma_cache;

void vma_module_init(void) { vma_cache = slab_cache_create("vma", sizeof(struct vma), 8); }

struct vma *vma_create(struct mm *mm, uint64_t start, uint64_t end, uint32_t flags)
{
	struct vma *v = slab_alloc(vma_cache);
	if (v) {
		v->mm = mm;
		v->start = start;
		v->end = end;
		v->flags = flags;
		list_init(&v->object_node);
	}
	return v;
}

void vma_attach(struct vma *v, struct file *file, struct mobj *object, uint64_t object_page)
{
	v->file = file;
	v->object = object;
	v->object_page = object_page;
	if (file)
		file_get(file);
	if (object)
		mobj_get(object);
}

void vma_free(struct vma *v)
{
	if (v->object)
		mobj_put(v->object);
	if (v->file)
		file_put(v->file);
	slab_free(vma_cache, v);
}

// ---- the object's list ----

static bool is_shared_writer(const struct vma *v)
{
	return (v->flags & (VMA_SHARED | VMA_MAY_WRITE)) == (VMA_SHARED | VMA_MAY_WRITE);
}

static void object_link(struct vma *v, struct vma *parent)
{
	struct mobj *o = v->object;
	if (!o)
		return;
	mutex_lock(&o->vma_lock);
	list_add(parent ? &parent->object_node : &o->vmas, &v->object_node);
	if (is_shared_writer(v))
		__atomic_store_n(&o->shared_writers, o->shared_writers + 1, __ATOMIC_RELEASE);
	mutex_unlock(&o->vma_lock);
}

static void object_unlink(struct vma *v)
{
	struct mobj *o = v->object;
	if (!o)
		return;
	mutex_lock(&o->vma_lock);
	list_remove(&v->object_node);
	if (is_shared_writer(v))
		__atomic_store_n(&o->shared_writers, o->shared_writers - 1, __ATOMIC_RELEASE);
	mutex_unlock(&o->vma_lock);
}

static void set_bounds(struct vma *v, uint64_t start, uint64_t end)
{
	struct mobj *o = v->object;
	if (o)
		mutex_lock(&o->vma_lock);
	if (o)
		v->object_page += ((int64_t)start - (int64_t)v->start) >> PAGE_SHIFT;
	v->start = start;
	v->end = end;
	if (o)
		mutex_unlock(&o->vma_lock);
}

// ---- the tree ----

struct vma *mm_find(struct mm *mm, uint64_t address)
{
	struct vma *v = __atomic_load_n(&mm->cache, __ATOMIC_RELAXED);
	if (v && address >= v->start && address < v->end)
		return v;
	struct vma *found = NULL;
	struct rb_node *n = mm->vmas.node;
	while (n) {
		v = rb_entry(n, struct vma, node);
		if (address < v->end) {
			found = v;
			if (address >= v->start)
				break;
			n = n->left;
		} else {
			n = n->right;
		}
	}
	if (found && address >= found->start)
		__atomic_store_n(&mm->cache, found, __ATOMIC_RELAXED);
	return found;
}

struct vma *vma_next(const struct vma *v)
{
	struct rb_node *n = rb_next(&v->node);
	return n ? rb_entry(n, struct vma, node) : NULL;
}

struct vma *vma_prev(const struct vma *v)
{
	struct rb_node *n = rb_prev(&v->node);
	return n ? rb_entry(n, struct vma, node) : NULL;
}

struct vma *vma_first(struct mm *mm)
{
	struct rb_node *n = rb_first(&mm->vmas);
	return n ? rb_entry(n, struct vma, node) : NULL;
}

struct vma *vma_last(struct mm *mm)
{
	struct rb_node *n = rb_last(&mm->vmas);
	return n ? rb_entry(n, struct vma, node) : NULL;
}

// The mapping that ends at or below `address`, last one; next: mm_find(address).
static struct vma *vma_before(struct mm *mm, const struct vma *next) { return next ? vma_prev(next) : vma_last(mm); }

static void count_pages(struct mm *mm, const struct vma *v, int64_t pages)
{
	mm->total_pages += (uint64_t)pages;
	if (mm->total_pages > mm->peak_total)
		mm->peak_total = mm->total_pages;
	if (v->flags & (VMA_STACK | VMA_GROWSDOWN))
		mm->stack_pages += (uint64_t)pages;
	else if ((v->flags & (VMA_WRITE | VMA_SHARED)) == VMA_WRITE)
		mm->data_pages += (uint64_t)pages;
	if (v->flags & VMA_LOCKED)
		mm->locked_pages += (uint64_t)pages;
}

static int64_t vma_pages(const struct vma *v) { return (int64_t)((v->end - v->start) >> PAGE_SHIFT); }

void vma_set_flags(struct vma *v, uint32_t flags)
{
	count_pages(v->mm, v, -vma_pages(v));
	v->flags = flags;
	count_pages(v->mm, v, vma_pages(v));
}

void vma_link(struct mm *mm, struct vma *v)
{
	struct rb_node **link = &mm->vmas.node, *parent = NULL;
	while (*link) {
		parent = *link;
		link = v->start < rb_entry(parent, struct vma, node)->start ? &parent->left : &parent->right;
	}
	rb_insert(&mm->vmas, &v->node, parent, link);
	mm->vma_count++;
	count_pages(mm, v, vma_pages(v));
	object_link(v, NULL);
}

// The walker of the object's list must come to the parent first: what fork copies before that it takes from the copy later.
void vma_link_last(struct mm *mm, struct vma *v, struct vma *last, struct vma *parent)
{
	rb_insert(&mm->vmas, &v->node, last ? &last->node : NULL, last ? &last->node.right : &mm->vmas.node);
	mm->vma_count++;
	count_pages(mm, v, vma_pages(v));
	object_link(v, parent);
}

// Tells the gap search that [v->start, v->end) is about to become free.
static void gap_grew(struct mm *mm, const struct vma *v)
{
	struct vma *prev = vma_prev(v), *next = vma_next(v);
	uint64_t from = prev ? prev->end : 0, to = next ? next->start : UINT64_MAX;
	if (to <= mm->search_from)
		return; // the search comes by
	if (from <= mm->search_from)
		mm->search_from = min(to, mm->mmap_base);
	else
		mm->hole_above = max(mm->hole_above, to - from);
}

void vma_unlink(struct vma *v)
{
	struct mm *mm = v->mm;
	object_unlink(v);
	gap_grew(mm, v);
	rb_remove(&mm->vmas, &v->node);
	mm->vma_count--;
	count_pages(mm, v, -vma_pages(v));
	mm->cache = NULL;
}

void vma_unlink_final(struct vma *v) { object_unlink(v); }

void vma_resize(struct vma *v, uint64_t start, uint64_t end)
{
	struct mm *mm = v->mm;
	if (start > v->start || end < v->end)
		gap_grew(mm, v);
	count_pages(mm, v, -vma_pages(v));
	set_bounds(v, start, end);
	count_pages(mm, v, vma_pages(v));
	mm->cache = NULL;
}

int vma_split(struct vma *v, uint64_t at)
{
	if (at <= v->start || at >= v->end)
		return 0;
	if (v->mm->vma_count >= VMA_COUNT_MAX)
		return -ENOMEM;
	struct vma *upper = vma_create(v->mm, at, v->end, v->flags);
	if (!upper)
		return -ENOMEM;
	upper->name = v->name;
	vma_attach(upper, v->file, v->object, v->object ? v->object_page + ((at - v->start) >> PAGE_SHIFT) : 0);
	count_pages(v->mm, v, -vma_pages(v));
	// A walker of the object's list between these two sees the upper part twice or not; so the new part comes first.
	if (v->object)
		mutex_lock(&v->object->vma_lock);
	v->end = at;
	if (v->object) {
		list_add(&v->object->vmas, &upper->object_node);
		if (is_shared_writer(upper))
			v->object->shared_writers++;
		mutex_unlock(&v->object->vma_lock);
	}
	count_pages(v->mm, v, vma_pages(v));
	struct rb_node **link = &v->mm->vmas.node, *parent = NULL;
	while (*link) {
		parent = *link;
		link = upper->start < rb_entry(parent, struct vma, node)->start ? &parent->left : &parent->right;
	}
	rb_insert(&v->mm->vmas, &upper->node, parent, link);
	v->mm->vma_count++;
	count_pages(v->mm, upper, vma_pages(upper));
	v->mm->cache = NULL;
	return 0;
}

#define MERGE_IGNORED (VMA_HAS_ANON)

static bool can_merge(const struct vma *a, const struct vma *b)
{
	if (a->end != b->start || (a->flags ^ b->flags) & ~MERGE_IGNORED || a->flags & VMA_SPECIAL)
		return false;
	if (a->object != b->object || a->file != b->file || a->name != b->name)
		return false;
	return !a->object || a->object_page + (uint64_t)vma_pages(a) == b->object_page;
}

// Makes v cover `victim`, its neighbour, too. The bounds grow first: walkers of the object's list must not miss the range.
static void absorb(struct vma *v, struct vma *victim, uint64_t start, uint64_t end)
{
	struct mm *mm = v->mm;
	vma_resize(v, start, end);
	v->flags |= victim->flags & VMA_HAS_ANON;
	object_unlink(victim);
	rb_remove(&mm->vmas, &victim->node);
	mm->vma_count--;
	count_pages(mm, victim, -vma_pages(victim));
	mm->cache = NULL;
	vma_free(victim); // not the last reference of anything: v has the same
}

struct vma *vma_merge(struct vma *v)
{
	struct vma *prev = vma_prev(v), *next = vma_next(v);
	if (prev && can_merge(prev, v)) {
		absorb(prev, v, prev->start, v->end);
		v = prev;
	}
	if (next && can_merge(v, next))
		absorb(v, next, v->start, next->end);
	return v;
}

// ---- gaps ----

static uint64_t guarded_start(const struct vma *v)
{
	if (!(v->flags & VMA_GROWSDOWN))
		return v->start;
	return v->start > STACK_GUARD_BYTES ? v->start - STACK_GUARD_BYTES : 0;
}

// Highest gap of `size` below `from`; *largest: the largest gap passed over. 0: none.
static uint64_t gap_below(struct mm *mm, uint64_t from, uint64_t size, uint64_t *largest)
{
	struct vma *next = mm_find(mm, from - 1);
	uint64_t high = next ? min(guarded_start(next), from) : from;
	for (struct vma *v = vma_before(mm, next);; v = vma_prev(v)) {
		uint64_t low = max(v ? v->end : 0, PORT_USER_START);
		if (high > low) {
			if (high - low >= size)
				return high - size;
			*largest = max(*largest, high - low);
		}
		if (!v)
			return 0;
		high = min(high, guarded_start(v));
	}
}

uint64_t vma_find_gap_up(struct mm *mm, uint64_t low, uint64_t limit, uint64_t size)
{
	struct vma *v = mm_find(mm, low);
	while (low + size <= limit && low + size > low) {
		if (!v || guarded_start(v) >= low + size)
			return low;
		low = max(low, v->end);
		v = vma_next(v);
	}
	return 0;
}

uint64_t vma_find_gap(struct mm *mm, uint64_t size)
{
	uint64_t from = mm->search_from, largest = mm->hole_above;
	if (size <= mm->hole_above || from > mm->mmap_base || from < PORT_USER_START) {
		from = mm->mmap_base;
		largest = 0;
	}
	uint64_t start = gap_below(mm, from, size, &largest);
	if (!start && from != mm->mmap_base)
		start = gap_below(mm, mm->mmap_base, size, &largest);
	if (start) {
		mm->search_from = start;
		mm->hole_above = largest;
		return start;
	}
	// The top-down area is full: whatever is above mmap_base.
	return vma_find_gap_up(mm, mm->mmap_base, port_user_end(), size);
}
