// SPDX-License-Identifier: Apache-2.0
// Path walk: from a string to a mount and a dentry. path_resolution(7), openat2(2).
//
// One loop over components. A symlink in the way does not recurse: its text becomes what is walked, the rest of the old
// text waits in walk.links. The walk holds a reference on where it is, nothing else; a cached step takes one bucket lock.
#include "internal.h"

#include <linux/mount.h>
#include <linux/openat2.h>

#include "lib/string.h"

// ---- names from the program ----

int path_name_get_empty(struct path_name *n, struct uptr user)
{
	n->string = n->buffer;
	n->length = string_from_user(n->buffer, user, sizeof(n->buffer));
	if (likely(n->length >= 0))
		return 0;
	if (n->length != -ENAMETOOLONG)
		return (int)n->length;
	char *big = kalloc(PATH_MAX_BYTES);
	if (!big)
		return -ENOMEM;
	n->length = string_from_user(big, user, PATH_MAX_BYTES);
	if (n->length < 0) {
		kfree(big);
		return (int)n->length;
	}
	n->string = big;
	return 0;
}

int path_name_get(struct path_name *n, struct uptr user)
{
	int error = path_name_get_empty(n, user);
	if (error)
		return error;
	if (unlikely(!n->string[0]))
		return -ENOENT; // "" is in n->buffer: nothing to free
	return 0;
}

char *path_string_get(struct uptr user)
{
	char *s = kalloc(PATH_MAX_BYTES);
	if (!s)
		return err_ptr(-ENOMEM);
	long length = string_from_user(s, user, PATH_MAX_BYTES);
	if (length >= 0)
		return s;
	kfree(s);
	return err_ptr(length);
}

void path_string_free(char *s) { kfree(s); }

void path_get(const struct path *p)
{
	if (p->mount)
		mount_get(p->mount);
	dentry_get(p->dentry);
}

void path_put(const struct path *p)
{
	dentry_put(p->dentry);
	mount_put(p->mount);
}

// ---- start and end ----

static void need_root(struct walk *w)
{
	if (w->rooted)
		return;
	fs_root_get(&w->root);
	w->rooted = true;
}

static int start_at_descriptor(struct walk *w, int at)
{
	struct file *f = fd_get_any(at);
	if (!f)
		return -EBADF;
	int error = 0;
	if (w->name[0] && !inode_is_dir(f->inode)) {
		error = -ENOTDIR;
	} else {
		w->path = f->path;
		path_get(&w->path);
	}
	file_put(f);
	return error;
}

int walk_start(struct walk *w, int at, const char *name, unsigned flags, unsigned resolve)
{
	w->path = (struct path){ NULL, NULL };
	w->name = name;
	w->flags = flags;
	w->resolve = resolve;
	w->open_flags = NO_OPEN;
	w->again = false;
	w->rooted = w->trailing_slash = false;
	w->last_type = LAST_ROOT;
	w->link_count = w->pending = 0;
	w->links = w->first;
	if (!name[0] && !(flags & LOOKUP_EMPTY))
		return -ENOENT;
	bool absolute = name[0] == '/';
	if (likely(absolute && !resolve)) {
		fs_root_get(&w->path);
		return 0;
	}
	if (absolute && (resolve & RESOLVE_BENEATH))
		return -EXDEV;
	int error = 0;
	if (absolute && !(resolve & RESOLVE_IN_ROOT))
		fs_root_get(&w->path);
	else if (at == AT_FDCWD)
		fs_cwd_get(&w->path);
	else
		error = start_at_descriptor(w, at);
	if (!error && (resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT))) {
		w->root = w->path;
		path_get(&w->root);
		w->rooted = true;
	}
	return error;
}

void walk_end(struct walk *w)
{
	if (w->path.dentry)
		path_put(&w->path);
	if (w->rooted)
		path_put(&w->root);
	for (unsigned k = 0; k < w->link_count; k++) {
		kfree(w->links[k].buffer);
		dentry_put(w->links[k].held);
	}
	if (w->links != w->first)
		kfree(w->links);
	w->path.dentry = NULL;
	w->path.mount = NULL;
	w->rooted = false;
	w->link_count = 0;
}

// ---- steps ----

static inline int may_walk(struct inode *i)
{
	if (likely((i->mode & 0111) == 0111 && !i->ops->permission))
		return 0;
	return inode_permission(i, MAY_EXEC);
}

static int step_up(struct walk *w)
{
	need_root(w);
	struct path *p = &w->path;
	for (;;) {
		if (p->dentry == w->root.dentry && p->mount == w->root.mount)
			return w->resolve & RESOLVE_BENEATH ? -EXDEV : 0;
		struct dentry *d = p->dentry;
		if (!p->mount || d != p->mount->root) {
			spin_lock(&d->lock);
			struct dentry *parent = d->parent;
			dentry_get(parent);
			spin_unlock(&d->lock);
			p->dentry = parent;
			dentry_put(d);
			break;
		}
		if (!mount_cross_up(p))
			return 0;
		if (w->resolve & RESOLVE_NO_XDEV)
			return -EXDEV;
	}
	mount_cross_down(p);
	return 0;
}

static int make_link_room(struct walk *w)
{
	if (w->link_count >= LINKS_MAX)
		return -ELOOP;
	if (w->links != w->first || w->link_count < array_count(w->first))
		return 0;
	struct walk_link *more = kalloc_array(LINKS_MAX, sizeof(*more));
	if (!more)
		return -ENOMEM;
	memcpy(more, w->first, sizeof(w->first));
	w->links = more;
	return 0;
}

// The text of a symlink, into l. Sleeps.
static const char *link_text(struct dentry *d, struct walk_link *l)
{
	struct inode *i = d->inode;
	const char *text = __atomic_load_n(&i->link, __ATOMIC_ACQUIRE);
	if (text) {
		dentry_get(d);
		l->held = d;
		return text;
	}
	if (!i->ops->readlink)
		return err_ptr(-EINVAL);
	l->buffer = kalloc(PATH_MAX_BYTES);
	if (!l->buffer)
		return err_ptr(-ENOMEM);
	ssize_t length = i->ops->readlink(i, d, l->buffer, PATH_MAX_BYTES);
	if (length < 0)
		return err_ptr(length);
	l->buffer[min((uint64_t)length, (uint64_t)PATH_MAX_BYTES - 1)] = 0;
	return l->buffer;
}

static int jump(struct walk *w, struct dentry *d)
{
	struct path target;
	int error = d->inode->ops->follow(d->inode, d, &target);
	if (error)
		return error;
	if (w->resolve & (RESOLVE_NO_MAGICLINKS | RESOLVE_BENEATH | RESOLVE_IN_ROOT | RESOLVE_NO_XDEV)) {
		path_put(&target);
		return w->resolve & RESOLVE_NO_MAGICLINKS ? -ELOOP : -EXDEV;
	}
	path_put(&w->path);
	w->path = target;
	return 0;
}

// Turns to the text of symlink `d`, which lies in w->path; `rest` comes after it, NULL for none. w->name is what to walk.
static int follow_link(struct walk *w, struct dentry *d, const char *rest)
{
	if (w->resolve & RESOLVE_NO_SYMLINKS || (w->path.mount && unlikely(w->path.mount->flags & MS_NOSYMFOLLOW)))
		return -ELOOP;
	int error = make_link_room(w);
	if (error)
		return error;
	struct walk_link *l = &w->links[w->link_count++];
	*l = (struct walk_link){ NULL };
	if (d->inode->ops->follow) {
		error = jump(w, d);
		if (!error) {
			w->name = rest ? rest : "";
			w->last_type = LAST_ROOT;
			return 0;
		}
		if (error != -ENOSYS)
			return error;
		error = 0;
	}
	const char *text = link_text(d, l);
	if (is_err(text))
		return (int)ptr_err(text);
	if (!text[0])
		return -ENOENT;
	l->rest = rest;
	w->pending += rest != NULL;
	w->name = text;
	if (text[0] != '/')
		return 0;
	if (w->resolve & RESOLVE_BENEATH)
		return -EXDEV;
	need_root(w);
	path_get(&w->root);
	struct path old = w->path;
	w->path = w->root;
	if ((w->resolve & RESOLVE_NO_XDEV) && old.mount != w->path.mount)
		error = -EXDEV;
	path_put(&old);
	return error;
}

int walk_follow_last(struct walk *w, struct dentry *link)
{
	int error = follow_link(w, link, NULL);
	return error;
}

static const char *resume(struct walk *w)
{
	for (unsigned k = w->link_count; k--;) {
		const char *rest = w->links[k].rest;
		if (!rest)
			continue;
		w->links[k].rest = NULL;
		w->pending--;
		return rest;
	}
	return "";
}

// Steps down to `d`, whose reference is consumed.
static inline int step_down(struct walk *w, struct dentry *d)
{
	struct dentry *old = w->path.dentry;
	w->path.dentry = d;
	dentry_put(old);
	if (unlikely(d->flags & DENTRY_MOUNTPOINT) && mount_cross_down(&w->path) && (w->resolve & RESOLVE_NO_XDEV))
		return -EXDEV;
	return 0;
}

// The last component, looked up and prepared for open(2) under the directory's lock, so that no rename here overtakes it.
static struct dentry *find_again(struct walk *w, const char *name, size_t length, uint32_t hash)
{
	struct dentry *parent = w->path.dentry;
	mutex_lock(&parent->inode->lock);
	dentry_forget_file(parent, name, length, hash);
	struct dentry *d = dentry_lookup_for(parent, name, length, w->open_flags);
	mutex_unlock(&parent->inode->lock);
	return d;
}

// Where the walk goes on after the text it is in.
static const char *pending_rest(const struct walk *w)
{
	for (unsigned k = w->link_count; w->pending && k--;)
		if (w->links[k].rest)
			return w->links[k].rest;
	return NULL;
}

// Asks the file system for a name. What comes after it may be asked for along with it.
static struct dentry *find_slow(struct walk *w, const char *name, size_t length, bool last)
{
	if (last)
		return dentry_lookup_slow(w->path.dentry, name, length, w->open_flags);
	current->walk_rest[0] = name + length;
	current->walk_rest[1] = pending_rest(w);
	current->walk_leaves_last = w->pending < 2 && (w->open_flags != NO_OPEN || w->flags & LOOKUP_PARENT);
	struct dentry *d = dentry_lookup_slow(w->path.dentry, name, length, NO_OPEN);
	current->walk_rest[0] = current->walk_rest[1] = NULL;
	return d;
}

// The child, with a reference, positive; or an error.
static inline struct dentry *step_find(struct walk *w, const char *name, size_t length, uint32_t hash, bool last)
{
	struct dentry *parent = w->path.dentry;
	struct dentry *d = unlikely(last && w->again) ? NULL : dentry_find(parent, name, length, hash);
	if (unlikely(last && w->again)) {
		d = find_again(w, name, length, hash);
	} else if (unlikely(!d)) {
		d = find_slow(w, name, length, last);
	} else if (dentry_needs_revalidate(d) && unlikely(dentry_revalidate(d) <= 0)) {
		dentry_put(d);
		d = dentry_lookup(parent, name, length);
	}
	if (unlikely(is_err(d)))
		return d;
	if (unlikely(!__atomic_load_n(&d->inode, __ATOMIC_ACQUIRE))) {
		dentry_put(d);
		return err_ptr(-ENOENT);
	}
	return d;
}

static enum last_type dots(const char *name, size_t length)
{
	if (name[0] != '.' || length > 2)
		return LAST_NORMAL;
	if (length == 1)
		return LAST_DOT;
	return name[1] == '.' ? LAST_DOTDOT : LAST_NORMAL;
}

static int finish(struct walk *w)
{
	if ((w->trailing_slash || (w->flags & LOOKUP_DIRECTORY)) && !inode_is_dir(w->path.dentry->inode))
		return -ENOTDIR;
	return 0;
}

int walk_run(struct walk *w)
{
	const char *s = w->name;
	for (;;) {
		while (*s == '/')
			s++;
		if (!*s) {
			if (!w->pending)
				break;
			s = resume(w);
			continue;
		}
		struct inode *dir = w->path.dentry->inode;
		if (unlikely(!inode_is_dir(dir)))
			return -ENOTDIR;
		int error = may_walk(dir);
		if (unlikely(error))
			return error;
		const char *name = s;
		uint64_t h = dentry_hash_key;
		for (; *s && *s != '/'; s++)
			h = NAME_HASH_STEP(h, *s);
		size_t length = (size_t)(s - name);
		const char *rest = s;
		while (*rest == '/')
			rest++;
		bool last = !*rest && !w->pending;
		if (last && *s == '/')
			w->trailing_slash = true;
		enum last_type type = dots(name, length);
		if (last && (w->flags & LOOKUP_PARENT)) {
			w->last_type = type;
			w->last = name;
			w->last_length = (uint32_t)length;
			w->last_hash = name_hash_end(h);
			w->name = rest;
			return length > NAME_MAX_BYTES ? -ENAMETOOLONG : 0;
		}
		if (unlikely(type != LAST_NORMAL)) {
			error = type == LAST_DOTDOT ? step_up(w) : 0;
			if (error)
				return error;
			continue;
		}
		struct dentry *d = step_find(w, name, length, name_hash_end(h), last);
		if (unlikely(is_err(d)))
			return (int)ptr_err(d);
		if (inode_is_link(d->inode) && (!last || w->trailing_slash || (w->flags & LOOKUP_FOLLOW))) {
			error = follow_link(w, d, *rest ? rest : NULL);
			dentry_put(d);
			if (error)
				return error;
			s = w->name;
			continue;
		}
		error = step_down(w, d);
		if (unlikely(error))
			return error;
	}
	w->last_type = LAST_ROOT;
	return finish(w);
}

// ---- the whole walk ----

static int path_lookup_once(int at, const char *name, unsigned flags, struct path *out)
{
	struct walk w;
	int error = walk_start(&w, at, name, flags, 0);
	if (!error)
		error = walk_run(&w);
	if (!error) {
		*out = w.path;
		w.path.dentry = NULL;
	}
	walk_end(&w);
	return error;
}

int path_lookup(int at, const char *name, unsigned flags, struct path *out)
{
	int error = path_lookup_once(at, name, flags, out);
	// The file system found that a name on the way has been given to something else, and looks again this time.
	return unlikely(error == -ESTALE) ? path_lookup_once(at, name, flags, out) : error;
}

int path_lookup_name(int at, const struct path_name *name, unsigned flags, struct path *out)
{
	return path_lookup(at, name->string, flags, out);
}

int path_lookup_user(int at, struct uptr name, unsigned flags, struct path *out)
{
	struct path_name n;
	int error = flags & LOOKUP_EMPTY ? path_name_get_empty(&n, name) : path_name_get(&n, name);
	if (error)
		return error;
	error = path_lookup(at, n.string, flags, out);
	path_name_put(&n);
	return error;
}

// ---- and back: from a path to text ----

struct printer {
	char *start, *at;
	bool full;
};

static void prepend(struct printer *p, const char *text, size_t length)
{
	if ((size_t)(p->at - p->start) < length) {
		p->full = true;
		return;
	}
	p->at -= length;
	memcpy(p->at, text, length);
}

// Locks of mounts and of the tree are held: no name and no parent changes on the way up.
// False: `root` is not above.
static bool print_up(struct printer *p, struct mount *m, struct dentry *d, const struct path *root)
{
	bool any = false, reached;
	while (!(reached = d == root->dentry && m == root->mount) && !p->full) {
		if (m && d == m->root) {
			if (!m->parent)
				break;
			d = m->mountpoint;
			m = m->parent;
			continue;
		}
		if (d->parent == d)
			break;
		prepend(p, d->name, d->name_length);
		prepend(p, "/", 1);
		any = true;
		d = d->parent;
	}
	if (!any)
		prepend(p, "/", 1);
	return reached;
}

static char *print(const struct path *root, const struct path *path, char *buffer, size_t size, bool *reached)
{
	struct printer p = { buffer, buffer + size - 1, false };
	struct dentry *d = path->dentry;
	*p.at = 0;
	*reached = true;
	spin_lock(&mount_hash_lock);
	spin_lock(&dentry_tree_lock);
	bool is_root = d->parent == d;
	if ((d->flags & DENTRY_DISCONNECTED) && !is_root && path->mount)
		prepend(&p, " (deleted)", 10);
	if (is_root && !path->mount)
		prepend(&p, d->name, d->name_length);
	else
		*reached = print_up(&p, path->mount, d, root);
	spin_unlock(&dentry_tree_lock);
	spin_unlock(&mount_hash_lock);
	return p.full ? err_ptr(-ENAMETOOLONG) : p.at;
}

char *path_print(const struct path *path, char *buffer, size_t size)
{
	struct path root;
	bool reached;
	fs_root_get(&root);
	char *text = print(&root, path, buffer, size, &reached);
	path_put(&root);
	return text;
}

char *path_print_from(const struct path *root, const struct path *path, char *buffer, size_t size)
{
	bool reached;
	char *text = print(root, path, buffer, size, &reached);
	return reached ? text : err_ptr(-ENOENT);
}
