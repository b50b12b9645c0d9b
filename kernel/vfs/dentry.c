// SPDX-License-Identifier: Apache-2.0
// The dentry cache: names as a tree, found through a hash of (parent, name). Also negative: a name known not to be there.
//
// A hashed dentry is referenced by the table, so a count of 1 means "cached, unused". Everything hashed and not pinned is
// on one LRU list, looked at clock-wise: a dentry in use or used since the last look goes to the tail.
//
// Locks: dentry_tree_lock guards who is hashed, parents, names, children lists and the LRU; a bucket's lock guards its chain
// and is all a cached lookup takes. Both are leaves but for tree -> dentry.lock -> bucket. Destroying may sleep (inodes go),
// so it happens after they are dropped.
#include "internal.h"

#include "kernel/init.h"
#include "kernel/leak.h"
#include "kernel/page.h"
#include "kernel/random.h"
#include "lib/hash.h"
#include "lib/string.h"

#define BUCKETS_FIRST 8192u
#define BUCKETS_MAX   131072u // each step is four times the last
#define CHAIN_NAMES   2u      // on average, before the table grows
#define DENTRIES_MIN  4096u
#define SHRINK_BATCH  64u

struct bucket {
	struct spinlock lock;
	bool moved; // to the next table. lock
	struct dentry *first;
};

// The table grows while lookups go on: one bucket after the other moves to the next table, and who finds it moved looks there. What a
// bucket holds goes to buckets that nobody else's goes to. Old tables stay: a lookup may be in one.
struct table {
	struct bucket *buckets;
	unsigned size; // a power of two
	struct table *next;
};

struct spinlock dentry_tree_lock = SPINLOCK_INIT;
uint64_t dentry_hash_key;

static struct bucket first_buckets[BUCKETS_FIRST];
static struct table first_table = { first_buckets, BUCKETS_FIRST, NULL },
		    *table = &first_table; // changed under tree lock
static struct slab_cache *dentry_cache;
static struct list lru = LIST_INIT(lru);                         // oldest first
static uint64_t dentry_count, lru_count, lru_max = DENTRIES_MIN; // dentry_count: atomic; others: tree lock

static void init(void)
{
	dentry_cache = slab_cache_create("dentry", sizeof(struct dentry), 8);
	dentry_hash_key = random_u64();
	struct page_stats stats;
	page_stats_get(&stats);
	reclaim_register(dentry_shrink);
	// A sixteenth of memory at about 1 KiB a name with its inode.
	lru_max = max((uint64_t)DENTRIES_MIN, stats.total_pages / 4);
}
KERNEL_INIT(1, init);

// ---- hash ----

uint32_t name_hash(const char *name, size_t length)
{
	uint64_t h = dentry_hash_key;
	for (size_t i = 0; i < length; i++)
		h = NAME_HASH_STEP(h, name[i]);
	return name_hash_end(h);
}

static inline struct bucket *bucket_in(const struct table *t, const struct dentry *parent, uint32_t hash)
{
	uint64_t h = ((uintptr_t)parent >> 6) * UINT64_C(0x9e3779b97f4a7c15) + hash;
	return &t->buckets[(h ^ h >> 20) & (t->size - 1)];
}

static struct bucket *bucket_of(const struct dentry *d) { return bucket_in(table, d->parent, d->hash); } // tree lock

static inline bool name_equal(const char *a, const char *b, size_t length)
{
	typedef uint64_t __attribute__((may_alias, aligned(1))) word_t;
	for (; length >= 8; length -= 8, a += 8, b += 8)
		if (*(const word_t *)a != *(const word_t *)b)
			return false;
	for (; length; length--)
		if (*a++ != *b++)
			return false;
	return true;
}

struct dentry *dentry_find(struct dentry *parent, const char *name, size_t length, uint32_t hash)
{
	const struct table *t = __atomic_load_n(&table, __ATOMIC_ACQUIRE);
	struct bucket *b = bucket_in(t, parent, hash);
	struct dentry *d;
	if (!__atomic_load_n(&b->first, __ATOMIC_ACQUIRE) && !__atomic_load_n(&b->moved, __ATOMIC_RELAXED))
		return NULL;
	spin_lock(&b->lock);
	while (unlikely(b->moved)) {
		spin_unlock(&b->lock);
		t = t->next;
		b = bucket_in(t, parent, hash);
		spin_lock(&b->lock);
	}
	for (d = b->first; d; d = d->hash_next) {
		if (d->hash != hash || d->parent != parent || d->name_length != length ||
		    !name_equal(d->name, name, length))
			continue;
		dentry_get(d);
		break;
	}
	spin_unlock(&b->lock);
	if (d && !d->referenced)
		d->referenced = true;
	return d;
}

struct dentry *dentry_lookup_cached(struct dentry *parent, const char *name, size_t length)
{
	return dentry_find(parent, name, length, name_hash(name, length));
}

static void bucket_add(struct bucket *b, struct dentry *d)
{
	d->hash_next = b->first;
	d->hash_link = &b->first;
	if (b->first)
		b->first->hash_link = &d->hash_next;
	b->first = d;
}

static void hash_insert(struct dentry *d) // tree lock
{
	struct bucket *b = bucket_of(d);
	spin_lock(&b->lock);
	bucket_add(b, d);
	spin_unlock(&b->lock);
}

static void hash_delete_locked(struct dentry *d) // tree and bucket lock
{
	*d->hash_link = d->hash_next;
	if (d->hash_next)
		d->hash_next->hash_link = d->hash_link;
	d->hash_next = NULL;
	d->hash_link = NULL;
}

static void hash_delete(struct dentry *d) // tree lock
{
	struct bucket *b = bucket_of(d);
	spin_lock(&b->lock);
	hash_delete_locked(d);
	spin_unlock(&b->lock);
}

static void bucket_move(struct bucket *b, const struct table *to) // tree lock
{
	spin_lock(&b->lock);
	for (struct dentry *d = b->first, *next; d; d = next) {
		next = d->hash_next;
		bucket_add(bucket_in(to, d->parent, d->hash), d); // no lookup comes there yet
	}
	b->moved = true;
	__atomic_store_n(&b->first, NULL, __ATOMIC_RELEASE);
	spin_unlock(&b->lock);
}

// Without memory chains grow longer.
static void hash_grow(void)
{
	struct table *old = __atomic_load_n(&table, __ATOMIC_ACQUIRE);
	unsigned size = old->size * 4;
	if (likely(__atomic_load_n(&dentry_count, __ATOMIC_RELAXED) < (uint64_t)old->size * CHAIN_NAMES) ||
	    size > BUCKETS_MAX)
		return;
	struct table *t = kalloc(sizeof(*t));
	struct bucket *buckets = t ? kalloc_array(size, sizeof(*buckets)) : NULL;
	for (unsigned k = 0; buckets && k < size; k++)
		spin_init(&buckets[k].lock);
	spin_lock(&dentry_tree_lock);
	if (buckets && table == old) {
		*t = (struct table){ buckets, size, NULL };
		old->next = t;
		for (unsigned k = 0; k < old->size; k++)
			bucket_move(&old->buckets[k], t);
		__atomic_store_n(&table, t, __ATOMIC_RELEASE);
		leak_pages_kept((int64_t)(size * sizeof(*buckets) / PAGE_SIZE));
		t = NULL;
		buckets = NULL;
	}
	spin_unlock(&dentry_tree_lock);
	kfree(buckets);
	kfree(t);
}

// ---- life ----

static void name_free(struct dentry *d)
{
	if (d->name != d->inline_name)
		kfree((char *)d->name);
}

static void lru_remove(struct dentry *d) // tree lock
{
	if (list_empty(&d->lru))
		return;
	list_remove(&d->lru);
	lru_count--;
}

struct dentry *dentry_create(struct dentry *parent, const char *name, size_t length)
{
	if (unlikely(__atomic_load_n(&lru_count, __ATOMIC_RELAXED) >= lru_max))
		dentry_shrink(SHRINK_BATCH);
	hash_grow();
	struct dentry *d = slab_alloc(dentry_cache);
	if (!d)
		return NULL;
	char *copy = d->inline_name;
	if (length >= sizeof(d->inline_name)) {
		copy = kalloc(length + 1);
		if (!copy) {
			slab_free(dentry_cache, d);
			return NULL;
		}
	}
	memcpy(copy, name, length);
	copy[length] = 0;
	d->name = copy;
	d->name_length = (uint32_t)length;
	d->hash = name_hash(name, length);
	refcount_set(&d->refs, 1);
	list_init(&d->child_node);
	list_init(&d->children);
	list_init(&d->alias_node);
	list_init(&d->lru);
	spin_init(&d->lock);
	d->parent = parent ? parent : d;
	if (parent) {
		dentry_get(parent);
		d->super = parent->super;
		d->ops = parent->flags & DENTRY_MADE_UP ? NULL
							: parent->super->dentry_ops; // nothing of the server's in there
	}
	__atomic_fetch_add(&dentry_count, 1, __ATOMIC_RELAXED);
	return d;
}

// Frees `d`, whose last reference is gone and which is on no list but its inode's. Returns its parent, to be put.
static struct dentry *destroy(struct dentry *d)
{
	struct dentry *parent = d->parent == d ? NULL : d->parent;
	if (d->ops && d->ops->release)
		d->ops->release(d);
	if (d->inode) {
		spin_lock(&d->inode->alias_lock);
		list_remove(&d->alias_node);
		spin_unlock(&d->inode->alias_lock);
		if (unlikely(d->inode->marks && !d->inode->nlink))
			fsnotify_inode_gone(d->inode);
		inode_put(d->inode);
	}
	name_free(d);
	slab_free(dentry_cache, d);
	__atomic_fetch_sub(&dentry_count, 1, __ATOMIC_RELAXED);
	return parent;
}

void dentry_put(struct dentry *d)
{
	while (d && refcount_put(&d->refs))
		d = destroy(d);
}

void dentry_instantiate(struct dentry *d, struct inode *inode)
{
	if (!inode)
		return;
	spin_lock(&inode->alias_lock);
	list_add(&inode->dentries, &d->alias_node);
	spin_unlock(&inode->alias_lock);
	// Release: whoever sees the pointer sees the inode filled in.
	__atomic_store_n(&d->inode, inode, __ATOMIC_RELEASE);
}

void dentry_hash(struct dentry *d)
{
	spin_lock(&dentry_tree_lock);
	if (!(d->flags & DENTRY_HASHED)) {
		dentry_get(d);
		hash_insert(d);
		list_add_tail(&d->parent->children, &d->child_node);
		d->flags = (d->flags & ~DENTRY_DISCONNECTED) | DENTRY_HASHED;
		if (!(d->flags & DENTRY_PINNED)) {
			list_add_tail(&lru, &d->lru);
			lru_count++;
		}
	}
	spin_unlock(&dentry_tree_lock);
}

// Tree lock; before it cannot be found any more.
static void incomplete(struct dentry *d)
{
	if (d->inode)
		__atomic_store_n(&d->parent->complete, false, __ATOMIC_RELAXED);
}

static void unhash(struct dentry *d) // tree lock; the table's reference passes to the caller
{
	hash_delete(d);
	list_remove(&d->child_node);
	lru_remove(d);
	d->flags = (d->flags & ~DENTRY_HASHED) | DENTRY_DISCONNECTED;
}

void dentry_pin(struct dentry *d)
{
	dentry_get(d);
	spin_lock(&dentry_tree_lock);
	d->flags |= DENTRY_PINNED;
	lru_remove(d);
	if (d->flags & DENTRY_HASHED) { // newest last: a directory read in this order is read in order of creation
		list_remove(&d->child_node);
		list_add_tail(&d->parent->children, &d->child_node);
	}
	spin_unlock(&dentry_tree_lock);
}

void dentry_unpin(struct dentry *d)
{
	spin_lock(&dentry_tree_lock);
	d->flags &= ~DENTRY_PINNED;
	spin_unlock(&dentry_tree_lock);
	dentry_put(d);
}

static void drop(struct dentry *d, bool removed)
{
	bool dropped = false;
	spin_lock(&dentry_tree_lock);
	if (d->flags & DENTRY_HASHED) {
		if (!removed)
			incomplete(d);
		unhash(d);
		dropped = true;
	}
	spin_unlock(&dentry_tree_lock);
	if (dropped)
		dentry_put(d);
}

void dentry_drop(struct dentry *d) { drop(d, false); }
void dentry_drop_removed(struct dentry *d) { drop(d, true); }

struct dentry *dentry_make_root(struct inode *inode)
{
	struct dentry *d = dentry_create(NULL, "/", 1);
	if (!d) {
		inode_put(inode);
		return NULL;
	}
	d->super = inode->super;
	d->ops = inode->super->dentry_ops;
	d->flags = DENTRY_PINNED;
	dentry_instantiate(d, inode);
	return d;
}

// ---- lookup through the file system ----

int dentry_revalidate(struct dentry *d)
{
	if (!dentry_needs_revalidate(d) || (d->flags & DENTRY_MADE_UP))
		return 1;
	if (d->expires_ns == UINT64_MAX || (d->expires_ns && port_time_ns() < d->expires_ns))
		return 1;
	return d->ops->revalidate(d);
}

// A cached entry that is still right, NULL, or an error.
static struct dentry *find_valid(struct dentry *parent, const char *name, size_t length, uint32_t hash)
{
	struct dentry *d = dentry_find(parent, name, length, hash);
	if (!d)
		return NULL;
	int valid = dentry_revalidate(d);
	if (valid > 0)
		return d;
	// What carries mounts stays: a mount must not be lost because a server renamed its mount point.
	if (!valid && (d->flags & (DENTRY_MOUNTPOINT | DENTRY_HAS_MADE_UP)))
		return d;
	if (!valid)
		dentry_drop(d);
	dentry_put(d);
	return valid ? err_ptr(valid) : NULL;
}

struct dentry *dentry_lookup_for(struct dentry *parent, const char *name, size_t length, int open_flags)
{
	struct inode *dir = parent->inode;
	struct dentry *d = find_valid(parent, name, length, name_hash(name, length));
	if (d)
		return d;
	if (length > NAME_MAX_BYTES)
		return err_ptr(-ENAMETOOLONG);
	if (__atomic_load_n(&dir->state, __ATOMIC_RELAXED) & INODE_DEAD)
		return err_ptr(-ENOENT);
	if (!dir->ops->lookup)
		return err_ptr(-ENOTDIR);
	if (dir->ops->look_ahead && dir->ops->look_ahead(dir, parent)) {
		d = find_valid(parent, name, length, name_hash(name, length));
		if (d)
			return d;
	}
	d = dentry_create(parent, name, length);
	if (!d)
		return err_ptr(-ENOMEM);
	int error = open_flags != NO_OPEN && dir->ops->lookup_open ? dir->ops->lookup_open(dir, d, open_flags)
								   : dir->ops->lookup(dir, d);
	if (error) {
		dentry_put(d);
		return err_ptr(error);
	}
	dentry_hash(d);
	return d;
}

struct dentry *dentry_lookup_locked(struct dentry *parent, const char *name, size_t length)
{
	return dentry_lookup_for(parent, name, length, NO_OPEN);
}

struct dentry *dentry_lookup_slow(struct dentry *parent, const char *name, size_t length, int open_flags)
{
	mutex_lock(&parent->inode->lock);
	struct dentry *d = dentry_lookup_for(parent, name, length, open_flags);
	mutex_unlock(&parent->inode->lock);
	return d;
}

void dentry_forget_file(struct dentry *parent, const char *name, size_t length, uint32_t hash)
{
	struct dentry *d = dentry_find(parent, name, length, hash);
	if (d && d->inode && inode_is_reg(d->inode) && parent->inode->ops->lookup_open &&
	    !(d->flags & (DENTRY_MOUNTPOINT | DENTRY_PINNED)))
		dentry_drop(d);
	dentry_put(d);
}

struct dentry *dentry_lookup(struct dentry *parent, const char *name, size_t length)
{
	struct dentry *d = find_valid(parent, name, length, name_hash(name, length));
	return d ? d : dentry_lookup_slow(parent, name, length, NO_OPEN);
}

// ---- renames ----

static void swap_names(struct dentry *a, struct dentry *b) // tree lock, both d->lock, neither hashed
{
	char buffer[sizeof(a->inline_name)];
	bool a_inline = a->name == a->inline_name, b_inline = b->name == b->inline_name;
	const char *a_name = a->name, *b_name = b->name;
	memcpy(buffer, a->inline_name, sizeof(buffer));
	memcpy(a->inline_name, b->inline_name, sizeof(buffer));
	memcpy(b->inline_name, buffer, sizeof(buffer));
	a->name = b_inline ? a->inline_name : b_name;
	b->name = a_inline ? b->inline_name : a_name;
	uint32_t length = a->name_length, hash = a->hash;
	a->name_length = b->name_length;
	a->hash = b->hash;
	b->name_length = length;
	b->hash = hash;
	struct dentry *parent = a->parent; // the references go with them
	a->parent = b->parent;
	b->parent = parent;
}

static void swap_places(struct dentry *a, struct dentry *b)
{
	spin_lock(a < b ? &a->lock : &b->lock);
	spin_lock(a < b ? &b->lock : &a->lock);
	swap_names(a, b);
	spin_unlock(&a->lock);
	spin_unlock(&b->lock);
}

static void rehash(struct dentry *d)
{
	hash_insert(d);
	list_remove(&d->child_node);
	list_add_tail(&d->parent->children, &d->child_node);
}

void dentry_move(struct dentry *d, struct dentry *to)
{
	spin_lock(&dentry_tree_lock);
	bool drop = to->flags & DENTRY_HASHED, hashed = d->flags & DENTRY_HASHED;
	if (drop)
		unhash(to);
	if (hashed)
		hash_delete(d);
	else
		to->parent->complete = false; // the name is there, and will not be found
	swap_places(d, to);
	if (hashed)
		rehash(d);
	to->flags |= DENTRY_DISCONNECTED;
	spin_unlock(&dentry_tree_lock);
	if (drop)
		dentry_put(to);
}

void dentry_exchange(struct dentry *a, struct dentry *b)
{
	spin_lock(&dentry_tree_lock);
	bool a_hashed = a->flags & DENTRY_HASHED, b_hashed = b->flags & DENTRY_HASHED;
	if (a_hashed)
		hash_delete(a);
	if (b_hashed)
		hash_delete(b);
	if (!a_hashed || !b_hashed)
		a->parent->complete = b->parent->complete = false;
	swap_places(a, b);
	if (a_hashed)
		rehash(a);
	if (b_hashed)
		rehash(b);
	spin_unlock(&dentry_tree_lock);
}

// A server may give one directory two names: what counts is the inode, whose lock is taken.
static bool same_directory(const struct dentry *a, const struct dentry *b)
{
	return a == b || (a->inode && a->inode == b->inode);
}

bool dentry_is_below(struct dentry *d, struct dentry *ancestor)
{
	spin_lock(&dentry_tree_lock);
	while (!same_directory(d, ancestor) && d->parent != d)
		d = d->parent;
	bool below = same_directory(d, ancestor);
	spin_unlock(&dentry_tree_lock);
	return below;
}

// ---- reclaim ----

// Takes `d` out when nobody but the table holds it. Tree lock.
static bool take_unused(struct dentry *d)
{
	struct bucket *b = bucket_of(d);
	int32_t one = 1;
	spin_lock(&b->lock); // no lookup finds it between the check and the removal
	bool taken = __atomic_compare_exchange_n(&d->refs.count, &one, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
	if (taken) {
		incomplete(d);
		hash_delete_locked(d);
	}
	spin_unlock(&b->lock);
	if (!taken)
		return false;
	list_remove(&d->child_node);
	lru_remove(d);
	d->flags &= ~DENTRY_HASHED;
	return true;
}

static uint64_t free_list(struct list *dead)
{
	uint64_t count = 0;
	while (!list_empty(dead)) {
		struct dentry *d = list_first(dead, struct dentry, lru);
		list_remove(&d->lru);
		dentry_put(destroy(d));
		count++;
	}
	return count;
}

uint64_t dentry_shrink(uint64_t count)
{
	struct list dead = LIST_INIT(dead);
	spin_lock(&dentry_tree_lock);
	uint64_t scan = min(lru_count, count * 4 + 64);
	uint64_t taken = 0;
	while (scan-- && taken < count && !list_empty(&lru)) {
		struct dentry *d = list_first(&lru, struct dentry, lru);
		list_remove(&d->lru);
		if (!d->referenced && refcount_read(&d->refs) == 1) {
			list_add_tail(&lru, &d->lru); // take_unused() expects it listed
			if (take_unused(d)) {
				list_add_tail(&dead, &d->lru);
				taken++;
			}
			continue;
		}
		d->referenced = false;
		list_add_tail(&lru, &d->lru);
	}
	spin_unlock(&dentry_tree_lock);
	return free_list(&dead);
}

// One leaf below `root` that is hashed, or NULL. Tree lock.
static struct dentry *find_leaf(struct dentry *root)
{
	struct dentry *d = root;
	while (!list_empty(&d->children))
		d = list_first(&d->children, struct dentry, child_node);
	return d == root ? NULL : d;
}

void dentry_kill_tree(struct dentry *root)
{
	for (;;) {
		spin_lock(&dentry_tree_lock);
		struct dentry *d = find_leaf(root);
		bool pinned = false;
		if (d) {
			pinned = d->flags & DENTRY_PINNED;
			incomplete(d);
			unhash(d);
			d->flags &= ~DENTRY_PINNED;
		}
		spin_unlock(&dentry_tree_lock);
		if (!d)
			return;
		if (pinned)
			dentry_put(d);
		dentry_put(d);
	}
}

// Takes up to SHRINK_BATCH entries of `s` out of the table, for the caller to put. False: there was none.
static bool take_batch(struct super *s, struct list *dead)
{
	unsigned count = 0;
	struct dentry *d, *next;
	spin_lock(&dentry_tree_lock);
	list_for_each_safe (d, next, &lru, lru) {
		if (d->super != s)
			continue;
		incomplete(d);
		unhash(d);
		list_add_tail(dead, &d->lru);
		if (++count == SHRINK_BATCH)
			break;
	}
	spin_unlock(&dentry_tree_lock);
	return count;
}

void dentry_kill_super(struct super *s)
{
	struct list dead = LIST_INIT(dead);
	dentry_kill_tree(s->root);
	// What hangs below a directory that lost its name meanwhile is not reached from the root.
	while (take_batch(s, &dead))
		while (!list_empty(&dead)) {
			struct dentry *d = list_first(&dead, struct dentry, lru);
			list_remove(&d->lru);
			dentry_put(d);
		}
}

void dentry_stats_get(struct dentry_stats *out)
{
	*out = (struct dentry_stats){ .dentries = __atomic_load_n(&dentry_count, __ATOMIC_RELAXED),
				      .inodes = __atomic_load_n(&inode_count, __ATOMIC_RELAXED) };
	struct dentry *d;
	spin_lock(&dentry_tree_lock);
	list_for_each (d, &lru, lru) {
		if (refcount_read(&d->refs) == 1)
			out->unused++;
		if (!d->inode)
			out->negative++;
	}
	spin_unlock(&dentry_tree_lock);
}
