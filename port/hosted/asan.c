// SPDX-License-Identifier: Apache-2.0
// The address sanitizer of the debug kernel (lib/asan.h): shadow memory, the functions that gcc has called before each access, the
// report. This file itself is not instrumented, and calls nothing that is before it reports.
//
// The shadow of an address is at address / 8 + CLOISTER_ASAN_OFFSET, which the compiler knows too: it marks variables on the stack
// by itself. The offset is chosen so that the end of what programs may use is its own shadow. Then the shadow of the region, which
// lies at a random place somewhat below that end, lies between the two. It is memory of its own, shared by all processes of the
// cell, and sparse: zero, as it is at first, says that everything may be touched. So it is with frames that were never handed
// out, with the boot record and with what the allocators do not know.
//
// An access outside the region is a bug too: memory of programs is reached by the routines of copy.c only.
//
// Sources: gcc/asan.cc, libsanitizer/asan/asan_interface_internal.h (struct __asan_global), for names and layouts.
#include "asan.h"

#include "abi/control.h"
#include "amd64/log.h"
#include "kernel/upcall.h"
#include "layout.h"
#include "lib/compiler.h"
#include "lib/fmt.h"
#include "port/inline.h"
#include "syscall.h"
#include "task.h"

#include <linux/mman.h>

#define GRANULE       8u
#define TRACE_FRAMES  4u
#define TRACE_SKIPPED 3u // port_backtrace(), what calls it here, the allocator
#define MODULES_MAX   1024u
#define FRAME_MARK    UINT64_C(0x41b58ab3)

static_assert(2 * TRACE_FRAMES * sizeof(uintptr_t) == ASAN_REDZONE_BYTES, "both traces fit");

// What gcc describes a global variable by.
struct global {
	uintptr_t start;
	size_t size, room; // room: with the red zone
	const char *name, *module;
	uintptr_t dynamic_init, location, odr;
};

struct traces {
	uintptr_t allocated[TRACE_FRAMES], freed[TRACE_FRAMES];
};

static uint64_t region_start, region_bytes; // 0: the shadow is not there yet
static uint32_t reporting;                  // atomic: the first report is the last
static struct {
	const struct global *globals;
	size_t count;
} modules[MODULES_MAX]; // set at start
static unsigned module_count;

extern void (*const hosted_constructors_start[])(void), (*const hosted_constructors_end[])(void);

static inline uint8_t *shadow_of(uint64_t address) { return (uint8_t *)(address / GRANULE + CLOISTER_ASAN_OFFSET); }

// Whether the byte at `address` may be touched, by what its shadow says.
static inline bool allows(uint8_t shadow, uint64_t address)
{
	return likely(!shadow) || (shadow < GRANULE && address % GRANULE < shadow);
}

static inline bool in_region(uint64_t address) { return address - region_start < region_bytes; }

// ---- marking ----

static void shadow_set(uint64_t start, uint64_t end, uint8_t value)
{
	uint8_t *at = shadow_of(start);
	size_t count = (size_t)(shadow_of(end) - at);

	__asm__ volatile("rep stosb" : "+D"(at), "+c"(count) : "a"(value) : "memory");
}

void asan_poison(const void *start, size_t size, enum asan_poison why)
{
	uint64_t from = (uint64_t)start, end = from + size;

	if (from % GRANULE) {
		*shadow_of(from) = from % GRANULE;
		from += GRANULE - from % GRANULE;
	}
	if (from < end)
		shadow_set(from, end, (uint8_t)why);
}

void asan_unpoison(const void *start, size_t size)
{
	uint64_t from = (uint64_t)start, end = from + size;

	shadow_set(from, end, 0);
	if (end % GRANULE)
		*shadow_of(end) = end % GRANULE;
}

// ---- the report ----

static const char *what_of(uint64_t address, uint8_t shadow)
{
	if (!in_region(address))
		return address < region_start ? "access to a program's memory" : "wild access";
	switch (shadow) {
	case ASAN_PAGE_FREE: return "use of a free page";
	case ASAN_OBJECT_FREE: return "use after free";
	case ASAN_OBJECT_END: return "heap overflow";
	case ASAN_STACK_FREE: return "use of the stack of a task that is gone";
	case ASAN_STACK_LEFT:
	case ASAN_STACK_MIDDLE:
	case ASAN_STACK_RIGHT: return "stack overflow";
	case ASAN_STACK_SCOPE: return "use after scope";
	case ASAN_GLOBAL_END: return "global overflow";
	default: return "bad access";
	}
}

static void log_global(uint64_t address)
{
	for (unsigned m = 0; m < module_count; m++) {
		for (size_t i = 0; i < modules[m].count; i++) {
			const struct global *g = &modules[m].globals[i];
			if (address - g->start < g->room)
				amd64_log("  %lu bytes into %s of %lu bytes, %s\n", address - g->start, g->name,
					  g->size, g->module);
		}
	}
}

static void log_trace(const char *what, const uintptr_t *trace)
{
	if (trace[0])
		amd64_log("  %s by:\n", what);
	for (unsigned i = 0; i < TRACE_FRAMES && trace[i]; i++) {
		size_t offset = 0;
		const char *name = port_symbol(trace[i], &offset);
		amd64_log("    %lx %s+0x%lx\n", trace[i] - port_image_slide(), name ? name : "?", offset);
	}
}

// How much of an object may be touched: what was asked for.
static size_t usable(uint64_t start, size_t room)
{
	size_t n = 0;

	while (n < room && !*shadow_of(start + n))
		n += GRANULE;
	return n < room && *shadow_of(start + n) < GRANULE ? n + *shadow_of(start + n) : n;
}

static void log_object(uint64_t address)
{
	uintptr_t start;
	size_t room;
	const char *cache = kernel_upcall_object(address, &start, &room);

	if (!cache)
		return;
	const struct traces *t = (const struct traces *)(start + room - sizeof(*t));
	if (t->freed[0])
		amd64_log("  %lu bytes into a freed object of %s\n", address - start, cache);
	else
		amd64_log("  %lu bytes into an object of %s, %lu bytes\n", address - start, cache, usable(start, room));
	log_trace("allocated", t->allocated);
	log_trace("freed", t->freed);
}

static bool is_stack(uint8_t shadow) { return shadow >= ASAN_STACK_LEFT && shadow <= ASAN_STACK_SCOPE; }

// A frame begins with gcc's mark, a text (how many variables; of each its place in the frame, its size, its name), the function.
static void log_frame(uint64_t address)
{
	uint64_t at = address & ~UINT64_C(7), block = at & ~(BLOCK_BYTES - 1);

	while (at > block && *shadow_of(at) != ASAN_STACK_LEFT)
		at -= GRANULE;
	while (at > block && *shadow_of(at - GRANULE) == ASAN_STACK_LEFT)
		at -= GRANULE;
	const uint64_t *frame = (const uint64_t *)at;
	const char *name = frame[0] == FRAME_MARK ? port_symbol(frame[2], NULL) : NULL;
	if (name)
		amd64_log("  %lu bytes into the frame of %s: %s\n", address - at, name, (const char *)frame[1]);
}

static void log_shadow(uint64_t address)
{
	uint64_t row = address & ~(16 * UINT64_C(8) - 1);
	char line[128];
	int at = 0;

	for (unsigned i = 0; i < 16; i++) {
		const char *mark = row + i * GRANULE == (address & ~UINT64_C(7)) ? ">" : " ";
		at += fmt_print(line + at, sizeof(line) - (size_t)at, "%s%02x", mark, *shadow_of(row + i * GRANULE));
	}
	amd64_log("  shadow of %lx:%s\n", row, line);
}

// The first byte of [address, address + size) that must not be touched.
static uint64_t first_bad(uint64_t address, size_t size)
{
	for (uint64_t a = address; a < address + size; a++) {
		if (!in_region(a) || !allows(*shadow_of(a), a))
			return a;
	}
	return address;
}

static _Noreturn void die(const char *what, uint64_t address, uint64_t bad, uintptr_t ip)
{
	if (in_region(bad)) {
		log_object(bad);
		log_global(bad);
		if (is_stack(*shadow_of(bad)))
			log_frame(bad);
		log_shadow(bad);
	}
	kernel_upcall_panic(what, ip, address, NULL);
}

static void __attribute__((noinline)) report(uint64_t address, size_t size, bool write, uintptr_t ip)
{
	char text[128];
	uint64_t bad = first_bad(address, size);
	uint8_t shadow = in_region(bad) ? *shadow_of(bad) : 0;

	if (!region_bytes || __atomic_exchange_n(&reporting, 1, __ATOMIC_SEQ_CST))
		return;
	// The eight bytes hold the end of something: what follows says of what.
	if (shadow && shadow < GRANULE)
		shadow = *shadow_of(bad + GRANULE);
	fmt_print(text, sizeof(text), "address sanitizer: %s: %s of %lu bytes", what_of(bad, shadow),
		  write ? "write" : "read", size);
	die(text, address, bad, ip);
}

// ---- accesses ----

static inline bool is_good(uint64_t address, size_t size)
{
	uint64_t last = address + size - 1;

	if (unlikely(address - region_start >= region_bytes || size > region_bytes - (address - region_start)))
		return false;
	for (uint64_t a = address; a / GRANULE != last / GRANULE; a += GRANULE)
		if (unlikely(*shadow_of(a)))
			return false;
	return allows(*shadow_of(last), last);
}

#define ACCESS(n)                                                                          \
	void __asan_load##n##_noabort(uint64_t address);                                   \
	void __asan_load##n##_noabort(uint64_t address)                                    \
	{                                                                                  \
		if (unlikely(!is_good(address, n)))                                        \
			report(address, n, false, (uintptr_t)__builtin_return_address(0)); \
	}                                                                                  \
	void __asan_store##n##_noabort(uint64_t address);                                  \
	void __asan_store##n##_noabort(uint64_t address)                                   \
	{                                                                                  \
		if (unlikely(!is_good(address, n)))                                        \
			report(address, n, true, (uintptr_t)__builtin_return_address(0));  \
	}
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)

void __asan_loadN_noabort(uint64_t address, size_t size);
void __asan_loadN_noabort(uint64_t address, size_t size)
{
	if (size && unlikely(!is_good(address, size)))
		report(address, size, false, (uintptr_t)__builtin_return_address(0));
}

void __asan_storeN_noabort(uint64_t address, size_t size);
void __asan_storeN_noabort(uint64_t address, size_t size)
{
	if (size && unlikely(!is_good(address, size)))
		report(address, size, true, (uintptr_t)__builtin_return_address(0));
}

void asan_check(const void *start, size_t size, bool write)
{
	uint64_t address = (uint64_t)start;

	if (size && address >= region_start && unlikely(!is_good(address, size)))
		report(address, size, write, (uintptr_t)__builtin_return_address(0));
}

// ---- objects ----

static __attribute__((noinline)) void trace_take(uintptr_t *out)
{
	uintptr_t frames[TRACE_SKIPPED + TRACE_FRAMES];
	unsigned count = port_backtrace(frames, array_count(frames));

	for (unsigned i = 0; i < TRACE_FRAMES; i++)
		out[i] = TRACE_SKIPPED + i < count ? frames[TRACE_SKIPPED + i] : 0;
}

void asan_object_alloc(void *object, size_t size, size_t room)
{
	struct traces *t = (struct traces *)((char *)object + room - sizeof(*t));

	trace_take(t->allocated);
	t->freed[0] = 0;
	asan_unpoison(object, size ? size : 1);
	asan_poison((char *)object + (size ? size : 1), room - (size ? size : 1), ASAN_OBJECT_END);
}

void asan_object_free(void *object, size_t room)
{
	struct traces *t = (struct traces *)((char *)object + room - sizeof(*t));

	trace_take(t->freed);
	asan_poison(object, room, ASAN_OBJECT_FREE);
}

// ---- globals ----

void __asan_register_globals(const struct global *globals, size_t count);
void __asan_register_globals(const struct global *globals, size_t count)
{
	if (module_count == MODULES_MAX)
		amd64_refuse("too many modules for the address sanitizer");
	modules[module_count].globals = globals;
	modules[module_count++].count = count;
	for (size_t i = 0; i < count; i++)
		asan_poison((const void *)(globals[i].start + globals[i].size), globals[i].room - globals[i].size,
			    ASAN_GLOBAL_END);
}

// ---- the stack ----

void __asan_poison_stack_memory(uint64_t address, size_t size);
void __asan_poison_stack_memory(uint64_t address, size_t size)
{
	asan_poison((const void *)address, align_up(size, (size_t)GRANULE), ASAN_STACK_SCOPE);
}

void __asan_unpoison_stack_memory(uint64_t address, size_t size);
void __asan_unpoison_stack_memory(uint64_t address, size_t size) { asan_unpoison((const void *)address, size); }

// The frames of who calls, and of its callers, are not left in the ordinary way.
void __asan_handle_no_return(void);
void __asan_handle_no_return(void)
{
	uint64_t from = (uint64_t)__builtin_frame_address(0), block = from & ~(BLOCK_BYTES - 1), end;

	if (from < hosted.arena_start)
		end = hosted.boot_stack_top;
	else if (from < hosted.arena_end)
		end = block + BLOCK_BYTES;
	else
		end = ((from - HOSTED_OPEN_BYTES) & ~(BLOCK_BYTES - 1)) + BLOCK_TASK_OFFSET + HOSTED_OPEN_BYTES;
	asan_unpoison((const void *)from, end - from);
}

// ---- start ----

void hosted_asan_init(void)
{
	uint64_t start = (uint64_t)shadow_of(hosted.image_start) & ~(PAGE_BYTES - 1);
	uint64_t last = hosted.arena_end + HOSTED_OPEN_BYTES;
	uint64_t end = ((uint64_t)shadow_of(last) + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);

	if (start < last || HOST(mmap, start, end - start, PROT_READ | PROT_WRITE,
				 MAP_FIXED | MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != (long)start)
		port_exit(MACHINE_EXIT_BOOT);
	region_bytes = last - hosted.image_start;
	region_start = hosted.image_start;
	for (void (*const *c)(void) = hosted_constructors_start; c < hosted_constructors_end; c++)
		(*c)();
}
