// SPDX-License-Identifier: Apache-2.0
// The kernel's side of the vDSO: one memory object for all programs, of the vvar page and the image behind it.
//
// The vvar page is written under a sequence count: odd while a change is under way. Writers are serialised by `lock`.
#include "kernel/vdso.h"

#include "kernel/init.h"
#include "kernel/log.h"
#include "kernel/timer.h"
#include "lib/string.h"
#include "vvar.h"

#include <linux/mman.h>

extern const unsigned char vdso_image[];
extern const size_t vdso_image_size;

static struct spinlock lock = SPINLOCK_INIT;
static struct mobj *object;
static struct vvar *vvar;
static uint64_t image_bytes; // whole pages

static void publish(int64_t offset_ns)
{
	spin_lock(&lock);
	__atomic_store_n(&vvar->sequence, vvar->sequence + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE); // readers see the odd count before any new field
	vvar->realtime_offset_ns = offset_ns;
	__atomic_store_n(&vvar->sequence, vvar->sequence + 1, __ATOMIC_RELEASE);
	spin_unlock(&lock);
}

static struct page *add_page(uint64_t index)
{
	struct page *p = page_alloc(0, PAGE_ZERO);
	if (!p || mobj_insert_page(object, index, p))
		panic("no memory for the vDSO");
	return p;
}

static void vdso_init(void)
{
	image_bytes = align_up((uint64_t)vdso_image_size, PAGE_SIZE);
	object = mobj_create_anonymous(VVAR_PAGE_BYTES + image_bytes);
	if (!object)
		panic("no memory for the vDSO");
	vvar = page_address(add_page(0));
	for (uint64_t at = 0; at < image_bytes; at += PAGE_SIZE)
		memcpy(page_address(add_page(1 + at / PAGE_SIZE)), vdso_image + at,
		       min(PAGE_SIZE, vdso_image_size - at));
	vvar->tsc_usable = port_time_tsc(&vvar->tsc_base, &vvar->mult, &vvar->shift);
	vvar->cpu_by_segment = 0;
	publish(clock_realtime_offset_ns());
}
KERNEL_INIT(3, vdso_init);

struct mobj *vdso_object(void) { return object; }

void vdso_set_realtime_offset(int64_t offset_ns)
{
	if (vvar)
		publish(offset_ns);
}

int vdso_map(struct mm *mm, uint64_t limit)
{
	uint64_t text = align_down(limit, PAGE_SIZE) - image_bytes, data = text - VVAR_PAGE_BYTES;
	const unsigned common = VMA_SPECIAL | VMA_DONTDUMP | VMA_MAY_READ;
	if (!object)
		return 0;
	long r = mm_map(mm, data, VVAR_PAGE_BYTES, common | VMA_READ, MAP_FIXED, NULL, object, 0, "[vvar]");
	if (r >= 0)
		r = mm_map(mm, text, image_bytes, common | VMA_READ | VMA_EXEC | VMA_MAY_EXEC, MAP_FIXED, NULL, object,
			   1, "[vdso]");
	if (r < 0)
		return (int)r;
	mm->vdso = text;
	return 0;
}
