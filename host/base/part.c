// SPDX-License-Identifier: Apache-2.0
#include "base/part.h"

#include "base/buffer.h"
#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLACES 3u

// Where it may be, the build tree first; to be freed.
static char *candidate(unsigned place, const char *directory, const char *name)
{
	char self[PATH_MAX];
	ssize_t n;

	if (place > 0)
		return text_format("%s/%s", place == 1 ? CLOISTER_LIBDIR : "/usr/lib/cloister", name);
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[n > 0 ? n : 0] = 0;
	return text_format("%s/../%s/%s", dirname(self), directory, name);
}

static void set_missing(const char *name, struct err *e)
{
	err_set_text(e, EXIT_HOST_MISSING, "%s is missing from %s: build it (./dev build) or install cloister", name,
		     CLOISTER_LIBDIR);
}

int part_open(const char *explicit_path, const char *option, const char *directory, const char *name, struct err *e)
{
	int fd;

	if (explicit_path) {
		fd = open(explicit_path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			err_set_text(e, EXIT_HOST_MISSING, "%s %s: %s", option, explicit_path, strerror(errno));
		return fd;
	}
	for (unsigned i = 0; i < PLACES; i++) {
		cleanup_free char *path = candidate(i, directory, name);

		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			return fd;
	}
	set_missing(name, e);
	return -1;
}

char *part_find_program(const char *name, const char *directory, struct err *e)
{
	for (unsigned i = 0; i < PLACES; i++) {
		cleanup_free char *path = candidate(i, directory, name);

		if (!access(path, X_OK))
			return take_pointer(path);
	}
	set_missing(name, e);
	return NULL;
}
