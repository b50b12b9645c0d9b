// SPDX-License-Identifier: Apache-2.0
// For the unit tests of kernel/mm: fake physical memory, a fake address space of one table, and the rest of the kernel as stubs
// of one task that never has to wait. Include once, in the test's main file, after cmocka.h.
#pragma once

#include "port/inline.h"
#include "internal.h"
#include "kernel/boot_config.h"
#include "kernel/fs.h"
#include "kernel/log.h"
#include "kernel/random.h"
#include "kernel/sched.h"
#include "kernel/slab.h"
#include "kernel/task.h"
#include "kernel/waitq.h"
#include "lib/string.h"
#include "port/fake_spinlock.h"

// port/fake.h cannot be had: <stdlib.h> and <asm/signal.h> do not go together.
int rand(void);
void srand(unsigned seed);
void *aligned_alloc(size_t alignment, size_t size);
_Noreturn void abort(void);

_Thread_local struct task *fake_current;
_Thread_local unsigned fake_cpu;
unsigned port_cpu_count(void) { return 1; }
void port_lock_wake(uint32_t *word) {}
void port_zero_page(void *page) { memset(page, 0, PAGE_SIZE); }
void port_copy_page(void *to, const void *from) { memcpy(to, from, PAGE_SIZE); }
uint64_t port_time_ns(void)
{
	static uint64_t now;
	return now += 1000000;
}

// ---- physical memory: [16 MiB, 16 MiB + FAKE_BYTES), the last quarter is the device window ----

#define FAKE_BASE (UINT64_C(16) << 20)
#ifndef FAKE_BYTES
#define FAKE_BYTES (UINT64_C(64) << 20)
#endif
static char *fake_memory;

void *port_frame_address(paddr_t frame) { return fake_memory + (frame - FAKE_BASE); }
paddr_t port_frame_of(const void *address) { return FAKE_BASE + (paddr_t)((const char *)address - fake_memory); }

unsigned port_memory_ranges(struct port_memory_range *out, unsigned max)
{
	uint64_t split = FAKE_BASE + FAKE_BYTES / 4 * 3;
	assert_true(max >= 2);
	out[0] = (struct port_memory_range){ .start = split, .end = FAKE_BASE + FAKE_BYTES, .shared_window = true };
	out[1] = (struct port_memory_range){ .start = FAKE_BASE + 3 * PAGE_SIZE, .end = split };
	return 2;
}

static void fake_memory_create(void)
{
	fake_memory = aligned_alloc(PAGE_SIZE << PAGE_ORDER_MAX, FAKE_BYTES);
	assert_non_null(fake_memory);
	memset(fake_memory, 0xaa, FAKE_BYTES); // nothing may rely on fresh memory being zero
}

// ---- stubs ----

static struct task fake_task;
static struct process fake_process;
struct boot_config boot_config;

void mutex_init(struct mutex *m) { *m = (struct mutex){ 0 }; }
void mutex_lock(struct mutex *m)
{
	assert_int_equal(m->word, 0);
	m->word = 1;
}
bool mutex_try_lock(struct mutex *m) { return m->word ? false : (m->word = 1, true); }
void mutex_unlock(struct mutex *m)
{
	assert_int_equal(m->word, 1);
	m->word = 0;
}
void rwsem_init(struct rwsem *s) { *s = (struct rwsem){ 0 }; }
void rwsem_read_lock(struct rwsem *s)
{
	assert_true(s->word >= 0);
	s->word++;
}
void rwsem_read_unlock(struct rwsem *s)
{
	assert_true(s->word > 0);
	s->word--;
}
void rwsem_write_lock(struct rwsem *s)
{
	assert_int_equal(s->word, 0);
	s->word = -1;
	s->owner = fake_current;
}
void rwsem_write_unlock(struct rwsem *s)
{
	assert_int_equal(s->word, -1);
	s->word = 0;
	s->owner = NULL;
}
void rwsem_downgrade(struct rwsem *s)
{
	assert_int_equal(s->word, -1);
	s->word = 1;
	s->owner = NULL;
}
void waiter_init(struct waiter *w) { list_init(&w->node); }
void waitq_add(struct waitq *q, struct waiter *w) {}
void waitq_remove(struct waitq *q, struct waiter *w) {}
void waitq_wake_events(struct waitq *q, unsigned exclusive, unsigned events) {}
static void (*fake_others_run)(void); // what other tasks do while the only one waits
void task_prepare_park(enum park_mode mode) { fake_current->sched.park_mode = mode; }
void task_finish_park(void) {}
void task_unpark(struct task *t) {}
void sched_kick_task(struct task *t) {}
static int fake_park_error;
int task_park(uint64_t deadline_ns)
{
	if (fake_park_error)
		return fake_park_error;
	if (fake_others_run) {
		fake_others_run();
		return 0;
	}
	if (deadline_ns == PARK_FOREVER)
		fail_msg("the only task waits for ever");
	return -ETIMEDOUT;
}
void sched_preempt_point(void) {}
bool fatal_signal_pending(struct task *t) { return false; }
uint64_t process_rlimit(struct process *p, unsigned resource) { return p->rlimits[resource].rlim_cur; }
uint64_t random_u64(void) { return (uint64_t)rand() << 31 ^ (uint64_t)rand(); }
void klog(const char *format, ...) {}
void panic(const char *format, ...)
{
	fail_msg("panic: %s", format);
	abort();
}
struct task *kernel_task_create(const char *name, void (*fn)(void *), void *arg) { return err_ptr(-ENOMEM); }
void inode_put(struct inode *i) { assert_false(refcount_put(&i->refs)); }
void file_put(struct file *f) { assert_false(refcount_put(&f->refs)); }
void signal_force(int signal, int code, uint64_t address) {}
void signal_force_trap(int signal, int code, uint64_t address, unsigned trap, uint64_t error)
{
	(void)signal, (void)code, (void)address, (void)trap, (void)error;
}

void kernel_assert_failed(const char *expression, const char *file, int line)
{
	fail_msg("%s:%d: %s", file, line, expression);
	abort();
}

static void fake_kernel_create(void)
{
	fake_memory_create();
	for (unsigned i = 0; i < RLIM_NLIMITS; i++)
		fake_process.rlimits[i] = (struct rlimit64){ RLIM64_INFINITY, RLIM64_INFINITY };
	fake_process.rlimits[RLIMIT_STACK].rlim_cur = 1 << 20;
	fake_task.process = &fake_process;
	fake_current = &fake_task;
	list_init(&fake_task.mm_node);
}
