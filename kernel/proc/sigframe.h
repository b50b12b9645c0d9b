// SPDX-License-Identifier: Apache-2.0
// The signal frame's layout, for sigframe.c and its test.
#pragma once

#include "internal.h"

#include <asm/sigcontext.h>
#include <asm/ucontext.h>

// struct rt_sigframe of the Linux ABI with scalars for its pointers: return address, struct ucontext, siginfo_t.
struct rt_sigframe {
	uint64_t return_address;
	uint64_t uc_flags;
	uint64_t uc_link;
	uint64_t stack_base; // stack_t
	int32_t stack_flags;
	uint32_t stack_padding;
	uint64_t stack_size;
	struct sigcontext_64 context;
	uint64_t mask;
	siginfo_t info;
};
static_assert(offsetof(struct rt_sigframe, context) == 8 + 40, "struct ucontext: uc_mcontext at 40");
static_assert(offsetof(struct rt_sigframe, mask) == 8 + 296, "struct ucontext: uc_sigmask at 296");
static_assert(offsetof(struct rt_sigframe, info) == 8 + 304, "siginfo behind struct ucontext");
static_assert(sizeof(struct sigcontext_64) == 256, "struct sigcontext");
static_assert(sizeof(struct rt_sigframe) == 440, "struct rt_sigframe");
static_assert(sizeof(struct _fpstate_64) == 512, "FXSAVE area");
static_assert(offsetof(struct _fpstate_64, sw_reserved) == 464, "software bytes of the FXSAVE area");

struct sigframe_place {
	uint64_t frame, fpstate;
};
int sigframe_place(const struct task *t, uint64_t sp, uint64_t sa_flags, size_t xstate_size,
		   struct sigframe_place *out);
void sigframe_fill(struct rt_sigframe *f, const struct task *t, const struct user_regs *r, const siginfo_t *info,
		   const struct sigaction_kernel *action, sigmask_t mask, uint64_t fpstate);
void sigframe_xstate_mark(uint8_t *xstate, size_t size, uint64_t features);
size_t sigframe_xstate_extent(const uint8_t *legacy, size_t max_size, uint64_t features);
int sigframe_restore_regs(struct user_regs *r, const struct rt_sigframe *f);
