// SPDX-License-Identifier: Apache-2.0
// The boot thread's life as idle task: it sleeps until the earliest timer is due or another thread asks for something.
#include "idle.h"

#include "lib/compiler.h"
#include "port/host.h"
#include "task.h"

#define RETRY_NS UINT64_C(10000000) // between tries for a process

int32_t hosted_kernel_tgid; // set at start

static uint32_t idle_word;                      // atomic: changes when there is something to do
static uint64_t timer_deadline_ns = UINT64_MAX; // atomic
static struct port_task *requests;              // atomic stack, by next_request
static struct port_task *waiting;               // boot thread's, by next_request: the host had no process for them

static void idle_wake(void)
{
	__atomic_fetch_add(&idle_word, 1, __ATOMIC_SEQ_CST);
	port_lock_wake(&idle_word);
}

void port_timer_set(uint64_t deadline_ns)
{
	__atomic_store_n(&timer_deadline_ns, deadline_ns, __ATOMIC_SEQ_CST);
	if (current_port()->adopted) // looks itself before it sleeps
		__atomic_fetch_add(&idle_word, 1, __ATOMIC_SEQ_CST);
	else
		idle_wake();
}

// ---- requests ----

static void post(struct port_task *p)
{
	struct port_task *seen = __atomic_load_n(&requests, __ATOMIC_RELAXED);
	do
		p->next_request = seen;
	while (!__atomic_compare_exchange_n(&requests, &seen, p, true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	idle_wake();
}

int hosted_request(struct port_task *p)
{
	__atomic_store_n(&p->request_done, 0, __ATOMIC_RELAXED);
	post(p);
	while (!__atomic_load_n(&p->request_done, __ATOMIC_ACQUIRE))
		port_lock_wait(&p->request_done, 0);
	return p->request_result;
}

void hosted_request_migrate(struct port_task *p) { post(p); }

static void serve(struct port_task *p)
{
	if (p->moved_sp) {
		if (!hosted_migrate_serve(p)) {
			p->next_request = waiting;
			waiting = p;
		}
		return;
	}
	p->request_result = port_task_spawn(p, NULL);
	__atomic_store_n(&p->request_done, 1, __ATOMIC_RELEASE);
	port_lock_wake(&p->request_done);
}

static void serve_all(struct port_task *p)
{
	for (struct port_task *next; p; p = next) {
		next = p->next_request;
		serve(p);
	}
}

static void serve_requests(void)
{
	struct port_task *again = waiting;

	waiting = NULL;
	serve_all(again);
	serve_all(__atomic_exchange_n(&requests, NULL, __ATOMIC_ACQUIRE));
}

// ---- idle ----

void port_cpu_idle(void)
{
	uint32_t seen = __atomic_load_n(&idle_word, __ATOMIC_SEQ_CST);

	serve_requests();
	hosted_reap();
	uint64_t deadline = __atomic_load_n(&timer_deadline_ns, __ATOMIC_SEQ_CST), now = port_time_ns();
	if (deadline <= now) {
		// Whoever sets an earlier one meanwhile changes idle_word.
		__atomic_store_n(&timer_deadline_ns, UINT64_MAX, __ATOMIC_SEQ_CST);
		kernel_upcall_timer();
		return;
	}
	if (waiting && deadline > now + RETRY_NS)
		deadline = now + RETRY_NS;
	if (deadline == UINT64_MAX)
		port_lock_wait(&idle_word, seen);
	else
		port_lock_wait_until(&idle_word, seen, deadline);
}
