// SPDX-License-Identifier: Apache-2.0
// IPC namespaces: made and unmade. Their parts are those of sysv/, shm.c and mqueue/.
#include "namespace.h"

#include <linux/sched.h>

#include "kernel/errno.h"
#include "kernel/fs.h"
#include "kernel/init.h"
#include "kernel/slab.h"

struct ipc_namespace ipc_namespace_first = { .common = NAMESPACE_INIT(&ipc_namespace_type, NAMESPACE_INO_IPC,
								      &user_namespace_initial) };
struct namespace *const ipc_namespace_initial = &ipc_namespace_first.common;

static int fill(struct ipc_namespace *i)
{
	msg_table_init(&i->queues);
	sem_table_init(&i->sets);
	i->mqueues = mqueue_super_create();
	return i->mqueues ? 0 : -ENOMEM;
}

static struct namespace *create(struct namespace *old, struct user_namespace *owner, struct fs_context *fs)
{
	struct ipc_namespace *i = kalloc(sizeof(*i));
	if (!i)
		return err_ptr(-ENOMEM);
	int error = namespace_init(&i->common, &ipc_namespace_type, owner);
	if (error) {
		kfree(i);
		return err_ptr(error);
	}
	error = fill(i);
	if (!error)
		return &i->common;
	namespace_put(&i->common);
	return err_ptr(error);
}

static void destroy(struct namespace *n)
{
	struct ipc_namespace *i = container_of(n, struct ipc_namespace, common);
	sysv_table_clear(&i->queues);
	sysv_table_clear(&i->sets);
	shm_table_clear(&i->shm);
	super_put(i->mqueues);
	kfree(i);
}

const struct namespace_type ipc_namespace_type = {
	.name = "ipc", .kind = NAMESPACE_IPC, .clone_flag = CLONE_NEWIPC, .create = create, .destroy = destroy
};

static void init(void)
{
	int error = fill(&ipc_namespace_first);
	assert(!error);
	(void)error;
}
KERNEL_INIT(2, init);
