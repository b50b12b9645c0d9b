// SPDX-License-Identifier: Apache-2.0
// Do POSIX message queues keep order and limits, block, time out, poll, and tell of a first message by signal and by thread?
#include "check.h"
#include <mqueue.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/vfs.h>

static char name[64];
static int got_signal;
static siginfo_t got_info;
static atomic_int thread_told;

static mqd_t create(int flags, long messages, long bytes)
{
	struct mq_attr a = { .mq_maxmsg = messages, .mq_msgsize = bytes };

	return mq_open(name, O_CREAT | O_EXCL | O_RDWR | flags, 0600, &a);
}

static struct timespec in_ms(int ms)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += ms * 1000000L;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

static void check_names(void)
{
	CHECK_ERR(mq_open(name, O_RDWR), ENOENT);
	CHECK_ERR(mq_unlink(name), ENOENT);
	CHECK_ERR(syscall(SYS_mq_open, "a/b", O_CREAT | O_RDWR, 0600, NULL), EACCES);
	CHECK_ERR(syscall(SYS_mq_open, "", O_CREAT | O_RDWR, 0600, NULL), ENOENT);
	CHECK_ERR(syscall(SYS_mq_open, (char *)8, O_RDWR, 0, NULL), EFAULT);
	char longer[300] = "/";
	memset(longer + 1, 'x', 270);
	CHECK_ERR(mq_open(longer, O_RDWR), ENAMETOOLONG);
	CHECK_ERR(create(0, 0, 10), EINVAL);
	CHECK_ERR(create(0, 10, -1), EINVAL);
	CHECK_ERR(create(0, 70000, 10), EINVAL);
	mqd_t q = CHECK_OK(create(0, 3, 16));
	CHECK_EQ(fcntl(q, F_GETFD), FD_CLOEXEC);
	CHECK_ERR(create(0, 3, 16), EEXIST);
	mqd_t again = CHECK_OK(mq_open(name, O_RDONLY | O_CREAT, 0600, NULL));
	CHECK_ERR(mq_send(again, "x", 1, 0), EBADF);
	CHECK_OK(mq_close(again));
	CHECK_OK(mq_unlink(name));
	CHECK_ERR(mq_open(name, O_RDWR), ENOENT);
	CHECK_OK(mq_send(q, "still", 5, 0)); // lives until it is closed
	CHECK_OK(mq_close(q));
	CHECK_ERR(mq_send(q, "x", 1, 0), EBADF);
	CHECK_ERR(mq_send(STDERR_FILENO, "x", 1, 0), EBADF);
}

static void check_order(void)
{
	char text[16];
	unsigned priority;
	mqd_t q = CHECK_OK(create(O_NONBLOCK, 4, 16));
	struct mq_attr a, old;

	CHECK_ERR(mq_receive(q, text, 16, NULL), EAGAIN);
	CHECK_OK(mq_send(q, "one", 3, 1));
	CHECK_OK(mq_send(q, "five", 4, 5));
	CHECK_OK(mq_send(q, "one again", 9, 1));
	CHECK_OK(mq_send(q, "", 0, 3));
	CHECK_ERR(mq_send(q, "full", 4, 9), EAGAIN);
	CHECK_ERR(mq_send(q, "12345678901234567", 17, 1), EMSGSIZE);
	CHECK_ERR(mq_send(q, "x", 1, 32768), EINVAL);
	CHECK_ERR(mq_receive(q, text, 15, NULL), EMSGSIZE);
	CHECK_OK(mq_getattr(q, &a));
	CHECK_EQ(a.mq_flags, O_NONBLOCK);
	CHECK_EQ(a.mq_maxmsg, 4);
	CHECK_EQ(a.mq_msgsize, 16);
	CHECK_EQ(a.mq_curmsgs, 4);
	CHECK_EQ(mq_receive(q, text, 16, &priority), 4);
	CHECK(!memcmp(text, "five", 4) && priority == 5);
	CHECK_EQ(mq_receive(q, text, 16, &priority), 0);
	CHECK_EQ(priority, 3);
	CHECK_EQ(mq_receive(q, text, 16, &priority), 3);
	CHECK(!memcmp(text, "one", 3));
	CHECK_EQ(mq_receive(q, text, 16, &priority), 9);
	CHECK_EQ(priority, 1);
	a.mq_flags = 0;
	CHECK_OK(mq_setattr(q, &a, &old));
	CHECK_EQ(old.mq_flags, O_NONBLOCK);
	CHECK_EQ(fcntl(q, F_GETFL) & O_NONBLOCK, 0);
	a.mq_flags = O_APPEND;
	CHECK_ERR(mq_setattr(q, &a, NULL), EINVAL);
	CHECK_OK(mq_unlink(name));
	CHECK_OK(mq_close(q));
}

static void check_time(void)
{
	char text[16];
	mqd_t q = CHECK_OK(create(0, 1, 16));
	struct timespec soon = in_ms(40), bad = { 0, -1 }, past = { 1, 0 };
	int64_t start = check_now_ns();

	CHECK_ERR(mq_timedreceive(q, text, 16, NULL, &soon), ETIMEDOUT);
	CHECK(check_now_ns() - start >= 30000000);
	CHECK_ERR(mq_timedreceive(q, text, 16, NULL, &past), ETIMEDOUT);
	CHECK_ERR(mq_timedreceive(q, text, 16, NULL, &bad), EINVAL);
	CHECK_OK(mq_timedsend(q, "x", 1, 0, &past));
	CHECK_ERR(mq_timedsend(q, "y", 1, 0, &past), ETIMEDOUT);
	CHECK_EQ(mq_timedreceive(q, text, 16, NULL, &past), 1);
	CHECK_OK(mq_unlink(name));
	CHECK_OK(mq_close(q));
}

// A child sends, and waits for room; the parent receives, and waits for messages.
static void check_blocking(void)
{
	char text[16];
	mqd_t q = CHECK_OK(create(0, 2, 16));
	pid_t child = CHECK_OK(fork());

	if (!child) {
		for (int i = 0; i < 500; i++)
			if (mq_send(q, (char *)&i, sizeof(i), 0))
				_exit(1);
		_exit(0);
	}
	for (int i = 0; i < 500; i++) {
		CHECK_EQ(mq_receive(q, text, 16, NULL), sizeof(i));
		CHECK(!memcmp(text, &i, sizeof(i)));
	}
	int status;
	CHECK_OK(waitpid(child, &status, 0));
	CHECK_EQ(status, 0);
	CHECK_OK(mq_unlink(name));
	CHECK_OK(mq_close(q));
}

struct receiver {
	mqd_t queue;
	int real_time; // priority; 0: none
	pid_t tid;
	unsigned char got;
};

static void *receive_one(void *argument)
{
	struct receiver *r = argument;
	struct sched_param p = { .sched_priority = r->real_time };
	char text[16];

	if (r->real_time)
		CHECK_OK(sched_setscheduler(0, SCHED_FIFO, &p));
	__atomic_store_n(&r->tid, gettid(), __ATOMIC_RELEASE);
	CHECK_EQ(mq_receive(r->queue, text, 16, NULL), 1);
	r->got = (unsigned char)text[0];
	return NULL;
}

// Who waits for a message gets it by priority, then by the time waited.
static void check_receivers(void)
{
	struct receiver r[] = { { .real_time = 0 }, { .real_time = 5 }, { .real_time = 0 }, { .real_time = 9 } };
	static const int order[] = { 3, 1, 0, 2 };
	struct sched_param p = { .sched_priority = 1 };
	pthread_t threads[ARRAY_SIZE(r)];
	mqd_t q = CHECK_OK(create(0, 8, 16));

	if (sched_setscheduler(0, SCHED_FIFO, &p)) // not allowed to: by the time alone
		for (size_t i = 0; i < ARRAY_SIZE(r); i++)
			r[i].real_time = 0;
	p.sched_priority = 0;
	CHECK_OK(sched_setscheduler(0, SCHED_OTHER, &p));
	for (size_t i = 0; i < ARRAY_SIZE(r); i++) {
		r[i].queue = q;
		CHECK_EQ(pthread_create(&threads[i], NULL, receive_one, &r[i]), 0);
		WAIT_UNTIL(__atomic_load_n(&r[i].tid, __ATOMIC_ACQUIRE) && check_task_state(r[i].tid) == 'S');
		check_sleep_ms(20);
	}
	for (size_t i = 0; i < ARRAY_SIZE(r); i++) {
		char text = (char)(i + 1);
		CHECK_OK(mq_send(q, &text, 1, 0));
	}
	for (size_t i = 0; i < ARRAY_SIZE(r); i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < ARRAY_SIZE(r); i++)
		CHECK_EQ(r[r[3].real_time ? order[i] : (int)i].got, i + 1);
	CHECK_OK(mq_unlink(name));
	CHECK_OK(mq_close(q));
}

static void check_poll(void)
{
	char text[16];
	mqd_t q = CHECK_OK(create(0, 1, 16));
	struct pollfd p = { .fd = q, .events = POLLIN | POLLOUT };
	struct epoll_event e = { .events = EPOLLIN };
	int epoll = CHECK_OK(epoll_create1(0));

	CHECK_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, q, &e));
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(p.revents, POLLOUT);
	CHECK_EQ(epoll_wait(epoll, &e, 1, 0), 0);
	pid_t child = CHECK_OK(fork());
	if (!child) {
		check_sleep_ms(20);
		_exit(mq_send(q, "x", 1, 0) != 0);
	}
	CHECK_EQ(epoll_wait(epoll, &e, 1, 20000), 1);
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(p.revents, POLLIN);
	CHECK_EQ(mq_receive(q, text, 16, NULL), 1);
	CHECK_OK(waitpid(child, NULL, 0));
	CHECK_OK(close(epoll));
	CHECK_OK(mq_unlink(name));
	CHECK_OK(mq_close(q));
}

static void on_signal(int number, siginfo_t *info, void *context)
{
	(void)context;
	got_info = *info;
	got_signal = number;
}

static void check_signal(void)
{
	char text[16];
	mqd_t q = CHECK_OK(create(O_NONBLOCK, 4, 16));
	struct sigevent e = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 42 };
	struct sigaction a = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };

	CHECK_OK(sigaction(SIGUSR1, &a, NULL));
	CHECK_OK(mq_notify(q, &e));
	CHECK_ERR(mq_notify(q, &e), EBUSY);
	CHECK_OK(mq_send(q, "x", 1, 0));
	CHECK_EQ(got_signal, SIGUSR1);
	CHECK_EQ(got_info.si_code, SI_MESGQ);
	CHECK_EQ(got_info.si_value.sival_int, 42);
	CHECK_EQ(got_info.si_pid, getpid());
	got_signal = 0;
	CHECK_OK(mq_send(q, "x", 1, 0)); // once only
	CHECK_EQ(got_signal, 0);
	CHECK_OK(mq_notify(q, &e));
	CHECK_OK(mq_send(q, "x", 1, 0)); // it was not empty
	CHECK_EQ(got_signal, 0);
	CHECK_OK(mq_notify(q, NULL));
	CHECK_OK(mq_notify(q, &e));
	int other = CHECK_OK(dup(q));
	CHECK_OK(close(other)); // any close of the owner's ends it
	CHECK_OK(mq_notify(q, &e));
	while (mq_receive(q, text, 16, NULL) == 1)
		;
	e.sigev_notify = 77;
	CHECK_ERR(mq_notify(q, &e), EINVAL);
	CHECK_OK(mq_unlink(name));
	CHECK_OK(mq_close(q));
}

static void on_thread(union sigval v) { atomic_store(&thread_told, v.sival_int); }

static void check_thread(void)
{
	mqd_t q = CHECK_OK(create(0, 4, 16));
	struct sigevent e = { .sigev_notify = SIGEV_THREAD,
			      .sigev_notify_function = on_thread,
			      .sigev_value.sival_int = 7 };

	CHECK_OK(mq_notify(q, &e));
	CHECK_OK(mq_send(q, "x", 1, 0));
	WAIT_UNTIL(atomic_load(&thread_told) == 7);
	CHECK_OK(mq_unlink(name));
	CHECK_OK(mq_close(q));
}

static void check_limits(void)
{
	struct rlimit limit = { 4096, 4096 };

	CHECK_OK(setrlimit(RLIMIT_MSGQUEUE, &limit));
	CHECK_ERR(create(0, 10, 1024), EMFILE);
	mqd_t q = CHECK_OK(create(0, 2, 16));
	CHECK_OK(mq_unlink(name));
	CHECK_OK(mq_close(q));
}

// The file system, where it is mounted.
static void check_mounted(void)
{
	char path[80], text[200] = "";
	struct statfs s;
	struct stat st;

	if (statfs("/dev/mqueue", &s) || s.f_type != 0x19800202) {
		CHECK(!getenv("CLOISTER_CELL"));
		return;
	}
	mqd_t q = CHECK_OK(create(0, 4, 16));
	CHECK_OK(mq_send(q, "hello", 5, 0));
	snprintf(path, sizeof(path), "/dev/mqueue%s", name);
	int fd = CHECK_OK(open(path, O_RDONLY));
	CHECK(read(fd, text, sizeof(text) - 1) > 20);
	CHECK(!strncmp(text, "QSIZE:5 ", 8));
	CHECK(strstr(text, "NOTIFY_PID:0"));
	CHECK_OK(fstat(fd, &st));
	CHECK(S_ISREG(st.st_mode));
	CHECK_EQ(st.st_mode & 0777, 0600);
	CHECK_EQ(st.st_size, 80);
	CHECK_OK(close(fd));
	CHECK_OK(unlink(path));
	CHECK_ERR(mq_unlink(name), ENOENT);
	CHECK_OK(mq_close(q));
	fd = CHECK_OK(open("/proc/sys/fs/mqueue/msg_default", O_RDONLY));
	CHECK_EQ(read(fd, text, sizeof(text)), 3);
	CHECK(!memcmp(text, "10\n", 3));
	CHECK_OK(close(fd));
}

struct sender {
	mqd_t queue;
	int real_time; // priority; 0: none
	pid_t tid;
	char text;
};

static void *send_one(void *argument)
{
	struct sender *s = argument;
	struct sched_param p = { .sched_priority = s->real_time };

	if (s->real_time)
		CHECK_OK(sched_setscheduler(0, SCHED_FIFO, &p));
	__atomic_store_n(&s->tid, gettid(), __ATOMIC_RELEASE);
	CHECK_OK(mq_send(s->queue, &s->text, 1, 0));
	return NULL;
}

// Who waits for room gets it by priority, then by the time waited.
static void check_senders(void)
{
	struct sender s[] = {
		{ .text = 'c' }, { .text = 'b', .real_time = 5 }, { .text = 'd' }, { .text = 'a', .real_time = 9 }
	};
	struct sched_param p = { .sched_priority = 1 };
	pthread_t threads[ARRAY_SIZE(s)];
	mqd_t q = CHECK_OK(create(0, 1, 16));
	const char *order = "0abcd";
	char text[16];

	if (sched_setscheduler(0, SCHED_FIFO, &p)) { // not allowed to: by the time alone
		for (size_t i = 0; i < ARRAY_SIZE(s); i++)
			s[i].real_time = 0;
		order = "0cbda";
	}
	p.sched_priority = 0;
	CHECK_OK(sched_setscheduler(0, SCHED_OTHER, &p));
	CHECK_OK(mq_send(q, "0", 1, 0));
	for (size_t i = 0; i < ARRAY_SIZE(s); i++) {
		s[i].queue = q;
		CHECK_EQ(pthread_create(&threads[i], NULL, send_one, &s[i]), 0);
		WAIT_UNTIL(__atomic_load_n(&s[i].tid, __ATOMIC_ACQUIRE) && check_task_state(s[i].tid) == 'S');
		check_sleep_ms(20);
	}
	for (size_t i = 0; i <= ARRAY_SIZE(s); i++) {
		CHECK_EQ(mq_receive(q, text, 16, NULL), 1);
		CHECK_EQ(text[0], order[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(s); i++)
		pthread_join(threads[i], NULL);
	CHECK_OK(mq_unlink(name));
	CHECK_OK(mq_close(q));
}

int main(void)
{
	snprintf(name, sizeof(name), "/cloister-test-%d", getpid());
	mqd_t probe = create(0, 1, 8);
	if (probe < 0 && errno == ENOSYS && !getenv("CLOISTER_CELL"))
		CHECK_SKIP("the host has no message queues");
	CHECK_OK(probe);
	CHECK_OK(mq_unlink(name));
	CHECK_OK(mq_close(probe));
	check_names();
	check_order();
	check_time();
	check_blocking();
	check_receivers();
	check_senders();
	check_poll();
	check_signal();
	check_thread();
	check_mounted();
	check_limits();
	return check_done();
}
