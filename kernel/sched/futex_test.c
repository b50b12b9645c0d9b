// SPDX-License-Identifier: Apache-2.0
// Do futexes wake whom they should, and lose nobody? The program's memory is the test's own; tasks are host threads.
#include "sched_fakes.h"

#include "futex_internal.h"
#include "kernel/init.h"
#include "kernel/syscalls.h"

#define ROUNDS 2000

static struct mm mm;
static struct task tasks[5];
static uint32_t words[2];

extern const struct init_entry __start_init_table_1[] __attribute__((weak)),
	__stop_init_table_1[] __attribute__((weak));

void ktimer_init(struct ktimer *t, void (*expire)(struct ktimer *t)) { *t = (struct ktimer){ .expire = expire }; }
void ktimer_set(struct ktimer *t, uint64_t deadline_ns)
{
	(void)deadline_ns; // expires at once
	t->expire(t);
}
bool ktimer_cancel_sync(struct ktimer *t)
{
	(void)t;
	return false;
}
int64_t clock_realtime_offset_ns(void) { return 0; }
void cputime_note_current(void) {}
bool load_average_sampled = true;
void load_average_start(void) {}
void *kalloc(size_t size) { return calloc(1, size); }
void kfree(void *p) { free(p); }
uint64_t port_user_end(void) { return UINT64_C(1) << 47; }
size_t port_copy_in(void *to, uint64_t from, size_t size)
{
	memcpy(to, (void *)from, size);
	return 0;
}
size_t port_copy_out(uint64_t to, const void *from, size_t size)
{
	memcpy((void *)to, from, size);
	return 0;
}
int port_user_load32(uint64_t user, uint32_t *seen)
{
	*seen = __atomic_load_n((uint32_t *)user, __ATOMIC_SEQ_CST);
	return 0;
}
int port_user_cmpxchg32(uint64_t user, uint32_t old, uint32_t new, uint32_t *seen)
{
	__atomic_compare_exchange_n((uint32_t *)user, &old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	*seen = old;
	return 0;
}
// Every fourth access finds the page absent.
static uint32_t accesses;
static bool absent(void) { return __atomic_add_fetch(&accesses, 1, __ATOMIC_RELAXED) % 4 == 0; }
int port_user_load32_atomic(uint64_t user, uint32_t *seen) { return absent() ? -EFAULT : port_user_load32(user, seen); }
int port_user_cmpxchg32_atomic(uint64_t user, uint32_t old, uint32_t new, uint32_t *seen)
{
	return absent() ? -EFAULT : port_user_cmpxchg32(user, old, new, seen);
}
int mm_futex_key(struct mm *m, uint64_t address, bool write, struct mobj **object, uint64_t *offset)
{
	(void)m;
	(void)write;
	*object = NULL;
	*offset = address;
	return 0;
}
void mobj_get(struct mobj *o) { (void)o; }
void sched_boost(struct task *t, unsigned rt_priority) { t->sched.boost = (uint8_t)rt_priority; }
void mobj_put(struct mobj *o) { (void)o; }
pid_t pid_meant_slow(pid_t number) { return number; }
struct task *task_find(pid_t tid)
{
	for (unsigned i = 0; i < array_count(tasks); i++) {
		if (tasks[i].tid == tid) {
			task_get(&tasks[i]);
			return &tasks[i];
		}
	}
	return NULL;
}
void task_put(struct task *t) { assert(!refcount_put(&t->refs)); }
int ptrace_may_access(struct task *t) { return t ? 0 : -EPERM; }

static int set_up(void **state)
{
	(void)state;
	for (unsigned i = 0; i < array_count(tasks); i++) {
		tasks[i].mm = &mm;
		tasks[i].tid = tasks[i].own_tid = (pid_t)(100 + i);
		refcount_set(&tasks[i].refs, 1);
	}
	fake_task_enter(&tasks[4]);
	for (const struct init_entry *e = __start_init_table_1; e < __stop_init_table_1; e++)
		e->fn();
	words[0] = words[1] = 0;
	return 0;
}

static struct uptr at(uint32_t *word) { return (struct uptr){ (uint64_t)word }; }
static long wait_for(uint32_t *word, uint32_t value)
{
	return sys_futex(at(word), FUTEX_WAIT | FUTEX_PRIVATE_FLAG, value, (struct uptr){ 0 }, (struct uptr){ 0 }, 0);
}
static long wake(uint32_t *word, unsigned count)
{
	return sys_futex(at(word), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count, (struct uptr){ 0 }, (struct uptr){ 0 }, 0);
}

static unsigned waiting(void)
{
	unsigned count = 0;

	for (unsigned i = 0; i < FUTEX_BUCKETS; i++) {
		struct list *l;

		spin_lock(&futex_buckets[i].lock);
		for (l = futex_buckets[i].waiters.next; l != &futex_buckets[i].waiters; l = l->next)
			count++;
		spin_unlock(&futex_buckets[i].lock);
	}
	return count;
}

static void are_bad_calls_refused(void **state)
{
	struct __kernel_timespec past = { 0, 1 };

	(void)state;
	assert_int_equal(wait_for(words, 1), -EAGAIN);
	assert_int_equal(sys_futex((struct uptr){ (uint64_t)words + 1 }, FUTEX_WAKE, 1, (struct uptr){ 0 },
				   (struct uptr){ 0 }, 0),
			 -EINVAL);
	assert_int_equal(sys_futex(at(words), FUTEX_WAIT_BITSET, 0, (struct uptr){ 0 }, (struct uptr){ 0 }, 0),
			 -EINVAL);
	assert_int_equal(sys_futex(at(words), 99, 0, (struct uptr){ 0 }, (struct uptr){ 0 }, 0), -ENOSYS);
	assert_int_equal(sys_futex(at(words), FUTEX_WAIT, 0, (struct uptr){ (uint64_t)&past }, (struct uptr){ 0 }, 0),
			 -ETIMEDOUT);
	assert_int_equal(wake(words, 1), 0);
	assert_int_equal(waiting(), 0);
}

// A lock as a C library makes it (0 free, 1 held, 2 waited for).
static unsigned inside, total;
static void use_lock(void *arg)
{
	fake_task_enter(arg);
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint32_t seen = 0;

		if (!__atomic_compare_exchange_n(words, &seen, 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			while (__atomic_exchange_n(words, 2, __ATOMIC_SEQ_CST))
				wait_for(words, 2);
		assert(inside++ == 0);
		total++;
		if (i % 32 == 0)
			host_yield();
		assert(--inside == 0);
		if (__atomic_exchange_n(words, 0, __ATOMIC_SEQ_CST) == 2)
			wake(words, 1);
	}
}

static void use_pi_lock(void *arg)
{
	fake_task_enter(arg);
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint32_t free = 0, mine = (uint32_t)port_current()->tid;

		if (!__atomic_compare_exchange_n(words, &free, mine, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			assert(futex_lock_pi(at(words), true, PARK_FOREVER, false) == 0);
		assert((words[0] & FUTEX_TID_MASK) == mine);
		assert(inside++ == 0);
		total++;
		assert(--inside == 0);
		if (!__atomic_compare_exchange_n(words, &mine, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			assert(futex_unlock_pi(at(words), true) == 0);
	}
}

static void run_all(void (*fn)(void *))
{
	struct host_thread *h[4];

	inside = total = 0;
	for (unsigned i = 0; i < 4; i++)
		h[i] = host_thread_start(fn, &tasks[i]);
	for (unsigned i = 0; i < 4; i++)
		host_thread_join(h[i]);
	assert_int_equal(total, 4 * ROUNDS);
	assert_int_equal(waiting(), 0);
	assert_int_equal(words[0], 0);
}

static void does_a_lock_made_of_futexes_work(void **state)
{
	(void)state;
	run_all(use_lock);
}

static void does_an_owner_lock_hand_over(void **state)
{
	(void)state;
	run_all(use_pi_lock);
}

static void wait_zero(void *arg)
{
	fake_task_enter(arg);
	assert(wait_for(words, 0) == 0);
}

static void does_requeue_wake_some_and_move_the_rest(void **state)
{
	struct host_thread *h[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		h[i] = host_thread_start(wait_zero, &tasks[i]);
	while (waiting() < 4)
		host_yield();
	assert_int_equal(sys_futex(at(words), FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 1, (struct uptr){ 2 },
				   at(&words[1]), 1),
			 -EAGAIN);
	assert_int_equal(sys_futex(at(words), FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 1, (struct uptr){ 2 },
				   at(&words[1]), 0),
			 3);
	assert_int_equal(waiting(), 3);
	assert_int_equal(wake(&words[1], 10), 2);
	assert_int_equal(wake(words, 10), 1);
	for (unsigned i = 0; i < 4; i++)
		host_thread_join(h[i]);
}

static void does_wake_op_change_the_word_and_wake_both(void **state)
{
	struct host_thread *h;

	(void)state;
	words[1] = 5;
	h = host_thread_start(wait_zero, &tasks[0]);
	while (waiting() < 1)
		host_yield();
	// words[1] += 3; wake one of words[0], and of words[1] if it was 5
	assert_int_equal(sys_futex(at(words), FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 1, (struct uptr){ 1 }, at(&words[1]),
				   FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 5)),
			 1);
	assert_int_equal(words[1], 8);
	host_thread_join(h);
}

static void does_a_dead_owners_lock_pass_on(void **state)
{
	struct {
		struct robust_list_head head;
		struct robust_list entry;
		uint32_t word;
		uint32_t padding;
	} r = { 0 };

	(void)state;
	r.head.list.next = &r.entry;
	r.entry.next = &r.head.list;
	r.head.futex_offset = (long)((char *)&r.word - (char *)&r.entry);
	r.word = 104 | FUTEX_WAITERS;
	tasks[4].robust_list = (uint64_t)&r.head;
	futex_exit_robust(&tasks[4]);
	assert_int_equal(r.word, FUTEX_OWNER_DIED | FUTEX_WAITERS);
	// Somebody else's is left alone.
	r.word = 103;
	tasks[4].robust_list = (uint64_t)&r.head;
	futex_exit_robust(&tasks[4]);
	assert_int_equal(r.word, 103);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(are_bad_calls_refused),
		TEST(does_a_lock_made_of_futexes_work),
		TEST(does_an_owner_lock_hand_over),
		TEST(does_requeue_wake_some_and_move_the_rest),
		TEST(does_wake_op_change_the_word_and_wake_both),
		TEST(does_a_dead_owners_lock_pass_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
