// SPDX-License-Identifier: Apache-2.0
// Port hosted as the launcher's loop sees it: the supervisor's process, pipes and sockets to the kernel.
#pragma once

#include "base/machine.h"

extern const struct machine_kind hosted_machine_kind;
