// SPDX-License-Identifier: Apache-2.0
#include "manifest/cell.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

void cell_init(struct cell *c)
{
	int count = getgroups(0, NULL);

	*c = (struct cell){
		.memory_bytes = CELL_MEMORY_DEFAULT_BYTES,
		.uid = geteuid(),
		.gid = getegid(),
		.hostname = text_copy("cloister"),
	};
	if (count > 0) {
		c->groups = calloc((size_t)count, sizeof(*c->groups));
		count = c->groups ? getgroups(count, c->groups) : 0;
		c->group_count = count > 0 ? (size_t)count : 0;
	}
}

static void mount_fini(struct cell_mount *m)
{
	free(m->source);
	free(m->target);
}

void cell_fini(struct cell *c)
{
	for (size_t i = 0; i < c->mount_count; i++)
		mount_fini(&c->mounts[i]);
	free(c->mounts);
	free(c->rlimits);
	free(c->program);
	free(c->workdir);
	free(c->hostname);
	free(c->groups);
	strings_fini(&c->argv);
	strings_fini(&c->envp);
	*c = (struct cell){ 0 };
}

// Drops "." and empty components, refuses "..": a mount point is a place, not a way. NULL: not acceptable.
static char *target_normalise(const char *target)
{
	char *out, *end;

	if (target[0] != '/' || strlen(target) >= PATH_MAX)
		return NULL;
	out = end = text_format("/%s", target); // never longer than this
	while (*target) {
		size_t length = strcspn(target, "/");

		if (length == 2 && !strncmp(target, "..", 2)) {
			free(out);
			return NULL;
		}
		if (length && !(length == 1 && *target == '.')) {
			*end++ = '/';
			memcpy(end, target, length);
			end += length;
		}
		target += length + (target[length] == '/');
	}
	if (end == out)
		*end++ = '/';
	*end = 0;
	return out;
}

static struct cell_mount *find_mount(struct cell *c, const char *target)
{
	for (size_t i = 0; i < c->mount_count; i++)
		if (!strcmp(c->mounts[i].target, target))
			return &c->mounts[i];
	return NULL;
}

struct cell_mount *cell_mount_add(struct cell *c, const char *type, const char *source, const char *target,
				  bool read_only, struct err *e)
{
	char *normal = target_normalise(target);
	struct cell_mount *m;

	if (!normal) {
		err_set_text(e, EXIT_USAGE, "mount target '%s' must be an absolute path without '..'", target);
		return NULL;
	}
	m = find_mount(c, normal);
	if (m) {
		mount_fini(m);
	} else {
		c->mounts = realloc(c->mounts, (c->mount_count + 1) * sizeof(*c->mounts));
		if (!c->mounts)
			abort();
		m = &c->mounts[c->mount_count++];
	}
	*m = (struct cell_mount){ .target = normal,
				  .source = source ? text_copy(source) : NULL,
				  .read_only = read_only };
	m->mask_system = source && !strcmp(source, "/");
	snprintf(m->type, sizeof(m->type), "%s", type);
	return m;
}

bool cell_mount_parse(struct cell *c, const char *text, struct err *e)
{
	const char *colon = strchr(text, ':');
	const char *mode = colon ? strchr(colon + 1, ':') : NULL;
	cleanup_free char *source = NULL, *target = NULL, *real = NULL;

	if (!colon || colon == text || !colon[1])
		return err_set(e, EXIT_USAGE, "--mount '%s': want SRC:DST, SRC:DST:ro or SRC:DST:rw", text);
	if (mode && strcmp(mode, ":ro") && strcmp(mode, ":rw"))
		return err_set(e, EXIT_USAGE, "--mount '%s': '%s' is neither ro nor rw", text, mode + 1);
	source = text_format("%.*s", (int)(colon - text), text);
	target = mode ? text_format("%.*s", (int)(mode - colon - 1), colon + 1) : text_copy(colon + 1);
	real = realpath(source, NULL);
	if (!real)
		return err_set(e, EXIT_GRANT, "--mount '%s': %s: %s", text, source, strerror(errno));
	if (!cell_mount_add(c, CELL_HOST_TREE, real, target, !mode || !strcmp(mode, ":ro"), e))
		return err_wrap(e, "--mount '%s'", text);
	return true;
}

// Unless something is mounted there already.
static bool grant_default(struct cell *c, const char *type, const char *source, const char *target, unsigned mode,
			  struct err *e)
{
	struct cell_mount *m;

	if (find_mount(c, target))
		return true;
	m = cell_mount_add(c, type, source, target, source != NULL, e);
	if (!m)
		return false;
	m->mode = mode;
	return true;
}

bool cell_grant_kernel_trees(struct cell *c, struct err *e)
{
	static const struct {
		const char *type, *target;
		unsigned mode;
	} trees[] = {
		{ "proc", "/proc", 0 },      { "sysfs", "/sys", 0 },         { "devtmpfs", "/dev", 0 },
		{ "devpts", "/dev/pts", 0 }, { "tmpfs", "/dev/shm", 01777 }, { "mqueue", "/dev/mqueue", 0 },
	};

	for (size_t i = 0; i < sizeof(trees) / sizeof(*trees); i++)
		if (!grant_default(c, trees[i].type, NULL, trees[i].target, trees[i].mode, e))
			return false;
	return true;
}

// A root of its own that may be written to has its own /tmp and /run.
static bool root_is_whole(struct cell *c)
{
	const struct cell_mount *root = find_mount(c, "/");

	return !root->read_only && !root->mask_system;
}

bool cell_grant_defaults(struct cell *c, struct err *e)
{
	return grant_default(c, CELL_HOST_TREE, "/", "/", 0, e) &&
	       (root_is_whole(c) || (grant_default(c, "tmpfs", NULL, "/tmp", 01777, e) &&
				     grant_default(c, "tmpfs", NULL, "/run", 0755, e) &&
				     grant_default(c, "tmpfs", NULL, "/run/lock", 01777, e)));
}

void cell_environment_defaults(struct cell *c)
{
	static const char *const names[] = { "PATH",      "HOME", "USER",     "LOGNAME", "SHELL",  "TERM",
					     "COLORTERM", "LANG", "LANGUAGE", "TZ",      "EDITOR", "PAGER" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (getenv(names[i]))
			strings_set_variable(&c->envp, names[i], getenv(names[i]));
	for (char **v = environ; *v; v++)
		if (!strncmp(*v, "LC_", 3))
			strings_add(&c->envp, *v);
	if (!strings_get_variable(&c->envp, "PATH"))
		strings_set_variable(&c->envp, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
}

void cell_add_rlimit(struct cell *c, int resource, uint64_t soft, uint64_t hard)
{
	c->rlimits = realloc(c->rlimits, (c->rlimit_count + 1) * sizeof(*c->rlimits));
	if (!c->rlimits)
		abort();
	c->rlimits[c->rlimit_count++] = (struct cell_rlimit){ resource, soft, hard };
}

static bool id_parse(const char *text, unsigned *out)
{
	char *end;
	unsigned long value;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || value >= UINT_MAX)
		return false;
	*out = (unsigned)value;
	return true;
}

// The launcher is linked statically: the name service's other sources are modules, which are not for it.
static bool find_user(const char *name, const unsigned *id, struct passwd *out)
{
	FILE *f = fopen("/etc/passwd", "re");
	struct passwd *pw;
	bool found = false;

	while (f && !found && (pw = fgetpwent(f))) {
		found = id ? pw->pw_uid == *id : !strcmp(pw->pw_name, name);
		*out = *pw;
	}
	if (f)
		fclose(f);
	return found;
}

static bool find_group(const char *name, gid_t *out)
{
	FILE *f = fopen("/etc/group", "re");
	struct group *gr;
	bool found = false;

	while (f && !found && (gr = fgetgrent(f))) {
		found = !strcmp(gr->gr_name, name);
		*out = found ? gr->gr_gid : *out;
	}
	if (f)
		fclose(f);
	return found;
}

bool cell_user_parse(struct cell *c, const char *text, struct err *e)
{
	cleanup_free char *user = text_format("%.*s", (int)strcspn(text, ":"), text);
	const char *group = strchr(text, ':');
	struct passwd pw;
	unsigned id;
	const bool number = id_parse(user, &id), known = find_user(user, number ? &id : NULL, &pw);

	if (!number && !known)
		return err_set(e, EXIT_USAGE, "--user '%s': no user '%s' in this host's /etc/passwd", text, user);
	c->uid = known ? pw.pw_uid : id;
	c->gid = known ? pw.pw_gid : id;
	c->group_count = 0;
	if (!group)
		return true;
	group++;
	if (id_parse(group, &id))
		c->gid = id;
	else if (!find_group(group, &c->gid))
		return err_set(e, EXIT_USAGE, "--user '%s': no group '%s' in this host's /etc/group", text, group);
	return true;
}

bool size_parse(const char *text, uint64_t *out)
{
	static const char units[] = "KMGT";
	unsigned shift = 20;
	char *end;
	uint64_t value;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || end == text)
		return false;
	if (*end) {
		const char *unit = strchr(units, toupper((unsigned char)*end));

		if (!unit)
			return false;
		shift = 10 * (unsigned)(unit - units + 1);
		end++;
		if (*end == 'i')
			end++;
		if (*end == 'B' || *end == 'b')
			end++;
		if (*end)
			return false;
	}
	if (value > UINT64_MAX >> shift)
		return false;
	*out = value << shift;
	return true;
}

// Parents before children, so that each mount point is looked up in what was mounted below it.
static int mount_compare(const void *a, const void *b)
{
	return strcmp(((const struct cell_mount *)a)->target, ((const struct cell_mount *)b)->target);
}

static bool validate_sources(struct cell *c, struct err *e)
{
	size_t shared = 0;

	for (size_t i = 0; i < c->mount_count; i++) {
		const struct cell_mount *m = &c->mounts[i];
		struct stat status;

		if (!m->source)
			continue;
		if (stat(m->source, &status))
			return err_set(e, EXIT_GRANT, "cannot grant %s: %s", m->source, strerror(errno));
		if (!S_ISDIR(status.st_mode))
			return err_set(e, EXIT_GRANT, "cannot grant %s: not a directory (grant the directory it is in)",
				       m->source);
		if (access(m->source, R_OK | X_OK))
			return err_set(e, EXIT_GRANT, "cannot grant %s: %s (may you list it?)", m->source,
				       strerror(errno));
		if (++shared > CELL_MOUNTS_MAX)
			return err_set(e, EXIT_USAGE, "more than %u host directories granted", CELL_MOUNTS_MAX);
	}
	return true;
}

bool cell_validate(struct cell *c, struct err *e)
{
	if (!c->program || !*c->program)
		return err_set(e, EXIT_USAGE,
			       "no program given (cloister run -- PROGRAM ARGS, or libos.entrypoint in the manifest)");
	if (c->memory_bytes < CELL_MEMORY_MIN_BYTES)
		return err_set(e, EXIT_RESOURCES,
			       "memory of %llu MiB is too small: a cell needs at least %llu MiB (--memory)",
			       (unsigned long long)c->memory_bytes >> 20, CELL_MEMORY_MIN_BYTES >> 20);
	if (c->memory_bytes > CELL_MEMORY_MAX_BYTES)
		return err_set(e, EXIT_RESOURCES,
			       "memory of %llu GiB is too much: a cell takes at most %llu GiB (--memory)",
			       (unsigned long long)c->memory_bytes >> 30, CELL_MEMORY_MAX_BYTES >> 30);
	if (c->cpus > CELL_CPUS_MAX)
		return err_set(e, EXIT_RESOURCES, "%u CPUs: a cell takes 1 to %u (--cpus)", c->cpus, CELL_CPUS_MAX);
	c->memory_bytes &= ~((2ull << 20) - 1); // whole large pages
	if (!find_mount(c, "/") && !cell_mount_add(c, "tmpfs", NULL, "/", false, e))
		return false;
	if (!c->workdir)
		c->workdir = text_copy("/");
	if (c->workdir[0] != '/')
		return err_set(e, EXIT_USAGE, "working directory '%s' must be an absolute path of the cell",
			       c->workdir);
	if (!c->argv.count)
		strings_add(&c->argv, c->program);
	qsort(c->mounts, c->mount_count, sizeof(*c->mounts), mount_compare);
	return validate_sources(c, e);
}
