// SPDX-License-Identifier: Apache-2.0
// Cgroup namespaces: which control group paths are told from. cgroup_namespaces(7).
//
// A cell has one control group, the root, and so that is where each of them begins: they differ in who they are of.
#include "internal.h"

#include "kernel/namespace.h"

static struct namespace initial = NAMESPACE_INIT(&cgroup_namespace_type, NAMESPACE_INO_CGROUP, &user_namespace_initial);
struct namespace *const cgroup_namespace_initial = &initial;

static struct namespace *create(struct namespace *old, struct user_namespace *owner, struct fs_context *fs)
{
	(void)old, (void)fs;
	struct namespace *n = kalloc(sizeof(*n));
	if (!n)
		return err_ptr(-ENOMEM);
	int error = namespace_init(n, &cgroup_namespace_type, owner);
	if (!error)
		return n;
	kfree(n);
	return err_ptr(error);
}

static void destroy(struct namespace *n) { kfree(n); }

const struct namespace_type cgroup_namespace_type = {
	.name = "cgroup", .kind = NAMESPACE_CGROUP, .clone_flag = CLONE_NEWCGROUP, .create = create, .destroy = destroy
};
