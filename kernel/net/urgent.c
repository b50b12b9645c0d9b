// SPDX-License-Identifier: Apache-2.0
// Urgent ("out-of-band") data of streams: one byte, and a mark at its place in the stream. send(2), recv(2), tcp(7), RFC 6093.
//
// The byte travels as a packet of its own, which stays in the queue as the mark. A reader stops there once. Unless SO_OOBINLINE is
// set the next reader passes over the byte; until then MSG_OOB finds it. There is one mark: a later one makes the earlier byte
// an ordinary part of the stream.
#include "socket.h"

#include "kernel/signal.h"

void urgent_deliver(struct socket *to, struct packet *p)
{
	if (to->urgent_mark)
		to->urgent_mark->urgent = false;
	to->urgent_mark = p;
	to->urgent_unread = true;
}

void urgent_taken(struct socket *s, struct packet *p)
{
	assert(s->urgent_mark == p);
	s->urgent_mark = NULL;
	s->urgent_unread = false;
}

bool urgent_readable(const struct socket *s)
{
	if (list_empty(&s->receive))
		return false;
	return !s->urgent_mark || urgent_in_line(s) || s->receive.next != &s->urgent_mark->node ||
	       s->receive.prev != &s->urgent_mark->node;
}

void urgent_signal(struct socket *s)
{
	struct file *f = NULL;

	spin_lock(&s->lock);
	if (s->file && refcount_get_unless_zero(&s->file->refs))
		f = s->file;
	spin_unlock(&s->lock);
	if (!f)
		return;
	file_send_signal(f, SIGURG);
	file_put(f);
}

ssize_t urgent_receive(struct socket *s, struct message *m)
{
	char c = 0;
	int error = 0;

	spin_lock(&s->lock);
	if (!s->urgent_unread || urgent_in_line(s)) {
		error = -EINVAL;
	} else {
		c = s->urgent_mark->data[0];
		if (!(m->flags & MSG_PEEK))
			s->urgent_unread = false;
	}
	spin_unlock(&s->lock);
	if (error)
		return error;
	m->out_flags |= MSG_OOB;
	if (!m->data->count) {
		m->out_flags |= MSG_TRUNC;
		return 0;
	}
	return iov_copy_to(m->data, &c, 1) == 1 ? 1 : -EFAULT;
}

bool urgent_at_mark(struct socket *s)
{
	spin_lock(&s->lock);
	bool at = s->urgent_mark && s->receive.next == &s->urgent_mark->node;
	spin_unlock(&s->lock);
	return at;
}
