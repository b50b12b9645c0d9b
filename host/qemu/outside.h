// SPDX-License-Identifier: Apache-2.0
// The process that serves a cell's network grants: a vhost-user vsock device (host/vsock). Only started where there are grants.
// It lives in the host's network, and otherwise in namespaces of its own; host/vsock/confine.c tells what it cannot do.
#pragma once

#include "base/process.h"
#include "net/rules.h"

struct outside {
	struct process process;
	int socket; // connected vhost-user socket for QEMU; -1
};

// Binds the published ports and starts `program`. EXIT_GRANT when a port cannot be had.
bool outside_start(struct outside *o, const char *program, const struct net_rules *rules, struct err *e);
