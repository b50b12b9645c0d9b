// SPDX-License-Identifier: Apache-2.0
// Does the parser read real programs, and refuse damaged ones without reading outside its input?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/elf.h"

#define ENOEXEC_ 8

static char *file;
static size_t file_size;

static int load(void **state)
{
	(void)state;
	FILE *f = fopen("/proc/self/exe", "rb");
	file = malloc(1 << 22);
	file_size = f ? fread(file, 1, 1 << 22, f) : 0;
	if (f)
		fclose(f);
	return file_size ? 0 : -1;
}

static void reads_this_program(void **state)
{
	(void)state;
	struct elf_image image;
	size_t bytes;

	assert_int_equal(elf_parse_header(file, file_size, &image, &bytes), 0);
	assert_int_equal(elf_parse_segments(file + image.phdr_offset, bytes, &image), 0);
	assert_true(image.position_independent);
	assert_true(image.segment_count >= 2);
	assert_true(image.interp_size > 1);
	assert_memory_equal(file + image.interp_offset, "/lib", 4);
	assert_true(image.phdr_vaddr != 0);
	assert_false(image.exec_stack);
	assert_true(image.entry >= image.load_start && image.entry < image.load_end);
}

static void refuses(Elf64_Ehdr header)
{
	struct elf_image image;
	size_t bytes;
	assert_int_equal(elf_parse_header(&header, sizeof(header), &image, &bytes), -ENOEXEC_);
}

static void refuses_bad_headers(void **state)
{
	(void)state;
	Elf64_Ehdr good;
	memcpy(&good, file, sizeof(good));
	struct elf_image image;
	size_t bytes;

	assert_int_equal(elf_parse_header(file, 20, &image, &bytes), -ENOEXEC_);
	Elf64_Ehdr h = good;
	h.e_ident[0] = 0;
	refuses(h);
	h = good;
	h.e_ident[EI_CLASS] = ELFCLASS32;
	refuses(h);
	h = good;
	h.e_machine = EM_AARCH64;
	refuses(h);
	h = good;
	h.e_type = ET_REL;
	refuses(h);
	h = good;
	h.e_phnum = 0;
	refuses(h);
	h = good;
	h.e_phentsize = 1;
	refuses(h);
	h = good;
	h.e_phoff = UINT64_MAX - 8;
	refuses(h);
}

static int segments(Elf64_Phdr *p, unsigned count)
{
	struct elf_image image = { .phdr_count = (uint16_t)count };
	return elf_parse_segments(p, count * sizeof(*p), &image);
}

static void refuses_bad_segments(void **state)
{
	(void)state;
	const Elf64_Phdr good = {
		.p_type = PT_LOAD, .p_vaddr = 0x1000, .p_offset = 0x1000, .p_filesz = 16, .p_memsz = 32, .p_align = 4096
	};
	Elf64_Phdr p[2] = { good, good };

	assert_int_equal(segments(p, 1), 0);
	assert_int_equal(segments(p, 2), -ENOEXEC_); // overlap
	p[0].p_filesz = 64;                          // more file than memory
	assert_int_equal(segments(p, 1), -ENOEXEC_);
	p[0] = good;
	p[0].p_vaddr = UINT64_MAX - 4095;
	assert_int_equal(segments(p, 1), -ENOEXEC_);
	p[0] = good;
	p[0].p_vaddr += 8; // offset and address differ within the page
	assert_int_equal(segments(p, 1), -ENOEXEC_);
	p[0] = good;
	p[0].p_offset = INT64_MAX & ~4095LL;
	p[0].p_filesz = p[0].p_memsz = 8192;
	assert_int_equal(segments(p, 1), -ENOEXEC_);
	p[0] = good;
	p[0].p_type = PT_NOTE;
	assert_int_equal(segments(p, 1), -ENOEXEC_); // nothing to load
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_this_program),
		cmocka_unit_test(refuses_bad_headers),
		cmocka_unit_test(refuses_bad_segments),
	};
	return cmocka_run_group_tests(tests, load, NULL);
}
