// SPDX-License-Identifier: Apache-2.0
#include "broker/test_client.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stddef.h>
#include <cmocka.h>

// ---- start and stop ----

struct serving {
	struct broker *broker;
	int channel;
};

static void *serve(void *context)
{
	struct serving *s = context;

	channel_serve(s->broker, s->channel);
	close(s->channel);
	free(s);
	return NULL;
}

static void *serve_watches(void *context)
{
	watches_run(context);
	return NULL;
}

static void start_threads(struct client *c, const struct broker_spec *spec)
{
	struct err e;

	c->broker = calloc(1, sizeof(*c->broker));
	if (!broker_init(c->broker, spec, &e))
		fail_msg("%s", e.text);
	for (unsigned i = 0; i < 2; i++) {
		struct serving *s = malloc(sizeof(*s));
		*s = (struct serving){ c->broker, spec->channels[i] };
		assert_int_equal(pthread_create(&c->threads[i], NULL, serve, s), 0);
	}
	assert_int_equal(pthread_create(&c->threads[2], NULL, serve_watches, c->broker), 0);
}

static void start_process(struct client *c, const struct broker_spec *spec, const struct client_options *o)
{
	c->process = fork();
	assert_true(c->process >= 0);
	if (!c->process) {
		if (o->open_root)
			o->open_root((struct broker_root *)spec->roots, c->root);
		broker_main(spec);
	}
	close(spec->channels[0]);
	close(spec->channels[1]);
	close(spec->events);
	close(spec->roots[0].fd);
}

void client_start(struct client *c, const struct client_options *o)
{
	struct broker_root root = { .read_only = o->read_only,
				    .no_devices = o->no_devices,
				    .hide_system = o->hide_system };
	int pairs[3][2], channels[2];
	struct broker_spec spec = { .roots = &root,
				    .root_count = 1,
				    .channels = channels,
				    .channel_count = 2,
				    .nodes_max = o->nodes_max,
				    .descriptors_max = o->descriptors_max };

	memset(c, 0, sizeof(*c));
	c->fd = -1;
	strcpy(c->top, "/tmp/cloister-broker-XXXXXX");
	assert_non_null(mkdtemp(c->top));
	assert_int_equal(chmod(c->top, 0755), 0); // before the broker, perhaps another user, goes looking for its root
	snprintf(c->root, sizeof(c->root), "%s/root", c->top);
	assert_int_equal(mkdir(c->root, 0755), 0);
	if (o->file)
		client_write(c, client_path(c, "root/%s", o->file) + strlen(c->top) + 1, "granted");
	root.fd = open(o->file ? client_path(c, "root/%s", o->file) : c->root, O_PATH | O_CLOEXEC);
	assert_true(root.fd >= 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pairs[i]), 0);
	for (unsigned i = 0; i < 2; i++) {
		c->channels[i] = pairs[i][0];
		channels[i] = pairs[i][1];
	}
	c->events = pairs[2][0];
	spec.events = pairs[2][1];
	if (o->process)
		start_process(c, &spec, o);
	else
		start_threads(c, &spec);
}

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *f)
{
	(void)s, (void)type, (void)f;
	return remove(path);
}

static void stop_threads(struct client *c)
{
	int events = c->broker->watches.events;

	for (unsigned i = 0; i < 2; i++)
		pthread_join(c->threads[i], NULL);
	watches_stop(c->broker);
	pthread_join(c->threads[2], NULL);
	close(events);
	broker_fini(c->broker);
	free(c->broker);
}

void client_stop(struct client *c)
{
	int status = 0;

	close(c->channels[0]);
	close(c->channels[1]);
	close(c->events);
	if (c->fd >= 0)
		close(c->fd);
	while (c->fd_count > 1)
		close(c->fds[--c->fd_count]);
	if (c->process) {
		assert_int_equal(waitpid(c->process, &status, 0), c->process);
		assert_int_equal(status, 0);
	} else {
		stop_threads(c);
	}
	nftw(c->top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *client_path(struct client *c, const char *format, ...)
{
	static char texts[4][512];
	static unsigned next;
	char *text = texts[next++ % 4];
	int used = snprintf(text, sizeof(texts[0]), "%s/", c->top);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text + used, sizeof(texts[0]) - (size_t)used, format, arguments);
	va_end(arguments);
	return text;
}

void client_write(struct client *c, const char *path, const char *text)
{
	int fd = open(client_path(c, "%s", path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (int)strlen(text));
	close(fd);
}

// ---- messages ----

void client_send(struct client *c, uint32_t opcode, uint64_t nodeid, const void *arguments, size_t size)
{
	struct fuse_in_header header = { .len = (uint32_t)(sizeof(header) + size),
					 .opcode = opcode,
					 .unique = ++c->unique,
					 .nodeid = nodeid,
					 .uid = geteuid(),
					 .gid = getegid() };
	struct broker_request frame = { .flags = c->flags, .size_bytes = header.len };
	struct iovec v[3] = { { &frame, sizeof(frame) }, { &header, sizeof(header) }, { (void *)arguments, size } };

	assert_int_equal(writev(c->channels[0], v, 3), (int)(sizeof(frame) + header.len));
}

int client_receive(struct client *c)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(c->fds))];
	} control;
	struct iovec v = { c->answer, sizeof(c->answer) };
	struct msghdr m = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	ssize_t n = recvmsg(c->channels[0], &m, MSG_CMSG_CLOEXEC);
	struct fuse_out_header header;

	if (c->fd >= 0)
		close(c->fd);
	while (c->fd_count > 1)
		close(c->fds[--c->fd_count]);
	c->fd = -1;
	c->fd_count = 0;
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return -ECONNRESET;
	assert_true(n >= (ssize_t)sizeof(header));
	memcpy(&header, c->answer, sizeof(header));
	assert_int_equal(header.len, n);
	assert_int_equal(header.unique, c->unique);
	if (m.msg_controllen) {
		size_t bytes = control.header.cmsg_len - CMSG_LEN(0);
		assert_in_range(bytes, sizeof(int), sizeof(c->fds));
		memcpy(c->fds, CMSG_DATA(&control.header), bytes);
		c->fd_count = (unsigned)(bytes / sizeof(int));
		c->fd = c->fds[0];
	}
	c->answer_bytes = (size_t)n - sizeof(header);
	return header.error;
}

const void *client_payload(struct client *c) { return c->answer + sizeof(struct fuse_out_header); }

int client_call(struct client *c, uint32_t opcode, uint64_t nodeid, ...)
{
	static __thread char arguments[BROKER_MESSAGE_MAX_BYTES];
	size_t size = 0, part;
	const void *from;
	va_list list;

	va_start(list, nodeid);
	while ((from = va_arg(list, const void *))) {
		part = va_arg(list, size_t);
		assert_true(size + part <= sizeof(arguments));
		memcpy(arguments + size, from, part);
		size += part;
	}
	va_end(list);
	client_send(c, opcode, nodeid, arguments, size);
	return client_receive(c);
}

// ---- shorthands ----

static int entry_take(struct client *c, int error, struct fuse_entry_out *out)
{
	if (error)
		return error;
	assert_true(c->answer_bytes >= sizeof(*out));
	memcpy(out, client_payload(c), sizeof(*out));
	return 0;
}

static int fd_take(struct client *c)
{
	int fd = c->fd;

	assert_true(fd >= 0);
	c->fd = -1;
	return fd;
}

int client_lookup(struct client *c, uint64_t dir, const char *name, struct fuse_entry_out *out)
{
	int error = entry_take(c, client_call(c, FUSE_LOOKUP, dir, name, strlen(name) + 1, NULL), out);

	return error ? error : out->nodeid ? 0 : -ENOENT;
}

uint64_t client_node(struct client *c, uint64_t dir, const char *name)
{
	struct fuse_entry_out e;

	assert_int_equal(client_lookup(c, dir, name, &e), 0);
	return e.nodeid;
}

int client_attributes(struct client *c, uint64_t node, struct fuse_attr *out)
{
	struct fuse_getattr_in in = { 0 };
	int error = client_call(c, FUSE_GETATTR, node, &in, sizeof(in), NULL);

	if (!error)
		memcpy(out, (const char *)client_payload(c) + offsetof(struct fuse_attr_out, attr), sizeof(*out));
	return error;
}

int client_open(struct client *c, uint64_t node, uint32_t flags)
{
	struct fuse_open_in in = { .flags = flags };
	int error = client_call(c, FUSE_OPEN, node, &in, sizeof(in), NULL);

	return error ? error : fd_take(c);
}

int client_lookup_open(struct client *c, uint64_t dir, const char *name, uint32_t flags, struct fuse_entry_out *entry)
{
	struct broker_lookup_open_in in = { .flags = flags };
	struct fuse_open_out out;
	int error =
		entry_take(c, client_call(c, BROKER_LOOKUP_OPEN, dir, &in, sizeof(in), name, strlen(name) + 1, NULL),
			   entry);

	if (error)
		return error;
	assert_true(c->answer_bytes >= sizeof(*entry) + sizeof(out));
	memcpy(&out, (const char *)client_payload(c) + sizeof(*entry), sizeof(out));
	if (out.fh == UINT64_MAX) {
		assert_int_equal(c->fd, -1);
		return -(int)out.padding;
	}
	return fd_take(c);
}

int client_create(struct client *c, uint64_t dir, const char *name, uint32_t flags, struct fuse_entry_out *entry)
{
	struct fuse_create_in in = { .flags = flags, .mode = S_IFREG | 0644 };
	int error =
		entry_take(c, client_call(c, FUSE_CREATE, dir, &in, sizeof(in), name, strlen(name) + 1, NULL), entry);

	return error ? error : fd_take(c);
}

int client_mkdir(struct client *c, uint64_t dir, const char *name, struct fuse_entry_out *entry)
{
	struct fuse_mkdir_in in = { .mode = 0755 };

	return entry_take(c, client_call(c, FUSE_MKDIR, dir, &in, sizeof(in), name, strlen(name) + 1, NULL), entry);
}

int client_rename(struct client *c, uint64_t from, const char *name, uint64_t to, const char *new_name, uint32_t flags)
{
	struct fuse_rename2_in in = { .newdir = to, .flags = flags };

	return client_call(c, FUSE_RENAME2, from, &in, sizeof(in), name, strlen(name) + 1, new_name,
			   strlen(new_name) + 1, NULL);
}

void client_forget(struct client *c, uint64_t node, uint64_t lookups)
{
	struct fuse_forget_in in = { .nlookup = lookups };

	client_send(c, FUSE_FORGET, node, &in, sizeof(in));
}
