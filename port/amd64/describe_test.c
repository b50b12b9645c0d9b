// SPDX-License-Identifier: Apache-2.0
// Does the description of the CPUs fit where it goes, and does it hide what programs do not have?
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "features.h"

static struct amd64_features f;
static struct amd64_cpus cpus = { &f, 4, UINT64_C(2500000000) };
static char text[4096];

static int set_up(void **state)
{
	(void)state;
	memset(&f, 0, sizeof(f));
	amd64_features_detect(&f);
	f.xcr0 = AMD64_XCR0_SUPPORTED;
	f.fsgsbase = true;
	return 0;
}

static int describe(unsigned index, size_t size)
{
	struct port_cpu_topology place;

	memset(text, 'x', sizeof(text));
	amd64_topology_flat(&cpus, index, &place);
	return amd64_cpuinfo(&cpus, index, index, &place, text, size);
}

static void is_a_block_of_proc_cpuinfo_whole(void **state)
{
	int length = describe(2, sizeof(text));

	(void)state;
	assert_true(length > 200 && length < (int)sizeof(text));
	assert_int_equal(strlen(text), length);
	assert_int_equal(strncmp(text, "processor\t: 2\n", 14), 0);
	assert_non_null(strstr(text, "flags\t\t: fpu "));
	assert_non_null(strstr(text, "core id\t\t: 2\ncpu cores\t: 4\n"));
	assert_non_null(strstr(text, "cpu MHz\t\t: 2500.000\n"));
	assert_string_equal(text + length - 2, "\n\n");
}

static void is_a_short_buffer_not_overrun(void **state)
{
	int whole = describe(0, sizeof(text));

	(void)state;
	for (size_t size = 0; size < 300; size++) {
		assert_int_equal(describe(0, size), whole);
		assert_int_equal(text[size], 'x');
		if (size)
			assert_true(strlen(text) < size);
	}
}

static void are_features_without_their_state_hidden(void **state)
{
	(void)state;
	f.xcr0 = 7;
	describe(0, sizeof(text));
	assert_null(strstr(text, " avx512"));
	f.xcr0 = 3;
	f.fsgsbase = false;
	describe(0, sizeof(text));
	assert_null(strstr(text, " avx"));
	assert_null(strstr(text, " fma "));
	assert_null(strstr(text, " fsgsbase"));
	assert_int_equal(amd64_hwcap2(&f), 0);
}

static void do_places_stay_in_the_cell(void **state)
{
	struct port_cpu_topology place;
	struct port_cpu_cache caches[8];
	unsigned count = amd64_caches(&cpus, caches, 8);

	(void)state;
	for (uint32_t id = 0; id < 300; id++) {
		amd64_topology(&cpus, id, &place);
		assert_true(place.threads_per_core >= 1 && place.cores_per_package >= 1);
		assert_true(place.threads_per_core * place.cores_per_package <= cpus.count);
	}
	assert_true(count <= 8);
	for (unsigned i = 0; i < count; i++)
		assert_in_range(caches[i].shared_cpus, 1, cpus.count);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(is_a_block_of_proc_cpuinfo_whole),
		TEST(is_a_short_buffer_not_overrun),
		TEST(are_features_without_their_state_hidden),
		TEST(do_places_stay_in_the_cell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
