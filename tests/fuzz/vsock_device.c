// SPDX-License-Identifier: Apache-2.0
// Fuzzes the network process from both of its sides: a machine that says anything in the vhost-user conversation, and a cell that
// writes anything anywhere in its rings and memory. The service behind is the real one, with a few grants.
//
// No access beyond the memory it was given (ASan), nothing kept in the end (LeakSanitizer), no hanging.
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host_sockets.h"
#include "vsock/service.h"

#define MEMORY_BYTES 65536u
#define RING_SIZE    8u
#define RING_PLACE   0x1000u
#define DATA_PLACE   0x4000u

// Memory of the cell stands between pages nobody may touch: an access beyond it ends the fuzzer (the harness renames the calls).
#define GUARD_BYTES 65536u

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
	char *place = (char *)syscall(SYS_mmap, address, size + 2 * GUARD_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
				      -1, 0);

	if (place == MAP_FAILED)
		return MAP_FAILED;
	return (void *)syscall(SYS_mmap, place + GUARD_BYTES, size, protection, flags | MAP_FIXED, fd, offset);
}

int munmap(void *address, size_t size)
{
	return (int)syscall(SYS_munmap, (char *)address - GUARD_BYTES, size + 2 * GUARD_BYTES);
}

static char *cell; // its memory
static int memory_fd = -1;

static void start(void)
{
	if (cell)
		return;
	memory_fd = memfd_create("cell", 0);
	if (memory_fd < 0 || ftruncate(memory_fd, MEMORY_BYTES))
		abort();
	cell = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
	if (cell == MAP_FAILED)
		abort();
}

// Says one message; its answers are thrown away.
static void say(struct device *d, int fd, uint32_t request, const void *payload, uint32_t size, int attach)
{
	struct {
		uint32_t request, flags, size;
		char payload[512];
	} m = { request, 1, size, { 0 } };
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, trash[1024];
	struct iovec v = { &m, 12 + (size < sizeof(m.payload) ? size : sizeof(m.payload)) };
	struct msghdr message = { .msg_iov = &v, .msg_iovlen = 1 };

	memcpy(m.payload, payload, size < sizeof(m.payload) ? size : sizeof(m.payload));
	if (attach >= 0) {
		struct cmsghdr *c = (struct cmsghdr *)control;

		message.msg_control = control;
		message.msg_controllen = sizeof(control);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &attach, sizeof(attach));
	}
	if (d->ended || d->failure)
		return;
	if (sendmsg(fd, &message, 0) < 0)
		abort();
	device_step(d, 0);
	while (recv(fd, trash, sizeof(trash), MSG_DONTWAIT) > 0)
		;
}

static void set_up(struct device *d, int fd)
{
	struct {
		uint32_t count, padding;
		uint64_t guest, size, user, offset;
	} table = { 1, 0, 0x10000, MEMORY_BYTES, 0x7f0000000000, 0 };
	uint64_t features = UINT64_C(1) << 32;

	say(d, fd, 2, &features, 8, -1);
	say(d, fd, 5, &table, sizeof(table), memory_fd);
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t number[2] = { i, RING_SIZE }, base[2] = { i, 0 };
		uint64_t place = 0x7f0000000000 + RING_PLACE * (i + 1);
		struct {
			uint32_t index, flags;
			uint64_t descriptors, used, avail, log;
		} addresses = { i, 0, place, place + 0x400, place + 0x200, 0 };
		uint64_t index = i;
		int event = eventfd(0, EFD_NONBLOCK);

		say(d, fd, 8, number, 8, -1);
		say(d, fd, 10, base, 8, -1);
		say(d, fd, 9, &addresses, sizeof(addresses), -1);
		say(d, fd, 13, &index, 8, event);
		say(d, fd, 12, &index, 8, event);
		close(event);
	}
}

static char *ring(unsigned index) { return cell + RING_PLACE * (index + 1); }

// A buffer of the cell in ring `index`: one descriptor that may be a good one.
static void lend(unsigned index, unsigned place, uint32_t size, uint16_t flags)
{
	struct vring_desc *d = (void *)ring(index);
	struct vring_avail *a = (void *)(ring(index) + 0x200);
	unsigned slot = a->idx % RING_SIZE;

	d[slot] = (struct vring_desc){ 0x10000 + place, size, flags, 0 };
	a->ring[slot] = (uint16_t)slot;
	a->idx++;
}

static void send_packet(const uint8_t *x)
{
	unsigned place = DATA_PLACE + x[1] % 8 * 0x200;
	struct virtio_vsock_hdr h = { .src_cid = 3,
				      .dst_cid = 2,
				      .src_port = 100u + x[2] % 4,
				      .dst_port = x[2] & 0x80 ? 77 : OUTSIDE_PORT,
				      .type = VIRTIO_VSOCK_TYPE_STREAM,
				      .op = x[3] % 9,
				      .flags = x[4] % 4,
				      .buf_alloc = x[5] << 8,
				      .fwd_cnt = x[6] };
	struct outside_request r = { .operation = x[4] % 5, .room = 2, .cell_port = 80, .flags = 3 };

	h.len = h.op == VIRTIO_VSOCK_OP_RW ? x[7] + 32u : 0;
	memcpy(cell + place, &h, sizeof(h));
	memset(r.to.ip + 10, 0xff, 2);
	memcpy(r.to.ip + 12, (uint8_t[]){ 127, 0, 0, x[6] & 2 ? 1 : GRANTED }, 4);
	r.to.port = x[7];
	if (x[6] & 1)
		memcpy(cell + place + sizeof(h), &r, sizeof(r));
	else
		memcpy(cell + place + sizeof(h), &(struct outside_datagram){ x[7], x[5] % 3, 0, r.to },
		       sizeof(struct outside_datagram));
	lend(1, place, (uint32_t)sizeof(h) + h.len, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct service service;
	struct net_rules rules = { 0 };
	int pair[2], published[2] = { make_pair(SOCK_STREAM), make_pair(SOCK_DGRAM) };
	struct err error;

	start();
	memset(cell, 0, MEMORY_BYTES);
	if (!net_rules_add_connect(&rules, "tcp:127.0.0.9:*", &error) ||
	    !net_rules_add_connect(&rules, "udp:127.0.0.9:*", &error) ||
	    !net_rules_add_publish(&rules, "127.0.0.9:80:80", &error) ||
	    !net_rules_add_publish(&rules, "127.0.0.9:80:80/udp", &error) || published[1] < 0)
		abort();
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || !service_init(&service, pair[0], 3, &rules, published))
		abort();
	if (size && !(data[0] & 0x80))
		set_up(&service.device, pair[1]);
	for (size_t at = 1; at + 8 <= size && !service.device.failure && !service.device.ended; at += 8) {
		const uint8_t *x = data + at;

		switch (x[0] % 8) {
		case 0: send_packet(x); break;
		case 1:
			if (x[3] >= 0xfe) { // too long, or nowhere
				lend(x[3] & 1, x[4] << 8 | 0xf0, x[5] << 12 | 44, x[3] & 1 ? 0 : VRING_DESC_F_WRITE);
				break;
			}
			lend(0, DATA_PLACE + 0x2000 + x[1] % 16 * 0x200, x[2] * 2u + 44, VRING_DESC_F_WRITE);
			break;
		case 2: memcpy(cell + (x[1] | x[2] << 8) % (MEMORY_BYTES - 8), x + 3, 5); break;
		case 3: memcpy(ring(x[1] & 1) + (x[2] << 1), x + 3, 4); break;
		case 4:
			say(&service.device, pair[1], x[1] % 32, data + at,
			    size - at < 64u ? (uint32_t)(size - at) : 64u, x[2] & 1 ? memory_fd : -1);
			break;
		case 5: play(x); break;
		case 6:
			incoming = x[1] & 1;
			device_flush(&service.device);
			break;
		default: device_process_tx(&service.device); break;
		}
		device_step(&service.device, 0);
	}
	(void)device_drain(&service.device);
	service_fini(&service);
	close(pair[1]);
	while (end_count)
		close(ends[--end_count]);
	return 0;
}
