// SPDX-License-Identifier: Apache-2.0
// Sending and receiving over packets in memory. send(2), recv(2), unix(7), udp(7), tcp(7).
//
// Streams are sequences of packets whose borders mean nothing, except that descriptors arrive with the first byte of theirs
// and data of different senders does not mix in one receive. Datagrams and seqpackets are packets.
//
// Copies from and to the program are made without socket.lock; a reader of a stream holds read_lock instead, so that the
// packet it copies from stays first.

#include "socket.h"

#include <linux/eventpoll.h>

#include "kernel/signal.h"
#include "kernel/timespec.h"

#define STREAM_CHUNK (32768u - (unsigned)sizeof(struct packet)) // of one packet

// Bytes that headers would take on lo: link, IP, and TCP with time stamps or UDP.
#define HEADERS_TCP 66u
#define HEADERS_UDP 42u

static uint64_t deadline_of(uint64_t timeout_ns) { return timeout_ns ? deadline_after(timeout_ns) : PARK_FOREVER; }

// A wait that ended early, as the system call reports it.
static int wait_error(int error, uint64_t timeout_ns)
{
	if (error == -ETIMEDOUT)
		return -EAGAIN;
	return error == -EINTR ? (timeout_ns ? -EINTR : -ERESTARTSYS) : error;
}

static bool may_wait(const struct message *m) { return !m->nonblock && !(m->flags & MSG_DONTWAIT); }

// ---- sending ----

// lock held
static void count_loopback(struct socket *to, uint32_t size)
{
	uint64_t bytes = to->lo_bytes + size + (to->type == SOCK_STREAM ? HEADERS_TCP : HEADERS_UDP);

	__atomic_store_n(&to->lo_bytes, bytes, __ATOMIC_RELAXED);
	__atomic_store_n(&to->lo_packets, to->lo_packets + 1, __ATOMIC_RELAXED);
}

bool socket_deliver(struct socket *to, struct packet *p)
{
	bool taken, urgent = p->urgent;

	spin_lock(&to->lock);
	taken = to->state != SOCKET_CLOSED && !to->shut_read;
	if (taken) {
		list_add_tail(&to->receive, &p->node);
		if (p->urgent)
			urgent_deliver(to, p);
		to->receive_bytes += p->size;
		__atomic_store_n(&to->receive_count, to->receive_count + 1, __ATOMIC_RELAXED);
		if (p->owner && (to->domain == AF_INET || to->domain == AF_INET6)) // none from outside
			count_loopback(to, p->size);
	}
	spin_unlock(&to->lock);
	if (!taken)
		return false;
	if (unlikely(urgent)) // p may be gone
		urgent_signal(to);
	waitq_wake_events(&to->wait, 0, EPOLLIN | EPOLLRDNORM | (urgent ? EPOLLPRI : 0));
	return true;
}

static bool has_space(const struct socket *s)
{
	return __atomic_load_n(&s->sent_bytes, __ATOMIC_SEQ_CST) < s->send_space;
}

static int broken_pipe(const struct message *m)
{
	if (!(m->flags & MSG_NOSIGNAL))
		signal_send_task(current, SIGPIPE, NULL);
	return -EPIPE;
}

// A packet with the next `size` bytes of the message, charged to `s`. err_ptr.
static struct packet *fill(struct socket *s, struct message *m, size_t size)
{
	struct packet *p = packet_create(size);

	if (!p)
		return err_ptr(-ENOBUFS);
	if (iov_copy_from(p->data, m->data, size) != size) {
		packet_free(p);
		return err_ptr(-EFAULT);
	}
	p->sender = s->domain == AF_UNIX ? (m->has_sender ? m->sender : socket_current_cred()) : s->self;
	socket_get(s);
	p->owner = s;
	__atomic_fetch_add(&s->sent_bytes, p->charge, __ATOMIC_SEQ_CST);
	return p;
}

static bool stream_can_send(struct socket *s) { return has_space(s) || s->shut_write || s->peer_gone; }

static ssize_t send_stream(struct socket *s, struct message *m)
{
	uint64_t deadline = deadline_of(s->send_timeout_ns);
	size_t total = m->data->count, done = 0;
	int error = socket_take_error(s);

	if (error)
		return -error;
	if (s->state != SOCKET_CONNECTED)
		return s->domain == AF_UNIX ? -ENOTCONN : broken_pipe(m);
	while (done < total) {
		size_t size = min(total - done, (size_t)STREAM_CHUNK);
		bool urgent = m->flags & MSG_OOB && size == total - done; // the last byte is
		struct socket *peer;
		struct packet *p;

		if (s->shut_write || s->peer_gone) {
			error = socket_take_error(s);
			error = error ? -error : done ? -EPIPE : broken_pipe(m);
			break;
		}
		if (!has_space(s)) {
			error = may_wait(m) ? wait_event_deadline(&s->wait, stream_can_send(s), deadline) : -EAGAIN;
			if (error) {
				error = wait_error(error, s->send_timeout_ns);
				break;
			}
			continue;
		}
		if (urgent && size > 1)
			urgent = false, size--;
		p = fill(s, m, size);
		if (is_err(p)) {
			error = (int)ptr_err(p);
			break;
		}
		p->urgent = urgent;
		peer = socket_peer_get(s);
		p->rights = m->rights;
		if (peer && socket_deliver(peer, p)) {
			m->rights = NULL;
			done += size;
		} else {
			p->rights = NULL;
			packet_free(p);
			if (peer && s->domain != AF_UNIX && peer->state == SOCKET_CONNECTED)
				done += size; // TCP cannot know that the other end has shut down reading
			else
				s->shut_write = true;
		}
		if (peer)
			socket_put(peer);
	}
	return done ? (ssize_t)done : error;
}

// The receiver of a datagram: the message's address, or whom the socket is connected to. err_ptr.
static struct socket *datagram_target(struct socket *s, struct message *m)
{
	struct socket *target;

	if (m->address.size && !(s->type == SOCK_SEQPACKET))
		return s->family->find(s, &m->address);
	target = socket_peer_get(s);
	if (target)
		return target;
	if (s->domain == AF_UNIX)
		return err_ptr(-ENOTCONN);
	if (s->peer_name.size) // bound again by somebody else, or by nobody
		return s->family->find(s, &s->peer_name);
	return err_ptr(-EDESTADDRREQ);
}

static bool queue_has_room(const struct socket *target)
{
	return __atomic_load_n(&target->receive_count, __ATOMIC_RELAXED) < SOCKET_QUEUE_MAX ||
	       target->state == SOCKET_CLOSED;
}

static int wait_for_room(struct socket *s, struct socket *target, struct message *m)
{
	uint64_t deadline = deadline_of(s->send_timeout_ns);
	int error = 0;

	if (!may_wait(m))
		return has_space(s) && queue_has_room(target) ? 0 : -EAGAIN;
	if (!has_space(s))
		error = wait_event_deadline(&s->wait, has_space(s), deadline);
	if (!error && !queue_has_room(target))
		error = wait_event_deadline(&target->wait, queue_has_room(target), deadline);
	return error ? wait_error(error, s->send_timeout_ns) : 0;
}

// Who a socket is connected to may be the only one to write to it.
static bool accepts_from(struct socket *target, struct socket *s)
{
	struct socket *only = socket_peer_get(target);
	bool ok = !only || only == s || target->domain != AF_UNIX;

	if (only)
		socket_put(only);
	return ok;
}

static ssize_t send_datagram(struct socket *s, struct message *m)
{
	size_t size = m->data->count;
	struct socket *target;
	struct packet *p;
	bool unix_socket = s->domain == AF_UNIX;
	int error = socket_take_error(s);

	if (error)
		return -error;
	if (s->shut_write)
		return broken_pipe(m);
	if (size > s->send_space || (!unix_socket && size > 65507))
		return -EMSGSIZE;
	if (s->type == SOCK_SEQPACKET && s->state != SOCKET_CONNECTED)
		return -ENOTCONN;
	if (s->family->send_outside) {
		ssize_t result = s->family->send_outside(s, m);

		if (result != SEND_INSIDE)
			return result;
	}
	if (s->family->autobind && !s->name.size) {
		error = s->family->autobind(s);
		if (error)
			return error;
	}
	target = datagram_target(s, m);
	if (is_err(target)) {
		error = (int)ptr_err(target);
		if (unix_socket || error != -ECONNREFUSED)
			return error;
		// UDP: sent into the void; the answer is an ICMP message a connected socket gets to see.
		if (!m->address.size) {
			s->error = ECONNREFUSED;
			waitq_wake_events(&s->wait, 0, EPOLLERR);
		}
		return (ssize_t)size;
	}
	if (s->type == SOCK_DGRAM && !accepts_from(target, s))
		error = -EPERM;
	else
		error = unix_socket ? wait_for_room(s, target, m) : 0;
	if (error)
		goto put_target;
	if (!unix_socket && (target->receive_bytes + size > target->receive_space || !queue_has_room(target))) {
		error = 0; // UDP drops
		goto put_target;
	}
	p = fill(s, m, size);
	if (is_err(p)) {
		error = (int)ptr_err(p);
		goto put_target;
	}
	if (s->name.size && s->type == SOCK_DGRAM) {
		p->from = kalloc(sizeof(*p->from));
		if (p->from && s->family->source)
			s->family->source(s, m->address.size ? &m->address : &s->peer_name, target->domain, p->from);
		else if (p->from)
			(void)s->family->get_name(s, false, p->from);
	}
	p->rights = m->rights;
	if (socket_deliver(target, p)) {
		m->rights = NULL;
	} else {
		p->rights = NULL;
		packet_free(p);
		error = s->type != SOCK_SEQPACKET && target->state == SOCKET_CLOSED ? -ECONNREFUSED : broken_pipe(m);
	}
put_target:
	socket_put(target);
	return error ? error : (ssize_t)size;
}

ssize_t socket_send(struct socket *s, struct message *m)
{
	if (m->flags & MSG_OOB && (s->type != SOCK_STREAM || s->channel))
		return -EOPNOTSUPP;
	if (s->channel && s->type == SOCK_STREAM)
		return channel_send(s, m);
	if (s->type == SOCK_STREAM) {
		if (m->address.size && s->domain == AF_UNIX)
			return s->state == SOCKET_CONNECTED ? -EISCONN : -EOPNOTSUPP;
		return send_stream(s, m);
	}
	return send_datagram(s, m);
}

// ---- receiving ----

static struct packet *first_packet(struct socket *s)
{
	struct packet *p = NULL;

	spin_lock(&s->lock);
	if (!list_empty(&s->receive))
		p = list_first(&s->receive, struct packet, node);
	spin_unlock(&s->lock);
	return p;
}

static bool can_receive(struct socket *s)
{
	bool can;

	spin_lock(&s->lock);
	can = urgent_readable(s) || s->shut_read || s->error;
	spin_unlock(&s->lock);
	return can;
}

// read_lock held. 0: something is there or the end was reached (*p NULL).
static int wait_for_packet(struct socket *s, struct message *m, uint64_t deadline, struct packet **p)
{
	for (;;) {
		int error;

		*p = first_packet(s);
		if (*p)
			return 0;
		error = socket_take_error(s);
		if (error)
			return -error;
		if (s->shut_read && (s->type != SOCK_DGRAM || may_wait(m)))
			return 0;
		if (!may_wait(m))
			return -EAGAIN;
		mutex_unlock(&s->read_lock);
		error = wait_event_deadline(&s->wait, can_receive(s), deadline);
		mutex_lock(&s->read_lock);
		if (error)
			return wait_error(error, s->receive_timeout_ns);
	}
}

static void take_off(struct socket *s, struct packet *p)
{
	bool was_full;

	spin_lock(&s->lock);
	list_remove(&p->node);
	if (p == s->urgent_mark)
		urgent_taken(s, p);
	s->receive_bytes -= p->size - p->offset;
	was_full = s->receive_count == SOCKET_QUEUE_MAX;
	__atomic_store_n(&s->receive_count, s->receive_count - 1, __ATOMIC_RELAXED);
	spin_unlock(&s->lock);
	if (was_full) // senders wait on the receiver
		waitq_wake_events(&s->wait, 0, EPOLLOUT);
}

// Descriptors: moved out, or for a peek copied.
static int take_rights(struct packet *p, struct message *m)
{
	struct rights *r = p->rights, *copy;
	unsigned i;

	if (!r)
		return 0;
	if (!(m->flags & MSG_PEEK)) {
		p->rights = NULL;
		rights_landed(r);
		m->rights = r;
		return 0;
	}
	copy = kalloc(sizeof(*copy) + r->count * sizeof(r->files[0]));
	if (!copy)
		return -ENOMEM;
	copy->count = r->count;
	for (i = 0; i < r->count; i++) {
		file_get(r->files[i]);
		copy->files[i] = r->files[i];
	}
	m->rights = copy;
	return 0;
}

static bool same_sender(const struct packet *p, const struct message *m)
{
	return p->sender.pid == m->sender.pid && p->sender.uid == m->sender.uid && p->sender.gid == m->sender.gid;
}

// The packet that a peek which has seen `left` bytes goes on with, and where in it. NULL: there is none, or the mark stops it.
static struct packet *peek_at(struct socket *s, size_t left, size_t *at)
{
	bool begun = left != 0;
	struct packet *p, *found = NULL;

	spin_lock(&s->lock);
	list_for_each (p, &s->receive, node) {
		if (p == s->urgent_mark && !left && begun)
			break;
		if (p == s->urgent_mark && !urgent_in_line(s))
			continue;
		if (left < p->size - p->offset) {
			found = p;
			*at = p->offset + left;
			break;
		}
		left -= p->size - p->offset;
	}
	spin_unlock(&s->lock);
	return found;
}

// The packet to read next; passes over a mark that is not read in line. NULL: there is none, or the mark stops the reader.
static struct packet *read_at(struct socket *s, bool begun, size_t *at)
{
	struct packet *p = first_packet(s);

	if (p && p == __atomic_load_n(&s->urgent_mark, __ATOMIC_RELAXED)) {
		if (begun)
			return NULL;
		if (!urgent_in_line(s)) {
			take_off(s, p);
			packet_free(p);
			p = first_packet(s);
		}
	}
	if (p)
		*at = p->offset;
	return p;
}

// Copies from the first packets until the message is full or a border matters; `done`: bytes so far. Bytes, 0 with nothing there,
// or -EFAULT.
static ssize_t copy_stream(struct socket *s, struct message *m, size_t done)
{
	size_t size, at = 0;
	struct packet *p = m->flags & MSG_PEEK ? peek_at(s, done, &at) : read_at(s, done != 0, &at);

	if (!p || (m->rights && p->rights) || (m->has_sender && !same_sender(p, m)))
		return 0;
	if (!m->has_sender) {
		m->has_sender = s->domain == AF_UNIX;
		m->sender = p->sender;
	}
	size = min((size_t)p->size - at, m->data->count);
	size = iov_copy_to(m->data, p->data + at, size);
	if (!size)
		return -EFAULT;
	if (p->rights && take_rights(p, m))
		return -ENOMEM;
	if (m->flags & MSG_PEEK)
		return (ssize_t)size;
	spin_lock(&s->lock);
	p->offset += (uint32_t)size;
	s->receive_bytes -= size;
	spin_unlock(&s->lock);
	if (p->offset == p->size) {
		take_off(s, p);
		packet_free(p);
	}
	return (ssize_t)size;
}

static ssize_t receive_stream(struct socket *s, struct message *m)
{
	uint64_t deadline = deadline_of(s->receive_timeout_ns);
	size_t done = 0, wanted = m->flags & MSG_WAITALL ? m->data->count : 1;
	struct packet *p;
	int error = 0;

	if (s->state == SOCKET_LISTENING || (s->state == SOCKET_FREE && !s->peer_gone))
		return s->domain == AF_UNIX ? -EINVAL : -ENOTCONN;
	mutex_lock(&s->read_lock);
	while (m->data->count) {
		ssize_t n = copy_stream(s, m, done);

		if (n > 0) {
			done += (size_t)n;
			continue;
		}
		if (n < 0) {
			error = (int)n;
			break;
		}
		if (done >= wanted || m->rights || (done && first_packet(s)))
			break;
		if (done && m->flags & MSG_PEEK)
			break;
		error = wait_for_packet(s, m, deadline, &p);
		if (error || !p)
			break;
	}
	mutex_unlock(&s->read_lock);
	return done ? (ssize_t)done : error;
}

static ssize_t receive_packet(struct socket *s, struct message *m)
{
	uint64_t deadline = deadline_of(s->receive_timeout_ns);
	struct packet *p;
	size_t size;
	ssize_t result;

	if (s->type == SOCK_SEQPACKET && s->state != SOCKET_CONNECTED && !s->peer_gone)
		return -ENOTCONN;
	mutex_lock(&s->read_lock);
	result = wait_for_packet(s, m, deadline, &p);
	if (result || !p)
		goto out;
	size = min((size_t)p->size, m->data->count);
	if (iov_copy_to(m->data, p->data, size) != size) {
		result = -EFAULT;
		goto out;
	}
	if (size < p->size)
		m->out_flags |= MSG_TRUNC;
	if (s->type == SOCK_SEQPACKET)
		m->out_flags |= MSG_EOR;
	m->has_sender = s->domain == AF_UNIX;
	m->sender = p->sender;
	if (p->from)
		m->address = *p->from;
	result = m->flags & MSG_TRUNC ? p->size : (ssize_t)size;
	if (take_rights(p, m))
		m->out_flags |= MSG_CTRUNC;
	if (!(m->flags & MSG_PEEK)) {
		take_off(s, p);
		packet_free(p);
	}
out:
	mutex_unlock(&s->read_lock);
	return result;
}

ssize_t socket_receive(struct socket *s, struct message *m)
{
	if (m->flags & MSG_OOB)
		return s->type == SOCK_STREAM && !s->channel ? urgent_receive(s, m) : -EOPNOTSUPP;
	if (m->flags & MSG_ERRQUEUE)
		return -EAGAIN;
	if (s->channel && s->type == SOCK_STREAM && s->state != SOCKET_LISTENING)
		return channel_receive(s, m);
	return s->type == SOCK_STREAM ? receive_stream(s, m) : receive_packet(s, m);
}

// ---- readiness ----

unsigned socket_poll(struct socket *s)
{
	unsigned events = 0;
	bool connection = socket_is_connection(s);
	struct net_channel *c = s->type == SOCK_STREAM && s->state != SOCKET_LISTENING ? socket_channel_get(s) : NULL;

	if (c) {
		events = channel_poll(s, c);
		net_channel_put(c);
		return events;
	}
	spin_lock(&s->lock);
	if (s->error)
		events |= EPOLLERR;
	if (s->shut_read && s->shut_write)
		events |= EPOLLHUP;
	if (s->shut_read)
		events |= EPOLLRDHUP | EPOLLIN | EPOLLRDNORM;
	if (urgent_readable(s) || !list_empty(&s->backlog))
		events |= EPOLLIN | EPOLLRDNORM;
	if (s->urgent_unread)
		events |= EPOLLPRI;
	if (connection && s->state == SOCKET_FREE) // never connected
		events |= EPOLLHUP | (s->family->refuses_async || s->domain == AF_UNIX ? EPOLLOUT | EPOLLWRNORM : 0);
	else if (s->state != SOCKET_LISTENING &&
		 (s->shut_write || __atomic_load_n(&s->sent_bytes, __ATOMIC_RELAXED) * 4 <= s->send_space))
		events |= EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;
	spin_unlock(&s->lock);
	return events;
}
