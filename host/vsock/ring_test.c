// SPDX-License-Identifier: Apache-2.0
// The device's side of a ring: good chains come through, in order; bad ones break the ring and touch nothing.
#include "vsock/ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#define SIZE  8u
#define GUEST UINT64_C(0x100000)
#define USER  UINT64_C(0x7f0000000000)

static char cell[16384] __attribute__((aligned(4096)));
static struct memory memory;
static struct ring ring;

static struct vring_desc *descriptor(unsigned i) { return (struct vring_desc *)cell + i; }
static struct vring_avail *avail(void) { return (void *)(cell + 1024); }
static struct vring_used *used(void) { return (void *)(cell + 2048); }

static int start(void **state)
{
	(void)state;
	memset(cell, 0, sizeof(cell));
	memory = (struct memory){ .count = 1, .regions = { { GUEST, USER, sizeof(cell), cell, cell, sizeof(cell) } } };
	ring = (struct ring){ .memory = &memory, .size = SIZE, .kick_fd = -1, .call_fd = -1 };
	assert_true(ring_set_addresses(&ring, USER, USER + 1024, USER + 2048));
	return 0;
}

static void describe(unsigned i, uint64_t address, uint32_t size, uint16_t flags, uint16_t next)
{
	*descriptor(i) = (struct vring_desc){ address, size, flags, next };
}

static void offer(uint16_t head)
{
	avail()->ring[avail()->idx % SIZE] = head;
	avail()->idx++;
}

static void test_chains_come_in_order(void **state)
{
	struct chain c;

	(void)state;
	assert_true(ring_is_empty(&ring));
	assert_false(ring_pop(&ring, &c));
	describe(3, GUEST + 4096, 44, VRING_DESC_F_NEXT, 5);
	describe(5, GUEST + 8192, 100, 0, 0);
	describe(1, GUEST + 12288, 4096, VRING_DESC_F_WRITE, 0);
	offer(3);
	offer(1);
	assert_true(ring_pop(&ring, &c));
	assert_int_equal(c.head, 3);
	assert_int_equal(c.out_count, 2);
	assert_int_equal(c.out_bytes, 144);
	assert_ptr_equal(c.out[0].iov_base, cell + 4096);
	assert_ptr_equal(c.out[1].iov_base, cell + 8192);
	ring_push(&ring, &c, 0);
	assert_true(ring_pop(&ring, &c));
	ring_unpop(&ring);
	assert_true(ring_pop(&ring, &c));
	assert_int_equal(c.in_bytes, 4096);
	ring_push(&ring, &c, 7);
	assert_int_equal(used()->idx, 2);
	assert_int_equal(used()->ring[0].id, 3);
	assert_int_equal(used()->ring[1].id, 1);
	assert_int_equal(used()->ring[1].len, 7);
	assert_true(ring_is_empty(&ring));
}

static void test_indirect_chains(void **state)
{
	struct vring_desc *table = (void *)(cell + 4096);
	struct chain c;

	(void)state;
	table[0] = (struct vring_desc){ GUEST + 8192, 10, VRING_DESC_F_NEXT, 1 };
	table[1] = (struct vring_desc){ GUEST + 8200, 20, VRING_DESC_F_WRITE, 0 };
	describe(0, GUEST + 4096, 32, VRING_DESC_F_INDIRECT, 0);
	offer(0);
	assert_true(ring_pop(&ring, &c));
	assert_int_equal(c.out_bytes, 10);
	assert_int_equal(c.in_bytes, 20);
}

static void expect_broken(void)
{
	struct chain c;

	assert_false(ring_pop(&ring, &c));
	assert_true(ring.broken);
	assert_false(ring_pop(&ring, &c));
	start(NULL);
}

static void test_bad_chains_break_the_ring(void **state)
{
	struct vring_desc *table = (void *)(cell + 4096);

	(void)state;
	offer(SIZE); // no such descriptor
	expect_broken();
	describe(0, GUEST + sizeof(cell) - 10, 11, 0, 0); // beyond the memory
	offer(0);
	expect_broken();
	describe(0, GUEST - 1, 2, 0, 0);
	offer(0);
	expect_broken();
	describe(0, UINT64_MAX - 1, 4, 0, 0); // wraps around
	offer(0);
	expect_broken();
	describe(0, GUEST, 1, VRING_DESC_F_NEXT, 1); // a loop
	describe(1, GUEST, 1, VRING_DESC_F_NEXT, 0);
	offer(0);
	expect_broken();
	describe(0, GUEST, 1, VRING_DESC_F_NEXT, SIZE);
	offer(0);
	expect_broken();
	describe(0, GUEST, 1, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1); // read after write
	describe(1, GUEST, 1, 0, 0);
	offer(0);
	expect_broken();
	describe(0, GUEST + 4096, 24, VRING_DESC_F_INDIRECT, 0); // no whole table
	offer(0);
	expect_broken();
	table[0] = (struct vring_desc){ GUEST + 4096, 16, VRING_DESC_F_INDIRECT, 0 }; // a table in a table
	describe(0, GUEST + 4096, 16, VRING_DESC_F_INDIRECT, 0);
	offer(0);
	expect_broken();
	avail()->idx = SIZE + 1; // more than there are
	expect_broken();
}

static void test_long_chains_are_bounded(void **state)
{
	struct vring_desc *table = (void *)(cell + 4096);

	(void)state;
	for (unsigned i = 0; i < CHAIN_SEGMENTS_MAX + 1; i++)
		table[i] = (struct vring_desc){ GUEST, 1, VRING_DESC_F_NEXT, (uint16_t)(i + 1) };
	table[CHAIN_SEGMENTS_MAX].flags = 0;
	describe(0, GUEST + 4096, 16 * (CHAIN_SEGMENTS_MAX + 1), VRING_DESC_F_INDIRECT, 0);
	offer(0);
	expect_broken();
}

static void test_addresses_must_lie_in_memory(void **state)
{
	(void)state;
	assert_false(ring_set_addresses(&ring, USER + sizeof(cell) - 16, USER + 1024, USER + 2048));
	assert_false(ring_set_addresses(&ring, USER, USER + sizeof(cell), USER + 2048));
	assert_false(ring_set_addresses(&ring, USER, USER + 1024, USER + sizeof(cell) - 4));
	assert_false(ring_set_addresses(&ring, USER + 8, USER + 1024, USER + 2048));
	assert_false(ring_set_addresses(&ring, USER, USER + 1025, USER + 2048));
	assert_false(ring_set_addresses(&ring, GUEST, GUEST + 1024, GUEST + 2048));
}

static bool interrupted(void)
{
	uint64_t count;

	return read(ring.call_fd, &count, sizeof(count)) == sizeof(count);
}

static void test_interrupts_as_the_cell_wants_them(void **state)
{
	struct chain c = { .head = 0 };

	(void)state;
	ring.call_fd = eventfd(0, EFD_NONBLOCK);
	ring_interrupt(&ring);
	assert_false(interrupted()); // nothing new
	ring_push(&ring, &c, 0);
	ring_interrupt(&ring);
	assert_true(interrupted());
	avail()->flags = VRING_AVAIL_F_NO_INTERRUPT;
	ring_push(&ring, &c, 0);
	ring_interrupt(&ring);
	assert_false(interrupted());
	ring.event_index = true;
	avail()->ring[SIZE] = 3; // used_event: at the fourth
	ring_push(&ring, &c, 0);
	ring_interrupt(&ring);
	assert_false(interrupted());
	ring_push(&ring, &c, 0);
	ring_interrupt(&ring);
	assert_true(interrupted());
	close(ring.call_fd);
}

static void test_kicks_are_asked_for(void **state)
{
	(void)state;
	ring_disable_kick(&ring);
	assert_int_equal(used()->flags, VRING_USED_F_NO_NOTIFY);
	assert_true(ring_enable_kick(&ring));
	assert_int_equal(used()->flags, 0);
	offer(0);
	assert_false(ring_enable_kick(&ring));
	ring.event_index = true;
	ring.next_avail = 1;
	assert_true(ring_enable_kick(&ring));
	assert_int_equal(*(uint16_t *)&used()->ring[SIZE], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_chains_come_in_order, start),
		cmocka_unit_test_setup(test_indirect_chains, start),
		cmocka_unit_test_setup(test_bad_chains_break_the_ring, start),
		cmocka_unit_test_setup(test_long_chains_are_bounded, start),
		cmocka_unit_test_setup(test_addresses_must_lie_in_memory, start),
		cmocka_unit_test_setup(test_interrupts_as_the_cell_wants_them, start),
		cmocka_unit_test_setup(test_kicks_are_asked_for, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
