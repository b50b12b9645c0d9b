// SPDX-License-Identifier: Apache-2.0
// The first stack of a program. System V ABI AMD64, 3.4.1 "Initial Stack and Register State"; the order of strings is
// Linux's:
//
//	top     8 zero bytes
//	        path of the program (AT_EXECFN)
//	        environment strings, in order
//	        argument strings, in order
//	        "x86_64" (AT_PLATFORM), 16 random bytes (AT_RANDOM)
//	        padding
//	        auxiliary vector, environment pointers and NULL, argument pointers and NULL
//	sp      argc; 16-byte aligned
#include "exec.h"

#include "kernel/random.h"
#include "lib/string.h"
#include "kernel/vdso.h"

#include <linux/auxvec.h>
#include <linux/mman.h>

#define PLATFORM          "x86_64"
#define END_MARK_BYTES    8u
#define STACK_EXTRA_BYTES (UINT64_C(128) << 10) // mapped below what is used at the start
#define CLOCK_TICKS       100u

static size_t strings_of_argv(const struct exec_args *a) { return a->argv.size - (a->prefix.count ? a->argv_skip : 0); }

int exec_stack_plan(const struct exec_args *a, uint64_t top, unsigned auxv_words, struct exec_stack *out)
{
	size_t path_size = strlen(a->path) + 1;
	out->argc = exec_argc(a);
	out->envc = a->envp.count;
	out->string_bytes = a->prefix.size + strings_of_argv(a) + a->envp.size + path_size + END_MARK_BYTES;
	size_t pointers = (size_t)(out->argc + 1 + out->envc + 1) * sizeof(uint64_t);
	if (out->string_bytes + pointers >
	    a->limit + PAGE_SIZE) // the scripts' prefix and the path may go beyond a little
		return -E2BIG;
	out->strings = top - out->string_bytes;
	out->argv = out->strings;
	out->envp = out->argv + a->prefix.size + strings_of_argv(a);
	out->execfn = out->envp + a->envp.size;
	out->platform = align_down(out->strings - sizeof(PLATFORM), UINT64_C(16));
	out->random = out->platform - 16;
	uint64_t vectors = sizeof(uint64_t) + pointers + auxv_words * sizeof(uint64_t);
	out->sp = align_down(out->random - vectors, UINT64_C(16));
	return 0;
}

int exec_stack_map(struct mm *mm, const struct exec_stack *s, bool executable)
{
	uint64_t top = align_up(mm->stack_top, PAGE_SIZE);
	uint64_t start = align_down(s->sp, PAGE_SIZE) - STACK_EXTRA_BYTES;
	unsigned flags = VMA_READ | VMA_WRITE | (executable ? VMA_EXEC : 0) | VMA_GROWSDOWN | VMA_STACK | VMA_MAY_READ |
			 VMA_MAY_WRITE | VMA_MAY_EXEC;
	long r = mm_map(mm, start, top - start, flags, MAP_FIXED, NULL, NULL, 0, NULL);
	return r < 0 ? (int)r : 0;
}

unsigned exec_auxv(const struct exec_image *image, const struct exec_stack *s, const struct cred *c, bool secure,
		   uint64_t *auxv, unsigned max)
{
	const struct elf_image *e = &image->program;
	const uint64_t pairs[][2] = {
		{ AT_SYSINFO_EHDR, image->mm->vdso },
		{ AT_MINSIGSTKSZ, sigframe_size_bytes() },
		{ AT_HWCAP, port_hwcap() },
		{ AT_PAGESZ, PAGE_SIZE },
		{ AT_CLKTCK, CLOCK_TICKS },
		{ AT_PHDR, e->phdr_vaddr ? image->program_bias + e->phdr_vaddr : 0 },
		{ AT_PHENT, sizeof(Elf64_Phdr) },
		{ AT_PHNUM, e->phdr_count },
		{ AT_BASE, e->interp_size ? image->interpreter_bias + image->interpreter.load_start : 0 },
		{ AT_FLAGS, 0 },
		{ AT_ENTRY, image->program_bias + e->entry },
		{ AT_UID, c->uid },
		{ AT_EUID, c->euid },
		{ AT_GID, c->gid },
		{ AT_EGID, c->egid },
		{ AT_SECURE, secure },
		{ AT_RANDOM, s->random },
		{ AT_HWCAP2, port_hwcap2() },
		{ AT_EXECFN, s->execfn },
		{ AT_PLATFORM, s->platform },
		{ AT_NULL, 0 },
	};
	unsigned n = 0;
	for (unsigned i = 0; i < array_count(pairs); i++) {
		if (pairs[i][0] == AT_SYSINFO_EHDR && !pairs[i][1])
			continue; // no vDSO
		assert(n + 2 <= max);
		auxv[n++] = pairs[i][0];
		auxv[n++] = pairs[i][1];
	}
	return n;
}

// ---- writing ----

static int write_strings(const struct arg_strings *s, size_t skip, uint64_t *to)
{
	while (skip < s->size) {
		size_t n = min(s->size - skip, PAGE_SIZE - skip % PAGE_SIZE);
		if (copy_to_user((struct uptr){ *to }, s->chunks[skip / PAGE_SIZE] + skip % PAGE_SIZE, n))
			return -EFAULT;
		skip += n;
		*to += n;
	}
	return 0;
}

// Fills pointers to consecutive strings that start at `at` on the stack and at `skip` in s.
static uint64_t *point(const struct arg_strings *s, size_t skip, uint64_t at, uint64_t *pointers)
{
	bool start = true;
	for (size_t i = skip; i < s->size;) {
		const char *chunk = s->chunks[i / PAGE_SIZE] + i % PAGE_SIZE;
		size_t left = min(s->size - i, PAGE_SIZE - i % PAGE_SIZE);
		if (start)
			*pointers++ = at + (i - skip);
		size_t n = strnlen(chunk, left);
		start = n < left; // the NUL is here: the next string follows
		i += start ? n + 1 : left;
	}
	return pointers;
}

static int write_vectors(const struct exec_args *a, const struct exec_stack *s, const uint64_t *auxv,
			 unsigned auxv_words)
{
	size_t words = 1 + s->argc + 1 + s->envc + 1 + auxv_words;
	uint64_t *block = kalloc_array(words, sizeof(*block));
	if (!block)
		return -ENOMEM;
	uint64_t *p = block;
	*p++ = s->argc;
	p = point(&a->prefix, 0, s->argv, p);
	p = point(&a->argv, a->prefix.count ? a->argv_skip : 0, s->argv + a->prefix.size, p);
	*p++ = 0;
	p = point(&a->envp, 0, s->envp, p);
	*p++ = 0;
	assert(p + auxv_words == block + words);
	memcpy(p, auxv, auxv_words * sizeof(*p));
	int r = copy_to_user((struct uptr){ s->sp }, block, words * sizeof(*block));
	kfree(block);
	return r;
}

int exec_stack_write(const struct exec_args *a, const struct exec_stack *s, const uint64_t *auxv, unsigned auxv_words)
{
	uint64_t at = s->argv, end_mark = 0;
	uint8_t random[16];
	random_bytes(random, sizeof(random));
	int r = write_strings(&a->prefix, 0, &at);
	if (!r)
		r = write_strings(&a->argv, a->prefix.count ? a->argv_skip : 0, &at);
	if (!r)
		r = write_strings(&a->envp, 0, &at);
	if (!r)
		r = copy_to_user((struct uptr){ s->execfn }, a->path, strlen(a->path) + 1);
	if (!r)
		r = put_user(end_mark, ((struct uptr){ s->strings + s->string_bytes - END_MARK_BYTES }));
	if (!r)
		r = copy_to_user((struct uptr){ s->platform }, PLATFORM, sizeof(PLATFORM));
	if (!r)
		r = copy_to_user((struct uptr){ s->random }, random, sizeof(random));
	return r ? r : write_vectors(a, s, auxv, auxv_words);
}
