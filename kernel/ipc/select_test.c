// SPDX-License-Identifier: Apache-2.0
// Questions to the set arithmetic of select(2).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "port/fake.h"

#include "lib/bitmap.h"
#include "select.h"

#define WORDS 3u

struct sets {
	uint64_t words[6][WORDS];
	uint64_t *in[3], *out[3];
};

static void sets_init(struct sets *s)
{
	memset(s->words, 0, sizeof(s->words));
	for (unsigned i = 0; i < 3; i++) {
		s->in[i] = s->words[i];
		s->out[i] = s->words[3 + i];
	}
}

static void does_next_find_every_set_once(void **state)
{
	struct sets s;

	(void)state;
	sets_init(&s);
	assert_int_equal(select_next(s.in, WORDS, 0), -1);
	bitmap_set(s.in[0], 3);
	bitmap_set(s.in[1], 3);
	bitmap_set(s.in[2], 64);
	bitmap_set(s.in[1], 191);
	assert_int_equal(select_next(s.in, WORDS, 0), 3);
	assert_int_equal(select_next(s.in, WORDS, 4), 64);
	assert_int_equal(select_next(s.in, WORDS, 65), 191);
	assert_int_equal(select_next(s.in, WORDS, 192), -1);
	assert_int_equal(select_next(s.in, 0, 0), -1);
}

static void do_events_land_in_the_sets_that_asked(void **state)
{
	struct sets s;

	(void)state;
	sets_init(&s);
	bitmap_set(s.in[0], 5);
	bitmap_set(s.in[2], 5);
	assert_true(select_events_wanted(s.in, 5) & EPOLLIN);
	assert_false(select_events_wanted(s.in, 5) & EPOLLOUT);
	assert_int_equal(select_events_store(s.in, s.out, 5, EPOLLIN | EPOLLOUT), 1);
	assert_true(bitmap_test(s.out[0], 5));
	assert_false(bitmap_test(s.out[1], 5));
	assert_false(bitmap_test(s.out[2], 5));
	// Urgent data, in both sets that care.
	assert_int_equal(select_events_store(s.in, s.out, 5, EPOLLPRI | EPOLLRDBAND), 2);
}

static void does_a_hang_up_make_readable_and_an_error_both(void **state)
{
	struct sets s;

	(void)state;
	sets_init(&s);
	bitmap_set(s.in[0], 0);
	bitmap_set(s.in[1], 0);
	assert_int_equal(select_events_store(s.in, s.out, 0, EPOLLHUP), 1);
	assert_int_equal(select_events_store(s.in, s.out, 0, EPOLLERR), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(does_next_find_every_set_once),
		cmocka_unit_test(do_events_land_in_the_sets_that_asked),
		cmocka_unit_test(does_a_hang_up_make_readable_and_an_error_both),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
