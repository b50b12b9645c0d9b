// SPDX-License-Identifier: Apache-2.0
// The host's half of hostio_test.c, apart from it because libc's headers and the kernel's do not go together.
#define _GNU_SOURCE
#include "hostio_fakes.h"

#include "port/host.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

unsigned host_kicks;
static unsigned polls; // atomic

static long result(long r) { return r < 0 ? -errno : r; }

long port_file_read(int fd, const struct iovec *v, unsigned count, int64_t offset, int flags)
{
	return result(preadv2(fd, v, (int)count, offset, flags));
}

long port_file_write(int fd, const struct iovec *v, unsigned count, int64_t offset, int flags)
{
	return result(pwritev2(fd, v, (int)count, offset, flags));
}

int port_file_poll(struct pollfd *fds, unsigned count, uint64_t deadline_ns)
{
	if (host_kicks) {
		host_kicks--;
		return -EINTR;
	}
	__atomic_fetch_add(&polls, 1, __ATOMIC_SEQ_CST);
	return (int)result(poll(fds, count, deadline_ns ? -1 : 0));
}

void host_pipe(int *ours, int *theirs, bool we_write)
{
	int fds[2];

	signal(SIGPIPE, SIG_IGN);
	if (pipe2(fds, O_NONBLOCK))
		abort();
	*ours = fds[we_write];
	*theirs = fds[!we_write];
}

int host_eventfd(void) { return eventfd(0, EFD_NONBLOCK); }
long host_read(int fd, void *to, size_t size) { return read(fd, to, size); }
long host_write(int fd, const void *from, size_t size) { return write(fd, from, size); }
void host_close(int fd) { close(fd); }

static void *run(void *fn)
{
	((void (*)(void))fn)();
	return NULL;
}

void host_beside(void (*fn)(void), void (*meanwhile)(void))
{
	const unsigned before = __atomic_load_n(&polls, __ATOMIC_SEQ_CST);
	pthread_t thread;

	if (pthread_create(&thread, NULL, run, (void *)fn))
		abort();
	while (__atomic_load_n(&polls, __ATOMIC_SEQ_CST) == before)
		usleep(1000);
	usleep(20000); // about to sleep or asleep: both must do
	meanwhile();
	pthread_join(thread, NULL);
}
