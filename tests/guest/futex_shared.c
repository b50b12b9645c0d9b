// SPDX-License-Identifier: Apache-2.0
// Do futexes meet between processes: shared memory at other addresses, shared files, and stay apart after fork?
#include "check.h"
#include <linux/futex.h>
#include <semaphore.h>

static long futex(void *word, int op, uint32_t value, const struct timespec *timeout)
{
	return syscall(SYS_futex, word, op, value, timeout, NULL, 0);
}

static void wait_for(uint32_t *word, uint32_t value)
{
	while (__atomic_load_n(word, __ATOMIC_SEQ_CST) != value) {
		uint32_t seen = __atomic_load_n(word, __ATOMIC_SEQ_CST);
		if (seen != value)
			futex(word, FUTEX_WAIT, seen, NULL);
	}
}

static void set(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_SEQ_CST);
	futex(word, FUTEX_WAKE, INT_MAX, NULL);
}

static void ping_pong(uint32_t *mine, uint32_t *yours)
{
	pid_t pid = fork();

	if (pid == 0) {
		for (uint32_t i = 1; i <= 500; i++) {
			wait_for(yours, 2 * i - 1);
			set(yours, 2 * i);
		}
		_exit(0);
	}
	for (uint32_t i = 1; i <= 500; i++) {
		set(mine, 2 * i - 1);
		wait_for(mine, 2 * i);
	}
	CHECK_EQ(check_wait(pid), 0);
}

static void anonymous(void)
{
	uint32_t *word = check_shared(CHECK_PAGE);

	ping_pong(word, word);
}

static void through_a_file_at_two_addresses(void)
{
	int fd = CHECK_OK(open("file", O_RDWR | O_CREAT, 0600));

	CHECK_OK(ftruncate(fd, 2 * CHECK_PAGE));
	char *one = mmap(NULL, 2 * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *two = mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, CHECK_PAGE);
	CHECK(one != MAP_FAILED && two != MAP_FAILED);
	ping_pong((uint32_t *)(one + CHECK_PAGE + 16), (uint32_t *)(two + 16));
	close(fd);
}

static void through_memfd(void)
{
	int fd = CHECK_OK(memfd_create("futex", 0));

	CHECK_OK(ftruncate(fd, CHECK_PAGE));
	uint32_t *one = mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint32_t *two = mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ping_pong(one, two);
	close(fd);
}

static uint32_t private_word;

// The same address in two processes after a fork is two futexes.
static void private_memory_is_apart(void)
{
	uint32_t *shared = check_shared(CHECK_PAGE);
	pid_t pid = fork();

	if (pid == 0) {
		*shared = 1;
		CHECK_ERR(futex(&private_word, FUTEX_WAIT, 0, &(struct timespec){ 0, 150000000 }), ETIMEDOUT);
		check_child_exit();
	}
	WAIT_UNTIL(*(volatile uint32_t *)shared == 1);
	for (int i = 0; i < 5; i++) {
		CHECK_EQ(futex(&private_word, FUTEX_WAKE, 10, NULL), 0);
		check_sleep_ms(10);
	}
	CHECK_EQ(check_wait(pid), 0);
}

static void semaphores(void)
{
	sem_t *semaphore = check_shared(CHECK_PAGE);

	CHECK_OK(sem_init(semaphore, 1, 0));
	pid_t pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 200; i++)
			sem_post(semaphore);
		_exit(0);
	}
	for (int i = 0; i < 200; i++)
		CHECK_OK(sem_wait(semaphore));
	CHECK_EQ(check_wait(pid), 0);
	CHECK_ERR(sem_trywait(semaphore), EAGAIN);

	sem_t *named = sem_open("/guest_futex_shared", O_CREAT | O_EXCL, 0600, 3);
	if (named == SEM_FAILED && errno == EEXIST) {
		sem_unlink("/guest_futex_shared");
		named = sem_open("/guest_futex_shared", O_CREAT | O_EXCL, 0600, 3);
	}
	if (CHECK(named != SEM_FAILED)) {
		pid = fork();
		if (pid == 0) {
			sem_t *again = sem_open("/guest_futex_shared", 0);
			for (int i = 0; i < 3; i++)
				CHECK_OK(sem_wait(again));
			CHECK_ERR(sem_trywait(again), EAGAIN);
			check_child_exit();
		}
		CHECK_EQ(check_wait(pid), 0);
		CHECK_OK(sem_unlink("/guest_futex_shared"));
	}
}

struct monitor {
	pthread_mutex_t mutex;
	pthread_cond_t condition;
	int value;
};

static void condition_variables(void)
{
	struct monitor *monitor = check_shared(sizeof(*monitor));
	pthread_mutexattr_t mutex_attributes;
	pthread_condattr_t condition_attributes;

	pthread_mutexattr_init(&mutex_attributes);
	pthread_mutexattr_setpshared(&mutex_attributes, PTHREAD_PROCESS_SHARED);
	pthread_condattr_init(&condition_attributes);
	pthread_condattr_setpshared(&condition_attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&monitor->mutex, &mutex_attributes);
	pthread_cond_init(&monitor->condition, &condition_attributes);
	pid_t pids[4];
	for (int i = 0; i < 4; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			for (int round = 0; round < 50; round++) {
				pthread_mutex_lock(&monitor->mutex);
				while (monitor->value % 4 != i)
					pthread_cond_wait(&monitor->condition, &monitor->mutex);
				monitor->value++;
				pthread_cond_broadcast(&monitor->condition);
				pthread_mutex_unlock(&monitor->mutex);
			}
			_exit(0);
		}
	}
	for (int i = 0; i < 4; i++)
		CHECK_EQ(check_wait(pids[i]), 0);
	CHECK_EQ(monitor->value, 200);
}

int main(void)
{
	check_tmpdir();
	anonymous();
	through_a_file_at_two_addresses();
	through_memfd();
	private_memory_is_apart();
	semaphores();
	condition_variables();
	return check_done();
}
