// SPDX-License-Identifier: Apache-2.0
// Does a dynamically linked, position independent program load, at a random place, with working libraries?
#include "check.h"
#include <cpuid.h>
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

static int object_count;
static _Thread_local int thread_value = 5;

static int count_object(struct dl_phdr_info *info, size_t size, void *data)
{
	(void)info, (void)size, (void)data;
	object_count++;
	return 0;
}

static void *thread(void *argument)
{
	thread_value += (int)(long)argument;
	return (void *)(long)thread_value;
}

// Under QEMU's emulation a cell draws the place of code once, not for each exec (kernel/mm/placement.c).
static bool code_is_translated(void)
{
	unsigned a, b = 0, c = 0, d = 0;
	__cpuid(0x40000000, a, b, c, d);
	return b == 0x54474354 && c == 0x43544743 && d == 0x47435447; // "TCGTCGTCGTCG"
}

struct places {
	void *code, *stack, *heap;
};

static bool all_same(void *a, void *b, void *c) { return a == b && b == c; }

int main(int argc, char **argv)
{
	if (argc > 1) {
		struct places mine = { (void *)main, (void *)&argc, sbrk(0) };
		return write(1, &mine, sizeof(mine)) == sizeof(mine) ? 0 : 1;
	}
	CHECK(getauxval(AT_BASE) != 0);
	const ElfW(Ehdr) *interpreter = (void *)getauxval(AT_BASE);
	CHECK(memcmp(interpreter->e_ident, ELFMAG, 4) == 0);
	dl_iterate_phdr(count_object, NULL);
	CHECK(object_count >= 3); // the program, the C library, the loader

	void *math = dlopen("libm.so.6", RTLD_NOW);
	if (CHECK(math != NULL)) {
		double (*root)(double) = (double (*)(double))dlsym(math, "sqrt");
		CHECK(root && root(81.0) == 9.0);
		dlclose(math);
	}

	pthread_t id;
	void *result;
	CHECK_EQ(pthread_create(&id, NULL, thread, (void *)7), 0);
	CHECK_EQ(pthread_join(id, &result), 0);
	CHECK_EQ((long)result, 12);
	CHECK_EQ(thread_value, 5);

	// Three runs do not all load at the same address.
	struct places places[3];
	for (int i = 0; i < 3; i++) {
		int fds[2];
		CHECK_OK(pipe(fds));
		pid_t pid = fork();
		if (pid == 0) {
			dup2(fds[1], 1);
			execl("/proc/self/exe", argv[0], "where", NULL);
			_exit(9);
		}
		close(fds[1]);
		CHECK_EQ(read(fds[0], &places[i], sizeof(places[i])), sizeof(places[i]));
		close(fds[0]);
		CHECK_EQ(check_wait(pid), 0);
	}
	CHECK(!all_same(places[0].stack, places[1].stack, places[2].stack));
	CHECK(!all_same(places[0].heap, places[1].heap, places[2].heap));
	CHECK(code_is_translated() || !all_same(places[0].code, places[1].code, places[2].code));
	return check_done();
}
