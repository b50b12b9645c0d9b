// SPDX-License-Identifier: Apache-2.0
// Does the auxiliary vector tell the truth?
#include "check.h"
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

extern char **environ;

// The C library answers some types itself, so look where the kernel wrote them.
static unsigned long raw(unsigned long type)
{
	char **end = environ;

	while (*end)
		end++;
	for (const ElfW(auxv_t) *entry = (void *)(end + 1); entry->a_type != AT_NULL; entry++)
		if (entry->a_type == type)
			return entry->a_un.a_val;
	return 0;
}

int main(int argc, char **argv)
{
	CHECK_EQ(getauxval(AT_PAGESZ), 4096);
	CHECK_EQ(getauxval(AT_CLKTCK), 100);
	CHECK_EQ(getauxval(AT_UID), getuid());
	CHECK_EQ(getauxval(AT_EUID), geteuid());
	CHECK_EQ(getauxval(AT_GID), getgid());
	CHECK_EQ(getauxval(AT_EGID), getegid());
	CHECK_EQ(getauxval(AT_SECURE), 0);
	CHECK_EQ(getauxval(AT_PHENT), sizeof(ElfW(Phdr)));
	CHECK_EQ(getauxval(AT_BASE), 0); // a static program has no interpreter
	CHECK_STR((char *)getauxval(AT_PLATFORM), "x86_64");
	CHECK(raw(AT_HWCAP) & 1); // CPUID.1:EDX, bit 0 is the FPU
	CHECK_EQ(raw(AT_PAGESZ), 4096);

	// The program headers are this program's: one PT_LOAD covers main.
	const ElfW(Phdr) *headers = (void *)getauxval(AT_PHDR);
	unsigned long count = getauxval(AT_PHNUM), covered = 0;
	if (CHECK(headers && count > 0))
		for (unsigned long i = 0; i < count; i++)
			covered += headers[i].p_type == PT_LOAD && (uintptr_t)main >= headers[i].p_vaddr &&
				   (uintptr_t)main < headers[i].p_vaddr + headers[i].p_memsz;
	CHECK_EQ(covered, 1);
	CHECK(getauxval(AT_ENTRY) != 0);

	// Sixteen random bytes, not all alike.
	const unsigned char *random = (void *)getauxval(AT_RANDOM);
	int differ = 0;
	if (CHECK(random != NULL))
		for (int i = 1; i < 16; i++)
			differ += random[i] != random[0];
	CHECK(differ > 4);

	CHECK_STR((char *)getauxval(AT_EXECFN), argc > 1 ? argv[1] : (char *)getauxval(AT_EXECFN));
	if (argc == 1) {
		char self[PATH_MAX] = "", *child[] = { "other", self, NULL };
		CHECK(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
		pid_t pid = fork();
		if (pid == 0) {
			execv(self, child);
			_exit(99);
		}
		CHECK_EQ(check_wait(pid), 0);
	}

	const ElfW(Ehdr) *vdso = (void *)getauxval(AT_SYSINFO_EHDR);
	if (CHECK(vdso != NULL)) {
		CHECK(memcmp(vdso->e_ident, ELFMAG, 4) == 0);
		CHECK_EQ((uintptr_t)vdso % CHECK_PAGE, 0);
	}

	// argv strings, then environment strings, lie behind one another above the vectors.
	CHECK((uintptr_t)argv[0] > (uintptr_t)environ);
	CHECK((char **)argv + argc + 1 == environ);

	// The kernel hands over a 16-byte aligned stack: argc lies just below argv.
	CHECK_EQ(((uintptr_t)argv - 8) % 16, 0);
	CHECK_EQ(*((long *)argv - 1), argc);
	return check_done();
}
