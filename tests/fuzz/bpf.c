// SPDX-License-Identifier: Apache-2.0
// Fuzzes seccomp's filters: a program that the check accepts is run beside an interpreter that trusts nothing. There it must leave neither
// the program nor scratch memory, read no word of it that was not written, and end with the same answer.
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bpf.h"

struct machine {
	uint32_t a, x, memory[BPF_MEMWORDS];
	uint16_t written;
};

static uint32_t *scratch_word(struct machine *m, uint32_t k, bool store)
{
	if (k >= BPF_MEMWORDS || (!store && !(m->written >> k & 1)))
		abort();
	if (store)
		m->written |= (uint16_t)(1u << k);
	return &m->memory[k];
}

static uint32_t data_word(const struct seccomp_data *data, uint32_t k)
{
	uint32_t word;

	if (k > sizeof(*data) - sizeof(word) || k % sizeof(word))
		abort();
	memcpy(&word, (const char *)data + k, sizeof(word));
	return word;
}

static uint32_t load(struct machine *m, const struct sock_filter *i, const struct seccomp_data *data)
{
	switch (BPF_MODE(i->code)) {
	case BPF_IMM: return i->k;
	case BPF_LEN: return sizeof(*data);
	case BPF_MEM: return *scratch_word(m, i->k, false);
	case BPF_ABS: return data_word(data, i->k);
	}
	abort();
}

// Returns false when the program ends here: a division by zero.
static bool alu(struct machine *m, const struct sock_filter *i)
{
	uint32_t operand = BPF_SRC(i->code) == BPF_X ? m->x : i->k;

	switch (BPF_OP(i->code)) {
	case BPF_ADD: m->a += operand; return true;
	case BPF_SUB: m->a -= operand; return true;
	case BPF_MUL: m->a *= operand; return true;
	case BPF_AND: m->a &= operand; return true;
	case BPF_OR: m->a |= operand; return true;
	case BPF_XOR: m->a ^= operand; return true;
	case BPF_LSH: m->a <<= operand % 32; return true;
	case BPF_RSH: m->a >>= operand % 32; return true;
	case BPF_NEG: m->a = 0 - m->a; return true;
	case BPF_DIV:
		if (operand)
			m->a /= operand;
		return operand;
	}
	abort();
}

static uint32_t distance(const struct machine *m, const struct sock_filter *i)
{
	uint32_t operand = BPF_SRC(i->code) == BPF_X ? m->x : i->k;

	switch (BPF_OP(i->code)) {
	case BPF_JA: return i->k;
	case BPF_JEQ: return m->a == operand ? i->jt : i->jf;
	case BPF_JGT: return m->a > operand ? i->jt : i->jf;
	case BPF_JGE: return m->a >= operand ? i->jt : i->jf;
	case BPF_JSET: return m->a & operand ? i->jt : i->jf;
	}
	abort();
}

static uint32_t run(const struct sock_filter *program, unsigned count, const struct seccomp_data *data)
{
	struct machine m = { 0 };

	for (uint64_t at = 0; at < count; at++) {
		const struct sock_filter *i = &program[at];

		switch (BPF_CLASS(i->code)) {
		case BPF_LD: m.a = load(&m, i, data); break;
		case BPF_LDX: m.x = load(&m, i, data); break;
		case BPF_ST: *scratch_word(&m, i->k, true) = m.a; break;
		case BPF_STX: *scratch_word(&m, i->k, true) = m.x; break;
		case BPF_JMP: at += distance(&m, i); break;
		case BPF_RET: return BPF_RVAL(i->code) == BPF_A ? m.a : i->k;
		case BPF_MISC:
			*(BPF_MISCOP(i->code) == BPF_TAX ? &m.x : &m.a) = BPF_MISCOP(i->code) == BPF_TAX ? m.a : m.x;
			break;
		case BPF_ALU:
			if (!alu(&m, i))
				return 0;
		}
	}
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	struct seccomp_data data;
	struct sock_filter *program;
	uint16_t *scratch;
	unsigned count;

	if (size < sizeof(data) + sizeof(*program))
		return 0;
	memcpy(&data, input, sizeof(data));
	count = (unsigned)((size - sizeof(data)) / sizeof(*program));
	program = malloc(count * sizeof(*program)); // exactly: a step beyond is seen
	scratch = malloc(count * sizeof(*scratch));
	memcpy(program, input + sizeof(data), count * sizeof(*program));
	for (unsigned n = 0; n < count; n++)
		program[n].code &= input[0] & 1 ? 0xffff : 0xff; // no instruction has more: seldom worth a try
	if (bpf_check(program, count, scratch) == 0 && bpf_run(program, &data) != run(program, count, &data))
		abort();
	free(scratch);
	free(program);
	return 0;
}
