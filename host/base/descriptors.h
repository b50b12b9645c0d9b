// SPDX-License-Identifier: Apache-2.0
#pragma once

// Makes the process's table of descriptors large enough for so many, or as many as it may have, while nobody shares it: each time one that
// is shared grows, who wants the descriptor waits some 10 ms for the host's RCU. `fd`: any that is open.
void descriptors_widen(int fd, unsigned count);
