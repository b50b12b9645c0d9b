// SPDX-License-Identifier: Apache-2.0
// The lock-order check of debug builds. Empty otherwise.
#pragma once

#include "lib/compiler.h"

#if CLOISTER_DEBUG
// This CPU took (without waiting when `tried`) the spinlock of class `name`.
void lockdep_acquired(const void *lock, const char *name, bool tried);
void lockdep_released(const void *lock);
// The current task is about to sleep: panics when this CPU holds a spinlock.
void lockdep_assert_may_sleep(void);
#else
static inline void lockdep_acquired(const void *lock, const char *name, bool tried)
{
	(void)lock;
	(void)name;
	(void)tried;
}
static inline void lockdep_released(const void *lock) { (void)lock; }
static inline void lockdep_assert_may_sleep(void) {}
#endif
