// SPDX-License-Identifier: Apache-2.0
// Windows (port/host.h): where they are, and what the address space must do for them.
#pragma once

#include "port/port.h"

struct port_aspace;
struct windows;

// Where the program's part of the address space ends and the windows begin, up to the kernel's region. Constant after boot.
extern uint64_t hosted_user_end;

void hosted_windows_init(void); // boot
// Around a fork: no window is opened meanwhile, which the child would have and not know of. `as` may be NULL.
void hosted_windows_hold(struct port_aspace *as);
void hosted_windows_release(struct port_aspace *as);
void hosted_windows_destroy(struct windows *ws); // nobody runs in their address space any more. May be NULL
