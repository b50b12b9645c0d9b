// SPDX-License-Identifier: Apache-2.0
// System calls that send and receive, with control messages. sendmsg(2), recvmsg(2), cmsg(3), sendmmsg(2).

#include "message.h"

#include <linux/capability.h>

#include "kernel/socket_files.h"
#include "kernel/syscalls.h"
#include "kernel/timespec.h"
#include "kernel/uaccess.h"

#define CONTROL_MAX_BYTES 20480u // net.core.optmem_max
#define MESSAGES_MAX      1024u  // UIO_MAXIOV

static bool may_claim(const struct ucred *c)
{
	const struct cred *mine = current->cred;

	return (c->pid == current->process->pid ||
		cred_capable_in(mine, task_pid_namespace(current)->common.owner, CAP_SYS_ADMIN)) &&
	       (c->uid == mine->uid || c->uid == mine->euid || c->uid == mine->suid ||
		cred_capable_own(mine, CAP_SETUID)) &&
	       (c->gid == mine->gid || c->gid == mine->egid || c->gid == mine->sgid ||
		cred_capable_own(mine, CAP_SETGID));
}

struct descriptors { // of all SCM_RIGHTS of one message: they travel as one
	unsigned count;
	int fds[SCM_MAX_FDS];
};

static int parse_one(const struct user_cmsghdr *h, const char *data, struct message *m, struct descriptors *d)
{
	size_t size = h->size - sizeof(*h);

	if (h->level != SOL_SOCKET)
		return 0; // of the protocol: nothing to do on lo
	switch (h->type) {
	case SCM_RIGHTS:
		if (size % 4 || size / 4 > SCM_MAX_FDS - d->count)
			return -EINVAL;
		memcpy(d->fds + d->count, data, size);
		d->count += (unsigned)(size / 4);
		return 0;
	case SCM_CREDENTIALS:
		if (size != sizeof(m->sender))
			return -EINVAL;
		memcpy(&m->sender, data, size);
		m->has_sender = true;
		m->sender.pid = pid_meant(m->sender.pid);
		m->sender.uid = uid_meant(current->cred, m->sender.uid);
		m->sender.gid = gid_meant(current->cred, m->sender.gid);
		if (m->sender.uid == ID_NONE || m->sender.gid == ID_NONE)
			return -EINVAL;
		return may_claim(&m->sender) ? 0 : -EPERM;
	default: return -EINVAL;
	}
}

static int parse_control(struct uptr user, uint64_t size, struct message *m)
{
	struct descriptors d;
	char *control;
	uint64_t at = 0;
	int error = 0;

	d.count = 0;
	if (size > CONTROL_MAX_BYTES)
		return -ENOBUFS;
	if (size < sizeof(struct user_cmsghdr))
		return 0;
	control = kalloc(size);
	if (!control)
		return -ENOBUFS;
	error = copy_from_user(control, user, size);
	while (!error && at + sizeof(struct user_cmsghdr) <= size) {
		const struct user_cmsghdr *h = (const struct user_cmsghdr *)(control + at);

		if (h->size < sizeof(*h) || h->size > size - at)
			error = -EINVAL;
		else
			error = parse_one(h, control + at + sizeof(*h), m, &d);
		at += align_up(max(h->size, (uint64_t)sizeof(*h)), 8u);
	}
	kfree(control);
	if (!error && d.count)
		error = rights_from_fds(d.fds, d.count, &m->rights);
	return error;
}

static ssize_t send(struct socket *s, struct message *m)
{
	return s->family->send ? s->family->send(s, m) : socket_send(s, m);
}

// ---- headers ----

struct socket_header {
	struct user_msghdr header;
	struct uptr user;           // where it lies
	struct net_address address; // to send
	struct iov_vector vector;
	struct iov_iter data;
};

// Pair with iov_import_done(&h->vector) when 0.
static int header_get(struct socket_header *h, struct uptr user, bool receive)
{
	int error;

	h->user = user;
	h->address.size = 0;
	if (get_user(&h->header, user))
		return -EFAULT;
	if (h->header.vector_count > MESSAGES_MAX)
		return -EMSGSIZE;
	error = iov_import(&h->vector, h->header.vector, h->header.vector_count, &h->data);
	if (!error && !receive && !uptr_is_null(h->header.name))
		error = net_address_from_user(&h->address, h->header.name, h->header.name_size);
	if (error)
		iov_import_done(&h->vector);
	return error;
}

static long send_header(struct socket *s, const struct socket_header *h, unsigned flags, bool nonblock)
{
	struct iov_iter data = h->data;
	struct message m = { .data = &data, .flags = flags, .nonblock = nonblock, .address = h->address };
	long result = 0;

	if (!uptr_is_null(h->header.control))
		result = parse_control(h->header.control, h->header.control_size, &m);
	if (!result)
		result = send(s, &m);
	if (m.rights)
		rights_drop(m.rights);
	return result;
}

static long send_at(struct socket *s, struct uptr message, unsigned flags, bool nonblock)
{
	struct socket_header h;
	long result = header_get(&h, message, false);

	if (result)
		return result;
	result = send_header(s, &h, flags, nonblock);
	iov_import_done(&h.vector);
	return result;
}

long sys_sendmsg(int fd, struct uptr message, unsigned flags)
{
	struct fd_borrow b;
	struct socket *s;
	long result = socket_begin(fd, &b, &s);

	if (result)
		return result;
	result = send_at(s, message, flags, b.file->flags & O_NONBLOCK);
	fd_end(b);
	return result;
}

long sys_sendmmsg(int fd, struct uptr messages, unsigned count, unsigned flags)
{
	struct fd_borrow b;
	struct socket *s;
	unsigned done = 0;
	long result = socket_begin(fd, &b, &s);

	if (result)
		return result;
	for (count = min(count, MESSAGES_MAX); done < count; done++) {
		struct uptr at = uptr_add(messages, done * sizeof(struct user_mmsghdr));

		result = send_at(s, at, flags, b.file->flags & O_NONBLOCK);
		if (result < 0)
			break;
		result = put_user((uint32_t)result, uptr_add(at, offsetof(struct user_mmsghdr, size)));
		if (result)
			break;
	}
	fd_end(b);
	return done ? (long)done : result;
}

long sys_sendto(int fd, struct uptr data, size_t size, unsigned flags, struct uptr address, int address_size)
{
	struct iov_iter iter;
	struct message m = { .data = &iter, .flags = flags };
	struct fd_borrow b;
	struct socket *s;
	long result = socket_begin(fd, &b, &s);

	if (result)
		return result;
	iov_init_user(&iter, data, min(size, (size_t)0x7ffff000));
	m.nonblock = b.file->flags & O_NONBLOCK;
	if (!uptr_is_null(address))
		result = net_address_from_user(&m.address, address, address_size);
	if (!result)
		result = send(s, &m);
	fd_end(b);
	return result;
}

// ---- receiving ----

struct control_out {
	struct uptr at;
	uint64_t left;
	bool cut;
};

static int put_control(struct control_out *c, int level, int type, const void *data, size_t size)
{
	struct user_cmsghdr h = { sizeof(h) + size, level, type };
	size_t whole = sizeof(h) + size, padded = align_up(whole, (size_t)8);

	if (c->left < sizeof(h)) {
		c->cut = true;
		return 0;
	}
	if (c->left < whole) { // what fits
		c->cut = true;
		h.size = c->left;
		size = c->left - sizeof(h);
		whole = padded = c->left;
	}
	if (put_user(h, c->at) || copy_to_user(uptr_add(c->at, sizeof(h)), data, size))
		return -EFAULT;
	padded = min(padded, (size_t)c->left);
	c->at.address += padded;
	c->left -= padded;
	return 0;
}

// Gives descriptors to the program, as many as its buffer has room for; the others are closed.
static int put_rights(struct control_out *c, struct rights *r, bool cloexec)
{
	unsigned room = c->left >= sizeof(struct user_cmsghdr)
				? (unsigned)min((c->left - sizeof(struct user_cmsghdr)) / 4, (uint64_t)r->count)
				: 0;
	int32_t fds[SCM_MAX_FDS];
	unsigned i;
	int error;

	for (i = 0; i < room; i++) {
		file_get(r->files[i]);
		fds[i] = fd_install_new(r->files[i], cloexec);
		if (fds[i] < 0)
			break;
	}
	if (i < r->count)
		c->cut = true;
	if (!i)
		return 0;
	error = put_control(c, SOL_SOCKET, SCM_RIGHTS, fds, i * 4);
	return error;
}

static int put_all_control(struct socket *s, struct message *m, struct control_out *c)
{
	int error = 0;

	// The end of a stream has credentials, too: as Linux has it, zeros.
	if (s->domain == AF_UNIX && s->flags & SOCKET_PASSCRED && (m->has_sender || s->type == SOCK_STREAM)) {
		struct ucred sender = socket_cred_shown(m->has_sender ? m->sender : (struct ucred){ 0 });

		error = put_control(c, SOL_SOCKET, SCM_CREDENTIALS, &sender, sizeof(sender));
	}
	if (!error && m->rights)
		error = put_rights(c, m->rights, m->flags & MSG_CMSG_CLOEXEC);
	if (!error && s->flags & SOCKET_TIMESTAMP) {
		int64_t now = clock_realtime_ns();
		struct __kernel_old_timeval v = { .tv_sec = now / NSEC_PER_SEC,
						  .tv_usec = now % NSEC_PER_SEC / NSEC_PER_USEC };

		error = put_control(c, SOL_SOCKET, SO_TIMESTAMP_OLD, &v, sizeof(v));
	}
	if (!error && s->family->tells_hops && s->family->tells_hops(s)) {
		int32_t hops = 64; // as the kernel's answers have
		bool v4 = s->domain == AF_INET;

		error = put_control(c, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TTL : IPV6_HOPLIMIT, &hops,
				    sizeof(hops));
	}
	return error;
}

// Receives into what `h` describes, or `instead`, and tells the program in its header.
static long receive_header(struct socket *s, const struct socket_header *from, struct iov_iter *instead, unsigned flags,
			   bool nonblock)
{
	struct iov_iter data = from->data;
	struct user_msghdr h = from->header;
	struct message m = { .data = instead ? instead : &data, .flags = flags, .nonblock = nonblock };
	struct control_out c = { h.control, h.control_size, false };
	long result = socket_receive(s, &m), error = 0;

	if (result >= 0) {
		error = put_all_control(s, &m, &c);
		h.control_size -= c.left;
		if (!uptr_is_null(h.name)) {
			if (!error && copy_to_user(h.name, m.address.bytes,
						   min((size_t)max(h.name_size, 0), (size_t)m.address.size)))
				error = -EFAULT;
			h.name_size = (int32_t)m.address.size;
		} else {
			h.name_size = 0;
		}
		h.flags = m.out_flags | (c.cut ? MSG_CTRUNC : 0) | (flags & MSG_CMSG_CLOEXEC);
		if (!error && put_user(h, from->user))
			error = -EFAULT;
	}
	if (m.rights)
		rights_drop(m.rights);
	return error ? error : result;
}

static long receive_at(struct socket *s, struct uptr message, unsigned flags, bool nonblock)
{
	struct socket_header h;
	long result = header_get(&h, message, true);

	if (result)
		return result;
	result = receive_header(s, &h, NULL, flags, nonblock);
	iov_import_done(&h.vector);
	return result;
}

long sys_recvmsg(int fd, struct uptr message, unsigned flags)
{
	struct fd_borrow b;
	struct socket *s;
	long result = socket_begin(fd, &b, &s);

	if (result)
		return result;
	result = receive_at(s, message, flags, b.file->flags & O_NONBLOCK);
	fd_end(b);
	return result;
}

long sys_recvmmsg(int fd, struct uptr messages, unsigned count, unsigned flags, struct uptr timeout)
{
	struct fd_borrow b;
	struct socket *s;
	uint64_t deadline;
	unsigned done = 0;
	long result = deadline_from_user(&deadline, timeout);

	if (!result)
		result = socket_begin(fd, &b, &s);
	if (result)
		return result;
	for (count = min(count, MESSAGES_MAX); done < count; done++) {
		struct uptr at = uptr_add(messages, done * sizeof(struct user_mmsghdr));

		result = receive_at(s, at, flags & ~MSG_WAITFORONE, b.file->flags & O_NONBLOCK);
		if (result < 0)
			break;
		result = put_user((uint32_t)result, uptr_add(at, offsetof(struct user_mmsghdr, size)));
		if (result)
			break;
		if (flags & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
		if (deadline != PARK_FOREVER && !deadline_left(deadline)) {
			done++;
			break;
		}
	}
	fd_end(b);
	return done ? (long)done : result;
}

long sys_recvfrom(int fd, struct uptr buffer, size_t size, unsigned flags, struct uptr address,
		  struct uptr address_size)
{
	struct iov_iter iter;
	struct message m = { .data = &iter, .flags = flags };
	struct fd_borrow b;
	struct socket *s;
	long result = socket_begin(fd, &b, &s), error = 0;

	if (result)
		return result;
	iov_init_user(&iter, buffer, min(size, (size_t)0x7ffff000));
	m.nonblock = b.file->flags & O_NONBLOCK;
	result = socket_receive(s, &m);
	if (m.rights)
		rights_drop(m.rights); // nowhere to put them
	if (result >= 0 && !uptr_is_null(address))
		error = net_address_to_user(&m.address, address, address_size);
	fd_end(b);
	return error ? error : result;
}

// ---- by file ----

int socket_header_get(struct socket_header **out, struct uptr user, bool receive)
{
	struct socket_header *h = kalloc(sizeof(*h));
	int error = h ? header_get(h, user, receive) : -ENOMEM;

	if (error)
		kfree(h);
	else
		*out = h;
	return error;
}

void socket_header_free(struct socket_header *h)
{
	iov_import_done(&h->vector);
	kfree(h);
}

long socket_file_send_header(struct file *f, struct socket_header *h, unsigned flags, bool nonblock)
{
	struct socket *s = socket_from_file(f);

	return s ? send_header(s, h, flags, nonblock) : -ENOTSOCK;
}

long socket_file_receive_header(struct file *f, struct socket_header *h, struct iov_iter *instead, unsigned flags,
				bool nonblock)
{
	struct socket *s = socket_from_file(f);

	return s ? receive_header(s, h, instead, flags, nonblock) : -ENOTSOCK;
}

long socket_file_send(struct file *f, struct iov_iter *data, unsigned flags, bool nonblock)
{
	struct socket *s = socket_from_file(f);
	struct message m = { .data = data, .flags = flags, .nonblock = nonblock };

	return s ? send(s, &m) : -ENOTSOCK;
}

long socket_file_receive(struct file *f, struct iov_iter *data, unsigned flags, bool nonblock)
{
	struct socket *s = socket_from_file(f);
	struct message m = { .data = data, .flags = flags, .nonblock = nonblock };
	long result = s ? socket_receive(s, &m) : -ENOTSOCK;

	if (m.rights)
		rights_drop(m.rights); // nowhere to put them
	return result;
}
