// SPDX-License-Identifier: Apache-2.0
// Calls of the host's kernel. The seccomp filter (host/hosted/filter.c) admits them from kernel text only; docs/security.md
// lists which. Results are the host's: >= 0 or -errno. The program's vector registers survive a call.
#pragma once

#include <asm/unistd.h>
#include <stdint.h>

static inline long host_call(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	register uint64_t r10 __asm__("r10") = d;
	register uint64_t r8 __asm__("r8") = e;
	register uint64_t r9 __asm__("r9") = f;
	__asm__ volatile("syscall"
			 : "+a"(nr)
			 : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return nr;
}

#define HOST_CALL_7(_0, nr, a, b, c, d, e, f, ...) \
	host_call((nr), (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), (uint64_t)(e), (uint64_t)(f))
// HOST(NAME, arguments...): up to six, missing ones are 0.
#define HOST(name, ...) HOST_CALL_7(0, __NR_##name, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)

// entry.S: a call that may wait. -EINTR when the thread is kicked before or while it waits, without a gap.
long hosted_call_interruptible(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f);
#define HOST_WAIT_7(_0, nr, a, b, c, d, e, f, ...)                                                                 \
	hosted_call_interruptible((nr), (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), (uint64_t)(e), \
				  (uint64_t)(f))
#define HOST_WAIT(name, ...) HOST_WAIT_7(0, __NR_##name, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)
