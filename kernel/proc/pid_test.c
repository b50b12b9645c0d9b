// SPDX-License-Identifier: Apache-2.0
// Are process numbers unique, given out in a cycle, found, and free again only when nothing uses them?
#include "proc_fakes.h"

#define PID_MAX 32768

struct pid_namespace pid_namespace_first;

void namespace_put(struct namespace *n) { (void)!refcount_put(&n->refs); }

static struct pid *take(void)
{
	int error = 0;
	struct pid *p = pid_alloc(&pid_namespace_first, &error);
	assert_non_null(p);
	return p;
}

static void numbers_ascend_and_are_not_reused_soon(void **state)
{
	(void)state;
	struct pid *a = take(), *b = take();
	assert_int_equal(b->number, a->number + 1);
	pid_t freed = b->number;
	pid_put(b);
	b = take();
	assert_int_equal(b->number, freed + 1);
	pid_put(a);
	pid_put(b);
	assert_int_equal(pid_count(), 0);
}

static void a_number_is_found_as_long_as_it_is_used(void **state)
{
	struct task t = { 0 };
	(void)state;
	struct pid *p = take();
	pid_t number = p->number;
	assert_null(pid_find_locked(number)); // nobody has it yet
	struct pid *again = pid_find(number);
	assert_ptr_equal(again, p);
	pid_put(again);
	p->task = &t;
	assert_ptr_equal(pid_find_locked(number), p);
	p->task = NULL;
	struct list group;
	list_add(&p->group, &group);
	pid_release_if_unused(p);
	assert_ptr_equal(pid_find_locked(number), p); // a process group keeps its number
	list_remove(&group);
	pid_release_if_unused(p);
	assert_null(pid_find(number)); // a pidfd may hold the object still
	assert_int_equal(p->number, number);
	pid_put(p);
}

static void a_number_for_each_namespace(void **state)
{
	struct pid_namespace a = { .common.refs = { 1 }, .parent = &pid_namespace_first, .level = 1 };
	struct pid_namespace b = { .common.refs = { 1 }, .parent = &a, .level = 2 };
	struct process init = { 0 };
	int error = 0;
	(void)state;
	struct pid *p = pid_alloc(&a, &error), *q = pid_alloc(&b, &error);
	a.init = b.init = &init;
	struct pid *r = pid_alloc(&b, &error), *outside = take();
	assert_int_equal(pid_number_in(&a, p), 1);
	assert_int_equal(pid_number_in(&b, p), 0);
	assert_int_equal(pid_number_in(&b, q), 1);
	assert_int_equal(pid_number_in(&b, r), 2);
	assert_int_equal(pid_number_in(&a, r), pid_number_in(&a, q) + 1);
	assert_int_equal(pid_number_in(&pid_namespace_first, r), r->number);
	assert_int_equal(pid_number_in(&a, outside), 0);
	assert_int_equal(pid_meant_in(&b, 2), r->number);
	assert_int_equal(pid_meant_in(&b, 3), PID_NONE);
	assert_int_equal(pid_shown_in(&b, r->number), 2);
	assert_int_equal(pid_shown_in(&b, p->number), 0);
	pid_put(r);
	assert_int_equal(pid_meant_in(&b, 2), PID_NONE);
	pid_put(p);
	pid_put(q);
	pid_put(outside);
	assert_int_equal(pid_count(), 0);
	assert_int_equal(refcount_read(&a.common.refs), 1);
	assert_int_equal(refcount_read(&b.common.refs), 1);
}

static void exhaustion_is_eagain_and_ends(void **state)
{
	static struct pid *all[PID_MAX];
	unsigned n = 0;
	int error = 0;
	(void)state;
	while ((all[n] = pid_alloc(&pid_namespace_first, &error)))
		n++;
	assert_int_equal(error, -EAGAIN);
	assert_true(n > PID_MAX - 400 && n < PID_MAX);
	// Every number once.
	static bool seen[PID_MAX];
	for (unsigned i = 0; i < n; i++) {
		assert_true(all[i]->number > 0 && all[i]->number < PID_MAX);
		assert_false(seen[all[i]->number]);
		seen[all[i]->number] = true;
	}
	pid_t freed = all[n / 2]->number;
	pid_put(all[n / 2]);
	all[n / 2] = take();
	assert_int_equal(all[n / 2]->number, freed);
	for (unsigned i = 0; i < n; i++)
		pid_put(all[i]);
	assert_int_equal(pid_count(), 0);
	// Low numbers are for the first processes: not given out again after a wrap.
	for (unsigned i = 0; i < 2; i++) {
		struct pid *p = take();
		assert_true(p->number >= 300);
		pid_put(p);
	}
}

int main(void)
{
	fake_run_init();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_ascend_and_are_not_reused_soon),
		cmocka_unit_test(a_number_is_found_as_long_as_it_is_used),
		cmocka_unit_test(a_number_for_each_namespace),
		cmocka_unit_test(exhaustion_is_eagain_and_ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
