// SPDX-License-Identifier: Apache-2.0
// AF_UNIX names: paths in the file system, and abstract ones (a leading NUL byte), which exist only here, each in one network
// namespace. unix(7).
//
// names_lock guards the abstract table and every inode->socket; a look-up takes its reference under it. A bound socket holds
// its path, so the inode stays while it names the socket.

#include "message.h"

#include "kernel/random.h"
#include "kernel/uaccess.h"
#include "lib/fmt.h"
#include "lib/hash.h"

#define NAME_OFFSET offsetof(struct sockaddr_un, sun_path)
#define BUCKETS     64u

static struct spinlock names_lock = SPINLOCK_INIT;
static struct list abstract[BUCKETS]; // struct socket.name_node; a zeroed head is an empty one not used yet

static int unix_create(struct socket *s, int protocol)
{
	if (protocol && protocol != AF_UNIX)
		return -EPROTONOSUPPORT;
	if (s->type == SOCK_RAW)
		s->type = SOCK_DGRAM;
	return s->type == SOCK_STREAM || s->type == SOCK_DGRAM || s->type == SOCK_SEQPACKET ? 0 : -ESOCKTNOSUPPORT;
}

// ---- abstract names ----

static bool is_abstract(const struct net_address *a) { return a->size > NAME_OFFSET && !a->un.sun_path[0]; }

static struct list *bucket_of(const struct net_address *a)
{
	struct list *l = &abstract[hash_bytes(0, a->bytes, a->size) % BUCKETS];

	if (!l->next)
		list_init(l);
	return l;
}

static struct socket *find_abstract(const struct net_namespace *net, const struct net_address *a, int type)
{
	struct socket *s;

	list_for_each (s, bucket_of(a), name_node)
		if (s->net == net && s->name.size == a->size && !memcmp(s->name.bytes, a->bytes, a->size) &&
		    (type < 0 || s->type == type))
			return s;
	return NULL;
}

static int bind_abstract(struct socket *s, const struct net_address *a)
{
	int error = 0;

	spin_lock(&names_lock);
	if (s->name.size) {
		error = -EINVAL;
	} else if (find_abstract(s->net, a, s->type)) {
		error = -EADDRINUSE;
	} else {
		s->name = *a;
		s->named = true;
		list_add_tail(bucket_of(a), &s->name_node);
	}
	spin_unlock(&names_lock);
	return error;
}

// Five hex digits, as Linux makes them.
static int unix_autobind(struct socket *s)
{
	struct net_address a = { .un.sun_family = AF_UNIX };
	int error;
	unsigned tries;

	if (s->name.size)
		return 0;
	for (tries = 0; tries < 1u << 20; tries++) {
		fmt_print(a.un.sun_path + 1, 6, "%05x", (unsigned)random_u64() & 0xfffff);
		a.size = NAME_OFFSET + 6;
		error = bind_abstract(s, &a);
		if (error != -EADDRINUSE)
			return error;
	}
	return -ENOSPC;
}

// ---- paths ----

// The address' path, NUL-terminated: sun_path need not be.
static void path_of(const struct net_address *a, char path[sizeof(a->un.sun_path) + 1])
{
	size_t size = min(a->size - NAME_OFFSET, sizeof(a->un.sun_path));

	memcpy(path, a->un.sun_path, size);
	path[size] = 0;
}

static int bind_path(struct socket *s, struct net_address a)
{
	char path[sizeof(a.un.sun_path) + 1];
	struct path p;
	int error;

	if (s->name.size)
		return -EINVAL;
	path_of(&a, path);
	error = inode_make_socket(path, 0777, &p);
	if (error)
		return error;
	a.size = (unsigned)(NAME_OFFSET + strlen(path) + 1);
	spin_lock(&names_lock);
	if (s->name.size) {
		error = -EINVAL;
	} else {
		s->name = a;
		s->named = true;
		s->bound_path = p;
		p.dentry->inode->socket = s;
	}
	spin_unlock(&names_lock);
	if (error)
		path_put(&p);
	return error;
}

static int check(const struct net_address *a)
{
	return a->size <= NAME_OFFSET || a->size > sizeof(struct sockaddr_un) || a->family != AF_UNIX ? -EINVAL : 0;
}

static int unix_bind(struct socket *s, const struct net_address *a)
{
	if (a->size == NAME_OFFSET && a->family == AF_UNIX)
		return unix_autobind(s);
	if (check(a))
		return -EINVAL;
	return is_abstract(a) ? bind_abstract(s, a) : bind_path(s, *a);
}

static struct socket *find_path(struct socket *s, const struct net_address *a)
{
	char path[sizeof(a->un.sun_path) + 1];
	struct socket *found;
	struct path p;
	int error;

	path_of(a, path);
	error = path_lookup(AT_FDCWD, path, LOOKUP_FOLLOW, &p);
	if (error)
		return err_ptr(error);
	error = inode_permission(p.dentry->inode, MAY_WRITE);
	if (!error && (p.dentry->inode->mode & S_IFMT) != S_IFSOCK)
		error = -ECONNREFUSED;
	spin_lock(&names_lock);
	found = error ? NULL : p.dentry->inode->socket;
	if (found)
		socket_get(found);
	spin_unlock(&names_lock);
	path_put(&p);
	if (error || !found)
		return err_ptr(error ? error : -ECONNREFUSED);
	return found;
}

static struct socket *unix_find(struct socket *s, const struct net_address *a)
{
	struct socket *found;
	int error = check(a);

	if (error)
		return err_ptr(error);
	if (is_abstract(a)) {
		spin_lock(&names_lock);
		found = find_abstract(s->net, a, s->type);
		if (found)
			socket_get(found);
		spin_unlock(&names_lock);
	} else {
		found = find_path(s, a);
	}
	if (!found)
		return err_ptr(-ECONNREFUSED);
	if (!is_err(found) && found->type != s->type) {
		socket_put(found);
		return err_ptr(-EPROTOTYPE);
	}
	return found;
}

static int unix_get_name(struct socket *s, bool peer, struct net_address *out)
{
	struct socket *other = NULL;

	if (peer) {
		other = socket_peer_get(s);
		if (!other && !s->peer_gone)
			return -ENOTCONN;
	}
	*out = !peer ? s->name : other ? other->name : s->peer_name;
	if (other)
		socket_put(other);
	if (!out->size) {
		out->family = AF_UNIX;
		out->size = sizeof(out->family);
	}
	return 0;
}

static void unix_unbind(struct socket *s)
{
	struct path p = { 0 };

	spin_lock(&names_lock);
	if (s->named) {
		if (s->bound_path.dentry) {
			p = s->bound_path;
			p.dentry->inode->socket = NULL;
			s->bound_path = (struct path){ 0 };
		} else {
			list_remove(&s->name_node);
		}
		s->named = false;
	}
	spin_unlock(&names_lock);
	if (p.dentry)
		path_put(&p);
}

static int unix_autobind_for_cred(struct socket *s) { return s->flags & SOCKET_PASSCRED ? unix_autobind(s) : 0; }

const struct family unix_family = {
	.domain = AF_UNIX,
	.name = "UNIX",
	.create = unix_create,
	.bind = unix_bind,
	.autobind = unix_autobind_for_cred,
	.find = unix_find,
	.get_name = unix_get_name,
	.unbind = unix_unbind,
};
