// SPDX-License-Identifier: Apache-2.0
#include "manifest/program.h"

#include "base/cleanup.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINKS_MAX    40
#define SCRIPTS_MAX  4
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// ---- the cell's paths on the host ----

// The mount a path without links lies in: the longest target that is a prefix.
static const struct cell_mount *mount_of(const struct cell *c, const char *path)
{
	const struct cell_mount *best = NULL;
	size_t best_length = 0;

	for (size_t i = 0; i < c->mount_count; i++) {
		const char *target = c->mounts[i].target;
		size_t length = strlen(target);

		if (length == 1)
			length = 0;
		if (strncmp(path, target, length) || (path[length] && path[length] != '/'))
			continue;
		if (!best || length >= best_length) {
			best = &c->mounts[i];
			best_length = length;
		}
	}
	return best;
}

// A directory the kernel makes up because something is mounted there or below.
static bool leads_to_mount(const struct cell *c, const char *path)
{
	size_t length = strlen(path);

	for (size_t i = 0; i < c->mount_count; i++)
		if (!strncmp(c->mounts[i].target, path, length) && strchr("/", c->mounts[i].target[length]))
			return true;
	return false;
}

static bool host_path(const struct cell *c, const char *path, char host[PATH_MAX])
{
	const struct cell_mount *m = mount_of(c, path);
	size_t skip = m && m->target[1] ? strlen(m->target) : 0;

	if (!m || !m->source) {
		errno = ENOENT;
		return false;
	}
	if (snprintf(host, PATH_MAX, "%s%s", strcmp(m->source, "/") ? m->source : "", path + skip) >= PATH_MAX) {
		errno = ENAMETOOLONG;
		return false;
	}
	if (!*host)
		strcpy(host, "/");
	return true;
}

struct walk {
	char done[PATH_MAX]; // resolved so far, without links; "" is the root
	char rest[PATH_MAX]; // to go
	int links;
};

static bool follow_link(struct walk *w, const char *host, size_t used)
{
	char target[PATH_MAX], rest[PATH_MAX];
	ssize_t n = readlink(host, target, sizeof(target) - 1);

	if (n < 0)
		return false;
	target[n] = 0;
	if (++w->links > LINKS_MAX) {
		errno = ELOOP;
		return false;
	}
	if (snprintf(rest, sizeof(rest), "%s/%s", target, w->rest + used) >= PATH_MAX) {
		errno = ENAMETOOLONG;
		return false;
	}
	strcpy(w->rest, rest);
	if (target[0] == '/')
		w->done[0] = 0;
	else
		*strrchr(w->done, '/') = 0;
	return true;
}

// Takes one component of w->rest.
static bool step(const struct cell *c, struct walk *w)
{
	size_t slashes = strspn(w->rest, "/");
	size_t length = strcspn(w->rest + slashes, "/");
	const char *name = w->rest + slashes;
	char host[PATH_MAX];
	struct stat status;
	size_t used = slashes + length;

	if (!length || (length == 1 && *name == '.')) {
		memmove(w->rest, w->rest + used, strlen(w->rest + used) + 1);
		return true;
	}
	if (length == 2 && !strncmp(name, "..", 2)) {
		if (*w->done)
			*strrchr(w->done, '/') = 0;
		memmove(w->rest, w->rest + used, strlen(w->rest + used) + 1);
		return true;
	}
	if (strlen(w->done) + length + 2 > PATH_MAX) {
		errno = ENAMETOOLONG;
		return false;
	}
	snprintf(w->done + strlen(w->done), length + 2, "/%s", name);
	if (!leads_to_mount(c, w->done)) {
		if (!host_path(c, w->done, host) || lstat(host, &status))
			return false;
		if (S_ISLNK(status.st_mode))
			return follow_link(w, host, used);
	}
	memmove(w->rest, w->rest + used, strlen(w->rest + used) + 1);
	return true;
}

bool cell_path_resolve(const struct cell *c, const char *path, char host[PATH_MAX])
{
	struct walk w = { 0 };
	const char *base = path[0] == '/' || !c->workdir ? "" : c->workdir;

	if (snprintf(w.rest, sizeof(w.rest), "%s/%s", base, path) >= PATH_MAX) {
		errno = ENAMETOOLONG;
		return false;
	}
	while (*w.rest)
		if (!step(c, &w))
			return false;
	return host_path(c, *w.done ? w.done : "/", host);
}

// ---- what kind of program it is ----

static bool may_execute(const struct cell *c, const struct stat *s)
{
	if (c->uid == 0)
		return s->st_mode & 0111;
	if (c->uid == s->st_uid)
		return s->st_mode & 0100;
	if (c->gid == s->st_gid)
		return s->st_mode & 0010;
	for (size_t i = 0; i < c->group_count; i++)
		if (c->groups[i] == s->st_gid)
			return s->st_mode & 0010;
	return s->st_mode & 0001;
}

static const char *machine_name(unsigned machine)
{
	static char text[32];

	switch (machine) {
	case EM_386: return "i386";
	case EM_ARM: return "arm";
	case EM_AARCH64: return "aarch64";
	case EM_RISCV: return "riscv";
	case EM_PPC64: return "ppc64";
	case EM_S390: return "s390x";
	case EM_X86_64: return "x86-64 with 32-bit pointers";
	default: snprintf(text, sizeof(text), "machine %u", machine); return text;
	}
}

static bool check_interpreter(const struct cell *c, const char *path, const char *image, size_t size, struct err *e)
{
	const Elf64_Ehdr *h = (const void *)image;
	char interpreter[PATH_MAX], host[PATH_MAX];

	for (unsigned i = 0; i < h->e_phnum; i++) {
		Elf64_Phdr p;

		if (h->e_phentsize != sizeof(p) || h->e_phoff > size || size - h->e_phoff < (i + 1) * sizeof(p))
			return true; // unusual; the kernel will say
		memcpy(&p, image + h->e_phoff + i * sizeof(p), sizeof(p));
		if (p.p_type != PT_INTERP || !p.p_filesz || p.p_filesz > PATH_MAX || p.p_offset > size ||
		    size - p.p_offset < p.p_filesz)
			continue;
		memcpy(interpreter, image + p.p_offset, p.p_filesz);
		interpreter[p.p_filesz - 1] = 0;
		if (!cell_path_resolve(c, interpreter, host) || access(host, F_OK))
			return err_set(e, EXIT_NOT_FOUND,
				       "%s: its dynamic loader %s is not in the cell (grant it with --mount)", path,
				       interpreter);
	}
	return true;
}

static bool check_elf(const struct cell *c, const char *path, const char *image, size_t size, struct err *e)
{
	const Elf64_Ehdr *h = (const void *)image;

	if (size < sizeof(*h))
		return err_set(e, EXIT_NOT_EXECUTABLE, "%s: a truncated ELF file", path);
	if (h->e_machine != EM_X86_64 || h->e_ident[EI_CLASS] != ELFCLASS64)
		return err_set(e, EXIT_NOT_EXECUTABLE,
			       "%s: wrong architecture: built for %s, a cell runs x86-64 programs", path,
			       machine_name(h->e_machine));
	if (h->e_type != ET_EXEC && h->e_type != ET_DYN)
		return err_set(e, EXIT_NOT_EXECUTABLE, "%s: an ELF file, but no program", path);
	return check_interpreter(c, path, image, size, e);
}

static bool check_file(const struct cell *c, const char *path, const char *host, int depth, struct err *e);

static bool check_script(const struct cell *c, const char *path, char *image, int depth, struct err *e)
{
	char *interpreter = image + 2 + strspn(image + 2, " \t");
	char host[PATH_MAX];

	interpreter[strcspn(interpreter, " \t\r\n")] = 0;
	if (!*interpreter)
		return err_set(e, EXIT_NOT_EXECUTABLE, "%s: its first line names no interpreter", path);
	if (!cell_path_resolve(c, interpreter, host))
		return err_set(e, EXIT_NOT_FOUND, "%s: its interpreter %s is not in the cell: %s", path, interpreter,
			       strerror(errno));
	return depth >= SCRIPTS_MAX || check_file(c, interpreter, host, depth + 1, e);
}

static bool check_file(const struct cell *c, const char *path, const char *host, int depth, struct err *e)
{
	char image[4096 + 1] __attribute__((aligned(8)));
	struct stat status;
	cleanup_close int fd = -1;
	ssize_t size;

	if (stat(host, &status))
		return err_set(e, EXIT_NOT_FOUND, "%s: %s", path, strerror(errno));
	if (S_ISDIR(status.st_mode))
		return err_set(e, EXIT_NOT_EXECUTABLE, "%s: is a directory", path);
	if (!S_ISREG(status.st_mode) || !may_execute(c, &status))
		return err_set(e, EXIT_NOT_EXECUTABLE, "%s: not executable%s", path,
			       S_ISREG(status.st_mode) ? " (chmod +x?)" : ", not a regular file");
	fd = open(host, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return errno == EACCES || err_set(e, EXIT_NOT_EXECUTABLE, "%s: %s", path, strerror(errno));
	size = read(fd, image, sizeof(image) - 1);
	if (size < 0)
		return err_set(e, EXIT_NOT_EXECUTABLE, "%s: %s", path, strerror(errno));
	image[size] = 0;
	if (size >= SELFMAG && !memcmp(image, ELFMAG, SELFMAG))
		return check_elf(c, path, image, (size_t)size, e);
	if (size >= 2 && !memcmp(image, "#!", 2))
		return check_script(c, path, image, depth, e);
	return err_set(e, EXIT_NOT_EXECUTABLE, "%s: neither an ELF program nor a script that begins with #!", path);
}

// ---- PATH ----

static bool search_path(struct cell *c, struct err *e)
{
	const char *path = strings_get_variable(&c->envp, "PATH");
	char host[PATH_MAX];
	struct stat status;

	if (!path)
		path = DEFAULT_PATH;
	for (; *path; path += strcspn(path, ":"), path += *path == ':') {
		int length = (int)strcspn(path, ":");
		char *candidate = text_format("%.*s%s%s", length, path, length ? "/" : "./", c->program);

		if (cell_path_resolve(c, candidate, host) && !stat(host, &status) && S_ISREG(status.st_mode) &&
		    may_execute(c, &status)) {
			free(c->program);
			c->program = candidate;
			return true;
		}
		free(candidate);
	}
	return err_set(e, EXIT_NOT_FOUND, "%s: not found in the cell's PATH", c->program);
}

bool cell_program_check(struct cell *c, struct err *e)
{
	char host[PATH_MAX];

	if (!strchr(c->program, '/') && !search_path(c, e))
		return false;
	if (!cell_path_resolve(c, c->program, host))
		return err_set(e, errno == EACCES ? EXIT_NOT_EXECUTABLE : EXIT_NOT_FOUND,
			       errno == ENOENT ? "%s: not found in the cell (is its directory granted? --mount)"
					       : "%s: %s",
			       c->program, strerror(errno));
	return check_file(c, c->program, host, 0, e);
}
