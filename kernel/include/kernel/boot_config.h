// SPDX-License-Identifier: Apache-2.0
// The boot record, checked and in the kernel's own form. Owner: kernel/core/boot_record.c.
#pragma once

#include "abi/boot.h"
#include "abi/outside.h"
#include "kernel/types.h"

struct boot_config {
	const char *program, *workdir, *hostname;
	const char *const *argv; // NULL-terminated
	const char *const *envp;
	unsigned argc, envc;
	unsigned mount_count;
	const struct boot_mount *const *mounts;
	struct boot_time time;
	const void *seed;
	size_t seed_size;
	uid_t uid;
	gid_t gid;
	unsigned group_count;
	const uint32_t *groups;
	struct boot_options options;
	unsigned rlimit_count;
	const struct boot_rlimit *const *rlimits;
	unsigned net_rule_count;
	const struct outside_rule *const *net_rules;
};

extern struct boot_config boot_config; // written once, in the first lines of kernel_upcall_boot()
// Checks a record and fills `out`, whose arrays come from kalloc. 0, -EINVAL, -ENOMEM; *why names what is wrong.
int boot_record_parse(const void *record, size_t size, struct boot_config *out, const char **why);
