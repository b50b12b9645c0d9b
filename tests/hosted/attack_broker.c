// SPDX-License-Identifier: Apache-2.0
// Forged requests to the broker (abi/broker.h), on every socket that answers one.
//
//     attack broker WHAT READONLY WRITABLE SECRET
//         READONLY, WRITABLE: numbers of two grants; SECRET: path on the host of a file outside of both
//
// Lines that begin with GOT tell of something an attacker must not get; "asked N, answered M" of how it went.
#define _GNU_SOURCE
#include "abi/broker.h"
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define ROOT        1u
#define ANSWER_MS   2000
#define SOCKETS_MAX 16

static int sockets[SOCKETS_MAX];
static unsigned socket_count, asked, answered;
static uint32_t readonly, writable;
static const char *secret;

struct message {
	struct broker_request request;
	struct fuse_in_header header;
	char body[BROKER_MESSAGE_MAX_BYTES + 4096];
	size_t body_bytes;
};

struct reply {
	struct fuse_out_header header;
	char body[BROKER_MESSAGE_MAX_BYTES];
	long bytes;
	int fds[BROKER_DESCRIPTORS_MAX];
	unsigned fd_count;
};

static struct message m;
static struct reply r;

// ---- asking ----

static void begin(uint32_t grant, uint32_t opcode, uint64_t node)
{
	static uint64_t unique = 1000000;

	m.request.grant = grant;
	m.header = (struct fuse_in_header){ .opcode = opcode, .nodeid = node, .unique = unique += 2 };
	m.body_bytes = 0;
}

static void add(const void *data, size_t bytes)
{
	if (bytes > sizeof(m.body) - m.body_bytes)
		bytes = sizeof(m.body) - m.body_bytes;
	memcpy(m.body + m.body_bytes, data, bytes);
	m.body_bytes += bytes;
}

static void add_name(const char *name) { add(name, strlen(name) + 1); }

static long send_bytes(int socket, size_t bytes)
{
	struct iovec v[2] = { { &m, sizeof(m.request) + sizeof(m.header) }, { m.body, bytes } };
	struct msghdr h = { .msg_iov = v, .msg_iovlen = 2 };

	asked++;
	return HOST(SYS_sendmsg, socket, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void close_reply(void)
{
	for (unsigned i = 0; i < r.fd_count; i++)
		HOST(SYS_close, r.fds[i]);
	r.fd_count = 0;
}

static bool receive(int socket, int ms)
{
	char control[CMSG_SPACE(sizeof(r.fds))];
	struct iovec v[2] = { { &r.header, sizeof(r.header) }, { r.body, sizeof(r.body) } };
	struct msghdr h = { .msg_iov = v, .msg_iovlen = 2, .msg_control = control, .msg_controllen = sizeof(control) };
	struct pollfd p = { .fd = socket, .events = POLLIN };
	struct timespec t = { ms / 1000, ms % 1000 * 1000000L };

	memset(&r.header, 0, sizeof(r.header));
	r.fd_count = 0;
	if (HOST(SYS_ppoll, &p, 1, &t, 0, 0) != 1)
		return false;
	r.bytes = HOST(SYS_recvmsg, socket, &h, MSG_DONTWAIT);
	if (r.bytes <= 0)
		return false;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
		if (c->cmsg_type != SCM_RIGHTS)
			continue;
		r.fd_count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(r.fds, CMSG_DATA(c), r.fd_count * sizeof(int));
	}
	answered++;
	return true;
}

// Sends what begin() and add() made; false when no answer, or another one's, comes.
static bool ask(int socket)
{
	m.header.len = (uint32_t)(sizeof(m.header) + m.body_bytes);
	m.request.size_bytes = m.header.len;
	if (send_bytes(socket, m.body_bytes) < 0)
		return false;
	while (receive(socket, ANSWER_MS)) {
		if (r.header.unique == m.header.unique)
			return true;
		close_reply();
	}
	return false;
}

static void find_sockets(void)
{
	unsigned mode;

	for (int fd = 0; fd < 256 && socket_count < SOCKETS_MAX; fd++) {
		struct fuse_getattr_in in = { 0 };
		if (!host_fd(fd, &mode) || !S_ISSOCK(mode))
			continue;
		begin(readonly, FUSE_GETATTR, ROOT);
		add(&in, sizeof(in));
		m.header.len = m.request.size_bytes = (uint32_t)(sizeof(m.header) + m.body_bytes);
		// Only a socket of messages has nothing to say to half a request.
		if (send_bytes(fd, m.body_bytes) < 0 || !receive(fd, 300) || r.header.unique != m.header.unique)
			continue;
		sockets[socket_count++] = fd;
	}
	asked = answered = 0;
}

// ---- what was got ----

static void read_secret(const char *how, int fd)
{
	char text[200] = "";
	struct iovec v = { text, sizeof(text) - 1 };

	if (HOST(SYS_preadv2, fd, &v, 1, 0, 0, 0) > 0 && strstr(text, "CANARY"))
		shout("GOT the secret by %s\n", how);
}

static void try_to_write(const char *how, int fd)
{
	struct iovec v = { "HACKED", 6 };

	if (HOST(SYS_pwritev2, fd, &v, 1, 0, 0, 0) > 0)
		shout("GOT a write by %s\n", how);
	if (HOST(SYS_ftruncate, fd, 1) == 0)
		shout("GOT a truncate by %s\n", how);
	if (HOST(SYS_fallocate, fd, 0, 0, 100000) == 0)
		shout("GOT a fallocate by %s\n", how);
	long p = HOST(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p > 0 || p < -4096) {
		shout("GOT a writable mapping by %s\n", how);
		memcpy((void *)p, "HACKED", 6);
	}
}

static void look_at_descriptors(const char *how, bool must_not_write)
{
	for (unsigned i = 0; i < r.fd_count; i++) {
		read_secret(how, r.fds[i]);
		if (must_not_write)
			try_to_write(how, r.fds[i]);
	}
	close_reply();
}

// LOOKUP; 0 when there is none.
static uint64_t lookup(int socket, uint32_t grant, uint64_t directory, const void *name, size_t bytes)
{
	begin(grant, FUSE_LOOKUP, directory);
	add(name, bytes);
	if (!ask(socket) || r.header.error || r.bytes < (long)(sizeof(r.header) + sizeof(struct fuse_entry_out)))
		return 0;
	return ((struct fuse_entry_out *)r.body)->nodeid;
}

static uint64_t lookup_name(int socket, uint32_t grant, uint64_t directory, const char *name)
{
	return lookup(socket, grant, directory, name, strlen(name) + 1);
}

static bool open_node(int socket, uint32_t grant, uint64_t node, uint32_t flags)
{
	struct fuse_open_in in = { .flags = flags };

	begin(grant, FUSE_OPEN, node);
	add(&in, sizeof(in));
	return ask(socket) && !r.header.error;
}

static void lookup_open(int socket, uint32_t grant, uint64_t directory, const char *name, uint32_t flags)
{
	struct broker_lookup_open_in in = { .flags = flags };

	begin(grant, BROKER_LOOKUP_OPEN, directory);
	add(&in, sizeof(in));
	add_name(name);
	ask(socket);
}

// Everything one can do with a node that should not be there.
static void use_node(const char *how, int socket, uint32_t grant, uint64_t node, bool must_not_write)
{
	static const uint32_t flags[] = { O_RDONLY,         O_RDWR, O_WRONLY | O_TRUNC, O_PATH, O_RDONLY | O_DIRECTORY,
					  O_RDWR | O_APPEND };

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (open_node(socket, grant, node, flags[i]))
			look_at_descriptors(how, must_not_write);
}

// ---- paths ----

static void escape(int socket)
{
	char up[300], longest[5000];
	const char *names[] = { "..",        "../secret",   "../outside/secret",
				".",         "inner/../..", "a/b",
				"/",         "/etc/passwd", "",
				up,          secret,        secret + 1,
				longest,     "...",         "..\\secret",
				"inner/file" };

	for (size_t i = 0; i < sizeof(up) - 1; i++)
		up[i] = "../"[i % 3];
	up[sizeof(up) - 1] = 0;
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	for (uint32_t grant = 0; grant < 6; grant++) {
		uint64_t inner = lookup_name(socket, grant, ROOT, "inner");
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
			for (int below = 0; below < 2; below++) {
				uint64_t from = below ? inner : ROOT, node = lookup_name(socket, grant, from, names[i]);
				if (node && node != ROOT && node != inner && strcmp(names[i], "...") != 0)
					shout("GOT node %lu for \"%.40s\"\n", (unsigned long)node, names[i]);
				if (node)
					use_node(names[i], socket, grant, node, false);
				lookup_open(socket, grant, from, names[i], O_RDONLY);
				look_at_descriptors(names[i], false);
			}
		}
		if (lookup(socket, grant, ROOT, "inn\0er", 7))
			shout("GOT a node for a name with NUL\n");
		if (lookup(socket, grant, ROOT, "inner", 5))
			shout("GOT a node for a name without an end\n");
		if (lookup(socket, grant, ROOT, "", 0))
			shout("GOT a node for no name at all\n");
	}
}

// The host's own trees, through the grant of its root.
static void walk(int socket, const char *path)
{
	char text[200], *rest = text, *part;
	uint64_t node = ROOT;

	snprintf(text, sizeof(text), "%s", path);
	while (node && (part = strtok_r(rest, "/", &rest)))
		node = lookup_name(socket, 0, node, part);
	if (!node)
		return;
	shout("GOT a node for %s\n", path);
	use_node(path, socket, 0, node, true);
}

static void system_trees(int socket)
{
	static const char *const paths[] = { "proc/self/root",
					     "proc/1/root/etc/passwd",
					     "proc/1/mem",
					     "proc/self/fd",
					     "proc/sys/kernel/core_pattern",
					     "sys/kernel/uevent_helper",
					     "dev/mem",
					     "dev/vda",
					     "dev/sda",
					     "dev/null",
					     "dev/pts/0",
					     "dev/ptmx",
					     "run/systemd",
					     "tmp/x" };
	char in_tmp[300];

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		walk(socket, paths[i]);
	snprintf(in_tmp, sizeof(in_tmp), "%s", secret);
	walk(socket, in_tmp);
}

// Links made by the cell itself, to places it was not granted.
static void links(int socket)
{
	static const char *const names[] = { "to-secret", "to-up", "to-root" };
	const char *targets[] = { secret, "../outside", "/" };

	for (int i = 0; i < 3; i++) {
		begin(writable, FUSE_SYMLINK, ROOT);
		add_name(names[i]);
		add_name(targets[i]);
		ask(socket);
		uint64_t node = lookup_name(socket, writable, ROOT, names[i]);
		if (!node)
			continue;
		use_node(names[i], socket, writable, node, true);
		lookup_open(socket, writable, ROOT, names[i], O_RDWR);
		look_at_descriptors(names[i], true);
		if (lookup_name(socket, writable, node, "secret") || lookup_name(socket, writable, node, "etc"))
			shout("GOT through the link %s\n", names[i]);
		struct fuse_setattr_in in = { .valid = FATTR_SIZE | FATTR_MODE, .size = 0, .mode = 0777 };
		begin(writable, FUSE_SETATTR, node);
		add(&in, sizeof(in));
		ask(socket);
	}
}

static void devices(int socket)
{
	static const uint32_t numbers[] = { 1 << 8 | 1, 254 << 8, 8 << 8, 1 << 8 | 3, 5 << 8 };

	for (uint32_t i = 0; i < 5; i++) {
		struct fuse_mknod_in in = { .mode = (i % 2 ? S_IFBLK : S_IFCHR) | 0666, .rdev = numbers[i] };
		char name[20];
		snprintf(name, sizeof(name), "device%u", i);
		begin(writable, FUSE_MKNOD, ROOT);
		add(&in, sizeof(in));
		add_name(name);
		ask(socket);
		uint64_t node = lookup_name(socket, writable, ROOT, name);
		if (!node)
			continue;
		for (int flags = O_RDONLY; flags <= O_RDWR; flags++)
			if (open_node(socket, writable, node, flags) && r.fd_count)
				shout("GOT a device opened\n");
		close_reply();
		lookup_open(socket, writable, ROOT, name, O_RDWR);
		if (r.fd_count)
			shout("GOT a device opened\n");
		close_reply();
	}
}

// ---- writes where only reading was granted ----

static void changed(const char *what)
{
	if (!r.header.error && r.bytes > 0)
		shout("GOT %s in a read-only tree\n", what);
	close_reply();
}

static void make_something(int socket, uint64_t directory)
{
	struct fuse_create_in create = { .flags = O_RDWR | O_CREAT, .mode = 0666 };
	struct fuse_mkdir_in mkdir = { .mode = 0777 };
	struct fuse_mknod_in mknod = { .mode = S_IFREG | 0666 };

	begin(readonly, FUSE_CREATE, directory);
	add(&create, sizeof(create)), add_name("made");
	if (ask(socket))
		changed("a file made");
	begin(readonly, FUSE_MKDIR, directory);
	add(&mkdir, sizeof(mkdir)), add_name("made-directory");
	if (ask(socket))
		changed("a directory made");
	begin(readonly, FUSE_MKNOD, directory);
	add(&mknod, sizeof(mknod)), add_name("made-node");
	if (ask(socket))
		changed("a node made");
	begin(readonly, FUSE_SYMLINK, directory);
	add_name("made-link"), add_name("file");
	if (ask(socket))
		changed("a link made");
	lookup_open(socket, readonly, directory, "made-too", O_RDWR | O_CREAT);
	look_at_descriptors("lookup-open with O_CREAT", true);
}

static void remove_something(int socket, uint64_t file, uint64_t other_directory)
{
	struct fuse_rename2_in rename = { .newdir = ROOT };
	struct fuse_rename2_in across = { .newdir = other_directory };
	struct fuse_link_in link = { .oldnodeid = file };

	begin(readonly, FUSE_UNLINK, ROOT);
	add_name("file");
	if (ask(socket))
		changed("a file removed");
	begin(readonly, FUSE_RMDIR, ROOT);
	add_name("inner");
	if (ask(socket))
		changed("a directory removed");
	begin(readonly, FUSE_RENAME2, ROOT);
	add(&rename, sizeof(rename)), add_name("file"), add_name("renamed");
	if (ask(socket))
		changed("a rename");
	begin(readonly, FUSE_RENAME2, ROOT);
	add(&across, sizeof(across)), add_name("file"), add_name("renamed");
	if (ask(socket))
		changed("a rename to elsewhere");
	begin(readonly, FUSE_LINK, ROOT);
	add(&link, sizeof(link)), add_name("linked");
	if (ask(socket))
		changed("a hard link");
	begin(writable, FUSE_LINK, ROOT); // the number is another grant's
	add(&link, sizeof(link)), add_name("linked");
	if (ask(socket) && !r.header.error)
		shout("a link to a node of that number in the writable grant\n");
	close_reply();
}

static void change_attributes(int socket, uint64_t file)
{
	static const uint32_t valid[] = { FATTR_SIZE,  FATTR_MODE,  FATTR_UID | FATTR_GID,
					  FATTR_MTIME, FATTR_ATIME, FATTR_SIZE | FATTR_FH };
	struct fuse_setxattr_in xattr = { .size = 1 };

	for (size_t i = 0; i < sizeof(valid) / sizeof(valid[0]); i++) {
		struct fuse_setattr_in in = {
			.valid = valid[i], .size = 1, .mode = 0777, .uid = 65534, .gid = 65534, .mtime = 1, .atime = 1
		};
		begin(readonly, FUSE_SETATTR, file);
		add(&in, sizeof(in));
		if (ask(socket))
			changed("attributes changed");
	}
	begin(readonly, FUSE_SETXATTR, file);
	add(&xattr, FUSE_COMPAT_SETXATTR_IN_SIZE), add_name("user.x"), add("x", 1);
	if (ask(socket))
		changed("an extended attribute");
	begin(readonly, FUSE_REMOVEXATTR, file);
	add_name("user.canary");
	if (ask(socket))
		changed("an extended attribute removed");
}

static void read_only(int socket)
{
	static const uint32_t flags[] = { O_RDWR,
					  O_WRONLY,
					  O_WRONLY | O_TRUNC,
					  O_RDONLY | O_TRUNC,
					  O_WRONLY | O_APPEND,
					  O_RDWR | O_CREAT,
					  O_RDWR | O_TMPFILE,
					  3,
					  O_RDONLY };
	uint64_t file = lookup_name(socket, readonly, ROOT, "file"),
		 inner = lookup_name(socket, readonly, ROOT, "inner");
	uint64_t other = lookup_name(socket, writable, ROOT, "inner");

	if (!file) {
		printf("no such file: the grants' numbers are wrong\n");
		return;
	}
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		if (open_node(socket, readonly, file, flags[i]))
			look_at_descriptors("open", true);
		if (open_node(socket, readonly, ROOT, flags[i]))
			look_at_descriptors("open of the directory", true);
		lookup_open(socket, readonly, ROOT, "file", flags[i]);
		look_at_descriptors("lookup-open", true);
	}
	make_something(socket, ROOT);
	make_something(socket, inner);
	remove_something(socket, file, other);
	change_attributes(socket, file);
}

// ---- nonsense and floods ----

static uint64_t random_state = 88172645463325252u;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void random_request(void)
{
	static const uint32_t opcodes[] = { FUSE_LOOKUP,
					    FUSE_FORGET,
					    FUSE_GETATTR,
					    FUSE_SETATTR,
					    FUSE_READLINK,
					    FUSE_OPEN,
					    FUSE_STATFS,
					    FUSE_RELEASE,
					    FUSE_GETXATTR,
					    FUSE_LISTXATTR,
					    FUSE_INIT,
					    FUSE_OPENDIR,
					    FUSE_READDIR,
					    FUSE_RELEASEDIR,
					    FUSE_ACCESS,
					    FUSE_INTERRUPT,
					    FUSE_DESTROY,
					    FUSE_BATCH_FORGET,
					    FUSE_READDIRPLUS,
					    FUSE_RENAME2,
					    FUSE_COPY_FILE_RANGE,
					    FUSE_SYNCFS,
					    FUSE_TMPFILE,
					    FUSE_IOCTL,
					    FUSE_READ,
					    FUSE_WRITE,
					    FUSE_POLL,
					    BROKER_LOOKUP_OPEN,
					    BROKER_WATCH,
					    BROKER_UNWATCH,
					    0,
					    0xffffffff };
	uint64_t words[24];

	begin(next_random() % 8 ? readonly : (uint32_t)next_random(),
	      opcodes[next_random() % (sizeof(opcodes) / sizeof(opcodes[0]))],
	      next_random() % 4 ? next_random() % 20 : next_random());
	for (int i = 0; i < 24; i++)
		words[i] = next_random() % 3 ? next_random() % 16 : next_random();
	add(words, next_random() % sizeof(words));
	if (next_random() % 2)
		add_name("file");
	m.header.len = (uint32_t)(sizeof(m.header) + m.body_bytes);
	m.request.size_bytes = m.header.len;
	// A wrong frame ends the conversation at once: rarely.
	if (next_random() % 200 == 0)
		m.header.len = (uint32_t)next_random();
	if (next_random() % 200 == 0)
		m.request.size_bytes = (uint32_t)next_random();
}

static void nonsense(int socket)
{
	for (int i = 0; i < 3000; i++) {
		random_request();
		if (send_bytes(socket, m.body_bytes) < 0)
			return;
		if (i % 4 == 0)
			while (receive(socket, 1))
				close_reply();
	}
}

static void frames(int socket)
{
	static const size_t sizes[] = { 0,
					1,
					8,
					40,
					4096,
					65536,
					BROKER_MESSAGE_MAX_BYTES - sizeof(struct fuse_in_header) - 8,
					BROKER_MESSAGE_MAX_BYTES + 100 };
	static const uint32_t lengths[] = { 0, 1, 39, 40, 41, 0x7fffffff, 0xffffffff };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (size_t n = 0; n < sizeof(lengths) / sizeof(lengths[0]); n++) {
			begin(readonly, FUSE_LOOKUP, ROOT);
			m.body_bytes = sizes[i];
			memset(m.body, 'n', sizes[i]);
			m.header.len = lengths[n];
			m.request.size_bytes = lengths[(n + i) % 7];
			send_bytes(socket, sizes[i]);
			while (receive(socket, 5))
				close_reply();
		}
}

// As many requests as the socket takes, no answer read; then as many open files and names as there are.
static void flood(int socket)
{
	struct fuse_batch_forget_in forget = { .count = 0xffffffff };

	for (int i = 0; i < 20000; i++) {
		begin(readonly, FUSE_STATFS, ROOT);
		m.header.len = m.request.size_bytes = sizeof(m.header);
		if (send_bytes(socket, 0) < 0)
			break;
	}
	while (receive(socket, 200))
		close_reply();
	for (int i = 0; i < 5000; i++) {
		lookup_open(socket, readonly, ROOT, "file", O_RDONLY);
		close_reply();
	}
	uint64_t node = lookup_name(socket, readonly, ROOT, "inner");
	for (int i = 0; i < 5000; i++) {
		struct fuse_open_in in = { .flags = O_RDONLY };
		begin(readonly, FUSE_OPENDIR, node);
		add(&in, sizeof(in));
		ask(socket);
		close_reply();
	}
	begin(readonly, FUSE_BATCH_FORGET, 0);
	add(&forget, sizeof(forget));
	m.header.len = m.request.size_bytes = (uint32_t)(sizeof(m.header) + m.body_bytes);
	send_bytes(socket, m.body_bytes);
}

// Descriptors sent to the broker: it must not keep them.
static void descriptors(int socket)
{
	char control[CMSG_SPACE(64 * sizeof(int))] = "";
	struct iovec v[2];
	struct msghdr h = { .msg_iov = v, .msg_iovlen = 2, .msg_control = control };
	struct cmsghdr *c = (struct cmsghdr *)control;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(64 * sizeof(int));
	h.msg_controllen = CMSG_SPACE(64 * sizeof(int));
	for (int i = 0; i < 64; i++)
		((int *)CMSG_DATA(c))[i] = sockets[0];
	for (int i = 0; i < 300; i++) {
		begin(readonly, FUSE_STATFS, ROOT);
		m.header.len = m.request.size_bytes = sizeof(m.header);
		v[0] = (struct iovec){ &m, sizeof(m.request) + sizeof(m.header) };
		v[1] = (struct iovec){ m.body, 0 };
		asked++;
		if (HOST(SYS_sendmsg, socket, &h, MSG_NOSIGNAL) < 0)
			break;
		if (receive(socket, 100))
			close_reply();
	}
}

static const struct attack {
	const char *name;
	void (*run)(int socket);
	bool everywhere; // on each socket
} attacks[] = {
	{ "escape", escape, false },   { "system", system_trees, false }, { "links", links, false },
	{ "devices", devices, false }, { "read-only", read_only, false }, { "nonsense", nonsense, true },
	{ "frames", frames, true },    { "flood", flood, true },          { "descriptors", descriptors, true },
};

int attack_broker(const char *what, int argc, char **argv)
{
	if (argc < 3)
		return 2;
	readonly = (uint32_t)atoi(argv[0]);
	writable = (uint32_t)atoi(argv[1]);
	secret = argv[2];
	find_sockets();
	if (!socket_count) {
		printf("no socket answers\n");
		return 3;
	}
	for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
		if (strcmp(what, attacks[i].name) != 0)
			continue;
		for (unsigned s = 0; s < (attacks[i].everywhere ? socket_count : 1); s++)
			attacks[i].run(sockets[s]);
		printf("asked %u, answered %u\n", asked, answered);
		return 0;
	}
	return 2;
}
