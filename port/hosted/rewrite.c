// SPDX-License-Identifier: Apache-2.0
// System calls without the host. A call site that site.c knows becomes, once it has trapped REWRITE_AFTER times, a jump to a stub;
// its `syscall` instruction stays where it is, for whoever jumps right there, and traps. With the usual
//
//	b8 nr nr nr nr   mov  $nr, %eax		e9 .. .. .. ..   jmp  stub
//	0f 05            syscall		0f 05            syscall
//
// The bytes that change are one instruction before and one after, so nobody can be in their middle. Where they lie in one aligned
// word they change by one store; else, when other threads run, a breakpoint stands in their place until the rest is written, and
// who runs into it tries again. Only text that the program cannot write, mapped privately from a file, is touched; the host
// copies the page.
//
// A stub is 64 bytes in a page that lies within reach of the site. The page is a frame of the kernel's, mapped read-execute in
// the program, so stubs are written where the kernel has it, without changing any protection, and a forked child has them too. Its
// first eight bytes are the address of the kernel's entry (pkeys.h); the first 64 are no stub.
//
//	prefix                                       what the site did before its `syscall`, up to 22 bytes
//	48 8d 0d .. .. .. ..     lea  next(%rip), %rcx	next: behind the site's `syscall`, as that leaves it
//	ff 25 .. .. .. ..        jmp  *page(%rip)	the kernel's entry
//	prefix                                       STUB_SLOW: the way when the program has set GS
//	0f 05                    syscall
//	e9 .. .. .. ..           jmp  next
//
// The program clears the way to its own GS by hosted_rewrite_forbid(): each stub's first eight bytes become a jump to the slow way, by
// one store.
//
// What only children do, such as their exit, each of them would rewrite for itself alone. So they tell where they trap (struct site_news),
// and whoever forks next rewrites it before.
//
// A program that maps over a page of stubs (port_code_page_leave()) gets the sites that jump there back as they were; those that
// still trap often enough are rewritten anew.
//
// Registers: the program sees what `syscall` leaves: RCX the address of the next instruction, R11 the flags, nothing else changed.
#include "rewrite.h"

#include "aspace.h"
#include "kernel/upcall.h"
#include "layout.h"
#include "lib/asan.h"
#include "lib/compiler.h"
#include "lib/string.h"
#include "pkeys.h"
#include "port/host.h"
#include "site.h"
#include "syscall.h"
#include "task.h"

#include <asm/errno.h>
#include <linux/membarrier.h>
#include <linux/mman.h>

#define REWRITE_AFTER 4u
#define STUB_BYTES    64u
#define STUB_SLOW     35u
#define STUBS_A_PAGE  ((unsigned)(PAGE_BYTES / STUB_BYTES))
#define REACH         (UINT64_C(1) << 30)
#define BREAKPOINT    0xccu

static_assert(SITE_PREFIX_MAX + 7 + 6 <= STUB_SLOW && STUB_SLOW + SITE_PREFIX_MAX + 2 + 5 <= STUB_BYTES,
	      "a stub's parts");

// One page of stubs; shared by a process and what it forked.
struct stub_page {
	struct stub_page *next; // of this address space
	uint64_t va;
	struct stub_frame *frame;
};

// A site that jumps to a stub: what stood there.
struct stub_site {
	uint64_t at, pad;
	uint8_t length, bytes[SITE_JUMP_BYTES], pad_bytes[SITE_JUMP_BYTES];
};

struct stub_frame {
	uint32_t refs; // atomic
	uint32_t used; // atomic: stubs taken, the first 64 bytes included
	uint8_t *bytes;
	struct stub_site sites[STUBS_A_PAGE]; // by stub; whoever took it writes
};

#define NEWS_COUNT     32u
#define NEWS_NR_BITS   16u
#define NEWS_KEY(s, n) ((s) << NEWS_NR_BITS | (n))

// Sites that trapped, of a process and all that are its descendants by fork(2) alone: the same text is in the same place in all of them,
// unless they mapped something else since.
struct site_news {
	uint32_t refs; // atomic
	uint32_t hot;  // atomic: bits of entries with REWRITE_AFTER traps
	struct {
		uint64_t key;   // atomic: NEWS_KEY(address, number); 0: free, and so are all that follow
		uint32_t traps; // atomic
	} entries[NEWS_COUNT];
};

// ---- stubs ----

static void put32(uint8_t *at, int64_t value)
{
	int32_t v = (int32_t)value;
	memcpy(at, &v, sizeof(v));
}

static bool stub_write(uint8_t *at, uint64_t va, const struct call_site *c, uint64_t next)
{
	unsigned n = c->prefix_bytes;

	if (!hosted_site_relocate(c, va, at))
		return false;
	at[n] = 0x48, at[n + 1] = 0x8d, at[n + 2] = 0x0d;
	put32(at + n + 3, (int64_t)(next - (va + n + 7)));
	at[n + 7] = 0xff, at[n + 8] = 0x25;
	put32(at + n + 9, -(int64_t)(va % PAGE_BYTES + n + 13));
	at += STUB_SLOW;
	va += STUB_SLOW;
	if (!hosted_site_relocate(c, va, at))
		return false;
	at[n] = 0x0f, at[n + 1] = 0x05;
	at[n + 2] = 0xe9;
	put32(at + n + 3, (int64_t)(next - (va + n + 7)));
	return true;
}

static bool in_reach(uint64_t a, uint64_t b) { return (a > b ? a - b : b - a) < REACH; }

static struct stub_page *page_new(struct rewriting *w, uint64_t site)
{
	struct stub_page *s = kernel_upcall_alloc(sizeof(*s));
	struct stub_frame *f = kernel_upcall_alloc(sizeof(*f));
	uint8_t *bytes = kernel_upcall_page_alloc();
	uint64_t va = s && f && bytes ? kernel_upcall_code_page(site, REACH) : 0;

	if (va && HOST(mmap, va, PAGE_BYTES, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, hosted.memory_fd,
		       port_frame_of(bytes)) == (long)va) {
		memset(f, 0, sizeof(*f));
		f->refs = 1;
		f->used = 1;
		f->bytes = bytes;
		memcpy(bytes, &hosted_ways->entry, sizeof(hosted_ways->entry));
		*s = (struct stub_page){ w->stubs, va, f };
		w->stubs = s;
		return s;
	}
	if (bytes)
		kernel_upcall_page_free(bytes);
	kernel_upcall_free(f);
	kernel_upcall_free(s);
	return NULL;
}

// A fresh stub within reach of `site`: its address for the program; 0: none to be had.
static uint64_t stub_take(struct rewriting *w, uint64_t site, struct stub_frame **frame)
{
	struct stub_page *s = w->stubs;
	uint32_t index = STUBS_A_PAGE;

	for (; s; s = s->next) {
		if (!in_reach(s->va, site))
			continue;
		index = __atomic_load_n(&s->frame->used, __ATOMIC_RELAXED);
		if (index < STUBS_A_PAGE)
			index = __atomic_fetch_add(&s->frame->used, 1, __ATOMIC_RELAXED);
		if (index < STUBS_A_PAGE)
			break;
	}
	if (!s) {
		s = page_new(w, site);
		if (!s)
			return 0;
		index = __atomic_fetch_add(&s->frame->used, 1, __ATOMIC_RELAXED);
	}
	*frame = s->frame;
	return s->va + index * STUB_BYTES;
}

// ---- sites ----

// Every thread of the process executes what memory holds now.
static void serialise(void) { (void)HOST(membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0); }

static void serialise_register(struct rewriting *w)
{
	if (!w->registered)
		(void)HOST(membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
	w->registered = true;
}

void hosted_rewrite_threads_begin(struct port_aspace *as) { serialise_register(&as->rewriting); }

// Replaces an instruction of up to eight bytes. Its page is writable and executable.
static asan_exempt void instruction_write(struct rewriting *w, uint64_t at, const uint8_t *bytes, unsigned length,
					  bool alone)
{
	uint64_t word = at & ~UINT64_C(7), value;
	uint8_t *code = (uint8_t *)at;

	if (at + length <= word + 8) {
		value = *(uint64_t *)word;
		memcpy((uint8_t *)&value + (at - word), bytes, length);
		__atomic_store_n((uint64_t *)word, value, __ATOMIC_SEQ_CST);
		return;
	}
	if (alone) {
		(void)port_copy_out(at, bytes, length);
		return;
	}
	serialise_register(w);
	w->broke = true;
	__atomic_store_n(&w->busy, at, __ATOMIC_SEQ_CST);
	__atomic_store_n(code, BREAKPOINT, __ATOMIC_SEQ_CST);
	serialise();
	(void)port_copy_out(at + 1, bytes + 1, length - 1);
	serialise();
	__atomic_store_n(code, bytes[0], __ATOMIC_SEQ_CST);
	serialise();
	// QEMU's emulation misses a store while it translates the same place for another CPU, and would run the breakpoint it read for
	// ever. By now it is done with that, and the byte once more makes it forget what it has translated.
	__atomic_store_n(code, bytes[0], __ATOMIC_SEQ_CST);
	__atomic_store_n(&w->busy, 0, __ATOMIC_SEQ_CST);
}

// The bytes that change lie in [first, end). pad: 0, or where the second jump stands.
static uint64_t site_first(uint64_t at, uint64_t pad) { return pad && pad < at ? pad : at; }
static uint64_t site_end(uint64_t at, uint64_t pad) { return (pad > at ? pad : at) + SITE_JUMP_BYTES; }

struct change {
	struct port_aspace *as;
	const struct call_site *site;
	uint64_t stub;
};

// No mapping changes meanwhile, and nothing forks: a child must not find the breakpoint.
static void change(void *context)
{
	const struct change *c = context;
	const struct call_site *s = c->site;
	struct rewriting *w = &c->as->rewriting;
	bool padded = s->length == SITE_SHORT_BYTES, alone = __atomic_load_n(&c->as->threads, __ATOMIC_ACQUIRE) == 1;
	uint64_t long_at = padded ? s->pad : s->at;
	uint64_t start = site_first(s->at, s->pad) & ~(PAGE_BYTES - 1);
	uint64_t end = (site_end(s->at, s->pad) + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	uint8_t jump[SITE_JUMP_BYTES] = { 0xe9 };

	put32(jump + 1, (int64_t)(c->stub - (long_at + SITE_JUMP_BYTES)));
	if (HOST(mprotect, start, end - start, PROT_READ | PROT_WRITE | PROT_EXEC))
		return;
	if (padded) { // nobody comes there before the short jump does
		(void)port_copy_out(s->pad, jump, sizeof(jump));
		jump[0] = 0xeb;
		jump[1] = (uint8_t)(s->pad - (s->at + SITE_SHORT_BYTES));
	}
	instruction_write(w, s->at, jump, s->length, alone);
	(void)HOST(mprotect, start, end - start, PROT_READ | PROT_EXEC);
}

// Reads what can be read of [from, from + size), all of which matters little.
static size_t look(uint8_t *to, uint64_t from, size_t size)
{
	size_t page = PAGE_BYTES - from % PAGE_BYTES;
	if (!port_copy_in(to, from, size))
		return size;
	return page < size && !port_copy_in(to, from, page) ? page : 0;
}

static bool find(struct call_site *out, uint64_t site, uint32_t nr)
{
	uint8_t before[SITE_WINDOW_BYTES], after[SITE_WINDOW_BYTES];
	size_t back = SITE_WINDOW_BYTES, behind;

	if (port_copy_in(before, site - back, back)) {
		back = site % PAGE_BYTES; // the page before is not the program's to read
		if (!back || back > sizeof(before) || port_copy_in(before, site - back, back))
			return false;
	}
	behind = look(after, site + 2, sizeof(after));
	return hosted_site_find(out, before, back, after, behind, site, nr);
}

static void rewrite_locked(struct port_aspace *as, uint32_t nr, uint64_t site)
{
	struct call_site s;
	struct change c = { as, &s, 0 };
	struct stub_frame *frame;

	if (!find(&s, site, nr))
		return;
	c.stub = stub_take(&as->rewriting, site, &frame);
	if (!c.stub || !stub_write(frame->bytes + c.stub % PAGE_BYTES, c.stub, &s, site + 2))
		return;
	struct stub_site *kept = &frame->sites[c.stub % PAGE_BYTES / STUB_BYTES];
	*kept = (struct stub_site){ .at = s.at, .pad = s.pad, .length = s.length };
	memcpy(kept->bytes, s.prefix, s.length);
	if (s.pad && port_copy_in(kept->pad_bytes, s.pad, sizeof(kept->pad_bytes)))
		return;
	(void)kernel_upcall_code_change(site_first(s.at, s.pad), site_end(s.at, s.pad) - site_first(s.at, s.pad),
					change, &c);
}

static void news_tell(struct site_news *news, uint64_t site, uint64_t nr)
{
	uint64_t key = NEWS_KEY(site, nr);

	for (unsigned i = 0; i < NEWS_COUNT; i++) {
		uint64_t seen = __atomic_load_n(&news->entries[i].key, __ATOMIC_RELAXED);
		if (!seen && __atomic_compare_exchange_n(&news->entries[i].key, &seen, key, false, __ATOMIC_RELAXED,
							 __ATOMIC_RELAXED))
			seen = key;
		if (seen != key)
			continue;
		if (__atomic_add_fetch(&news->entries[i].traps, 1, __ATOMIC_RELAXED) == REWRITE_AFTER)
			__atomic_fetch_or(&news->hot, 1u << i, __ATOMIC_RELEASE);
		return;
	}
}

void hosted_rewrite(const struct user_regs *r, uint64_t site)
{
	struct port_aspace *as = current_port()->aspace;
	struct rewriting *w = &as->rewriting;
	uint8_t *traps = &w->traps[(site ^ site >> 10) % REWRITE_COUNTERS];
	struct site_news *news = __atomic_load_n(&w->news, __ATOMIC_ACQUIRE);

	if (news && r->orig_ax < 1u << NEWS_NR_BITS)
		news_tell(news, site, r->orig_ax);
	if (likely(++*traps != REWRITE_AFTER) || site < SITE_WINDOW_BYTES)
		return;
	if (__atomic_load_n(&w->forbidden, __ATOMIC_RELAXED) || __atomic_exchange_n(&w->lock, 1, __ATOMIC_ACQUIRE))
		return;
	rewrite_locked(as, (uint32_t)r->orig_ax, site);
	__atomic_store_n(&w->lock, 0, __ATOMIC_RELEASE);
}

// The child's site may be something else here: then it is another instruction, or text that stays as it is.
static void news_use(struct port_aspace *as, uint64_t key)
{
	static const uint8_t syscall[] = { 0x0f, 0x05 };
	uint64_t site = key >> NEWS_NR_BITS;
	uint8_t now[sizeof(syscall)];

	if (site >= SITE_WINDOW_BYTES && !port_copy_in(now, site, sizeof(now)) && !memcmp(now, syscall, sizeof(now)))
		rewrite_locked(as, (uint32_t)(key & ((1u << NEWS_NR_BITS) - 1)), site);
}

void hosted_rewrite_news(void)
{
	struct port_aspace *as = current_port()->aspace;
	struct rewriting *w = as ? &as->rewriting : NULL;
	struct site_news *news = w ? __atomic_load_n(&w->news, __ATOMIC_ACQUIRE) : NULL;

	if (likely(!news || !(__atomic_load_n(&news->hot, __ATOMIC_RELAXED) & ~w->news_known)))
		return;
	if (__atomic_load_n(&w->forbidden, __ATOMIC_RELAXED) || __atomic_exchange_n(&w->lock, 1, __ATOMIC_ACQUIRE))
		return;
	for (uint32_t hot = __atomic_load_n(&news->hot, __ATOMIC_ACQUIRE) & ~w->news_known; hot; hot &= hot - 1) {
		news_use(as, __atomic_load_n(&news->entries[__builtin_ctz(hot)].key, __ATOMIC_RELAXED));
		w->news_known |= hot & -hot;
	}
	__atomic_store_n(&w->lock, 0, __ATOMIC_RELEASE);
}

bool hosted_rewrite_retry(struct user_regs *r)
{
	struct port_aspace *as = current_port()->aspace;
	uint8_t now;

	if (!as || !as->rewriting.broke)
		return false;
	// Ours still, or written over since the trap. In this order: the last byte is written before the place is no longer busy.
	bool busy = __atomic_load_n(&as->rewriting.busy, __ATOMIC_SEQ_CST) == r->ip - 1;
	if (port_copy_in(&now, r->ip - 1, 1) || (now == BREAKPOINT && !busy))
		return false;
	if (now != BREAKPOINT && now != 0xe9 && now != 0xeb && !hosted_site_may_start(now))
		return false;
	r->ip--;
	return true;
}

// ---- the program's own GS ----

void hosted_rewrite_forbid(void)
{
	struct port_aspace *as = current_port()->aspace;
	struct rewriting *w = &as->rewriting;
	// jmp over the rest of the fast way
	const uint8_t jump[8] = { 0xeb, STUB_SLOW - 2, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc };
	uint64_t word;

	if (__atomic_exchange_n(&w->forbidden, 1, __ATOMIC_SEQ_CST))
		return;
	memcpy(&word, jump, sizeof(word));
	while (__atomic_exchange_n(&w->lock, 1, __ATOMIC_ACQUIRE))
		port_task_yield();
	for (struct stub_page *s = w->stubs; s; s = s->next)
		for (unsigned i = 1; i < STUBS_A_PAGE; i++)
			__atomic_store_n((uint64_t *)(s->frame->bytes + i * STUB_BYTES), word, __ATOMIC_SEQ_CST);
	serialise_register(w);
	serialise();
	__atomic_store_n(&w->lock, 0, __ATOMIC_RELEASE);
}

// ---- somebody else's page ----

struct restoring {
	struct port_aspace *as;
	const struct stub_site *site;
	uint64_t stub;
};

static bool reads_as(uint64_t at, const uint8_t *bytes, size_t size)
{
	uint8_t now[SITE_JUMP_BYTES];

	return !port_copy_in(now, at, size) && !memcmp(now, bytes, size);
}

// Under kernel_upcall_code_change(). The program may have mapped something else there since.
static void restore(void *context)
{
	const struct restoring *c = context;
	const struct stub_site *s = c->site;
	bool padded = s->length == SITE_SHORT_BYTES, alone = __atomic_load_n(&c->as->threads, __ATOMIC_ACQUIRE) == 1;
	uint64_t start = site_first(s->at, s->pad) & ~(PAGE_BYTES - 1);
	uint64_t end = (site_end(s->at, s->pad) + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	uint8_t jump[SITE_JUMP_BYTES] = { 0xe9 };
	const uint8_t way[SITE_SHORT_BYTES] = { 0xeb, (uint8_t)(s->pad - (s->at + SITE_SHORT_BYTES)) };

	put32(jump + 1, (int64_t)(c->stub - ((padded ? s->pad : s->at) + SITE_JUMP_BYTES)));
	if (padded && !reads_as(s->at, way, sizeof(way)))
		return;
	if (!reads_as(padded ? s->pad : s->at, jump, sizeof(jump)))
		return;
	if (HOST(mprotect, start, end - start, PROT_READ | PROT_WRITE | PROT_EXEC))
		return;
	instruction_write(&c->as->rewriting, s->at, s->bytes, s->length, alone);
	if (padded && alone) // another thread may be on its way there
		(void)port_copy_out(s->pad, s->pad_bytes, sizeof(s->pad_bytes));
	(void)HOST(mprotect, start, end - start, PROT_READ | PROT_EXEC);
}

static void frame_put(struct stub_frame *f)
{
	if (__atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL))
		return;
	kernel_upcall_page_free(f->bytes);
	kernel_upcall_free(f);
}

// Whoever holds the lock may want mm.lock, which the caller has.
int port_code_page_leave(struct port_aspace *as, uint64_t va)
{
	struct rewriting *w = &as->rewriting;
	int error = -ENOMEM;

	if (__atomic_exchange_n(&w->lock, 1, __ATOMIC_ACQUIRE))
		return -EAGAIN;
	struct stub_page **link = &w->stubs, *s;
	while ((s = *link) && s->va != va)
		link = &s->next;
	if (s) {
		for (unsigned i = 1; i < STUBS_A_PAGE; i++) {
			struct restoring c = { as, &s->frame->sites[i], va + i * STUB_BYTES };
			if (c.site->at)
				(void)kernel_upcall_code_change(site_first(c.site->at, c.site->pad),
								site_end(c.site->at, c.site->pad) -
									site_first(c.site->at, c.site->pad),
								restore, &c);
		}
		memset(w->traps, 0, sizeof(w->traps));
		(void)HOST(munmap, va, PAGE_BYTES);
		*link = s->next;
		frame_put(s->frame);
		kernel_upcall_free(s);
		error = 0;
	}
	__atomic_store_n(&w->lock, 0, __ATOMIC_RELEASE);
	return error;
}

// ---- fork, and the end ----

// Nobody else forks the parent meanwhile. Without memory there are no news.
static void news_share(struct rewriting *child, struct rewriting *parent)
{
	struct site_news *news = parent->news;

	if (!news) {
		news = kernel_upcall_alloc(sizeof(*news));
		if (!news)
			return;
		*news = (struct site_news){ .refs = 1 };
		__atomic_store_n(&parent->news, news, __ATOMIC_RELEASE);
	}
	__atomic_fetch_add(&news->refs, 1, __ATOMIC_RELAXED);
	child->news_known = parent->news_known;
	__atomic_store_n(&child->news, news, __ATOMIC_RELEASE);
}

static void news_put(struct site_news *news)
{
	if (news && !__atomic_sub_fetch(&news->refs, 1, __ATOMIC_ACQ_REL))
		kernel_upcall_free(news);
}

void hosted_rewrite_inherit(struct rewriting *child, struct rewriting *parent)
{
	child->forbidden = parent->forbidden;
	news_share(child, parent);
	for (struct stub_page *s = parent->stubs; s; s = s->next) {
		struct stub_page *copy = kernel_upcall_alloc(sizeof(*copy));
		__atomic_fetch_add(&s->frame->refs, 1,
				   __ATOMIC_RELAXED); // without a copy for good: the child's sites jump there
		if (!copy)
			continue;
		*copy = (struct stub_page){ child->stubs, s->va, s->frame };
		child->stubs = copy;
	}
}

void hosted_rewrite_destroy(struct rewriting *w)
{
	for (struct stub_page *s = w->stubs, *next; s; s = next) {
		next = s->next;
		frame_put(s->frame);
		kernel_upcall_free(s);
	}
	w->stubs = NULL;
	news_put(w->news);
}
