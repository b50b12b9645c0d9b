// SPDX-License-Identifier: Apache-2.0
// System calls without the host. The usual call site of C libraries is
//
//	b8 nr nr nr nr   mov  $nr, %eax
//	0f 05            syscall
//
// and becomes, once it has trapped REWRITE_AFTER times,
//
//	e9 .. .. .. ..   jmp  stub
//	0f 05            syscall            still a system call, for whoever jumps right here; it traps
//
// The five bytes that change are one instruction before and one after, so nobody can be in their middle. Where they lie in one aligned
// word they change by one store; else, when other threads run, a breakpoint stands in their place until the rest is written, and
// who runs into it tries again. Only text that the program cannot write, mapped privately from a file, is touched; the host
// copies the page.
//
// A stub is 32 bytes in a page that lies within reach of the site. The page is a frame of the kernel's, mapped read-execute in
// the program, so stubs are written where the kernel has it, without changing any protection, and a forked child has them too:
//
//	b8 nr nr nr nr           mov  $nr, %eax
//	48 8d 0d .. .. .. ..     lea  site+2(%rip), %rcx     as `syscall` leaves it
//	65 ff 24 25 28 00 00 00  jmp  *%gs:entry             hosted_entry_fast
//	b8 nr nr nr nr           mov  $nr, %eax              offset 20: the slow way, when the program has set GS
//	0f 05                    syscall
//	e9 .. .. .. ..           jmp  site+2
//
// The program clears the way to its own GS by hosted_rewrite_forbid(): each stub's first eight bytes become a jump to the slow way, by
// one store.
//
// Registers: the program sees what `syscall` leaves: RCX the address of the next instruction, R11 the flags, nothing else changed.
#include "rewrite.h"

#include "aspace.h"
#include "kernel/upcall.h"
#include "layout.h"
#include "lib/compiler.h"
#include "lib/string.h"
#include "port/host.h"
#include "syscall.h"
#include "task.h"

#include <linux/membarrier.h>
#include <linux/mman.h>

#define REWRITE_AFTER 4u
#define SITE_BYTES    5u // before the `syscall` instruction
#define STUB_BYTES    32u
#define STUB_SLOW     20u
#define STUBS_A_PAGE  ((unsigned)(PAGE_BYTES / STUB_BYTES))
#define REACH         (UINT64_C(1) << 30)
#define BREAKPOINT    0xccu

// One page of stubs; shared by a process and what it forked.
struct stub_page {
	struct stub_page *next; // of this address space
	uint64_t va;
	struct stub_frame *frame;
};

struct stub_frame {
	uint32_t refs; // atomic
	uint32_t used; // atomic: stubs taken
	uint8_t *bytes;
};

static_assert(offsetof(struct port_task, entry) == 40, "in the stubs' jump");

// ---- stubs ----

static void put32(uint8_t *at, int64_t value)
{
	int32_t v = (int32_t)value;
	memcpy(at, &v, sizeof(v));
}

static void stub_write(uint8_t *at, uint64_t va, uint32_t nr, uint64_t next)
{
	static const uint8_t jump_to_entry[8] = { 0x65, 0xff, 0x24, 0x25, 40, 0, 0, 0 };

	at[0] = 0xb8;
	memcpy(at + 1, &nr, sizeof(nr));
	at[5] = 0x48, at[6] = 0x8d, at[7] = 0x0d;
	put32(at + 8, (int64_t)(next - (va + 12)));
	memcpy(at + 12, jump_to_entry, sizeof(jump_to_entry));
	at[20] = 0xb8;
	memcpy(at + 21, &nr, sizeof(nr));
	at[25] = 0x0f, at[26] = 0x05;
	at[27] = 0xe9;
	put32(at + 28, (int64_t)(next - (va + 32)));
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
		*f = (struct stub_frame){ .refs = 1, .bytes = bytes };
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
static uint64_t stub_take(struct rewriting *w, uint64_t site, uint8_t **bytes)
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
	*bytes = s->frame->bytes + index * STUB_BYTES;
	return s->va + index * STUB_BYTES;
}

// ---- sites ----

// Every thread of the process executes what memory holds now.
static void serialise(void) { (void)HOST(membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0); }

static void serialise_register(struct rewriting *w)
{
	if (!w->registered)
		(void)HOST(membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
	__atomic_store_n(&w->registered, true, __ATOMIC_SEQ_CST);
}

// The page is writable and executable.
static void site_write(struct rewriting *w, uint64_t at, uint64_t stub, bool alone)
{
	uint8_t jump[SITE_BYTES] = { 0xe9 };
	uint64_t word = at & ~UINT64_C(7), bytes;
	uint8_t *code = (uint8_t *)at;

	put32(jump + 1, (int64_t)(stub - (at + SITE_BYTES)));
	if (at + SITE_BYTES <= word + 8) {
		memcpy(&bytes, (void *)word, sizeof(bytes));
		memcpy((uint8_t *)&bytes + (at - word), jump, SITE_BYTES);
		__atomic_store_n((uint64_t *)word, bytes, __ATOMIC_SEQ_CST);
		return;
	}
	if (alone) {
		memcpy(code, jump, SITE_BYTES);
		return;
	}
	serialise_register(w);
	__atomic_store_n(&w->busy, at, __ATOMIC_SEQ_CST);
	__atomic_store_n(code, BREAKPOINT, __ATOMIC_SEQ_CST);
	serialise();
	memcpy(code + 1, jump + 1, SITE_BYTES - 1);
	serialise();
	__atomic_store_n(code, jump[0], __ATOMIC_SEQ_CST);
	serialise();
	__atomic_store_n(&w->busy, 0, __ATOMIC_SEQ_CST);
}

struct change {
	struct port_aspace *as;
	uint64_t site, stub;
};

// No mapping changes meanwhile, and nothing forks: a child must not find the breakpoint.
static void change(void *context)
{
	const struct change *c = context;
	uint64_t at = c->site - SITE_BYTES, start = at & ~(PAGE_BYTES - 1);
	uint64_t end = (c->site + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);

	if (HOST(mprotect, start, end - start, PROT_READ | PROT_WRITE | PROT_EXEC))
		return;
	site_write(&c->as->rewriting, at, c->stub, __atomic_load_n(&c->as->threads, __ATOMIC_ACQUIRE) == 1);
	(void)HOST(mprotect, start, end - start, PROT_READ | PROT_EXEC);
}

static void rewrite_locked(struct port_aspace *as, uint32_t nr, uint64_t site)
{
	struct change c = { as, site, 0 };
	uint8_t code[SITE_BYTES + 2], *bytes;
	uint32_t number;

	if (port_copy_in(code, site - SITE_BYTES, sizeof(code)) || code[0] != 0xb8 || code[5] != 0x0f ||
	    code[6] != 0x05)
		return;
	memcpy(&number, code + 1, sizeof(number));
	if (number != nr)
		return;
	c.stub = stub_take(&as->rewriting, site, &bytes);
	if (!c.stub)
		return;
	stub_write(bytes, c.stub, nr, site + 2);
	(void)kernel_upcall_code_change(site - SITE_BYTES, SITE_BYTES, change, &c);
}

void hosted_rewrite(const struct user_regs *r, uint64_t site)
{
	struct port_aspace *as = current_port()->aspace;
	struct rewriting *w = &as->rewriting;
	uint8_t *traps = &w->traps[(site ^ site >> 10) % REWRITE_COUNTERS];

	if (likely(++*traps != REWRITE_AFTER) || site < SITE_BYTES)
		return;
	if (__atomic_load_n(&w->forbidden, __ATOMIC_RELAXED) || __atomic_exchange_n(&w->lock, 1, __ATOMIC_ACQUIRE))
		return;
	rewrite_locked(as, (uint32_t)r->orig_ax, site);
	__atomic_store_n(&w->lock, 0, __ATOMIC_RELEASE);
}

bool hosted_rewrite_retry(struct user_regs *r)
{
	struct port_aspace *as = current_port()->aspace;
	uint8_t now;

	// Ours still, or written over between the trap and here.
	if (!as || !as->rewriting.registered || port_copy_in(&now, r->ip - 1, 1))
		return false;
	if (now == BREAKPOINT && __atomic_load_n(&as->rewriting.busy, __ATOMIC_SEQ_CST) != r->ip - 1)
		return false;
	if (now != BREAKPOINT && now != 0xe9)
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
		for (unsigned i = 0; i < STUBS_A_PAGE; i++)
			__atomic_store_n((uint64_t *)(s->frame->bytes + i * STUB_BYTES), word, __ATOMIC_SEQ_CST);
	serialise_register(w);
	serialise();
	__atomic_store_n(&w->lock, 0, __ATOMIC_RELEASE);
}

// ---- fork, and the end ----

void hosted_rewrite_inherit(struct rewriting *child, struct rewriting *parent)
{
	child->forbidden = parent->forbidden;
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
		if (__atomic_sub_fetch(&s->frame->refs, 1, __ATOMIC_ACQ_REL) == 0) {
			kernel_upcall_page_free(s->frame->bytes);
			kernel_upcall_free(s->frame);
		}
		kernel_upcall_free(s);
	}
	w->stubs = NULL;
}
