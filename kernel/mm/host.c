// SPDX-License-Identifier: Apache-2.0
// Mappings that are the host's: private anonymous memory, and files of granted trees (PORT_HOST).
//
// The host maps a range when the VMA is made, before it is linked, so that failure leaves nothing to undo; what a program sees between
// the two is a fault that waits for mm.lock and then finds everything in place. From then on the host does what fault.c does
// elsewhere: zero-filled pages, copy-on-write, the page cache. The kernel keeps the VMAs, and their flags and the host's in step.
//
// Lock order: kernel/mm.h. The port's calls on host mappings take nothing of the kernel's.
#include "host.h"

#include <asm/siginfo.h>
#include <linux/mman.h>

#include "internal.h"
#include "kernel/errno.h"
#include "map.h"
#include "port/host.h"
#include "vma.h"

int host_fork_advice(struct mm *mm, uint64_t start, uint64_t end, uint32_t flags)
{
	int error = 0;
	if (PORT_HOST && flags & VMA_DONTFORK)
		error = port_aspace_advise(mm->aspace, start, end, MADV_DONTFORK);
	if (PORT_HOST && !error && flags & VMA_WIPEONFORK)
		error = port_aspace_advise(mm->aspace, start, end, MADV_WIPEONFORK);
	return error;
}

int host_map(struct mm *mm, uint64_t start, uint64_t end, uint32_t flags, struct file *file, struct mobj *object,
	     uint64_t object_page)
{
	struct port_backing b = { .file = -1 };
	if (!PORT_HOST || (object && !object->ops->host_file))
		return 0;
	if (object) {
		b = (struct port_backing){ .file = object->ops->host_file(object, file),
					   .offset = object_page << PAGE_SHIFT,
					   .shared = flags & VMA_SHARED };
		if (b.file < 0)
			return b.file;
	}
	int error = port_aspace_map(mm->aspace, start, end, flags & 7, &b);
	if (!error) {
		error = host_fork_advice(mm, start, end, flags);
		if (error)
			mm_unmap_pages(mm, start, end);
	}
	return error;
}

int host_map_vma(struct mm *mm, const struct vma *v)
{
	return host_map(mm, v->start, v->end, v->flags, v->file, v->object, v->object_page);
}

int host_populate(struct mm *mm, uint64_t start, uint64_t end, bool write)
{
	if (!PORT_HOST)
		return 0;
	int error = port_aspace_advise(mm->aspace, start, end, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
	switch (error) {
	case -EFAULT:
	case -EHWPOISON: return FAULT_BUS;
	case -EINVAL: return -EFAULT; // the protection forbids it
	case -EINTR:
	case -EAGAIN: return 0; // as far as it came
	default: return error;
	}
}

// Populating the page is to ask the host: it succeeds where the access would, and nothing can be mapped or unmapped meanwhile. So
// a fault repeats only when the mapping has changed since.
int host_fault(struct mm *mm, uint64_t va, bool write, int *code)
{
	int error = host_populate(mm, va, va + PAGE_SIZE, write);
	*code = error == -EFAULT ? SEGV_ACCERR : SEGV_MAPERR;
	return error == -ENOMEM ? -EFAULT : error;
}

void host_hint(struct mm *mm, const struct vma *v, uint64_t start, uint64_t end, int advice)
{
	switch (advice) {
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_WILLNEED:
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
	case MADV_COLD:
	case MADV_PAGEOUT:
		if (vma_is_host(v) && port_aspace_is_current(mm->aspace))
			(void)port_aspace_advise(mm->aspace, start, end, advice);
		break;
	default: break; // nothing the host need know
	}
}
