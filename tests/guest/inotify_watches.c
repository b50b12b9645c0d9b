// SPDX-License-Identifier: Apache-2.0
// Which events does a watch report: of the inode itself, of renames across directories, once only, added masks, overflow?
#include "check.h"

#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>

static char buffer[65536] __attribute__((aligned(8)));
static size_t have, at;

static struct inotify_event *next_event(int fd)
{
	if (at >= have) {
		ssize_t got = read(fd, buffer, sizeof(buffer));

		at = have = 0;
		if (got <= 0)
			return NULL;
		have = got;
	}
	struct inotify_event *event = (struct inotify_event *)(buffer + at);

	at += sizeof(*event) + event->len;
	return event;
}

static void expect(int fd, int watch, uint32_t mask, const char *name)
{
	struct inotify_event *event = next_event(fd);

	if (!CHECK(event != NULL))
		return;
	CHECK_EQ(event->wd, watch);
	CHECK_EQ(event->mask, mask);
	CHECK_STR(event->len ? event->name : "", name);
}

static void inode_itself(void)
{
	int fd = CHECK_OK(inotify_init1(IN_NONBLOCK)), pending;

	check_write_file("self", "x");
	int watch = CHECK_OK(inotify_add_watch(fd, "self", IN_ALL_EVENTS));
	CHECK_OK(chmod("self", 0600));
	expect(fd, watch, IN_ATTRIB, "");
	int file = CHECK_OK(open("self", O_RDWR));
	expect(fd, watch, IN_OPEN, "");
	CHECK_EQ(read(file, buffer, 1), 1);
	expect(fd, watch, IN_ACCESS, "");
	CHECK_OK(ftruncate(file, 0));
	expect(fd, watch, IN_MODIFY, "");
	CHECK_OK(rename("self", "moved"));
	expect(fd, watch, IN_MOVE_SELF, "");
	CHECK_OK(unlink("moved"));
	expect(fd, watch, IN_ATTRIB, "");
	CHECK_ERR(read(fd, buffer, sizeof(buffer)), EAGAIN); // it is still open
	close(file);
	CHECK_OK(ioctl(fd, FIONREAD, &pending));
	CHECK_EQ(pending, 3 * sizeof(struct inotify_event));
	expect(fd, watch, IN_CLOSE_WRITE, "");
	expect(fd, watch, IN_DELETE_SELF, "");
	expect(fd, watch, IN_IGNORED, "");
	CHECK_ERR(inotify_rm_watch(fd, watch), EINVAL);
	close(fd);
}

static void directories(void)
{
	int fd = CHECK_OK(inotify_init1(IN_NONBLOCK));

	CHECK_OK(mkdir("d1", 0700));
	CHECK_OK(mkdir("d2", 0700));
	int one = CHECK_OK(inotify_add_watch(fd, "d1", IN_MOVE | IN_CREATE | IN_DELETE));
	int two = CHECK_OK(inotify_add_watch(fd, "d2", IN_MOVE));
	CHECK(one != two);
	CHECK_OK(mkdir("d1/sub", 0700));
	expect(fd, one, IN_CREATE | IN_ISDIR, "sub");
	CHECK_OK(rename("d1/sub", "d2/other"));
	struct inotify_event *event = next_event(fd);
	uint32_t cookie = event ? event->cookie : 0;
	CHECK(event && event->wd == one && event->mask == (IN_MOVED_FROM | IN_ISDIR) && cookie);
	event = next_event(fd);
	CHECK(event && event->wd == two && event->mask == (IN_MOVED_TO | IN_ISDIR) && event->cookie == cookie);
	CHECK_OK(symlink("x", "d1/link"));
	expect(fd, one, IN_CREATE, "link");
	CHECK_OK(link("d1/link", "d1/hard"));
	expect(fd, one, IN_CREATE, "hard");
	CHECK_OK(unlink("d1/link"));
	expect(fd, one, IN_DELETE, "link");
	CHECK_OK(rmdir("d2/other"));
	CHECK_ERR(read(fd, buffer, sizeof(buffer)), EAGAIN);                       // d2 does not ask for deletions
	CHECK_ERR(inotify_add_watch(fd, "d1/hard", IN_ONLYDIR | IN_OPEN), ENOENT); // follows the dangling link
	check_write_file("plain", "");
	CHECK_ERR(inotify_add_watch(fd, "plain", IN_ONLYDIR | IN_OPEN), ENOTDIR);
	close(fd);
}

static void masks(void)
{
	int fd = CHECK_OK(inotify_init1(IN_NONBLOCK));

	check_write_file("m", "x");
	int watch = CHECK_OK(inotify_add_watch(fd, "m", IN_OPEN));
	CHECK_EQ(inotify_add_watch(fd, "m", IN_ATTRIB | IN_MASK_ADD), watch);
	close(open("m", O_RDONLY));
	expect(fd, watch, IN_OPEN, "");
	CHECK_OK(chmod("m", 0644));
	expect(fd, watch, IN_ATTRIB, "");
	CHECK_EQ(inotify_add_watch(fd, "m", IN_ATTRIB | IN_ONESHOT), watch); // replaces
	close(open("m", O_RDONLY));
	CHECK_ERR(read(fd, buffer, sizeof(buffer)), EAGAIN);
	CHECK_OK(chmod("m", 0600));
	CHECK_OK(chmod("m", 0644));
	expect(fd, watch, IN_ATTRIB, "");
	expect(fd, watch, IN_IGNORED, "");
	CHECK_ERR(read(fd, buffer, sizeof(buffer)), EAGAIN);
	// Equal events that follow each other are one.
	watch = CHECK_OK(inotify_add_watch(fd, "m", IN_MODIFY));
	int file = CHECK_OK(open("m", O_WRONLY));
	CHECK_EQ(write(file, "a", 1), 1);
	CHECK_EQ(write(file, "b", 1), 1);
	close(file);
	expect(fd, watch, IN_MODIFY, "");
	CHECK_ERR(read(fd, buffer, sizeof(buffer)), EAGAIN);
	CHECK_ERR(inotify_add_watch(fd, "m", IN_MODIFY | IN_MASK_CREATE), EEXIST);
	close(fd);
}

static void waiting(void)
{
	int fd = CHECK_OK(inotify_init1(0));
	struct pollfd p = { fd, POLLIN, 0 };

	int watch = CHECK_OK(inotify_add_watch(fd, ".", IN_CREATE));
	CHECK_EQ(poll(&p, 1, 0), 0);
	pid_t pid = fork();
	if (pid == 0) {
		check_sleep_ms(50);
		check_write_file("later", "");
		_exit(0);
	}
	CHECK_EQ(poll(&p, 1, 20000), 1);
	expect(fd, watch, IN_CREATE, "later");
	CHECK_EQ(check_wait(pid), 0);
	// Too small a buffer for the next event.
	check_write_file("a-name-that-needs-room", "");
	CHECK_ERR(read(fd, buffer, sizeof(struct inotify_event)), EINVAL);
	close(fd);
}

static void overflow(void)
{
	int fd = CHECK_OK(inotify_init1(IN_NONBLOCK)), file;
	struct inotify_event *event;
	unsigned count = 0, limit = strtoul(check_read_file("/proc/sys/fs/inotify/max_queued_events"), NULL, 10);

	CHECK(limit > 0);
	if (limit > 20000)
		limit = 20000;
	check_write_file("o", "");
	CHECK_OK(inotify_add_watch(fd, "o", IN_OPEN | IN_CLOSE));
	for (unsigned i = 0; i < limit / 2 + 10; i++) {
		file = open("o", O_RDONLY);
		close(file);
	}
	at = have = 0;
	bool overflowed = false;
	while ((event = next_event(fd))) {
		count++;
		if (event->mask & IN_Q_OVERFLOW) {
			overflowed = true;
			CHECK_EQ(event->wd, -1);
		}
	}
	CHECK(overflowed || count > limit);
	CHECK(count <= 2 * limit + 20);
	close(fd);
}

int main(void)
{
	check_tmpdir();
	inode_itself();
	directories();
	masks();
	waiting();
	overflow();
	return check_done();
}
