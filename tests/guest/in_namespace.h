// SPDX-License-Identifier: Apache-2.0
// For tests of mounts: each part in a mount namespace of its own.
#pragma once

#include "check.h"

static void in_namespace(void (*test)(void), const char *name)
{
	pid_t pid = CHECK_OK(fork());

	if (!pid) {
		atomic_store(&check_failed, 0);
		CHECK_OK(unshare(CLONE_NEWNS));
		test();
		check_child_exit();
	}
	if (!CHECK_EQ(check_wait(pid), 0))
		fprintf(stderr, "in %s\n", name);
}
