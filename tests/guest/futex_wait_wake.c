// SPDX-License-Identifier: Apache-2.0
// Do futex wait and wake compare, count, time out and filter by bits?
#include "check.h"
#include <linux/futex.h>

static long futex(void *word, int op, uint32_t value, const struct timespec *timeout, void *word2, uint32_t value3)
{
	return syscall(SYS_futex, word, op, value, timeout, word2, value3);
}

static uint32_t word;
static atomic_int sleeping, woken;

static void *waiter(void *argument)
{
	atomic_fetch_add(&sleeping, 1);
	if (futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, (uint32_t)(uintptr_t)argument) == 0)
		atomic_fetch_add(&woken, 1);
	return NULL;
}

static void counts(void)
{
	pthread_t threads[6];
	long total = 0;

	for (int i = 0; i < 6; i++)
		pthread_create(&threads[i], NULL, waiter, (void *)0xfffffffful);
	WAIT_UNTIL(atomic_load(&sleeping) == 6);
	check_sleep_ms(50);
	CHECK_EQ(total += futex(&word, FUTEX_WAKE_PRIVATE, 2, NULL, NULL, 0), 2);
	CHECK_EQ(total += futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 3);
	CHECK_EQ(total += futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0), 6);
	CHECK_EQ(futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0), 0);
	for (int i = 0; i < 6; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(atomic_load(&woken), 6);
}

static void bits(void)
{
	pthread_t threads[2];

	atomic_store(&sleeping, 0);
	pthread_create(&threads[0], NULL, waiter, (void *)1);
	pthread_create(&threads[1], NULL, waiter, (void *)2);
	WAIT_UNTIL(atomic_load(&sleeping) == 2);
	check_sleep_ms(50);
	CHECK_EQ(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 9, NULL, NULL, 4), 0);
	CHECK_EQ(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 9, NULL, NULL, 2), 1);
	pthread_join(threads[1], NULL);
	CHECK_EQ(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 9, NULL, NULL, 3), 1);
	pthread_join(threads[0], NULL);
	CHECK_ERR(futex(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0), EINVAL);
	CHECK_ERR(futex(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0), EINVAL);
}

static void timeouts(void)
{
	struct timespec relative = { 0, 50000000 }, absolute, bad = { 0, -1 }, zero = { 0, 0 };
	int64_t start = check_now_ns();

	CHECK_ERR(futex(&word, FUTEX_WAIT, 0, &relative, NULL, 0), ETIMEDOUT);
	CHECK(check_now_ns() - start >= 50000000);
	CHECK_ERR(futex(&word, FUTEX_WAIT, 0, &zero, NULL, 0), ETIMEDOUT);
	clock_gettime(CLOCK_MONOTONIC, &absolute);
	absolute.tv_nsec += 50000000;
	absolute.tv_sec += absolute.tv_nsec / 1000000000;
	absolute.tv_nsec %= 1000000000;
	start = check_now_ns();
	CHECK_ERR(futex(&word, FUTEX_WAIT_BITSET, 0, &absolute, NULL, 1), ETIMEDOUT);
	CHECK(check_now_ns() - start >= 45000000);
	CHECK_ERR(futex(&word, FUTEX_WAIT_BITSET, 0, &absolute, NULL, 1), ETIMEDOUT); // already past
	clock_gettime(CLOCK_REALTIME, &absolute);
	absolute.tv_nsec += 50000000;
	absolute.tv_sec += absolute.tv_nsec / 1000000000;
	absolute.tv_nsec %= 1000000000;
	CHECK_ERR(futex(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &absolute, NULL, 1), ETIMEDOUT);
	CHECK_ERR(futex(&word, FUTEX_WAIT, 0, &bad, NULL, 0), EINVAL);
	CHECK_ERR(futex(&word, FUTEX_WAIT, 0, (void *)8, NULL, 0), EFAULT);
}

static void errors(void)
{
	CHECK_ERR(futex(&word, FUTEX_WAIT, 1, NULL, NULL, 0), EAGAIN);
	CHECK_ERR(futex((char *)&word + 1, FUTEX_WAIT, 0, NULL, NULL, 0), EINVAL);
	CHECK_ERR(futex((void *)0x10, FUTEX_WAIT, 0, NULL, NULL, 0), EFAULT);
	CHECK_ERR(futex((void *)0xffff800000000000ul, FUTEX_WAKE, 1, NULL, NULL, 0), EFAULT);
	CHECK_ERR(futex(&word, 77, 0, NULL, NULL, 0), ENOSYS);
	void *none = mmap(NULL, CHECK_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK_ERR(futex(none, FUTEX_WAIT, 0, NULL, NULL, 0), EFAULT);
	// Waking at an address nobody touched yet is no error.
	void *fresh = mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK_EQ(futex(fresh, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0);
}

// A ping-pong of many rounds loses no wake-up.
static uint32_t turn;

static void *partner(void *argument)
{
	(void)argument;
	for (int i = 0; i < 5000; i++) {
		while (__atomic_load_n(&turn, __ATOMIC_SEQ_CST) != 1)
			futex(&turn, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
		__atomic_store_n(&turn, 0, __ATOMIC_SEQ_CST);
		futex(&turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	}
	return NULL;
}

static void ping_pong(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, partner, NULL);
	for (int i = 0; i < 5000; i++) {
		__atomic_store_n(&turn, 1, __ATOMIC_SEQ_CST);
		futex(&turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		while (__atomic_load_n(&turn, __ATOMIC_SEQ_CST) != 0)
			futex(&turn, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
	}
	pthread_join(thread, NULL);
}

int main(void)
{
	counts();
	bits();
	timeouts();
	errors();
	ping_pong();
	return check_done();
}
