// SPDX-License-Identifier: Apache-2.0
// Socket options every family has. socket(7).

#include "message.h"

#include <linux/capability.h>

#include "kernel/timespec.h"
#include "kernel/uaccess.h"

static const struct {
	int option;
	uint32_t flag;
} flags[] = {
	{ SO_REUSEADDR, SOCKET_REUSEADDR },     { SO_REUSEPORT, SOCKET_REUSEPORT }, { SO_KEEPALIVE, SOCKET_KEEPALIVE },
	{ SO_BROADCAST, SOCKET_BROADCAST },     { SO_OOBINLINE, SOCKET_OOBINLINE }, { SO_PASSCRED, SOCKET_PASSCRED },
	{ SO_TIMESTAMP_OLD, SOCKET_TIMESTAMP }, { SO_DONTROUTE, SOCKET_DONTROUTE }, { SO_PASSSEC, SOCKET_PASSSEC },
};

static uint32_t flag_of(int option)
{
	for (unsigned i = 0; i < array_count(flags); i++)
		if (flags[i].option == option)
			return flags[i].flag;
	return 0;
}

int option_put(struct uptr value, struct uptr size, const void *data, unsigned data_size)
{
	int32_t room;

	if (get_user(&room, size))
		return -EFAULT;
	if (room < 0)
		return -EINVAL;
	data_size = min(data_size, (unsigned)room);
	if (copy_to_user(value, data, data_size))
		return -EFAULT;
	return put_user((int32_t)data_size, size);
}

static int set_timeout(uint64_t *out, struct uptr value, int size)
{
	uint64_t ns;
	int error;

	if (size < (int)sizeof(struct __kernel_old_timeval))
		return -EINVAL;
	error = timeval_from_user(&ns, value);
	if (error)
		return error == -EINVAL ? -EDOM : error;
	*out = ns;
	return 0;
}

static int get_timeout(uint64_t ns, struct uptr value, struct uptr size)
{
	struct __kernel_old_timeval v = { .tv_sec = (int64_t)(ns / NSEC_PER_SEC),
					  .tv_usec = (int64_t)(ns % NSEC_PER_SEC / NSEC_PER_USEC) };

	return option_put(value, size, &v, sizeof(v));
}

// Twice what was asked for, as Linux, whose number includes its own overhead.
static uint32_t space_of(int32_t asked, bool force)
{
	uint32_t limit = force ? SOCKET_SPACE_MAX : SOCKET_SPACE_DEFAULT;

	return max(min((uint32_t)max(asked, 0), limit) * 2, SOCKET_SPACE_MIN);
}

static int set_common(struct socket *s, int option, int32_t v)
{
	uint32_t flag = flag_of(option);

	if (flag) {
		s->flags = v ? s->flags | flag : s->flags & ~flag;
		return 0;
	}
	switch (option) {
	case SO_SNDBUFFORCE:
	case SO_RCVBUFFORCE:
		if (!cred_capable(current->cred, CAP_NET_ADMIN))
			return -EPERM;
		// fallthrough
	case SO_SNDBUF:
	case SO_RCVBUF:
		if (option == SO_SNDBUF || option == SO_SNDBUFFORCE)
			s->send_space = space_of(v, option == SO_SNDBUFFORCE);
		else
			s->receive_space = space_of(v, option == SO_RCVBUFFORCE);
		waitq_wake_events(&s->wait, 0, EPOLLOUT);
		return 0;
	case SO_PRIORITY:
		if ((v < 0 || v > 6) && !net_capable(current->cred, s->net, CAP_NET_ADMIN))
			return -EPERM;
		s->priority = v;
		return 0;
	case SO_MARK:
		if (!net_capable(current->cred, s->net, CAP_NET_ADMIN))
			return -EPERM;
		s->mark = v;
		return 0;
	case SO_RCVLOWAT: s->receive_low = max(v, 1); return 0;
	case SO_NO_CHECK:
	case SO_TIMESTAMPNS_OLD:
	case SO_RXQ_OVFL:
	case SO_BUSY_POLL:
	case SO_INCOMING_CPU:
	case SO_ZEROCOPY:
	case SO_LOCK_FILTER: return 0;
	case SO_TYPE:
	case SO_PROTOCOL:
	case SO_DOMAIN:
	case SO_ERROR:
	default: return -ENOPROTOOPT;
	}
}

int socket_set_option(struct socket *s, int level, int option, struct uptr value, int size)
{
	int32_t v;

	if (level != SOL_SOCKET)
		return s->family->set_option ? s->family->set_option(s, level, option, value, size) : -EOPNOTSUPP;
	switch (option) {
	case SO_RCVTIMEO_OLD:
	case SO_RCVTIMEO_NEW: return set_timeout(&s->receive_timeout_ns, value, size);
	case SO_SNDTIMEO_OLD:
	case SO_SNDTIMEO_NEW: return set_timeout(&s->send_timeout_ns, value, size);
	case SO_BINDTODEVICE: return 0; // there is only lo
	case SO_LINGER: {
		int32_t l[2];

		if (size < (int)sizeof(l))
			return -EINVAL;
		if (get_user(&l, value))
			return -EFAULT;
		s->flags = l[0] ? s->flags | SOCKET_LINGER : s->flags & ~SOCKET_LINGER;
		s->linger_seconds = l[1];
		return 0;
	}
	}
	if (size < (int)sizeof(v))
		return -EINVAL;
	return get_user(&v, value) ? -EFAULT : set_common(s, option, v);
}

static int get_number(struct socket *s, int option, int32_t *v)
{
	uint32_t flag = flag_of(option);

	if (flag) {
		*v = (s->flags & flag) != 0;
		return 0;
	}
	switch (option) {
	case SO_TYPE: *v = s->type; return 0;
	case SO_DOMAIN: *v = s->domain; return 0;
	case SO_PROTOCOL: *v = s->protocol; return 0;
	case SO_ERROR:
		*v = socket_take_error(s);
		if (!*v)
			*v = channel_take_error(s);
		return 0;
	case SO_ACCEPTCONN: *v = s->state == SOCKET_LISTENING; return 0;
	case SO_SNDBUF: *v = (int32_t)s->send_space; return 0;
	case SO_RCVBUF: *v = (int32_t)s->receive_space; return 0;
	case SO_PRIORITY: *v = s->priority; return 0;
	case SO_MARK: *v = s->mark; return 0;
	case SO_RCVLOWAT: *v = s->receive_low; return 0;
	case SO_SNDLOWAT: *v = 1; return 0;
	case SO_NO_CHECK:
	case SO_TIMESTAMPNS_OLD:
	case SO_RXQ_OVFL:
	case SO_BUSY_POLL:
	case SO_ZEROCOPY: *v = 0; return 0;
	case SO_INCOMING_CPU: *v = (int32_t)sched_cpu_now(); return 0;
	default: return -ENOPROTOOPT;
	}
}

int socket_get_option(struct socket *s, int level, int option, struct uptr value, struct uptr size)
{
	int32_t v;
	int error;

	if (level != SOL_SOCKET)
		return s->family->get_option ? s->family->get_option(s, level, option, value, size) : -EOPNOTSUPP;
	switch (option) {
	case SO_RCVTIMEO_OLD:
	case SO_RCVTIMEO_NEW: return get_timeout(s->receive_timeout_ns, value, size);
	case SO_SNDTIMEO_OLD:
	case SO_SNDTIMEO_NEW: return get_timeout(s->send_timeout_ns, value, size);
	case SO_PEERCRED: {
		struct ucred peer = socket_cred_shown(s->peer_cred);

		return option_put(value, size, &peer, sizeof(peer));
	}
	case SO_BINDTODEVICE: return option_put(value, size, "", 0);
	case SO_LINGER: {
		int32_t l[2] = { (s->flags & SOCKET_LINGER) != 0, s->linger_seconds };

		return option_put(value, size, l, sizeof(l));
	}
	}
	error = get_number(s, option, &v);
	return error ? error : option_put(value, size, &v, sizeof(v));
}
