// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "broker_fakes.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "abi/broker.h"

#define CHANNELS  2
#define NODES_MAX 32768u // some file systems give no inode number twice

unsigned fake_requests, fake_requests_of[64], fake_descriptors;
bool fake_watches, fake_lose_descriptors, fake_incoherent;
uint32_t fake_interruptions, fake_pages_absent;
uint64_t fake_unsupported, mangle_unique;
void (*fake_mangle)(uint32_t opcode, char *answer, size_t *size, bool *with_descriptor);

static char root[64];
static struct {
	char path[512];
	ino_t ino;
} nodes[NODES_MAX];
static uint64_t node_count;

static struct answer {
	char bytes[BROKER_MESSAGE_MAX_BYTES];
	size_t size, used;
	int fd;       // -1, or the first of
	int more[31]; // more_count
	unsigned more_count;
	bool there;
} answers[CHANNELS];

// ---- the host ----

const char *fake_broker_root(void) { return root; }

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *f)
{
	(void)s, (void)type, (void)f;
	return remove(path);
}

void fake_broker_stop(void) { nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

void fake_broker_start(void)
{
	strcpy(root, "/tmp/unit-broker-XXXXXX");
	if (!mkdtemp(root))
		abort();
	node_count = 2;
	strcpy(nodes[1].path, root);
	memset(fake_requests_of, 0, sizeof(fake_requests_of));
}

static const char *under_root(const char *name)
{
	static char path[512];
	snprintf(path, sizeof(path), "%s/%s", root, name);
	return path;
}

void fake_host_write(const char *name, const char *text)
{
	int fd = open(under_root(name), O_CREAT | O_WRONLY | O_TRUNC, 0644);
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		abort();
	close(fd);
}

void fake_host_mkdir(const char *name)
{
	if (mkdir(under_root(name), 0755))
		abort();
}

void fake_host_remove(const char *name) { remove(under_root(name)); }

void fake_host_rename(const char *from, const char *to)
{
	char old[512];
	strcpy(old, under_root(from));
	if (rename(old, under_root(to)))
		abort();
}

bool fake_host_text(const char *name, char *out, size_t size)
{
	int fd = open(under_root(name), O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);
	if (fd >= 0)
		close(fd);
	out[n < 0 ? 0 : n] = 0;
	return n >= 0;
}

// ---- nodes ----

static uint64_t node_of(const char *path, ino_t ino)
{
	for (uint64_t k = 1; k < node_count; k++)
		if (nodes[k].ino == ino && !strcmp(nodes[k].path, path))
			return k;
	if (node_count >= NODES_MAX)
		abort();
	strcpy(nodes[node_count].path, path);
	nodes[node_count].ino = ino;
	return node_count++;
}

uint64_t fake_node(const char *name)
{
	struct stat s;
	const char *path = *name ? under_root(name) : root;
	if (!*name)
		return 1;
	return lstat(path, &s) ? 0 : node_of(path, s.st_ino);
}

static void attributes(const struct stat *s, struct fuse_attr *a)
{
	*a = (struct fuse_attr){ .ino = s->st_ino,
				 .size = (uint64_t)s->st_size,
				 .blocks = (uint64_t)s->st_blocks,
				 .mode = s->st_mode,
				 .nlink = (uint32_t)s->st_nlink,
				 .uid = s->st_uid,
				 .gid = s->st_gid,
				 .blksize = 4096,
				 .atime = (uint64_t)s->st_atim.tv_sec,
				 .mtime = (uint64_t)s->st_mtim.tv_sec,
				 .ctime = (uint64_t)s->st_ctim.tv_sec,
				 .atimensec = (uint32_t)s->st_atim.tv_nsec,
				 .mtimensec = (uint32_t)s->st_mtim.tv_nsec,
				 .ctimensec = (uint32_t)s->st_ctim.tv_nsec };
}

static unsigned valid(void) { return fake_watches ? 86400 : 1; }

static int entry(const char *path, struct fuse_entry_out *e)
{
	struct stat s;
	memset(e, 0, sizeof(*e));
	e->entry_valid = valid();
	if (lstat(path, &s))
		return errno == ENOENT ? 0 : -errno;
	e->nodeid = node_of(path, s.st_ino);
	e->attr_valid = s.st_nlink == 1 ? valid() : 1;
	attributes(&s, &e->attr);
	return 0;
}

// ---- operations ----

struct request {
	struct fuse_in_header *head;
	char *at;
	struct answer *a;
	const char *path; // of the node
};

static void put(struct request *r, const void *data, size_t size)
{
	memcpy(r->a->bytes + r->a->size, data, size);
	r->a->size += size;
}

static const char *child(struct request *r, const char *name)
{
	static char paths[4][512];
	static unsigned next;
	char *path = paths[next++ % 4];
	snprintf(path, 512, "%s/%s", r->path, name);
	return path;
}

static int answer_entry(struct request *r, const char *path, int failed)
{
	struct fuse_entry_out e;
	if (failed)
		return -errno;
	int error = entry(path, &e);
	put(r, &e, sizeof(e));
	return error;
}

static uint32_t file_open_flags(void)
{
	return BROKER_FOPEN_PASSTHROUGH | (fake_incoherent ? 0 : BROKER_FOPEN_COHERENT);
}

static int answer_open(struct request *r, int fd)
{
	struct fuse_open_out o = { .open_flags = file_open_flags() };
	if (fd < 0)
		return -errno;
	put(r, &o, sizeof(o));
	r->a->fd = fd;
	return 0;
}

static int op_lookup_open(struct request *r)
{
	struct broker_lookup_open_in *in = (void *)r->at;
	struct fuse_entry_out e;
	const char *path = child(r, r->at + sizeof(*in));
	int error = entry(path, &e);
	if (error)
		return error;
	put(r, &e, sizeof(e));
	int fd = S_ISREG(e.attr.mode) ? open(path, (int)in->flags) : (errno = EISDIR, -1);
	struct fuse_open_out o = { .fh = fd < 0 ? UINT64_MAX : 0, .padding = fd < 0 ? (uint32_t)errno : 0 };
	o.open_flags = fd < 0 ? 0 : file_open_flags();
	put(r, &o, sizeof(o));
	r->a->fd = fd;
	return 0;
}

static int op_walk(struct request *r)
{
	struct broker_walk_out head = { 0 };
	struct fuse_entry_out entries[BROKER_WALK_MAX];
	char path[1024], text[BROKER_LINK_MAX];
	snprintf(path, sizeof(path), "%s", r->path);
	for (char *name = strtok(r->at, "/"); name && head.count < BROKER_WALK_MAX; name = strtok(NULL, "/")) {
		struct fuse_entry_out *e = &entries[head.count];
		snprintf(path + strlen(path), sizeof(path) - strlen(path), "/%s", name);
		int error = entry(path, e);
		if (error && !head.count)
			return error;
		head.count += !error;
		if (error || !S_ISDIR(e->attr.mode))
			break;
	}
	ssize_t n = readlink(path, text, sizeof(text));
	head.link_bytes = n > 0 ? (uint32_t)n : 0;
	put(r, &head, sizeof(head));
	put(r, entries, head.count * sizeof(*entries));
	put(r, text, head.link_bytes);
	return 0;
}

static void put_file(struct request *r, int fd)
{
	if (fd >= 0 && r->a->fd < 0)
		r->a->fd = fd;
	else if (fd >= 0)
		r->a->more[r->a->more_count++] = fd;
}

static int op_open_many(struct request *r)
{
	struct broker_open_many_in *in = (void *)r->at;
	uint64_t *ids = (void *)(in + 1);
	for (uint32_t k = 0; k < in->count; k++) {
		int fd = open(nodes[ids[k] < node_count ? ids[k] : 0].path, O_RDONLY);
		uint32_t error = fd < 0 ? (uint32_t)errno : 0;
		put(r, &error, sizeof(error));
		put_file(r, fd);
	}
	return 0;
}

static int op_create(struct request *r)
{
	struct fuse_create_in *in = (void *)r->at;
	const char *path = child(r, r->at + sizeof(*in));
	int fd = open(path, (int)in->flags | O_CREAT, in->mode & 07777);
	int error = fd < 0 ? -errno : answer_entry(r, path, 0);
	return error ? error : answer_open(r, fd);
}

static int op_getattr(struct request *r)
{
	struct fuse_attr_out out = { .attr_valid = 1 };
	struct stat s;
	if (lstat(r->path, &s))
		return -ESTALE;
	out.attr_valid = s.st_nlink == 1 || S_ISDIR(s.st_mode) ? valid() : 1;
	attributes(&s, &out.attr);
	put(r, &out, sizeof(out));
	return 0;
}

static int op_setattr(struct request *r)
{
	struct fuse_setattr_in *in = (void *)r->at;
	if (in->valid & FATTR_MODE && chmod(r->path, in->mode & 07777))
		return -errno;
	if (in->valid & FATTR_SIZE && truncate(r->path, (off_t)in->size))
		return -errno;
	struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };
	if (in->valid & FATTR_MTIME)
		t[1] = in->valid & FATTR_MTIME_NOW ? (struct timespec){ .tv_nsec = UTIME_NOW }
						   : (struct timespec){ (time_t)in->mtime, in->mtimensec };
	utimensat(AT_FDCWD, r->path, t, 0);
	return op_getattr(r);
}

static int op_rename(struct request *r, uint64_t to_dir, const char *names)
{
	const char *old = child(r, names);
	char path[1024];
	if (to_dir >= node_count) // a lie of ours, believed
		return -ESTALE;
	snprintf(path, sizeof(path), "%s/%s", nodes[to_dir].path, names + strlen(names) + 1);
	for (uint64_t k = 1; k < node_count; k++)
		if (!strcmp(nodes[k].path, old))
			snprintf(nodes[k].path, sizeof(nodes[k].path), "%.511s", path);
	return rename(old, path) ? -errno : 0;
}

static int op_read_directory(struct request *r)
{
	struct fuse_read_in *in = (void *)r->at;
	struct fuse_open_out o = { .fh = UINT64_MAX, .open_flags = BROKER_FOPEN_EXACT };
	if (in->read_flags & BROKER_READ_WATCH && fake_watches)
		o.open_flags |= BROKER_FOPEN_COMPLETE;
	struct dirent **list; // in order of names, whatever file system this runs on
	int count = scandir(r->path, &list, NULL, alphasort);
	if (count < 0)
		return -errno;
	put(r, &o, sizeof(o));
	struct broker_read_opened none = { 0 }, *opened = (void *)(r->a->bytes + r->a->size);
	bool open_files = in->read_flags & BROKER_READ_OPEN;
	if (open_files)
		put(r, &none, sizeof(none));
	for (int k = 0; k < count; k++) {
		struct dirent *e = list[k];
		struct fuse_direntplus plus = { .dirent = { .ino = e->d_ino,
							    .off = (uint64_t)k + 1,
							    .namelen = (uint32_t)strlen(e->d_name),
							    .type = e->d_type } };
		size_t size = FUSE_DIRENTPLUS_SIZE(&plus);
		size_t skipped = in->read_flags & BROKER_READ_NAMES ? offsetof(struct fuse_direntplus, dirent) : 0;
		size_t head = FUSE_NAME_OFFSET_DIRENTPLUS - skipped;
		if (e->d_name[0] != '.' && !skipped)
			entry(child(r, e->d_name), &plus.entry_out);
		if (open_files && e->d_type == DT_REG && opened->count < 20) {
			opened->nodes[opened->count++] = plus.entry_out.nodeid;
			put_file(r, open(child(r, e->d_name), O_RDONLY));
		}
		char *at = r->a->bytes + r->a->size;
		size -= skipped;
		memset(at, 0, size);
		memcpy(at, (char *)&plus + skipped, head);
		memcpy(at + head, e->d_name, plus.dirent.namelen);
		r->a->size += size;
		free(e);
	}
	free(list);
	return 0;
}

static int op_init(struct request *r)
{
	struct fuse_init_in *in = (void *)r->at;
	struct fuse_init_out out = { .major = 7, .minor = 36, .flags = in->flags, .max_write = 65536 };
	put(r, &out, sizeof(out));
	return 0;
}

static int op_statfs(struct request *r)
{
	struct fuse_statfs_out out = { .st = { .blocks = 100, .bfree = 50, .bsize = 4096, .namelen = 255 } };
	put(r, &out, sizeof(out));
	return 0;
}

static int serve(struct request *r)
{
	char *name = r->at;
	switch (r->head->opcode) {
	case FUSE_INIT: return op_init(r);
	case FUSE_DESTROY: return 0;
	case FUSE_LOOKUP: return answer_entry(r, child(r, name), 0);
	case FUSE_GETATTR: return op_getattr(r);
	case FUSE_SETATTR: return op_setattr(r);
	case FUSE_STATFS: return op_statfs(r);
	case FUSE_OPEN: return answer_open(r, open(r->path, (int)((struct fuse_open_in *)r->at)->flags));
	case FUSE_CREATE: return op_create(r);
	case FUSE_UNLINK: return unlink(child(r, name)) ? -errno : 0;
	case FUSE_RMDIR: return rmdir(child(r, name)) ? -errno : 0;
	case FUSE_RENAME:
		return op_rename(r, ((struct fuse_rename_in *)r->at)->newdir, r->at + sizeof(struct fuse_rename_in));
	case FUSE_MKDIR:
		name = r->at + sizeof(struct fuse_mkdir_in);
		return answer_entry(r, child(r, name),
				    mkdir(child(r, name), ((struct fuse_mkdir_in *)r->at)->mode & 07777));
	case FUSE_SYMLINK: return answer_entry(r, child(r, name), symlink(name + strlen(name) + 1, child(r, name)));
	case FUSE_READLINK: {
		char text[4096];
		ssize_t n = readlink(r->path, text, sizeof(text));
		if (n > 0)
			put(r, text, (size_t)n);
		return n < 0 ? -errno : 0;
	}
	case BROKER_LOOKUP_OPEN: return op_lookup_open(r);
	case BROKER_WALK: return op_walk(r);
	case BROKER_OPEN_MANY: return op_open_many(r);
	case BROKER_READ_DIRECTORY: return op_read_directory(r);
	case FUSE_SYNCFS: return 0;
	case BROKER_WATCH: {
		struct broker_watch_out out = { .complete = fake_watches };
		put(r, &out, sizeof(out));
		return 0;
	}
	}
	return -ENOSYS;
}

static unsigned slot_of(uint32_t opcode) { return opcode < 56 ? opcode : 56 + opcode % 8; }

static bool is_silent(uint32_t opcode)
{
	return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == BROKER_UNWATCH;
}

// ---- port/host.h ----

int port_host_channel(unsigned index) { return index < CHANNELS ? 1000 + (int)index : -1; }
int port_host_events(void) { return 1100; }

static bool interrupted(void)
{
	if (!fake_interruptions)
		return false;
	fake_interruptions--;
	return true;
}

long port_message_send(int fd, const struct iovec *v, unsigned count)
{
	static char message[BROKER_MESSAGE_MAX_BYTES] __attribute__((aligned(16)));
	struct answer *a = &answers[fd - 1000];
	size_t size = 0;
	if (interrupted())
		return -EINTR;
	for (unsigned k = 0; k < count; k++) {
		memcpy(message + size, v[k].iov_base, v[k].iov_len);
		size += v[k].iov_len;
	}
	struct request r = { .head = (void *)(message + sizeof(struct broker_request)), .a = a };
	assert(((struct broker_request *)message)->size_bytes == size - sizeof(struct broker_request));
	assert(r.head->len == size - sizeof(struct broker_request));
	message[size] = 0;
	r.at = (char *)(r.head + 1);
	r.path = nodes[r.head->nodeid < node_count ? r.head->nodeid : 0].path;
	fake_requests++;
	fake_requests_of[slot_of(r.head->opcode)]++;
	if (is_silent(r.head->opcode))
		return (long)size;
	assert(!a->there); // the last answer was taken
	a->size = sizeof(struct fuse_out_header);
	a->fd = -1;
	a->more_count = 0;
	int error = fake_unsupported >> slot_of(r.head->opcode) & 1 ? -ENOSYS : serve(&r);
	struct fuse_out_header out = { .error = error, .unique = r.head->unique };
	if (error)
		a->size = sizeof(out);
	out.len = (uint32_t)a->size;
	memcpy(a->bytes, &out, sizeof(out));
	bool with = a->fd >= 0;
	mangle_unique = out.unique;
	if (fake_mangle)
		fake_mangle(r.head->opcode, a->bytes, &a->size, &with);
	if (a->fd >= 0 && !with) {
		close(a->fd);
		a->fd = -1;
		while (a->more_count)
			close(a->more[--a->more_count]);
	}
	a->there = true;
	return (long)size;
}

long port_message_receive(int fd, const struct iovec *v, unsigned count, int *fds, unsigned *fd_count)
{
	struct answer *a = &answers[fd - 1000];
	size_t at = 0;
	if (interrupted())
		return -EINTR;
	unsigned room = fd_count ? *fd_count : 0;
	if (fd_count)
		*fd_count = 0;
	if (!a->there)
		return 0;
	a->there = false;
	for (unsigned k = 0; k < count && at < a->size; k++) {
		size_t n = v[k].iov_len < a->size - at ? v[k].iov_len : a->size - at;
		memcpy(v[k].iov_base, a->bytes + at, n);
		at += n;
	}
	if (a->fd >= 0 && room && !fake_lose_descriptors) {
		fds[(*fd_count)++] = a->fd;
		for (unsigned k = 0; k < a->more_count; k++)
			fds[(*fd_count)++] = a->more[k];
		fake_descriptors += *fd_count;
	} else if (a->fd >= 0) {
		close(a->fd);
		while (a->more_count)
			close(a->more[--a->more_count]);
		if (fake_lose_descriptors)
			return -EMFILE;
	}
	return (long)at;
}

static long result(long n) { return n < 0 ? -errno : n; }

static bool absent(void)
{
	if (!fake_pages_absent)
		return false;
	fake_pages_absent--;
	return true;
}

long port_file_read(int fd, const struct iovec *v, unsigned count, int64_t offset, int flags)
{
	if (interrupted())
		return -EINTR;
	return absent() ? -EFAULT : result(preadv2(fd, v, (int)count, offset, flags));
}

long port_file_write(int fd, const struct iovec *v, unsigned count, int64_t offset, int flags)
{
	if (interrupted())
		return -EINTR;
	return absent() ? -EFAULT : result(pwritev2(fd, v, (int)count, offset, flags));
}

// One window, which is the host's own reading of what was opened.
uint64_t fake_window;
unsigned fake_windows_opened;
static int fake_window_file = -1;
static uint64_t fake_window_size;

bool port_window_read(uint64_t file, uint64_t offset, void *to, size_t size)
{
	return file == fake_window && offset + size <= fake_window_size &&
	       pread(fake_window_file, to, size, (off_t)offset) == (ssize_t)size;
}

bool port_window_wanted(uint64_t file, uint64_t offset, uint64_t started)
{
	(void)offset, (void)started;
	return file != fake_window;
}

uint64_t port_window_clock(void) { return 0; }

void port_window_close(uint64_t file)
{
	if (!file || file != fake_window)
		return;
	close(fake_window_file);
	fake_window = 0;
}

void port_window_open(uint64_t file, int descriptor, uint64_t offset, uint64_t size)
{
	(void)offset;
	port_window_close(fake_window);
	fake_windows_opened++;
	fake_window = file;
	fake_window_file = dup(descriptor);
	fake_window_size = size;
}

int port_file_stat(int fd, struct stat *out) { return (int)result(syscall(SYS_fstat, fd, out)); }
int port_file_sync(int fd, bool data_only) { return (int)result(data_only ? fdatasync(fd) : fsync(fd)); }
int port_file_truncate(int fd, uint64_t size) { return (int)result(ftruncate(fd, (off_t)size)); }
int port_file_allocate(int fd, int mode, int64_t offset, int64_t size)
{
	return (int)result(fallocate(fd, mode, offset, size));
}
int64_t port_file_seek(int fd, int64_t offset, int whence) { return result(lseek(fd, offset, whence)); }
long port_file_copy(int from, int64_t from_offset, int to, int64_t to_offset, size_t size)
{
	return result(copy_file_range(from, &from_offset, to, &to_offset, size, 0));
}
void port_file_close(int fd)
{
	if (fd < 1000)
		fake_descriptors--;
	if (fd < 1000 && close(fd))
		abort();
}
