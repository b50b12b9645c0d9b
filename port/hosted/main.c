// SPDX-License-Identifier: Apache-2.0
// The start: from the loader's jump (abi/hosted.h) to the portable kernel. What is set up here is inherited by every thread and
// process of the cell: signal handlers, the filter, the absence of anything else in memory.
#include "amd64/log.h"
#include "asan.h"
#include "aspace.h"
#include "cpu.h"
#include "idle.h"
#include "kernel/upcall.h"
#include "layout.h"
#include "pkeys.h"
#include "port/host.h"
#include "signal.h"
#include "syscall.h"
#include "task.h"
#include "time.h"
#include "window.h"
#include "xstate.h"

#include <linux/filter.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>

// Of the arena: struct page of what is used first, and the objects made first.
#define INHERITED_BYTES (UINT64_C(2) << 20)
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

struct hosted_handoff hosted;

_Noreturn void hosted_main(const struct hosted_handoff *h);

static void check(const struct hosted_handoff *h)
{
	if (h->magic != HOSTED_MAGIC || h->version != HOSTED_VERSION || h->size_bytes != sizeof(*h))
		amd64_refuse("the loader speaks another version");
	if (h->image_start != (uint64_t)hosted_image_start || h->data_start != (uint64_t)hosted_data_start ||
	    h->text_end != (uint64_t)hosted_text_end || h->image_end != (uint64_t)hosted_image_end)
		amd64_refuse("the image is not where the loader says");
	if (h->arena_end <= h->arena_start || h->arena_start % PAGE_BYTES || h->arena_end % PAGE_BYTES)
		amd64_refuse("the memory is none");
	if (!h->cpu_count || h->cpu_count > HOSTED_CPUS_MAX || h->channel_count > HOSTED_CHANNELS_MAX)
		amd64_refuse("too many CPUs or channels");
}

// A page that nobody can touch, without a mapping of its own. Linux before 6.15 knows none in shared mappings: then it is just not used.
static bool guard_install(uint64_t page) { return !HOST(madvise, page, PAGE_BYTES, MADV_GUARD_INSTALL); }

// The stacks of the blocks that are used first, and again before any other (task.c), end in a guard. Here, before the filter: every
// process of the cell is a copy of this one. A guard is a page-table entry for fork to copy, so not all blocks have one.
static void guard_stacks(void)
{
	for (unsigned i = 0; i < GUARDED_BLOCKS; i++) {
		uint64_t block = hosted_stacks_start + i * BLOCK_BYTES;
		if (block + BLOCK_BYTES > hosted.arena_end || !guard_install(block))
			return;
	}
}

// The host copies no page-table entries of file mappings at fork, but for those of a mapping that has a guard: so what every new process
// touches has one, and need not be faulted in page by page: the task blocks, and the kernel's data where that is no huge page. The
// rest, which grows with what a program does, has none, and is set apart by a flag without effect here. Without guards processes fault.
static void inherit_entries(void)
{
	const bool huge = hosted.flags & HOSTED_FLAG_HUGE_DATA;
	const uint64_t rest = huge ? hosted.data_start : hosted.arena_start + INHERITED_BYTES;
	const uint64_t below_boot_stack =
		(hosted.record_start + hosted.record_size_bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);

	if (rest < hosted_stacks_start)
		(void)HOST(madvise, rest, hosted_stacks_start - rest, MADV_DONTDUMP);
	if (!huge)
		(void)guard_install(below_boot_stack);
	guard_stacks();
}

// From here on only what the filter admits, and only from kernel text.
static void confine(void)
{
	struct sock_fprog program = { .len = (uint16_t)hosted.filter_count,
				      .filter = (struct sock_filter *)hosted.filter_start };

	if (HOST(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		amd64_refuse("the host forbids no_new_privs");
	if (HOST(seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
		amd64_refuse("the host refuses the seccomp filter");
}

_Noreturn asan_exempt void hosted_main(const struct hosted_handoff *h)
{
	hosted = *h;
	check(h);
	if (hosted_memory_init())
		amd64_refuse("the host does not let go of the loader's memory");
	hosted_asan_init();
	hosted_windows_init();
	hosted_blocks_init();
	struct port_task *boot = hosted_block_alloc();
	if (!boot)
		amd64_refuse("not enough memory");
	boot->adopted = true;
	boot->tid = boot->tgid = hosted_kernel_tgid = (int32_t)HOST(getpid);
	hosted_task_attach(boot);
	inherit_entries();
	if (hosted_pkeys_init())
		amd64_refuse("the host gives no protection key");
	hosted_signals_init();
	hosted_features_init();
	hosted_xstate_init();
	hosted_time_init();
	confine();
	kernel_upcall_boot((const void *)hosted.record_start, hosted.record_size_bytes);
}
