// SPDX-License-Identifier: Apache-2.0
// Every operation, done by a cell in good faith: in a thread here, and against the confined process.
#include "broker/test_client.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <setjmp.h>
#include <stddef.h>
#include <cmocka.h>

static __attribute__((unused)) int setup_threads(void **state)
{
	static struct client client;

	client_start(&client, &(struct client_options){ 0 });
	*state = &client;
	return 0;
}

static __attribute__((unused)) int setup_process(void **state)
{
	static struct client client;

	client_start(&client, &(struct client_options){ .process = true });
	*state = &client;
	return 0;
}

static __attribute__((unused)) int setup_no_devices(void **state)
{
	static struct client client;

	client_start(&client, &(struct client_options){ .no_devices = true });
	*state = &client;
	return 0;
}

static __attribute__((unused)) int setup_read_only(void **state)
{
	static struct client client;

	client_start(&client, &(struct client_options){ .read_only = true });
	*state = &client;
	return 0;
}

static int teardown(void **state)
{
	client_stop(*state);
	return 0;
}

static void session_begins_and_ends(void **state)
{
	struct client *c = *state;
	struct fuse_init_in in = { .major = 7, .minor = 31, .flags = FUSE_DO_READDIRPLUS | FUSE_POSIX_ACL };
	const struct fuse_init_out *out = client_payload(c);

	assert_int_equal(client_call(c, FUSE_INIT, 0, &in, sizeof(in), NULL), 0);
	assert_int_equal(out->major, 7);
	assert_int_equal(out->minor, 31);
	assert_int_equal(out->flags, FUSE_DO_READDIRPLUS);
	in.major = 8;
	assert_int_equal(client_call(c, FUSE_INIT, 0, &in, sizeof(in), NULL), -EPROTO);
	assert_int_equal(client_call(c, FUSE_DESTROY, 0, NULL), 0);
}

static void lookup_tells_attributes(void **state)
{
	struct client *c = *state;
	struct fuse_entry_out e;
	struct fuse_attr a;
	struct stat s;

	client_write(c, "root/file", "12345");
	assert_int_equal(client_lookup(c, 1, "file", &e), 0);
	assert_int_equal(stat(client_path(c, "root/file"), &s), 0);
	assert_int_equal(e.attr.ino, s.st_ino);
	assert_int_equal(e.attr.size, 5);
	assert_int_equal(e.attr.mode, S_IFREG | 0644);
	assert_int_equal(e.attr.mtime, s.st_mtim.tv_sec);
	assert_int_equal(e.attr.mtimensec, s.st_mtim.tv_nsec);
	assert_int_equal(e.entry_valid, 1);
	assert_int_equal(client_attributes(c, e.nodeid, &a), 0);
	assert_memory_equal(&a, &e.attr, sizeof(a));
	assert_int_equal(client_attributes(c, 1, &a), 0);
	assert_true(S_ISDIR(a.mode));
}

static void missing_name_is_an_entry_without_node(void **state)
{
	struct client *c = *state;
	const struct fuse_entry_out *e = client_payload(c);

	assert_int_equal(client_call(c, FUSE_LOOKUP, 1, "nothing", (size_t)8, NULL), 0);
	assert_int_equal(e->nodeid, 0);
	assert_int_equal(e->entry_valid, 1);
}

static void hard_links_share_a_node(void **state)
{
	struct client *c = *state;
	struct fuse_link_in in;
	struct fuse_entry_out e;
	uint64_t a, b;

	client_write(c, "root/a", "x");
	a = client_node(c, 1, "a");
	in.oldnodeid = a;
	assert_int_equal(client_call(c, FUSE_LINK, 1, &in, sizeof(in), "b", (size_t)2, NULL), 0);
	memcpy(&e, client_payload(c), sizeof(e));
	assert_int_equal(e.nodeid, a);
	assert_int_equal(e.attr.nlink, 2);
	b = client_node(c, 1, "b");
	assert_int_equal(a, b);
	// Also when the name it was found by last is gone.
	assert_int_equal(client_call(c, FUSE_UNLINK, 1, "b", (size_t)2, NULL), 0);
	assert_int_equal(client_attributes(c, a, &e.attr), 0);
	assert_int_equal(e.attr.nlink, 1);
	assert_int_equal(client_node(c, 1, "a"), a);
}

static void forgotten_node_is_unknown(void **state)
{
	struct client *c = *state;
	struct fuse_attr a;
	uint64_t n;

	client_write(c, "root/file", "");
	n = client_node(c, 1, "file");
	assert_int_equal(client_node(c, 1, "file"), n);
	client_forget(c, n, 1);
	assert_int_equal(client_attributes(c, n, &a), 0);
	client_forget(c, n, 1);
	assert_int_equal(client_attributes(c, n, &a), -ESTALE);
	assert_int_not_equal(client_node(c, 1, "file"), n);
	client_forget(c, 1, 100);
	assert_int_equal(client_attributes(c, 1, &a), 0);
}

static void batch_forget(void **state)
{
	struct client *c = *state;
	struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one one[2];
	} m = { .in = { .count = 2 } };
	struct fuse_attr a;

	client_write(c, "root/a", "");
	client_write(c, "root/b", "");
	m.one[0] = (struct fuse_forget_one){ client_node(c, 1, "a"), 1 };
	m.one[1] = (struct fuse_forget_one){ client_node(c, 1, "b"), 1 };
	client_send(c, FUSE_BATCH_FORGET, 0, &m, sizeof(m));
	assert_int_equal(client_attributes(c, m.one[0].nodeid, &a), -ESTALE);
	assert_int_equal(client_attributes(c, m.one[1].nodeid, &a), -ESTALE);
}

// What the answer says of mappings goes by the file system.
static void open_tells_of_mappings(void **state)
{
	static const unsigned long kinds[] = { EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC };
	struct client *c = *state;
	const struct fuse_open_out *out = client_payload(c);
	bool coherent = false;
	struct fuse_entry_out entry;
	struct statfs s;
	int fd;

	client_write(c, "root/file", "hello");
	assert_int_equal(statfs(client_path(c, "root/file"), &s), 0);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		coherent |= (unsigned long)s.f_type == kinds[i];
	fd = client_open(c, client_node(c, 1, "file"), O_RDONLY);
	assert_int_equal(out->open_flags, BROKER_FOPEN_PASSTHROUGH | (coherent ? BROKER_FOPEN_COHERENT : 0));
	close(fd);
	fd = client_lookup_open(c, 1, "file", O_RDONLY, &entry);
	assert_true(fd >= 0);
	out = (const void *)((const char *)client_payload(c) + sizeof(entry));
	assert_int_equal(out->open_flags, BROKER_FOPEN_PASSTHROUGH | (coherent ? BROKER_FOPEN_COHERENT : 0));
	close(fd);
}

static void open_hands_over_the_descriptor(void **state)
{
	struct client *c = *state;
	char text[8] = "";
	uint64_t n;
	int fd;

	client_write(c, "root/file", "hello");
	n = client_node(c, 1, "file");
	fd = client_open(c, n, O_RDONLY);
	assert_int_equal(read(fd, text, sizeof(text)), 5);
	assert_string_equal(text, "hello");
	assert_int_equal(write(fd, text, 1), -1);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	fd = client_open(c, n, O_RDWR | O_TRUNC);
	assert_int_equal(write(fd, "by", 2), 2);
	close(fd);
	fd = client_open(c, n, O_RDONLY | O_TRUNC);
	assert_int_equal(lseek(fd, 0, SEEK_END), 0);
	close(fd);
	assert_int_equal(client_open(c, n, O_WRONLY | O_PATH), -EINVAL);
	assert_int_equal(client_open(c, 1, O_RDONLY), -EISDIR);
}

static void lookup_and_open_in_one(void **state)
{
	struct client *c = *state;
	struct fuse_entry_out e;
	int fd;

	client_write(c, "root/file", "hello");
	assert_int_equal(mkdir(client_path(c, "root/dir"), 0700), 0);
	assert_int_equal(symlink("file", client_path(c, "root/link")), 0);
	assert_int_equal(mkfifo(client_path(c, "root/fifo"), 0600), 0);
	fd = client_lookup_open(c, 1, "file", O_RDWR | O_TRUNC, &e);
	assert_true(fd >= 0);
	assert_int_equal(e.attr.size, 0); // as it is now
	close(fd);
	assert_int_equal(client_node(c, 1, "file"), e.nodeid);
	assert_int_equal(client_lookup_open(c, 1, "dir", O_RDONLY, &e), -EISDIR);
	assert_true(S_ISDIR(e.attr.mode));
	assert_int_equal(client_lookup_open(c, 1, "link", O_RDONLY, &e), -ELOOP);
	assert_true(S_ISLNK(e.attr.mode));
	assert_int_equal(client_lookup_open(c, 1, "fifo", O_RDONLY, &e), -ENXIO);
	assert_true(S_ISFIFO(e.attr.mode));
	assert_int_equal(client_lookup_open(c, 1, "none", O_RDONLY, &e), -ENOENT);
	assert_int_equal(e.nodeid, 0);
	assert_int_equal(client_lookup_open(c, 1, "file", O_RDONLY | O_DIRECTORY, &e), -EINVAL);
	assert_true(e.nodeid);
}

// The answer to a BROKER_WALK; its entries and the text behind them. -errno.
static int walk(struct client *c, const char *path, struct broker_walk_out *out, struct fuse_entry_out *entries,
		char *link)
{
	int error = client_call(c, BROKER_WALK, 1, path, strlen(path) + 1, NULL);
	const char *at = client_payload(c);

	if (error)
		return error;
	memcpy(out, at, sizeof(*out));
	assert_true(out->count <= BROKER_WALK_MAX && out->link_bytes <= BROKER_LINK_MAX);
	assert_int_equal(c->answer_bytes, sizeof(*out) + out->count * sizeof(*entries) + out->link_bytes);
	memcpy(entries, at + sizeof(*out), out->count * sizeof(*entries));
	memcpy(link, at + sizeof(*out) + out->count * sizeof(*entries), out->link_bytes);
	link[out->link_bytes] = 0;
	return 0;
}

static void many_names_are_looked_up_in_one(void **state)
{
	struct client *c = *state;
	struct fuse_entry_out e[BROKER_WALK_MAX];
	struct broker_walk_out out;
	char link[BROKER_LINK_MAX + 1];

	assert_int_equal(mkdir(client_path(c, "root/a"), 0700), 0);
	assert_int_equal(mkdir(client_path(c, "root/a/b"), 0700), 0);
	client_write(c, "root/a/b/file", "hello");
	assert_int_equal(symlink("b/file", client_path(c, "root/a/link")), 0);
	assert_int_equal(walk(c, "a/b/file", &out, e, link), 0);
	assert_int_equal(out.count, 3);
	assert_int_equal(e[2].attr.size, 5);
	assert_int_equal(client_node(c, 1, "a"), e[0].nodeid);
	assert_int_equal(client_node(c, e[0].nodeid, "b"), e[1].nodeid);
	// Up to what is not there, or has nothing in it.
	assert_int_equal(walk(c, "a/none/file", &out, e, link), 0);
	assert_int_equal(out.count, 2);
	assert_int_equal(e[1].nodeid, 0);
	assert_int_equal(walk(c, "a/b/file/c", &out, e, link), 0);
	assert_int_equal(out.count, 3);
	assert_int_equal(walk(c, "a/link/c", &out, e, link), 0);
	assert_int_equal(out.count, 2);
	assert_true(S_ISLNK(e[1].attr.mode));
	assert_string_equal(link, "b/file");
	// Names that are none, and ways out.
	assert_int_equal(walk(c, "a/../a", &out, e, link), 0);
	assert_int_equal(out.count, 1);
	assert_int_equal(walk(c, "a//b", &out, e, link), 0);
	assert_int_equal(out.count, 1);
	assert_int_equal(walk(c, "../outside", &out, e, link), -EINVAL);
	assert_int_equal(walk(c, "/a", &out, e, link), -EINVAL);
	assert_int_equal(walk(c, "", &out, e, link), -EINVAL);
	assert_int_equal(client_call(c, BROKER_WALK, 1, "a", (size_t)1, NULL), -EINVAL);
	// No more than there is room for; of a link that is too long no text.
	assert_int_equal(mkdir(client_path(c, "root/a/b/c"), 0700), 0);
	assert_int_equal(mkdir(client_path(c, "root/a/b/c/d"), 0700), 0);
	assert_int_equal(mkdir(client_path(c, "root/a/b/c/d/e"), 0700), 0);
	client_write(c, "root/a/b/c/d/e/file", "");
	assert_int_equal(walk(c, "a/b/c/d/e/file", &out, e, link), 0);
	assert_int_equal(out.count, BROKER_WALK_MAX);
	assert_int_equal(
		symlink("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
			"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
			client_path(c, "root/long")),
		0);
	assert_int_equal(walk(c, "long", &out, e, link), 0);
	assert_int_equal(out.count, 1);
	assert_int_equal(out.link_bytes, 0);
}

static void create_makes_and_opens(void **state)
{
	struct client *c = *state;
	struct fuse_entry_out e, again;
	struct stat s;
	int fd = client_create(c, 1, "new", O_RDWR | O_EXCL, &e);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "abc", 3), 3);
	close(fd);
	assert_int_equal(stat(client_path(c, "root/new"), &s), 0);
	assert_int_equal(s.st_size, 3);
	assert_int_equal(s.st_mode, S_IFREG | 0644);
	assert_int_equal(client_create(c, 1, "new", O_RDWR | O_EXCL, &again), -EEXIST);
	fd = client_create(c, 1, "new", O_RDWR, &again);
	assert_true(fd >= 0);
	assert_int_equal(again.nodeid, e.nodeid);
	assert_int_equal(again.attr.size, 3);
	close(fd);
	assert_int_equal(symlink("elsewhere", client_path(c, "root/link")), 0);
	assert_int_equal(client_create(c, 1, "link", O_RDWR, &again), -ELOOP);
	assert_int_equal(access(client_path(c, "root/elsewhere"), F_OK), -1);
}

static void new_inodes_belong_to_who_asked(void **state)
{
	struct client *c = *state;
	struct fuse_mkdir_in in = { .mode = 0750 };
	struct fuse_in_header h = {
		.opcode = FUSE_MKDIR, .unique = ++c->unique, .nodeid = 1, .uid = 1234, .gid = 2345
	};
	struct broker_request frame = { .size_bytes = sizeof(h) + sizeof(in) + 2 };
	struct iovec v[] = {
		{ &frame, sizeof(frame) }, { &h, sizeof(h) }, { &in, sizeof(in) }, { (char[]){ "d" }, 2 }
	};
	struct stat s;

	if (geteuid())
		skip();
	h.len = frame.size_bytes;
	assert_true(writev(c->channels[0], v, 4) > 0);
	assert_int_equal(client_receive(c), 0);
	assert_int_equal(stat(client_path(c, "root/d"), &s), 0);
	assert_int_equal(s.st_mode, S_IFDIR | 0750);
	assert_int_equal(s.st_uid, c->process ? 1234 : 0); // the test keeps the identity it has
	assert_int_equal(s.st_gid, c->process ? 2345 : 0);
}

static void links_and_special_files(void **state)
{
	struct client *c = *state;
	struct fuse_mknod_in fifo = { .mode = S_IFIFO | 0600 }, device = { .mode = S_IFCHR | 0600, .rdev = 0x103 };
	struct fuse_mknod_in sock = { .mode = S_IFSOCK | 0600 };
	const char *names = "link\0some/target";
	uint64_t n;

	assert_int_equal(client_call(c, FUSE_SYMLINK, 1, names, (size_t)17, NULL), 0);
	n = client_node(c, 1, "link");
	assert_int_equal(client_call(c, FUSE_READLINK, n, NULL), 0);
	assert_int_equal(c->answer_bytes, 11);
	assert_memory_equal(client_payload(c), "some/target", 11);
	assert_int_equal(client_call(c, FUSE_READLINK, 1, NULL), -EINVAL);
	assert_int_equal(client_call(c, FUSE_MKNOD, 1, &fifo, sizeof(fifo), "f", (size_t)2, NULL), 0);
	assert_int_equal(client_call(c, FUSE_MKNOD, 1, &sock, sizeof(sock), "s", (size_t)2, NULL), 0);
	assert_int_equal(client_call(c, FUSE_MKNOD, 1, &device, sizeof(device), "c", (size_t)2, NULL), -EPERM);
	assert_int_equal(client_open(c, client_node(c, 1, "f"), O_RDONLY), -ENXIO);
	assert_int_equal(client_open(c, client_node(c, 1, "s"), O_RDWR), -ENXIO);
}

static void attributes_change(void **state)
{
	struct client *c = *state;
	struct fuse_setattr_in in = { .valid = FATTR_MODE, .mode = S_IFREG | 0751 };
	const struct fuse_attr_out *out = client_payload(c);
	uint64_t n, link;

	client_write(c, "root/file", "hello");
	assert_int_equal(symlink("file", client_path(c, "root/link")), 0);
	n = client_node(c, 1, "file");
	link = client_node(c, 1, "link");
	assert_int_equal(client_call(c, FUSE_SETATTR, n, &in, sizeof(in), NULL), 0);
	assert_int_equal(out->attr.mode, S_IFREG | 0751);
	in = (struct fuse_setattr_in){ .valid = FATTR_SIZE, .size = 2 };
	assert_int_equal(client_call(c, FUSE_SETATTR, n, &in, sizeof(in), NULL), 0);
	assert_int_equal(out->attr.size, 2);
	in = (struct fuse_setattr_in){ .valid = FATTR_MTIME | FATTR_ATIME | FATTR_ATIME_NOW,
				       .mtime = 1000,
				       .mtimensec = 5 };
	assert_int_equal(client_call(c, FUSE_SETATTR, n, &in, sizeof(in), NULL), 0);
	assert_int_equal(out->attr.mtime, 1000);
	assert_int_equal(out->attr.mtimensec, 5);
	assert_true(out->attr.atime > 1000);
	assert_int_equal(client_call(c, FUSE_SETATTR, link, &in, sizeof(in), NULL), 0);
	assert_true(S_ISLNK(out->attr.mode));
	assert_int_equal(out->attr.mtime, 1000);
	in = (struct fuse_setattr_in){ .valid = FATTR_SIZE, .size = UINT64_MAX };
	assert_int_equal(client_call(c, FUSE_SETATTR, n, &in, sizeof(in), NULL), -EINVAL);
	assert_int_equal(client_call(c, FUSE_SETATTR, link, &in, sizeof(in), NULL), -EINVAL);
	in = (struct fuse_setattr_in){ .valid = FATTR_UID | FATTR_GID, .uid = geteuid(), .gid = getegid() };
	assert_int_equal(client_call(c, FUSE_SETATTR, n, &in, sizeof(in), NULL), 0);
}

static void rename_moves_what_is_known(void **state)
{
	struct client *c = *state;
	struct fuse_entry_out a, b;
	struct fuse_attr attr;
	uint64_t file, other;

	assert_int_equal(client_mkdir(c, 1, "a", &a), 0);
	assert_int_equal(client_mkdir(c, 1, "b", &b), 0);
	client_write(c, "root/a/file", "first");
	client_write(c, "root/b/other", "second!");
	file = client_node(c, a.nodeid, "file");
	other = client_node(c, b.nodeid, "other");
	assert_int_equal(client_rename(c, a.nodeid, "file", b.nodeid, "moved", 0), 0);
	assert_int_equal(client_attributes(c, file, &attr), 0);
	assert_int_equal(attr.size, 5);
	assert_int_equal(client_rename(c, b.nodeid, "moved", b.nodeid, "other", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(client_rename(c, b.nodeid, "moved", b.nodeid, "other", RENAME_EXCHANGE), 0);
	assert_int_equal(client_attributes(c, file, &attr), 0);
	assert_int_equal(attr.size, 5);
	assert_int_equal(client_attributes(c, other, &attr), 0);
	assert_int_equal(attr.size, 7);
	assert_int_equal(client_rename(c, b.nodeid, "moved", b.nodeid, "x", RENAME_WHITEOUT), -EINVAL);
	// A directory, and what is in it by way of it.
	assert_int_equal(client_rename(c, 1, "b", a.nodeid, "inside", 0), 0);
	assert_int_equal(client_attributes(c, other, &attr), 0);
	assert_int_equal(client_node(c, a.nodeid, "inside"), b.nodeid);
}

static void many_files_are_opened_at_once(void **state)
{
	struct client *c = *state;
	struct broker_open_many_in in = { .count = 4 };
	struct fuse_entry_out dir;
	const uint32_t *errors = client_payload(c);
	uint64_t nodes[BROKER_DESCRIPTORS_MAX + 1] = { 0 };
	char text[8] = "";

	client_write(c, "root/a", "aaa");
	client_write(c, "root/b", "bbb");
	assert_int_equal(client_mkdir(c, 1, "dir", &dir), 0);
	nodes[0] = client_node(c, 1, "a");
	nodes[1] = dir.nodeid;
	nodes[2] = 12345678;
	nodes[3] = client_node(c, 1, "b");
	assert_int_equal(client_call(c, BROKER_OPEN_MANY, 1, &in, sizeof(in), nodes, (size_t)32, NULL), 0);
	assert_int_equal(c->answer_bytes, 16);
	assert_int_equal(errors[0], 0);
	assert_int_equal(errors[1], EISDIR);
	assert_int_equal(errors[2], ESTALE);
	assert_int_equal(errors[3], 0);
	assert_int_equal(c->fd_count, 2);
	assert_int_equal(read(c->fds[1], text, 4), 3);
	assert_string_equal(text, "bbb");
	assert_int_equal(write(c->fds[1], text, 1), -1); // for reading
	in.count = 5;
	assert_int_equal(client_call(c, BROKER_OPEN_MANY, 1, &in, sizeof(in), nodes, (size_t)32, NULL), -EINVAL);
	in.count = BROKER_DESCRIPTORS_MAX + 1;
	assert_int_equal(client_call(c, BROKER_OPEN_MANY, 1, &in, sizeof(in), nodes, sizeof(nodes), NULL), -EINVAL);
	in.count = BROKER_DESCRIPTORS_MAX;
	for (unsigned i = 0; i < BROKER_DESCRIPTORS_MAX; i++)
		nodes[i] = nodes[0];
	assert_int_equal(client_call(c, BROKER_OPEN_MANY, 1, &in, sizeof(in), nodes, sizeof(nodes), NULL), 0);
	assert_int_equal(c->fd_count, BROKER_DESCRIPTORS_MAX);
	in.count = 0;
	assert_int_equal(client_call(c, BROKER_OPEN_MANY, 1, &in, sizeof(in), NULL), 0);
	assert_int_equal(c->fd_count, 0);
}

static void removed_file_lives_while_it_is_open(void **state)
{
	struct client *c = *state;
	struct fuse_entry_out e;
	struct fuse_attr a;
	struct fuse_setattr_in in = { .valid = FATTR_MODE, .mode = 0600 };
	int fd = client_create(c, 1, "file", O_RDWR, &e);

	c->flags = BROKER_REQUEST_HOLD;
	assert_int_equal(client_call(c, FUSE_UNLINK, 1, "file", (size_t)5, NULL), 0);
	assert_int_equal(client_attributes(c, e.nodeid, &a), 0);
	assert_int_equal(a.nlink, 0);
	assert_int_equal(client_call(c, FUSE_SETATTR, e.nodeid, &in, sizeof(in), NULL), 0);
	close(fd);
	fd = client_open(c, e.nodeid, O_RDONLY);
	assert_true(fd >= 0);
	close(fd);
	c->flags = 0;
	client_forget(c, e.nodeid, 1);
	assert_int_equal(client_attributes(c, e.nodeid, &a), -ESTALE);
	assert_int_equal(client_call(c, FUSE_UNLINK, 1, "file", (size_t)5, NULL), -ENOENT);
}

static void replaced_file_lives_while_it_is_open(void **state)
{
	struct client *c = *state;
	struct fuse_entry_out e;
	struct fuse_attr a;
	int fd = client_create(c, 1, "old", O_RDWR, &e);

	client_write(c, "root/new", "new");
	client_node(c, 1, "new");
	c->flags = BROKER_REQUEST_HOLD;
	assert_int_equal(client_rename(c, 1, "new", 1, "old", 0), 0);
	assert_int_equal(client_attributes(c, e.nodeid, &a), 0);
	assert_int_equal(a.nlink, 0);
	assert_int_not_equal(client_node(c, 1, "old"), e.nodeid);
	close(fd);
}

static void directories_are_removed(void **state)
{
	struct client *c = *state;
	struct fuse_entry_out e;
	struct fuse_attr a;

	assert_int_equal(client_mkdir(c, 1, "dir", &e), 0);
	client_write(c, "root/dir/file", "");
	assert_int_equal(client_call(c, FUSE_RMDIR, 1, "dir", (size_t)4, NULL), -ENOTEMPTY);
	assert_int_equal(client_call(c, FUSE_UNLINK, e.nodeid, "file", (size_t)5, NULL), 0);
	assert_int_equal(client_call(c, FUSE_UNLINK, 1, "dir", (size_t)4, NULL), -EISDIR);
	assert_int_equal(client_call(c, FUSE_RMDIR, 1, "dir", (size_t)4, NULL), 0);
	assert_int_equal(client_attributes(c, e.nodeid, &a), 0); // somebody may work there
	assert_int_equal(a.nlink, 0);
}

static void nameless_file_is_given_a_name(void **state)
{
	struct client *c = *state;
	struct fuse_create_in in = { .flags = O_RDWR | O_TMPFILE, .mode = S_IFREG | 0600 };
	struct fuse_link_in link;
	struct fuse_entry_out e;
	struct stat s;

	int error = client_call(c, FUSE_TMPFILE, 1, &in, sizeof(in), NULL);
	if (error == -EOPNOTSUPP)
		skip();
	assert_int_equal(error, 0);
	memcpy(&e, client_payload(c), sizeof(e));
	assert_int_equal(write(c->fd, "data", 4), 4);
	link.oldnodeid = e.nodeid;
	assert_int_equal(client_call(c, FUSE_LINK, 1, &link, sizeof(link), "named", (size_t)6, NULL), 0);
	assert_int_equal(stat(client_path(c, "root/named"), &s), 0);
	assert_int_equal(s.st_size, 4);
	assert_int_equal(client_node(c, 1, "named"), e.nodeid);
}

// ---- directories ----

static uint64_t open_directory(struct client *c, uint64_t node)
{
	struct fuse_open_in in = { 0 };
	const struct fuse_open_out *out = client_payload(c);

	assert_int_equal(client_call(c, FUSE_OPENDIR, node, &in, sizeof(in), NULL), 0);
	return out->fh;
}

// Counts the entries in the last answer from `at` on; the last one's offset.
static unsigned count_entries(struct client *c, size_t at, bool plus, uint64_t *offset)
{
	size_t head = plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;
	unsigned count = 0;

	while (at < c->answer_bytes) {
		const char *entry = (const char *)client_payload(c) + at;
		const struct fuse_dirent *d = (const struct fuse_dirent *)(entry + head - FUSE_NAME_OFFSET);
		const struct fuse_entry_out *e = (const struct fuse_entry_out *)entry;
		bool dots = entry[head] == '.';
		assert_true(at + head + d->namelen <= c->answer_bytes);
		if (plus)
			assert_true(dots ? !e->nodeid : e->nodeid && e->attr.ino == d->ino);
		*offset = d->off;
		count++;
		at += FUSE_REC_ALIGN(head + d->namelen);
	}
	return count;
}

static void fill_directory(struct client *c, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		char name[300];
		snprintf(name, sizeof(name), "root/%u%.*s", i, (int)(i % 200),
			 "_____________________________________________________________________________________________"
			 "_____________________________________________________________________________________________"
			 "______________________________________________________________________________________");
		client_write(c, name, "");
	}
}

static unsigned read_directory(struct client *c, uint64_t fh, uint32_t opcode, uint32_t size)
{
	struct fuse_read_in in = { .fh = fh, .size = size };
	unsigned count = 0;

	do {
		assert_int_equal(client_call(c, opcode, 1, &in, sizeof(in), NULL), 0);
		assert_true(c->answer_bytes <= size);
		count += count_entries(c, 0, opcode == FUSE_READDIRPLUS, &in.offset);
	} while (c->answer_bytes);
	return count;
}

static void directories_are_read(void **state)
{
	struct client *c = *state;
	struct fuse_read_in in = { .size = 100 };
	struct fuse_release_in release = { 0 };
	uint64_t fh;

	fill_directory(c, 500);
	fh = release.fh = in.fh = open_directory(c, 1);
	assert_int_equal(read_directory(c, fh, FUSE_READDIR, 4096), 502);
	assert_int_equal(read_directory(c, fh, FUSE_READDIR, 1 << 20), 502);
	assert_int_equal(read_directory(c, fh, FUSE_READDIRPLUS, 4096), 502);
	assert_int_equal(read_directory(c, fh, FUSE_READDIRPLUS, 32768), 502);
	assert_int_equal(client_call(c, FUSE_READDIR, 1, &in, sizeof(in), NULL), -EINVAL);
	struct fuse_fsync_in sync = { .fh = fh };
	assert_int_equal(client_call(c, FUSE_FSYNCDIR, 1, &sync, sizeof(sync), NULL), 0);
	assert_int_equal(client_call(c, FUSE_RELEASEDIR, 1, &release, sizeof(release), NULL), 0);
	assert_int_equal(client_call(c, FUSE_RELEASEDIR, 1, &release, sizeof(release), NULL), -EBADF);
	in.size = 4096;
	assert_int_equal(client_call(c, FUSE_READDIR, 1, &in, sizeof(in), NULL), -EBADF);
	assert_int_not_equal(open_directory(c, 1), fh);
}

static void directory_in_one_round_trip(void **state)
{
	struct client *c = *state;
	struct fuse_read_in in = { .size = 65536 };
	struct fuse_open_out out;
	uint64_t offset = 0;
	unsigned count;

	fill_directory(c, 50);
	assert_int_equal(client_call(c, BROKER_READ_DIRECTORY, 1, &in, sizeof(in), NULL), 0);
	memcpy(&out, client_payload(c), sizeof(out));
	assert_true(out.fh == UINT64_MAX);
	assert_int_equal(count_entries(c, sizeof(out), true, &offset), 52);
	in.read_flags = BROKER_READ_NAMES;
	assert_int_equal(client_call(c, BROKER_READ_DIRECTORY, 1, &in, sizeof(in), NULL), 0);
	memcpy(&out, client_payload(c), sizeof(out));
	assert_true(out.fh == UINT64_MAX && !(out.open_flags & BROKER_FOPEN_EXACT));
	assert_int_equal(count_entries(c, sizeof(out), false, &offset), 52);
	in.read_flags = 0;
	in.size = 8192;
	assert_int_equal(client_call(c, BROKER_READ_DIRECTORY, 1, &in, sizeof(in), NULL), 0);
	memcpy(&out, client_payload(c), sizeof(out));
	assert_true(out.fh != UINT64_MAX);
	count = count_entries(c, sizeof(out), true, &in.offset);
	for (in.fh = out.fh; c->answer_bytes;) {
		assert_int_equal(client_call(c, FUSE_READDIRPLUS, 1, &in, sizeof(in), NULL), 0);
		count += count_entries(c, 0, true, &in.offset);
	}
	assert_int_equal(count, 52);
}

static void directory_comes_with_its_files(void **state)
{
	struct client *c = *state;
	struct fuse_read_in in = { .size = 65536, .read_flags = BROKER_READ_OPEN };
	const struct broker_read_opened *opened =
		(const void *)((const char *)client_payload(c) + sizeof(struct fuse_open_out));
	const size_t head = sizeof(struct fuse_open_out) + sizeof(*opened);
	struct fuse_entry_out dir;
	char name[16], text[8] = "";
	uint64_t offset = 0, node;

	client_write(c, "root/a", "aaa");
	node = client_node(c, 1, "a");
	assert_int_equal(client_mkdir(c, 1, "dir", &dir), 0);
	assert_int_equal(mkfifo(client_path(c, "root/fifo"), 0600), 0);
	assert_int_equal(symlink("a", client_path(c, "root/link")), 0);
	assert_int_equal(client_call(c, BROKER_READ_DIRECTORY, 1, &in, sizeof(in), NULL), 0);
	assert_int_equal(opened->count, 1);
	assert_int_equal(c->fd_count, 1);
	assert_true(opened->nodes[0] == node);
	assert_int_equal(read(c->fds[0], text, 4), 3);
	assert_string_equal(text, "aaa");
	assert_int_equal(write(c->fds[0], text, 1), -1);
	assert_int_equal(count_entries(c, head, true, &offset), 6);
	for (unsigned i = 0; i < BROKER_DESCRIPTORS_MAX; i++) {
		snprintf(name, sizeof(name), "root/f%u", i);
		client_write(c, name, "text");
		assert_int_equal(client_call(c, BROKER_READ_DIRECTORY, 1, &in, sizeof(in), NULL), 0);
		assert_int_equal(opened->count, i + 2 <= BROKER_DESCRIPTORS_MAX ? i + 2 : 0);
		assert_int_equal(c->fd_count, opened->count);
	}
	in.size = (uint32_t)head - 1;
	assert_int_equal(client_call(c, BROKER_READ_DIRECTORY, 1, &in, sizeof(in), NULL), -EINVAL);
}

// ---- the rest ----

static void user_attributes(void **state)
{
	struct client *c = *state;
	struct fuse_setxattr_in set = { .size = 5 };
	struct fuse_getxattr_in get = { 0 };
	const char *name = "user.test", *privileged = "trusted.test";
	const struct fuse_getxattr_out *size = client_payload(c);
	uint64_t n;

	client_write(c, "root/file", "");
	n = client_node(c, 1, "file");
	int error = client_call(c, FUSE_SETXATTR, n, &set, (size_t)8, name, strlen(name) + 1, "value", (size_t)5, NULL);
	if (error == -EOPNOTSUPP)
		skip(); // the file system of /tmp
	assert_int_equal(error, 0);
	assert_int_equal(client_call(c, FUSE_GETXATTR, n, &get, sizeof(get), name, strlen(name) + 1, NULL), 0);
	assert_int_equal(size->size, 5);
	get.size = 100;
	assert_int_equal(client_call(c, FUSE_GETXATTR, n, &get, sizeof(get), name, strlen(name) + 1, NULL), 0);
	assert_int_equal(c->answer_bytes, 5);
	assert_memory_equal(client_payload(c), "value", 5);
	setxattr(client_path(c, "root/file"), privileged, "x", 1, 0);
	assert_int_equal(client_call(c, FUSE_GETXATTR, n, &get, sizeof(get), privileged, strlen(privileged) + 1, NULL),
			 -EOPNOTSUPP);
	assert_int_equal(client_call(c, FUSE_LISTXATTR, n, &get, sizeof(get), NULL), 0);
	assert_int_equal(c->answer_bytes, strlen(name) + 1);
	assert_memory_equal(client_payload(c), name, strlen(name) + 1);
	get.size = 3;
	assert_int_equal(client_call(c, FUSE_LISTXATTR, n, &get, sizeof(get), NULL), -ERANGE);
	assert_int_equal(client_call(c, FUSE_REMOVEXATTR, n, name, strlen(name) + 1, NULL), 0);
	assert_int_equal(client_call(c, FUSE_REMOVEXATTR, n, name, strlen(name) + 1, NULL), -ENODATA);
}

static void questions(void **state)
{
	struct client *c = *state;
	struct fuse_access_in in = { .mask = R_OK | W_OK };
	const struct fuse_statfs_out *out = client_payload(c);
	uint64_t n;

	client_write(c, "root/file", "");
	n = client_node(c, 1, "file");
	assert_int_equal(client_call(c, FUSE_STATFS, n, NULL), 0);
	assert_int_equal(out->st.namelen, 255);
	assert_int_equal(client_call(c, FUSE_ACCESS, n, &in, sizeof(in), NULL), 0);
	in.mask = X_OK;
	assert_int_equal(client_call(c, FUSE_ACCESS, n, &in, sizeof(in), NULL), -EACCES);
	assert_int_equal(client_call(c, FUSE_SYNCFS, 1, NULL), 0);
	assert_int_equal(client_call(c, FUSE_READ, n, NULL), -ENOSYS);
	assert_int_equal(client_call(c, 99999, n, NULL), -ENOSYS);
}

static void read_only_grant_changes_nothing(void **state)
{
	struct client *c = *state;
	static const struct {
		uint32_t opcode;
		size_t size;
	} changes[] = { { FUSE_SETATTR, sizeof(struct fuse_setattr_in) },
			{ FUSE_SYMLINK, 1 },
			{ FUSE_MKNOD, sizeof(struct fuse_mknod_in) },
			{ FUSE_MKDIR, sizeof(struct fuse_mkdir_in) },
			{ FUSE_UNLINK, 0 },
			{ FUSE_RMDIR, 0 },
			{ FUSE_RENAME, sizeof(struct fuse_rename_in) },
			{ FUSE_RENAME2, sizeof(struct fuse_rename2_in) },
			{ FUSE_LINK, sizeof(struct fuse_link_in) },
			{ FUSE_SETXATTR, 8 },
			{ FUSE_REMOVEXATTR, 0 },
			{ FUSE_TMPFILE, sizeof(struct fuse_create_in) } };
	static const char zeroes[256];
	struct fuse_entry_out e;
	struct fuse_access_in in = { .mask = W_OK };
	uint64_t n;
	int fd;

	client_write(c, "root/file", "hello");
	n = client_node(c, 1, "file");
	for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++)
		assert_int_equal(client_call(c, changes[i].opcode, 1, zeroes, changes[i].size, "file", (size_t)5,
					     "file", (size_t)5, NULL),
				 -EROFS);
	assert_int_equal(client_open(c, n, O_RDWR), -EROFS);
	assert_int_equal(client_open(c, n, O_WRONLY), -EROFS);
	assert_int_equal(client_open(c, n, O_RDONLY | O_TRUNC), -EROFS);
	assert_int_equal(client_lookup_open(c, 1, "file", O_RDWR, &e), -EROFS);
	assert_int_equal(client_create(c, 1, "file", O_RDWR, &e), -EROFS);
	assert_int_equal(client_create(c, 1, "new", O_RDONLY, &e), -EROFS);
	assert_int_equal(client_call(c, FUSE_ACCESS, n, &in, sizeof(in), NULL), -EROFS);
	fd = client_create(c, 1, "file", O_RDONLY, &e);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	close(fd);
	fd = client_lookup_open(c, 1, "file", O_RDONLY, &e);
	assert_int_equal(e.attr.size, 5);
	assert_int_equal(ftruncate(fd, 0), -1);
	close(fd);
}

static void grant_of_one_file(void **state)
{
	struct client c;
	struct fuse_entry_out e;
	struct fuse_attr a;
	char text[8] = "";
	int fd;

	(void)state;
	client_start(&c, &(struct client_options){ .file = "one" });
	assert_int_equal(client_attributes(&c, 1, &a), 0);
	assert_true(S_ISREG(a.mode));
	assert_int_equal(client_lookup(&c, 1, "x", &e), -ENOTDIR);
	fd = client_open(&c, 1, O_RDONLY);
	assert_int_equal(read(fd, text, sizeof(text)), 7);
	close(fd);
	client_stop(&c);
}

static void several_channels(void **state)
{
	struct client *c = *state;
	struct fuse_attr a;
	uint64_t n;
	int first = c->channels[0];

	client_write(c, "root/file", "");
	n = client_node(c, 1, "file");
	c->channels[0] = c->channels[1];
	assert_int_equal(client_attributes(c, n, &a), 0);
	c->channels[0] = first;
	assert_int_equal(client_attributes(c, n, &a), 0);
}

#define EACH(setup)                                                                                      \
	cmocka_unit_test_setup_teardown(session_begins_and_ends, setup, teardown),                       \
		cmocka_unit_test_setup_teardown(lookup_tells_attributes, setup, teardown),               \
		cmocka_unit_test_setup_teardown(missing_name_is_an_entry_without_node, setup, teardown), \
		cmocka_unit_test_setup_teardown(hard_links_share_a_node, setup, teardown),               \
		cmocka_unit_test_setup_teardown(forgotten_node_is_unknown, setup, teardown),             \
		cmocka_unit_test_setup_teardown(batch_forget, setup, teardown),                          \
		cmocka_unit_test_setup_teardown(open_hands_over_the_descriptor, setup, teardown),        \
		cmocka_unit_test_setup_teardown(open_tells_of_mappings, setup, teardown),                \
		cmocka_unit_test_setup_teardown(lookup_and_open_in_one, setup, teardown),                \
		cmocka_unit_test_setup_teardown(many_names_are_looked_up_in_one, setup, teardown),       \
		cmocka_unit_test_setup_teardown(create_makes_and_opens, setup, teardown),                \
		cmocka_unit_test_setup_teardown(new_inodes_belong_to_who_asked, setup, teardown),        \
		cmocka_unit_test_setup_teardown(links_and_special_files, setup, teardown),               \
		cmocka_unit_test_setup_teardown(attributes_change, setup, teardown),                     \
		cmocka_unit_test_setup_teardown(rename_moves_what_is_known, setup, teardown),            \
		cmocka_unit_test_setup_teardown(many_files_are_opened_at_once, setup, teardown),         \
		cmocka_unit_test_setup_teardown(removed_file_lives_while_it_is_open, setup, teardown),   \
		cmocka_unit_test_setup_teardown(replaced_file_lives_while_it_is_open, setup, teardown),  \
		cmocka_unit_test_setup_teardown(directories_are_removed, setup, teardown),               \
		cmocka_unit_test_setup_teardown(nameless_file_is_given_a_name, setup, teardown),         \
		cmocka_unit_test_setup_teardown(directories_are_read, setup, teardown),                  \
		cmocka_unit_test_setup_teardown(directory_in_one_round_trip, setup, teardown),           \
		cmocka_unit_test_setup_teardown(directory_comes_with_its_files, setup, teardown),        \
		cmocka_unit_test_setup_teardown(user_attributes, setup, teardown),                       \
		cmocka_unit_test_setup_teardown(questions, setup, teardown),                             \
		cmocka_unit_test_setup_teardown(several_channels, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifdef BROKER_CONFINED // no sanitizers then: they call the host for things of their own
		EACH(setup_process),
#else
		EACH(setup_threads),
		EACH(setup_no_devices),
#endif
		cmocka_unit_test_setup_teardown(read_only_grant_changes_nothing, setup_read_only, teardown),
		cmocka_unit_test(grant_of_one_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
