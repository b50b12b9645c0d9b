// SPDX-License-Identifier: Apache-2.0
// Trees of mounts: copied, attached, taken off, and how that spreads: mount_namespaces(7), "Shared subtrees".
//
// Shared mounts with the same content form a ring of peers; each may have slaves, which are told and tell nobody. Whoever hears of a
// change is found breadth first with a queue of its own, since slaves may have slaves to any depth.
#include "mount.h"

#include <linux/mount.h>

struct mount *mount_next(struct mount *m, const struct mount *top)
{
	if (!list_empty(&m->children))
		return list_first(&m->children, struct mount, child_node);
	while (m != top) {
		if (m->child_node.next != &m->parent->children)
			return list_first(&m->child_node, struct mount, child_node);
		m = m->parent;
	}
	return NULL;
}

// ---- peers and slaves ----

static struct mount *next_peer(const struct mount *m) { return list_first(&m->peer_node, struct mount, peer_node); }

static void make_shared(struct mount *m)
{
	static int last_group;
	if (!m->group)
		m->group = ++last_group;
}

static void set_master(struct mount *m, struct mount *master)
{
	list_remove(&m->slave_node);
	m->master = master;
	if (master)
		list_add_tail(&master->slaves, &m->slave_node);
}

// Leaves its peers and becomes a slave of one of them, of its own master, or nobody's. Its slaves get the same master.
static void make_slave(struct mount *m)
{
	struct mount *peer = next_peer(m), *master = peer == m ? m->master : peer, *s, *next;
	for (; peer != m; peer = next_peer(peer))
		if (peer->root == m->root) {
			master = peer;
			break;
		}
	list_remove(&m->peer_node);
	m->group = 0;
	list_for_each_safe (s, next, &m->slaves, slave_node)
		set_master(s, master);
	set_master(m, master);
}

void mount_set_propagation(struct mount *m, uint32_t type)
{
	if (type == MS_SHARED) {
		make_shared(m);
		m->unbindable = false;
		return;
	}
	make_slave(m);
	if (type != MS_SLAVE)
		set_master(m, NULL);
	m->unbindable = type == MS_UNBINDABLE;
}

// ---- who hears of changes on a mount ----

static uint64_t last_mark;

static void listen(struct mount *m, struct mount *from, bool as_peer, struct list *out)
{
	if (m->heard_mark == last_mark)
		return;
	m->heard_mark = last_mark;
	m->heard_from = from;
	m->heard_as_peer = as_peer;
	list_add_tail(out, &m->heard_node);
}

static void peers_listen(struct mount *from, struct list *out)
{
	for (struct mount *p = next_peer(from); p != from; p = next_peer(p))
		listen(p, from, true, out);
}

static void slaves_listen(struct mount *from, struct list *out)
{
	struct mount *p = from, *s;
	do {
		list_for_each (s, &p->slaves, slave_node) {
			if (s->heard_mark == last_mark)
				continue;
			listen(s, from, false, out);
			peers_listen(s, out);
		}
		p = next_peer(p);
	} while (p != from);
}

// All of them, in an order in which each comes after the one it hears from (->heard_from), by ->heard_node.
static void collect_listeners(struct mount *m, struct list *out)
{
	struct mount *from;
	m->heard_mark = ++last_mark;
	peers_listen(m, out);
	slaves_listen(m, out);
	list_for_each (from, out, heard_node)
		if (!from->heard_as_peer)
			slaves_listen(from, out);
}

static struct mount *next_listener(struct list *listeners)
{
	if (list_empty(listeners))
		return NULL;
	struct mount *m = list_first(listeners, struct mount, heard_node);
	list_remove(&m->heard_node);
	return m;
}

// ---- links ----

// Keeps the references of `at`.
static void link_at(struct mount *m, const struct path *at)
{
	spin_lock(&mount_hash_lock);
	m->parent = at->mount;
	m->mountpoint = at->dentry;
	list_add(mount_bucket(at->mount, at->dentry), &m->hash_node);
	list_add_tail(&at->mount->children, &m->child_node);
	spin_unlock(&mount_hash_lock);
	__atomic_or_fetch(&at->dentry->flags, DENTRY_MOUNTPOINT, __ATOMIC_RELEASE);
}

// *at: the references it kept. DENTRY_MOUNTPOINT stays: another mount may use the dentry, and it is only a hint.
static void unlink_from(struct mount *m, struct path *at)
{
	spin_lock(&mount_hash_lock);
	*at = (struct path){ m->parent, m->mountpoint };
	list_remove(&m->hash_node);
	list_remove(&m->child_node);
	m->parent = NULL;
	m->mountpoint = NULL;
	spin_unlock(&mount_hash_lock);
}

void mount_move(struct mount *m, const struct path *to, struct path *from)
{
	unlink_from(m, from);
	if (to)
		link_at(m, to);
}

void mount_tree_enter(struct mount *top, struct mnt_namespace *space)
{
	for (struct mount *m = top; m; m = mount_next(m, top)) {
		m->space = space;
		space->count++;
	}
}

void mount_tree_leave(struct mount *top)
{
	for (struct mount *m = top; m; m = mount_next(m, top))
		m->space->count--;
}

void mount_lock_tree(struct mount *top)
{
	for (struct mount *m = top; m; m = mount_next(m, top)) {
		m->locked_flags = m->flags & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC);
		m->atime_locked = true;
		m->locked = m != top; // taken off, it would show what is below
	}
}

// ---- copies ----

static void copy_propagation(struct mount *c, struct mount *of, unsigned flags)
{
	if (flags & MOUNT_COPY_SLAVE || (flags & MOUNT_COPY_DEMOTED && of->group)) {
		set_master(c, of);
	} else {
		if (of->group) {
			c->group = of->group;
			list_add(&of->peer_node, &c->peer_node);
		}
		if (of->master)
			set_master(c, of->master);
	}
	if (flags & MOUNT_COPY_SHARED)
		make_shared(c);
}

void mount_join(struct mount *m, struct mount *of) { copy_propagation(m, of, 0); }

static struct mount *copy_one(struct mount *of, struct dentry *root, unsigned flags)
{
	refcount_get(&of->super->refs);
	struct mount *c = mount_create(of->super, root, of->flags, of->source);
	if (!c) {
		super_put(of->super);
		return NULL;
	}
	c->locked = of->locked;
	c->locked_flags = of->locked_flags;
	c->atime_locked = of->atime_locked;
	c->unbindable = flags & MOUNT_COPY_UNBINDABLE && of->unbindable;
	copy_propagation(c, of, flags);
	return c;
}

static const struct namespace *mount_namespace_of(const struct dentry *d)
{
	const struct namespace *n = namespace_of_inode(d->inode);
	return n && n->type == &mnt_namespace_type ? n : NULL;
}

bool mount_would_loop(const struct dentry *root)
{
	const struct namespace *n = mount_namespace_of(root);
	return n && n->ino <= mnt_namespace_mine()->common.ino; // numbers ascend
}

static bool is_to_copy(const struct mount *m, const struct mount *top, const struct dentry *root, unsigned flags)
{
	if (!m->parent->copy || (m->unbindable && !(flags & MOUNT_COPY_UNBINDABLE)))
		return false;
	if (!(flags & MOUNT_COPY_NAMESPACES) && mount_namespace_of(m->root))
		return false;
	return m->parent != top || dentry_is_below(m->mountpoint, (struct dentry *)root);
}

struct mount *mount_copy_tree(struct mount *top, struct dentry *root, unsigned flags)
{
	if (!(flags & MOUNT_COPY_NAMESPACES) && mount_namespace_of(root))
		return err_ptr(-EINVAL);
	top->copy = copy_one(top, root, flags);
	if (!top->copy)
		return err_ptr(-ENOMEM);
	top->copy->locked = false;
	struct mount *all = top->copy;
	for (struct mount *m = top; flags & MOUNT_COPY_ALL && (m = mount_next(m, top));) {
		m->copy = NULL;
		if (!is_to_copy(m, top, root, flags))
			continue;
		struct path at = { m->parent->copy, m->mountpoint };
		m->copy = copy_one(m, m->root, flags);
		if (!m->copy) {
			struct list gone = LIST_INIT(gone);
			mount_detach_tree(all, false, &gone);
			mount_release(&gone);
			return err_ptr(-ENOMEM);
		}
		path_get(&at);
		link_at(m->copy, &at);
	}
	return all;
}

// ---- attaching ----

static unsigned tree_size(struct mount *top)
{
	unsigned n = 0;
	for (struct mount *m = top; m; m = mount_next(m, top))
		n++;
	return n;
}

static bool has_room(const struct mnt_namespace *space, unsigned count)
{
	return !space || (count <= MOUNTS_MAX && space->count <= MOUNTS_MAX - count);
}

// One copy for a mount that hears of the change; ->spread is what its own listeners copy. *out: NULL where the place is out of its sight.
static int spread_to(struct mount *m, struct mount *from, struct dentry *where, unsigned count, struct mount **out)
{
	struct mount *source = from->spread;
	*out = NULL;
	m->spread = source;
	if (!dentry_is_below(where, m->root) || (m->space && m->space->anonymous))
		return 0;
	if (!has_room(m->space, count))
		return -ENOSPC;
	unsigned flags = m->heard_as_peer ? 0 : MOUNT_COPY_SLAVE | (m->group ? MOUNT_COPY_SHARED : 0);
	struct mount *c = mount_copy_tree(source, source->root, MOUNT_COPY_ALL | MOUNT_COPY_UNBINDABLE | flags);
	if (is_err(c))
		return (int)ptr_err(c);
	*out = m->spread = c;
	return 0;
}

// Copies for all who hear of a mount on `at`, in the list by ->heard_node; each has its place in ->place.
static int spread(struct mount *top, const struct path *at, struct list *copies)
{
	struct list listeners = LIST_INIT(listeners);
	struct mount *m;
	unsigned count = tree_size(top);
	int error = 0;
	for (m = top; m; m = mount_next(m, top))
		make_shared(m);
	at->mount->spread = top;
	collect_listeners(at->mount, &listeners);
	while ((m = next_listener(&listeners))) {
		struct mount *c = NULL;
		if (!error)
			error = spread_to(m, m->heard_from, at->dentry, count, &c);
		if (!c)
			continue;
		if (m->space && at->mount->space && m->space->common.owner != at->mount->space->common.owner)
			mount_lock_tree(c);
		c->place = m;
		list_add_tail(copies, &c->heard_node);
	}
	return error;
}

int mount_attach_tree(struct mount *top, const struct path *at)
{
	struct list copies = LIST_INIT(copies), gone = LIST_INIT(gone);
	struct mount *c;
	if (inode_is_dir(top->root->inode) != inode_is_dir(at->dentry->inode))
		return -ENOTDIR;
	if (!has_room(at->mount->space, tree_size(top)))
		return -ENOSPC;
	int error = at->mount->group ? spread(top, at, &copies) : 0;
	while ((c = next_listener(&copies))) {
		struct path place = { c->place, at->dentry };
		if (error) {
			mount_detach_tree(c, false, &gone);
			continue;
		}
		path_get(&place);
		link_at(c, &place);
		if (place.mount->space)
			mount_tree_enter(c, place.mount->space);
	}
	mount_release(&gone);
	if (error)
		return error;
	link_at(top, at);
	if (at->mount->space)
		mount_tree_enter(top, at->mount->space);
	return 0;
}

// ---- taking off ----

static void detach_one(struct mount *m, bool stays, struct list *gone)
{
	mount_set_propagation(m, MS_PRIVATE);
	if (m->space)
		m->space->count--;
	m->space = NULL;
	if (stays) { // it may not be lifted off its parent, which keeps it from now on: mount_put()
		mount_put(m->parent);
		return;
	}
	m->off = (struct path){ NULL, NULL };
	if (m->parent)
		unlink_from(m, &m->off);
	list_add_tail(gone, &m->gone_node);
}

// The copy of `m` that lies where a change on its parent is heard of.
static struct mount *copy_at(const struct mount *listener, const struct mount *m)
{
	struct mount *c = mount_find(listener, m->mountpoint);
	return c && !c->locked && !c->going ? c : NULL;
}

static void detach_copies(struct mount *m, struct list *gone)
{
	struct list listeners = LIST_INIT(listeners);
	struct mount *l;
	collect_listeners(m->parent, &listeners);
	while ((l = next_listener(&listeners))) {
		struct mount *c = copy_at(l, m);
		if (c && list_empty(&c->children))
			detach_one(c, false, gone);
	}
}

bool mount_copies_busy(struct mount *m)
{
	struct list listeners = LIST_INIT(listeners);
	struct mount *l;
	bool busy = false;
	collect_listeners(m->parent, &listeners);
	while ((l = next_listener(&listeners))) {
		struct mount *c = copy_at(l, m);
		busy |= c && list_empty(&c->children) && refcount_read(&c->refs) > 1;
	}
	return busy;
}

void mount_detach_tree(struct mount *top, bool spread, struct list *gone)
{
	struct list tree = LIST_INIT(tree);
	struct mount *m;
	for (m = top; m; m = mount_next(m, top)) {
		m->going = true;
		list_add(&tree, &m->gone_node); // children first
	}
	list_for_each (m, &tree, gone_node)
		if (spread && m->parent)
			detach_copies(m, gone);
	while (!list_empty(&tree)) {
		m = list_first(&tree, struct mount, gone_node);
		list_remove(&m->gone_node);
		detach_one(m, m != top && m->locked, gone);
	}
}

void mount_release(struct list *gone)
{
	while (!list_empty(gone)) {
		struct mount *m = list_first(gone, struct mount, gone_node);
		list_remove(&m->gone_node);
		if (m->off.dentry)
			path_put(&m->off);
		mount_put(m);
	}
}
