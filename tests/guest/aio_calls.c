// SPDX-License-Identifier: Apache-2.0
// Does Linux AIO carry out reads, writes and polls, report each once through the ring and an eventfd, and refuse what it must?
#include "check.h"
#include <linux/aio_abi.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <sys/uio.h>

#define RING_MAGIC 0xa10a10a1u

// What libaio reads without a system call.
struct ring {
	uint32_t id, nr, head, tail, magic, compat_features, incompat_features, header_length;
	struct io_event events[];
};

static aio_context_t setup(unsigned count)
{
	aio_context_t context = 0;

	CHECK_OK(syscall(SYS_io_setup, count, &context));
	return context;
}

static long destroy(aio_context_t c) { return syscall(SYS_io_destroy, c); }

static long submit_one(aio_context_t c, struct iocb *block)
{
	struct iocb *blocks[] = { block };

	return syscall(SYS_io_submit, c, 1l, blocks);
}

static long collect(aio_context_t c, long least, long most, struct io_event *events, long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	return syscall(SYS_io_getevents, c, least, most, events, ms < 0 ? NULL : &t);
}

static struct iocb block(int operation, int fd, void *buffer, size_t size, long long offset)
{
	static uint64_t serial;

	return (struct iocb){ .aio_data = ++serial,
			      .aio_lio_opcode = operation,
			      .aio_fildes = fd,
			      .aio_buf = (uintptr_t)buffer,
			      .aio_nbytes = size,
			      .aio_offset = offset };
}

// Submits, waits for the one event, and gives its result.
static long long carry_out(aio_context_t c, struct iocb b)
{
	struct io_event e = { 0 };

	if (!CHECK_EQ(submit_one(c, &b), 1) || !CHECK_EQ(collect(c, 1, 1, &e, 5000), 1))
		return INT64_MIN;
	CHECK_EQ(e.data, b.aio_data);
	CHECK_EQ(e.obj, (uintptr_t)&b);
	CHECK_EQ(e.res2, 0);
	return e.res;
}

static long refusal(aio_context_t c, struct iocb b) { return submit_one(c, &b) == -1 ? errno : 0; }

static int scratch_file(void) { return (int)CHECK_OK(open("file", O_RDWR | O_CREAT | O_TRUNC, 0600)); }

static void note_alarm(int signal) { (void)signal; }

// The parts of a timeout are added up, whatever they are, and a time that has passed never comes.
static void check_odd_timeouts(aio_context_t c)
{
	static const struct timespec never[] = { { -1, 0 }, { 0, -1 }, { -5, 999999999 }, { LONG_MAX, 0 } };
	struct sigaction interrupt = { .sa_handler = note_alarm }, old;
	struct timespec more = { -1, 1020000000 }; // 20 ms
	struct itimerval often = { { 0, 20000 }, { 0, 20000 } }, off = { 0 };
	int64_t start = check_now_ns();
	struct io_event e;

	CHECK_EQ(syscall(SYS_io_getevents, c, 1l, 1l, &e, &more), 0);
	CHECK(check_now_ns() - start >= 19000000);
	CHECK_OK(sigaction(SIGALRM, &interrupt, &old));
	CHECK_OK(setitimer(ITIMER_REAL, &often, NULL));
	for (size_t i = 0; i < ARRAY_SIZE(never); i++)
		CHECK_ERR(syscall(SYS_io_getevents, c, 1l, 1l, &e, &never[i]), EINTR);
	CHECK_OK(setitimer(ITIMER_REAL, &off, NULL));
	CHECK_OK(sigaction(SIGALRM, &old, NULL));
}

static void contexts(void)
{
	aio_context_t c = 0, used = 1, other;
	struct io_event e;

	CHECK_ERR(syscall(SYS_io_setup, 0, &c), EINVAL);
	CHECK_ERR(syscall(SYS_io_setup, 8, &used), EINVAL);
	CHECK_ERR(syscall(SYS_io_setup, 8, NULL), EFAULT);
	CHECK_ERR(syscall(SYS_io_setup, UINT32_MAX, &c), EINVAL);
	CHECK_ERR(syscall(SYS_io_setup, 3000000, &c), EAGAIN);
	CHECK_EQ(c, 0);
	c = setup(8);
	other = setup(300);
	CHECK(c && other && c != other);
	CHECK_EQ(collect(c, 0, 1, &e, -1), 0);
	CHECK_EQ(collect(c, 1, 1, &e, 0), 0);
	CHECK_EQ(collect(c, 1, 1, &e, 20), 0);
	CHECK_ERR(collect(c, 2, 1, &e, 0), EINVAL);
	CHECK_ERR(collect(c, -1, 1, &e, 0), EINVAL);
	CHECK_ERR(collect(c + 64, 0, 1, &e, 0), EINVAL);
	CHECK_ERR(syscall(SYS_io_getevents, c, 1l, 1l, &e, (void *)8), EFAULT);
	check_odd_timeouts(c);
	CHECK_ERR(syscall(SYS_io_submit, c, -1l, NULL), EINVAL);
	CHECK_EQ(syscall(SYS_io_submit, c, 0l, NULL), 0);
	CHECK_ERR(syscall(SYS_io_submit, c, 1l, NULL), EFAULT);
	CHECK_ERR(submit_one(c, NULL), EFAULT);
	CHECK_ERR(submit_one(0, NULL), EINVAL);
	CHECK_OK(destroy(c));
	CHECK_ERR(destroy(c), EINVAL);
	CHECK_ERR(collect(c, 0, 1, &e, 0), EINVAL);
	CHECK_ERR(submit_one(c, NULL), EINVAL);
	CHECK_OK(destroy(other));
	CHECK_ERR(destroy(0), EINVAL);
}

static void files(void)
{
	aio_context_t c = setup(8);
	int fd = scratch_file();
	char data[] = "0123456789", back[16] = "";
	struct iovec parts[] = { { back, 2 }, { back + 8, 3 } };
	char path[64];
	int read_only;

	CHECK_EQ(carry_out(c, block(IOCB_CMD_PWRITE, fd, data, 10, 5)), 10);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 0);
	CHECK_EQ(lseek(fd, 0, SEEK_END), 15);
	CHECK_EQ(carry_out(c, block(IOCB_CMD_PREAD, fd, back, 16, 6)), 9);
	CHECK(!memcmp(back, "123456789", 9));
	CHECK_EQ(carry_out(c, block(IOCB_CMD_PREAD, fd, back, 16, 15)), 0);
	CHECK_EQ(carry_out(c, block(IOCB_CMD_PREADV, fd, parts, 2, 7)), 5);
	CHECK(!memcmp(back, "23", 2) && !memcmp(back + 8, "456", 3));
	CHECK_EQ(carry_out(c, block(IOCB_CMD_PWRITEV, fd, parts, 2, 0)), 5);
	CHECK_EQ(pread(fd, back, 5, 0), 5);
	CHECK(!memcmp(back, "23456", 5));
	CHECK_EQ(carry_out(c, block(IOCB_CMD_FSYNC, fd, NULL, 0, 0)), 0);
	CHECK_EQ(carry_out(c, block(IOCB_CMD_FDSYNC, fd, NULL, 0, 0)), 0);

	struct iocb b = block(IOCB_CMD_PWRITE, fd, data, 10, 100);
	b.aio_rw_flags = RWF_DSYNC;
	b.aio_flags = IOCB_FLAG_IOPRIO;
	b.aio_reqprio = 2 << 13 | 3; // best effort
	CHECK_EQ(carry_out(c, b), 10);
	b.aio_reqprio = 7 << 13;
	CHECK_EQ(refusal(c, b), EINVAL);
	b.aio_flags = 0;
	b.aio_rw_flags = 1 << 30;
	CHECK_EQ(refusal(c, b), EOPNOTSUPP);

	// The request's own error is its result; one that cannot begin is refused.
	CHECK_EQ(carry_out(c, block(IOCB_CMD_PREAD, fd, (void *)4096, 16, 0)), -EFAULT);
	CHECK_EQ(refusal(c, block(IOCB_CMD_PREAD, fd, (void *)-4096l, 16, 0)), EFAULT);
	CHECK_EQ(refusal(c, block(IOCB_CMD_PREAD, fd, back, 16, -1)), EINVAL);
	CHECK_EQ(refusal(c, block(IOCB_CMD_PREAD, fd, back, SIZE_MAX, 0)), EINVAL);
	CHECK_EQ(refusal(c, block(IOCB_CMD_PREADV, fd, (void *)4096, 2, 0)), EFAULT);
	CHECK_EQ(refusal(c, block(IOCB_CMD_PREADV, fd, parts, 5000, 0)), EINVAL);
	CHECK_EQ(refusal(c, block(IOCB_CMD_PREAD, 999, back, 16, 0)), EBADF);
	CHECK_EQ(refusal(c, block(IOCB_CMD_FSYNC, fd, back, 0, 0)), EINVAL);
	CHECK_EQ(refusal(c, block(IOCB_CMD_NOOP, fd, NULL, 0, 0)), EINVAL);
	CHECK_EQ(refusal(c, block(77, fd, NULL, 0, 0)), EINVAL);
	b = block(IOCB_CMD_PREAD, fd, back, 16, 0);
	b.aio_reserved2 = 1;
	CHECK_EQ(refusal(c, b), EINVAL);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	read_only = CHECK_OK(open(path, O_RDONLY));
	CHECK_EQ(refusal(c, block(IOCB_CMD_PWRITE, read_only, data, 1, 0)), EBADF);
	close(read_only);
	read_only = CHECK_OK(open("/", O_RDONLY | O_DIRECTORY));
	CHECK_EQ(refusal(c, block(IOCB_CMD_PREAD, read_only, back, 1, 0)), EINVAL);
	close(read_only);
	close(fd);
	CHECK_OK(destroy(c));
}

// Several at once; the first bad one ends the call; the key is reset.
static void many(void)
{
	aio_context_t c = setup(4);
	int fd = scratch_file();
	struct iocb blocks[600], *list[600];
	struct io_event events[600];
	char data[600];
	bool seen[600] = { false };
	long capacity, got;

	for (int i = 0; i < 600; i++) {
		data[i] = (char)i;
		blocks[i] = block(IOCB_CMD_PWRITE, fd, data + i, 1, i);
		blocks[i].aio_data = (uint64_t)i;
		blocks[i].aio_key = 5;
		list[i] = &blocks[i];
	}
	blocks[2].aio_fildes = -1;
	CHECK_EQ(syscall(SYS_io_submit, c, 4l, list), 2);
	CHECK_EQ(blocks[0].aio_key, 0);
	CHECK_EQ(collect(c, 1, 4, events, 0), 2);
	CHECK_EQ(events[0].data, 0);
	CHECK_EQ(events[1].data, 1);
	blocks[2].aio_fildes = fd;

	// No more than the ring holds, which is at least what was asked for.
	for (capacity = 0; capacity < 600 && submit_one(c, list[capacity]) == 1;)
		capacity++;
	CHECK_EQ(errno, EAGAIN);
	CHECK(capacity >= 4 && capacity < 600);
	CHECK_EQ(collect(c, 3, 3, events, -1), 3);
	CHECK_EQ(submit_one(c, list[0]), 1);
	CHECK_EQ(collect(c, 1, 600, events, 0), capacity - 2);

	// Round and round.
	for (int round = 0; round < 50; round++) {
		long sent = syscall(SYS_io_submit, c, 7l, list);
		CHECK_EQ(sent, 7);
		for (got = 0; got < sent; got++) {
			CHECK_EQ(collect(c, 1, 1, events, 0), 1);
			CHECK_EQ(events[0].data, got);
			CHECK_EQ(events[0].res, 1);
			seen[events[0].data] = true;
		}
	}
	CHECK(seen[0] && seen[6]);
	CHECK_EQ(pread(fd, data, 600, 0), capacity);

	// Where the events cannot go they stay.
	CHECK_EQ(submit_one(c, list[9]), 1);
	CHECK_ERR(collect(c, 1, 1, (void *)4096, 0), EFAULT);
	CHECK_EQ(collect(c, 1, 1, events, 0), 1);
	CHECK_EQ(events[0].data, 9);
	close(fd);
	CHECK_OK(destroy(c));
}

static bool listed_as_ring(uint64_t address)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[400], start[32];
	bool found = false;

	snprintf(start, sizeof(start), "%08lx-", (unsigned long)address);
	while (maps && fgets(line, sizeof(line), maps))
		if (!strncmp(line, start, strlen(start)))
			found = strstr(line, " rw-s ") && strstr(line, "/[aio] (deleted)");
	if (maps)
		fclose(maps);
	return found;
}

// The ring in the program's memory, as libaio reads it, and with nonsense in it.
static void ring(void)
{
	aio_context_t c = setup(16);
	struct ring *r = (struct ring *)c;
	int fd = scratch_file();
	struct iocb b = block(IOCB_CMD_PWRITE, fd, "x", 1, 0);
	struct io_event events[64];

	CHECK(listed_as_ring(c));
	CHECK_EQ(r->magic, RING_MAGIC);
	CHECK_EQ(r->compat_features, 1);
	CHECK_EQ(r->incompat_features, 0);
	CHECK_EQ(r->header_length, sizeof(*r));
	CHECK(r->nr > 16);
	CHECK_EQ(r->head, r->tail);
	CHECK_EQ(submit_one(c, &b), 1);
	CHECK_EQ(r->tail, 1);
	CHECK_EQ(r->events[0].data, b.aio_data);
	CHECK_EQ(r->events[0].res, 1);
	r->head = 1; // taken without a call
	CHECK_EQ(collect(c, 1, 1, events, 0), 0);

	static const uint32_t nonsense[] = { UINT32_MAX, 0x80000000u, 0x7fffffff, 128, 5000 };
	for (unsigned i = 0; i < sizeof(nonsense) / sizeof(*nonsense); i++) {
		long n;

		r->head = nonsense[i];
		n = submit_one(c, &b);
		CHECK(n == 1 || errno == EAGAIN);
		r->head = nonsense[i];
		n = collect(c, 0, 64, events, 0);
		CHECK(n >= 0 && n <= 64);
		r->nr = r->magic = r->tail = r->header_length = nonsense[i];
	}
	r->id = UINT32_MAX;
	close(fd);
	destroy(c); // Linux looks at the id, which is nonsense now
}

static void polls(void)
{
	aio_context_t c = setup(8);
	int fds[2];
	struct io_event e;
	struct iocb b, plain;
	char byte;

	CHECK_OK(pipe(fds));
	b = block(IOCB_CMD_POLL, fds[0], (void *)POLLIN, 0, 0);
	CHECK_EQ(submit_one(c, &b), 1);
	CHECK_EQ(collect(c, 1, 1, &e, 20), 0);
	CHECK_EQ(write(fds[1], "a", 1), 1);
	CHECK_EQ(collect(c, 1, 1, &e, 5000), 1);
	CHECK_EQ(e.obj, (uintptr_t)&b);
	CHECK_EQ(e.res & ~POLLRDNORM, POLLIN); // Linux says all that the wake-up brought
	CHECK_EQ(collect(c, 1, 1, &e, 20), 0); // once
	CHECK_EQ(carry_out(c, b), POLLIN);     // is there already
	CHECK_EQ(read(fds[0], &byte, 1), 1);

	// Not for what it did not ask for, but always for a hang-up.
	b.aio_buf = POLLPRI;
	CHECK_EQ(submit_one(c, &b), 1);
	CHECK_EQ(write(fds[1], "a", 1), 1);
	CHECK_EQ(collect(c, 1, 1, &e, 20), 0);
	CHECK_EQ(read(fds[0], &byte, 1), 1);
	close(fds[1]);
	CHECK_EQ(collect(c, 1, 1, &e, 5000), 1);
	CHECK_EQ(e.res, POLLHUP);
	close(fds[0]);

	// The descriptor may go meanwhile.
	CHECK_OK(pipe(fds));
	b = block(IOCB_CMD_POLL, fds[0], (void *)POLLIN, 0, 0);
	CHECK_EQ(submit_one(c, &b), 1);
	close(fds[0]);
	CHECK_EQ(write(fds[1], "a", 1), 1);
	CHECK_EQ(collect(c, 1, 1, &e, 5000), 1);
	CHECK_EQ(e.res & ~POLLRDNORM, POLLIN);
	close(fds[1]);

	// Cancelled: the event says that nothing was there.
	CHECK_OK(pipe(fds));
	b = block(IOCB_CMD_POLL, fds[0], (void *)POLLIN, 0, 0);
	CHECK_EQ(submit_one(c, &b), 1);
	CHECK_ERR(syscall(SYS_io_cancel, c, &b, &e), EINPROGRESS);
	CHECK_EQ(collect(c, 1, 1, &e, 5000), 1);
	CHECK_EQ(e.obj, (uintptr_t)&b);
	CHECK_EQ(e.res, 0);
	CHECK_ERR(syscall(SYS_io_cancel, c, &b, &e), EINVAL);
	b.aio_key = 1;
	CHECK_ERR(syscall(SYS_io_cancel, c, &b, &e), EINVAL);
	CHECK_ERR(syscall(SYS_io_cancel, c, NULL, &e), EFAULT);
	CHECK_EQ(write(fds[1], "a", 1), 1);
	CHECK_EQ(collect(c, 1, 1, &e, 20), 0);

	CHECK_EQ(refusal(c, block(IOCB_CMD_POLL, fds[0], (void *)0x10000, 0, 0)), EINVAL);
	CHECK_EQ(refusal(c, block(IOCB_CMD_POLL, fds[0], (void *)POLLIN, 1, 0)), EINVAL);
	plain = block(IOCB_CMD_POLL, scratch_file(), (void *)(POLLIN | POLLOUT), 0, 0);
	CHECK_EQ(carry_out(c, plain), POLLIN | POLLOUT);
	plain.aio_buf = POLLPRI;
	CHECK_EQ(refusal(c, plain), EINVAL); // would never come
	close((int)plain.aio_fildes);
	close(fds[0]);
	close(fds[1]);
	CHECK_OK(destroy(c));
}

static void counted(void)
{
	aio_context_t c = setup(8);
	int fd = scratch_file(), counter = CHECK_OK(eventfd(0, EFD_NONBLOCK)), fds[2];
	struct iocb b = block(IOCB_CMD_PWRITE, fd, "x", 1, 0);
	struct pollfd p = { .fd = counter, .events = POLLIN };
	struct io_event e;
	uint64_t value = 0;

	CHECK_OK(pipe(fds));
	b.aio_flags = IOCB_FLAG_RESFD;
	b.aio_resfd = (uint32_t)counter;
	CHECK_EQ(submit_one(c, &b), 1);
	CHECK_EQ(submit_one(c, &b), 1);
	CHECK_EQ(read(counter, &value, 8), 8);
	CHECK_EQ(value, 2);
	b.aio_resfd = (uint32_t)fd;
	CHECK_EQ(refusal(c, b), EINVAL);
	b.aio_resfd = 999;
	CHECK_EQ(refusal(c, b), EBADF);
	CHECK_EQ(collect(c, 2, 2, &e, 0) == 2 || errno == EFAULT, true);

	b = block(IOCB_CMD_POLL, fds[0], (void *)POLLIN, 0, 0);
	b.aio_flags = IOCB_FLAG_RESFD;
	b.aio_resfd = (uint32_t)counter;
	CHECK_EQ(submit_one(c, &b), 1);
	CHECK_EQ(poll(&p, 1, 0), 0);
	CHECK_EQ(write(fds[1], "a", 1), 1);
	CHECK_EQ(poll(&p, 1, 5000), 1);
	CHECK_EQ(read(counter, &value, 8), 8);
	CHECK_EQ(value, 1);
	CHECK_EQ(collect(c, 1, 1, &e, 0), 1);

	// The same eventfd polled and told.
	b = block(IOCB_CMD_POLL, counter, (void *)POLLIN, 0, 0);
	b.aio_flags = IOCB_FLAG_RESFD;
	b.aio_resfd = (uint32_t)counter;
	CHECK_EQ(submit_one(c, &b), 1);
	value = 3;
	CHECK_EQ(write(counter, &value, 8), 8);
	CHECK_EQ(collect(c, 1, 1, &e, 5000), 1);
	CHECK_EQ(e.res, POLLIN);
	CHECK_EQ(read(counter, &value, 8), 8);
	CHECK_EQ(value, 4);
	close(fd);
	close(counter);
	close(fds[0]);
	close(fds[1]);
	CHECK_OK(destroy(c));
}

static void nothing(int signal) { (void)signal; }

static void *write_later(void *fd)
{
	usleep(50000);
	CHECK_EQ(write((int)(intptr_t)fd, "a", 1), 1);
	return NULL;
}

static void *destroy_later(void *c)
{
	usleep(50000);
	CHECK_OK(destroy((aio_context_t)c));
	return NULL;
}

static void waiting(void)
{
	aio_context_t c = setup(8);
	int fds[2];
	struct io_event e;
	pthread_t thread;
	sigset_t none, alarms;
	struct {
		sigset_t *mask;
		size_t size;
	} masked = { &none, 8 };
	struct itimerval soon = { .it_value.tv_usec = 30000 };
	struct sigaction action = { .sa_handler = nothing };

	CHECK_OK(pipe(fds));
	struct iocb b = block(IOCB_CMD_POLL, fds[0], (void *)POLLIN, 0, 0);
	CHECK_EQ(submit_one(c, &b), 1);
	pthread_create(&thread, NULL, write_later, (void *)(intptr_t)fds[1]);
	CHECK_EQ(collect(c, 1, 1, &e, -1), 1);
	pthread_join(thread, NULL);

	CHECK_OK(sigaction(SIGALRM, &action, NULL));
	CHECK_OK(setitimer(ITIMER_REAL, &soon, NULL));
	CHECK_ERR(collect(c, 1, 1, &e, -1), EINTR);

	sigemptyset(&none);
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	CHECK_OK(sigprocmask(SIG_BLOCK, &alarms, NULL));
	CHECK_OK(setitimer(ITIMER_REAL, &soon, NULL));
	CHECK_ERR(syscall(SYS_io_pgetevents, c, 1l, 1l, &e, NULL, &masked), EINTR);
	masked.mask = &alarms;
	CHECK_OK(setitimer(ITIMER_REAL, &soon, NULL));
	struct timespec t = { 0, 60000000 };
	CHECK_EQ(syscall(SYS_io_pgetevents, c, 1l, 1l, &e, &t, &masked), 0);
	masked.size = 7;
	CHECK_ERR(syscall(SYS_io_pgetevents, c, 1l, 1l, &e, &t, &masked), EINVAL);
	CHECK_EQ(syscall(SYS_io_pgetevents, c, 1l, 1l, &e, &t, NULL), 0);
	CHECK_OK(sigprocmask(SIG_UNBLOCK, &alarms, NULL));

	// The context goes under who waits, and with it a poll.
	char byte;
	CHECK_EQ(read(fds[0], &byte, 1), 1);
	CHECK_EQ(submit_one(c, &b), 1);
	pthread_create(&thread, NULL, destroy_later, (void *)c);
	CHECK_ERR(collect(c, 2, 2, &e, -1), EINVAL);
	pthread_join(thread, NULL);
	CHECK_EQ(write(fds[1], "a", 1), 1);
	close(fds[0]);
	close(fds[1]);
}

// As on Linux a read that has to wait does so in io_submit().
static void waiting_reads(void)
{
	aio_context_t c = setup(8);
	int fds[2];
	char byte = 0;
	pthread_t thread;

	CHECK_OK(pipe(fds));
	pthread_create(&thread, NULL, write_later, (void *)(intptr_t)fds[1]);
	CHECK_EQ(carry_out(c, block(IOCB_CMD_PREAD, fds[0], &byte, 1, 0)), 1);
	CHECK_EQ(byte, 'a');
	pthread_join(thread, NULL);

	struct itimerval soon = { .it_value.tv_usec = 30000 };
	CHECK_OK(setitimer(ITIMER_REAL, &soon, NULL));
	CHECK_EQ(carry_out(c, block(IOCB_CMD_PREAD, fds[0], &byte, 1, 0)), -EINTR);
	CHECK_OK(fcntl(fds[0], F_SETFL, O_NONBLOCK));
	CHECK_EQ(carry_out(c, block(IOCB_CMD_PREAD, fds[0], &byte, 1, 0)), -EAGAIN);
	close(fds[0]);
	close(fds[1]);
	CHECK_OK(destroy(c));
}

static unsigned long setting(const char *path)
{
	FILE *f = fopen(path, "r");
	unsigned long value = 0;

	CHECK(f && fscanf(f, "%lu", &value) == 1);
	if (f)
		fclose(f);
	return value;
}

// Contexts are the address space's: not the child's, and gone with it, polls in flight or not.
static void belongs_to_memory(void)
{
	aio_context_t c = setup(100);
	unsigned long before = setting("/proc/sys/fs/aio-nr"), most = setting("/proc/sys/fs/aio-max-nr");
	int fds[2], status;
	struct io_event e;
	pid_t child;

	CHECK(before >= 100 && most >= before);
	CHECK_OK(pipe(fds));
	child = fork();
	if (child == 0) {
		CHECK_ERR(collect(c, 0, 1, &e, 0), EINVAL);
		CHECK_ERR(destroy(c), EINVAL);
		aio_context_t own = setup(200);
		struct iocb b = block(IOCB_CMD_POLL, fds[0], (void *)POLLIN, 0, 0);
		CHECK_EQ(submit_one(own, &b), 1);
		CHECK(setting("/proc/sys/fs/aio-nr") >= 300);
		check_child_exit();
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	CHECK_EQ(write(fds[1], "a", 1), 1);
	CHECK_EQ(collect(c, 0, 1, &e, 0), 0);
	CHECK_OK(destroy(c));

	child = fork();
	if (child == 0) {
		setup(50);
		execl("/proc/self/exe", "aio_calls", "exec", NULL);
		_exit(1);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
}

static void *many_polls(void *unused)
{
	aio_context_t c = setup(8);
	int fds[2];
	char byte;

	(void)unused;
	CHECK_OK(pipe(fds));
	for (int i = 0; i < 300; i++) {
		struct iocb b = block(IOCB_CMD_POLL, fds[0], (void *)POLLIN, 0, 0);
		struct io_event e = { 0 };

		CHECK_EQ(submit_one(c, &b), 1);
		CHECK_EQ(write(fds[1], "a", 1), 1);
		// It may or may not come first; its event comes once.
		if (i % 3 == 0 && syscall(SYS_io_cancel, c, &b, &e) == -1)
			CHECK(errno == EINPROGRESS || errno == EINVAL);
		CHECK_EQ(collect(c, 1, 1, &e, 5000), 1);
		CHECK_EQ(e.obj, (uintptr_t)&b);
		CHECK_EQ(read(fds[0], &byte, 1), 1);
	}
	close(fds[0]);
	close(fds[1]);
	CHECK_OK(destroy(c));
	return NULL;
}

static void at_once(void)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, many_polls, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

int main(int count, char **arguments)
{
	(void)arguments;
	if (count > 1) // after exec: one's own work only
		return listed_as_ring(setup(4)) ? 0 : 1;
	check_tmpdir();
	contexts();
	files();
	many();
	ring();
	polls();
	counted();
	waiting();
	waiting_reads();
	belongs_to_memory();
	at_once();
	return check_done();
}
