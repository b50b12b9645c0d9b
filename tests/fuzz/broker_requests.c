// SPDX-License-Identifier: Apache-2.0
// Fuzzes the broker's end of its channels: the kernel in the cell is not trusted.
//
// An input is a sequence of requests over a small tree. Half of them are raw; the others have a sound frame, one of the operations,
// a node the broker named before, and names out of a few, so that they get far.
#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/request.h"

#define NODES       16
#define ROUNDS_KEPT 64 // inputs that work on one tree

static struct broker *broker;
static char top[] = "/tmp/cloister-fuzz-broker-XXXXXX";
static uint64_t nodes[NODES] = { 1 };
static unsigned node_count = 1, rounds;
static char *answer_memory;
static _Alignas(8) char message[8192];

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *f)
{
	(void)s, (void)type, (void)f;
	return remove(path);
}

static void remove_tree(void) { nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

static void path_of(char *out, size_t size, const char *name) { snprintf(out, size, "%s/%s", top, name); }

static void make_file(const char *name)
{
	char path[128];

	path_of(path, sizeof(path), name);
	int fd = open(path, O_CREAT | O_WRONLY, 0644);
	if (fd < 0 || write(fd, "text", 4) != 4)
		abort();
	close(fd);
}

static void make_tree(void)
{
	char path[128];

	mkdir(top, 0700);
	path_of(path, sizeof(path), "root");
	mkdir(path, 0755);
	path_of(path, sizeof(path), "root/a");
	mkdir(path, 0755);
	make_file("outside");
	make_file("root/b");
	make_file("root/a/c");
	path_of(path, sizeof(path), "root/d");
	if (symlink("../outside", path))
		abort();
}

static void start(void)
{
	char path[128];
	struct broker_root root = { .no_devices = rounds / ROUNDS_KEPT % 2 };
	struct broker_spec spec = {
		.roots = &root, .root_count = 1, .events = -1, .nodes_max = 64, .descriptors_max = 64
	};
	struct err e;

	remove_tree();
	make_tree();
	path_of(path, sizeof(path), "root");
	root.fd = open(path, O_PATH | O_CLOEXEC);
	broker = calloc(1, sizeof(*broker));
	if (root.fd < 0 || !broker || !broker_init(broker, &spec, &e))
		abort();
	node_count = 1;
}

// Nothing was reached that was not granted.
static void check_outside(void)
{
	char path[128];
	struct stat s;

	path_of(path, sizeof(path), "outside");
	if (stat(path, &s) || s.st_size != 4 || s.st_nlink != 1 || (s.st_mode & 07777) != 0644)
		abort();
}

static void stop(void)
{
	broker_fini(broker);
	free(broker);
	check_outside();
}

static void serve(size_t size)
{
	struct answer answer = { .memory = answer_memory };

	if (!request_serve(broker, message, size, &answer) || !answer.size)
		return;
	struct fuse_out_header *h = (struct fuse_out_header *)answer.memory;
	if (h->len != answer.size || answer.size > BROKER_MESSAGE_MAX_BYTES || h->error > 0 || h->error <= -512)
		abort();
	while (answer.fd_count) {
		int fd = answer.fds[--answer.fd_count];
		struct stat s;
		if (h->error || fstat(fd, &s) || !S_ISREG(s.st_mode))
			abort();
		close(fd);
	}
	if (!h->error && answer.size >= sizeof(*h) + sizeof(struct fuse_entry_out)) {
		uint64_t node = ((struct fuse_entry_out *)(h + 1))->nodeid;
		if (node)
			nodes[node_count < NODES ? node_count++ : node % NODES] = node;
	}
}

struct input {
	const uint8_t *data;
	size_t size;
};

static unsigned take(struct input *in)
{
	if (!in->size)
		return 0;
	in->size--;
	return *in->data++;
}

static size_t take_bytes(struct input *in, char *to, size_t size)
{
	if (size > in->size)
		size = in->size;
	memcpy(to, in->data, size);
	in->data += size;
	in->size -= size;
	return size;
}

// Argument bytes in front of the names.
static size_t arguments_bytes(uint32_t opcode)
{
	switch (opcode) {
	case FUSE_SETATTR: return sizeof(struct fuse_setattr_in);
	case FUSE_MKNOD:
	case FUSE_RENAME2:
	case FUSE_CREATE:
	case FUSE_GETATTR: return 16;
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case BROKER_READ_DIRECTORY: return sizeof(struct fuse_read_in);
	case FUSE_LOOKUP:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_SYMLINK:
	case FUSE_REMOVEXATTR: return 0;
	default: return 8;
	}
}

static size_t names_put(struct input *in, char *to)
{
	static const char *const names[] = { "a", "b", "c", "d", "e", "..", ".", "", "user.x", "../outside", "a/c" };
	size_t size = 0;

	for (unsigned i = 0; i < 2; i++) {
		const char *name = names[take(in) % (sizeof(names) / sizeof(*names))];
		size += strlen(strcpy(to + size, name)) + 1;
	}
	return size;
}

static void serve_shaped(struct input *in)
{
	unsigned which = take(in) % 60;
	struct fuse_in_header h = { .opcode = which < 52 ? which : BROKER_LOOKUP_OPEN + (which - 52) % 6,
				    .unique = 1,
				    .nodeid = nodes[take(in) % node_count] };
	char *arguments = message + sizeof(struct broker_request) + sizeof(h), *at = arguments;
	size_t fixed = arguments_bytes(h.opcode);

	memset(at, 0, fixed);
	take_bytes(in, at, take(in) % (fixed + 1));
	if ((h.opcode == FUSE_LINK || h.opcode == FUSE_RENAME || h.opcode == FUSE_RENAME2) && take(in) % 4)
		memcpy(at, &nodes[take(in) % node_count], 8);
	at += fixed;
	at += names_put(in, at);
	at += take_bytes(in, at, take(in) % 64);
	h.len = (uint32_t)(sizeof(h) + (size_t)(at - arguments));
	*(struct broker_request *)message = (struct broker_request){ .size_bytes = h.len };
	memcpy(message + sizeof(struct broker_request), &h, sizeof(h));
	serve((size_t)(at - message));
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int here = open(".", O_PATH | O_CLOEXEC);

	(void)argc, (void)argv;
	answer_memory = malloc(BROKER_MESSAGE_MAX_BYTES);
	if (here < 0 || !answer_memory || !mkdtemp(top))
		abort();
	atexit(remove_tree);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	if (rounds % ROUNDS_KEPT == 0)
		start();
	while (in.size) {
		if (take(&in) % 2)
			serve_shaped(&in);
		else
			serve(take_bytes(&in, message, take(&in)));
	}
	if (++rounds % ROUNDS_KEPT == 0)
		stop();
	return 0;
}
