// SPDX-License-Identifier: Apache-2.0
// tmpfs: mounting, limits, inodes. tmpfs(5).
#include "tmpfs.h"

#include <linux/fcntl.h>
#include <linux/magic.h>

#include "kernel/cred.h"
#include "kernel/init.h"
#include "kernel/task.h"
#include "lib/fmt.h"
#include "lib/string.h"

static struct slab_cache *cache;
static struct super *internal; // of memfds: on no mount

// ---- options ----

struct options {
	uint64_t pages, inodes;
	mode_t mode;
	uid_t uid;
	gid_t gid;
};

static bool parse_size(const char *value, uint64_t whole, uint64_t *out)
{
	char digits[24];
	size_t length = string_copy(digits, value, sizeof(digits));
	if (!length || length >= sizeof(digits))
		return false;
	static const char suffixes[] = "kmgt";
	char last = digits[length - 1] | 0x20;
	unsigned shift = 0;
	if (digits[length - 1] == '%') {
		digits[length - 1] = 0;
		if (!string_to_u64(digits, 10, out) || *out > 100)
			return false;
		*out = whole / 100 * *out;
		return true;
	}
	if (strchr(suffixes, last)) {
		shift = 10 * (unsigned)(strchr(suffixes, last) - suffixes + 1);
		digits[length - 1] = 0;
	}
	if (!string_to_u64(digits, 10, out))
		return false;
	*out <<= shift;
	return true;
}

static bool parse_one(const char *key, const char *value, struct options *o, uint64_t memory_bytes)
{
	uint64_t n;
	if (!strcmp(key, "size") || !strcmp(key, "nr_blocks")) {
		if (!parse_size(value, memory_bytes, &n))
			return false;
		o->pages = key[0] == 's' ? (n + PAGE_SIZE - 1) / PAGE_SIZE : n;
		return true;
	}
	if (!strcmp(key, "nr_inodes"))
		return parse_size(value, 0, &o->inodes);
	if (!strcmp(key, "mode")) {
		if (!string_to_u64(value, 8, &n))
			return false;
		o->mode = (mode_t)n & 07777;
		return true;
	}
	if (!strcmp(key, "uid") || !strcmp(key, "gid")) {
		if (!string_to_u64(value, 10, &n))
			return false;
		uint32_t id = key[0] == 'u' ? uid_meant(current->cred, (uid_t)n) : gid_meant(current->cred, (gid_t)n);
		*(key[0] == 'u' ? &o->uid : &o->gid) = id;
		return id != ID_NONE;
	}
	return !strcmp(key, "huge") || !strcmp(key, "mpol") || !strcmp(key, "noswap") || !strcmp(key, "inode64") ||
	       !strcmp(key, "inode32");
}

static int check_option(const char *key, const char *value)
{
	static const char *const keys[] = { "size", "nr_blocks", "nr_inodes", "mode",    "uid",    "gid",
					    "huge", "mpol",      "noswap",    "inode64", "inode32" };
	struct options unused;
	for (unsigned i = 0; i < array_count(keys); i++)
		if (!strcmp(key, keys[i]))
			return parse_one(key, value ? value : "", &unused, 0) ? 0 : -EINVAL;
	return -ENOENT;
}

static int parse(const char *text, struct options *o, uint64_t memory_bytes)
{
	while (text && *text) {
		char word[64], *value;
		const char *comma = strchr(text, ',');
		size_t length = comma ? (size_t)(comma - text) : strlen(text);
		if (length >= sizeof(word))
			return -EINVAL;
		memcpy(word, text, length);
		word[length] = 0;
		value = strchr(word, '=');
		if (value)
			*value++ = 0;
		if (length && !parse_one(word, value ? value : "", o, memory_bytes))
			return -EINVAL;
		text += length + (comma ? 1 : 0);
	}
	return 0;
}

// ---- limits ----

static int charge(struct mobj *o, int64_t pages)
{
	struct tmpfs_super *t = o->inode->super->private;
	struct tmpfs_inode *n = tmpfs_of(o->inode);
	int error = 0;
	spin_lock(&t->lock);
	if (pages > 0 && t->pages_max && t->pages_used + (uint64_t)pages > t->pages_max)
		error = -ENOSPC;
	else
		t->pages_used += (uint64_t)pages;
	spin_unlock(&t->lock);
	if (!error)
		__atomic_fetch_add(&n->pages, (uint64_t)pages, __ATOMIC_RELAXED);
	return error;
}

const struct mobj_ops tmpfs_object_ops = { .charge = charge };

static int count_inode(struct tmpfs_super *t)
{
	int error = 0;
	spin_lock(&t->lock);
	if (t->inodes_max && t->inodes_used >= t->inodes_max)
		error = -ENOSPC;
	else
		t->inodes_used++;
	spin_unlock(&t->lock);
	return error;
}

static void uncount_inode(struct tmpfs_super *t)
{
	spin_lock(&t->lock);
	t->inodes_used--;
	spin_unlock(&t->lock);
}

// ---- inodes ----

static void set_up(struct inode *i, mode_t mode, dev_t rdev)
{
	struct tmpfs_inode *t = tmpfs_of(i);
	list_init(&t->xattrs);
	t->next_offset = 2; // after . and ..
	t->seals = 1;       // F_SEAL_SEAL: only memfds may be sealed
	i->atime = i->mtime = i->ctime = i->btime = timestamp_now();
	i->ops = &tmpfs_file_ops;
	switch (mode & S_IFMT) {
	case S_IFDIR:
		i->ops = &tmpfs_directory_ops;
		i->file_ops = &tmpfs_directory_file_ops;
		i->nlink = 2;
		break;
	case S_IFREG:
		i->file_ops = &tmpfs_regular_file_ops;
		mobj_init(&i->data, &tmpfs_object_ops, i);
		i->object = &i->data;
		break;
	case S_IFLNK: i->ops = &tmpfs_link_ops; break;
	default: inode_init_special(i, i->mode, rdev);
	}
}

struct inode *tmpfs_inode_create(struct super *s, const struct inode *dir, mode_t mode, dev_t rdev)
{
	struct tmpfs_super *t = s->private;
	int error = count_inode(t);
	if (error)
		return err_ptr(error);
	struct tmpfs_inode *n = slab_alloc(cache);
	struct inode *i = n ? inode_create(s, __atomic_fetch_add(&s->next_ino, 1, __ATOMIC_RELAXED)) : NULL;
	if (!i) {
		if (n)
			slab_free(cache, n);
		uncount_inode(t);
		return err_ptr(-ENOMEM);
	}
	i->private = n;
	inode_init_owner(i, dir, mode);
	set_up(i, i->mode, rdev);
	return i;
}

void tmpfs_evict_inode(struct inode *i)
{
	struct tmpfs_inode *t = tmpfs_of(i);
	if (!t)
		return;
	tmpfs_xattrs_free(t);
	kfree((char *)i->link);
	i->link = NULL;
	i->private = NULL;
	slab_free(cache, t);
	uncount_inode(i->super->private);
}

int tmpfs_getattr(struct inode *i, struct kstat *out)
{
	struct tmpfs_inode *t = tmpfs_of(i);
	generic_getattr(i, out);
	out->blocks = __atomic_load_n(&t->pages, __ATOMIC_RELAXED) * (PAGE_SIZE / 512);
	if (inode_is_dir(i))
		out->size = (t->entries + 2) * 20; // as Linux's
	else if (i->link)
		out->size = strlen(i->link);
	return 0;
}

// ---- superblock ----

static int statfs(struct super *s, struct statfs64_kernel *out)
{
	struct tmpfs_super *t = s->private;
	spin_lock(&t->lock);
	out->type = TMPFS_MAGIC;
	out->block_size = out->fragment_size = PAGE_SIZE;
	out->name_max = NAME_MAX_BYTES;
	out->blocks = t->pages_max;
	out->blocks_free = out->blocks_available = t->pages_max - min(t->pages_used, t->pages_max);
	out->files = t->inodes_max;
	out->files_free = t->inodes_max - min(t->inodes_used, t->inodes_max);
	spin_unlock(&t->lock);
	return 0;
}

static void put_super(struct super *s)
{
	kfree(s->private);
	s->private = NULL;
}

static void show_options(struct super *s, char *buffer, size_t size)
{
	struct tmpfs_super *t = s->private;
	if (t->pages_max)
		fmt_print(buffer, size, "size=%lluk,inode64", (unsigned long long)(t->pages_max * 4));
}

static const struct super_ops super_ops = {
	.statfs = statfs,
	.evict_inode = tmpfs_evict_inode,
	.put_super = put_super,
	.show_options = show_options,
};

int tmpfs_fill_super(struct super *s, const char *text)
{
	struct page_stats stats;
	page_stats_get(&stats);
	struct options o = { .pages = stats.total_pages / 2,
			     .inodes = stats.total_pages / 2,
			     .mode = 01777,
			     .uid = current->cred->fsuid,
			     .gid = current->cred->fsgid };
	int error = parse(text, &o, stats.total_pages * PAGE_SIZE);
	if (error)
		return error;
	struct tmpfs_super *t = kalloc(sizeof(*t));
	if (!t)
		return -ENOMEM;
	spin_init(&t->lock);
	t->pages_max = o.pages;
	t->inodes_max = o.inodes;
	s->private = t;
	s->ops = &super_ops;
	s->magic = TMPFS_MAGIC;
	struct inode *i = tmpfs_inode_create(s, NULL, S_IFDIR | o.mode, 0);
	if (is_err(i))
		return (int)ptr_err(i);
	i->ino = 1;
	i->uid = o.uid;
	i->gid = o.gid;
	s->root = dentry_make_root(i);
	return s->root ? 0 : -ENOMEM;
}

// May a limit (0: none) become another one?
static bool may_limit(uint64_t old, uint64_t new, uint64_t used) { return new == old || !new || (old && used <= new); }

// Size and number of inodes; the rest is the root's, which is there.
static int reconfigure(struct super *s, const char *text)
{
	struct tmpfs_super *t = s->private;
	struct page_stats stats;
	page_stats_get(&stats);
	struct options o = { .pages = t->pages_max, .inodes = t->inodes_max };
	int error = parse(text, &o, stats.total_pages * PAGE_SIZE);
	if (error)
		return error;
	spin_lock(&t->lock);
	if (!may_limit(t->pages_max, o.pages, t->pages_used) || !may_limit(t->inodes_max, o.inodes, t->inodes_used)) {
		error = -EINVAL;
	} else {
		t->pages_max = o.pages;
		t->inodes_max = o.inodes;
	}
	spin_unlock(&t->lock);
	return error;
}

static int mount(struct super *s, const char *source, const char *options) { return tmpfs_fill_super(s, options); }
static struct fs_type tmpfs_type = { .name = "tmpfs",
				     .flags = FS_NODEV | FS_USERNS,
				     .mount = mount,
				     .check_option = check_option,
				     .reconfigure = reconfigure };

static void register_type(void)
{
	cache = slab_cache_create("tmpfs_inode", sizeof(struct tmpfs_inode), 8);
	fs_type_register(&tmpfs_type);
}
KERNEL_INIT(2, register_type);

// ---- files on no mount ----

// The superblock of memfds: made by the first, never unmounted.
static struct super *internal_super(void)
{
	struct super *s = __atomic_load_n(&internal, __ATOMIC_ACQUIRE), *none = NULL;
	if (s)
		return s;
	s = super_create(&tmpfs_type);
	if (!s)
		return NULL;
	if (tmpfs_fill_super(s, "size=0,nr_inodes=0")) {
		super_put(s);
		return NULL;
	}
	if (__atomic_compare_exchange_n(&internal, &none, s, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return s;
	super_put(s);
	return none;
}

struct file *tmpfs_create_unlinked(const char *name, int flags)
{
	struct super *s = internal_super();
	struct inode *i = s ? tmpfs_inode_create(s, NULL, S_IFREG | 0777, 0) : err_ptr(-ENOMEM);
	if (is_err(i))
		return (struct file *)i;
	i->nlink = 0;
	struct dentry *d = dentry_create(NULL, name, strlen(name));
	if (!d) {
		inode_put(i);
		return err_ptr(-ENOMEM);
	}
	d->super = s;
	dentry_instantiate(d, i);
	struct file *f = file_open_anonymous(d, &tmpfs_regular_file_ops, NULL, flags);
	dentry_put(d);
	return f;
}

bool inode_is_tmpfs(const struct inode *i) { return i->ops == &tmpfs_file_ops && inode_is_reg(i); }
