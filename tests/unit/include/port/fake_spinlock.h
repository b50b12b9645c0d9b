// SPDX-License-Identifier: Apache-2.0
// Spinlocks for unit tests of one thread: whoever would wait has forgotten to let go. Include once, in the test's main file, after
// cmocka.h.
#pragma once

#include "kernel/spinlock.h"

void spin_lock(struct spinlock *l)
{
	assert_int_equal(l->word, 0);
	l->word = 1;
}
void spin_unlock(struct spinlock *l)
{
	assert_int_equal(l->word, 1);
	l->word = 0;
}
bool spin_try_lock(struct spinlock *l) { return l->word ? false : (l->word = 1, true); }
