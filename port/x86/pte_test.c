// SPDX-License-Identifier: Apache-2.0
// Page-table arithmetic: what is encoded is what is decoded, and what the CPU will make of it.
#include "pte.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define FRAME UINT64_C(0x7fedcba000)

static void encoding_round_trips(void **state)
{
	(void)state;
	const unsigned prots[] = { 0, PORT_PROT_READ, PORT_PROT_READ | PORT_PROT_WRITE, PORT_PROT_READ | PORT_PROT_EXEC,
				   PORT_PROT_READ | PORT_PROT_WRITE | PORT_PROT_EXEC };
	for (unsigned i = 0; i < sizeof(prots) / sizeof(prots[0]); i++) {
		struct port_pte p;
		pte_decode(pte_encode(FRAME, prots[i]), &p);
		assert_true(p.present);
		assert_false(p.busy);
		assert_int_equal(p.frame, FRAME);
		assert_int_equal(p.prot, prots[i]);
		assert_false(p.dirty || p.accessed);
	}
}

static void no_access_is_not_present_for_the_cpu(void **state)
{
	(void)state;
	assert_int_equal(pte_encode(FRAME, 0) & PTE_P, 0);
	assert_true(pte_installed(pte_encode(FRAME, 0)));
}

static void data_is_not_executable(void **state)
{
	(void)state;
	assert_true(pte_encode(FRAME, PORT_PROT_READ | PORT_PROT_WRITE) & PTE_NX);
	assert_false(pte_encode(FRAME, PORT_PROT_READ | PORT_PROT_EXEC) & PTE_NX);
}

static void empty_and_meta_only_entries_are_absent(void **state)
{
	(void)state;
	struct port_pte p;
	pte_decode(0, &p);
	assert_false(p.present);
	pte_decode(PTE_META, &p);
	assert_false(p.present || p.busy);
	pte_decode(PTE_GOING | FRAME | PTE_META, &p);
	assert_false(p.present);
	assert_true(p.busy);
}

static void flush_is_asked_for_exactly_when_rights_shrink(void **state)
{
	(void)state;
	uint64_t r = pte_encode(FRAME, PORT_PROT_READ), rw = pte_encode(FRAME, PORT_PROT_READ | PORT_PROT_WRITE);
	uint64_t rx = pte_encode(FRAME, PORT_PROT_READ | PORT_PROT_EXEC), none = pte_encode(FRAME, 0);
	uint64_t other = pte_encode(FRAME + 4096, PORT_PROT_READ);
	assert_false(pte_needs_flush(0, rw));
	assert_false(pte_needs_flush(none, rw));
	assert_false(pte_needs_flush(r, rw));
	assert_false(pte_needs_flush(r, rx));
	assert_false(pte_needs_flush(r, r | PTE_A | PTE_D));
	assert_true(pte_needs_flush(rw, r));
	assert_true(pte_needs_flush(rx, r));
	assert_true(pte_needs_flush(r, none));
	assert_true(pte_needs_flush(r, 0));
	assert_true(pte_needs_flush(r, other));
}

static void spans_end_where_tables_end(void **state)
{
	(void)state;
	const uint64_t max = UINT64_MAX;
	assert_true(pte_span_end(0, 0, max) == REGION_BYTES);
	assert_true(pte_span_end(REGION_BYTES - 1, 0, max) == REGION_BYTES);
	assert_true(pte_span_end(REGION_BYTES, 0, max) == 2 * REGION_BYTES);
	assert_true(pte_span_end(5, 1, max) == GIB);
	assert_true(pte_span_end(5, 2, max) == 512 * GIB);
	assert_true(pte_span_end(0x1000, 0, 0x3000) == 0x3000);
	assert_true(pte_span_end(USER_END - 1, 2, USER_END) == USER_END);
}

static void indexes_select_nine_bits_a_level(void **state)
{
	(void)state;
	uint64_t va = UINT64_C(1) << 39 | UINT64_C(2) << 30 | UINT64_C(3) << 21 | UINT64_C(4) << 12 | 5;
	assert_int_equal(pte_index(va, 3), 1);
	assert_int_equal(pte_index(va, 2), 2);
	assert_int_equal(pte_index(va, 1), 3);
	assert_int_equal(pte_index(va, 0), 4);
	assert_int_equal(pte_index(USER_END - 1, 3), 255);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(encoding_round_trips),
		cmocka_unit_test(no_access_is_not_present_for_the_cpu),
		cmocka_unit_test(data_is_not_executable),
		cmocka_unit_test(empty_and_meta_only_entries_are_absent),
		cmocka_unit_test(flush_is_asked_for_exactly_when_rights_shrink),
		cmocka_unit_test(spans_end_where_tables_end),
		cmocka_unit_test(indexes_select_nine_bits_a_level),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
