// SPDX-License-Identifier: Apache-2.0
// A broker set up: bounds from what the host allows, and the granted trees' roots.
#include "broker/request.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/securebits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#define NODES_MAX_DEFAULT  (4u << 20)
#define DESCRIPTORS_WANTED (1u << 16)
#define DESCRIPTORS_LEAST  64u
#define DESCRIPTORS_SPARE  32u // channels, what is open for the length of a request
#define WATCHES_SHARE      8u  // of what the user may have in all
#define WATCHES_LEAST      128u

static uint32_t descriptors_allowed(void)
{
	struct rlimit l = { DESCRIPTORS_WANTED, DESCRIPTORS_WANTED };

	if (!setrlimit(RLIMIT_NOFILE, &l) || getrlimit(RLIMIT_NOFILE, &l))
		return DESCRIPTORS_WANTED;
	if (l.rlim_max > DESCRIPTORS_WANTED)
		l.rlim_max = DESCRIPTORS_WANTED;
	l.rlim_cur = l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
	return (uint32_t)l.rlim_cur;
}

uint32_t broker_watches_allowed(void)
{
	FILE *f = fopen("/proc/sys/fs/inotify/max_user_watches", "re");
	unsigned n = 0;

	if (f && fscanf(f, "%u", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n / WATCHES_SHARE > WATCHES_LEAST ? n / WATCHES_SHARE : WATCHES_LEAST;
}

// Paths made of a descriptor's number lead to what it is open on, whatever its place is called now: that is how chmod(2),
// inotify_add_watch(2) and others are told of an O_PATH descriptor.
static bool enter_descriptors(const struct broker_spec *spec, struct err *e)
{
	struct statfs s;

	if ((!spec->enclosure && chdir("/proc/self/fd")) || statfs(".", &s) || s.f_type != PROC_SUPER_MAGIC)
		return err_set(e, EXIT_USAGE, "the broker needs /proc: %s", strerror(errno));
	return true;
}

static bool tree_add(struct broker *b, const struct broker_root *root, struct err *e)
{
	struct tree *t = &b->trees[b->tree_count];
	struct statfs s;
	int error;

	if (b->tree_count == BROKER_TREES_MAX)
		return err_set(e, EXIT_GRANT, "more than %u grants", BROKER_TREES_MAX);
	*t = (struct tree){ .grant = root->grant,
			    .read_only = root->read_only,
			    .no_devices = root->no_devices,
			    .hide_system = root->hide_system };
	t->births_change = !fstatfs(root->fd, &s) && s.f_type == OVERLAYFS_SUPER_MAGIC;
	error = nodes_add_root(&b->nodes, t, root->fd);
	if (error)
		return err_set(e, EXIT_GRANT, "cannot serve grant %u: %s", root->grant, strerror(-error));
	b->tree_count++;
	return true;
}

// May new files be given to others, without losing the right to make them?
static bool can_switch_ids(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	const uint32_t wanted = 1u << CAP_SETUID | 1u << CAP_SETGID;

	return !syscall(SYS_capget, &header, data) && (data[0].effective & wanted) == wanted &&
	       prctl(PR_GET_SECUREBITS) & SECBIT_NO_SETUID_FIXUP;
}

bool broker_init(struct broker *b, const struct broker_spec *spec, struct err *e)
{
	uint32_t allowed = spec->descriptors_max ? spec->descriptors_max : descriptors_allowed();

	memset(b, 0, sizeof(*b));
	if (!enter_descriptors(spec, e))
		return false;
	if (allowed < DESCRIPTORS_LEAST)
		return err_set(e, EXIT_RESOURCES, "the broker needs %u descriptors, and %u are allowed",
			       DESCRIPTORS_LEAST, allowed);
	allowed -= DESCRIPTORS_SPARE;
	nodes_init(&b->nodes, spec->nodes_max ? spec->nodes_max : NODES_MAX_DEFAULT, allowed / 2);
	handles_init(&b->handles, allowed / 4);
	watches_init(&b->watches, spec->events, spec->watches_max ? spec->watches_max : broker_watches_allowed());
	b->uid = geteuid();
	b->gid = getegid();
	b->can_switch_ids = can_switch_ids();
	umask(0);
	for (unsigned i = 0; i < spec->root_count; i++)
		if (!tree_add(b, &spec->roots[i], e))
			return false;
	return true;
}

void broker_fini(struct broker *b)
{
	watches_fini(&b->watches);
	handles_fini(&b->handles);
	nodes_fini(&b->nodes);
	for (unsigned i = 0; i < b->tree_count; i++)
		nodes_free_root(&b->trees[i]);
}
