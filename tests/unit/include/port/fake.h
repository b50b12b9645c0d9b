// SPDX-License-Identifier: Apache-2.0
// A fake port for unit tests: include once, in the test's main file. Add what the code under test calls.
#pragma once

#include "port/port.h"
#include "port/inline.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <stdio.h>

_Thread_local struct task *fake_current;
_Thread_local unsigned fake_cpu;

__attribute__((weak)) unsigned port_cpu_count(void) { return 1; }
__attribute__((weak)) void port_cpu_kick(unsigned cpu) { (void)cpu; }
__attribute__((weak)) void port_preempt_point(void) {}
__attribute__((weak)) void port_lock_wait(uint32_t *word, uint32_t seen)
{
	(void)word;
	(void)seen;
}
__attribute__((weak)) void port_lock_wake(uint32_t *word) { (void)word; }
__attribute__((weak)) bool port_stable_code(void) { return false; }
__attribute__((weak)) void port_zero_page(void *page) { memset(page, 0, 4096); }
__attribute__((weak)) void port_page_expect_device(void *page) { (void)page; }
__attribute__((weak)) void port_copy_page(void *to, const void *from) { memcpy(to, from, 4096); }
__attribute__((weak)) void port_log_write(const char *text, size_t size) { fwrite(text, 1, size, stderr); }
__attribute__((weak)) uint64_t port_time_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}
