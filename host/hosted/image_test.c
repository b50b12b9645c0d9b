// SPDX-License-Identifier: Apache-2.0
// Does the parser take what a linker makes, relocate it, and refuse everything that could not be placed safely?
#include "hosted/image.h"

#include "lib/elf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define LINK UINT64_C(0x200000)
#define RELA 8u // R_X86_64_RELATIVE

// text [0, 0x1000), constants [0x1000, 0x1800), data from 0x2f00: relocated part to 0x3000, file part to 0x3100, memory to 0x5000
struct file {
	Elf64_Ehdr header;
	Elf64_Phdr segments[5];
	Elf64_Dyn dynamic[4];
	Elf64_Rela relocs[3];
	unsigned char rest[0x3100 - sizeof(Elf64_Ehdr) - 5 * sizeof(Elf64_Phdr) - 4 * sizeof(Elf64_Dyn) -
			   3 * sizeof(Elf64_Rela)];
} __attribute__((packed));

static struct file *good(void)
{
	struct file *f = calloc(1, sizeof(*f));

	f->header = (Elf64_Ehdr){ .e_ident = ELFMAG "\2\1\1",
				  .e_type = ET_DYN,
				  .e_machine = EM_X86_64,
				  .e_version = 1,
				  .e_entry = LINK + 0x800,
				  .e_phoff = offsetof(struct file, segments),
				  .e_ehsize = sizeof(Elf64_Ehdr),
				  .e_phentsize = sizeof(Elf64_Phdr),
				  .e_phnum = 5 };
	f->segments[0] = (Elf64_Phdr){ PT_LOAD, PF_R | PF_X, 0, LINK, LINK, 0x1000, 0x1000, 4096 };
	f->segments[1] = (Elf64_Phdr){ PT_LOAD, PF_R, 0x1000, LINK + 0x1000, LINK + 0x1000, 0x800, 0x800, 4096 };
	f->segments[2] = (Elf64_Phdr){ PT_LOAD, PF_R | PF_W, 0x2f00, LINK + 0x2f00, 0, 0x200, 0x2100, 4096 };
	f->segments[3] =
		(Elf64_Phdr){ PT_DYNAMIC, PF_R, offsetof(struct file, dynamic), LINK, 0, 4 * sizeof(Elf64_Dyn), 0, 8 };
	f->segments[4] = (Elf64_Phdr){ PT_GNU_RELRO, PF_R, 0x2f00, LINK + 0x2f00, 0, 0x100, 0x100, 1 };
	f->dynamic[0] = (Elf64_Dyn){ DT_RELA, { LINK + offsetof(struct file, relocs) } };
	f->dynamic[1] = (Elf64_Dyn){ DT_RELASZ, { 3 * sizeof(Elf64_Rela) } };
	f->dynamic[2] = (Elf64_Dyn){ DT_RELAENT, { sizeof(Elf64_Rela) } };
	f->relocs[0] = (Elf64_Rela){ LINK + 0x2f00, RELA, LINK + 0x1010 };
	f->relocs[1] = (Elf64_Rela){ LINK + 0x30f8, RELA, LINK + 0x4000 };
	f->relocs[2] = (Elf64_Rela){ LINK + 0x4ff8, RELA, LINK + 0x10 }; // in .bss
	memset((char *)f + 0x2f00, 'd', 0x200);
	return f;
}

static void refuse(struct file *f, const char *expected)
{
	struct image image;
	const char *why = image_parse(f, sizeof(*f), &image);

	assert_non_null(why);
	if (!strstr(why, expected))
		fail_msg("'%s' is not about '%s'", why, expected);
	free(f);
}

static void test_layout_of_a_good_image(void **state)
{
	struct file *f = good();
	struct image image;

	(void)state;
	assert_null(image_parse(f, sizeof(*f), &image));
	assert_int_equal(image.text_start, 0);
	assert_int_equal(image.text_end, 0x1000);
	assert_int_equal(image.entry, 0x800);
	assert_int_equal(image.data_start, 0x2000);
	assert_int_equal(image.end, 0x5000);
	assert_int_equal(image.relro_start, 0x2000);
	assert_int_equal(image.relro_end, 0x3000);
	assert_int_equal(image.reloc_count, 3);
	free(f);
}

static void test_data_is_copied_and_relocated(void **state)
{
	const uint64_t base = 0x7f0000000000;
	unsigned char *data = calloc(1, 0x3000);
	struct file *f = good();
	struct image image;
	uint64_t value;

	(void)state;
	assert_null(image_parse(f, sizeof(*f), &image));
	image_fill_data(&image, base, data);
	memcpy(&value, data + 0xf00, 8);
	assert_true(value == base + 0x1010);
	memcpy(&value, data + 0x10f8, 8);
	assert_true(value == base + 0x4000);
	memcpy(&value, data + 0x2ff8, 8);
	assert_true(value == base + 0x10);
	assert_int_equal(data[0xf08], 'd');
	assert_int_equal(data[0x10f7], 'd');
	assert_int_equal(data[0xeff], 0);
	assert_int_equal(data[0x1100], 0);
	free(data);
	free(f);
}

static void test_segments_that_cannot_be_protected_are_refused(void **state)
{
	struct file *f;

	(void)state;
	f = good(), f->segments[2].p_flags |= PF_X, refuse(f, "writable and executable");
	f = good(), f->segments[1].p_flags |= PF_X, refuse(f, "more than one executable");
	f = good(), f->segments[1].p_flags |= PF_W, f->segments[2].p_flags = PF_R, refuse(f, "follows a writable");
	f = good(), f->segments[0].p_flags = PF_R, refuse(f, "no executable");
	f = good(), f->segments[0].p_flags = PF_X, refuse(f, "not readable");
	f = good(), f->segments[2].p_flags = PF_R, f->segments[2].p_memsz = 0x200, refuse(f, "no writable");
	f = good(), f->segments[1].p_memsz = f->segments[1].p_filesz = 0x1f00, refuse(f, "share a page");
	f = good(), f->segments[1].p_memsz++, refuse(f, "larger than its file part");
	f = good(), f->header.e_entry = LINK + 0x1000, refuse(f, "entry");
	f = good(), f->header.e_entry = LINK - 1, refuse(f, "entry");
}

static void test_what_lies_outside_the_file_is_refused(void **state)
{
	struct file *f;

	(void)state;
	f = good(), f->segments[2].p_offset += 4096, refuse(f, "outside the file");
	f = good(), f->segments[2].p_filesz = f->segments[2].p_memsz, refuse(f, "outside the file");
	f = good(), f->segments[3].p_offset = sizeof(*f), refuse(f, "outside the file");
	f = good(), f->dynamic[0].d_un.d_ptr = LINK + 0x30f0, refuse(f, "outside the file");
	f = good(), f->dynamic[0].d_un.d_ptr = 0, refuse(f, "outside the file");
	f = good(), f->header.e_phoff = sizeof(*f), refuse(f, "outside the file");
	f = good(), f->segments[2].p_memsz = IMAGE_MAX_BYTES, refuse(f, "too large");
}

static void test_relocations_that_cannot_be_done_are_refused(void **state)
{
	struct file *f;

	(void)state;
	f = good(), f->relocs[0].r_offset = LINK + 0x1000, refuse(f, "read-only memory");
	f = good(), f->relocs[0].r_offset = LINK + 0x2efc, refuse(f, "read-only memory");
	f = good(), f->relocs[0].r_offset = LINK + 0x4ff9, refuse(f, "read-only memory");
	f = good(), f->relocs[0].r_offset = UINT64_MAX, refuse(f, "read-only memory");
	f = good(), f->relocs[0].r_info = 6, refuse(f, "not relative");
	f = good(), f->relocs[0].r_info = RELA | UINT64_C(1) << 32, refuse(f, "not relative");
	f = good(), f->dynamic[1].d_un.d_val = 25, refuse(f, "damaged");
	f = good(), f->dynamic[2].d_un.d_val = 16, refuse(f, "damaged");
	f = good(), f->dynamic[3] = (Elf64_Dyn){ DT_NEEDED, { 0 } }, refuse(f, "shared library");
	f = good(), f->dynamic[3] = (Elf64_Dyn){ 35, { 8 } }, refuse(f, "unknown form");
	f = good(), f->dynamic[3] = (Elf64_Dyn){ DT_TEXTREL, { 0 } }, refuse(f, "read-only memory");
}

static void test_other_files_are_refused(void **state)
{
	struct file *f;
	struct image image;

	(void)state;
	assert_non_null(image_parse("", 0, &image));
	assert_non_null(image_parse("#!/bin/sh\n", 10, &image));
	f = good(), f->header.e_type = ET_EXEC, refuse(f, "no position-independent");
	f = good(), f->header.e_machine = EM_AARCH64, refuse(f, "no position-independent");
	f = good(), f->segments[4].p_type = PT_TLS, refuse(f, "thread-local");
	f = good(), f->segments[4].p_type = PT_INTERP, refuse(f, "interpreter");
	f = good(), f->segments[1].p_vaddr = LINK - 4096, refuse(f, "damaged");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layout_of_a_good_image),
		cmocka_unit_test(test_data_is_copied_and_relocated),
		cmocka_unit_test(test_segments_that_cannot_be_protected_are_refused),
		cmocka_unit_test(test_what_lies_outside_the_file_is_refused),
		cmocka_unit_test(test_relocations_that_cannot_be_done_are_refused),
		cmocka_unit_test(test_other_files_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
