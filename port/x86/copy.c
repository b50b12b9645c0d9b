// SPDX-License-Identifier: Apache-2.0
// User memory, reached through the direct map: the page tables are walked in software and the access is made at the
// frame's kernel address. User addresses are never dereferenced, so SMAP is never lifted and no fault can happen.
//
// Why it is safe against other CPUs that unmap the page meanwhile: a frame is freed only after a TLB shootdown, which this
// CPU answers in an interrupt or in port_cpu_relax(); interrupts are off here and nothing spins between the walk and the
// end of the access. It is the guarantee a hardware TLB entry has.
//
// Under emulation it is also the faster way: STAC and CLAC end translation blocks and the access would use a TLB of its own.
#include "aspace.h"
#include "kernel/upcall.h"
#include "lib/compiler.h"
#include "lib/string.h"
#include "task.h"

#include <asm/errno.h>

// The kernel address of one user byte, good until the CPU next answers requests; NULL: not accessible now.
static inline uint8_t *user_byte(uint64_t va, bool write)
{
	struct port_aspace *as = this_cpu()->aspace;
	if (unlikely(!as))
		return NULL;
	uint64_t *t = x86_aspace_table(as, va);
	if (unlikely(!t))
		return NULL;
	uint64_t *slot = &t[pte_index(va, 0)];
	uint64_t pte = __atomic_load_n(slot, __ATOMIC_RELAXED);
	uint64_t want = PTE_P | PTE_U | (write ? PTE_W : 0);
	if (unlikely((pte & want) != want))
		return NULL;
	uint64_t marks = PTE_A | (write ? PTE_D : 0);
	if (unlikely((pte & marks) != marks)) {
		// As the CPU would: only onto the entry that was read.
		if (!__atomic_compare_exchange_n(slot, &pte, pte | marks, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			return user_byte(va, write);
	}
	return (uint8_t *)phys_to_virt(pte & PTE_FRAME) + va % PAGE_BYTES;
}

// Makes the page accessible. May sleep, and move to another CPU.
static int fault_in(uint64_t va, bool write)
{
	return kernel_upcall_page_fault(task_frame(current_port()), va, write ? UPCALL_FAULT_WRITE : 0);
}

static inline uint8_t *user_byte_faulting(uint64_t va, bool write)
{
	uint8_t *p;
	while (unlikely(!(p = user_byte(va, write))))
		if (fault_in(va, write))
			return NULL;
	return p;
}

static inline bool range_ok(uint64_t va, size_t size) { return size <= USER_END && va <= USER_END - size; }

static inline size_t to_page_end(uint64_t va, size_t size)
{
	size_t left = PAGE_BYTES - va % PAGE_BYTES;
	return left < size ? left : size;
}

// At most a page. Emulation runs string instructions byte by byte; words are several times faster there.
static inline void move(uint8_t *to, const uint8_t *from, size_t size)
{
	if (!x86_features.tcg) {
		__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
		return;
	}
	for (; size >= 64; to += 64, from += 64, size -= 64) {
		uint64_t *t = (uint64_t *)to;
		const uint64_t *f = (const uint64_t *)from;
		uint64_t a = f[0], b = f[1], c = f[2], d = f[3];
		t[0] = a, t[1] = b, t[2] = c, t[3] = d;
		a = f[4], b = f[5], c = f[6], d = f[7];
		t[4] = a, t[5] = b, t[6] = c, t[7] = d;
	}
	for (; size >= 8; to += 8, from += 8, size -= 8)
		*(uint64_t *)to = *(const uint64_t *)from;
	for (; size; size--)
		*to++ = *from++;
}

size_t port_copy_in(void *to, uint64_t user_from, size_t size)
{
	if (!range_ok(user_from, size))
		return size;
	while (size) {
		const uint8_t *from = user_byte_faulting(user_from, false);
		if (!from)
			break;
		size_t n = to_page_end(user_from, size);
		move(to, from, n);
		to = (uint8_t *)to + n;
		user_from += n;
		size -= n;
	}
	return size;
}

size_t port_copy_out(uint64_t user_to, const void *from, size_t size)
{
	if (!range_ok(user_to, size))
		return size;
	while (size) {
		uint8_t *to = user_byte_faulting(user_to, true);
		if (!to)
			break;
		size_t n = to_page_end(user_to, size);
		move(to, from, n);
		from = (const uint8_t *)from + n;
		user_to += n;
		size -= n;
	}
	return size;
}

size_t port_clear_out(uint64_t user_to, size_t size)
{
	if (!range_ok(user_to, size))
		return size;
	while (size) {
		uint8_t *to = user_byte_faulting(user_to, true);
		if (!to)
			break;
		size_t n = to_page_end(user_to, size);
		memset(to, 0, n);
		user_to += n;
		size -= n;
	}
	return size;
}

#define ONES  UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)

// Copies up to `size` bytes until a NUL, which is copied too; bytes before it. Reads no further than the page ends.
static size_t move_string(char *to, const uint8_t *from, size_t size, bool *terminated)
{
	size_t i = 0;
	for (; i + 8 <= size; i += 8) {
		uint64_t w = *(const uint64_t *)(from + i);
		if ((w - ONES) & ~w & HIGHS)
			break;
		*(uint64_t *)(to + i) = w;
	}
	for (; i < size; i++) {
		to[i] = (char)from[i];
		if (!from[i]) {
			*terminated = true;
			return i;
		}
	}
	return size;
}

long port_string_in(char *to, uint64_t user_from, size_t size)
{
	size_t done = 0;
	bool terminated = false;
	while (done < size) {
		if (user_from >= USER_END)
			return -EFAULT;
		const uint8_t *from = user_byte_faulting(user_from, false);
		if (!from)
			return -EFAULT;
		size_t n = to_page_end(user_from, size - done);
		done += move_string(to + done, from, n, &terminated);
		if (terminated)
			return (long)done;
		user_from += n;
	}
	return (long)size;
}

// ---- futex words ----

static inline uint32_t *user_word(uint64_t user, bool write, bool may_fault)
{
	if (user % 4 || !range_ok(user, 4))
		return NULL;
	return (uint32_t *)(may_fault ? user_byte_faulting(user, write) : user_byte(user, write));
}

static int load_word(uint64_t user, uint32_t *seen, bool may_fault)
{
	uint32_t *w = user_word(user, false, may_fault);
	if (!w)
		return -EFAULT;
	*seen = __atomic_load_n(w, __ATOMIC_SEQ_CST);
	return 0;
}

static int exchange_word(uint64_t user, uint32_t old, uint32_t new, uint32_t *seen, bool may_fault)
{
	uint32_t *w = user_word(user, true, may_fault);
	if (!w)
		return -EFAULT;
	__atomic_compare_exchange_n(w, &old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	*seen = old;
	return 0;
}

int port_user_load32(uint64_t user, uint32_t *seen) { return load_word(user, seen, true); }

int port_user_cmpxchg32(uint64_t user, uint32_t old, uint32_t new, uint32_t *seen)
{
	return exchange_word(user, old, new, seen, true);
}

int port_user_load32_atomic(uint64_t user, uint32_t *seen) { return load_word(user, seen, false); }

int port_user_cmpxchg32_atomic(uint64_t user, uint32_t old, uint32_t new, uint32_t *seen)
{
	return exchange_word(user, old, new, seen, false);
}

// ---- frames ----

void *port_frame_address(paddr_t frame) { return phys_to_virt(frame); }

paddr_t port_frame_of(const void *kernel_address) { return virt_to_phys(kernel_address); }

void port_zero_page(void *page)
{
	if (!x86_features.tcg) {
		size_t words = PAGE_BYTES / 8;
		__asm__ volatile("rep stosq" : "+D"(page), "+c"(words) : "a"(0) : "memory");
		return;
	}
	for (volatile uint64_t *p = page, *end = p + PAGE_BYTES / 8; p < end; p += 16) {
		p[0] = 0, p[1] = 0, p[2] = 0, p[3] = 0, p[4] = 0, p[5] = 0, p[6] = 0, p[7] = 0;
		p[8] = 0, p[9] = 0, p[10] = 0, p[11] = 0, p[12] = 0, p[13] = 0, p[14] = 0, p[15] = 0;
	}
}

// Stores make the emulation drop what it has translated from there.
void port_page_expect_device(void *page)
{
	if (x86_features.tcg)
		port_zero_page(page);
}

void port_copy_page(void *to, const void *from) { move(to, from, PAGE_BYTES); }
