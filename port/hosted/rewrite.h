// SPDX-License-Identifier: Apache-2.0
// System calls without the host: a call site that traps often becomes a jump into the kernel. See rewrite.c.
#pragma once

#include "port/port.h"

struct stub_page;
struct site_news;

#define REWRITE_COUNTERS 1024u

// Of one address space.
struct rewriting {
	uint8_t traps[REWRITE_COUNTERS]; // by a hash of the site, racy; collisions only make a site hot too early
	uint32_t lock;                   // atomic: one rewrites at a time, others let it be
	uint32_t forbidden;              // atomic: the program has set GS
	uint64_t busy;                   // atomic: address of the breakpoint that stands now, or 0
	bool registered;                 // with the host, for barriers that serialise instruction streams
	bool broke;                      // a breakpoint has stood somewhere
	struct stub_page *stubs;         // lock
	struct site_news *news;          // atomic: shared with what forked and was forked, NULL before
	uint32_t news_known;             // lock: bits of those entries that need no look
};

// The program trapped at the `syscall` instruction at `site`. Task context.
void hosted_rewrite(const struct user_regs *r, uint64_t site);
// The program hit a breakpoint: was it one that stood at a site while it was rewritten? Then r->ip is set to try again.
bool hosted_rewrite_retry(struct user_regs *r);
// The program is about to have a second thread: with more than one the host's registration waits for a grace period, some 10 ms.
void hosted_rewrite_threads_begin(struct port_aspace *as);
// The program has set GS: from now on its system calls trap, rewritten sites too. Task context, current address space.
void hosted_rewrite_forbid(void);
// Rewrites what often traps in processes that this one forked, so that the next one has it. Task context, no lock of the kernel's.
void hosted_rewrite_news(void);
// A forked process has the stubs of its parent. Both address spaces are not changing.
void hosted_rewrite_inherit(struct rewriting *child, struct rewriting *parent);
void hosted_rewrite_destroy(struct rewriting *w);
