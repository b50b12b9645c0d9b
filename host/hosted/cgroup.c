// SPDX-License-Identifier: Apache-2.0
// Sources: cgroups(7); Linux Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst, cgroup-v1/pids.rst.
//
// Groups are called cloister-PID-N after the launcher. It holds a lock on the directory: one that nobody has locked is a killed
// launcher's. Version 1 is joined by writing 0 to "tasks", which takes no lock of the host's; moving another process does, for 10 ms.
//
// When memory is used up: version 1 lets processes wait until there is some, and the group is lent a little; version 2 slows them down from
// memory.high on. Both give the cell's kernel the time to end the greediest program.
#include "hosted/cgroup.h"

#include "abi/control.h"
#include "base/buffer.h"
#include "base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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

#define MARGIN_MIN_BYTES (UINT64_C(16) << 20)
#define MARGIN_MAX_BYTES (UINT64_C(128) << 20)
#define LOANS            8u
#define TRIES_MAX        16u
#define REMOVE_TRIES     100u
#define PROCESSES_MAX    65536u

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

// Instead of killing, the host lets who finds no memory wait, and says so.
static int notice_1(const struct cgroup *g)
{
	cleanup_close int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	cleanup_close int watched = openat(g->fds[MEMORY], "memory.oom_control", O_RDONLY | O_CLOEXEC);
	cleanup_close int control = openat(g->fds[MEMORY], "cgroup.event_control", O_WRONLY | O_CLOEXEC);
	char text[64];

	snprintf(text, sizeof(text), "%d %d", fd, watched);
	if (fd < 0 || watched < 0 || control < 0 || write(control, text, strlen(text)) < 0 ||
	    !put(g->fds[MEMORY], "memory.oom_control", "1"))
		return -1;
	return take_fd(fd);
}

// The limit, and that of memory and swap together, which is never to be the lower one and is not counted on every host.
static bool set_limit_1(const struct cgroup *g, uint64_t bytes, bool raise)
{
	bool ok;

	if (raise)
		put_number(g->fds[MEMORY], "memory.memsw.limit_in_bytes", bytes);
	ok = put_number(g->fds[MEMORY], "memory.limit_in_bytes", bytes);
	if (!raise)
		put_number(g->fds[MEMORY], "memory.memsw.limit_in_bytes", bytes);
	return ok;
}

// Somebody waits for memory, and the kernel has been told: a little more, so that who is to end can.
static void lend(struct cgroup *g)
{
	g->lent_bytes += (g->limit_bytes - g->low_bytes) / LOANS;
	if (g->lent_bytes > g->limit_bytes - g->low_bytes)
		put(g->fds[MEMORY], "memory.oom_control", "0"); // to no avail: let the host kill
	else
		set_limit_1(g, g->limit_bytes + g->lent_bytes, true);
}

static bool is_low_1(struct cgroup *g)
{
	uint64_t counted;
	char text[128];

	(void)!read(g->notice, &counted, sizeof(counted));
	if (get(g->fds[MEMORY], "memory.oom_control", text, sizeof(text)) && number_of(text, "under_oom")) {
		if (g->told)
			lend(g);
		g->told = true;
		return true;
	}
	g->told = false;
	if (g->lent_bytes && set_limit_1(g, g->limit_bytes, false))
		g->lent_bytes = 0;
	return g->lent_bytes != 0;
}

static bool create_1(struct cgroup *g, const char *root, const char *membership, uint64_t tasks, char *why)
{
	cleanup_free char *memory = directory_of(root, membership, "memory");
	cleanup_free char *pids = directory_of(root, membership, "pids");

	if (!memory)
		return because(why, "no cgroup hierarchy with a memory controller in %s", root);
	if (!make(g, MEMORY, memory))
		return because(why, "cannot make a cgroup in %s: %s", memory, strerror(errno));
	if (!set_limit_1(g, g->limit_bytes, false))
		return because(why, "cannot limit the memory of %s: %s", g->directories[MEMORY], strerror(errno));
	if (pids && make(g, PIDS, pids))
		put_number(g->fds[PIDS], "pids.max", tasks);
	g->version = 1;
	g->notice = notice_1(g);
	g->notice_events = POLLIN;
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
	g->notice = openat(g->fds[MEMORY], "memory.events", O_RDONLY | O_CLOEXEC);
	g->notice_events = POLLPRI;
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

// memory.high makes the host drop page cache there, and slow down who wants more.
static bool is_low_2(const struct cgroup *g)
{
	uint64_t usage, cache;
	char text[8192];

	(void)!pread(g->notice, text, sizeof(text), 0); // or it stays ready
	if (!get(g->fds[MEMORY], "memory.current", text, sizeof(text)))
		return false;
	usage = strtoull(text, NULL, 10);
	if (usage < g->low_bytes || !get(g->fds[MEMORY], "memory.stat", text, sizeof(text)))
		return false;
	cache = number_of(text, "inactive_file") + number_of(text, "active_file");
	return usage > cache && usage - cache >= g->low_bytes;
}

bool cgroup_is_low(struct cgroup *g)
{
	if (g->notice < 0)
		return false;
	return g->version == 1 ? is_low_1(g) : is_low_2(g);
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
