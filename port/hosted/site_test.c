// SPDX-License-Identifier: Apache-2.0
#include "site.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SITE UINT64_C(0x7f0000001000)

static bool find(struct call_site *out, const char *before, size_t before_bytes, const char *after, size_t after_bytes,
		 uint32_t nr)
{
	bool found = hosted_site_find(out, (const uint8_t *)before, before_bytes, (const uint8_t *)after, after_bytes,
				      SITE, nr);
	assert_true(!found || hosted_site_may_start(out->prefix[0]));
	return found;
}
#define FIND(out, before, after, nr) find(out, before, sizeof(before) - 1, after, sizeof(after) - 1, nr)

static void the_usual_site(void **state)
{
	struct call_site s;
	(void)state;
	assert_true(FIND(&s, "\x90\xb8\x6e\x00\x00\x00", "\xc3", 110));
	assert_int_equal(s.at, SITE - 5);
	assert_int_equal(s.length, 5);
	assert_int_equal(s.prefix_bytes, 5);
	assert_false(FIND(&s, "\x90\xb8\x6e\x00\x00\x00", "\xc3", 111)); // another number came from elsewhere
	assert_false(FIND(&s, "\x6e\x00\x00\x00", "\xc3", 110));         // cut off
}

static void instructions_between(void **state)
{
	struct call_site s;
	uint8_t moved[SITE_PREFIX_MAX];
	(void)state;
	// mov $0xca,%eax ; xor $0x81,%sil
	assert_true(FIND(&s, "\xb8\xca\x00\x00\x00\x40\x80\xf6\x81", "", 0xca));
	assert_int_equal(s.at, SITE - 9);
	assert_int_equal(s.prefix_bytes, 9);
	// mov $0xda,%eax ; lea 0x3ab4(%rip),%rdi: the displacement follows the stub's place
	assert_true(FIND(&s, "\xb8\xda\x00\x00\x00\x48\x8d\x3d\xb4\x3a\x00\x00", "", 0xda));
	assert_true(hosted_site_relocate(&s, s.prefix_at - 0x1000, moved));
	int32_t displacement;
	memcpy(&displacement, moved + 8, 4);
	assert_int_equal(displacement, 0x3ab4 + 0x1000);
	assert_false(hosted_site_relocate(&s, s.prefix_at - (UINT64_C(1) << 33), moved));
	// mov $9,%eax ; call: no
	assert_false(FIND(&s, "\xb8\x09\x00\x00\x00\xe8\x01\x02\x03\x04", "", 9));
	// mov $9,%eax ; jmp 1f: no
	assert_false(FIND(&s, "\xb8\x09\x00\x00\x00\xeb\x00", "", 9));
	// an instruction that is cut off by the site: the bytes of the number stand inside another instruction
	assert_false(FIND(&s, "\xb8\x09\x00\x00\x00\x48\x8b", "", 9));
}

static void number_in_r8(void **state)
{
	struct call_site s;
	(void)state;
	// movslq %edi,%rdi ; mov $1,%r8d ; mov %r8,%rax
	assert_true(FIND(&s, "\x48\x63\xff\x41\xb8\x01\x00\x00\x00\x4c\x89\xc0", "", 1));
	assert_int_equal(s.at, SITE - 9);
	assert_int_equal(s.length, 5);
	assert_int_equal(s.prefix_bytes, 9);
	// mov $0xca,%r8d ; mov $1,%edx ; mov $0x81,%esi ; mov %rbx,%rdi ; mov %r8,%rax: as long as they get
	assert_true(FIND(&s, "\x41\xb8\xca\x00\x00\x00\xba\x01\x00\x00\x00\xbe\x81\x00\x00\x00\x48\x89\xdf\x4c\x89\xc0",
			 "", 0xca));
	assert_int_equal(s.prefix_bytes, SITE_PREFIX_MAX);
	// with R8 moved, and then something else
	assert_true(FIND(&s, "\x41\xb8\xca\x00\x00\x00\x4c\x89\xc0\x48\x89\xd6", "", 0xca));
}

// Read backwards, the end of one instruction looks like another one.
static void tails_of_other_instructions(void **state)
{
	struct call_site s;
	const char after[] = "\x48\x3d\x00\xf0\xff\xff\x77\x5b\xc3\x0f\x1f\x44\x00\x00\x48";
	(void)state;
	// mov $1,%r8d, with RAX from elsewhere, and with 0x41 in an instruction before
	assert_false(FIND(&s, "\x41\xb8\x01\x00\x00\x00", "", 1));
	assert_false(FIND(&s, "\xc7\x41\xb8\x01\x00\x00\x00\x4c\x89\xc0", "", 1));
	// mov $1,%eax ; mov %r8,%rax
	assert_false(FIND(&s, "\x90\xb8\x01\x00\x00\x00\x4c\x89\xc0", "", 1));
	// movl $1,-0x48(%rax) ; movl $1,-0x48(%rdi) ; movl $1,-0x48(%rsp) ; addl $1,-0x48(%rdx)
	assert_false(FIND(&s, "\x90\xc7\x40\xb8\x01\x00\x00\x00", "", 1));
	assert_false(FIND(&s, "\x90\xc7\x47\xb8\x01\x00\x00\x00", "", 1));
	assert_false(FIND(&s, "\xc7\x44\x24\xb8\x01\x00\x00\x00", "", 1));
	assert_false(FIND(&s, "\x81\x42\xb8\x01\x00\x00\x00", "", 1));
	// mov %rax,0x48(%rsp) ; mov $1,%eax: an offset, whatever else it might be
	assert_true(FIND(&s, "\x48\x89\x44\x24\x48\xb8\x01\x00\x00\x00", "", 1));
	// xor %r8d,%r8d: not what read(2) of glibc has
	assert_true(FIND(&s, "\x90\x31\xc0", after, 0));
	assert_false(FIND(&s, "\x45\x31\xc0", after, 0));
}

static void functions(void **state)
{
	struct call_site s;
	(void)state;
	assert_true(FIND(&s, "\x4d\x89\xc8\x4c\x8b\x4c\x24\x08", "\x48", 1234));
	assert_int_equal(s.at, SITE - 5);
	assert_true(FIND(&s, "\x49\x89\xf2\x48\x89\xfa\x48\x89\xce\x48\x89\xdf", "", 7));
	assert_int_equal(s.at, SITE - 6);
	assert_int_equal(s.prefix_bytes, 6);
	assert_false(FIND(&s, "\x48\x89\xce\x48\x89\xdf", "", 7)); // two moves elsewhere may be jumped between
}

static void padding(void **state)
{
	struct call_site s;
	(void)state;
	// glibc's read(): cmp, ja, ret end 11 bytes behind the site; padding up to a multiple of 16
	const char after[] = "\x48\x3d\x00\xf0\xff\xff\x77\x5b\xc3\x0f\x1f\x44\x00\x00\x48";
	assert_true(FIND(&s, "\x90\x31\xc0", after, 0));
	assert_int_equal(s.length, 2);
	assert_int_equal(s.at, SITE - 2);
	assert_int_equal(s.pad, SITE + 2 + 9);
	assert_false(FIND(&s, "\x90\x31\xc0", after, 1));
	// too short; not up to a multiple of 16; not behind a return; taken already
	assert_false(FIND(&s, "\x31\xc0", "\x48\x3d\x00\xf0\xff\xff\x77\x5b\xc3\x0f\x1f\x00\x90\x48\x90", 0));
	assert_false(FIND(&s, "\x31\xc0", "\x48\x3d\x00\xf0\xff\xff\x77\x5b\xc3\x66\x0f\x1f\x44\x00\x00\x48", 0));
	assert_false(FIND(&s, "\x31\xc0", "\x48\x3d\x00\xf0\xff\xff\x77\x5b\xc7\x0f\x1f\x44\x00\x00\x48", 0));
	assert_false(FIND(&s, "\x31\xc0", "\x48\x3d\x00\xf0\xff\xff\x77\x5b\xc3\xe9\x00\x00\x00\x00\x48", 0));
}

static void glibc_exit(void **state)
{
	struct call_site s;
	char code[] = "\xbe\xe7\x00\x00\x00\xba\x3c\x00\x00\x00\xeb\x12\x0f\x1f\x44\x00\x00\x89\xd0\x0f\x05"
		      "\x48\x3d\x00\xf0\xff\xff\x77\x1c\xf4\x89\xf0";
	(void)state;
	assert_true(FIND(&s, code, "\x48\x3d", 231));
	assert_int_equal(s.length, 2);
	assert_int_equal(s.at, SITE - 2);
	assert_int_equal(s.pad, SITE - 20);
	assert_int_equal(s.prefix_bytes, 2);
	code[12] = (char)0xe9; // taken already
	assert_false(FIND(&s, code, "\x48\x3d", 231));
	assert_false(FIND(&s, "\x89\xf0", "\x48\x3d", 231));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_usual_site), cmocka_unit_test(instructions_between),
		cmocka_unit_test(number_in_r8),   cmocka_unit_test(tails_of_other_instructions),
		cmocka_unit_test(functions),      cmocka_unit_test(padding),
		cmocka_unit_test(glibc_exit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
