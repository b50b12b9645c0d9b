// SPDX-License-Identifier: Apache-2.0
// Changes on the host, told to the cell.
#include "broker/test_client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stddef.h>
#include <cmocka.h>

static int setup(void **state)
{
	static struct client client;

	client_start(&client, &(struct client_options){ .descriptors_max = 128 });
	*state = &client;
	return 0;
}

static char message[16384]; // several events may come together
static size_t message_bytes, message_at;

static int teardown(void **state)
{
	message_at = message_bytes = 0;
	client_stop(*state);
	return 0;
}

struct event {
	struct broker_event event;
	char name[256];
};

#define QUIET_MS    300   // nothing came for so long: nothing comes
#define PATIENCE_MS 20000 // for what must come, however busy the machine

// The next event; false: none came.
static bool next_event(struct client *c, struct event *e, int patience_ms)
{
	struct pollfd p = { .fd = c->events, .events = POLLIN };
	ssize_t n;

	if (message_at == message_bytes) {
		if (poll(&p, 1, patience_ms) != 1)
			return false;
		n = recv(c->events, message, sizeof(message), MSG_TRUNC);
		assert_in_range(n, 1, sizeof(message));
		message_bytes = (size_t)n;
		message_at = 0;
	}
	memset(e, 0, sizeof(*e));
	assert_in_range(message_bytes - message_at, sizeof(e->event), sizeof(message));
	memcpy(&e->event, message + message_at, sizeof(e->event));
	message_at += sizeof(e->event);
	assert_in_range(e->event.name_bytes, 0, message_bytes - message_at);
	memcpy(e->name, message + message_at, e->event.name_bytes);
	message_at += e->event.name_bytes;
	return true;
}

static void expect_event(struct client *c, uint64_t node, uint32_t mask, const char *name)
{
	struct event e;

	do
		assert_true(next_event(c, &e, PATIENCE_MS));
	while (e.event.mask & (IN_MODIFY | IN_ATTRIB) && !(mask & e.event.mask)); // at the host's discretion
	assert_int_equal(e.event.mask, mask);
	assert_int_equal(e.event.nodeid, node);
	assert_string_equal(e.name, name);
}

static void changes_are_told(void **state)
{
	struct client *c = *state;
	uint64_t dir;

	assert_int_equal(mkdir(client_path(c, "root/dir"), 0755), 0);
	dir = client_node(c, 1, "dir");
	assert_int_equal(client_call(c, BROKER_WATCH, 1, NULL), 0);
	assert_int_equal(client_call(c, BROKER_WATCH, dir, NULL), 0);
	client_write(c, "root/file", "");
	expect_event(c, 1, IN_CREATE, "file");
	assert_int_equal(rename(client_path(c, "root/file"), client_path(c, "root/dir/moved")), 0);
	expect_event(c, 1, IN_MOVED_FROM, "file");
	expect_event(c, dir, IN_MOVED_TO, "moved");
	assert_int_equal(chmod(client_path(c, "root/dir/moved"), 0600), 0);
	expect_event(c, dir, IN_ATTRIB, "moved");
	assert_int_equal(truncate(client_path(c, "root/dir/moved"), 5), 0);
	expect_event(c, dir, IN_MODIFY, "moved");
	assert_int_equal(unlink(client_path(c, "root/dir/moved")), 0);
	expect_event(c, dir, IN_DELETE, "moved");
	assert_int_equal(rmdir(client_path(c, "root/dir")), 0);
	expect_event(c, 1, IN_DELETE | IN_ISDIR, "dir");
	client_forget(c, dir, 1); // it was kept by the broker
}

static void watched_directory_is_believed_longer(void **state)
{
	struct client *c = *state;
	struct fuse_entry_out e;
	const struct fuse_attr_out *a = client_payload(c);

	client_write(c, "root/file", "");
	assert_int_equal(client_lookup(c, 1, "file", &e), 0);
	assert_int_equal(e.entry_valid, 1);
	assert_int_equal(e.attr_valid, 1);
	assert_int_equal(client_call(c, BROKER_WATCH, 1, NULL), 0);
	assert_int_equal(client_lookup(c, 1, "none", &e), -ENOENT);
	if (e.entry_valid == 1)
		skip(); // the file system of /tmp may be one whose changes are not seen
	assert_int_equal(client_lookup(c, 1, "file", &e), 0);
	assert_true(e.entry_valid > 3600);
	assert_true(e.attr_valid > 3600);
	assert_int_equal(client_call(c, FUSE_GETATTR, e.nodeid, NULL), 0);
	assert_true(a->attr_valid > 3600);
	// Changed under its other name it is not told of.
	assert_int_equal(mkdir(client_path(c, "root/dir"), 0755), 0);
	assert_int_equal(link(client_path(c, "root/file"), client_path(c, "root/dir/file")), 0);
	assert_int_equal(client_lookup(c, 1, "file", &e), 0);
	assert_true(e.entry_valid > 3600);
	assert_int_equal(e.attr_valid, 1);
	// What is in a directory changes it.
	assert_int_equal(client_lookup(c, 1, "dir", &e), 0);
	assert_int_equal(e.attr_valid, 1);
	client_send(c, BROKER_UNWATCH, 1, NULL, 0);
	assert_int_equal(client_lookup(c, 1, "file", &e), 0);
	assert_int_equal(e.entry_valid, 1);
}

static void unwatched_is_not_told(void **state)
{
	struct client *c = *state;
	struct event e;

	assert_int_equal(client_call(c, BROKER_WATCH, 1, NULL), 0);
	client_send(c, BROKER_UNWATCH, 1, NULL, 0);
	client_node(c, 1, (client_write(c, "root/file", ""), "file")); // UNWATCH was done
	assert_int_equal(unlink(client_path(c, "root/file")), 0);
	assert_false(next_event(c, &e, QUIET_MS) && e.event.mask & IN_DELETE);
}

static void forgotten_is_not_told(void **state)
{
	struct client *c = *state;
	struct event e;
	uint64_t dir;

	assert_int_equal(mkdir(client_path(c, "root/dir"), 0755), 0);
	dir = client_node(c, 1, "dir");
	assert_int_equal(client_call(c, BROKER_WATCH, dir, NULL), 0);
	client_forget(c, dir, 1);
	assert_int_not_equal(client_node(c, 1, "dir"), dir);
	client_write(c, "root/dir/file", "");
	assert_false(next_event(c, &e, QUIET_MS));
}

static void mask_is_chosen(void **state)
{
	struct client *c = *state;
	struct broker_watch_in in = { .mask = IN_CLOSE_WRITE | IN_OPEN };
	struct event e;

	assert_int_equal(client_call(c, BROKER_WATCH, 1, &in, sizeof(in), NULL), 0);
	client_write(c, "root/file", "text");
	expect_event(c, 1, IN_CLOSE_WRITE, "file");
	assert_false(next_event(c, &e, QUIET_MS));
	in.mask = IN_OPEN; // the broker's own doing makes those
	assert_int_equal(client_call(c, BROKER_WATCH, 1, &in, sizeof(in), NULL), -EINVAL);
	in.mask = IN_ONESHOT | IN_CREATE;
	assert_int_equal(client_call(c, BROKER_WATCH, 1, &in, sizeof(in), NULL), -EINVAL);
	assert_int_equal(client_call(c, BROKER_WATCH, client_node(c, 1, "file"), NULL), -ENOTDIR);
}

static void reading_can_watch(void **state)
{
	struct client *c = *state;
	struct fuse_read_in in = { .size = 65536, .read_flags = BROKER_READ_WATCH };
	struct fuse_open_out out;
	struct fuse_attr_out attributes;
	struct fuse_getattr_in get = { 0 };

	client_write(c, "root/there", "");
	assert_int_equal(client_call(c, BROKER_READ_DIRECTORY, 1, &in, sizeof(in), NULL), 0);
	memcpy(&out, client_payload(c), sizeof(out));
	assert_int_equal(out.padding, 0);
	client_write(c, "root/new", "");
	expect_event(c, 1, IN_CREATE, "new");
	// Where all changes are told, attributes last; where they are not, that is said.
	assert_int_equal(client_call(c, FUSE_GETATTR, 1, &get, sizeof(get), NULL), 0);
	memcpy(&attributes, client_payload(c), sizeof(attributes));
	assert_int_equal(attributes.attr_valid > 1, (out.open_flags & BROKER_FOPEN_COMPLETE) != 0);
	// No directory: nothing is watched and nothing read.
	assert_int_equal(client_call(c, BROKER_READ_DIRECTORY, client_node(c, 1, "there"), &in, sizeof(in), NULL),
			 -ENOTDIR);
}

static void slow_cell_learns_of_overflow(void **state)
{
	struct client *c = *state;
	struct event e = { 0 };
	char name[2][512];

	assert_int_equal(client_call(c, BROKER_WATCH, 1, NULL), 0);
	client_write(c, "root/a", "");
	strcpy(name[0], client_path(c, "root/a"));
	strcpy(name[1], client_path(c, "root/b"));
	for (unsigned i = 0; i < 30000; i++)
		assert_int_equal(rename(name[i % 2], name[1 - i % 2]), 0);
	client_write(c, "root/last", "");
	while (!(e.event.mask & IN_Q_OVERFLOW))
		assert_true(next_event(c, &e, PATIENCE_MS));
	assert_int_equal(e.event.nodeid, 0);
	client_node(c, 1, "last"); // and it is served meanwhile
}

static void bound_on_watches(void **state)
{
	struct client *c = *state;
	unsigned max = c->broker->watches.count_max = 10;

	for (unsigned i = 0; i <= max; i++) {
		char name[32];
		snprintf(name, sizeof(name), "d%u", i);
		assert_int_equal(mkdir(client_path(c, "root/%s", name), 0755), 0);
		assert_int_equal(client_call(c, BROKER_WATCH, client_node(c, 1, name), NULL), i < max ? 0 : -ENOSPC);
	}
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(changes_are_told),      WITH(watched_directory_is_believed_longer),
		WITH(unwatched_is_not_told), WITH(forgotten_is_not_told),
		WITH(mask_is_chosen),        WITH(slow_cell_learns_of_overflow),
		WITH(bound_on_watches),      WITH(reading_can_watch),
	};

	// Each user has so many instances, and programs that run beside this one may have them all.
	int probe = inotify_init1(IN_CLOEXEC);
	if (probe < 0 && errno == EMFILE) {
		puts("skipped: no inotify instance is left (fs.inotify.max_user_instances)");
		return 77;
	}
	close(probe);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
