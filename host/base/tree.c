// SPDX-License-Identifier: Apache-2.0
// Sources: open_tree(2), mount_setattr(2), mount_namespaces(7), chroot(2).
#include "base/tree.h"

#include "base/buffer.h"
#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define BELOW_ROOT "/tmp" // any directory: what is above it is outside for who is locked up there
#define DEPTH_MAX  4096   // of the root in the namespace

// In a plain chroot(2) the root is no mount point, and the one it lies on has no path. Who locks himself up further down can walk up to
// the namespace's root, as chroot(2) says, and comes back by a descriptor.
static bool propagate_from_above(unsigned long how)
{
	cleanup_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	bool done = false;
	int error;

	if (root < 0 || here < 0 || chroot(BELOW_ROOT))
		return false;
	if (!fchdir(root)) {
		for (unsigned i = 0; i < DEPTH_MAX && !chdir(".."); i++)
			;
		done = !mount(NULL, ".", NULL, MS_REC | how, NULL);
	}
	error = errno;
	if (fchdir(root) || chroot(".") || fchdir(here))
		abort(); // elsewhere in the host's tree
	errno = error;
	return done;
}

bool tree_propagate(unsigned long how)
{
	if (!mount(NULL, "/", NULL, MS_REC | how, NULL))
		return true;
	return errno == EINVAL && propagate_from_above(how);
}

int tree_clone(const char *source, bool read_only, struct err *e)
{
	struct mount_attr attributes = { .attr_set = MOUNT_ATTR_NODEV | (read_only ? MOUNT_ATTR_RDONLY : 0) };
	cleanup_close int tree = open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

	if (tree < 0) {
		err_set_text(e, EXIT_GRANT, "cannot bind %s: %s", source, strerror(errno));
		return -1;
	}
	if (mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof(attributes))) {
		err_set_text(e, EXIT_GRANT, "cannot restrict %s: %s", source, strerror(errno));
		return -1;
	}
	return take_fd(tree);
}

bool tree_cover_system(const char *root, struct err *e)
{
	static const char *const names[] = { "proc", "sys", "dev", "run", "tmp" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		cleanup_free char *path = text_format("%s/%s", root, names[i]);
		if (!mount("none", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV, "mode=0755,nr_inodes=1"))
			continue;
		if (errno != ENOENT && errno != ENOTDIR)
			return err_set(e, EXIT_GRANT, "cannot cover %s: %s", path, strerror(errno));
	}
	return true;
}
