// SPDX-License-Identifier: Apache-2.0
// What kernel/mm does where another kernel maps the memory: failures of the host, fork, exec, private pages of frames, and requests to
// other address spaces. mm_test.c asks the rest, compiled for such a port.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test_support.h"

#include <linux/mman.h>

#include "kernel/syscalls.h"
#include "map.h"
#include "test_file.h"
#include "test_host.h"

bool process_oom_kill(void) { return false; }
void oom_forget(struct mm *m) {}
void aio_release(struct mm *m) {}

#define AT    UINT64_C(0x10000000)
#define BYTES (8 * PAGE_SIZE)

static struct mm *mm;

static int touch(struct mm *in, uint64_t va, bool write, uint64_t value)
{
	uint64_t *word;
	int signal = fake_touch(in, va, write, &word);
	if (!signal && write)
		*word = value;
	return signal;
}

static uint64_t load(struct mm *in, uint64_t va)
{
	uint64_t *word;
	assert_int_equal(fake_touch(in, va, false, &word), 0);
	return *word;
}

static void map_at(uint64_t at, int prot, int flags, int fd)
{
	assert_int_equal(sys_mmap(at, BYTES, prot, MAP_FIXED | flags, fd, 0), at);
}

static void map_anonymous(void) { map_at(AT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1); }
static void map_memory(int type) { map_at(AT, PROT_READ | PROT_WRITE, type, 4); }

static int unmap_all(void **state)
{
	(void)state;
	fake_map_error = fake_spawn_error = 0;
	fake_others_run = NULL;
	fake_current = &fake_task;
	fake_switch(mm);
	mm->brk_start = mm->brk_end = 0;
	if (sys_munmap(PORT_USER_START, port_user_end() - PORT_USER_START) || mm->vma_count || mm->total_pages)
		return 1;
	fake_memory_inode.data.size_bytes = FILE_PAGES * PAGE_SIZE;
	mobj_truncate(&fake_memory_inode.data, 0, UINT64_MAX);
	return 0;
}

// ---- the host says no ----

static void what_the_host_refuses_is_not_mapped(void **state)
{
	uint64_t brk = UINT64_C(0x20000000);
	map_anonymous();
	fake_map_error = -ENOMEM;
	assert_int_equal(sys_mmap(AT + BYTES, BYTES, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS,
				  -1, 0),
			 -ENOMEM);
	fake_map_error = -ENODEV;
	assert_int_equal(sys_mmap(AT + BYTES, BYTES, PROT_READ, MAP_FIXED | MAP_SHARED, 3, 0), -ENODEV);
	fake_map_error = -ENOMEM;
	assert_int_equal(sys_mremap(AT, BYTES, 2 * BYTES, 0, 0), -ENOMEM);
	fake_map_error = -ENOMEM;
	assert_int_equal(sys_mremap(AT, BYTES, 2 * BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, AT + 8 * BYTES), -ENOMEM);
	mm->brk_start = mm->brk_end = brk;
	fake_map_error = -ENOMEM;
	assert_int_equal(sys_brk(brk + BYTES), brk);
	assert_int_equal(mm->vma_count, 1);
	assert_int_equal(mm->total_pages, BYTES / PAGE_SIZE);
	assert_int_equal(touch(mm, AT + BYTES, false, 0), SIGSEGV);
	assert_int_equal(touch(mm, AT, true, 5), 0);
}

static void a_stack_the_host_cannot_grow_is_a_fault(void **state)
{
	map_at(AT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1);
	fake_map_error = -ENOMEM;
	fake_maps_until_error = 0;
	assert_int_equal(touch(mm, AT - PAGE_SIZE, true, 1), 0); // with a smaller step
	assert_int_equal(mm->total_pages, BYTES / PAGE_SIZE + 1);
	assert_int_equal(touch(mm, AT - 2 * PAGE_SIZE, true, 1), 0);
	assert_int_equal(mm->total_pages, BYTES / PAGE_SIZE + 32);
}

// The kernel believes in a mapping that the host has lost: an error, not a loop.
static void a_fault_that_cannot_succeed_ends(void **state)
{
	int signal, code;
	map_anonymous();
	fake_slot(fake_aspace, AT, false)->mapped = false;
	assert_int_equal(mm_fault(mm, AT, UPCALL_FAULT_USER, &signal, &code), -EFAULT);
	assert_int_equal(signal, SIGSEGV);
	fake_slot(fake_aspace, AT + PAGE_SIZE, false)->prot = PROT_READ;
	assert_int_equal(mm_fault(mm, AT + PAGE_SIZE, UPCALL_FAULT_USER | UPCALL_FAULT_WRITE, &signal, &code), -EFAULT);
	assert_int_equal(code, 2); // SEGV_ACCERR
	// One that another thread has mended meanwhile is tried again.
	assert_int_equal(mm_fault(mm, AT + PAGE_SIZE, UPCALL_FAULT_USER, &signal, &code), 0);
}

static void a_host_file_that_ends_is_sigbus(void **state)
{
	int signal, code;
	assert_int_equal(sys_mmap(AT, 2 * PAGE_SIZE, PROT_READ, MAP_FIXED | MAP_SHARED, 3,
				  (FILE_PAGES - 1) * PAGE_SIZE),
			 AT);
	assert_int_equal(load(mm, AT), file_words[FILE_PAGES - 1]);
	assert_int_equal(touch(mm, AT + PAGE_SIZE, false, 0), SIGBUS);
	// For a kernel access the host's fault may come as either.
	assert_int_equal(mm_fault(mm, AT + PAGE_SIZE, 0, &signal, &code), -EFAULT);
	assert_int_equal(signal, SIGBUS);
	assert_int_equal(mm_populate(mm, AT, 2 * PAGE_SIZE, false), -EFAULT);
}

// ---- flags and what is in memory ----

static void mincore_asks_the_host_and_the_table(void **state)
{
	struct vma_usage u;
	uint64_t entries[2];
	map_anonymous();
	map_at(AT + BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, 4);
	assert_int_equal(touch(mm, AT + 2 * PAGE_SIZE, true, 1), 0);
	assert_int_equal(touch(mm, AT + BYTES + 3 * PAGE_SIZE, true, 1), 0);
	assert_int_equal(sys_mincore(AT, 2 * BYTES, (struct uptr){ FAKE_BUFFER }), 0);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(fake_buffer[i], i == 2);
	assert_int_equal(fake_buffer[8 + 3], 1);
	assert_int_equal(sys_mincore(AT + BYTES, 2 * BYTES, (struct uptr){ FAKE_BUFFER }), -ENOMEM);
	mm_vma_usage(mm, AT, AT + BYTES, &u);
	assert_int_equal(u.resident, 1);
	assert_int_equal(u.anonymous, 1);
	mm_pagemap(mm, AT + PAGE_SIZE, entries, 2);
	assert_int_equal(entries[0], 0);
	assert_int_equal(entries[1] >> 63, 1);
	uint64_t anonymous, file;
	mm_resident_count(mm, &anonymous, &file);
	assert_int_equal(anonymous, 1);
	assert_true(file >= 1);
	assert_int_equal(mm_resident_pages(mm), anonymous + file);
}

static void advice_reaches_the_host(void **state)
{
	map_anonymous();
	assert_int_equal(touch(mm, AT, true, 7), 0);
	assert_int_equal(sys_madvise(AT, BYTES, MADV_DONTNEED), 0);
	assert_int_equal(load(mm, AT), 0);
	assert_int_equal(sys_madvise(AT, BYTES, MADV_POPULATE_WRITE), 0);
	for (unsigned i = 0; i < 8; i++)
		assert_true(fake_slot(fake_aspace, AT + i * PAGE_SIZE, false)->resident);
	assert_int_equal(sys_mlock(AT, BYTES), 0);
	assert_int_equal(sys_madvise(AT, BYTES, MADV_DONTNEED), -EINVAL);
	map_at(AT, PROT_READ | PROT_WRITE, MAP_SHARED, 3);
	assert_int_equal(sys_msync(AT + PAGE_SIZE, PAGE_SIZE, MS_SYNC), 0);
	assert_int_equal(fake_synced_start, AT + PAGE_SIZE);
	assert_int_equal(fake_synced_end, AT + 2 * PAGE_SIZE);
}

static void mremap_can_leave_the_old_place(void **state)
{
	map_anonymous();
	assert_int_equal(touch(mm, AT, true, 7), 0);
	long at = sys_mremap(AT, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
	assert_true(at > 0);
	assert_int_equal(load(mm, (uint64_t)at), 7);
	assert_int_equal(load(mm, AT), 0);
	assert_int_equal(touch(mm, AT, true, 8), 0);
	// Where mapping the old place anew fails, everything is as it was.
	fake_map_error = -ENOMEM;
	assert_int_equal(sys_mremap(AT, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0), -ENOMEM);
	assert_int_equal(load(mm, AT), 8);
	assert_int_equal(mm->vma_count, 2);
}

// ---- private pages of frames ----

static void a_hole_leaves_private_copies(void **state)
{
	map_memory(MAP_SHARED);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(touch(mm, AT + i * PAGE_SIZE, true, 10 + i), 0);
	map_at(AT + BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, 4);
	assert_int_equal(load(mm, AT + BYTES), 10);
	assert_int_equal(touch(mm, AT + BYTES + PAGE_SIZE, true, 99), 0);
	mobj_unmap_all(&fake_memory_inode.data, 0, 7, false);
	assert_false(fake_slot(fake_aspace, AT, false)->mapped);
	assert_false(fake_slot(fake_aspace, AT + BYTES, false)->mapped);
	assert_int_equal(load(mm, AT + BYTES + PAGE_SIZE), 99);
	assert_int_equal(load(mm, AT + PAGE_SIZE), 11);
	// Read-only now: nobody can tell, so it stays.
	assert_int_equal(sys_mprotect(AT + BYTES, BYTES, PROT_READ), 0);
	mobj_unmap_all(&fake_memory_inode.data, 0, 7, false);
	assert_int_equal(load(mm, AT + BYTES + PAGE_SIZE), 99);
	assert_int_equal(sys_mprotect(AT + BYTES, BYTES, PROT_READ | PROT_WRITE), 0);
	assert_int_equal(touch(mm, AT + BYTES + PAGE_SIZE, true, 100), 0);
	assert_int_equal(load(mm, AT + PAGE_SIZE), 11);
	// Truncation takes everything.
	mobj_truncate(&fake_memory_inode.data, 0, UINT64_MAX);
	assert_int_equal(load(mm, AT + BYTES + PAGE_SIZE), 0);
}

// ---- fork ----

static struct mm *fork_child(void)
{
	struct mm *child = mm_fork(mm, NULL);
	assert_false(is_err(child));
	fake_switch(child);
	return child;
}

static void end_child(struct mm *child)
{
	fake_switch(mm);
	fake_leave(child);
	mm_release_user(child);
}

static void fork_copies_and_shares(void **state)
{
	map_anonymous();
	map_at(AT + BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, 4);
	map_at(AT + 2 * BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, 4);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(touch(mm, AT + i * BYTES, true, i + 1), 0);
	struct mm *child = fork_child();
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(load(child, AT + i * BYTES), i + 1);
		assert_int_equal(touch(child, AT + i * BYTES, true, 50 + i), 0);
	}
	fake_switch(mm);
	assert_int_equal(load(mm, AT), 1);
	assert_int_equal(load(mm, AT + BYTES), 51);
	assert_int_equal(load(mm, AT + 2 * BYTES), 3);
	end_child(child);
}

static void fork_honours_advice(void **state)
{
	map_anonymous();
	map_at(AT + BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, 4);
	map_at(AT + 2 * BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	assert_int_equal(sys_madvise(AT, 2 * BYTES, MADV_DONTFORK), 0);
	assert_int_equal(sys_madvise(AT + 2 * BYTES, BYTES, MADV_WIPEONFORK), 0);
	assert_int_equal(sys_madvise(AT + BYTES, BYTES, MADV_WIPEONFORK), -EINVAL);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(touch(mm, AT + i * BYTES, true, i + 1), 0);
	struct mm *child = fork_child();
	assert_int_equal(touch(child, AT, false, 0), SIGSEGV);
	assert_int_equal(touch(child, AT + BYTES, false, 0), SIGSEGV);
	assert_int_equal(load(child, AT + 2 * BYTES), 0);
	end_child(child);
	// What grows from such a mapping does as it does.
	assert_int_equal(sys_madvise(AT, 2 * BYTES, MADV_DOFORK), 0);
	assert_int_equal(sys_mremap(AT + 2 * BYTES, BYTES, 2 * BYTES, 0, 0), AT + 2 * BYTES);
	assert_int_equal(touch(mm, AT + 3 * BYTES, true, 9), 0);
	child = fork_child();
	assert_int_equal(load(child, AT), 1);
	assert_int_equal(load(child, AT + BYTES), 2);
	assert_int_equal(load(child, AT + 3 * BYTES), 0);
	end_child(child);
	assert_int_equal(load(mm, AT + 3 * BYTES), 9);
}

static void a_fork_that_fails_leaves_nothing(void **state)
{
	map_memory(MAP_SHARED);
	assert_int_equal(touch(mm, AT, true, 1), 0);
	fake_spawn_error = -EAGAIN;
	assert_int_equal(ptr_err(mm_fork(mm, NULL)), -EAGAIN);
	assert_int_equal(load(mm, AT), 1);
	struct vma *v = mm_find(mm, AT);
	assert_int_equal(v->object->vmas.next == v->object->vmas.prev, 1); // one mapping
}

// ---- exec ----

static struct mm *build_program(void)
{
	struct mm *next = mm_create();
	assert_int_equal(mm_map(next, AT, BYTES, VMA_READ | VMA_WRITE, MAP_FIXED, NULL, NULL, 0, NULL), AT);
	assert_int_equal(mm_map(next, AT + BYTES, BYTES, VMA_READ, MAP_FIXED, &fake_file, &fake_inode.data, 4, NULL),
			 AT + BYTES);
	assert_int_equal(mm_map(next, AT + 2 * BYTES, BYTES, VMA_READ, MAP_FIXED, &fake_memory_file,
				&fake_memory_inode.data, 0, NULL),
			 AT + 2 * BYTES);
	return next;
}

static struct task other; // a task of another process

static void exec_maps_at_activation(void **state)
{
	struct mm *first = mm_create(), *next = build_program();
	fake_current = &other;
	other.process = &fake_process;
	list_init(&other.mm_node);
	other.mm = first;
	fake_aspace = NULL;
	assert_int_equal(mm_activate(first), 0);
	other.mm = next;
	mm_leave(first, current);
	assert_false(first->active || first->aspace->active);
	assert_int_equal(mm_activate(next), 0);
	mm_release_user(first);
	assert_int_equal(touch(next, AT, true, 3), 0);
	assert_int_equal(load(next, AT + BYTES), file_words[4]);
	assert_int_equal(touch(next, AT + 2 * BYTES, false, 0), 0);
	mm_leave(next, current);
	mm_release_user(next);

	next = build_program();
	other.mm = next;
	fake_map_error = -EACCES;
	fake_maps_until_error = 1;
	assert_int_equal(mm_activate(next), -EACCES);
	mm_leave(next, current);
	mm_release_user(next);
	fake_aspace = mm->aspace;
}

// ---- other address spaces ----

static struct mm *theirs;
static unsigned served;

// A switch to the other task, parked in this mode, and back.
static void other_serves(enum park_mode mode)
{
	fake_current = &other;
	fake_aspace = theirs->aspace;
	other.sched.park_mode = mode;
	served += mm_serve_parked();
	fake_current = &fake_task;
	fake_aspace = mm->aspace;
}

static void other_serves_uninterruptibly(void) { other_serves(PARK_UNINTERRUPTIBLE); }
static void other_serves_interruptibly(void)
{
	other_serves(PARK_UNINTERRUPTIBLE); // not there
	other_serves(PARK_INTERRUPTIBLE);
}

static void other_leaves(void)
{
	fake_current = &other;
	fake_aspace = theirs->aspace;
	mm_leave(theirs, current);
	fake_current = &fake_task;
	fake_aspace = mm->aspace;
}

static void other_starts(void)
{
	theirs = fork_child();
	memset(&other, 0, sizeof(other));
	other.mm = theirs;
	other.process = &fake_process;
	mm_enter(theirs, &other);
	fake_switch(mm);
	served = 0;
}

static void other_ends(void)
{
	fake_others_run = NULL;
	if (!list_empty(&other.mm_node))
		other_leaves();
	mm_release_user(theirs);
	fake_switch(mm);
}

static void memory_of_others_is_moved_by_them(void **state)
{
	uint64_t value = 0;
	map_anonymous();
	map_at(AT + BYTES, PROT_READ, MAP_PRIVATE, 3);
	map_at(AT + 2 * BYTES, PROT_READ, MAP_PRIVATE, 4);
	map_at(AT + 3 * BYTES, PROT_NONE, MAP_SHARED, 4);
	assert_int_equal(touch(mm, AT, true, 5), 0);
	other_starts();
	assert_int_equal(touch(mm, AT, true, 6), 0);
	fake_others_run = other_serves_interruptibly;
	assert_int_equal(mm_access(theirs, AT, &value, 8, false), 8);
	assert_int_equal(value, 5);
	assert_int_equal(served, 1);
	assert_false(task_work_test(&other, WORK_REMOTE));
	// A breakpoint: through the protection, into copies.
	value = 0xcc;
	assert_int_equal(mm_access_checked(theirs, AT + BYTES, &value, 8, true), 0);
	assert_int_equal(mm_access(theirs, AT + BYTES, &value, 8, true), 8);
	assert_int_equal(mm_access(theirs, AT + 2 * BYTES, &value, 8, true), 8);
	assert_int_equal(mm_access(theirs, AT + 3 * BYTES, &value, 8, true), 0);
	assert_int_equal(mm_access(theirs, AT + 3 * BYTES, &value, 8, false), 8);
	assert_int_equal(mm_access(theirs, AT + 4 * BYTES, &value, 8, false), 0);
	fake_switch(theirs);
	assert_int_equal(load(theirs, AT + BYTES), 0xcc);
	assert_int_equal(load(theirs, AT + 2 * BYTES), 0xcc);
	assert_int_equal(touch(theirs, AT + BYTES, true, 0), SIGSEGV);
	assert_int_equal(touch(theirs, AT + 3 * BYTES, false, 0), SIGSEGV);
	fake_switch(mm);
	assert_int_equal(load(mm, AT + BYTES), file_words[0]);
	assert_int_equal(load(mm, AT + 2 * BYTES), 0);
	other_ends();
}

static void nobody_answers_for_the_dead(void **state)
{
	uint64_t value;
	map_anonymous();
	other_starts();
	fake_others_run = other_leaves;
	assert_int_equal(mm_access(theirs, AT, &value, 8, false), 0);
	fake_others_run = NULL;
	assert_int_equal(mm_access(theirs, AT, &value, 8, false), 0);
	other_ends();
}

static void the_killed_do_not_wait(void **state)
{
	uint64_t value;
	map_anonymous();
	other_starts();
	fake_park_error = -EINTR;
	assert_int_equal(mm_access(theirs, AT, &value, 8, false), 0);
	fake_park_error = 0;
	assert_true(list_empty(&theirs->requests));
	assert_true(task_work_test(&other, WORK_REMOTE));
	other_serves(PARK_UNINTERRUPTIBLE);
	assert_int_equal(served, 0);
	other.work = WORK_REMOTE;
	fake_current = &other;
	fake_aspace = theirs->aspace;
	mm_serve();
	assert_false(task_work_test(&other, WORK_REMOTE));
	fake_current = &fake_task;
	other_ends();
}

static void truncation_reaches_others(void **state)
{
	map_memory(MAP_SHARED);
	assert_int_equal(touch(mm, AT, true, 5), 0);
	other_starts();
	fake_others_run = other_serves_uninterruptibly;
	struct mobj *o = &fake_memory_inode.data;
	o->size_bytes = 0;
	mobj_truncate(o, 0, UINT64_MAX);
	assert_int_equal(served, 1);
	assert_int_equal(touch(mm, AT, false, 0), SIGBUS);
	fake_switch(theirs);
	assert_int_equal(touch(theirs, AT, false, 0), SIGBUS);
	fake_switch(mm);
	o->size_bytes = FILE_PAGES * PAGE_SIZE;
	assert_int_equal(touch(mm, AT, true, 6), 0);
	fake_switch(theirs);
	assert_int_equal(load(theirs, AT), 6);
	fake_switch(mm);
	// One that is just going has nothing but the table.
	fake_others_run = other_leaves;
	mobj_truncate(o, 0, UINT64_MAX);
	assert_false(fake_slot(theirs->aspace, AT, false)->present);
	assert_int_equal(load(mm, AT), 0);
	other_ends();
}

static void nothing_is_left(void **state)
{
	struct page_stats s;
	mm_leave(mm, current);
	mm_release_user(mm);
	mobj_destroy(&fake_memory_inode.data);
	page_stats_get(&s);
	assert_int_equal(s.cached_pages, 0);
	assert_int_equal(s.anonymous_pages, 0);
	assert_int_equal(refcount_read(&fake_file.refs), 1);
	assert_int_equal(refcount_read(&fake_memory_file.refs), 1);
	assert_int_equal(refcount_read(&fake_inode.refs), 1);
	assert_int_equal(refcount_read(&fake_memory_inode.refs), 1);
	struct slab_info info;
	for (unsigned i = 0; slab_info_get(i, &info); i++)
		assert_int_equal(info.objects_used, 0);
}

int main(void)
{
	static struct cred root;
	fake_kernel_create();
	fake_task.cred = &root;
	mm_init();
	fake_file_create();
	mm = mm_create();
	fake_task.mm = mm;
	fake_process.rlimits[RLIMIT_MEMLOCK].rlim_cur = UINT64_MAX;
	if (mm_activate(mm))
		abort();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(what_the_host_refuses_is_not_mapped, unmap_all),
		cmocka_unit_test_teardown(a_stack_the_host_cannot_grow_is_a_fault, unmap_all),
		cmocka_unit_test_teardown(a_fault_that_cannot_succeed_ends, unmap_all),
		cmocka_unit_test_teardown(a_host_file_that_ends_is_sigbus, unmap_all),
		cmocka_unit_test_teardown(mincore_asks_the_host_and_the_table, unmap_all),
		cmocka_unit_test_teardown(advice_reaches_the_host, unmap_all),
		cmocka_unit_test_teardown(mremap_can_leave_the_old_place, unmap_all),
		cmocka_unit_test_teardown(a_hole_leaves_private_copies, unmap_all),
		cmocka_unit_test_teardown(fork_copies_and_shares, unmap_all),
		cmocka_unit_test_teardown(fork_honours_advice, unmap_all),
		cmocka_unit_test_teardown(a_fork_that_fails_leaves_nothing, unmap_all),
		cmocka_unit_test_teardown(exec_maps_at_activation, unmap_all),
		cmocka_unit_test_teardown(memory_of_others_is_moved_by_them, unmap_all),
		cmocka_unit_test_teardown(nobody_answers_for_the_dead, unmap_all),
		cmocka_unit_test_teardown(the_killed_do_not_wait, unmap_all),
		cmocka_unit_test_teardown(truncation_reaches_others, unmap_all),
		cmocka_unit_test(nothing_is_left),
	};
	return cmocka_run_group_tests_name("mm-host-only", tests, NULL, NULL);
}
