// SPDX-License-Identifier: Apache-2.0
// Round trips to a confined broker, the same requests served without a socket between, and the system calls they stand for
// made directly. One JSON object a line: {"name": ..., "ns": ...}. With the argument "nodev" as over cloned trees.
#include "abi/broker.h"
#include "broker/broker.h"
#include "broker/request.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 100000u
#define FILES  1000u

static int channel;
static struct broker *here;  // serves in this process, if set
static bool own_time = true; // measure what this thread takes, not how long
static char directory[] = "/tmp/cloister-bench-broker-XXXXXX";
static _Alignas(8) char answer[BROKER_MESSAGE_MAX_BYTES];

static void check(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(own_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void name_of(unsigned i, char *out) { snprintf(out, 16, "f%u", i % FILES); }

static const void *serve_here(const struct iovec v[4])
{
	static _Alignas(8) char message[512];
	struct answer a = { .memory = answer };
	size_t size = 0;

	for (unsigned i = 0; i < 4; size += v[i++].iov_len)
		memcpy(message + size, v[i].iov_base, v[i].iov_len);
	check(request_serve(here, message, size, &a) && !((struct fuse_out_header *)answer)->error, "operation");
	if (a.fd >= 0)
		close(a.fd);
	return answer + sizeof(struct fuse_out_header);
}

// Sends, receives, closes what came along; the payload.
static const void *call(uint32_t opcode, uint64_t node, const void *arguments, size_t size, const char *name)
{
	struct fuse_in_header h = { .opcode = opcode, .unique = 1, .nodeid = node };
	size_t name_bytes = name ? strlen(name) + 1 : 0;
	struct broker_request frame = { .size_bytes = (uint32_t)(sizeof(h) + size + name_bytes) };
	struct iovec v[] = {
		{ &frame, sizeof(frame) }, { &h, sizeof(h) }, { (void *)arguments, size }, { (void *)name, name_bytes }
	};
	struct iovec in = { answer, sizeof(answer) };
	char control[CMSG_SPACE(sizeof(int))];
	struct msghdr m = {
		.msg_iov = &in, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};

	h.len = frame.size_bytes;
	if (here)
		return serve_here(v);
	check(writev(channel, v, 4) > 0, "request");
	check(recvmsg(channel, &m, MSG_CMSG_CLOEXEC) >= (ssize_t)sizeof(struct fuse_out_header), "answer");
	check(!((struct fuse_out_header *)answer)->error, "operation");
	if (m.msg_controllen)
		close(*(int *)CMSG_DATA(CMSG_FIRSTHDR(&m)));
	return answer + sizeof(struct fuse_out_header);
}

static void lookup(unsigned i)
{
	char name[16];

	name_of(i, name);
	call(FUSE_LOOKUP, 1, NULL, 0, name);
}

static void lookup_open(unsigned i)
{
	struct broker_lookup_open_in in = { .flags = O_RDONLY };
	char name[16];

	name_of(i, name);
	call(BROKER_LOOKUP_OPEN, 1, &in, sizeof(in), name);
}

static uint64_t node;

static void getattr(unsigned i)
{
	struct fuse_getattr_in in = { 0 };

	(void)i;
	call(FUSE_GETATTR, node, &in, sizeof(in), NULL);
}

static void read_directory(unsigned i)
{
	struct fuse_read_in in = { .size = BROKER_MESSAGE_MAX_BYTES };

	if (i % 100 == 0)
		call(BROKER_READ_DIRECTORY, 1, &in, sizeof(in), NULL);
}

static void nothing(unsigned i)
{
	(void)i;
	call(FUSE_DESTROY, 1, NULL, 0, NULL);
}

static void native_stat(unsigned i)
{
	struct statx sx;
	char path[64];

	snprintf(path, sizeof(path), "%s/f%u", directory, i % FILES);
	check(!statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &sx), "stat");
}

static void native_open(unsigned i)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/f%u", directory, i % FILES);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	check(fd >= 0, "open");
	close(fd);
}

static void measure(const char *name, void (*run)(unsigned))
{
	double best = 1e18, start;

	for (unsigned part = 0; part < 10; part++) {
		start = now();
		for (unsigned i = 0; i < ROUNDS / 10; i++)
			run(i);
		double each = (now() - start) / (ROUNDS / 10.0);
		best = each < best ? each : best;
	}
	printf("{\"name\": \"%s\", \"ns\": %.0f}\n", name, best);
}

static void measure_operations(const char *how)
{
	static const struct {
		const char *name;
		void (*run)(unsigned);
	} operations[] = { { "nothing", nothing },
			   { "lookup", lookup },
			   { "getattr", getattr },
			   { "lookup_open", lookup_open },
			   { "read_directory of 750, 1/100", read_directory } };
	char name[64];

	node = ((const struct fuse_entry_out *)call(FUSE_LOOKUP, 1, NULL, 0, "f0"))->nodeid;
	for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++) {
		snprintf(name, sizeof(name), "%s: %s", how, operations[i].name);
		measure(name, operations[i].run);
	}
}

static void measure_process(struct broker_spec *spec)
{
	int pair[2];
	pid_t child;

	check(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), "socketpair");
	spec->channels = &pair[1];
	spec->channel_count = 1;
	child = fork();
	if (!child)
		broker_main(spec);
	close(pair[1]);
	channel = pair[0];
	own_time = false;
	measure_operations("broker");
	own_time = true;
	close(channel);
	waitpid(child, NULL, 0);
}

static void measure_here(const struct broker_spec *spec)
{
	struct err e;

	here = malloc(sizeof(*here));
	check(here && broker_init(here, spec, &e), "broker");
	measure_operations("served");
	broker_fini(here);
	free(here);
}

int main(int argc, char **argv)
{
	struct broker_root root = { .no_devices = argc > 1 && !strcmp(argv[1], "nodev") };
	struct broker_spec spec = { .roots = &root, .root_count = 1, .events = -1 };
	char path[64];

	check(mkdtemp(directory) != NULL, "mkdtemp");
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/f%u", directory, i);
		close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
	}
	root.fd = open(directory, O_PATH | O_CLOEXEC);
	measure("native: stat", native_stat);
	measure("native: open, close", native_open);
	measure_process(&spec);
	measure_here(&spec);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/f%u", directory, i);
		unlink(path);
	}
	return rmdir(directory) != 0;
}
