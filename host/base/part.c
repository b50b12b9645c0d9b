// SPDX-License-Identifier: Apache-2.0
#include "base/part.h"

#include "base/buffer.h"
#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

int part_open(const char *explicit_path, const char *option, const char *directory, const char *name, struct err *e)
{
	char self[PATH_MAX], beside[PATH_MAX];
	const char *candidates[] = { beside, CLOISTER_LIBDIR, "/usr/lib/cloister" };
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int fd;

	if (explicit_path) {
		fd = open(explicit_path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			err_set_text(e, EXIT_HOST_MISSING, "%s %s: %s", option, explicit_path, strerror(errno));
		return fd;
	}
	self[n > 0 ? n : 0] = 0;
	if (snprintf(beside, sizeof(beside), "%s/../%s", dirname(self), directory) >= PATH_MAX)
		beside[0] = 0;
	for (size_t i = 0; i < sizeof(candidates) / sizeof(*candidates); i++) {
		cleanup_free char *path = text_format("%s/%s", candidates[i], name);

		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			return fd;
	}
	err_set_text(e, EXIT_HOST_MISSING, "%s is missing from %s: build it (./dev build) or install cloister", name,
		     CLOISTER_LIBDIR);
	return -1;
}
