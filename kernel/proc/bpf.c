// SPDX-License-Identifier: Apache-2.0
// Classic BPF for seccomp(2): the check and the interpreter. McCanne and Jacobson, "The BSD Packet Filter", 1993.

#include "bpf.h"

#include "kernel/errno.h"
#include "lib/string.h"

static_assert(sizeof(struct seccomp_data) == 64, "what filters index");

static bool is_known(uint16_t code)
{
	static const uint16_t known[] = {
		BPF_LD | BPF_W | BPF_ABS,
		BPF_LD | BPF_W | BPF_LEN,
		BPF_LDX | BPF_W | BPF_LEN,
		BPF_LD | BPF_IMM,
		BPF_LDX | BPF_IMM,
		BPF_LD | BPF_MEM,
		BPF_LDX | BPF_MEM,
		BPF_ST,
		BPF_STX,
		BPF_RET | BPF_K,
		BPF_RET | BPF_A,
		BPF_MISC | BPF_TAX,
		BPF_MISC | BPF_TXA,
		BPF_ALU | BPF_NEG,
		BPF_ALU | BPF_ADD | BPF_K,
		BPF_ALU | BPF_ADD | BPF_X,
		BPF_ALU | BPF_SUB | BPF_K,
		BPF_ALU | BPF_SUB | BPF_X,
		BPF_ALU | BPF_MUL | BPF_K,
		BPF_ALU | BPF_MUL | BPF_X,
		BPF_ALU | BPF_DIV | BPF_K,
		BPF_ALU | BPF_DIV | BPF_X,
		BPF_ALU | BPF_AND | BPF_K,
		BPF_ALU | BPF_AND | BPF_X,
		BPF_ALU | BPF_OR | BPF_K,
		BPF_ALU | BPF_OR | BPF_X,
		BPF_ALU | BPF_XOR | BPF_K,
		BPF_ALU | BPF_XOR | BPF_X,
		BPF_ALU | BPF_LSH | BPF_K,
		BPF_ALU | BPF_LSH | BPF_X,
		BPF_ALU | BPF_RSH | BPF_K,
		BPF_ALU | BPF_RSH | BPF_X,
		BPF_JMP | BPF_JA,
		BPF_JMP | BPF_JEQ | BPF_K,
		BPF_JMP | BPF_JEQ | BPF_X,
		BPF_JMP | BPF_JGE | BPF_K,
		BPF_JMP | BPF_JGE | BPF_X,
		BPF_JMP | BPF_JGT | BPF_K,
		BPF_JMP | BPF_JGT | BPF_X,
		BPF_JMP | BPF_JSET | BPF_K,
		BPF_JMP | BPF_JSET | BPF_X,
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (known[i] == code)
			return true;
	return false;
}

static bool is_memory_load(uint16_t code) { return code == (BPF_LD | BPF_MEM) || code == (BPF_LDX | BPF_MEM); }
static bool is_store(uint16_t code) { return code == BPF_ST || code == BPF_STX; }
static bool is_jump(uint16_t code) { return BPF_CLASS(code) == BPF_JMP; }

// `after`: how many instructions follow it.
static bool operand_is_good(const struct sock_filter *i, unsigned after)
{
	switch (i->code) {
	case BPF_LD | BPF_W | BPF_ABS: return i->k % 4 == 0 && i->k < sizeof(struct seccomp_data);
	case BPF_ALU | BPF_DIV | BPF_K: return i->k != 0;
	case BPF_ALU | BPF_LSH | BPF_K:
	case BPF_ALU | BPF_RSH | BPF_K: return i->k < 32;
	case BPF_JMP | BPF_JA: return i->k < after;
	}
	if (is_memory_load(i->code) || is_store(i->code))
		return i->k < BPF_MEMWORDS;
	return !is_jump(i->code) || (i->jt < after && i->jf < after);
}

// Is scratch memory written before it is read, whatever way the program takes? written[n]: the words that are at instruction n, by the
// jumps seen so far.
static bool memory_is_written(const struct sock_filter *program, unsigned count, uint16_t *written)
{
	uint16_t now = 0;

	memset(written, 0xff, count * sizeof(*written));
	for (unsigned n = 0; n < count; n++) {
		const struct sock_filter *i = &program[n];

		now &= written[n];
		if (is_store(i->code)) {
			now |= (uint16_t)(1u << i->k);
		} else if (is_memory_load(i->code)) {
			if (!(now >> i->k & 1))
				return false;
		} else if (i->code == (BPF_JMP | BPF_JA)) {
			written[n + 1 + i->k] &= now;
			now = UINT16_MAX; // the next one is reached by jumps only
		} else if (is_jump(i->code)) {
			written[n + 1 + i->jt] &= now;
			written[n + 1 + i->jf] &= now;
			now = UINT16_MAX;
		}
	}
	return true;
}

int bpf_check(const struct sock_filter *program, unsigned count, uint16_t *scratch)
{
	if (!count || count > BPF_MAXINSNS || BPF_CLASS(program[count - 1].code) != BPF_RET)
		return -EINVAL;
	for (unsigned n = 0; n < count; n++)
		if (!is_known(program[n].code) || !operand_is_good(&program[n], count - n - 1))
			return -EINVAL;
	return memory_is_written(program, count, scratch) ? 0 : -EINVAL;
}

static uint32_t load(const struct seccomp_data *data, uint32_t offset)
{
	uint32_t word;

	memcpy(&word, (const char *)data + offset, sizeof(word));
	return word;
}

static uint32_t calculate(uint16_t operation, uint32_t a, uint32_t b)
{
	switch (operation) {
	case BPF_ADD: return a + b;
	case BPF_SUB: return a - b;
	case BPF_MUL: return a * b;
	case BPF_DIV: return a / b;
	case BPF_AND: return a & b;
	case BPF_OR: return a | b;
	case BPF_XOR: return a ^ b;
	case BPF_LSH: return a << (b & 31);
	case BPF_RSH: return a >> (b & 31);
	}
	return -a; // BPF_NEG
}

static bool compare(uint16_t operation, uint32_t a, uint32_t b)
{
	switch (operation) {
	case BPF_JEQ: return a == b;
	case BPF_JGT: return a > b;
	case BPF_JGE: return a >= b;
	}
	return a & b; // BPF_JSET
}

uint32_t bpf_run(const struct sock_filter *program, const struct seccomp_data *data)
{
	uint32_t a = 0, x = 0, memory[BPF_MEMWORDS];

	for (const struct sock_filter *i = program;; i++) {
		uint32_t operand = BPF_SRC(i->code) == BPF_X ? x : i->k;

		switch (i->code) {
		case BPF_LD | BPF_W | BPF_ABS: a = load(data, i->k); continue;
		case BPF_LD | BPF_W | BPF_LEN: a = sizeof(*data); continue;
		case BPF_LDX | BPF_W | BPF_LEN: x = sizeof(*data); continue;
		case BPF_LD | BPF_IMM: a = i->k; continue;
		case BPF_LDX | BPF_IMM: x = i->k; continue;
		case BPF_LD | BPF_MEM: a = memory[i->k]; continue;
		case BPF_LDX | BPF_MEM: x = memory[i->k]; continue;
		case BPF_ST: memory[i->k] = a; continue;
		case BPF_STX: memory[i->k] = x; continue;
		case BPF_MISC | BPF_TAX: x = a; continue;
		case BPF_MISC | BPF_TXA: a = x; continue;
		case BPF_RET | BPF_K: return i->k;
		case BPF_RET | BPF_A: return a;
		case BPF_JMP | BPF_JA: i += i->k; continue;
		}
		if (is_jump(i->code)) {
			i += compare(BPF_OP(i->code), a, operand) ? i->jt : i->jf;
		} else {
			if (BPF_OP(i->code) == BPF_DIV && !operand)
				return 0; // as classic BPF has it: the program ends
			a = calculate(BPF_OP(i->code), a, operand);
		}
	}
}
