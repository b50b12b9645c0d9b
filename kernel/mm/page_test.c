// SPDX-License-Identifier: Apache-2.0
// The page allocator and the object caches, on 64 MiB of fake memory.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test_support.h"

bool reclaim_for_allocation(unsigned order, unsigned flags, unsigned attempt) { return false; }

#define HELD 4000
struct held {
	struct page *page;
	unsigned order;
	uint64_t stamp;
};
static struct held held[HELD];

static void stamp(struct held *h)
{
	h->stamp = ((uint64_t)rand() << 32) ^ (uint64_t)rand();
	for (unsigned i = 0; i < 1u << h->order; i++)
		*(uint64_t *)((char *)page_address(h->page) + i * PAGE_SIZE) = h->stamp + i;
}

static void check_and_free(struct held *h)
{
	for (unsigned i = 0; i < 1u << h->order; i++)
		assert_int_equal(*(uint64_t *)((char *)page_address(h->page) + i * PAGE_SIZE), h->stamp + i);
	page_put(h->page);
	h->page = NULL;
}

static void boot_touches_nothing(void **state)
{
	struct page_stats s;
	page_stats_get(&s);
	assert_int_equal(s.free_pages, s.total_pages);
	assert_int_equal(s.untouched_pages, s.total_pages);
	assert_true(s.total_pages > FAKE_BYTES / PAGE_SIZE * 95 / 100);
}

static void frames_and_descriptors_agree(void **state)
{
	struct page *p = page_alloc(0, PAGE_ZERO);
	assert_non_null(p);
	assert_ptr_equal(page_from_frame(page_to_frame(p)), p);
	assert_ptr_equal(page_from_address((char *)page_address(p) + 100), p);
	assert_null(page_from_frame(0));
	assert_null(page_from_frame(FAKE_BASE + FAKE_BYTES));
	for (unsigned i = 0; i < PAGE_SIZE; i++)
		assert_int_equal(((char *)page_address(p))[i], 0);
	page_put(p);
}

static void device_memory_lies_in_the_window(void **state)
{
	for (unsigned order = 0; order < 6; order++) {
		struct page *p = page_alloc(order, PAGE_DEVICE);
		assert_non_null(p);
		assert_true(page_to_frame(p) >= FAKE_BASE + FAKE_BYTES / 4 * 3);
		assert_true(page_test(p, PAGE_SHARED_ZONE));
		assert_int_equal(page_to_frame(p) % (PAGE_SIZE << order), 0);
		page_put(p);
	}
}

static void blocks_never_overlap(void **state)
{
	srand(1);
	for (unsigned step = 0; step < 200000; step++) {
		struct held *h = &held[(unsigned)rand() % HELD];
		if (h->page) {
			check_and_free(h);
			continue;
		}
		h->order = rand() % 8 ? 0 : (unsigned)rand() % 6;
		h->page = page_alloc(h->order, rand() % 2 ? PAGE_USER : rand() % 2 ? PAGE_SHARED : 0);
		if (h->page) {
			assert_int_equal(page_to_frame(h->page) % (PAGE_SIZE << h->order), 0);
			stamp(h);
		}
	}
	for (unsigned i = 0; i < HELD; i++)
		if (held[i].page)
			check_and_free(&held[i]);
	page_drain_caches();
	struct page_stats s;
	page_stats_get(&s);
	assert_int_equal(s.free_pages, s.total_pages);
	assert_int_equal(s.allocations, s.frees);
	assert_int_equal(s.anonymous_pages, 0);
}

static void freed_blocks_merge(void **state)
{
	unsigned count = 0;
	while (count < HELD && (held[count].page = page_alloc(0, PAGE_ATOMIC)))
		count++;
	for (unsigned i = 0; i < count; i++)
		page_put(held[i].page);
	page_drain_caches();
	unsigned large = 0;
	while ((held[large].page = page_alloc(PAGE_ORDER_MAX, PAGE_ATOMIC)))
		large++;
	assert_true(large >= 10); // 64 MiB have 15 whole blocks of 4 MiB, less what was carved and reserved
	while (large > 0)
		page_put(held[--large].page);
}

static void user_memory_leaves_a_reserve(void **state)
{
	static struct page *all[FAKE_BYTES / 4096];
	unsigned count = 0;
	while ((all[count] = page_alloc(0, PAGE_USER)))
		count++;
	assert_true(page_free_count() >= 64);
	struct page *p = page_alloc(0, PAGE_ATOMIC);
	assert_non_null(p);
	page_put(p);
	while (count > 0)
		page_put(all[--count]);
	page_drain_caches();
	assert_int_equal(page_free_count(), page_total_count());
}

// ---- object caches ----

static void objects_are_zeroed_distinct_and_aligned(void **state)
{
	struct slab_cache *c = slab_cache_create("test", 200, 64);
	enum { N = 3000 };
	static char *objects[N];
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < N; i++) {
			objects[i] = slab_alloc(c);
			assert_non_null(objects[i]);
			assert_int_equal((uintptr_t)objects[i] % 64, 0);
			for (unsigned b = 0; b < 200; b++)
				assert_int_equal(objects[i][b], 0);
			memset(objects[i], (int)i, 200);
		}
		for (unsigned i = 0; i < N; i++) {
			for (unsigned b = 0; b < 200; b++)
				assert_int_equal((uint8_t)objects[i][b], (uint8_t)i);
			slab_free(c, objects[i]);
		}
	}
	struct slab_info info = { 0 };
	bool found = false;
	for (unsigned i = 0; !found && slab_info_get(i, &info); i++)
		found = !strcmp(info.name, "test");
	assert_true(found);
	assert_int_equal(info.objects_used, 0);
}

static void empty_slabs_go_back(void **state)
{
	slab_reclaim();
	page_drain_caches();
	struct page_stats before, after;
	page_stats_get(&before);
	struct slab_cache *c = slab_cache_create("test2", 1000, 8);
	static void *objects[1000];
	page_stats_get(&before); // the cache's magazines stay
	for (unsigned i = 0; i < 1000; i++)
		objects[i] = slab_alloc(c);
	for (unsigned i = 0; i < 1000; i++)
		slab_free(c, objects[(i * 7) % 1000]);
	slab_reclaim();
	page_stats_get(&after);
	assert_int_equal(after.free_pages, before.free_pages);
	assert_int_equal(after.slab_pages, before.slab_pages);
}

static void any_size_can_be_had(void **state)
{
	struct page_stats before, after;
	slab_reclaim();
	page_stats_get(&before);
	for (size_t size = 1; size < 200000; size = size * 5 / 4 + 1) {
		char *a = kalloc(size), *b = kalloc_atomic(size);
		assert_non_null(a);
		assert_non_null(b);
		assert_true(kalloc_size(a) >= size);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(a[i] | b[i], 0);
		memset(a, 1, size);
		memset(b, 2, size);
		assert_int_equal(a[size - 1], 1);
		kfree(a);
		kfree(b);
	}
	assert_null(kalloc(PAGE_SIZE << (PAGE_ORDER_MAX + 1)));
	assert_null(kalloc_array(SIZE_MAX / 2, 3));
	kfree(NULL);
	char *copy = kstrdup("memory");
	assert_string_equal(copy, "memory");
	kfree(copy);
	slab_reclaim();
	page_stats_get(&after);
	assert_int_equal(after.free_pages, before.free_pages);
}

int main(void)
{
	fake_kernel_create();
	page_init();
	const struct CMUnitTest first[] = { cmocka_unit_test(boot_touches_nothing) };
	int failed = cmocka_run_group_tests_name("page boot", first, NULL, NULL);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_and_descriptors_agree), cmocka_unit_test(device_memory_lies_in_the_window),
		cmocka_unit_test(blocks_never_overlap),         cmocka_unit_test(freed_blocks_merge),
		cmocka_unit_test(user_memory_leaves_a_reserve),
	};
	failed += cmocka_run_group_tests_name("page", tests, NULL, NULL);
	slab_init();
	const struct CMUnitTest slabs[] = {
		cmocka_unit_test(objects_are_zeroed_distinct_and_aligned),
		cmocka_unit_test(empty_slabs_go_back),
		cmocka_unit_test(any_size_can_be_had),
	};
	return failed + cmocka_run_group_tests_name("slab", slabs, NULL, NULL);
}
