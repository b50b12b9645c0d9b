// SPDX-License-Identifier: Apache-2.0
// One granted directory tree, served by one virtiofsd (QEMU's C daemon) in namespaces of its own: it sees that tree,
// bound read-only where the grant says so, and nothing else. Works for root (real owners) and for an ordinary user (a
// user namespace in which only the caller's own ids exist).
#pragma once

#include "base/process.h"
#include "manifest/cell.h"

#define VIRTIOFSD_PATH "/usr/lib/qemu/virtiofsd"

struct share {
	struct process process;
	int socket; // connected vhost-user socket for QEMU; -1
};

// Is it installed? EXIT_HOST_MISSING names the Debian package.
bool share_check_installed(struct err *e);
// Starts the daemon of a mount that has a source. It answers on `socket` as soon as it is up; nothing waits here.
bool share_start(struct share *s, const struct cell_mount *m, struct err *e);
