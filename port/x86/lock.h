// SPDX-License-Identifier: Apache-2.0
// The port's own spinlock. Interrupts are off in the kernel, so there is one kind; waiting serves other CPUs' requests.
#pragma once

#include "port/inline.h"

struct x86_lock {
	uint32_t word;
};

static inline void x86_lock(struct x86_lock *l)
{
	while (__atomic_exchange_n(&l->word, 1, __ATOMIC_ACQUIRE))
		while (__atomic_load_n(&l->word, __ATOMIC_RELAXED))
			port_cpu_relax();
}

static inline void x86_unlock(struct x86_lock *l) { __atomic_store_n(&l->word, 0, __ATOMIC_RELEASE); }
