// SPDX-License-Identifier: Apache-2.0
// The host's ports that lead to a cell.
#pragma once

#include "net/rules.h"

// Binds a socket for each PUBLISH rule, in order: bound and not listening, so that nobody is answered until a program in the cell
// listens. The first *count of `fds` are the caller's then. EXIT_GRANT: a port cannot be had, and there is none.
bool net_published_bind(const struct net_rules *rules, int fds[OUTSIDE_RULES_MAX], unsigned *count, struct err *e);
// How many PUBLISH rules there are.
unsigned net_published_count(const struct net_rules *rules);
