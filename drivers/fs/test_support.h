// SPDX-License-Identifier: Apache-2.0
// For the tests of the broker's client: what the VFS's fakes lack.
#pragma once

#include "../../kernel/vfs/test_support.h"

#include "kernel/leak.h"

paddr_t page_to_frame(const struct page *p) { return (paddr_t)page_address(p); }
void *port_frame_address(paddr_t frame) { return (void *)frame; }
static unsigned fake_kicks;
void port_task_kick(struct port_task *p) { fake_kicks++; }
void trace_event(const char *what, uint64_t a, uint64_t b) {}
void leak_counter_register(struct leak_counter *c) {}
void mobj_read_done(struct page *p, int error) {}
bool mutex_try_lock(struct mutex *m) { return m->word ? false : (m->word = 1, true); }
bool mutex_is_mine(const struct mutex *m) { return m->word; }
struct task *kernel_task_create(const char *name, void (*fn)(void *), void *arg) { return err_ptr(-ENOMEM); }
