// SPDX-License-Identifier: Apache-2.0
// NUMA policy on a machine of one node: arguments are checked as Linux checks them, and every policy has the same effect.
// mbind(2), set_mempolicy(2), get_mempolicy(2).
#include <linux/mempolicy.h>

#include "internal.h"
#include "kernel/errno.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "map.h"
#include "vma.h"

#define NODES_MAX  1024u // what libnuma may ask for
#define MODE_FLAGS (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES | MPOL_F_NUMA_BALANCING)

// Reads a node mask: *empty or node 0 alone; anything else does not exist.
static int node_mask_in(struct uptr mask, uint64_t max_node, bool *empty)
{
	*empty = true;
	if (uptr_is_null(mask) || max_node == 0)
		return 0;
	max_node--;
	if (max_node > PAGE_SIZE * 8)
		return -EINVAL;
	for (uint64_t bit = 0; bit < max_node; bit += 64) {
		uint64_t word;
		if (get_user(&word, uptr_add(mask, bit / 8)))
			return -EFAULT;
		if (max_node - bit < 64)
			word &= (UINT64_C(1) << (max_node - bit)) - 1;
		if (bit == 0 && word & 1)
			*empty = false;
		if (word & ~(bit == 0 ? UINT64_C(1) : 0) && bit + 63 >= NODES_MAX)
			return -EINVAL;
	}
	return 0;
}

static int check_policy(int mode, struct uptr mask, uint64_t max_node)
{
	bool empty, given = !uptr_is_null(mask) && max_node > 0;
	unsigned base = (unsigned)mode & ~MODE_FLAGS;
	if (base >= MPOL_MAX || ((unsigned)mode & (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES)) ==
					(MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES))
		return -EINVAL;
	int error = node_mask_in(mask, max_node, &empty);
	if (error)
		return error;
	switch (base) {
	case MPOL_DEFAULT:
	case MPOL_LOCAL: return given && !empty ? -EINVAL : 0;
	case MPOL_PREFERRED: return 0;
	default: return empty ? -EINVAL : 0;
	}
}

long sys_set_mempolicy(int mode, struct uptr mask, uint64_t max_node) { return check_policy(mode, mask, max_node); }

long sys_mbind(uint64_t address, uint64_t size, uint64_t mode, struct uptr mask, uint64_t max_node, unsigned flags)
{
	struct mm *mm = current->mm;
	if (flags & ~(unsigned)MPOL_MF_VALID || address & ~PAGE_MASK)
		return -EINVAL;
	if (flags & MPOL_MF_MOVE_ALL && !cred_capable(current->cred, 23)) // CAP_SYS_NICE
		return -EPERM;
	int error = check_policy((int)mode, mask, max_node);
	uint64_t end = address + align_up(size, PAGE_SIZE);
	if (error || end < address)
		return error ? error : -EINVAL;
	rwsem_read_lock(&mm->lock);
	uint64_t at = address;
	for (struct vma *v = vma_find_shown(mm, address); at < end; v = vma_find_shown(mm, at)) {
		if (!v || v->start > at) {
			error = -EFAULT;
			break;
		}
		at = v->end;
	}
	rwsem_read_unlock(&mm->lock);
	return error;
}

long sys_get_mempolicy(struct uptr mode, struct uptr mask, uint64_t max_node, uint64_t address, uint64_t flags)
{
	struct mm *mm = current->mm;
	if (!uptr_is_null(mask) && max_node < 1)
		return -EINVAL;
	if (flags & ~(uint64_t)(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED))
		return -EINVAL;
	if (flags & MPOL_F_MEMS_ALLOWED && flags & (MPOL_F_NODE | MPOL_F_ADDR))
		return -EINVAL;
	if (!(flags & MPOL_F_ADDR) && address)
		return -EINVAL;
	if (flags & MPOL_F_ADDR) {
		rwsem_read_lock(&mm->lock);
		struct vma *v = vma_find_shown(mm, address);
		bool mapped = v && v->start <= address;
		rwsem_read_unlock(&mm->lock);
		if (!mapped)
			return -EFAULT;
	} else if (flags & MPOL_F_NODE) {
		return -EINVAL; // only interleaving has a next node
	}
	// MPOL_DEFAULT, or node 0, is the number 0 either way.
	if (!uptr_is_null(mode) && put_user((int)0, mode))
		return -EFAULT;
	if (!uptr_is_null(mask)) {
		uint64_t bytes = align_up(max_node, UINT64_C(64)) / 8;
		uint64_t first = flags & MPOL_F_MEMS_ALLOWED ? 1 : 0;
		if (bytes > PAGE_SIZE)
			return -EINVAL;
		if (clear_user(mask, bytes) || put_user(first, mask))
			return -EFAULT;
	}
	return 0;
}
