// SPDX-License-Identifier: Apache-2.0
// A position-independent program without an interpreter lies where interpreters do: is all its memory its own?
#include "check.h"
#include <sys/auxv.h>

#define BSS_BYTES (1 << 20)

extern char __executable_start, _end;
static unsigned char bss[BSS_BYTES + 123];
static _Thread_local int thread_local = 7;

static void memory(void)
{
	const uintptr_t vdso = getauxval(AT_SYSINFO_EHDR), start = (uintptr_t)&__executable_start;
	struct timespec now = { 0 };

	CHECK(start >= 0x10000 && (uintptr_t)memory > start);
	CHECK(vdso < start || vdso >= (uintptr_t)&_end);
	for (size_t i = 0; i < sizeof(bss); i++)
		if (bss[i] && CHECK_EQ(bss[i], 0) == 0)
			break;
	memset(bss, 0xa5, sizeof(bss));
	CHECK_OK(clock_gettime(CLOCK_MONOTONIC, &now)); // by the vDSO
	CHECK(now.tv_sec || now.tv_nsec);
	CHECK_EQ(bss[sizeof(bss) - 1], 0xa5);
	CHECK_EQ(thread_local, 7);
}

static void heap(void)
{
	char *before = sbrk(0), *m = sbrk(BSS_BYTES);

	CHECK(m == before);
	memset(m, 1, BSS_BYTES);
	CHECK_EQ(bss[0], 0xa5);
}

// The dynamic loader, started as a program, is one of that kind, too.
static void loader(void) { CHECK_OK(execl("/lib64/ld-linux-x86-64.so.2", "ld.so", "/bin/true", NULL)); }

int main(void)
{
	memory();
	heap();
	CHECK_CHILD(loader);
	return check_done();
}
