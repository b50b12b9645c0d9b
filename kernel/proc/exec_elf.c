// SPDX-License-Identifier: Apache-2.0
// Mapping a program: its PT_LOAD segments from the page cache, zero-filled memory behind them, the place of position-independent
// programs, the interpreter, the break. System V ABI ch. 5, "Program Loading".
#include "exec.h"

#include "kernel/random.h"
#include "lib/string.h"

#include <linux/mman.h>

#define PIE_BASE \
	UINT64_C(0x555555554000) // two thirds of the address space: far from mmap's area, which grows down to it
#define PIE_RANDOM_PAGES (UINT64_C(1) << 28)
#define BRK_RANDOM_BYTES (UINT64_C(32) << 20)

int exec_elf_read(struct file *f, const char *head, size_t head_size, struct elf_image *out)
{
	size_t size;
	int r = elf_parse_header(head, head_size, out, &size);
	if (r)
		return r;
	if (out->phdr_offset + size <= head_size)
		return elf_parse_segments(head + out->phdr_offset, size, out);
	char *phdrs = kalloc(size);
	if (!phdrs)
		return -ENOMEM;
	ssize_t n = file_read_kernel(f, phdrs, size, (loff_t)out->phdr_offset);
	r = n < 0 ? (int)n : (size_t)n < size ? -EIO : elf_parse_segments(phdrs, size, out);
	kfree(phdrs);
	return r;
}

int exec_elf_interpreter(struct file *f, const struct elf_image *e, char *buffer, size_t size)
{
	if (e->interp_size > size || e->interp_size < 2)
		return -ENOEXEC;
	ssize_t n = file_read_kernel(f, buffer, e->interp_size, (loff_t)e->interp_offset);
	if (n < 0)
		return (int)n;
	return (size_t)n < e->interp_size || buffer[e->interp_size - 1] ? -ENOEXEC : 0;
}

// ---- segments ----

static unsigned segment_flags(const struct elf_segment *s)
{
	return (s->flags & PF_R ? VMA_READ : 0) | (s->flags & PF_W ? VMA_WRITE : 0) | (s->flags & PF_X ? VMA_EXEC : 0) |
	       VMA_MAY_READ | VMA_MAY_WRITE | VMA_MAY_EXEC;
}

static int map_file_part(struct exec_image *image, struct file *f, const struct elf_segment *s, uint64_t at)
{
	uint64_t start = align_down(at, PAGE_SIZE), end = align_up(at + s->file_size, PAGE_SIZE);
	uint64_t page = s->file_offset >> PAGE_SHIFT;
	unsigned flags = segment_flags(s);
	struct mobj *object = NULL;
	if (!s->file_size)
		return 0;
	if (f->ops->mmap) {
		int r = f->ops->mmap(f, &page, end - start, &flags, &object);
		if (r)
			return r;
	} else {
		object = f->object ? f->object : f->inode->object;
		if (!object)
			return -ENOEXEC;
		mobj_get(object);
	}
	long r = mm_map(image->mm, start, end - start, flags, MAP_FIXED, f, object, page, NULL);
	if (object)
		mobj_put(object);
	if (r < 0)
		return (int)r;
	// What follows the data in its last page belongs to the segment too, and is zero.
	if (s->memory_size > s->file_size && (flags & VMA_WRITE) && at + s->file_size < end)
		image->zero[image->zero_count++] = (struct exec_zero){ at + s->file_size, end - (at + s->file_size) };
	return 0;
}

static int map_zero_part(struct exec_image *image, const struct elf_segment *s, uint64_t at)
{
	uint64_t start = s->file_size ? align_up(at + s->file_size, PAGE_SIZE) : align_down(at, PAGE_SIZE);
	uint64_t end = align_up(at + s->memory_size, PAGE_SIZE);
	if (start >= end)
		return 0;
	long r = mm_map(image->mm, start, end - start, segment_flags(s), MAP_FIXED, NULL, NULL, 0, NULL);
	return r < 0 ? (int)r : 0;
}

static int map_segments(struct exec_image *image, struct file *f, const struct elf_image *e, uint64_t bias)
{
	for (unsigned i = 0; i < e->segment_count; i++) {
		const struct elf_segment *s = &e->segments[i];
		uint64_t at = bias + s->vaddr;
		if (at < PORT_USER_START || !user_range_ok(at, s->memory_size + PAGE_SIZE))
			return -ENOMEM;
		int r = map_file_part(image, f, s, at);
		if (!r)
			r = map_zero_part(image, s, at);
		if (r)
			return r;
	}
	return 0;
}

// ---- places ----

static uint64_t random_pages(bool randomize, uint64_t count)
{
	return randomize ? (random_u64() % count) << PAGE_SHIFT : 0;
}

// Directly below what is in the mmap area so far; the address space is new and empty there.
static uint64_t bias_below(const struct elf_image *e, uint64_t limit)
{
	return align_down(limit - (e->load_end - e->load_start), e->alignment) - e->load_start;
}

static uint64_t program_bias(const struct exec_image *image, bool with_interpreter, bool randomize)
{
	const struct elf_image *e = &image->program;
	if (!e->position_independent)
		return 0;
	if (!with_interpreter) // an interpreter started as a program, or a static PIE: keeps away from the programs it may load
		return bias_below(e, image->mm->mmap_base);
	uint64_t random = randomize ? placement_random_pages(PLACEMENT_PROGRAM, PIE_RANDOM_PAGES) << PAGE_SHIFT : 0;
	return align_down(PIE_BASE + random, e->alignment) - e->load_start;
}

static void set_break(struct exec_image *image, bool with_interpreter, bool randomize)
{
	struct mm *mm = image->mm;
	const struct elf_image *e = &image->program;
	uint64_t at = image->program_bias + e->load_end;
	if (e->position_independent && !with_interpreter)
		at = PIE_BASE; // behind itself is the mmap area, where it could not grow
	at = align_up(at, PAGE_SIZE) + random_pages(randomize, BRK_RANDOM_BYTES >> PAGE_SHIFT);
	mm->brk_start = mm->brk_end = at;
}

uint64_t exec_elf_mmap_end(const struct exec_image *image)
{
	const struct elf_image *interpreter = &image->interpreter, *program = &image->program;
	if (interpreter->segment_count && interpreter->position_independent)
		return image->interpreter_bias + interpreter->load_start;
	if (!interpreter->segment_count && program->position_independent)
		return image->program_bias + program->load_start;
	return image->mm->mmap_base;
}

int exec_elf_map(struct exec_image *image, struct file *program, struct file *interpreter, bool randomize)
{
	image->zero_count = 0;
	image->program_bias = program_bias(image, interpreter != NULL, randomize);
	int r = map_segments(image, program, &image->program, image->program_bias);
	if (r)
		return r;
	set_break(image, interpreter != NULL, randomize);
	image->entry = image->program_bias + image->program.entry;
	if (!interpreter)
		return 0;
	if (!image->interpreter.position_independent)
		image->interpreter_bias = 0;
	else
		image->interpreter_bias = bias_below(&image->interpreter, image->mm->mmap_base);
	r = map_segments(image, interpreter, &image->interpreter, image->interpreter_bias);
	image->entry = image->interpreter_bias + image->interpreter.entry;
	return r;
}
