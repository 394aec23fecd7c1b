/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An interpreter of BPF that counts. It takes a program's instructions as libbpf relocated them,
 * so before the verifier has rewritten them, and executes them one by one: what a packet costs in
 * instructions is then a number, the same on every machine. Every access to memory has to lie in a
 * region that the caller has named.
 */
#ifndef BENCH_INTERPRETER_H
#define BENCH_INTERPRETER_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INTERPRETER_REGIONS 64
#define INTERPRETER_CALLS 8
#define INTERPRETER_STEPS 65536 /* more than any packet may need */
#define INTERPRETER_STACK 512

/* A map in a register, by its descriptor: no address of anything. */
#define INTERPRETER_MAP 0x6d61700000000000ULL

struct interpreter;

/* What is around the program. All return false, with interpreter_fail(), where they cannot. */
struct interpreter_world {
	/* Call the helper with r1 to r5; its result goes to r0. */
	bool (*call)(struct interpreter *vm, int32_t helper, const uint64_t *argument,
		     uint64_t *result);
	/* Where the value of an array of one element is. */
	bool (*map_value)(struct interpreter *vm, int fd, uint64_t *address);
	/* Fields of the context, by their offset in the kernel's UAPI. */
	bool (*load_field)(struct interpreter *vm, size_t offset, size_t size, uint64_t *value);
	bool (*store_field)(struct interpreter *vm, size_t offset, size_t size, uint64_t value);
};

struct interpreter_region {
	uint64_t start;
	size_t len;
	bool is_context;
};

struct interpreter_frame {
	uint64_t saved[BPF_REG_10 - BPF_REG_6 + 1]; /* r6 to r10 of the caller */
	size_t back;
	uint8_t stack[INTERPRETER_STACK] __attribute__((aligned(8)));
};

struct interpreter {
	const struct interpreter_world *world;
	const struct bpf_insn *insns;
	size_t count;
	size_t at; /* the next instruction */
	uint64_t reg[MAX_BPF_REG];
	struct interpreter_region region[INTERPRETER_REGIONS];
	size_t regions;
	struct interpreter_frame frame[INTERPRETER_CALLS];
	size_t depth;
	uint32_t helpers;                  /* called */
	uint32_t executed;                 /* instructions; a helper's call is one */
	uint32_t trace[INTERPRETER_STEPS]; /* and which, in order */
	char error[160];
};

/* The context's own address is never read: its fields come from the world. */
void interpreter_init(struct interpreter *vm, const struct interpreter_world *world,
		      const struct bpf_insn *insns, size_t count);

/* Memory that the program may access. Returns the region's number. */
size_t interpreter_add_region(struct interpreter *vm, const void *start, size_t len);
void interpreter_move_region(struct interpreter *vm, size_t region, const void *start, size_t len);

/* How many bytes from here on are the program's: helpers ask for what they are given. */
size_t interpreter_may_read(const struct interpreter *vm, uint64_t address);

/* Run from the first instruction on. Returns false when the program did what it must not. */
bool interpreter_run(struct interpreter *vm, const void *context, size_t context_len,
		     uint64_t *result);

/* Keeps the reason, unless there is one. Returns false. */
bool interpreter_fail(struct interpreter *vm, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
