// SPDX-License-Identifier: Apache-2.0
// Network namespaces: made and unmade. Each socket refers to one; so do tasks and files that stand for it.
#include "namespace.h"

#include <linux/sched.h>

#include "kernel/errno.h"
#include "kernel/init.h"
#include "kernel/leak.h"
#include "kernel/net_tables.h"
#include "kernel/slab.h"

struct net_namespace net_namespace_first = {
	.common = NAMESPACE_INIT(&net_namespace_type, NAMESPACE_INO_NET, &user_namespace_initial),
	.up = true,
	.addressed = true,
};
struct namespace *const net_namespace_initial = &net_namespace_first.common;

static int64_t count; // but the first; atomic

static int64_t left(void) { return __atomic_load_n(&count, __ATOMIC_RELAXED); }
static struct leak_counter leak = { .name = "network namespaces", .left = left };

static void init(void) { leak_counter_register(&leak); }
KERNEL_INIT(1, init);

const struct net_namespace *net_namespace_of(struct namespace *n)
{
	assert(n->type == &net_namespace_type);
	return container_of(n, struct net_namespace, common);
}

static struct namespace *create(struct namespace *old, struct user_namespace *owner, struct fs_context *fs)
{
	struct net_namespace *n = kalloc(sizeof(*n));
	if (!n)
		return err_ptr(-ENOMEM);
	int error = namespace_init(&n->common, &net_namespace_type, owner);
	if (error) {
		kfree(n);
		return err_ptr(error);
	}
	__atomic_fetch_add(&count, 1, __ATOMIC_RELAXED);
	return &n->common;
}

static void destroy(struct namespace *n)
{
	kfree(container_of(n, struct net_namespace, common));
	__atomic_fetch_sub(&count, 1, __ATOMIC_RELAXED);
}

const struct namespace_type net_namespace_type = {
	.name = "net", .kind = NAMESPACE_NET, .clone_flag = CLONE_NEWNET, .create = create, .destroy = destroy
};
