// SPDX-License-Identifier: Apache-2.0
// Fakes for the unit tests of kernel/sched: a task is a host thread, which sleeps where a scheduler would switch. With PORT_HOST
// locks and parks sleep on the host's futexes, as on a port that schedules. Include once.
#pragma once

#include "host_threads.h"
#include "internal.h"

// A contended lock yields the host's CPU or sleeps; the fake port would spin.
#define port_lock_wait unused_port_lock_wait
#define port_lock_wake unused_port_lock_wake
#include "port/fake.h"
#undef port_lock_wait
#undef port_lock_wake

static jmp_buf *panic_target; // a test that expects a panic catches it here
static char panic_text[200];

_Noreturn void panic(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(panic_text, sizeof(panic_text), format, arguments);
	va_end(arguments);
	if (panic_target)
		longjmp(*panic_target, 1);
	fprintf(stderr, "panic: %s\n", panic_text);
	abort();
}

struct port_task {
	struct host_self *self;
};

void port_lock_wait(uint32_t *word, uint32_t seen)
{
	if (PORT_HOST)
		host_futex_wait(word, seen, UINT64_MAX);
	else
		host_yield();
}
void port_lock_wait_until(uint32_t *word, uint32_t seen, uint64_t deadline_ns)
{
	host_futex_wait(word, seen, deadline_ns);
}
static uint32_t fake_wakes, fake_kicks;
void port_lock_wake(uint32_t *word)
{
	__atomic_add_fetch(&fake_wakes, 1, __ATOMIC_RELAXED);
	host_futex_wake(word);
}
void port_task_kick(struct port_task *p)
{
	__atomic_add_fetch(&fake_kicks, 1, __ATOMIC_RELAXED);
	host_kick(p->self);
}

bool mm_serve_parked(void) { return false; }

bool fatal_signal_pending(struct task *t) { return task_work_test(t, WORK_KILLED); }

void sched_block(void)
{
	struct task *t = port_current();
	uint32_t parking = SCHED_PARKING;

	if (!__atomic_compare_exchange_n(&t->sched.state, &parking, SCHED_PARKED, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST))
		return;
	host_sleep_while(&t->sched.state, SCHED_PARKED);
}

void sched_wake(struct task *t)
{
	(void)t;
	host_wake_all();
}

// One task per thread, on a CPU of its own: lock checks are per CPU.
static uint32_t fake_cpus;

static void fake_task_enter(struct task *t)
{
	fake_current = t;
	fake_cpu = __atomic_add_fetch(&fake_cpus, 1, __ATOMIC_RELAXED) % 16;
	t->sched.affinity.bits[0] = UINT64_MAX;
}
