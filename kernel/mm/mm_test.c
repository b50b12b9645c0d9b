// SPDX-License-Identifier: Apache-2.0
// Address spaces against a simple model: random mmap, munmap, mprotect, mremap, madvise, fork and stores on an arena of 64 pages;
// after each step the model and what a program would read agree. Then single questions. Compiled twice: for ports with page tables of
// their own, and for ports that stand on another kernel (PORT_HOST).
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
#if PORT_HOST
#include "test_host.h"
#else
#include "test_aspace.h"
#endif

bool process_oom_kill(void) { return false; }
void oom_forget(struct mm *m) {}
void aio_release(struct mm *m) {}

// ---- the model ----

#define ARENA UINT64_C(0x10000000)
#define PAGES 64u

enum kind { HOLE, ANONYMOUS, FILE_PRIVATE, FILE_SHARED };
enum { DISK, MEMORY, FILES }; // which file
struct model_page {
	enum kind kind;
	int prot;
	unsigned file, file_page;
	bool own; // private page was written
	uint64_t value;
};
static struct model_page model[PAGES];
static uint64_t file_model[FILES][FILE_PAGES];
static struct mm *mm;

static uint64_t expected(const struct model_page *p)
{
	if (p->own)
		return p->value;
	return p->kind == ANONYMOUS ? 0 : file_model[p->file][p->file_page];
}

static void check_page(struct mm *in, unsigned i)
{
	const struct model_page *p = &model[i];
	uint64_t *word;
	int signal = fake_touch(in, ARENA + i * PAGE_SIZE, false, &word);
	if (p->kind == HOLE || p->prot == PROT_NONE) {
		assert_int_equal(signal, SIGSEGV);
		return;
	}
	assert_int_equal(signal, 0);
	assert_int_equal(*word, expected(p));
}

static void check_all(struct mm *in)
{
	uint64_t mapped = 0;
	for (unsigned i = 0; i < PAGES; i++) {
		check_page(in, i);
		mapped += model[i].kind != HOLE;
	}
	assert_int_equal(in->total_pages, mapped);
	uint64_t anonymous = 0, file = 0;
	for (unsigned i = 0; i < SLOTS; i++) {
		struct page *page = fake_slot_page(&in->aspace->slots[i]);
		if (page && page != mm_zero_page)
			*(page_test(page, PAGE_CACHE) ? &file : &anonymous) += 1;
	}
	assert_int_equal(in->resident_anon, anonymous);
	assert_int_equal(in->resident_file, file);
	uint64_t end = 0;
	unsigned count = 0;
	struct vma_info v;
	for (uint64_t at = 0; mm_next_vma(in, at, &v); at = v.end) {
		mm_info_put(&v);
		assert_true(v.start >= end && v.end > v.start);
		for (uint64_t va = v.start; va < v.end; va += PAGE_SIZE)
			assert_int_equal(model[(va - ARENA) / PAGE_SIZE].prot, (int)(v.flags & 7));
		end = v.end;
		count++;
	}
	assert_int_equal(count, in->vma_count);
}

static void step_map(unsigned at, unsigned count)
{
	static const int prots[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE,
				     PROT_READ | PROT_EXEC };
	enum kind kind = ANONYMOUS + (unsigned)rand() % 3;
	unsigned file = (unsigned)rand() % FILES, file_page = (unsigned)rand() % (FILE_PAGES - count);
	int prot = prots[(unsigned)rand() % array_count(prots)];
	int flags =
		MAP_FIXED | (kind == FILE_SHARED ? MAP_SHARED : MAP_PRIVATE) | (kind == ANONYMOUS ? MAP_ANONYMOUS : 0);
	long result = sys_mmap(ARENA + at * PAGE_SIZE, count * PAGE_SIZE, prot, flags, file == DISK ? 3 : 4,
			       file_page * PAGE_SIZE);
	assert_int_equal(result, ARENA + at * PAGE_SIZE);
	for (unsigned i = 0; i < count; i++)
		model[at + i] =
			(struct model_page){ .kind = kind, .prot = prot, .file = file, .file_page = file_page + i };
}

static void step_protect(unsigned at, unsigned count)
{
	int prot = rand() % 3 ? PROT_READ | (rand() % 2 ? PROT_WRITE : 0) : PROT_NONE;
	long result = sys_mprotect(ARENA + at * PAGE_SIZE, count * PAGE_SIZE, prot);
	bool hole = false;
	for (unsigned i = 0; i < count; i++) {
		hole |= model[at + i].kind == HOLE;
		if (!hole)
			model[at + i].prot = prot;
	}
	assert_int_equal(result, hole ? -ENOMEM : 0);
}

static void step_store(unsigned at)
{
	struct model_page *p = &model[at];
	uint64_t *word, value = random_u64() | 1;
	int signal = fake_touch(mm, ARENA + at * PAGE_SIZE, true, &word);
	if (p->kind == HOLE || !(p->prot & PROT_WRITE)) {
		assert_int_equal(signal, SIGSEGV);
		return;
	}
	assert_int_equal(signal, 0);
	*word = value;
	if (p->kind == FILE_SHARED) {
		file_model[p->file][p->file_page] = value;
	} else {
		p->own = true;
		p->value = value;
	}
}

// Moves a run of alike pages; any other source is refused by rules of its own.
static void step_remap(unsigned at, unsigned count, unsigned to, unsigned new_count)
{
	if (at < to + new_count && to < at + count)
		return;
	for (unsigned i = 0; i < count; i++) {
		const struct model_page *p = &model[at + i], *first = &model[at];
		if (p->kind == HOLE || p->kind != first->kind || p->prot != first->prot)
			return;
		if (p->kind != ANONYMOUS && (p->file != first->file || p->file_page != first->file_page + i))
			return;
	}
	if (model[at].kind != ANONYMOUS && model[at].file_page + new_count > FILE_PAGES)
		return;
	long result = sys_mremap(ARENA + at * PAGE_SIZE, count * PAGE_SIZE, new_count * PAGE_SIZE,
				 MREMAP_MAYMOVE | MREMAP_FIXED, ARENA + to * PAGE_SIZE);
	assert_int_equal(result, ARENA + to * PAGE_SIZE);
	struct model_page moved[PAGES];
	for (unsigned i = 0; i < new_count; i++) {
		moved[i] = i < count ? model[at + i] : model[at];
		if (i >= count) {
			moved[i].own = false;
			moved[i].file_page = model[at].file_page + i;
		}
	}
	memset(&model[at], 0, count * sizeof(*model));
	memcpy(&model[to], moved, new_count * sizeof(*model));
}

static void step_discard(unsigned at, unsigned count)
{
	bool hole = false;
	long result = sys_madvise(ARENA + at * PAGE_SIZE, count * PAGE_SIZE, MADV_DONTNEED);
	for (unsigned i = 0; i < count; i++) {
		hole |= model[at + i].kind == HOLE;
		model[at + i].own = false;
	}
	assert_int_equal(result, hole ? -ENOMEM : 0);
}

static void step_fork(void)
{
	struct mm *child = mm_fork(mm, NULL);
	assert_false(is_err(child));
	assert_int_equal(child->total_pages, mm->total_pages);
	fake_switch(child);
	check_all(child);
	// Stores of the child's stay its own, except to shared memory.
	for (unsigned i = 0; i < PAGES; i++) {
		uint64_t *word;
		if (model[i].kind != FILE_SHARED && model[i].kind != HOLE && model[i].prot & PROT_WRITE) {
			assert_int_equal(fake_touch(child, ARENA + i * PAGE_SIZE, true, &word), 0);
			*word = 0xbad;
		}
	}
	fake_switch(mm);
	check_all(mm);
	fake_leave(child);
	mm_release_user(child);
	check_all(mm);
}

static void random_operations_agree_with_the_model(void **state)
{
	srand(7);
	for (unsigned i = 0; i < FILE_PAGES; i++)
		file_model[DISK][i] = file_words[i];
	for (unsigned step = 0; step < 12000; step++) {
		unsigned at = (unsigned)rand() % PAGES, count = 1 + (unsigned)rand() % 12;
		unsigned to = (unsigned)rand() % PAGES, new_count = 1 + (unsigned)rand() % 12;
		count = min(count, PAGES - at);
		new_count = min(new_count, PAGES - to);
		switch (rand() % 16) {
		case 0:
		case 1: step_map(at, count); break;
		case 2:
			assert_int_equal(sys_munmap(ARENA + at * PAGE_SIZE, count * PAGE_SIZE), 0);
			memset(&model[at], 0, count * sizeof(*model));
			break;
		case 3:
		case 4: step_protect(at, count); break;
		case 5:
		case 6: step_remap(at, count, to, new_count); break;
		case 7: step_discard(at, min(count, 3u)); break;
		case 8:
			if (rand() % 8 == 0)
				step_fork();
			break;
		case 9:
			if (rand() % 4 == 0)
				assert_int_equal(mobj_sync(&fake_inode.data, 0, UINT64_MAX, true), 0);
			break;
		case 10:
			if (rand() % 4 == 0)
				(void)reclaim_pages((uint64_t)rand() % 64, false, false);
			break;
		default: step_store(at); break;
		}
		check_page(mm, at);
		if (step % 50 == 0)
			check_all(mm);
	}
	check_all(mm);
	assert_int_equal(sys_munmap(ARENA, PAGES * PAGE_SIZE), 0);
	memset(model, 0, sizeof(model));
	assert_int_equal(mm->vma_count, 0);
	assert_int_equal(mobj_sync(&fake_inode.data, 0, UINT64_MAX, true), 0);
	for (unsigned i = 0; i < FILE_PAGES; i++)
		assert_int_equal(file_words[i], file_model[DISK][i]);
}

// ---- single questions ----

static long map(uint64_t address, uint64_t pages, int flags)
{
	return sys_mmap(address, pages * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

static void mmap_refuses_what_linux_refuses(void **state)
{
	assert_int_equal(map(0, 0, 0), -EINVAL);
	assert_int_equal(sys_mmap(0, PAGE_SIZE, PROT_READ, MAP_ANONYMOUS, -1, 0), -EINVAL);
	assert_int_equal(sys_mmap(0, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 5), -EINVAL);
	assert_int_equal(map(ARENA + 5, 1, MAP_FIXED), -EINVAL);
	assert_int_equal(map(0, 1, MAP_FIXED), -EPERM);
	assert_int_equal(sys_mmap(0, UINT64_MAX, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), -ENOMEM);
	assert_int_equal(map(ARENA, 1, MAP_FIXED_NOREPLACE), ARENA);
	assert_int_equal(map(ARENA, 1, MAP_FIXED_NOREPLACE), -EEXIST);
	assert_int_equal(sys_munmap(ARENA + 1, 1), -EINVAL);
	assert_int_equal(sys_munmap(ARENA, 0), -EINVAL);
	assert_int_equal(sys_munmap(ARENA, PAGE_SIZE), 0);
}

static void mappings_come_from_the_top_and_fill_gaps(void **state)
{
	long a = map(0, 4, 0), b = map(0, 4, 0), c = map(0, 4, 0);
	assert_int_equal(b, a - 4 * (long)PAGE_SIZE);
	assert_int_equal(c, b - 4 * (long)PAGE_SIZE);
	assert_int_equal(mm->vma_count, 1); // merged
	assert_int_equal(sys_munmap((uint64_t)b, 4 * PAGE_SIZE), 0);
	assert_int_equal(map(0, 5, 0), c - 5 * (long)PAGE_SIZE);
	assert_int_equal(map(0, 4, 0), b);
	assert_int_equal(sys_munmap((uint64_t)c - 5 * PAGE_SIZE, 17 * PAGE_SIZE), 0);
	assert_int_equal(map(0, 4, 0), a);
	assert_int_equal(sys_munmap((uint64_t)a, 4 * PAGE_SIZE), 0);
	assert_true(map(0, 4, MAP_32BIT) < 0x80000000);
	assert_int_equal(sys_munmap(0x40000000, 4 * PAGE_SIZE), 0);
	assert_int_equal(mm->vma_count, 0);
}

static void sequential_stores_take_fewer_faults(void **state)
{
	uint64_t *word;
	if (PORT_HOST)
		skip(); // the host's faults
	long at = map(0, 64, 0);
	uint64_t before = mm->resident_anon;
	assert_int_equal(fake_touch(mm, (uint64_t)at + 20 * PAGE_SIZE, true, &word), 0);
	assert_int_equal(mm->resident_anon - before, 1); // a lone store makes a lone page
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(fake_touch(mm, (uint64_t)at + i * PAGE_SIZE, true, &word), 0);
	assert_true(mm->resident_anon - before > 9);
	assert_int_equal(sys_munmap((uint64_t)at, 64 * PAGE_SIZE), 0);
	assert_int_equal(mm->resident_anon, before);
}

static void stacks_grow_to_their_limit(void **state)
{
	uint64_t *word;
	long top = map(ARENA + (UINT64_C(4) << 20), 2, MAP_FIXED | MAP_GROWSDOWN);
	assert_true(top > 0);
	assert_int_equal(fake_touch(mm, (uint64_t)top - 3 * PAGE_SIZE, true, &word), 0);
	assert_int_equal(fake_touch(mm, (uint64_t)top - (1 << 20) + 2 * PAGE_SIZE, true, &word), 0);
	assert_int_equal(fake_touch(mm, (uint64_t)top - (1 << 20) - PAGE_SIZE, true, &word), SIGSEGV);
	assert_int_equal(sys_munmap((uint64_t)top - (1 << 20), (1 << 20) + 2 * PAGE_SIZE), 0);
	assert_int_equal(mm->vma_count, 0);
}

static void beyond_the_end_of_a_file_is_sigbus(void **state)
{
	uint64_t *word;
	struct inode *inode = PORT_HOST ? &fake_memory_inode : &fake_inode;
	long at = sys_mmap(0, (FILE_PAGES + 2) * PAGE_SIZE, PROT_READ, MAP_SHARED, PORT_HOST ? 4 : 3, 0);
	assert_int_equal(fake_touch(mm, (uint64_t)at + (FILE_PAGES - 1) * PAGE_SIZE, false, &word), 0);
	assert_int_equal(fake_touch(mm, (uint64_t)at + FILE_PAGES * PAGE_SIZE, false, &word), SIGBUS);
	// Truncation takes pages away from under the mapping.
	inode->data.size_bytes = 3 * PAGE_SIZE + 100;
	mobj_truncate(&inode->data, 3 * PAGE_SIZE + 100, UINT64_MAX);
	assert_int_equal(fake_touch(mm, (uint64_t)at + 3 * PAGE_SIZE, false, &word), 0);
	assert_int_equal(fake_touch(mm, (uint64_t)at + 4 * PAGE_SIZE, false, &word), SIGBUS);
	inode->data.size_bytes = FILE_PAGES * PAGE_SIZE;
	assert_int_equal(fake_touch(mm, (uint64_t)at + 4 * PAGE_SIZE, false, &word), 0);
	assert_int_equal(sys_munmap((uint64_t)at, (FILE_PAGES + 2) * PAGE_SIZE), 0);
}

static void a_broken_disk_is_sigbus_and_eio(void **state)
{
	uint64_t *word;
	struct page *p;
	if (PORT_HOST)
		skip(); // the host's page cache
	mobj_truncate(&fake_inode.data, 0, UINT64_MAX);
	file_broken = true;
	long at = sys_mmap(0, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, 3, 0);
	assert_int_equal(fake_touch(mm, (uint64_t)at, false, &word), SIGBUS);
	assert_int_equal(mobj_get_page(&fake_inode.data, 0, true, &p), -EIO);
	file_broken = false;
	assert_int_equal(fake_touch(mm, (uint64_t)at, true, &word), 0);
	file_broken = true;
	assert_int_equal(sys_msync((uint64_t)at, PAGE_SIZE, MS_SYNC), -EIO);
	assert_int_equal(sys_msync((uint64_t)at, PAGE_SIZE, MS_SYNC), 0); // reported once
	file_broken = false;
	assert_int_equal(sys_munmap((uint64_t)at, PAGE_SIZE), 0);
}

static void stores_after_writeback_are_seen(void **state)
{
	uint64_t *word;
	long at = sys_mmap(0, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, 3, 0);
	for (uint64_t value = 1; value < 4; value++) {
		assert_int_equal(fake_touch(mm, (uint64_t)at, true, &word), 0);
		*word = value;
		assert_int_equal(sys_msync((uint64_t)at, PAGE_SIZE, MS_SYNC), 0);
		assert_int_equal(file_words[0], value);
	}
	assert_int_equal(sys_munmap((uint64_t)at, PAGE_SIZE), 0);
}

static void ptrace_writes_through_read_only_text(void **state)
{
	uint64_t *word, value = 0xcc;
	long at = sys_mmap(0, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE, 3, 5 * PAGE_SIZE);
	uint64_t disk = file_words[5];
	assert_int_equal(mm_access(mm, (uint64_t)at, &value, 8, true), 8);
	assert_int_equal(fake_touch(mm, (uint64_t)at, false, &word), 0);
	assert_int_equal(*word, 0xcc);
	value = 0;
	assert_int_equal(mm_access(mm, (uint64_t)at, &value, 8, false), 8);
	assert_int_equal(value, 0xcc);
	assert_int_equal(mm_access_checked(mm, (uint64_t)at, &value, 8, true), 0);
	assert_int_equal(sys_munmap((uint64_t)at, PAGE_SIZE), 0);
	assert_int_equal(mobj_sync(&fake_inode.data, 0, UINT64_MAX, true), 0);
	assert_int_equal(file_words[5], disk);
}

static void shared_anonymous_memory_survives_fork(void **state)
{
	uint64_t *word;
	struct page_stats before, s;
	page_stats_get(&before);
	long at = sys_mmap(0, 4 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_int_equal(fake_touch(mm, (uint64_t)at, true, &word), 0);
	*word = 1;
	struct mm *child = mm_fork(mm, NULL);
	fake_switch(child);
	assert_int_equal(fake_touch(child, (uint64_t)at, true, &word), 0);
	assert_int_equal(*word, 1);
	*word = 2;
	fake_switch(mm);
	fake_leave(child);
	mm_release_user(child);
	assert_int_equal(fake_touch(mm, (uint64_t)at, false, &word), 0);
	assert_int_equal(*word, 2);
	assert_int_equal(sys_munmap((uint64_t)at, 4 * PAGE_SIZE), 0);
	page_stats_get(&s);
	assert_int_equal(s.shmem_pages, before.shmem_pages);
}

static void locked_memory_has_a_limit(void **state)
{
	static struct cred nobody;
	fake_task.cred = &nobody;
	long at = map(0, 8, 0);
	fake_process.rlimits[RLIMIT_MEMLOCK].rlim_cur = 4 * PAGE_SIZE;
	assert_int_equal(sys_mlock((uint64_t)at, 4 * PAGE_SIZE), 0);
	assert_int_equal(mm->locked_pages, 4);
	assert_int_equal(sys_mlock((uint64_t)at, 5 * PAGE_SIZE), -ENOMEM);
	assert_int_equal(sys_madvise((uint64_t)at, PAGE_SIZE, MADV_DONTNEED), -EINVAL);
	assert_int_equal(sys_munlock((uint64_t)at, 8 * PAGE_SIZE), 0);
	assert_int_equal(mm->locked_pages, 0);
	fake_process.rlimits[RLIMIT_MEMLOCK].rlim_cur = 0;
	assert_int_equal(sys_mlock((uint64_t)at, PAGE_SIZE), -EPERM);
	assert_int_equal(sys_munmap((uint64_t)at, 8 * PAGE_SIZE), 0);
	assert_int_equal(mm->vma_count, 0);
}

static void brk_grows_and_shrinks(void **state)
{
	uint64_t *word, base = UINT64_C(0x555500000000);
	mm->brk_start = mm->brk_end = base;
	assert_int_equal(sys_brk(0), base);
	assert_int_equal(sys_brk(base + 10000), base + 10000);
	assert_int_equal(fake_touch(mm, base + 9999 / 8 * 8, true, &word), 0);
	assert_int_equal(fake_touch(mm, base + 3 * PAGE_SIZE, true, &word), SIGSEGV);
	assert_int_equal(sys_brk(base + 100), base + 100);
	assert_int_equal(fake_touch(mm, base + PAGE_SIZE, false, &word), SIGSEGV);
	assert_int_equal(map(base + 4 * PAGE_SIZE, 1, MAP_FIXED), base + 4 * PAGE_SIZE);
	assert_int_equal(sys_brk(base + 5 * PAGE_SIZE), base + 100);
	assert_int_equal(sys_munmap(base, 5 * PAGE_SIZE), 0);
}

static void nothing_is_left(void **state)
{
	struct page_stats s;
	if (PORT_HOST)
		mm_leave(mm, current);
	mm_release_user(mm);
	mobj_destroy(&fake_inode.data);
	mobj_destroy(&fake_memory_inode.data);
	page_drop_caches(true);
	page_stats_get(&s);
	assert_int_equal(s.cached_pages, 0);
	assert_int_equal(s.dirty_pages + s.writeback_pages, 0);
	assert_int_equal(s.anonymous_pages, 0);
	assert_int_equal(refcount_read(&fake_file.refs), 1);
	assert_int_equal(refcount_read(&fake_inode.refs), 1);
	struct slab_info info;
	for (unsigned i = 0; slab_info_get(i, &info); i++)
		assert_int_equal(info.objects_used, 0);
}

int main(void)
{
	fake_kernel_create();
	mm_init();
	fake_file_create();
	mm = mm_create();
	fake_task.mm = mm;
	if (mm_activate(mm))
		abort();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mmap_refuses_what_linux_refuses),
		cmocka_unit_test(mappings_come_from_the_top_and_fill_gaps),
		cmocka_unit_test(sequential_stores_take_fewer_faults),
		cmocka_unit_test(stacks_grow_to_their_limit),
		cmocka_unit_test(random_operations_agree_with_the_model),
		cmocka_unit_test(beyond_the_end_of_a_file_is_sigbus),
		cmocka_unit_test(a_broken_disk_is_sigbus_and_eio),
		cmocka_unit_test(stores_after_writeback_are_seen),
		cmocka_unit_test(ptrace_writes_through_read_only_text),
		cmocka_unit_test(shared_anonymous_memory_survives_fork),
		cmocka_unit_test(locked_memory_has_a_limit),
		cmocka_unit_test(brk_grows_and_shrinks),
		cmocka_unit_test(nothing_is_left),
	};
	return cmocka_run_group_tests_name("mm", tests, NULL, NULL);
}
