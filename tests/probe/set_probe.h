/* SPDX-License-Identifier: GPL-2.0-only */
/* A query of tests/probe/set.bpf.c and its answer. */
#ifndef BPFW_TEST_SET_PROBE_H
#define BPFW_TEST_SET_PROBE_H

struct set_probe {
	__be32 addr[4];
	__be16 port;
	__u8 protocol;
	__u8 family;
	__u8 ported;
	__u8 pad[3];
	__u32 answer;
	__u32 pad2;
};

#endif /* BPFW_TEST_SET_PROBE_H */
