// SPDX-License-Identifier: Apache-2.0
// Directories, read. An open one is a descriptor here: its position is the host's, and a stable one in nothing else.
//
// Locks: handles.lock finds a handle, handle.lock is the open directory's position, as on Linux: it is held over getdents(2).
#include "broker/request.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HANDLES_FIRST 16u
#define DIRENT_MAX    280u // struct dirent64 with the longest name
#define WHOLE_FH      UINT64_MAX

struct handle {
	uint64_t fh; // constant: generation << 32 | index + 1
	struct node *dir;
	int fd;
	uint32_t refs; // handles.lock
	pthread_mutex_t lock;
	int64_t position; // of `fd`
};

// ---- the table: items[i] is a handle, or (odd) what stands for none: generation << 32 | next free << 1 | 1 ----

static struct handle *slot_none(uint32_t generation, uint32_t next_free)
{
	return (struct handle *)(uintptr_t)((uint64_t)generation << 32 | (uint64_t)next_free << 1 | 1);
}

static bool slot_is_none(const struct handle *h) { return (uintptr_t)h & 1; }

void handles_init(struct handles *h, uint32_t count_max)
{
	memset(h, 0, sizeof(*h));
	pthread_mutex_init(&h->lock, NULL);
	h->count_max = count_max;
}

static void handle_free(struct handle *h)
{
	close(h->fd);
	node_put(h->dir);
	free(h);
}

void handles_fini(struct handles *h)
{
	for (uint32_t i = 0; i < h->capacity; i++)
		if (!slot_is_none(h->items[i]))
			handle_free(h->items[i]);
	free(h->items);
}

// free_first, next free: index + 1, 0 = none.
static bool handles_grow(struct handles *h)
{
	uint32_t capacity = h->capacity ? h->capacity * 2 : HANDLES_FIRST;
	struct handle **items = realloc(h->items, capacity * sizeof(*items));

	if (!items)
		return false;
	for (uint32_t i = capacity; i-- > h->capacity;) {
		items[i] = slot_none(0, h->free_first);
		h->free_first = i + 1;
	}
	h->items = items;
	h->capacity = capacity;
	return true;
}

static int handle_add_locked(struct handles *t, struct handle *h)
{
	uint64_t none;

	if (t->count >= t->count_max)
		return -EMFILE;
	if (!t->free_first && !handles_grow(t))
		return -ENOMEM;
	none = (uintptr_t)t->items[t->free_first - 1];
	h->fh = none >> 32 << 32 | t->free_first;
	t->items[t->free_first - 1] = h;
	t->free_first = (uint32_t)none >> 1;
	t->count++;
	return 0;
}

static struct handle *handle_find_locked(struct handles *t, struct tree *tree, uint64_t fh)
{
	uint32_t number = (uint32_t)fh;
	struct handle *h = number && number <= t->capacity ? t->items[number - 1] : NULL;

	return h && !slot_is_none(h) && h->fh == fh && h->dir->tree == tree ? h : NULL;
}

static struct handle *handle_get(struct request *r, uint64_t fh)
{
	struct handles *t = &r->broker->handles;
	struct handle *h;

	pthread_mutex_lock(&t->lock);
	h = handle_find_locked(t, r->tree, fh);
	if (h)
		h->refs++;
	pthread_mutex_unlock(&t->lock);
	return h;
}

static void handle_put(struct request *r, struct handle *h)
{
	struct handles *t = &r->broker->handles;
	bool last;

	pthread_mutex_lock(&t->lock);
	last = --h->refs == 0;
	pthread_mutex_unlock(&t->lock);
	if (last)
		handle_free(h);
}

static bool handle_remove(struct request *r, uint64_t fh)
{
	struct handles *t = &r->broker->handles;
	struct handle *h;
	uint32_t number = (uint32_t)fh;

	pthread_mutex_lock(&t->lock);
	h = handle_find_locked(t, r->tree, fh);
	if (h) {
		t->items[number - 1] = slot_none((uint32_t)(fh >> 32) + 1, t->free_first);
		t->free_first = number;
		t->count--;
	}
	pthread_mutex_unlock(&t->lock);
	if (h)
		handle_put(r, h);
	return h;
}

// ---- opening ----

static int directory_open(struct nodes *t, int path_fd)
{
	int fd = node_open_beneath(t, path_fd, ".", O_RDONLY | O_DIRECTORY, 0);

	// "." wants the right to search; reading does not.
	return fd == -EACCES ? node_reopen(t, path_fd, O_RDONLY | O_DIRECTORY) : fd;
}

static int handle_make(struct request *r, struct handle **out)
{
	struct node *dir = request_node(r);
	int path = !dir ? -ESTALE : node_is_dir(dir) ? node_fd_get(dir) : -ENOTDIR;
	int fd = path < 0 ? path : directory_open(&r->broker->nodes, path);
	struct handle *h = fd < 0 ? NULL : calloc(1, sizeof(*h));

	if (path >= 0)
		node_fd_put(dir);
	if (!h) {
		if (fd >= 0)
			close(fd);
		node_put(dir);
		return fd < 0 ? fd : -ENOMEM;
	}
	h->fd = fd;
	h->dir = dir;
	h->refs = 1;
	pthread_mutex_init(&h->lock, NULL);
	*out = h;
	return 0;
}

static int handle_publish(struct request *r, struct handle *h)
{
	struct handles *t = &r->broker->handles;
	int error;

	pthread_mutex_lock(&t->lock);
	error = handle_add_locked(t, h);
	pthread_mutex_unlock(&t->lock);
	return error;
}

int op_opendir(struct request *r)
{
	struct fuse_open_out *out;
	struct handle *h;
	int error = handle_make(r, &h);

	if (error)
		return error;
	error = handle_publish(r, h);
	if (error) {
		handle_free(h);
		return error;
	}
	out = request_put(r, sizeof(*out));
	out->fh = h->fh;
	return 0;
}

int op_releasedir(struct request *r)
{
	struct fuse_release_in in;

	if (!request_take(r, &in, sizeof(in)))
		return -EINVAL;
	return handle_remove(r, in.fh) ? 0 : -EBADF;
}

// ---- reading ----

struct reading {
	struct request *r;
	struct handle *handle;
	bool plus, watched;
	bool probed, exact;                // one of its names was tried in another case, and was none
	struct broker_read_opened *opened; // NULL: files are not to be opened
};

static bool is_dots(const char *name) { return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2])); }

// Does the directory tell apart names that differ in case only? The first name with a letter tells.
static void exactness_probe(struct reading *d, const char *name, const struct statx *sx)
{
	char other[NODE_NAME_MAX + 1];
	struct statx found;
	size_t at = 0;

	while (name[at] && !isalpha((unsigned char)name[at]))
		at++;
	if (d->probed || !name[at] || strlen(name) >= sizeof(other))
		return;
	strcpy(other, name);
	other[at] ^= 'a' ^ 'A';
	d->probed = true;
	if (statx(d->handle->fd, other, AT_SYMLINK_NOFOLLOW, STATX_INO, &found))
		d->exact = errno == ENOENT;
	else
		d->exact = found.stx_ino != sx->stx_ino;
}

// Opens a file on the way, which tells its attributes, too. -1: it is none, or cannot be opened.
static int entry_open(struct reading *d, const struct dirent64 *e, struct statx *sx)
{
	struct node *dir = d->handle->dir;
	int fd = d->opened && e->d_type == DT_REG
			 ? file_open_at(dir->tree, dir->table, d->handle->fd, e->d_name, O_RDONLY, sx)
			 : -1;

	return fd < 0 ? -1 : fd;
}

// READDIRPLUS looks the entry up: one lookup more of its node. An entry that cannot be looked up goes without.
static void entry_look(struct reading *d, const struct dirent64 *e, struct fuse_entry_out *out)
{
	const char *name = e->d_name;
	struct statx sx;
	struct node *n;
	int fd;

	if (is_dots(name))
		return;
	fd = entry_open(d, e, &sx);
	if (fd < 0 && statx(d->handle->fd, name, AT_SYMLINK_NOFOLLOW, NODE_STATX_MASK, &sx))
		return;
	if (node_enter(d->handle->dir, name, &sx, &n)) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (!d->probed)
		exactness_probe(d, name, &sx);
	entry_encode(d->handle->dir, d->watched, n, &sx, out);
	if (fd >= 0)
		d->opened->nodes[d->opened->count++] = n->id;
	request_put_fd(d->r, fd);
	node_put(n);
}

static void dirent_put(struct reading *d, const struct dirent64 *e)
{
	uint32_t length = (uint32_t)strlen(e->d_name);
	size_t head = d->plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;
	char *at = request_put(d->r, FUSE_REC_ALIGN(head + length));
	struct fuse_dirent *out = (struct fuse_dirent *)(at + head - FUSE_NAME_OFFSET);

	if (d->plus)
		entry_look(d, e, (struct fuse_entry_out *)at);
	out->ino = e->d_ino;
	if (d->handle->dir == d->handle->dir->tree->root && !strcmp(e->d_name, ".."))
		out->ino = d->handle->dir->identity.ino; // what is above is no business of the cell's
	out->off = (uint64_t)e->d_off;
	out->namelen = length;
	out->type = e->d_type;
	memcpy(at + head, e->d_name, length);
}

// So many bytes of getdents(2) surely fit: a name of one byte takes 24 there, and 32 or 160 in the answer.
static size_t entries_bytes(const struct reading *d, size_t room) { return d->plus ? room / 7 : room / 4 * 3; }

// Can all files among them be opened? What a later getdents(2) gives is opened no more: it counts for nothing here.
static bool are_few(const char *entries, ssize_t size)
{
	unsigned files = 0;

	for (ssize_t at = 0; at < size;) {
		const struct dirent64 *e = (const struct dirent64 *)(entries + at);
		at += e->d_reclen;
		files += e->d_type == DT_REG;
	}
	return files <= BROKER_DESCRIPTORS_MAX;
}

// Appends what one getdents(2) gives: 1, 0 at the end, -errno.
static int entries_put(struct reading *d, size_t room)
{
	char entries[16384] __attribute__((aligned(8)));
	size_t ask = entries_bytes(d, room);
	ssize_t n = getdents64(d->handle->fd, entries, ask < sizeof(entries) ? ask : sizeof(entries));

	if (n <= 0)
		return n < 0 ? -errno : 0;
	if (d->opened && !are_few(entries, n))
		d->opened = NULL;
	for (ssize_t at = 0; at < n;) {
		const struct dirent64 *e = (const struct dirent64 *)(entries + at);
		at += e->d_reclen;
		d->handle->position = e->d_off;
		if (!tree_hides(d->handle->dir, e->d_name))
			dirent_put(d, e);
	}
	d->opened = NULL;
	return 1;
}

// Fills `size` bytes of the answer with entries from `offset` on. 1: there may be more; 0: that is the end.
static int directory_read(struct reading *d, uint64_t offset, size_t size)
{
	struct request *r = d->r;
	size_t start = r->answer_bytes, room;
	int more = 1;

	d->watched = node_is_watched(d->handle->dir);
	if (size > r->answer_room - start)
		size = r->answer_room - start;
	if (offset > INT64_MAX || entries_bytes(d, size) < DIRENT_MAX)
		return -EINVAL;
	if ((int64_t)offset != d->handle->position && lseek(d->handle->fd, (off_t)offset, SEEK_SET) < 0)
		return -errno;
	d->handle->position = (int64_t)offset;
	do {
		room = size - (r->answer_bytes - start);
		if (entries_bytes(d, room) < DIRENT_MAX)
			break;
		more = entries_put(d, room);
	} while (more > 0);
	return more < 0 && r->answer_bytes > start ? 1 : more;
}

static int read_opened(struct request *r, bool plus)
{
	struct fuse_read_in in;
	struct reading d = { .r = r, .plus = plus };
	int result;

	if (!request_take(r, &in, sizeof(in)))
		return -EINVAL;
	d.handle = handle_get(r, in.fh);
	if (!d.handle)
		return -EBADF;
	pthread_mutex_lock(&d.handle->lock);
	result = directory_read(&d, in.offset, in.size);
	pthread_mutex_unlock(&d.handle->lock);
	handle_put(r, d.handle);
	return result < 0 ? result : 0;
}

int op_readdir(struct request *r) { return read_opened(r, false); }
int op_readdirplus(struct request *r) { return read_opened(r, true); }

int op_read_directory(struct request *r)
{
	struct fuse_read_in in;
	struct fuse_open_out *out;
	struct reading d = { .r = r };
	size_t head = sizeof(*out);
	int result;

	if (!request_take(r, &in, sizeof(in)))
		return -EINVAL;
	if (in.read_flags & BROKER_READ_OPEN)
		head += sizeof(*d.opened);
	if (in.size < head)
		return -EINVAL;
	result = handle_make(r, &d.handle);
	if (result)
		return result;
	d.plus = !(in.read_flags & BROKER_READ_NAMES);
	d.handle->refs++; // ours
	result = handle_publish(r, d.handle);
	if (result) {
		handle_free(d.handle);
		return result;
	}
	out = request_put(r, sizeof(*out));
	if (in.read_flags & BROKER_READ_OPEN)
		d.opened = request_put(r, sizeof(*d.opened));
	if (in.read_flags & BROKER_READ_WATCH)
		out->padding = (uint32_t)-watch_add(r->broker, d.handle->dir, BROKER_WATCH_DEFAULT);
	pthread_mutex_lock(&d.handle->lock);
	result = directory_read(&d, 0, in.size - head);
	pthread_mutex_unlock(&d.handle->lock);
	out->fh = result > 0 ? d.handle->fh : WHOLE_FH;
	out->open_flags = d.exact ? BROKER_FOPEN_EXACT : 0;
	if (in.read_flags & BROKER_READ_WATCH && !out->padding && d.watched)
		out->open_flags |= BROKER_FOPEN_COMPLETE;
	if (result <= 0)
		handle_remove(r, d.handle->fh);
	handle_put(r, d.handle);
	return result < 0 ? result : 0;
}

int op_fsyncdir(struct request *r)
{
	struct fuse_fsync_in in;
	struct handle *h;
	int error;

	if (!request_take(r, &in, sizeof(in)))
		return -EINVAL;
	h = handle_get(r, in.fh);
	if (!h)
		return -EBADF;
	error = (in.fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(h->fd) : fsync(h->fd)) ? -errno : 0;
	handle_put(r, h);
	return error;
}
