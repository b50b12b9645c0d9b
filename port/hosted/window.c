// SPDX-License-Identifier: Apache-2.0
// Windows: parts of the host's files that are mapped between the program's memory and the kernel's region, and read there without a
// call. The filter lets nothing be mapped above; to the program the place does not exist, though it can look at what is there.
//
// A file is divided into chunks, and each chunk of each file has one slot where its window can be, so that to find a window is to look
// there. Who shares a slot competes for it: what is read counts for whom it has, what is not read against.
//
// Where the file ends is for the host to say, and it says so by what faults: of a mapping only pages that begin before the end can be
// touched. So a read touches the page behind its last one first; when that is there, all that is to be copied is inside of the file.
// Reads that end in the file's last page are therefore the host's. When another process cuts the file meanwhile, the copy faults,
// or has zeros where the host cleared the rest of a page, as read(2) does then. A fault in here is a fixup (entry.S).
//
// Windows are for what is in the host's page cache: for the rest the host reads ahead better when it is asked by read(2). Whether it
// is there shows in the time it takes. Now and then a read is left to the host anyway: it moves the file's access time, and
// the file's size is looked at again.
//
// Readers take no lock: struct window.serial is odd while the window changes, and what was copied meanwhile does not count.
// Lock: port_aspace.windows_lock, a leaf, for those who change them. Fields without a lock are racy where being wrong costs time only.
#include "window.h"

#include "aspace.h"
#include "kernel/upcall.h"
#include "layout.h"
#include "lib/asan.h"
#include "lib/compiler.h"
#include "lock.h"
#include "port/host.h"
#include "syscall.h"
#include "task.h"

#include <asm/errno.h>
#include <linux/mman.h>

#define SLOTS        64u
#define CHUNK_BYTES  (UINT64_C(16) << 20)
#define WINDOW_BYTES (CHUNK_BYTES + PAGE_BYTES) // the page behind the last one can be touched
#define HUGE_BYTES   (UINT64_C(2) << 20)
#define SLOT_BYTES   (CHUNK_BYTES + HUGE_BYTES)
// Slots are out of step with huge pages, which the host maps as a whole, past the file's end; and in step with the pages it maps at a fault.
#define SLOT_OFFSET  (UINT64_C(64) << 10)

// In ticks of the processor's counter, of which there are one to five in a nanosecond.
#define FRESH_TICKS (UINT64_C(1) << 30)
#define SLOW_TICKS  (UINT64_C(1) << 16)

#define QUICK_READS 32 // of the host, in a row, make up for a slow one
#define SCORE_MAX   32 // reads that others must make in vain before the slot is theirs

struct window {
	uint32_t serial;  // atomic; lock to change: odd while what follows and the mapping change
	int16_t patience; // below 0: so many reads more are the host's. Racy
	int16_t score;    // racy
	uint64_t file;    // 0: closed
	uint64_t chunk;
	uint64_t limit;   // reads may end here; a hint
	uint64_t checked; // when the host was asked last, in ticks
} __attribute__((aligned(64)));

struct windows {
	struct window slots[SLOTS];
};

// entry.S: looks at *probe, then moves. Bytes not moved; all when there is no *probe.
size_t hosted_window_move(void *to, const void *from, size_t size, const void *probe);

uint64_t hosted_user_end;

static inline uint64_t ticks(void)
{
	uint32_t low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

void hosted_windows_init(void) { hosted_user_end = (hosted.image_start - SLOTS * SLOT_BYTES) & ~(HUGE_BYTES - 1); }

static inline struct windows *windows_of(struct port_aspace *as)
{
	return as ? __atomic_load_n(&as->windows, __ATOMIC_ACQUIRE) : NULL;
}

// Neighbouring chunks have neighbouring slots, files begin anywhere.
static inline struct window *slot_of(struct windows *ws, uint64_t file, uint64_t chunk)
{
	return &ws->slots[(file * 29 + chunk) % SLOTS];
}

static inline uint64_t slot_address(const struct windows *ws, const struct window *w)
{
	return hosted_user_end + SLOT_OFFSET + (uint64_t)(w - ws->slots) * SLOT_BYTES;
}

// ---- reading ----

static inline bool is_of(const struct window *w, uint64_t file, uint64_t chunk)
{
	return __atomic_load_n(&w->file, __ATOMIC_RELAXED) == file &&
	       __atomic_load_n(&w->chunk, __ATOMIC_RELAXED) == chunk;
}

static void note_fault(struct window *w)
{
	uint64_t address = current_port()->fault_address;

	if (address - hosted_user_end < SLOTS * SLOT_BYTES) // else it is where the bytes were to go that is not there
		__atomic_store_n(&w->checked, 0, __ATOMIC_RELAXED);
}

static void note_success(struct window *w, uint64_t took)
{
	if (unlikely(took > SLOW_TICKS))
		__atomic_store_n(&w->patience, -QUICK_READS, __ATOMIC_RELAXED);
	if (unlikely(__atomic_load_n(&w->score, __ATOMIC_RELAXED) != SCORE_MAX))
		__atomic_store_n(&w->score, SCORE_MAX, __ATOMIC_RELAXED);
}

bool port_window_read(uint64_t file, uint64_t offset, void *to, size_t size)
{
	struct windows *ws = windows_of(current_port()->aspace);
	const uint64_t chunk = offset / CHUNK_BYTES, at = offset % CHUNK_BYTES;

	if (!ws || at + size > CHUNK_BYTES)
		return false;
	struct window *w = slot_of(ws, file, chunk);
	const uint32_t serial = __atomic_load_n(&w->serial, __ATOMIC_ACQUIRE);
	if (serial % 2 || !is_of(w, file, chunk) || offset + size > __atomic_load_n(&w->limit, __ATOMIC_RELAXED) ||
	    __atomic_load_n(&w->patience, __ATOMIC_RELAXED) < 0)
		return false;
	const uint64_t start = ticks();
	if (start - __atomic_load_n(&w->checked, __ATOMIC_RELAXED) > FRESH_TICKS)
		return false;
	const uint64_t from = slot_address(ws, w) + at;
	asan_check(to, size, true);
	if (unlikely(hosted_window_move(to, (const void *)from, size,
					(const void *)(((from + size - 1) & ~(PAGE_BYTES - 1)) + PAGE_BYTES)))) {
		note_fault(w);
		return false;
	}
	__atomic_thread_fence(__ATOMIC_ACQUIRE); // the bytes before the serial number
	if (unlikely(__atomic_load_n(&w->serial, __ATOMIC_RELAXED) != serial))
		return false;
	note_success(w, ticks() - start);
	return true;
}

uint64_t port_window_clock(void) { return ticks(); }

bool port_window_wanted(uint64_t file, uint64_t offset, uint64_t started)
{
	struct windows *ws = windows_of(current_port()->aspace);
	const uint64_t chunk = offset / CHUNK_BYTES, now = ticks();
	const bool slow = now - started > SLOW_TICKS;

	if (!ws)
		return !slow;
	struct window *w = slot_of(ws, file, chunk);
	if (!is_of(w, file, chunk)) {
		int16_t score = __atomic_load_n(&w->score, __ATOMIC_RELAXED);
		if (score > 0)
			__atomic_store_n(&w->score, (int16_t)(score - 1), __ATOMIC_RELAXED);
		return score <= 0 && !slow;
	}
	int16_t patience = __atomic_load_n(&w->patience, __ATOMIC_RELAXED);
	if (slow || patience < 0)
		__atomic_store_n(&w->patience, slow ? -QUICK_READS : (int16_t)(patience + 1), __ATOMIC_RELAXED);
	return now - __atomic_load_n(&w->checked, __ATOMIC_RELAXED) > FRESH_TICKS;
}

// ---- opening and closing ----

static struct windows *windows_make(struct port_aspace *as)
{
	struct windows *ws = windows_of(as), *other = NULL;

	if (ws)
		return ws;
	ws = kernel_upcall_alloc(sizeof(*ws));
	if (ws && !__atomic_compare_exchange_n(&as->windows, &other, ws, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		kernel_upcall_free(ws);
		ws = other;
	}
	return ws;
}

void hosted_windows_destroy(struct windows *ws) { kernel_upcall_free(ws); }

void hosted_windows_hold(struct port_aspace *as)
{
	if (as)
		hosted_lock(&as->windows_lock);
}

void hosted_windows_release(struct port_aspace *as)
{
	if (as)
		hosted_unlock(&as->windows_lock);
}

// What is odd between these two is not read. On this processor stores are seen in order.
static void change_begin(struct window *w) { __atomic_store_n(&w->serial, w->serial + 1, __ATOMIC_SEQ_CST); }
static void change_end(struct window *w) { __atomic_store_n(&w->serial, w->serial + 1, __ATOMIC_RELEASE); }

// lock, changing
static void unmap(struct windows *ws, struct window *w)
{
	if (w->file)
		(void)HOST(munmap, slot_address(ws, w), WINDOW_BYTES);
	__atomic_store_n(&w->file, 0, __ATOMIC_RELAXED);
}

// A child begins without windows.
static bool map(uint64_t address, int file, uint64_t offset)
{
	if (HOST(mmap, address, WINDOW_BYTES, PROT_READ, MAP_SHARED | MAP_FIXED, file, offset) != (long)address)
		return false;
	if (!HOST(madvise, address, WINDOW_BYTES, MADV_DONTFORK))
		return true;
	(void)HOST(munmap, address, WINDOW_BYTES);
	return false;
}

static void replace(struct windows *ws, struct window *w, uint64_t file, int descriptor, uint64_t chunk)
{
	change_begin(w);
	unmap(ws, w);
	if (map(slot_address(ws, w), descriptor, chunk * CHUNK_BYTES)) {
		__atomic_store_n(&w->file, file, __ATOMIC_RELAXED);
		__atomic_store_n(&w->chunk, chunk, __ATOMIC_RELAXED);
	}
	w->patience = 0;
	w->score = SCORE_MAX; // also where it was refused: not tried again for a while
	change_end(w);
}

void port_window_open(uint64_t file, int descriptor, uint64_t offset, uint64_t size)
{
	struct port_aspace *as = current_port()->aspace;
	struct windows *ws = as ? windows_make(as) : NULL;
	const uint64_t chunk = offset / CHUNK_BYTES;

	if (!ws)
		return;
	struct window *w = slot_of(ws, file, chunk);
	hosted_lock(&as->windows_lock);
	if (!is_of(w, file, chunk))
		replace(ws, w, file, descriptor, chunk);
	__atomic_store_n(&w->limit, size ? (size - 1) & ~(PAGE_BYTES - 1) : 0, __ATOMIC_RELAXED);
	__atomic_store_n(&w->checked, ticks(), __ATOMIC_RELAXED);
	hosted_unlock(&as->windows_lock);
}

void port_window_close(uint64_t file)
{
	struct port_aspace *as = current_port()->aspace;
	struct windows *ws = windows_of(as);

	if (!ws)
		return;
	hosted_lock(&as->windows_lock);
	for (struct window *w = ws->slots; w < ws->slots + SLOTS; w++) {
		if (w->file != file)
			continue;
		change_begin(w);
		unmap(ws, w);
		w->score = 0;
		change_end(w);
	}
	hosted_unlock(&as->windows_lock);
}
