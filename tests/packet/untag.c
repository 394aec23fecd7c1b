/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include "compat.h"
#include "untag.h"
#include "util.h"

#define CB(word) ((int16_t)(offsetof(struct __sk_buff, cb) + 4 * (word)))
#define FIELD(name) ((int16_t)offsetof(struct __sk_buff, name))

#define INSN(code_, dst, src, off_, imm_)                                                         \
	{                                                                                         \
		.code = (code_), .dst_reg = (dst), .src_reg = (src), .off = (off_), .imm = (imm_) \
	}
#define MOVE(dst, src) INSN(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define MOVE_IMM(dst, value) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value)
#define LOAD(dst, src, off) INSN(BPF_LDX | BPF_MEM | BPF_W, dst, src, off, 0)
#define STORE(dst, off, src) INSN(BPF_STX | BPF_MEM | BPF_W, dst, src, off, 0)
#define SKIP_IF_0(reg, insns) INSN(BPF_JMP | BPF_JEQ | BPF_K, reg, 0, insns, 0)
#define CALL(helper) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, helper)
#define CALL_LOCAL(insns) INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, insns)
#define RETURN INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define REPORT(word, field) \
	LOAD(BPF_REG_2, BPF_REG_6, FIELD(field)), STORE(BPF_REG_6, CB(word), BPF_REG_2)

#define FUNCTION_AT 19 /* instructions before the function below */

/* The kernel wants types of functions where one of them makes a tail call. */
static struct btf *make_types(struct bpf_func_info info[2])
{
	struct btf *btf = btf__new_empty();
	int integer, skb, prototype, entry, function;

	if (!btf)
		return NULL;
	integer = btf__add_int(btf, "int", 4, BTF_INT_SIGNED);
	skb = btf__add_ptr(btf, btf__add_struct(btf, "__sk_buff", 0));
	prototype = btf__add_func_proto(btf, integer);
	if (btf__add_func_param(btf, "skb", skb) < 0)
		prototype = -EINVAL;
	entry = btf__add_func(btf, "untag", BTF_FUNC_STATIC, prototype);
	function = btf__add_func(btf, "run", BTF_FUNC_STATIC, prototype);
	if (entry < 0 || function < 0 || btf__load_into_kernel(btf)) {
		btf__free(btf);
		return NULL;
	}
	info[0] = (struct bpf_func_info){ 0, (uint32_t)entry };
	info[1] = (struct bpf_func_info){ FUNCTION_AT, (uint32_t)function };
	return btf;
}

/* The tail call is made in a function, so that the program under test returns to us. */
static int load(int programs, uint32_t attach_type)
{
	const struct bpf_insn insns[] = {
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
		/* the function */
		INSN(BPF_LD | BPF_IMM | BPF_DW, BPF_REG_2, BPF_PSEUDO_MAP_FD, 0, programs),
		INSN(0, 0, 0, 0, 0),
		MOVE_IMM(BPF_REG_3, 0),
		CALL(BPF_FUNC_tail_call),
		MOVE_IMM(BPF_REG_0, -EINVAL),
		RETURN,
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options);
	struct bpf_func_info info[2];
	struct btf *btf = make_types(info);
	int fd;

	if (!btf)
		return -EOPNOTSUPP;
	options.expected_attach_type = attach_type;
	options.prog_btf_fd = (uint32_t)btf__fd(btf);
	options.func_info = info;
	options.func_info_cnt = ARRAY_SIZE(info);
	options.func_info_rec_size = sizeof(info[0]);
	fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "untag", "GPL", insns, ARRAY_SIZE(insns),
			   &options);
	btf__free(btf);
	return fd;
}

int untag_open(struct untag *untag, int tc_fd)
{
	uint32_t zero = 0;

	untag->programs = bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "programs", sizeof(uint32_t),
					 sizeof(uint32_t), 1, NULL);
	if (untag->programs < 0)
		return untag->programs;
	/* A kernel that knows of tcx wants both programs to be of the same attach type. */
	untag->fd = load(untag->programs, COMPAT_BPF_TCX_INGRESS);
	if (untag->fd < 0)
		untag->fd = load(untag->programs, 0);
	if (untag->fd < 0)
		return untag->fd;
	return bpf_map_update_elem(untag->programs, &zero, &tc_fd, 0);
}

void untag_close(struct untag *untag)
{
	close(untag->fd);
	close(untag->programs);
}
