// SPDX-License-Identifier: Apache-2.0
// What the files of execve share: the arguments on their way, and the new program's image.
#pragma once

#include "internal.h"

#include "lib/elf.h"

#define EXEC_HEAD_BYTES   1024u                      // of a file: enough for #! lines and most program header tables
#define EXEC_SCRIPT_DEPTH 5u                         // interpreters of interpreters; beyond: ELOOP
#define EXEC_STRING_MAX   (UINT64_C(32) * PAGE_SIZE) // MAX_ARG_STRLEN
#define EXEC_ARGS_MIN     (UINT64_C(128) << 10)      // what is always allowed (ARG_MAX)
#define EXEC_ARGS_MAX     (UINT64_C(6) << 20)        // 3/4 of the default stack

// ---- argument strings, NUL-terminated back to back, in chunks of a page (exec_args.c) ----
struct arg_strings {
	char **chunks;
	unsigned chunk_count, chunk_capacity;
	size_t size;
	unsigned count;
};
struct exec_args {
	struct arg_strings prefix; // interpreter, its argument, script: replaces argv[0] when it has strings
	struct arg_strings argv, envp;
	size_t argv_skip; // bytes of argv's first string: left out when there is a prefix
	const char *path; // AT_EXECFN
	size_t limit;     // of all strings and pointers
};
void exec_args_init(struct exec_args *a, const char *path);
void exec_args_destroy(struct exec_args *a);
size_t exec_args_limit(uint64_t stack_limit_bytes);
int exec_args_from_user(struct exec_args *a, struct uptr argv, struct uptr envp); // -E2BIG, -EFAULT, -ENOMEM
int exec_args_from_kernel(struct exec_args *a, const char *const *argv, const char *const *envp);
int arg_strings_add(struct arg_strings *s, const char *string, size_t limit);
size_t arg_strings_read(const struct arg_strings *s, size_t offset, void *to, size_t size); // contiguous bytes it gave
void arg_strings_free(struct arg_strings *s);
static inline unsigned exec_argc(const struct exec_args *a)
{
	return a->prefix.count + a->argv.count - (a->prefix.count ? 1 : 0);
}
// Replaces argv[0] by interpreter [argument] script. -E2BIG, -ENOMEM.
int exec_args_push_interpreter(struct exec_args *a, const char *interpreter, const char *argument, const char *script);

// ---- scripts (exec_script.c) ----
// Parses a #! line in the first bytes of a file; interpreter and argument point into `head`, which is changed. *argument may be
// NULL. -ENOEXEC when it is none or has no interpreter or is cut off.
int exec_script_parse(char *head, size_t size, char **interpreter, char **argument);

// ---- the image (exec_elf.c) ----
struct exec_zero { // what of a mapped page lies behind the file's data
	uint64_t start, size;
};
struct exec_image {
	struct mm *mm;
	struct elf_image program, interpreter;
	uint64_t program_bias, interpreter_bias; // load address minus link address
	uint64_t entry;                          // where user mode starts
	struct exec_zero zero[2 * ELF_SEGMENTS_MAX];
	unsigned zero_count;
};
// Reads and checks the headers of `f`, of which `head` holds the first bytes. -ENOEXEC, -EIO, -ENOMEM.
int exec_elf_read(struct file *f, const char *head, size_t head_size, struct elf_image *out);
// The interpreter's path into buffer. -ENOEXEC.
int exec_elf_interpreter(struct file *f, const struct elf_image *e, char *buffer, size_t size);
// Maps program (and interpreter, when not NULL) into image->mm and sets brk and entry.
int exec_elf_map(struct exec_image *image, struct file *program, struct file *interpreter, bool randomize);

// Where the mmap area is free below what exec_elf_map() put at its top.
uint64_t exec_elf_mmap_end(const struct exec_image *image);

// ---- the first stack (exec_stack.c) ----
struct exec_stack {                           // where things go; computed without touching memory
	uint64_t strings, argv, envp, execfn; // addresses of the strings
	uint64_t platform, random;
	uint64_t sp; // argc
	size_t string_bytes;
	unsigned argc, envc;
};
// Lays out the stack below `top`. -E2BIG when it would be more than `limit`.
int exec_stack_plan(const struct exec_args *a, uint64_t top, unsigned auxv_words, struct exec_stack *out);
int exec_stack_map(struct mm *mm, const struct exec_stack *s, bool executable);
unsigned exec_auxv(const struct exec_image *image, const struct exec_stack *s, const struct cred *c, bool secure,
		   uint64_t *auxv, unsigned max);
// Writes everything into the current address space. -EFAULT.
int exec_stack_write(const struct exec_args *a, const struct exec_stack *s, const uint64_t *auxv, unsigned auxv_words);

// ---- execve (exec.c) ----
struct exec_request {
	int dir;
	const char *path;
	int flags; // AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW
	struct exec_args args;
};
long exec_run(struct exec_request *r); // of the current task; 0: port_task_regs() are the new program's
