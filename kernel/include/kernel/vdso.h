// SPDX-License-Identifier: Apache-2.0
// The vDSO: functions of the kernel's that run in the program, and the page of numbers they read. vdso(7). Owner: kernel/vdso/.
#pragma once

#include "kernel/mm.h"

// Maps [vvar] and [vdso] directly below `limit` and sets mm->vdso. 0 or -errno.
int vdso_map(struct mm *mm, uint64_t limit);
// Time of day was set: realtime - monotonic.
void vdso_set_realtime_offset(int64_t offset_ns);
// The page as a memory object (for tests of what is mapped), NULL before start-up.
struct mobj *vdso_object(void);
