// SPDX-License-Identifier: Apache-2.0
// Sources: cgroups(7); Linux Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst, cgroup-v1/pids.rst.
//
// Groups are called cloister-PID-N after the launcher. It holds a lock on the directory: one that nobody has locked is a killed
// launcher's. Version 1 is joined by writing 0 to "tasks", which takes no lock of the host's; moving another process does, for 10 ms.
#include "hosted/cgroup.h"

#include "abi/control.h"
#include "base/buffer.h"
#include "base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MARGIN_MIN_BYTES   (UINT64_C(16) << 20)
#define MARGIN_MAX_BYTES   (UINT64_C(128) << 20)
#define THREAD_STACK_BYTES 65536u
#define TRIES_MAX          16u
#define REMOVE_TRIES       100u
#define PROCESSES_MAX      65536u

enum { MEMORY, PIDS };

// ---- small files ----

static bool put(int directory, const char *name, const char *text)
{
	cleanup_close int fd = openat(directory, name, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

static bool put_number(int directory, const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%lu", (unsigned long)value);
	return put(directory, name, text);
}

static bool get(int directory, const char *name, char *text, size_t size)
{
	cleanup_close int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (n < 0)
		return false;
	text[n] = 0;
	return true;
}

// The number in a line "key number"; 0 when there is none.
static uint64_t number_of(const char *text, const char *key)
{
	const size_t length = strlen(key);

	for (; text && *text; text = strchr(text, '\n'), text += text != NULL)
		if (!strncmp(text, key, length) && text[length] == ' ')
			return strtoull(text + length, NULL, 10);
	return 0;
}

static bool has_word(const char *text, const char *word)
{
	const size_t length = strlen(word);

	for (const char *at = text; (at = strstr(at, word)); at += length)
		if ((at == text || strchr(" ,\n", at[-1])) && (!at[length] || strchr(" ,\n", at[length])))
			return true;
	return false;
}

static bool because(char *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool because(char *why, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(why, CGROUP_WHY_BYTES, format, arguments);
	va_end(arguments);
	return false;
}

// ---- where we are ----

// The path of the line "N:CONTROLLERS:PATH" that names the controller; of version 2's with "".
static char *membership_of(const char *text, const char *controller)
{
	for (const char *line = text; line && *line; line = strchr(line, '\n'), line += line != NULL) {
		const char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
		cleanup_free char *list = path ? text_format("%.*s", (int)(path - names - 1), names + 1) : NULL;

		if (list && (*controller ? has_word(list, controller) : !*list))
			return text_format("%.*s", (int)strcspn(path + 1, "\n"), path + 1);
	}
	return NULL;
}

// ---- making one ----

// Those of launchers that are gone. A lock that is to be had says so.
static void sweep(const char *parent)
{
	DIR *d = opendir(parent);
	struct dirent *entry;
	int pid;

	while (d && (entry = readdir(d))) {
		if (sscanf(entry->d_name, "cloister-%d-", &pid) != 1 || pid <= 0 || !kill(pid, 0) || errno != ESRCH)
			continue;
		cleanup_close int fd = openat(dirfd(d), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB))
			unlinkat(dirfd(d), entry->d_name, AT_REMOVEDIR);
	}
	if (d)
		closedir(d);
}

// Makes directory i below `parent`, opens and locks it. False and errno.
static bool make(struct cgroup *g, int i, const char *parent)
{
	struct stat status;

	sweep(parent);
	for (unsigned n = 0; n < TRIES_MAX; n++) {
		cleanup_free char *path = text_format("%s/cloister-%d-%u", parent, getpid(), n);
		if (mkdir(path, 0755)) {
			if (errno == EEXIST)
				continue;
			return false;
		}
		cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		// Somebody who sweeps may have been faster.
		if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) || fstat(fd, &status) || stat(path, &status))
			continue;
		g->fds[i] = take_fd(fd);
		g->directories[i] = take_pointer(path);
		return true;
	}
	errno = EAGAIN;
	return false;
}

static void set_limits(struct cgroup *g, uint64_t memory_bytes)
{
	uint64_t margin = memory_bytes / 8;

	margin = margin < MARGIN_MIN_BYTES ? MARGIN_MIN_BYTES : margin > MARGIN_MAX_BYTES ? MARGIN_MAX_BYTES : margin;
	g->limit_bytes = memory_bytes;
	g->low_bytes = memory_bytes > 2 * margin ? memory_bytes - margin : memory_bytes / 2;
}

// ---- version 1 ----

static char *directory_of(const char *root, const char *membership, const char *controller)
{
	cleanup_free char *path = membership_of(membership, controller);
	cleanup_free char *full = path ? text_format("%s/%s%s", root, controller, path) : NULL;
	struct stat status;

	if (!path)
		return NULL;
	// In a container the part of the tree that it sees may be mounted as if it were all.
	return stat(full, &status) ? text_format("%s/%s", root, controller) : take_pointer(full);
}

struct registration {
	int control, usage;
	char text[64];
};

static void *registration_run(void *registration)
{
	struct registration *r = registration;

	(void)!write(r->control, r->text, strlen(r->text)); // without it the host kills at the limit
	close(r->control);
	close(r->usage);
	free(r);
	return NULL;
}

// The host takes some 10 ms for it, in which the launcher has other things to do.
static void register_threshold(struct registration *r)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
	if (pthread_create(&thread, &attributes, registration_run, r))
		registration_run(r);
	pthread_attr_destroy(&attributes);
}

static int notice_1(const struct cgroup *g)
{
	cleanup_close int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	cleanup_close int usage = openat(g->fds[MEMORY], "memory.usage_in_bytes", O_RDONLY | O_CLOEXEC);
	cleanup_close int control = openat(g->fds[MEMORY], "cgroup.event_control", O_WRONLY | O_CLOEXEC);
	struct registration *r = malloc(sizeof(*r));

	if (!r || fd < 0 || usage < 0 || control < 0) {
		free(r);
		return -1;
	}
	*r = (struct registration){ .control = take_fd(control), .usage = take_fd(usage) };
	snprintf(r->text, sizeof(r->text), "%d %d %lu", fd, r->usage, (unsigned long)g->low_bytes);
	register_threshold(r);
	return take_fd(fd);
}

static bool create_1(struct cgroup *g, const char *root, const char *membership, uint64_t tasks, char *why)
{
	cleanup_free char *memory = directory_of(root, membership, "memory");
	cleanup_free char *pids = directory_of(root, membership, "pids");

	if (!memory)
		return because(why, "no cgroup hierarchy with a memory controller in %s", root);
	if (!make(g, MEMORY, memory))
		return because(why, "cannot make a cgroup in %s: %s", memory, strerror(errno));
	if (!put_number(g->fds[MEMORY], "memory.limit_in_bytes", g->limit_bytes))
		return because(why, "cannot limit the memory of %s: %s", g->directories[MEMORY], strerror(errno));
	put_number(g->fds[MEMORY], "memory.memsw.limit_in_bytes",
		   g->limit_bytes); // with swap; not every host counts it
	if (pids && make(g, PIDS, pids))
		put_number(g->fds[PIDS], "pids.max", tasks);
	g->version = 1;
	return true;
}

bool cgroup_join(const struct cgroup *g)
{
	bool joined = true;

	for (int i = 0; g->version == 1 && i < CGROUP_CONTROLLERS; i++)
		if (g->fds[i] >= 0)
			joined &= put(g->fds[i], "tasks", "0") || i != MEMORY;
	return joined;
}

// ---- version 2 ----

// Our group or the nearest above it that hands memory controllers on and lets us make groups. In one with processes of its own, such
// as the launcher, only the root may. `path` is shortened to it.
static bool create_below(struct cgroup *g, const char *root, char *path)
{
	char words[512];

	for (;;) {
		cleanup_free char *parent = text_format("%s%s", root, path);
		cleanup_close int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		char *slash = strrchr(path, '/');

		if (fd >= 0 && get(fd, "cgroup.subtree_control", words, sizeof(words)) && has_word(words, "memory") &&
		    make(g, MEMORY, parent))
			return true;
		if (!slash || !*path)
			return false;
		*slash = 0;
	}
}

static bool create_2(struct cgroup *g, const char *root, char *path, uint64_t tasks, char *why)
{
	cleanup_free char *start = text_copy(path);

	if (!strcmp(path, "/"))
		*path = 0;
	if (!create_below(g, root, path))
		return because(why, "no cgroup with a memory controller can be made at or above %s%s", root, start);
	if (!put_number(g->fds[MEMORY], "memory.max", g->limit_bytes))
		return because(why, "cannot limit the memory of %s: %s", g->directories[MEMORY], strerror(errno));
	put(g->fds[MEMORY], "memory.swap.max", "0");
	put_number(g->fds[MEMORY], "memory.high", g->low_bytes);
	put_number(g->fds[MEMORY], "pids.max", tasks);
	g->version = 2;
	return true;
}

int cgroup_clone_fd(const struct cgroup *g) { return g->version == 2 ? g->fds[MEMORY] : -1; }

// ---- both ----

void cgroup_init(struct cgroup *g)
{
	*g = (struct cgroup){ .notice = -1 };
	for (int i = 0; i < CGROUP_CONTROLLERS; i++)
		g->fds[i] = -1;
}

bool cgroup_create(struct cgroup *g, const char *root, const char *membership, uint64_t memory_bytes, uint64_t tasks,
		   char why[CGROUP_WHY_BYTES])
{
	cleanup_free char *unified = NULL, *path = NULL;
	char text[4096];
	struct stat status;
	bool ok;

	cgroup_init(g);
	if (!get(AT_FDCWD, membership, text, sizeof(text)))
		return because(why, "cannot read %s: %s", membership, strerror(errno));
	set_limits(g, memory_bytes);
	unified = text_format("%s/cgroup.controllers", root);
	path = membership_of(text, "");
	ok = path && !stat(unified, &status) ? create_2(g, root, path, tasks, why)
					     : create_1(g, root, text, tasks, why);
	if (!ok)
		cgroup_remove(g);
	return ok;
}

void cgroup_watch(struct cgroup *g)
{
	if (g->version == 1)
		g->notice = notice_1(g);
	if (g->version == 2)
		g->notice = openat(g->fds[MEMORY], "memory.events", O_RDONLY | O_CLOEXEC);
	g->notice_events = g->version == 2 ? POLLPRI : POLLIN;
}

static uint64_t usage_bytes(const struct cgroup *g)
{
	char text[64];

	if (!get(g->fds[MEMORY], g->version == 1 ? "memory.usage_in_bytes" : "memory.current", text, sizeof(text)))
		return 0;
	return strtoull(text, NULL, 10);
}

// Makes room by half of the page cache: a lower limit makes the host look for it. Should it all be in use, nothing changes.
static void drop_cache(struct cgroup *g, uint64_t used, uint64_t cache)
{
	if (g->version != 1) // memory.high does so
		return;
	put_number(g->fds[MEMORY], "memory.limit_in_bytes", used + cache / 2);
	put_number(g->fds[MEMORY], "memory.limit_in_bytes", g->limit_bytes);
}

bool cgroup_is_low(struct cgroup *g)
{
	uint64_t usage, cache, counted;
	char text[8192];

	if (g->notice < 0)
		return false;
	if (g->version == 1)
		(void)!read(g->notice, &counted, sizeof(counted));
	else
		(void)!pread(g->notice, text, sizeof(text), 0); // or it stays ready
	usage = usage_bytes(g);
	if (usage < g->low_bytes || !get(g->fds[MEMORY], "memory.stat", text, sizeof(text)))
		return false;
	cache = number_of(text, "inactive_file") + number_of(text, "active_file");
	cache = cache > usage ? usage : cache;
	if (usage - cache >= g->low_bytes)
		return true;
	drop_cache(g, usage - cache, cache);
	return false;
}

static bool usage_of(int pid, struct control_usage *out)
{
	cleanup_free char *path = text_format("/proc/%d/status", pid);
	const char *line;
	char text[4096];

	if (!get(AT_FDCWD, path, text, sizeof(text)))
		return false;
	line = strstr(text, "\nNSpid:");
	if (!line)
		return false;
	*out = (struct control_usage){ .process = pid };
	for (const char *at = line + 7, *end = at + strcspn(at, "\n"); at < end; at++)
		if (at[0] == '\t')
			out->process = atoi(at + 1);
	line = strstr(text, "\nRssAnon:");
	out->pages = line ? (uint32_t)(strtoul(line + 9, NULL, 10) / 4) : 0;
	return true;
}

static int compare_usage(const void *a, const void *b)
{
	const struct control_usage *x = a, *y = b;

	return x->pages < y->pages ? 1 : x->pages > y->pages ? -1 : 0;
}

unsigned cgroup_usage(const struct cgroup *g, struct control_usage *out, unsigned max)
{
	cleanup_close int fd = g->version ? openat(g->fds[MEMORY], "cgroup.procs", O_RDONLY | O_CLOEXEC) : -1;
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	struct control_usage next;
	unsigned count = 0;
	int pid;

	if (!f)
		return 0;
	fd = -1;
	for (unsigned i = 0; i < PROCESSES_MAX && fscanf(f, "%d", &pid) == 1; i++) {
		if (!usage_of(pid, &next))
			continue;
		if (count < max)
			out[count++] = next;
		else if (next.pages > out[max - 1].pages)
			out[max - 1] = next;
		if (count == max)
			qsort(out, count, sizeof(*out), compare_usage);
	}
	fclose(f);
	qsort(out, count, sizeof(*out), compare_usage);
	return count;
}

bool cgroup_has_killed(const struct cgroup *g)
{
	char text[1024];

	return g->version &&
	       get(g->fds[MEMORY], g->version == 1 ? "memory.oom_control" : "memory.events", text, sizeof(text)) &&
	       number_of(text, "oom_kill") > 0;
}

void cgroup_remove(struct cgroup *g)
{
	const struct timespec moment = { .tv_nsec = 1000000 };

	for (int i = 0; i < CGROUP_CONTROLLERS; i++) {
		// The last of its processes may still be on their way out.
		for (unsigned n = 0;
		     g->directories[i] && rmdir(g->directories[i]) && errno == EBUSY && n < REMOVE_TRIES; n++)
			nanosleep(&moment, NULL);
		free(g->directories[i]);
		if (g->fds[i] >= 0)
			close(g->fds[i]);
	}
	if (g->notice >= 0)
		close(g->notice);
	cgroup_init(g);
}
