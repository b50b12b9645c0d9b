// SPDX-License-Identifier: Apache-2.0
// Linux AIO as others see it. Owner: kernel/ipc/aio.c.
#pragma once

#include "lib/compiler.h"

struct mm;

extern uint32_t aio_max_nr;  // fs.aio-max-nr; atomic
uint64_t aio_requests(void); // fs.aio-nr: what the contexts of the cell were made for
// The last user of `mm` goes, and mm->aio_contexts is not empty. Sleeps.
void aio_release(struct mm *mm);
