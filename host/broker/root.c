// SPDX-License-Identifier: Apache-2.0
// Roots of grants, made while the process still has the rights to.
#include "broker/broker.h"

#include "base/cleanup.h"
#include "base/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define COVER_PLACE "/tmp"

bool broker_root_open(struct broker_root *root, const char *source, bool private_mounts, struct err *e)
{
	cleanup_close int fd = -1;
	struct stat s;

	if (private_mounts && !tree_propagate(MS_PRIVATE))
		return err_set(e, EXIT_USAGE, "cannot make mounts private: %s", strerror(errno));
	fd = private_mounts ? tree_clone(source, root->read_only, e) : open(source, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return private_mounts ? false : err_set(e, EXIT_GRANT, "cannot open %s: %s", source, strerror(errno));
	if (fstat(fd, &s) || (!S_ISDIR(s.st_mode) && !S_ISREG(s.st_mode)))
		return err_set(e, EXIT_GRANT, "%s is neither a directory nor a file", source);
	root->no_devices = private_mounts;
	root->fd = take_fd(fd);
	return true;
}

// A detached tree takes no mounts: it is hung up over /tmp, one over the other. Their descriptors still lead to each.
bool broker_roots_cover(struct broker_root *roots, unsigned count, struct err *e)
{
	for (unsigned i = 0; i < count; i++) {
		if (!roots[i].hide_system || !roots[i].no_devices)
			continue;
		if (move_mount(roots[i].fd, "", AT_FDCWD, COVER_PLACE, MOVE_MOUNT_F_EMPTY_PATH))
			return err_set(e, EXIT_USAGE, "cannot attach a tree to " COVER_PLACE ": %s", strerror(errno));
		if (!tree_cover_system(COVER_PLACE, e))
			return false;
		roots[i].hide_system = false;
	}
	return true;
}

void broker_enclose(struct broker_spec *spec)
{
	// Its directory `..` is itself: the tree is attached nowhere, and lives as long as the descriptor.
	int own = open_tree(AT_FDCWD, "/proc/self/fd", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	const uint32_t watches = broker_watches_allowed();

	if (own < 0)
		return;
	if (mount("none", COVER_PLACE, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0,nr_inodes=1") ||
	    chdir(COVER_PLACE) || chroot(".")) {
		close(own);
		return;
	}
	if (fchdir(own))
		abort(); // it could serve nothing any more
	spec->watches_max = watches;
	spec->enclosure = own;
}
