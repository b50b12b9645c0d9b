// SPDX-License-Identifier: Apache-2.0
// cloister-vsock: the network of a cell that was granted some. The launcher starts it with descriptors only:
//
//     cloister-vsock VHOST-SOCKET RULES PUBLISHED...
//
// the vhost-user conversation with QEMU, a file of struct outside_rule, and a bound socket for each PUBLISH rule, in order. It
// ends when the machine does, once what the cell sent before has been passed on.
#include "net/confine.h"
#include "net/published.h"
#include "vsock/service.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CELL_CID  UINT64_C(3)
#define DRAIN_NS  INT64_C(5000000000)
#define PERIOD_MS 100

static int descriptor(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	return *text && !*end && n <= INT_MAX ? (int)n : -1;
}

static bool read_rules(int fd, struct net_rules *rules)
{
	ssize_t n = pread(fd, rules->list, sizeof(rules->list), 0);

	close(fd);
	if (n < 0 || (size_t)n % sizeof(rules->list[0]))
		return false;
	rules->count = (unsigned)((size_t)n / sizeof(rules->list[0]));
	return true;
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void run(struct service *s)
{
	int64_t deadline;

	while (!s->device.ended && device_step(&s->device, -1))
		;
	deadline = now_ns() + DRAIN_NS;
	while (!s->device.failure && device_drain(&s->device) && now_ns() < deadline)
		device_step(&s->device, PERIOD_MS);
}

int main(int argc, char **argv)
{
	static struct service service;
	static struct net_rules rules;
	int published[OUTSIDE_RULES_MAX];
	struct err error = { 0 };
	bool failed;

	if (argc < 3 || !read_rules(descriptor(argv[2]), &rules) || (unsigned)argc - 3 != net_published_count(&rules)) {
		fputs("cloister-vsock: the launcher starts this program, with its descriptors\n", stderr);
		return EXIT_USAGE;
	}
	for (int i = 3; i < argc; i++)
		published[i - 3] = descriptor(argv[i]);
	signal(SIGPIPE, SIG_IGN);
	if (!net_confine(&error)) {
		fprintf(stderr, "%s\n", error.text);
		return error.exit_status;
	}
	if (!service_init(&service, descriptor(argv[1]), CELL_CID, &rules, published)) {
		fprintf(stderr, "cannot start: %s\n", strerror(errno));
		return EXIT_USAGE;
	}
	run(&service);
	failed = service.device.failure != NULL;
	if (failed)
		fprintf(stderr, "%s\n", service.device.failure);
	service_fini(&service);
	return failed ? EXIT_CELL_CRASHED : 0;
}
