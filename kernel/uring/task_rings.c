// SPDX-License-Identifier: Apache-2.0
// IORING_REGISTER_RING_FDS: a thread's own short list of rings, so that io_uring_enter(2) finds them without its descriptors.
#include "internal.h"

#include "kernel/uring.h"

struct file *uring_registered_ring(unsigned index)
{
	struct file **rings = current->uring_rings;

	if (index >= TASK_RINGS || !rings)
		return err_ptr(-EINVAL);
	if (!rings[index])
		return err_ptr(-EBADF);
	file_get(rings[index]);
	return rings[index];
}

int uring_task_ring_add(struct file *f, uint32_t slot, unsigned *out)
{
	struct task *t = current;

	if (!t->uring_rings)
		t->uring_rings = kalloc_array(TASK_RINGS, sizeof(struct file *));
	if (!t->uring_rings) {
		file_put(f);
		return -ENOMEM;
	}
	if (slot == UINT32_MAX)
		for (slot = 0; slot < TASK_RINGS && t->uring_rings[slot];)
			slot++;
	if (slot >= TASK_RINGS || t->uring_rings[slot]) {
		file_put(f);
		return -EBUSY;
	}
	t->uring_rings[slot] = f;
	*out = slot;
	return 0;
}

int uring_task_ring_remove(uint32_t slot)
{
	struct file **rings = current->uring_rings, *f;

	if (slot >= TASK_RINGS)
		return -EINVAL;
	f = rings ? rings[slot] : NULL;
	if (f) {
		rings[slot] = NULL;
		file_put(f);
	}
	return 0;
}

void uring_task_exit(struct task *t)
{
	for (unsigned i = 0; i < TASK_RINGS; i++)
		if (t->uring_rings[i])
			file_put(t->uring_rings[i]);
	kfree(t->uring_rings);
	t->uring_rings = NULL;
}
