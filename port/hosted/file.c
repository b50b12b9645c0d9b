// SPDX-License-Identifier: Apache-2.0
// The host's descriptors (port/host.h), each call as the host has it.
#include "layout.h"
#include "lib/asan.h"
#include "port/host.h"
#include "syscall.h"

#include <asm/errno.h>
#include <asm/stat.h>
#include <linux/socket.h>
#include <linux/time_types.h>
#include <linux/uio.h>

#define MSG_CMSG_CLOEXEC 0x40000000
#define MSG_NOSIGNAL     0x4000
#define MSG_DONTWAIT     0x40
#define MSG_CTRUNC       0x08
#define SCM_RIGHTS       1
#define SOL_SOCKET       1
#define DESCRIPTORS_MAX  32u
#define NSEC             UINT64_C(1000000000)

// The plain calls are quicker by what it takes to copy and check a vector.
static bool is_plain(unsigned count, int64_t offset, int flags) { return count == 1 && offset >= 0 && !flags; }

static void check_memory(const struct iovec *v, unsigned count, bool write)
{
	for (unsigned i = 0; CLOISTER_ASAN && i < count; i++)
		asan_check(v[i].iov_base, v[i].iov_len, write);
}

long port_file_read(int fd, const struct iovec *v, unsigned count, int64_t offset, int flags)
{
	check_memory(v, count, true);
	if (is_plain(count, offset, flags))
		return HOST_WAIT(pread64, fd, v->iov_base, v->iov_len, offset);
	return HOST_WAIT(preadv2, fd, v, count, offset, 0, flags);
}

long port_file_write(int fd, const struct iovec *v, unsigned count, int64_t offset, int flags)
{
	check_memory(v, count, false);
	if (is_plain(count, offset, flags))
		return HOST_WAIT(pwrite64, fd, v->iov_base, v->iov_len, offset);
	return HOST_WAIT(pwritev2, fd, v, count, offset, 0, flags);
}

int port_file_stat(int fd, struct stat *out) { return (int)HOST(fstat, fd, out); }

int port_file_sync(int fd, bool data_only) { return (int)(data_only ? HOST(fdatasync, fd) : HOST(fsync, fd)); }

int port_file_truncate(int fd, uint64_t size) { return (int)HOST(ftruncate, fd, size); }

int port_file_allocate(int fd, int mode, int64_t offset, int64_t size)
{
	return (int)HOST(fallocate, fd, mode, offset, size);
}

int64_t port_file_seek(int fd, int64_t offset, int whence) { return HOST(lseek, fd, offset, whence); }

long port_file_copy(int from, int64_t from_offset, int to, int64_t to_offset, size_t size)
{
	return HOST(copy_file_range, from, &from_offset, to, &to_offset, size, 0);
}

void port_file_close(int fd) { (void)HOST(close, fd); }

int port_file_poll(struct pollfd *fds, unsigned count, uint64_t deadline_ns)
{
	struct __kernel_timespec t;
	uint64_t now = port_time_ns(), left = deadline_ns > now ? deadline_ns - now : 0;

	t.tv_sec = (long long)(left / NSEC);
	t.tv_nsec = (long long)(left % NSEC);
	return (int)HOST_WAIT(ppoll, fds, count, deadline_ns == UINT64_MAX ? NULL : &t, 0, 8);
}

// ---- messages ----

struct host_msghdr {
	void *name;
	int name_bytes;
	struct iovec *iov;
	size_t iov_count;
	void *control;
	size_t control_bytes;
	unsigned flags;
};

struct control_message {
	size_t bytes;
	int level, type;
	int fds[DESCRIPTORS_MAX];
};

long port_message_send(int fd, const struct iovec *v, unsigned count)
{
	struct host_msghdr m = { .iov = (struct iovec *)v, .iov_count = count };
	check_memory(v, count, false);
	return HOST_WAIT(sendmsg, fd, &m, MSG_NOSIGNAL);
}

long port_message_receive(int fd, const struct iovec *v, unsigned count, int *fds, unsigned *fd_count)
{
	struct control_message c;
	struct host_msghdr m = {
		.iov = (struct iovec *)v, .iov_count = count, .control = &c, .control_bytes = sizeof(c)
	};
	unsigned room = fd_count ? *fd_count : 0, got = 0;
	const size_t head = offsetof(struct control_message, fds);

	if (fd_count)
		*fd_count = 0;
	check_memory(v, count, true);
	long n = HOST_WAIT(recvmsg, fd, &m, MSG_CMSG_CLOEXEC);
	if (n < 0)
		return n;
	if (m.control_bytes >= head && c.level == SOL_SOCKET && c.type == SCM_RIGHTS && c.bytes >= head)
		got = (unsigned)((c.bytes - head) / sizeof(int));
	for (unsigned i = 0; i < got && i < DESCRIPTORS_MAX; i++) {
		if (i < room)
			fds[(*fd_count)++] = c.fds[i];
		else
			port_file_close(c.fds[i]);
	}
	// The host had no room for what was sent: this process's table is full.
	if (m.flags & MSG_CTRUNC) {
		for (unsigned i = 0; fd_count && i < *fd_count; i++)
			port_file_close(fds[i]);
		if (fd_count)
			*fd_count = 0;
		return -EMFILE;
	}
	return n;
}

long port_socket_receive(int fd, const struct iovec *v, unsigned count, unsigned flags)
{
	struct host_msghdr m = { .iov = (struct iovec *)v, .iov_count = count };
	return HOST(recvmsg, fd, &m, flags | MSG_DONTWAIT);
}

int port_socket_error(int fd)
{
	struct host_msghdr m = { 0 };
	return (int)HOST(sendmsg, fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

// ---- what the launcher handed over ----

int port_host_stream(unsigned stream) { return stream < HOSTED_STREAMS ? hosted.streams[stream] : -1; }

int port_host_channel(unsigned index) { return index < hosted.channel_count ? hosted.channels[index] : -1; }

int port_host_events(void) { return hosted.events; }
