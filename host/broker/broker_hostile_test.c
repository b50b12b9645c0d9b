// SPDX-License-Identifier: Apache-2.0
// What a cell in bad faith can do to its broker, and a broker with little room: nothing outside the grant is reached, nothing is
// lost but what the cell asked to lose.
#include "broker/test_client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <setjmp.h>
#include <stddef.h>
#include <cmocka.h>

static struct client client;

static int setup(void **state)
{
	client_start(&client, &(struct client_options){ 0 });
	*state = &client;
	return 0;
}

static int setup_small(void **state)
{
	client_start(&client, &(struct client_options){ .descriptors_max = 64, .nodes_max = 100 }); // 16 of nodes
	*state = &client;
	return 0;
}

static int teardown(void **state)
{
	client_stop(*state);
	return 0;
}

static void names_are_single_components(void **state)
{
	struct client *c = *state;
	static const char *const bad[] = { "", ".", "..", "/", "/etc", "../outside", "dir/../../outside", "dir/file" };
	struct fuse_entry_out e;
	char longest[300];

	client_write(c, "outside", "secret");
	assert_int_equal(mkdir(client_path(c, "root/dir"), 0755), 0);
	client_write(c, "root/dir/file", "");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(client_lookup(c, 1, bad[i], &e), -EINVAL);
		assert_int_equal(client_lookup_open(c, 1, bad[i], O_RDONLY, &e), -EINVAL);
		assert_int_equal(client_create(c, 1, bad[i], O_RDWR, &e), -EINVAL);
		assert_int_equal(client_mkdir(c, 1, bad[i], &e), -EINVAL);
		assert_int_equal(client_rename(c, 1, bad[i], 1, "x", 0), -EINVAL);
		assert_int_equal(client_rename(c, 1, "dir", 1, bad[i], 0), -EINVAL);
		assert_int_equal(client_call(c, FUSE_UNLINK, 1, bad[i], strlen(bad[i]) + 1, NULL), -EINVAL);
	}
	assert_int_equal(client_call(c, FUSE_LOOKUP, 1, "dir", (size_t)3, NULL), -EINVAL); // no NUL
	memset(longest, 'x', sizeof(longest));
	longest[256] = 0;
	assert_int_equal(client_lookup(c, 1, longest, &e), -ENAMETOOLONG);
	longest[255] = 0;
	assert_int_equal(client_lookup(c, 1, longest, &e), -ENOENT);
}

static void links_lead_nowhere(void **state)
{
	struct client *c = *state;
	struct fuse_entry_out e;
	uint64_t link;

	client_write(c, "outside", "secret");
	assert_int_equal(symlink("../outside", client_path(c, "root/link")), 0);
	assert_int_equal(symlink("/", client_path(c, "root/slash")), 0);
	link = client_node(c, 1, "link");
	assert_int_equal(client_open(c, link, O_RDONLY), -ELOOP);
	assert_int_equal(client_lookup_open(c, 1, "link", O_RDONLY, &e), -ELOOP);
	assert_int_equal(client_create(c, 1, "link", O_RDWR, &e), -ELOOP);
	assert_int_equal(client_lookup(c, client_node(c, 1, "slash"), "etc", &e), -ENOTDIR);
	assert_int_equal(client_call(c, FUSE_OPENDIR, client_node(c, 1, "slash"), &(struct fuse_open_in){ 0 },
				     sizeof(struct fuse_open_in), NULL),
			 -ENOTDIR);
	struct fuse_setattr_in size = { .valid = FATTR_SIZE }, mode = { .valid = FATTR_MODE, .mode = 0 };
	struct stat s;
	assert_int_equal(client_call(c, FUSE_SETATTR, link, &size, sizeof(size), NULL), -EINVAL);
	client_call(c, FUSE_SETATTR, link, &mode, sizeof(mode), NULL);
	assert_int_equal(stat(client_path(c, "outside"), &s), 0);
	assert_int_equal(s.st_size, 6);
	assert_int_equal(s.st_mode & 0777, 0644);
}

// A file or directory whose place something else takes is not mistaken for it, whatever is done.
static void replaced_is_stale(void **state)
{
	struct client *c = *state;
	struct fuse_setattr_in in = { .valid = FATTR_MODE, .mode = 0 };
	struct fuse_entry_out e;
	struct fuse_attr a;
	uint64_t file, dir;
	struct stat s;

	client_write(c, "outside", "secret");
	client_write(c, "root/file", "");
	assert_int_equal(mkdir(client_path(c, "root/dir"), 0755), 0);
	file = client_node(c, 1, "file");
	dir = client_node(c, 1, "dir");
	assert_int_equal(rename(client_path(c, "root/file"), client_path(c, "root/kept")), 0);
	assert_int_equal(symlink("../outside", client_path(c, "root/file")), 0);
	assert_int_equal(rename(client_path(c, "root/dir"), client_path(c, "root/kept-dir")), 0);
	assert_int_equal(symlink("..", client_path(c, "root/dir")), 0);
	assert_int_equal(client_attributes(c, file, &a), -ESTALE);
	assert_int_equal(client_open(c, file, O_RDWR), -ESTALE);
	assert_int_equal(client_call(c, FUSE_SETATTR, file, &in, sizeof(in), NULL), -ESTALE);
	assert_int_equal(client_lookup(c, dir, "outside", &e), -ESTALE);
	assert_int_equal(client_mkdir(c, dir, "new", &e), -ESTALE);
	assert_int_equal(unlink(client_path(c, "root/file")), 0);
	client_write(c, "root/file", "another");
	assert_int_equal(client_open(c, file, O_RDWR | O_TRUNC), -ESTALE);
	assert_int_equal(stat(client_path(c, "root/file"), &s), 0);
	assert_int_equal(s.st_size, 7);
	assert_int_equal(client_node(c, 1, "kept"), file); // found again
	assert_int_equal(client_attributes(c, file, &a), 0);
	assert_int_equal(client_node(c, 1, "kept-dir"), dir);
}

// Number given out again by the file system: another file.
static void reused_inode_is_another_node(void **state)
{
	struct client *c = *state;
	struct fuse_attr a;
	uint64_t old;

	for (unsigned i = 0; i < 100; i++) {
		client_write(c, "root/file", "");
		old = client_node(c, 1, "file");
		assert_int_equal(unlink(client_path(c, "root/file")), 0);
		client_write(c, "root/file", "x");
		assert_int_not_equal(client_node(c, 1, "file"), old);
		assert_int_equal(client_attributes(c, old, &a), -ESTALE);
		assert_int_equal(unlink(client_path(c, "root/file")), 0);
	}
}

static void directory_moved_out_of_the_grant(void **state)
{
	struct client *c = *state;
	struct fuse_entry_out e;
	uint64_t dir;

	assert_int_equal(mkdir(client_path(c, "root/dir"), 0755), 0);
	client_write(c, "outside", "secret");
	dir = client_node(c, 1, "dir");
	assert_int_equal(client_lookup(c, dir, "x", &e), -ENOENT); // its descriptor is open
	assert_int_equal(rename(client_path(c, "root/dir"), client_path(c, "dir")), 0);
	assert_int_equal(client_lookup(c, dir, "..", &e), -EINVAL);
	assert_int_equal(client_lookup(c, dir, "outside", &e), -ENOENT);
}

static void devices_are_not_opened(void **state)
{
	struct client *c = *state;
	struct fuse_entry_out e;
	uint64_t n;

	if (mknod(client_path(c, "root/null"), S_IFCHR | 0666, makedev(1, 3)))
		skip();
	n = client_node(c, 1, "null");
	assert_int_equal(client_open(c, n, O_RDWR), -ENXIO);
	assert_int_equal(client_lookup_open(c, 1, "null", O_RDWR, &e), -ENXIO);
	assert_int_equal(client_create(c, 1, "null", O_RDWR, &e), -ENXIO);
}

static void raw_send(struct client *c, const void *message, size_t size)
{
	assert_int_equal(send(c->channels[0], message, size, MSG_NOSIGNAL), (ssize_t)size);
}

static bool channel_ended(struct client *c)
{
	char byte;
	struct pollfd p = { .fd = c->channels[0], .events = POLLIN };

	assert_int_equal(poll(&p, 1, 5000), 1);
	return recv(c->channels[0], &byte, 1, 0) <= 0;
}

static void frames_are_checked(void **state)
{
	struct client *c = *state;
	static const struct {
		size_t size;
		uint32_t frame, length;
	} bad[] = { { 4, 0, 0 },    { 8, 0, 0 },    { 40, 32, 32 }, { 48, 41, 40 },
		    { 48, 40, 41 }, { 48, 40, 39 }, { 56, 40, 40 } };

	(void)c;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct {
			struct broker_request frame;
			struct fuse_in_header header;
			char more[16];
		} m = { { .size_bytes = bad[i].frame },
			{ .len = bad[i].length, .opcode = FUSE_GETATTR, .nodeid = 1 },
			"" };
		struct client one;
		client_start(&one, &(struct client_options){ 0 });
		raw_send(&one, &m, bad[i].size);
		assert_true(channel_ended(&one));
		// The other channel goes on.
		one.channels[0] = dup(one.channels[1]);
		client_write(&one, "root/file", "");
		client_node(&one, 1, "file");
		client_stop(&one);
	}
}

static void message_too_long_ends_the_conversation(void **state)
{
	struct client *c = *state;
	size_t size = BROKER_MESSAGE_MAX_BYTES + 1;
	char *m = calloc(1, size);
	int bytes = 1 << 20;

	setsockopt(c->channels[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	*(struct broker_request *)m = (struct broker_request){ .size_bytes = (uint32_t)size - 8 };
	raw_send(c, m, size);
	free(m);
	assert_true(channel_ended(c));
}

static void unknown_grant(void **state)
{
	struct client *c = *state;
	struct {
		struct broker_request frame;
		struct fuse_in_header header;
	} m = { { 7, 0, sizeof(m.header) }, { .len = sizeof(m.header), .opcode = FUSE_GETATTR, .nodeid = 1 } };

	m.header.unique = ++c->unique;
	raw_send(c, &m, sizeof(m));
	assert_int_equal(client_receive(c), -ENODEV);
}

static void every_operation_wants_its_arguments(void **state)
{
	struct client *c = *state;
	static const char junk[256] = { 1, 0, 'x' };
	struct fuse_attr a;

	client_write(c, "root/file", "");
	for (uint32_t o = 0; o < 64; o++) {
		for (size_t size = 0; size < sizeof(junk); size += size < 48 ? 1 : 13) {
			uint32_t opcode = o < 56 ? o : BROKER_LOOKUP_OPEN + o - 56;
			client_send(c, opcode, 1, junk + 2, size < 254 ? size : 254);
			if (opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_INTERRUPT ||
			    opcode == BROKER_UNWATCH)
				continue;
			assert_true(client_receive(c) > -512);
		}
	}
	assert_int_equal(client_attributes(c, 1, &a), 0);
}

static void made_up_nodes(void **state)
{
	struct client *c = *state;
	struct fuse_attr a;
	uint64_t n;

	client_write(c, "root/file", "");
	n = client_node(c, 1, "file");
	for (unsigned bit = 0; bit < 64; bit++)
		if ((n ^ UINT64_C(1) << bit) > 1)
			assert_int_equal(client_attributes(c, n ^ UINT64_C(1) << bit, &a), -ESTALE);
	assert_int_equal(client_attributes(c, 0, &a), -ESTALE);
	assert_int_equal(client_attributes(c, UINT64_MAX, &a), -ESTALE);
	assert_int_equal(client_attributes(c, n, &a), 0);
}

// Requests without waiting for answers; descriptors come along and are left lying.
static void flood(void **state)
{
	struct client *c = *state;
	struct {
		struct broker_request frame;
		struct fuse_in_header header;
		struct fuse_open_in in;
	} m = { { .size_bytes = sizeof(m) - sizeof(m.frame) },
		{ .len = sizeof(m) - sizeof(m.frame), .opcode = FUSE_OPEN },
		{ 0 } };
	unsigned sent = 0;

	client_write(c, "root/file", "");
	m.header.nodeid = client_node(c, 1, "file");
	while (sent < 100000 && send(c->channels[0], &m, sizeof(m), MSG_DONTWAIT) == (ssize_t)sizeof(m))
		sent++;
	assert_true(sent > 100);
	// The other channel is served meanwhile.
	int other = c->channels[0];
	c->channels[0] = c->channels[1];
	client_node(c, 1, "file");
	c->channels[0] = other;
}

static void descriptors_sent_along_are_ignored(void **state)
{
	struct client *c = *state;
	struct {
		struct broker_request frame;
		struct fuse_in_header header;
	} m = { { .size_bytes = sizeof(m.header) }, { .len = sizeof(m.header), .opcode = FUSE_GETATTR, .nodeid = 1 } };
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .header = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec v = { &m, sizeof(m) };
	struct msghdr h = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	int ends[2];
	char byte;

	assert_int_equal(pipe(ends), 0);
	memcpy(CMSG_DATA(&control.header), &ends[1], sizeof(int));
	m.header.unique = ++c->unique;
	assert_true(sendmsg(c->channels[0], &h, 0) > 0);
	assert_int_equal(client_receive(c), 0);
	close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 0); // nobody kept it
	close(ends[0]);
}

// ---- little room ----

static void deep_path_is_walked_with_few_descriptors(void **state)
{
	struct client *c = *state;
	struct fuse_entry_out e = { .nodeid = 1 };
	uint64_t nodes[60];
	struct fuse_attr a;

	for (unsigned i = 0; i < 60; i++) {
		assert_int_equal(client_mkdir(c, e.nodeid, "d", &e), 0);
		nodes[i] = e.nodeid;
	}
	assert_true(c->broker->nodes.fd_count <= 16);
	for (unsigned i = 60; i-- > 0;) {
		assert_int_equal(client_attributes(c, nodes[i], &a), 0);
		assert_int_equal(client_lookup(c, nodes[i], "none", &e), -ENOENT);
	}
	assert_int_equal(client_lookup(c, nodes[59], "none", &e), -ENOENT);
	assert_true(c->broker->nodes.fd_count <= 16);
	// Those above may go: the place is kept for those below.
	for (unsigned i = 0; i < 59; i++)
		client_forget(c, nodes[i], 1);
	for (unsigned i = 0; i < 20; i++) {
		char name[8];
		snprintf(name, sizeof(name), "e%u", i);
		assert_int_equal(client_mkdir(c, 1, name, &e), 0);
		assert_int_equal(client_lookup(c, e.nodeid, "none", &e), -ENOENT);
	}
	assert_int_equal(client_lookup(c, nodes[59], "none", &e), -ENOENT);
	assert_int_equal(rename(client_path(c, "root/d"), client_path(c, "root/other")), 0);
	assert_int_equal(client_attributes(c, nodes[58], &a), -ESTALE);
}

static void too_many_nodes(void **state)
{
	struct client *c = *state;
	struct fuse_entry_out e;
	uint64_t nodes[100];
	char name[16];
	unsigned i;

	for (i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		client_write(c, client_path(c, "root/%s", name) + strlen(c->top) + 1, "");
		if (client_lookup(c, 1, name, &e))
			break;
		nodes[i] = e.nodeid;
	}
	assert_int_equal(i, 99);
	assert_int_equal(client_lookup(c, 1, name, &e), -ENFILE);
	assert_int_equal(client_lookup(c, 1, "f0", &e), 0);
	client_forget(c, nodes[5], 1);
	assert_int_equal(client_lookup(c, 1, name, &e), 0);
}

static void too_many_directories_open(void **state)
{
	struct client *c = *state;
	struct fuse_open_in in = { 0 };
	struct fuse_release_in release = { 0 };
	const struct fuse_open_out *out = client_payload(c);
	unsigned i = 0;

	while (i < 100 && !client_call(c, FUSE_OPENDIR, 1, &in, sizeof(in), NULL)) {
		release.fh = out->fh;
		i++;
	}
	assert_int_equal(i, 8);
	assert_int_equal(client_call(c, FUSE_RELEASEDIR, 1, &release, sizeof(release), NULL), 0);
	assert_int_equal(client_call(c, FUSE_OPENDIR, 1, &in, sizeof(in), NULL), 0);
}

static void removed_files_are_held_in_bounded_number(void **state)
{
	struct client *c = *state;
	struct fuse_entry_out e;
	struct fuse_attr a;
	unsigned alive = 0;
	uint64_t nodes[60];

	c->flags = BROKER_REQUEST_HOLD;
	for (unsigned i = 0; i < 60; i++) {
		int fd = client_create(c, 1, "file", O_RDWR | O_EXCL, &e);
		assert_true(fd >= 0);
		close(fd);
		nodes[i] = e.nodeid;
		assert_int_equal(client_call(c, FUSE_UNLINK, 1, "file", (size_t)5, NULL), 0);
	}
	assert_true(c->broker->nodes.fd_count <= 16);
	for (unsigned i = 0; i < 60; i++)
		alive += client_attributes(c, nodes[i], &a) == 0;
	assert_int_equal(alive, 16);
}

static void system_trees_are_hidden(void **state)
{
	struct client c;
	struct fuse_entry_out e;
	struct fuse_read_in in = { .size = 65536 };

	(void)state;
	client_start(&c, &(struct client_options){ .hide_system = true });
	assert_int_equal(mkdir(client_path(&c, "root/proc"), 0755), 0);
	assert_int_equal(mkdir(client_path(&c, "root/usr"), 0755), 0);
	assert_int_equal(mkdir(client_path(&c, "root/usr/proc"), 0755), 0);
	assert_int_equal(client_lookup(&c, 1, "proc", &e), -ENOENT);
	assert_int_equal(client_rename(&c, 1, "proc", 1, "x", 0), -ENOENT);
	assert_int_equal(client_mkdir(&c, 1, "proc", &e), -ENOENT);
	client_node(&c, client_node(&c, 1, "usr"), "proc");
	assert_int_equal(client_call(&c, BROKER_READ_DIRECTORY, 1, &in, sizeof(in), NULL), 0);
	assert_null(memmem(client_payload(&c), c.answer_bytes, "proc", 4));
	assert_non_null(memmem(client_payload(&c), c.answer_bytes, "usr", 3));
	client_stop(&c);
}

// ---- races: the host moves things about while the cell walks ----

static void *shuffle(void *context)
{
	struct client *c = context;
	char name[3][128];

	snprintf(name[0], sizeof(name[0]), "%s/a", c->root);
	snprintf(name[1], sizeof(name[1]), "%s/b", c->root);
	snprintf(name[2], sizeof(name[2]), "%s/link", c->top);
	for (unsigned i = 0; i < 20000; i++) {
		// "a" is a directory, a link upwards, or missing.
		rename(name[0], name[1]);
		symlink("..", name[0]);
		rename(name[0], name[2]);
		rename(name[1], name[0]);
	}
	return NULL;
}

static void walking_while_names_move(void **state)
{
	struct client *c = *state;
	struct fuse_entry_out e, inner;
	pthread_t mover;

	client_write(c, "outside", "secret");
	assert_int_equal(mkdir(client_path(c, "root/a"), 0755), 0);
	client_write(c, "root/a/inside", "");
	assert_int_equal(pthread_create(&mover, NULL, shuffle, c), 0);
	for (unsigned i = 0; i < 5000; i++) {
		if (client_lookup(c, 1, "a", &e))
			continue;
		assert_int_not_equal(client_lookup(c, e.nodeid, "outside", &inner), 0);
		client_lookup(c, e.nodeid, "inside", &inner); // found or not
		int fd = client_lookup_open(c, 1, "a", O_RDONLY, &e);
		assert_true(fd < 0);
	}
	pthread_join(mover, NULL);
	assert_int_equal(client_lookup(c, 1, "a", &e), 0); // the directory, in the end
	assert_int_equal(client_lookup(c, e.nodeid, "inside", &inner), 0);
}

// Two channels rename directories into each other.
struct renaming {
	struct client client;
	uint64_t a, b;
};

static void *rename_about(void *context)
{
	struct renaming *r = context;
	struct fuse_entry_out e;

	for (unsigned i = 0; i < 3000; i++) {
		client_rename(&r->client, 1, "a", r->b, "a", 0);
		client_lookup(&r->client, r->b, "a", &e);
		client_rename(&r->client, r->b, "a", 1, "a", 0);
		client_lookup(&r->client, r->a, "x", &e);
	}
	return NULL;
}

static void renames_into_each_other(void **state)
{
	struct client *c = *state;
	struct fuse_entry_out a, b, e;
	static struct renaming r;
	pthread_t other;

	assert_int_equal(client_mkdir(c, 1, "a", &a), 0);
	assert_int_equal(client_mkdir(c, 1, "b", &b), 0);
	r = (struct renaming){ *c, a.nodeid, b.nodeid };
	r.client.channels[0] = c->channels[1];
	assert_int_equal(pthread_create(&other, NULL, rename_about, &r), 0);
	for (unsigned i = 0; i < 3000; i++) {
		client_rename(c, 1, "b", a.nodeid, "b", 0);
		client_lookup(c, a.nodeid, "b", &e);
		client_rename(c, a.nodeid, "b", 1, "b", 0);
		client_lookup(c, b.nodeid, "x", &e);
	}
	pthread_join(other, NULL);
	assert_int_equal(client_lookup(c, 1, "a", &e), 0);
	assert_int_equal(e.nodeid, a.nodeid);
}

#define WITH(test)       cmocka_unit_test_setup_teardown(test, setup, teardown)
#define WITH_SMALL(test) cmocka_unit_test_setup_teardown(test, setup_small, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(names_are_single_components),
		WITH(links_lead_nowhere),
		WITH(replaced_is_stale),
		WITH(reused_inode_is_another_node),
		WITH(directory_moved_out_of_the_grant),
		WITH(devices_are_not_opened),
		cmocka_unit_test(frames_are_checked),
		WITH(message_too_long_ends_the_conversation),
		WITH(unknown_grant),
		WITH(every_operation_wants_its_arguments),
		WITH(made_up_nodes),
		WITH(flood),
		WITH(descriptors_sent_along_are_ignored),
		WITH_SMALL(deep_path_is_walked_with_few_descriptors),
		WITH_SMALL(too_many_nodes),
		WITH_SMALL(too_many_directories_open),
		WITH_SMALL(removed_files_are_held_in_bounded_number),
		cmocka_unit_test(system_trees_are_hidden),
		WITH(walking_while_names_move),
		WITH(renames_into_each_other),
		WITH_SMALL(renames_into_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
