// SPDX-License-Identifier: Apache-2.0
// Are robust and priority-inheriting mutexes handed on when their owner dies?
#include "check.h"
#include <linux/futex.h>

struct shared {
	pthread_mutex_t mutex;
	atomic_int ready;
	struct robust_list_head head;
	struct robust_list entry;
	uint32_t word;
};

static struct shared *shared;

static void make_mutex(int protocol)
{
	pthread_mutexattr_t attributes;

	pthread_mutexattr_init(&attributes);
	CHECK_EQ(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED), 0);
	CHECK_EQ(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST), 0);
	CHECK_EQ(pthread_mutexattr_setprotocol(&attributes, protocol), 0);
	CHECK_EQ(pthread_mutex_init(&shared->mutex, &attributes), 0);
}

static void process_dies(bool killed)
{
	make_mutex(PTHREAD_PRIO_NONE);
	atomic_store(&shared->ready, 0);
	pid_t pid = fork();
	if (pid == 0) {
		pthread_mutex_lock(&shared->mutex);
		atomic_store(&shared->ready, 1);
		check_sleep_ms(50);
		if (killed)
			kill(getpid(), SIGKILL);
		_exit(0);
	}
	WAIT_UNTIL(atomic_load(&shared->ready));
	CHECK_EQ(pthread_mutex_lock(&shared->mutex), EOWNERDEAD);
	CHECK_EQ(pthread_mutex_consistent(&shared->mutex), 0);
	CHECK_EQ(pthread_mutex_unlock(&shared->mutex), 0);
	CHECK_EQ(pthread_mutex_lock(&shared->mutex), 0);
	CHECK_EQ(pthread_mutex_unlock(&shared->mutex), 0);
	check_wait(pid);
}

static void *locks_and_leaves(void *argument)
{
	(void)argument;
	pthread_mutex_lock(&shared->mutex);
	return NULL;
}

static void thread_dies(void)
{
	pthread_t thread;

	make_mutex(PTHREAD_PRIO_NONE);
	pthread_create(&thread, NULL, locks_and_leaves, NULL);
	pthread_join(thread, NULL);
	CHECK_EQ(pthread_mutex_trylock(&shared->mutex), EOWNERDEAD);
	CHECK_EQ(pthread_mutex_unlock(&shared->mutex), 0); // not made consistent: lost for ever
	CHECK_EQ(pthread_mutex_lock(&shared->mutex), ENOTRECOVERABLE);
}

static void raw_list(void)
{
	struct robust_list_head *head = NULL;
	size_t size = 0;

	CHECK_ERR(syscall(SYS_set_robust_list, &shared->head, 5), EINVAL);
	CHECK_OK(syscall(SYS_get_robust_list, 0, &head, &size));
	CHECK(head != NULL);
	CHECK_EQ(size, sizeof(*head));
	CHECK_ERR(syscall(SYS_get_robust_list, 1 << 22, &head, &size), ESRCH);
	shared->head.list.next = &shared->entry;
	shared->entry.next = &shared->head.list;
	shared->head.futex_offset = offsetof(struct shared, word) - offsetof(struct shared, entry);
	shared->head.list_op_pending = NULL;
	pid_t pid = fork();
	if (pid == 0) {
		CHECK_OK(syscall(SYS_set_robust_list, &shared->head, sizeof(shared->head)));
		shared->word = syscall(SYS_gettid) | FUTEX_WAITERS;
		check_sleep_ms(60);
		check_child_exit();
	}
	WAIT_UNTIL(__atomic_load_n(&shared->word, __ATOMIC_SEQ_CST) != 0);
	uint32_t seen = __atomic_load_n(&shared->word, __ATOMIC_SEQ_CST);
	while (!(seen & FUTEX_OWNER_DIED)) {
		syscall(SYS_futex, &shared->word, FUTEX_WAIT, seen, &(struct timespec){ 20, 0 }, NULL, 0);
		seen = __atomic_load_n(&shared->word, __ATOMIC_SEQ_CST);
	}
	CHECK_EQ(seen & FUTEX_TID_MASK, 0);
	CHECK_EQ(check_wait(pid), 0);
}

// A list that points nowhere, or runs in a circle, must not stop an exit.
static void broken_lists(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		shared->head.list.next = (void *)8;
		syscall(SYS_set_robust_list, &shared->head, sizeof(shared->head));
		_exit(0);
	}
	CHECK_EQ(check_wait(pid), 0);
	pid = fork();
	if (pid == 0) {
		shared->head.list.next = &shared->entry;
		shared->entry.next = &shared->entry;
		syscall(SYS_set_robust_list, &shared->head, sizeof(shared->head));
		_exit(0);
	}
	CHECK_EQ(check_wait(pid), 0);
}

static void *holds_a_while(void *argument)
{
	pthread_mutex_lock(argument);
	atomic_store(&shared->ready, 1);
	check_sleep_ms(50);
	pthread_mutex_unlock(argument);
	return NULL;
}

static void priority_inheritance(void)
{
	pthread_mutexattr_t attributes;
	pthread_mutex_t mutex;
	pthread_t thread;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
	int error = pthread_mutex_init(&mutex, &attributes);
	if (error == ENOTSUP)
		return; // the kernel has no PI futexes, and the C library said so
	CHECK_EQ(error, 0);
	atomic_store(&shared->ready, 0);
	pthread_create(&thread, NULL, holds_a_while, &mutex);
	WAIT_UNTIL(atomic_load(&shared->ready));
	CHECK_EQ(pthread_mutex_trylock(&mutex), EBUSY);
	CHECK_EQ(pthread_mutex_lock(&mutex), 0);
	CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
	pthread_join(thread, NULL);
}

int main(void)
{
	shared = check_shared(sizeof(*shared));
	process_dies(false);
	process_dies(true);
	thread_dies();
	raw_list();
	broken_lists();
	priority_inheritance();
	return check_done();
}
