// SPDX-License-Identifier: Apache-2.0
#include "vsock/vhost.h"

#include <errno.h>
#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <linux/virtio_vsock.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum request {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	RESET_OWNER = 4,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	SET_VRING_ERR = 14,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	SET_VRING_ENABLE = 18,
	GET_CONFIG = 24,
	SET_CONFIG = 25,
};

#define FLAG_VERSION        1u
#define FLAG_REPLY          4u
#define FLAG_NEED_REPLY     8u
#define F_PROTOCOL_FEATURES 30 // VHOST_USER_F_PROTOCOL_FEATURES
#define PROTOCOL_REPLY_ACK  3
#define PROTOCOL_CONFIG     9
#define VRING_NO_FD         0x100u
#define CONFIG_MAX          256u

#define FEATURES                                                                      \
	(UINT64_C(1) << VIRTIO_F_VERSION_1 | UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX | \
	 UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC | UINT64_C(1) << F_PROTOCOL_FEATURES)
#define PROTOCOL_FEATURES (UINT64_C(1) << PROTOCOL_CONFIG | UINT64_C(1) << PROTOCOL_REPLY_ACK)

struct header {
	uint32_t request, flags, size;
} __attribute__((packed));

struct region {
	uint64_t guest, size, user, offset;
};

struct message {
	struct header h;
	union {
		uint64_t number;
		struct vhost_vring_state state;
		struct vhost_vring_addr addresses;
		struct {
			uint32_t count, padding;
			struct region regions[MEMORY_REGIONS_MAX];
		} memory;
		struct {
			uint32_t offset, size, flags;
			uint8_t data[CONFIG_MAX];
		} config;
	} u;
	int fds[MEMORY_REGIONS_MAX];
	unsigned fd_count;
} __attribute__((packed));

void vhost_init(struct vhost *v, int fd, uint64_t cid)
{
	*v = (struct vhost){ .fd = fd, .cid = cid };
	for (unsigned i = 0; i < VHOST_RINGS; i++)
		v->rings[i] = (struct ring){ .memory = &v->memory, .kick_fd = -1, .call_fd = -1 };
}

static void forget_memory(struct vhost *v)
{
	for (unsigned i = 0; i < v->memory.count; i++)
		munmap(v->memory.regions[i].map, v->memory.regions[i].map_size);
	v->memory.count = 0;
	for (unsigned i = 0; i < VHOST_RINGS; i++)
		v->rings[i].descriptors = NULL;
}

static void replace_fd(int *place, int fd)
{
	if (*place >= 0)
		close(*place);
	*place = fd;
}

void vhost_fini(struct vhost *v)
{
	forget_memory(v);
	for (unsigned i = 0; i < VHOST_RINGS; i++) {
		replace_fd(&v->rings[i].kick_fd, -1);
		replace_fd(&v->rings[i].call_fd, -1);
	}
	replace_fd(&v->fd, -1);
}

bool vhost_ring_runs(const struct vhost *v, unsigned index)
{
	const bool enabled =
		v->enabled[index] || !(v->features >> F_PROTOCOL_FEATURES & 1); // rings start enabled without it

	return v->started[index] && enabled && ring_works(&v->rings[index]);
}

// ---- requests: false when they make no sense ----

static bool map_region(struct vhost *v, struct region r, int fd)
{
	struct memory_region *m = &v->memory.regions[v->memory.count];
	uint64_t end;
	struct stat s;

	if (!r.size || r.offset % 4096 || r.guest + r.size < r.guest || r.user + r.size < r.user ||
	    __builtin_add_overflow(r.offset, r.size, &end) || fstat(fd, &s) || end > (uint64_t)s.st_size)
		return false;
	m->map = mmap(NULL, r.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, (off_t)r.offset);
	if (m->map == MAP_FAILED)
		return false;
	m->map_size = r.size;
	m->host = m->map;
	m->guest = r.guest;
	m->user = r.user;
	m->size = r.size;
	v->memory.count++;
	return true;
}

static bool set_memory(struct vhost *v, const struct message *m)
{
	if (m->u.memory.count > MEMORY_REGIONS_MAX || m->fd_count != m->u.memory.count ||
	    m->h.size < offsetof(struct message, u.memory.regions) - offsetof(struct message, u) +
				m->u.memory.count * sizeof(struct region))
		return false;
	v->stopping(v, v->context);
	forget_memory(v);
	for (unsigned i = 0; i < m->u.memory.count; i++)
		if (!map_region(v, m->u.memory.regions[i], m->fds[i]))
			return false;
	return true;
}

static struct ring *ring_of(struct vhost *v, uint32_t index) { return index < VHOST_RINGS ? &v->rings[index] : NULL; }

static bool set_ring_size(struct vhost *v, struct vhost_vring_state s)
{
	struct ring *r = ring_of(v, s.index);

	if (!r || !s.num || s.num > RING_SIZE_MAX || s.num & (s.num - 1))
		return false;
	r->size = s.num;
	r->descriptors = NULL;
	return true;
}

static bool set_ring_addresses(struct vhost *v, struct vhost_vring_addr a)
{
	struct ring *r = ring_of(v, a.index);

	if (!r || !ring_set_addresses(r, a.desc_user_addr, a.avail_user_addr, a.used_user_addr))
		return false;
	r->event_index = v->features >> VIRTIO_RING_F_EVENT_IDX & 1;
	r->next_used = r->told_used = __atomic_load_n(&r->used->idx, __ATOMIC_RELAXED);
	r->broken = false;
	return true;
}

static bool set_ring_base(struct vhost *v, struct vhost_vring_state s)
{
	struct ring *r = ring_of(v, s.index);

	if (!r || s.num > UINT16_MAX)
		return false;
	r->next_avail = (uint16_t)s.num;
	return true;
}

static bool get_ring_base(struct vhost *v, struct message *m)
{
	struct ring *r = ring_of(v, m->u.state.index);

	if (!r)
		return false;
	v->stopping(v, v->context);
	v->started[m->u.state.index] = false;
	replace_fd(&r->kick_fd, -1);
	m->u.state.num = r->next_avail;
	m->h.size = sizeof(m->u.state);
	return true;
}

static bool set_ring_fd(struct vhost *v, struct message *m)
{
	struct ring *r = ring_of(v, m->u.number & 0xff);
	int fd = m->fd_count ? m->fds[0] : -1;

	if (!r || m->fd_count != (m->u.number & VRING_NO_FD ? 0u : 1u))
		return false;
	m->fd_count = 0; // ours now
	if (m->h.request == SET_VRING_KICK) {
		replace_fd(&r->kick_fd, fd);
		v->started[m->u.number & 0xff] = true;
	} else if (m->h.request == SET_VRING_CALL) {
		replace_fd(&r->call_fd, fd);
	} else if (fd >= 0) {
		close(fd); // whom would we tell of errors
	}
	return true;
}

static bool get_config(struct vhost *v, struct message *m)
{
	struct virtio_vsock_config config = { .guest_cid = v->cid };
	uint32_t offset = m->u.config.offset, size = m->u.config.size;

	if (size > CONFIG_MAX || offset > sizeof(config) || size > sizeof(config) - offset)
		return false;
	memcpy(m->u.config.data, (char *)&config + offset, size);
	m->h.size = (uint32_t)(offsetof(struct message, u.config.data) - offsetof(struct message, u)) + size;
	return true;
}

static bool handle(struct vhost *v, struct message *m, bool *reply)
{
	static const uint8_t least[] = {
		[SET_FEATURES] = 8,   [SET_MEM_TABLE] = 8,         [SET_VRING_NUM] = 8,    [SET_VRING_ADDR] = 40,
		[SET_VRING_BASE] = 8, [GET_VRING_BASE] = 8,        [SET_VRING_KICK] = 8,   [SET_VRING_CALL] = 8,
		[SET_VRING_ERR] = 8,  [SET_PROTOCOL_FEATURES] = 8, [SET_VRING_ENABLE] = 8, [GET_CONFIG] = 12,
	};

	if (m->h.request < sizeof(least) && m->h.size < least[m->h.request])
		return false;
	switch (m->h.request) {
	case GET_FEATURES:
	case GET_PROTOCOL_FEATURES:
		m->u.number = m->h.request == GET_FEATURES ? FEATURES : PROTOCOL_FEATURES;
		m->h.size = sizeof(m->u.number);
		return *reply = true;
	case SET_FEATURES: v->features = m->u.number; return !(m->u.number & ~FEATURES);
	case SET_PROTOCOL_FEATURES: return !(m->u.number & ~PROTOCOL_FEATURES);
	case SET_OWNER:
	case RESET_OWNER:
	case SET_CONFIG: return true;
	case SET_MEM_TABLE: return set_memory(v, m);
	case SET_VRING_NUM: return set_ring_size(v, m->u.state);
	case SET_VRING_ADDR: return set_ring_addresses(v, m->u.addresses);
	case SET_VRING_BASE: return set_ring_base(v, m->u.state);
	case GET_VRING_BASE: *reply = true; return get_ring_base(v, m);
	case SET_VRING_KICK:
	case SET_VRING_CALL:
	case SET_VRING_ERR: return set_ring_fd(v, m);
	case SET_VRING_ENABLE:
		if (!ring_of(v, m->u.state.index))
			return false;
		v->enabled[m->u.state.index] = m->u.state.num;
		return true;
	case GET_CONFIG: *reply = true; return get_config(v, m);
	default: return false;
	}
}

// ---- messages ----

static bool read_all(int fd, void *to, size_t size)
{
	while (size) {
		ssize_t n = recv(fd, to, size, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		to = (char *)to + n;
		size -= (size_t)n;
	}
	return true;
}

// The header and descriptors. 0: end; -1: failure.
static int read_header(struct vhost *v, struct message *m)
{
	char control[CMSG_SPACE(sizeof(m->fds))] __attribute__((aligned(8)));
	struct iovec vector = { &m->h, sizeof(m->h) };
	struct msghdr message = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	ssize_t n;

	do
		n = recvmsg(v->fd, &message, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 && errno != ECONNRESET ? -1 : 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || m->fd_count)
			continue;
		m->fd_count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(m->fds, CMSG_DATA(c), m->fd_count * sizeof(int));
	}
	return read_all(v->fd, (char *)&m->h + n, sizeof(m->h) - (size_t)n) ? 1 : -1;
}

static bool send_reply(struct vhost *v, struct message *m)
{
	size_t size = sizeof(m->h) + m->h.size, done = 0;

	m->h.flags = FLAG_VERSION | FLAG_REPLY;
	while (done < size) {
		ssize_t n = send(v->fd, (char *)m + done, size - done, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return false;
		done += n > 0 ? (size_t)n : 0;
	}
	return true;
}

static bool serve(struct vhost *v, struct message *m, const char **why)
{
	bool reply = false, ok;

	*why = "the machine sent a message that is too long";
	if (m->h.size > sizeof(m->u))
		return false;
	*why = "the machine's message is cut";
	if (!read_all(v->fd, &m->u, m->h.size))
		return false;
	ok = handle(v, m, &reply);
	v->changed(v, v->context);
	*why = "the machine sent a message that makes no sense";
	if (!ok)
		return false;
	if (!reply && m->h.flags & FLAG_NEED_REPLY) {
		m->u.number = 0;
		m->h.size = sizeof(m->u.number);
		reply = true;
	}
	*why = "the machine takes no answer";
	if (reply && !send_reply(v, m))
		return false;
	*why = NULL;
	return true;
}

bool vhost_serve(struct vhost *v, const char **why)
{
	struct message m;
	int result;
	bool ok;

	memset(&m, 0, sizeof(m));
	*why = NULL;
	result = read_header(v, &m);
	if (result <= 0) {
		*why = result ? "the machine's message cannot be read" : NULL;
		return false;
	}
	ok = serve(v, &m, why);
	for (unsigned i = 0; i < m.fd_count; i++)
		close(m.fds[i]);
	return ok;
}
