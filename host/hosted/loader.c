// SPDX-License-Identifier: Apache-2.0
// Sources: abi/hosted.h; memfd_create(2), mmap(2), rseq(2).
#include "hosted/loader.h"

#include "base/descriptors.h"
#include "base/tsc.h"
#include "hosted/filter.h"

#include <asm/hwcap2.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u // linux/memfd.h, since 6.3
#endif

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 // linux/mman.h, since 6.1
#endif

#define USER_TOP          UINT64_C(0x7ffffffff000)
#define SPREAD_BYTES      (UINT64_C(1) << 40)
#define FIXED_END         (USER_TOP - 2 * SPREAD_BYTES) // below what the host spreads a process's own mappings over
#define PLACES_MAX        100                           // tries
#define BOOT_STACK_BYTES  (UINT64_C(64) << 10)
#define BOOT_GUARD_BYTES  IMAGE_PAGE_BYTES // below the boot stack
#define HUGE_PAGE_BYTES   (UINT64_C(2) << 20)
#define STREAM_FDS_MAX    (HOSTED_STREAMS + HOSTED_CHANNELS_MAX + 2u)
// Room from the start in the table that all processes of the cell will share. The kernel alone keeps up to 1,024 files a grant open.
#define DESCRIPTORS_FIRST 4096u

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	_exit(LOADER_FAILED);
}

static bool has_fsgsbase(void) { return getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE; }

static uint64_t page_down(uint64_t v) { return v & ~(IMAGE_PAGE_BYTES - 1); }
static uint64_t page_up(uint64_t v) { return page_down(v + IMAGE_PAGE_BYTES - 1); }

// ---- the region ----

struct place {
	uint64_t base; // of the image
	uint64_t data_start, handoff, filter, record, stack_top, arena_start, arena_end, end;
};

static void plan(struct place *p, const struct loader_spec *s)
{
	const struct filter_bounds any = { .fsgsbase = has_fsgsbase() };
	struct sock_filter program[FILTER_MAX];
	uint64_t filter_bytes = filter_build(program, &any) * sizeof(*program);

	p->data_start = p->base + s->image->data_start;
	p->handoff = p->base + s->image->end;
	p->filter = p->handoff + ((sizeof(struct hosted_handoff) + 63) & ~UINT64_C(63));
	p->record = page_up(p->filter + filter_bytes);
	p->stack_top = page_up(p->record + s->record_size) + BOOT_GUARD_BYTES + BOOT_STACK_BYTES;
	p->arena_start = p->stack_top;
	p->arena_end = p->arena_start + page_up(s->arena_bytes);
	p->end = p->arena_end + HOSTED_OPEN_BYTES;
}

// The data begins where a huge page may (make_huge()).
static uint64_t choose_base(const struct loader_spec *s, uint64_t size, unsigned attempt)
{
	uint64_t random, base;

	if (s->no_aslr) {
		base = FIXED_END - size - attempt * (UINT64_C(1) << 32);
	} else {
		if (getrandom(&random, sizeof(random), 0) != sizeof(random))
			fail("cannot read random numbers");
		// Above it is room for the shadow of a debug kernel (port/hosted/asan.c).
		base = USER_TOP - size - size / 4 - random % SPREAD_BYTES;
	}
	return ((base + s->image->data_start) & ~(HUGE_PAGE_BYTES - 1)) - s->image->data_start;
}

static bool same_4g(uint64_t a, uint64_t b) { return a >> 32 == b >> 32; }

// Finds room for the whole region and reserves it.
static void reserve(struct place *p, const struct loader_spec *s)
{
	for (unsigned attempt = 0; attempt < PLACES_MAX; attempt++) {
		uint64_t size;
		void *got;

		p->base = 0;
		plan(p, s);
		size = p->end;
		p->base = choose_base(s, size, attempt);
		if (!same_4g(p->base + s->image->text_start, p->base + s->image->text_end))
			continue;
		plan(p, s);
		got = mmap((void *)p->base, size, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
		if (got == (void *)p->base)
			return;
		if (got != MAP_FAILED)
			munmap(got, size); // a host kernel that does not know MAP_FIXED_NOREPLACE
		else if (errno != EEXIST)
			fail("cannot reserve address space for the cell's memory");
	}
	errno = ENOMEM;
	fail("cannot find room for the cell's memory");
}

// Sealed, so that nobody can cut it off under those who have it mapped.
static int make_memory(uint64_t size)
{
	int fd = memfd_create("cell", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("cell", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || ftruncate(fd, (off_t)size))
		fail("cannot make the cell's memory");
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	return fd;
}

static void map_fixed(uint64_t start, uint64_t size, int prot, int flags, int fd, uint64_t offset)
{
	if (mmap((void *)start, size, prot, flags | MAP_FIXED, fd, (off_t)offset) != (void *)start)
		fail("cannot map the kernel");
}

// The host copies no page-table entries of file mappings at fork: a new process would fault the kernel in page by page. It does
// where a process may have pages of its own, which it has after one store.
static void map_read_only(const struct place *p, const struct loader_spec *s)
{
	for (unsigned i = 0; i < s->image->load_count; i++) {
		const struct image_load *l = &s->image->loads[i];
		uint64_t start = page_down(l->start), size;
		volatile char *at;

		if (l->writable)
			continue;
		size = page_up(l->start + l->size_bytes) - start;
		at = (volatile char *)(p->base + start);
		map_fixed(p->base + start, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, s->image_fd,
			  page_down(l->file_offset));
		*at = *at;
		if (mprotect((void *)(p->base + start), size, PROT_READ | (l->executable ? PROT_EXEC : 0)))
			fail("cannot protect the kernel");
	}
}

// What every process of the cell touches, the kernel's data and its first objects, becomes one page where the host makes huge ones:
// allocated at once, and with one page-table entry, which a new process faults in once. (Every page-table entry costs some 0.1 us at
// fork and exit.)
static bool make_huge(uint64_t start, uint64_t size)
{
	if (size < HUGE_PAGE_BYTES)
		return false;
	*(volatile char *)start = 0; // the host makes none of nothing
	return !madvise((void *)start, HUGE_PAGE_BYTES, MADV_COLLAPSE);
}

static void protect_relocated(const struct place *p, const struct image *im)
{
	uint64_t size = im->relro_end - im->relro_start;

	if (size && mprotect((void *)(p->base + im->relro_start), size, PROT_READ))
		fail("cannot protect the kernel's constants");
}

// ---- the hand-off ----

static uint32_t write_filter(const struct place *p, const struct image *im)
{
	const struct filter_bounds bounds = {
		.text_start = p->base + im->text_start,
		.text_end = p->base + im->text_end,
		.user_end = p->base,
		.fsgsbase = has_fsgsbase(),
	};
	struct sock_filter program[FILTER_MAX];
	uint32_t count = filter_build(program, &bounds);

	memcpy((void *)p->filter, program, count * sizeof(*program));
	return count;
}

static void fill_time(struct hosted_handoff *h, uint64_t tsc_hz)
{
	struct tsc_sample now;

	h->tsc_hz = tsc_hz;
	if (!tsc_hz)
		return;
	tsc_sample_take(&now, CLOCK_MONOTONIC);
	h->tsc_base = now.tsc;
	h->monotonic_ns = now.ns;
}

static struct hosted_handoff *write_handoff(const struct place *p, const struct loader_spec *s)
{
	struct hosted_handoff *h = (void *)p->handoff;
	const struct image *im = s->image;

	*h = (struct hosted_handoff){
		.magic = HOSTED_MAGIC,
		.version = HOSTED_VERSION,
		.size_bytes = sizeof(*h),
		.image_start = p->base,
		.text_start = p->base + im->text_start,
		.text_end = p->base + im->text_end,
		.data_start = p->data_start,
		.image_end = p->base + im->end,
		.arena_start = p->arena_start,
		.arena_end = p->arena_end,
		.boot_stack_top = p->stack_top,
		.record_start = p->record,
		.record_size_bytes = s->record_size,
		.filter_start = p->filter,
		.filter_count = write_filter(p, im),
		.channel_count = s->channel_count,
		.flags = s->flags,
		.cpu_count = s->cpu_count,
		.hwcap = getauxval(AT_HWCAP),
		.hwcap2 = getauxval(AT_HWCAP2),
	};
	if (has_fsgsbase())
		h->flags |= HOSTED_FLAG_FSGSBASE;
	memcpy(h->cpus, s->cpus, sizeof(h->cpus));
	memcpy((void *)p->record, s->record, s->record_size);
	return h;
}

// ---- descriptors ----

struct move {
	int from;
	int32_t *number; // where the hand-off names it
};

// Everything the kernel is given gets the lowest numbers; everything else is closed.
static void hand_over_descriptors(struct hosted_handoff *h, const struct loader_spec *s, int memory_fd)
{
	struct move moves[STREAM_FDS_MAX];
	int count = 0;

	for (unsigned i = 0; i < HOSTED_STREAMS; i++)
		moves[count++] = (struct move){ s->streams[i], &h->streams[i] };
	for (unsigned i = 0; i < HOSTED_CHANNELS_MAX; i++)
		moves[count++] = (struct move){ i < s->channel_count ? s->channels[i] : -1, &h->channels[i] };
	moves[count++] = (struct move){ s->events, &h->events };
	moves[count++] = (struct move){ memory_fd, &h->memory_fd };
	// Out of the way of the low numbers first.
	for (int i = 0; i < count; i++) {
		if (moves[i].from >= 0)
			moves[i].from = fcntl(moves[i].from, F_DUPFD, count + 3);
		if (moves[i].from < 0)
			*moves[i].number = -1;
	}
	for (int i = 0, next = 0; i < count; i++)
		if (moves[i].from >= 0)
			*moves[i].number = dup2(moves[i].from, next++);
	for (int i = count - 1, used = 0; i >= 0; i--) {
		used += moves[i].from >= 0;
		if (!i)
			close_range((unsigned)used, ~0u, 0);
	}
}

// ---- the jump ----

// What the host kernel keeps writing into or reading from memory that will soon be something else.
static void forget_libc(void)
{
	unsigned sizes[] = { 32, __rseq_size };

	for (unsigned i = 0; __rseq_size && i < 2; i++)
		if (!syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset, sizes[i],
			     RSEQ_FLAG_UNREGISTER, RSEQ_SIG))
			break;
	syscall(SYS_set_robust_list, NULL, 24);
	syscall(SYS_set_tid_address, NULL);
}

static void settle_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	sigaltstack(&(stack_t){ .ss_flags = SS_DISABLE }, NULL);
}

static _Noreturn void jump(uint64_t entry, uint64_t stack_top, const struct hosted_handoff *h)
{
	__asm__ volatile("movq %[stack], %%rsp\n\t"
			 "xorl %%ebp, %%ebp\n\t"
			 "cld\n\t"
			 "jmpq *%[entry]"
			 :
			 : [stack] "r"(stack_top), [entry] "r"(entry), "D"(h)
			 : "memory");
	__builtin_unreachable();
}

_Noreturn void loader_enter(const struct loader_spec *s)
{
	struct hosted_handoff *h;
	struct place p;
	uint64_t size;
	int memory;
	bool huge;

	reserve(&p, s);
	size = p.end - p.data_start;
	memory = make_memory(size);
	map_read_only(&p, s);
	map_fixed(p.data_start, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory, 0);
	huge = make_huge(p.data_start, size);
	image_fill_data(s->image, p.base, (unsigned char *)p.data_start);
	h = write_handoff(&p, s);
	h->flags |= huge ? HOSTED_FLAG_HUGE_DATA : 0;
	protect_relocated(&p, s->image);
	hand_over_descriptors(h, s, memory);
	descriptors_widen(0, DESCRIPTORS_FIRST);
	settle_signals();
	forget_libc();
	if (s->stop)
		syscall(SYS_kill, getpid(), SIGSTOP);
	fill_time(h, s->tsc_hz);
	jump(p.base + s->image->entry, p.stack_top, h);
}
