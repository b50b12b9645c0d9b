// SPDX-License-Identifier: Apache-2.0
// User namespaces: who has which capability where, and how many namespaces there may be. user_namespaces(7).
#include "internal.h"

#include "kernel/namespace.h"

#define LIMIT_DEFAULT 4096u // /proc/sys/user/max_*_namespaces

struct user_namespace user_namespace_initial = {
	.common = NAMESPACE_INIT(NULL, NAMESPACE_INO_USER),
	.limits = { [0 ... NAMESPACE_KINDS - 1] = LIMIT_DEFAULT },
};

int user_namespace_charge(struct user_namespace *n, enum namespace_kind kind)
{
	if (__atomic_add_fetch(&n->counts[kind], 1, __ATOMIC_RELAXED) <=
	    (int64_t)__atomic_load_n(&n->limits[kind], __ATOMIC_RELAXED))
		return 0;
	user_namespace_uncharge(n, kind);
	return -ENOSPC;
}

void user_namespace_uncharge(struct user_namespace *n, enum namespace_kind kind)
{
	__atomic_sub_fetch(&n->counts[kind], 1, __ATOMIC_RELAXED);
}
