// SPDX-License-Identifier: Apache-2.0
// Fuzzes a granted tree through the VFS: whatever the broker answers and reports, programs get errors or files, and nothing of
// the kernel's comes apart or stays behind.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

_Noreturn void abort(void);
#define assert_int_equal(a, b) ((a) == (b) ? (void)0 : abort())
#define fail_msg(...)          abort()

#include "../../drivers/fs/test_support.h"

#include <asm/stat.h>
#include <linux/fuse.h>
#include <linux/inotify.h>
#include <linux/uio.h>

#include "abi/broker.h"
#include "broker.h"
#include "fs.h"
#include "kernel/leak.h"
#include "port/host.h"

#define CHANNELS    3   // sockets to the broker: an answer may be left in one while others are used
#define FIRST       3   // the number of the first
#define FILES       500 // descriptors from here on
#define DIRECTORIES 4   // in the root, by an honest broker's account
#define FIRST_NODE  10  // theirs

static const uint8_t *input;
static size_t input_left;
static struct question {
	struct fuse_in_header head;
	struct fuse_read_in reading; // the argument, of a directory
} asked[CHANNELS], question;         // by channel; the one that is answered
static unsigned files_held, files_offered;

// ---- the host: what the input says ----

static uint64_t take(unsigned bytes)
{
	uint64_t value = 0;
	for (; bytes && input_left; bytes--, input_left--)
		value = value << 8 | *input++;
	return value;
}

int port_host_channel(unsigned index) { return index < CHANNELS ? FIRST + (int)index : -1; }
int port_host_events(void) { return FIRST + CHANNELS; }

long port_message_send(int fd, const struct iovec *v, unsigned count)
{
	struct question *q = &asked[fd - FIRST];
	*q = (struct question){ .head = *(const struct fuse_in_header *)v[1].iov_base };
	if (q->head.opcode == BROKER_READ_DIRECTORY)
		memcpy(&q->reading, (const char *)v[1].iov_base + sizeof(q->head), sizeof(q->reading));
	return 1;
}

static struct fuse_attr attributes(mode_t mode)
{
	return (struct fuse_attr){ .ino = 9, .size = 3, .mode = mode, .nlink = 1, .blksize = 4096 };
}

// One entry of a directory: d0 to d3 in the root, files in those. The next one's place.
static char *entry(char *out, unsigned n, const struct fuse_entry_out *like)
{
	const bool root = question.head.nodeid == FUSE_ROOT_ID, names = question.reading.read_flags & BROKER_READ_NAMES;
	struct fuse_direntplus d = { .entry_out = *like,
				     .dirent = { .ino = n + 1, .off = n + 1, .namelen = 2, .type = root ? 4 : 8 } };
	const size_t skipped = names ? offsetof(struct fuse_direntplus, dirent) : 0;
	const char name[8] = { root ? 'd' : 'f', (char)('0' + n) };
	d.entry_out.nodeid = root ? FIRST_NODE + n : question.head.nodeid * 16 + n;
	d.entry_out.attr.mode = root ? 040755 : 0100644;
	d.entry_out.attr.ino = d.entry_out.nodeid;
	memcpy(out, (char *)&d + skipped, FUSE_NAME_OFFSET_DIRENTPLUS - skipped);
	out += FUSE_NAME_OFFSET_DIRENTPLUS - skipped;
	memcpy(out, name, sizeof(name));
	return out + sizeof(name);
}

// All of a directory, its files open if that was asked for.
static char *directory(char *out, unsigned count, const struct fuse_entry_out *like)
{
	struct broker_read_opened opened = { 0 };
	if (question.reading.read_flags & BROKER_READ_OPEN) {
		for (; question.head.nodeid != FUSE_ROOT_ID && opened.count < count; opened.count++)
			opened.nodes[opened.count] = question.head.nodeid * 16 + opened.count;
		files_offered = opened.count;
		memcpy(out, &opened, sizeof(opened));
		out += sizeof(opened);
	}
	for (unsigned n = 0; n < count; n++)
		out = entry(out, n, like);
	return out;
}

// What an honest broker might say. Bytes.
static size_t honest(char *out)
{
	static const mode_t modes[] = { 0100644, 040755, 0120777, 0100755 };
	uint8_t what = (uint8_t)take(1);
	struct fuse_entry_out e = { .nodeid = what >> 5 ? 2 + (what >> 5) : 0,
				    .entry_valid = what & 4 ? 86400 : 1,
				    .attr_valid = what & 8 ? 86400 : 1,
				    .attr = attributes(modes[what & 3]) };
	struct fuse_open_out o = { .fh = what & 16 ? UINT64_MAX : 1,
				   .open_flags = BROKER_FOPEN_EXACT | (what & 2 ? BROKER_FOPEN_COMPLETE : 0) };
	struct fuse_attr_out a = { .attr_valid = 1,
				   .attr = attributes(question.head.nodeid == 1 ? 040755 : modes[what & 3]) };
	struct fuse_init_out i = { .major = 7, .minor = 36, .flags = FUSE_DO_READDIRPLUS, .max_write = 65536 };
#define SAY(object) (memcpy(out, &(object), sizeof(object)), out += sizeof(object))
	char *start = out;
	files_offered = 1;
	switch (question.head.opcode) {
	case FUSE_INIT: SAY(i); break;
	case FUSE_GETATTR:
	case FUSE_SETATTR: SAY(a); break;
	case FUSE_OPEN:
	case FUSE_OPENDIR: SAY(o); break;
	case FUSE_CREATE:
	case FUSE_TMPFILE:
	case BROKER_LOOKUP_OPEN:
		SAY(e);
		SAY(o);
		break;
	case FUSE_READLINK: *out++ = 'f'; break;
	case BROKER_WALK: {
		struct broker_walk_out w = { .count = 1 + what % BROKER_WALK_MAX, .link_bytes = what >> 3 & 1 };
		struct fuse_entry_out above = e;
		above.attr = attributes(040755);
		SAY(w);
		for (unsigned k = 1; k < w.count; k++) {
			above.nodeid = 8 + k;
			SAY(above);
		}
		SAY(e);
		if (w.link_bytes)
			*out++ = 'f';
		break;
	}
	case BROKER_READ_DIRECTORY: SAY(o); /* fall through */
	case FUSE_READDIRPLUS: out = directory(out, what % (DIRECTORIES + 1), &e); break;
	default: SAY(e); break;
	}
	return (size_t)(out - start);
}

long port_message_receive(int fd, const struct iovec *v, unsigned count, int *fds, unsigned *fd_count)
{
	char message[4096] = { 0 };
	uint8_t kind = (uint8_t)take(1);
	size_t size = sizeof(struct fuse_out_header), at = 0;
	question = asked[fd - FIRST];
	struct fuse_out_header head = { .unique = question.head.unique };
	if (kind & 3)
		size += honest(message + size);
	else
		for (size_t n = take(2) % 2048; n; n--)
			message[size++] = (char)take(1);
	for (unsigned lies = kind & 4 ? (unsigned)take(1) % 4 : 0; lies; lies--)
		message[take(2) % size] = (char)take(1);
	head.len = (uint32_t)(kind & 8 ? take(2) : size);
	head.error = kind & 16 ? -(int)take(1) : 0;
	memcpy(message, &head, sizeof(head));
	*fd_count = kind & 32 ? 0 : min(kind & 64 ? (unsigned)take(1) : files_offered, *fd_count);
	for (unsigned k = 0; k < *fd_count; k++, files_held++)
		fds[k] = FILES;
	for (unsigned k = 0; k < count && at < size; k++) {
		size_t n = min(v[k].iov_len, size - at);
		memcpy(v[k].iov_base, message + at, n);
		at += n;
	}
	return (long)at;
}

long port_file_read(int fd, const struct iovec *v, unsigned count, int64_t offset, int flags)
{
	return (long)min(take(1), v[0].iov_len);
}
long port_file_write(int fd, const struct iovec *v, unsigned count, int64_t offset, int flags)
{
	return (long)min(take(1), v[0].iov_len);
}
int port_file_stat(int fd, struct stat *out)
{
	memset(out, 0, sizeof(*out));
	out->st_mode = (unsigned)take(2);
	out->st_size = (long)take(8);
	out->st_nlink = take(1);
	return 0;
}
int port_file_sync(int fd, bool data_only) { return 0; }
int port_file_truncate(int fd, uint64_t size) { return 0; }
int port_file_allocate(int fd, int mode, int64_t offset, int64_t size) { return 0; }
int64_t port_file_seek(int fd, int64_t offset, int whence) { return (int64_t)take(8); }
long port_file_copy(int from, int64_t from_offset, int to, int64_t to_offset, size_t size) { return 0; }
void port_file_close(int fd)
{
	if (fd == FILES && !files_held--)
		abort();
}

bool port_window_read(uint64_t file, uint64_t offset, void *to, size_t size) { return false; }
bool port_window_wanted(uint64_t file, uint64_t offset, uint64_t started) { return true; }
uint64_t port_window_clock(void) { return 0; }
void port_window_open(uint64_t file, int descriptor, uint64_t offset, uint64_t size) { assert((int64_t)size >= 0); }
void port_window_close(uint64_t file) {}

// ---- a program ----

static void read_directory(const char *path)
{
	char entries[2048];
	long fd = sys_open(U(path), O_RDONLY, 0);
	for (unsigned k = 0; fd >= 0 && k < 4; k++)
		sys_getdents64((int)fd, U(entries), sizeof(entries));
	sys_fsync((int)fd);
	sys_close((int)fd);
}

static void use_file(const char *path, int flags)
{
	char text[64];
	struct stat s;
	long fd = sys_open(U(path), flags, 0644);
	sys_write((int)fd, U(path), 3);
	sys_lseek((int)fd, 0, 2);
	for (unsigned k = 0; k < 34; k++) // window.c wants that many
		sys_pread64((int)fd, U(text), sizeof(text), 0);
	sys_fstat((int)fd, U(&s));
	sys_ftruncate((int)fd, 7);
	sys_close((int)fd);
}

static void reports(void)
{
	char message[300];
	size_t size = take(1);
	for (size_t k = 0; k < size; k++)
		message[k] = (char)take(1);
	broker_reports_take(message, size);
}

// A walk through a tree that has earned that the next directory is asked for ahead, with its files open.
static void walk(void)
{
	char path[] = "/g/d0/f0";
	struct fs_connection *c = fs_connections();
	c->next_unique += 1000; // no young cell
	fake_time_skip_ns += 2 * NSEC_PER_SEC;
	read_directory("/g");
	for (unsigned k = 0; k < DIRECTORIES; k++) {
		c->ahead_credit = 8;
		c->walk_right = 8;
		path[4] = (char)('0' + k);
		path[5] = 0;
		read_directory(path);
		path[5] = '/';
		use_file(path, O_RDONLY);
		if (take(1) & 1)
			reports();
	}
}

static void one_life(void)
{
	struct stat s;
	char text[256];
	sys_stat(U("/g/a/b"), U(&s));
	use_file("/g/a/f", O_RDWR | O_CREAT);
	use_file("/g/f", O_RDONLY);
	read_directory("/g");
	read_directory("/g/a");
	walk();
	sys_mkdir(U("/g/a/d"), 0755);
	reports();
	sys_symlink(U("f"), U("/g/l"));
	use_file("/g/l", O_WRONLY | O_APPEND);
	sys_readlink(U("/g/l"), U(text), sizeof(text));
	sys_link(U("/g/f"), U("/g/a/g"));
	sys_rename(U("/g/a/g"), U("/g/h"));
	sys_chmod(U("/g/h"), 0600);
	sys_truncate(U("/g/h"), 9);
	use_file("/g/a", O_RDWR | 020000000 | O_DIRECTORY); // O_TMPFILE
	sys_unlink(U("/g/h"));
	sys_rmdir(U("/g/a/d"));
	fake_time_skip_ns += 2 * NSEC_PER_SEC;
	sys_stat(U("/g/a/f"), U(&s));
	reports();
	dentry_shrink(4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool made;
	if (!made) {
		fake_kernel_create();
		sys_mkdir(U("/g"), 0755);
	}
	made = true;
	uint64_t inodes = inode_count;
	input = data;
	input_left = size;
	for (unsigned k = 0; k < 2; k++) {
		long fd = sys_inotify_init1(IN_NONBLOCK);
		if (mount_at("broker", "fs0", "/g", 0, NULL) == 0) {
			sys_inotify_add_watch((int)fd, U("/g"), IN_ALL_EVENTS);
			while (input_left > 4)
				one_life();
			assert_int_equal(sys_umount2(U("/g"), 0), 0);
		}
		sys_close((int)fd);
	}
	assert_int_equal(inode_count, inodes);
	assert_int_equal(files_held, 0);
	return 0;
}
