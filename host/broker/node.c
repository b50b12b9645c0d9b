// SPDX-License-Identifier: Apache-2.0
#include "broker/node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define SHARD_BITS      6u
#define SLOT_BITS       26u // of a number's low half, beside the shard's
#define SLOTS_PER_CHUNK 32u
#define BUCKETS_FIRST   16u
#define DEPTH_MAX       65536u // of directories, when they change their place
#define INODES_IN_A_ROW 32u

static_assert(NODE_SHARDS == 1u << SHARD_BITS, "shards");

// ---- numbers: generation << 32 | slot << 6 | shard; slot 0 is not used ----

static struct node_shard *shard_of_id(struct nodes *t, uint64_t id) { return &t->shards[id % NODE_SHARDS]; }

static struct node_slot *slot_at(struct node_shard *s, uint32_t slot)
{
	return slot < s->slot_count ? &s->chunks[slot / SLOTS_PER_CHUNK][slot % SLOTS_PER_CHUNK] : NULL;
}

static bool chunk_add(struct node_shard *s)
{
	uint32_t count = s->slot_count / SLOTS_PER_CHUNK, first = s->slot_count ? s->slot_count : 1;
	struct node_slot *chunk = calloc(SLOTS_PER_CHUNK, sizeof(*chunk));
	struct node_slot **chunks = chunk ? realloc(s->chunks, (count + 1) * sizeof(*chunks)) : NULL;

	if (!chunks || s->slot_count + SLOTS_PER_CHUNK > 1u << SLOT_BITS) {
		s->chunks = chunks ? chunks : s->chunks;
		free(chunk);
		return false;
	}
	s->chunks = chunks;
	s->chunks[count] = chunk;
	s->slot_count += SLOTS_PER_CHUNK;
	for (uint32_t i = s->slot_count; i-- > first;) {
		slot_at(s, i)->next_free = s->free_first;
		s->free_first = i;
	}
	return true;
}

static bool slot_take(struct node_shard *s, struct node *n, unsigned shard)
{
	struct node_slot *slot;
	uint32_t number;

	if (n->id == 1)
		return true;
	if (!s->free_first && !chunk_add(s))
		return false;
	number = s->free_first;
	slot = slot_at(s, number);
	s->free_first = slot->next_free;
	slot->node = n;
	n->id = (uint64_t)slot->generation << 32 | (uint64_t)number << SHARD_BITS | shard;
	return true;
}

static void slot_free(struct node_shard *s, uint64_t id)
{
	uint32_t number = (uint32_t)id >> SHARD_BITS;
	struct node_slot *slot = slot_at(s, number);

	slot->node = NULL;
	slot->generation++;
	slot->next_free = s->free_first;
	s->free_first = number;
}

// ---- inodes ----

static struct node_identity identity_of(const struct tree *tree, const struct statx *sx)
{
	struct node_identity i = {
		.dev = makedev(sx->stx_dev_major, sx->stx_dev_minor),
		.ino = sx->stx_ino,
		.mount = sx->stx_mask & STATX_MNT_ID ? sx->stx_mnt_id : 0,
		.type = sx->stx_mode & S_IFMT,
	};

	if (sx->stx_mask & STATX_BTIME && !tree->births_change) {
		i.born_seconds = sx->stx_btime.tv_sec;
		i.born_nanoseconds = sx->stx_btime.tv_nsec;
	}
	return i;
}

static bool inode_equal(const struct node_identity *a, const struct node_identity *b)
{
	return a->ino == b->ino && a->dev == b->dev && a->mount == b->mount;
}

static bool birth_equal(const struct node_identity *a, const struct node_identity *b)
{
	return a->type == b->type && a->born_seconds == b->born_seconds && a->born_nanoseconds == b->born_nanoseconds;
}

bool node_is_same(const struct node *n, const struct statx *sx)
{
	struct node_identity i = identity_of(n->tree, sx);

	return inode_equal(&n->identity, &i) && birth_equal(&n->identity, &i);
}

static uint64_t mix(uint64_t x)
{
	x ^= x >> 32;
	x *= 0x9e3779b97f4a7c15u;
	return x ^ x >> 29;
}

// Files made together have numbers in a row and are looked up together: their buckets and slots are neighbours in one shard.
static uint64_t inode_hash(const struct tree *tree, const struct node_identity *i)
{
	uint64_t row = mix(i->ino / INODES_IN_A_ROW ^ mix(i->dev ^ mix(i->mount ^ (uint64_t)tree->grant << 48)));

	return row + (i->ino % INODES_IN_A_ROW << SHARD_BITS);
}

static struct node **bucket_of(struct node_shard *s, uint64_t hash)
{
	return &s->buckets[hash >> SHARD_BITS & (s->bucket_count - 1)];
}

static void buckets_grow(struct node_shard *s)
{
	uint32_t old_count = s->bucket_count;
	struct node **old = s->buckets, **grown;

	if (old_count && s->node_count < old_count)
		return;
	grown = calloc(old_count ? old_count * 2 : BUCKETS_FIRST, sizeof(*grown));
	if (!grown)
		return; // longer chains, then
	s->buckets = grown;
	s->bucket_count = old_count ? old_count * 2 : BUCKETS_FIRST;
	for (uint32_t i = 0; i < old_count; i++) {
		for (struct node *n = old[i], *next; n; n = next) {
			struct node **bucket = bucket_of(s, inode_hash(n->tree, &n->identity));
			next = n->hash_next;
			n->hash_next = *bucket;
			*bucket = n;
		}
	}
	free(old);
}

static struct node *find_locked(struct node_shard *s, uint64_t hash, const struct tree *tree,
				const struct node_identity *i)
{
	struct node *n = s->bucket_count ? *bucket_of(s, hash) : NULL;

	while (n && (n->tree != tree || !inode_equal(&n->identity, i)))
		n = n->hash_next;
	return n;
}

static void unhash_locked(struct node_shard *s, struct node *n)
{
	struct node **at;

	if (!n->hashed)
		return;
	at = bucket_of(s, inode_hash(n->tree, &n->identity));
	while (*at != n)
		at = &(*at)->hash_next;
	*at = n->hash_next;
	n->hashed = false;
	s->node_count--;
}

static void ref(struct node *n) { __atomic_add_fetch(&n->refs, 1, __ATOMIC_RELAXED); }

// ---- life ----

void nodes_init(struct nodes *t, uint32_t count_max, uint32_t fd_count_max)
{
	memset(t, 0, sizeof(*t));
	pthread_mutex_init(&t->topology, NULL);
	t->count_max = count_max;
	t->fd_count_max = fd_count_max;
	for (unsigned i = 0; i < NODE_SHARDS; i++) {
		pthread_mutex_init(&t->shards[i].lock, NULL);
		list_init(&t->shards[i].lru);
		list_init(&t->shards[i].lasting);
	}
}

static void node_free(struct node *n)
{
	if (n->fd >= 0)
		close(n->fd);
	__atomic_sub_fetch(&n->table->count, 1, __ATOMIC_RELAXED);
	free(n->name);
	free(n);
}

void nodes_fini(struct nodes *t)
{
	for (unsigned i = 0; i < NODE_SHARDS; i++) {
		struct node_shard *s = &t->shards[i];
		for (uint32_t j = 0; j < s->slot_count; j++)
			if (slot_at(s, j)->node)
				node_free(slot_at(s, j)->node);
		for (uint32_t j = 0; j < s->slot_count / SLOTS_PER_CHUNK; j++)
			free(s->chunks[j]);
		free(s->chunks);
		free(s->buckets);
	}
}

// A node in no table yet, with a reference for its lookups and one for the caller.
static struct node *node_make(struct nodes *t, struct tree *tree, const struct node_identity *i, int fd)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->table = t;
	n->tree = tree;
	n->identity = *i;
	n->refs = 2;
	n->lookups = 1;
	n->fd = fd;
	n->watch = -1;
	list_init(&n->lru);
	__atomic_add_fetch(&t->count, 1, __ATOMIC_RELAXED);
	return n;
}

static int insert_locked(struct node_shard *s, struct node *n, uint64_t hash)
{
	buckets_grow(s);
	if (!s->bucket_count || !slot_take(s, n, hash % NODE_SHARDS))
		return -ENOMEM;
	n->hash_next = *bucket_of(s, hash);
	*bucket_of(s, hash) = n;
	n->shard = s;
	n->hashed = true;
	s->node_count++;
	return 0;
}

int nodes_add_root(struct nodes *t, struct tree *tree, int fd)
{
	struct statx sx;
	struct node_identity i;
	struct node *n;
	uint64_t hash;
	int error = -ENOMEM;

	if (statx(fd, "", AT_EMPTY_PATH, NODE_STATX_MASK, &sx)) {
		error = -errno;
		close(fd);
		return error;
	}
	i = identity_of(tree, &sx);
	hash = inode_hash(tree, &i);
	n = node_make(t, tree, &i, fd);
	if (!n) {
		close(fd);
		return error;
	}
	n->id = 1;
	pthread_mutex_lock(&t->shards[hash % NODE_SHARDS].lock);
	error = insert_locked(&t->shards[hash % NODE_SHARDS], n, hash);
	pthread_mutex_unlock(&t->shards[hash % NODE_SHARDS].lock);
	if (error)
		node_free(n);
	else
		tree->root = n;
	return error;
}

void nodes_free_root(struct tree *tree) { node_free(tree->root); }

struct node *node_get(struct nodes *t, struct tree *tree, uint64_t id)
{
	struct node_shard *s = shard_of_id(t, id);
	struct node_slot *slot;
	struct node *n = NULL;

	if (id == 1) {
		ref(tree->root);
		return tree->root;
	}
	pthread_mutex_lock(&s->lock);
	slot = slot_at(s, (uint32_t)id >> SHARD_BITS);
	if (slot && slot->node && slot->node->id == id && slot->node->tree == tree && slot->node->lookups) {
		n = slot->node;
		ref(n);
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}

// The last reference goes, unless somebody found it meanwhile. Its directory, to be put; else NULL.
static struct node *node_put_last(struct node *n)
{
	struct node_shard *s = n->shard;
	struct node *parent;

	pthread_mutex_lock(&s->lock);
	if (__atomic_sub_fetch(&n->refs, 1, __ATOMIC_ACQ_REL)) {
		pthread_mutex_unlock(&s->lock);
		return NULL;
	}
	unhash_locked(s, n);
	slot_free(s, n->id);
	if (!list_empty(&n->lru)) {
		list_remove(&n->lru);
		__atomic_sub_fetch(&n->table->fd_count, 1, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&s->lock);
	parent = n->parent;
	node_free(n);
	return parent;
}

void node_put(struct node *n)
{
	while (n) {
		uint32_t refs = __atomic_load_n(&n->refs, __ATOMIC_RELAXED);
		while (refs > 1)
			if (__atomic_compare_exchange_n(&n->refs, &refs, refs - 1, true, __ATOMIC_RELEASE,
							__ATOMIC_RELAXED))
				return;
		n = node_put_last(n);
	}
}

// ---- entering and forgetting ----

// Another inode has its number now: nothing leads to it any more. Its directory, to be put.
static struct node *retire_locked(struct node_shard *s, struct node *n)
{
	unhash_locked(s, n);
	if (node_is_dir(n))
		return NULL; // its place may be walked through; it leads to something else, as will be noticed
	struct node *parent = n->parent;
	n->parent = NULL;
	free(n->name);
	n->name = NULL;
	return parent;
}

static bool place_is(const struct node *n, const struct node *dir, const char *name)
{
	return n->parent == dir && !strcmp(n->name, name);
}

// A new node for `i`, in its place.
static int make_locked(struct node_shard *s, uint64_t hash, struct node *dir, const char *name,
		       const struct node_identity *i, struct node **out)
{
	struct nodes *t = dir->table;
	struct node *n;

	if (__atomic_load_n(&t->count, __ATOMIC_RELAXED) >= t->count_max)
		return -ENFILE;
	n = node_make(t, dir->tree, i, -1);
	if (!n)
		return -ENOMEM;
	n->name = strdup(name);
	if (!n->name || insert_locked(s, n, hash)) {
		node_free(n);
		return -ENOMEM;
	}
	ref(dir);
	n->parent = dir;
	*out = n;
	return 0;
}

int node_enter(struct node *dir, const char *name, const struct statx *sx, struct node **out)
{
	struct node_identity i = identity_of(dir->tree, sx);
	uint64_t hash = inode_hash(dir->tree, &i);
	struct node_shard *s = &dir->table->shards[hash % NODE_SHARDS];
	struct node *n, *unused = NULL;
	bool moved = false;
	int error = 0;

	pthread_mutex_lock(&s->lock);
	n = find_locked(s, hash, dir->tree, &i);
	if (n && !birth_equal(&n->identity, &i)) {
		unused = retire_locked(s, n);
		n = NULL;
	}
	if (n) {
		moved = !place_is(n, dir, name);
		__atomic_add_fetch(&n->refs, n->lookups ? 1 : 2, __ATOMIC_RELAXED);
		n->lookups++;
	} else {
		error = make_locked(s, hash, dir, name, &i, &n);
	}
	pthread_mutex_unlock(&s->lock);
	node_put(unused);
	if (moved)
		(void)node_move(n, dir, name); // without memory the old place stays, and is noticed to be wrong
	*out = n;
	return error;
}

int node_enter_nameless(struct tree *tree, struct nodes *t, int fd, const struct statx *sx, struct node **out)
{
	struct node_identity i = identity_of(tree, sx);
	uint64_t hash = inode_hash(tree, &i);
	struct node_shard *s = &t->shards[hash % NODE_SHARDS];
	bool room = __atomic_load_n(&t->count, __ATOMIC_RELAXED) < t->count_max;
	struct node *n = room ? node_make(t, tree, &i, fd) : NULL;
	struct node *old, *unused = NULL;
	int error;

	if (!n) {
		close(fd);
		return room ? -ENOMEM : -ENFILE;
	}
	pthread_mutex_lock(&s->lock);
	old = find_locked(s, hash, tree, &i);
	if (old)
		unused = retire_locked(s, old);
	error = insert_locked(s, n, hash);
	if (!error) {
		n->lasting = true;
		list_add(&s->lasting, &n->lru);
		__atomic_add_fetch(&t->fd_count, 1, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&s->lock);
	node_put(unused);
	if (error)
		node_free(n);
	else
		*out = n;
	return error;
}

struct node *node_find(struct nodes *t, struct tree *tree, const struct statx *sx)
{
	struct node_identity i = identity_of(tree, sx);
	uint64_t hash = inode_hash(tree, &i);
	struct node_shard *s = &t->shards[hash % NODE_SHARDS];
	struct node *n;

	pthread_mutex_lock(&s->lock);
	n = find_locked(s, hash, tree, &i);
	if (n && !birth_equal(&n->identity, &i))
		n = NULL;
	if (n)
		ref(n);
	pthread_mutex_unlock(&s->lock);
	return n;
}

void node_forget(struct nodes *t, struct tree *tree, uint64_t id, uint64_t lookups)
{
	struct node *n = id == 1 ? NULL : node_get(t, tree, id);
	struct node_shard *s;
	bool last;

	if (!n)
		return;
	s = n->shard;
	pthread_mutex_lock(&s->lock);
	last = n->lookups && n->lookups <= lookups;
	n->lookups -= lookups < n->lookups ? lookups : n->lookups;
	pthread_mutex_unlock(&s->lock);
	if (last)
		node_put(n);
	node_put(n);
}

// ---- places ----

// Topology held. May a directory be put into `dir`? Not beneath itself: the host would not have it, but two renames may
// come to our notice in the wrong order.
static bool place_is_sound(const struct node *n, const struct node *dir)
{
	unsigned depth = 0;

	while (dir && dir != n && depth++ < DEPTH_MAX)
		dir = dir->parent;
	return !dir;
}

static struct node *place_set_locked(struct node *n, struct node *dir, char *name)
{
	struct node *old = n->parent;

	ref(dir);
	free(n->name);
	n->parent = dir;
	n->name = name;
	return old;
}

int node_move(struct node *n, struct node *dir, const char *name)
{
	struct node_shard *s = n->shard;
	char *copy = n == n->tree->root ? NULL : strdup(name);
	bool is_dir = node_is_dir(n);
	struct node *old = NULL;

	if (!copy)
		return n == n->tree->root ? 0 : -ENOMEM;
	if (is_dir)
		pthread_mutex_lock(&n->table->topology);
	if (!is_dir || place_is_sound(n, dir)) {
		pthread_mutex_lock(&s->lock);
		old = place_set_locked(n, dir, copy);
		copy = NULL;
		if (n->lasting) { // it can be reached again
			n->lasting = false;
			if (!list_empty(&n->lru)) {
				list_remove(&n->lru);
				list_add(&s->lru, &n->lru);
			}
		}
		pthread_mutex_unlock(&s->lock);
	}
	if (is_dir)
		pthread_mutex_unlock(&n->table->topology);
	free(copy);
	node_put(old);
	return 0;
}

bool node_parent_is_watched(struct node *n)
{
	struct node_shard *s = n->shard;
	bool watched;

	pthread_mutex_lock(&s->lock);
	watched = n->parent && __atomic_load_n(&n->parent->watched, __ATOMIC_ACQUIRE);
	pthread_mutex_unlock(&s->lock);
	return watched;
}
