/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "untag.h"
#include "util.h"

#define CB(word) ((int16_t)(offsetof(struct __sk_buff, cb) + 4 * (word)))
#define FIELD(name) ((int16_t)offsetof(struct __sk_buff, name))

#define INSN(code_, dst, src, off_, imm_)                                                         \
	{                                                                                         \
		.code = (code_), .dst_reg = (dst), .src_reg = (src), .off = (off_), .imm = (imm_) \
	}
#define MOVE(dst, src) INSN(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define LOAD(dst, src, off) INSN(BPF_LDX | BPF_MEM | BPF_W, dst, src, off, 0)
#define STORE(dst, off, src) INSN(BPF_STX | BPF_MEM | BPF_W, dst, src, off, 0)
#define SKIP_IF_0(reg, insns) INSN(BPF_JMP | BPF_JEQ | BPF_K, reg, 0, insns, 0)
#define CALL(helper) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, helper)
#define CALL_LOCAL(insns) INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, insns)
#define RETURN INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define REPORT(word, field) \
	LOAD(BPF_REG_2, BPF_REG_6, FIELD(field)), STORE(BPF_REG_6, CB(word), BPF_REG_2)

/* What comes before and after the program under test, which is called as a function. */
static const struct bpf_insn caller[] = {
	MOVE(BPF_REG_6, BPF_REG_1),
	LOAD(BPF_REG_2, BPF_REG_6, CB(UNTAG_TYPE)),
	SKIP_IF_0(BPF_REG_2, 5),
	CALL(BPF_FUNC_skb_vlan_pop),
	MOVE(BPF_REG_1, BPF_REG_6),
	LOAD(BPF_REG_2, BPF_REG_6, CB(UNTAG_TYPE)),
	LOAD(BPF_REG_3, BPF_REG_6, CB(UNTAG_TCI)),
	CALL(BPF_FUNC_skb_vlan_push),
	MOVE(BPF_REG_1, BPF_REG_6),
	CALL_LOCAL(9),
	REPORT(UNTAG_PRESENT, vlan_present),
	REPORT(UNTAG_OUT_TYPE, vlan_proto),
	REPORT(UNTAG_OUT_TCI, vlan_tci),
	REPORT(UNTAG_PROTOCOL, protocol),
	RETURN,
};

/*
 * Not a tail call: this would need a function around it to come back from, and kernels that
 * interpret their programs refuse the two together.
 */
int untag_open(struct untag *untag, const struct bpf_program *tc)
{
	size_t count = bpf_program__insn_cnt(tc);
	struct bpf_insn *insns = malloc(sizeof(caller) + count * sizeof(*insns));

	if (!insns)
		return -ENOMEM;
	memcpy(insns, caller, sizeof(caller));
	memcpy(insns + ARRAY_SIZE(caller), bpf_program__insns(tc), count * sizeof(*insns));
	untag->fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "untag", "GPL", insns,
				  ARRAY_SIZE(caller) + count, NULL);
	free(insns);
	return untag->fd < 0 ? untag->fd : 0;
}

void untag_close(struct untag *untag)
{
	close(untag->fd);
}
