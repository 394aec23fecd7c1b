/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel around an interpreted program: context, packet, helpers and maps. What is in the maps
 * is read from the real ones and never written back, so that the kernel can be given the same
 * packet afterwards, and the two be compared.
 */
#ifndef BENCH_EMULATION_H
#define BENCH_EMULATION_H

#include "interpreter.h"
#include "lab.h"

#define EMULATION_HEADROOM 256
#define EMULATION_ENTRIES 16
#define EMULATION_KEY 64
#define EMULATION_VALUE 1024
#define EMULATION_SIGNALS 2
#define EMULATION_CPUS 1024

/* An entry of a map as the program left it. */
struct emulated_entry {
	int fd;
	bool is_there;
	bool per_cpu; /* starts at 0, as if no other packet had come before */
	uint32_t value_size;
	uint8_t key[EMULATION_KEY];
	uint8_t value[EMULATION_VALUE] __attribute__((aligned(8)));
};

struct emulation {
	struct interpreter vm; /* first: the callbacks know where it is */
	enum lab_hook hook;
	uint64_t jiffies;
	struct xdp_md xdp; /* the fields that are no pointers */
	struct __sk_buff skb;
	uint8_t *data;
	uint8_t *data_end;
	size_t packet; /* its region */
	struct emulated_entry entry[EMULATION_ENTRIES];
	size_t entries;
	uint8_t signal[EMULATION_SIGNALS][sizeof(struct bpfw_signal)] __attribute__((aligned(8)));
	size_t signals;   /* reserved */
	size_t submitted; /* of these */
	uint8_t memory[EMULATION_HEADROOM + FRAME_ROOM];
};

/* A packet has come in, at TC with its outermost tag beside it. */
void emulation_receive(struct emulation *emulation, enum lab_hook hook, uint32_t ingress,
		       const struct frame *frame);

/* Run the program on it. Returns false when it did what it must not: vm.error says what. */
bool emulation_run(struct emulation *emulation, const struct bpf_insn *insns, size_t count,
		   uint64_t jiffies, uint32_t *result);

/* What has become of it, as a frame on the wire. */
void emulation_frame(const struct emulation *emulation, struct frame *frame);

#endif
