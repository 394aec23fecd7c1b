// SPDX-License-Identifier: GPL-2.0-only
#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "interpreter.h"

#define CLOBBERED 0xbadc0de0badc0deULL /* r1 to r5 after a call */

bool interpreter_fail(struct interpreter *vm, const char *format, ...)
{
	va_list args;
	int len;

	if (vm->error[0])
		return false;
	len = snprintf(vm->error, sizeof(vm->error), "instruction %zu: ", vm->at);
	va_start(args, format);
	vsnprintf(vm->error + len, sizeof(vm->error) - (size_t)len, format, args);
	va_end(args);
	return false;
}

void interpreter_init(struct interpreter *vm, const struct interpreter_world *world,
		      const struct bpf_insn *insns, size_t count)
{
	memset(vm, 0, sizeof(*vm));
	vm->world = world;
	vm->insns = insns;
	vm->count = count;
}

/* ---- Memory ----------------------------------------------------------------- */

size_t interpreter_add_region(struct interpreter *vm, const void *start, size_t len)
{
	size_t region = vm->regions;

	if (region == INTERPRETER_REGIONS)
		interpreter_fail(vm, "more regions of memory than there is room for");
	else
		vm->regions++;
	interpreter_move_region(vm, region % INTERPRETER_REGIONS, start, len);
	return region;
}

void interpreter_move_region(struct interpreter *vm, size_t region, const void *start, size_t len)
{
	vm->region[region].start = (uintptr_t)start;
	vm->region[region].len = len;
}

static const struct interpreter_region *find_region(const struct interpreter *vm, uint64_t address,
						    size_t len)
{
	for (size_t i = 0; i < vm->regions; i++) {
		const struct interpreter_region *region = &vm->region[i];
		uint64_t offset = address - region->start;

		if (offset <= region->len && len <= region->len - offset)
			return region;
	}
	return NULL;
}

size_t interpreter_may_read(const struct interpreter *vm, uint64_t address)
{
	const struct interpreter_region *region = find_region(vm, address, 1);

	if (!region || region->is_context)
		return 0;
	return region->len - (address - region->start);
}

static const struct interpreter_region *access_region(struct interpreter *vm, uint64_t address,
						      size_t len)
{
	const struct interpreter_region *region = find_region(vm, address, len);

	if (!region)
		interpreter_fail(vm, "%zu bytes at %#llx are not the program's", len,
				 (unsigned long long)address);
	return region;
}

static size_t access_size(const struct bpf_insn *insn)
{
	switch (BPF_SIZE(insn->code)) {
	case BPF_B:
		return 1;
	case BPF_H:
		return 2;
	case BPF_W:
		return 4;
	default:
		return 8;
	}
}

/* Memory holds numbers in the machine's byte order, as the program's own machine would. */
static uint64_t get(const void *from, size_t size)
{
	uint64_t value = 0;

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	memcpy((uint8_t *)&value + sizeof(value) - size, from, size);
#else
	memcpy(&value, from, size);
#endif
	return value;
}

static void put(void *to, uint64_t value, size_t size)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	memcpy(to, (uint8_t *)&value + sizeof(value) - size, size);
#else
	memcpy(to, &value, size);
#endif
}

static bool load(struct interpreter *vm, uint64_t address, size_t size, uint64_t *value)
{
	const struct interpreter_region *region = access_region(vm, address, size);

	if (!region)
		return false;
	if (region->is_context)
		return vm->world->load_field(vm, address - region->start, size, value);
	*value = get((const void *)(uintptr_t)address, size);
	return true;
}

static bool store(struct interpreter *vm, uint64_t address, size_t size, uint64_t value)
{
	const struct interpreter_region *region = access_region(vm, address, size);

	if (!region)
		return false;
	if (region->is_context)
		return vm->world->store_field(vm, address - region->start, size, value);
	put((void *)(uintptr_t)address, value, size);
	return true;
}

static int64_t sign_extend(uint64_t value, size_t size)
{
	unsigned int shift = 64 - 8 * (unsigned int)size;

	return (int64_t)(value << shift) >> shift;
}

static bool execute_load(struct interpreter *vm, const struct bpf_insn *insn)
{
	uint64_t *to = &vm->reg[insn->dst_reg];
	size_t size = access_size(insn);

	if (!load(vm, vm->reg[insn->src_reg] + (uint64_t)(int64_t)insn->off, size, to))
		return false;
	return BPF_MODE(insn->code) == BPF_MEM ||
	       interpreter_fail(vm, "no load of mode %#x", BPF_MODE(insn->code));
}

/* Of the atomic operations, the addition. */
static bool execute_atomic(struct interpreter *vm, const struct bpf_insn *insn, uint64_t address)
{
	size_t size = access_size(insn);
	uint64_t old;

	if ((insn->imm & ~BPF_FETCH) != BPF_ADD)
		return interpreter_fail(vm, "no atomic operation %#x", insn->imm);
	if (!load(vm, address, size, &old) ||
	    !store(vm, address, size, old + vm->reg[insn->src_reg]))
		return false;
	if (insn->imm & BPF_FETCH)
		vm->reg[insn->src_reg] = old;
	return true;
}

static bool execute_store(struct interpreter *vm, const struct bpf_insn *insn)
{
	uint64_t address = vm->reg[insn->dst_reg] + (uint64_t)(int64_t)insn->off;
	uint64_t value = BPF_CLASS(insn->code) == BPF_ST ? (uint64_t)(int64_t)insn->imm :
							   vm->reg[insn->src_reg];

	if (BPF_CLASS(insn->code) == BPF_STX && BPF_MODE(insn->code) == BPF_ATOMIC)
		return execute_atomic(vm, insn, address);
	if (BPF_MODE(insn->code) != BPF_MEM)
		return interpreter_fail(vm, "no store of mode %#x", BPF_MODE(insn->code));
	return store(vm, address, access_size(insn), value);
}

/* The one instruction that takes two places; it counts as one. */
static bool execute_wide_load(struct interpreter *vm, const struct bpf_insn *insn)
{
	uint64_t *to = &vm->reg[insn->dst_reg];

	if (insn->code != (BPF_LD | BPF_DW | BPF_IMM) || vm->at >= vm->count)
		return interpreter_fail(vm, "no instruction %#x", insn->code);
	vm->at++;
	switch (insn->src_reg) {
	case 0:
		*to = (uint32_t)insn[0].imm | (uint64_t)(uint32_t)insn[1].imm << 32;
		return true;
	case BPF_PSEUDO_MAP_FD:
		*to = INTERPRETER_MAP | (uint32_t)insn[0].imm;
		return true;
	case BPF_PSEUDO_MAP_VALUE:
		if (!vm->world->map_value(vm, insn[0].imm, to))
			return false;
		*to += (uint32_t)insn[1].imm;
		return true;
	}
	return interpreter_fail(vm, "no constant of kind %u", insn->src_reg);
}

/* ---- Arithmetic ------------------------------------------------------------- */

static uint64_t operand(const struct interpreter *vm, const struct bpf_insn *insn)
{
	return BPF_SRC(insn->code) == BPF_X ? vm->reg[insn->src_reg] : (uint64_t)(int64_t)insn->imm;
}

static uint64_t swap_bytes(uint64_t value, int bits)
{
	return __builtin_bswap64(value) >> (64 - bits);
}

/* To a byte order: nothing but a cut where that is the machine's. */
static bool execute_byte_order(struct interpreter *vm, const struct bpf_insn *insn)
{
	bool big = BPF_SRC(insn->code) == BPF_TO_BE;
	bool unconditional = BPF_CLASS(insn->code) == BPF_ALU64;
	uint64_t *value = &vm->reg[insn->dst_reg];

	if (insn->imm != 16 && insn->imm != 32 && insn->imm != 64)
		return interpreter_fail(vm, "no byte order of %d bits", insn->imm);
	if (unconditional || big != (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__))
		*value = swap_bytes(*value, insn->imm);
	else if (insn->imm < 64)
		*value &= (1ULL << insn->imm) - 1;
	return true;
}

static uint64_t shift_right_signed(uint64_t value, uint64_t by, bool narrow)
{
	if (narrow)
		return (uint32_t)((int32_t)value >> (by & 31));
	return (uint64_t)((int64_t)value >> (by & 63));
}

static bool calculate(uint8_t operation, bool narrow, uint64_t a, uint64_t b, uint64_t *result)
{
	uint64_t shift = b & (narrow ? 31 : 63);

	switch (operation) {
	case BPF_ADD:
		*result = a + b;
		return true;
	case BPF_SUB:
		*result = a - b;
		return true;
	case BPF_MUL:
		*result = a * b;
		return true;
	case BPF_DIV:
		*result = b ? a / b : 0;
		return true;
	case BPF_MOD:
		*result = b ? a % b : a;
		return true;
	case BPF_OR:
		*result = a | b;
		return true;
	case BPF_AND:
		*result = a & b;
		return true;
	case BPF_XOR:
		*result = a ^ b;
		return true;
	case BPF_LSH:
		*result = a << shift;
		return true;
	case BPF_RSH:
		*result = a >> shift;
		return true;
	case BPF_ARSH:
		*result = shift_right_signed(a, b, narrow);
		return true;
	case BPF_NEG:
		*result = -a;
		return true;
	case BPF_MOV:
		*result = b;
		return true;
	}
	return false;
}

static bool execute_arithmetic(struct interpreter *vm, const struct bpf_insn *insn)
{
	bool narrow = BPF_CLASS(insn->code) == BPF_ALU;
	uint64_t a = vm->reg[insn->dst_reg], b = operand(vm, insn), result;

	if (BPF_OP(insn->code) == BPF_END)
		return execute_byte_order(vm, insn);
	if (narrow) {
		a = (uint32_t)a;
		b = (uint32_t)b;
	}
	/* An offset makes signed operations of some, which came with -mcpu=v4. */
	if (insn->off || !calculate(BPF_OP(insn->code), narrow, a, b, &result))
		return interpreter_fail(vm, "no arithmetic %#x", insn->code);
	vm->reg[insn->dst_reg] = narrow ? (uint32_t)result : result;
	return true;
}

/* ---- Jumps and calls -------------------------------------------------------- */

static bool compare(uint8_t operation, uint64_t a, uint64_t b, bool *taken)
{
	int64_t signed_a = (int64_t)a, signed_b = (int64_t)b;

	switch (operation) {
	case BPF_JEQ:
		*taken = a == b;
		return true;
	case BPF_JNE:
		*taken = a != b;
		return true;
	case BPF_JSET:
		*taken = a & b;
		return true;
	case BPF_JGT:
		*taken = a > b;
		return true;
	case BPF_JGE:
		*taken = a >= b;
		return true;
	case BPF_JLT:
		*taken = a < b;
		return true;
	case BPF_JLE:
		*taken = a <= b;
		return true;
	case BPF_JSGT:
		*taken = signed_a > signed_b;
		return true;
	case BPF_JSGE:
		*taken = signed_a >= signed_b;
		return true;
	case BPF_JSLT:
		*taken = signed_a < signed_b;
		return true;
	case BPF_JSLE:
		*taken = signed_a <= signed_b;
		return true;
	}
	return false;
}

/* Both comparisons are right for sign-extended halves: order and equality are kept. */
static bool execute_branch(struct interpreter *vm, const struct bpf_insn *insn)
{
	bool narrow = BPF_CLASS(insn->code) == BPF_JMP32, taken = true;
	uint64_t a = vm->reg[insn->dst_reg], b = operand(vm, insn);
	int64_t distance = insn->off;

	if (narrow) {
		a = (uint64_t)sign_extend(a, 4);
		b = (uint64_t)sign_extend(b, 4);
	}
	if (BPF_OP(insn->code) == BPF_JA)
		distance = narrow ? insn->imm : insn->off;
	else if (!compare(BPF_OP(insn->code), a, b, &taken))
		return interpreter_fail(vm, "no jump %#x", insn->code);
	if (taken)
		vm->at += (size_t)distance;
	return true;
}

static void set_stack(struct interpreter *vm)
{
	vm->reg[BPF_REG_10] = (uintptr_t)vm->frame[vm->depth].stack + INTERPRETER_STACK;
}

static bool call_function(struct interpreter *vm, const struct bpf_insn *insn)
{
	struct interpreter_frame *frame = &vm->frame[vm->depth];

	if (vm->depth + 1 == INTERPRETER_CALLS)
		return interpreter_fail(vm, "calls too deep");
	memcpy(frame->saved, &vm->reg[BPF_REG_6], sizeof(frame->saved));
	frame->back = vm->at;
	vm->depth++;
	set_stack(vm);
	vm->at += (size_t)(int64_t)insn->imm;
	return true;
}

static bool call_helper(struct interpreter *vm, const struct bpf_insn *insn)
{
	vm->helpers++;
	if (!vm->world->call(vm, insn->imm, &vm->reg[BPF_REG_1], &vm->reg[BPF_REG_0]))
		return false;
	for (int i = BPF_REG_1; i <= BPF_REG_5; i++)
		vm->reg[i] = CLOBBERED;
	return true;
}

static bool execute_call(struct interpreter *vm, const struct bpf_insn *insn)
{
	if (insn->src_reg == BPF_PSEUDO_CALL)
		return call_function(vm, insn);
	if (insn->src_reg == 0)
		return call_helper(vm, insn);
	return interpreter_fail(vm, "no call of kind %u", insn->src_reg);
}

/* Returns true if that was the end of the program. */
static bool execute_exit(struct interpreter *vm)
{
	const struct interpreter_frame *frame;

	if (!vm->depth)
		return true;
	frame = &vm->frame[--vm->depth];
	memcpy(&vm->reg[BPF_REG_6], frame->saved, sizeof(frame->saved));
	vm->at = frame->back;
	return false;
}

static bool execute_jump(struct interpreter *vm, const struct bpf_insn *insn, bool *ended)
{
	if (insn->code == (BPF_JMP | BPF_CALL))
		return execute_call(vm, insn);
	if (insn->code != (BPF_JMP | BPF_EXIT))
		return execute_branch(vm, insn);
	*ended = execute_exit(vm);
	return true;
}

/* ---- The loop --------------------------------------------------------------- */

static bool execute(struct interpreter *vm, const struct bpf_insn *insn, bool *ended)
{
	switch (BPF_CLASS(insn->code)) {
	case BPF_LD:
		return execute_wide_load(vm, insn);
	case BPF_LDX:
		return execute_load(vm, insn);
	case BPF_ST:
	case BPF_STX:
		return execute_store(vm, insn);
	case BPF_ALU:
	case BPF_ALU64:
		return execute_arithmetic(vm, insn);
	default: /* BPF_JMP, BPF_JMP32 */
		return execute_jump(vm, insn, ended);
	}
}

bool interpreter_run(struct interpreter *vm, const void *context, size_t context_len,
		     uint64_t *result)
{
	bool ended = false;

	vm->region[interpreter_add_region(vm, context, context_len)].is_context = true;
	for (int i = 0; i < INTERPRETER_CALLS; i++)
		interpreter_add_region(vm, vm->frame[i].stack, INTERPRETER_STACK);
	vm->reg[BPF_REG_1] = (uintptr_t)context;
	set_stack(vm);
	while (!ended && !vm->error[0]) {
		if (vm->at >= vm->count)
			return interpreter_fail(vm, "no such instruction");
		if (vm->executed == INTERPRETER_STEPS)
			return interpreter_fail(vm, "endless");
		vm->trace[vm->executed++] = (uint32_t)vm->at;
		if (!execute(vm, &vm->insns[vm->at++], &ended))
			return false;
	}
	*result = vm->reg[BPF_REG_0];
	return !vm->error[0];
}
