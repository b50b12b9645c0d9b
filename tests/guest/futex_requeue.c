// SPDX-License-Identifier: Apache-2.0
// Do requeue, compare-requeue and wake-op move, count and compute as specified?
#include "check.h"
#include <linux/futex.h>

static long futex(void *word, int op, uint32_t value, uintptr_t value2, void *word2, uint32_t value3)
{
	return syscall(SYS_futex, word, op, value, value2, word2, value3);
}

static uint32_t first, second;
static atomic_int sleeping, woken;

static void *waits_on_first(void *argument)
{
	(void)argument;
	atomic_fetch_add(&sleeping, 1);
	CHECK_OK(futex(&first, FUTEX_WAIT_PRIVATE, 0, 0, NULL, 0));
	atomic_fetch_add(&woken, 1);
	return NULL;
}

static void *waits_on_second(void *argument)
{
	(void)argument;
	atomic_fetch_add(&sleeping, 1);
	CHECK_OK(futex(&second, FUTEX_WAIT_PRIVATE, second, 0, NULL, 0));
	atomic_fetch_add(&woken, 1);
	return NULL;
}

static void start(pthread_t *threads, int count, void *(*function)(void *))
{
	int before = atomic_load(&sleeping);

	for (int i = 0; i < count; i++)
		pthread_create(&threads[i], NULL, function, NULL);
	WAIT_UNTIL(atomic_load(&sleeping) == before + count);
	check_sleep_ms(50);
}

static void requeue(void)
{
	pthread_t threads[5];

	start(threads, 5, waits_on_first);
	CHECK_ERR(futex(&first, FUTEX_CMP_REQUEUE_PRIVATE, 1, 2, &second, 1), EAGAIN);
	CHECK_EQ(futex(&first, FUTEX_CMP_REQUEUE_PRIVATE, 1, 2, &second, 0), 3); // woken and moved
	WAIT_UNTIL(atomic_load(&woken) == 1);
	CHECK_EQ(futex(&second, FUTEX_WAKE_PRIVATE, 10, 0, NULL, 0), 2);
	WAIT_UNTIL(atomic_load(&woken) == 3);
	CHECK_EQ(futex(&first, FUTEX_REQUEUE_PRIVATE, 0, 1, &second, 0), 1);
	CHECK_EQ(futex(&second, FUTEX_WAKE_PRIVATE, 10, 0, NULL, 0), 1);
	CHECK_EQ(futex(&first, FUTEX_WAKE_PRIVATE, 10, 0, NULL, 0), 1);
	for (int i = 0; i < 5; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(atomic_load(&woken), 5);
	CHECK_ERR(futex(&first, FUTEX_REQUEUE, -1, 1, &second, 0), EINVAL);
	CHECK_ERR(futex(&first, FUTEX_REQUEUE, 1, 1, (void *)8, 0), EFAULT);
}

static void wake_op(void)
{
	pthread_t threads[4];

	atomic_store(&woken, 0);
	second = 5;
	start(threads, 2, waits_on_first);
	start(threads + 2, 2, waits_on_second);
	// second: 5 -> 8; the old value is greater than 4: wake both queues.
	uint32_t op = FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_GT, 4);
	CHECK_EQ(futex(&first, FUTEX_WAKE_OP_PRIVATE, 1, 1, &second, op), 2);
	CHECK_EQ(second, 8);
	// The comparison fails: only the first queue.
	op = FUTEX_OP(FUTEX_OP_SET, 20, FUTEX_OP_CMP_EQ, 1);
	CHECK_EQ(futex(&first, FUTEX_WAKE_OP_PRIVATE, 5, 5, &second, op), 1);
	CHECK_EQ(second, 20);
	CHECK_EQ(futex(&second, FUTEX_WAKE_PRIVATE, 9, 0, NULL, 0), 1);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	op = FUTEX_OP(FUTEX_OP_OR, 1, FUTEX_OP_CMP_NE, 0);
	futex(&first, FUTEX_WAKE_OP, 1, 1, &second, op);
	CHECK_EQ(second, 21);
	op = FUTEX_OP(FUTEX_OP_ANDN, 20, FUTEX_OP_CMP_LT, 0);
	futex(&first, FUTEX_WAKE_OP, 1, 1, &second, op);
	CHECK_EQ(second, 1);
	op = FUTEX_OP(FUTEX_OP_XOR, 3, FUTEX_OP_CMP_GE, 0);
	futex(&first, FUTEX_WAKE_OP, 1, 1, &second, op);
	CHECK_EQ(second, 2);
	op = FUTEX_OP((FUTEX_OP_OR | FUTEX_OP_OPARG_SHIFT), 4, FUTEX_OP_CMP_LE, 0);
	futex(&first, FUTEX_WAKE_OP, 1, 1, &second, op);
	CHECK_EQ(second, 18);
	CHECK_ERR(futex(&first, FUTEX_WAKE_OP, 1, 1, (void *)8, op), EFAULT);
	CHECK_ERR(futex(&first, FUTEX_WAKE_OP, 1, 1, &second, FUTEX_OP(FUTEX_OP_SET, 0, 9, 0)), ENOSYS);
}

int main(void)
{
	requeue();
	wake_op();
	return check_done();
}
