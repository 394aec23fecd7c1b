// SPDX-License-Identifier: GPL-2.0-only
/*
 * The limits: the least a forwarder at each hook can do. They look nothing up and decide nothing;
 * every frame gets the same two MAC addresses and leaves by the same device.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define MAC_WORDS 6

char LICENSE[] SEC("license") = "GPL";

/* Destination and source address in the order of the wire; in words, as frames are 2-aligned. */
const volatile __u16 macs[MAC_WORDS];
const volatile __u32 out_ifindex;

static __always_inline bool write_macs(void *data, void *end)
{
	__u16 *word = data;

	if ((void *)(word + MAC_WORDS) > end)
		return false;

#pragma unroll
	for (int i = 0; i < MAC_WORDS; i++)
		word[i] = macs[i];
	return true;
}

SEC("xdp")
int redirect_xdp(struct xdp_md *ctx)
{
	if (!write_macs((void *)(long)ctx->data, (void *)(long)ctx->data_end))
		return XDP_PASS;
	return bpf_redirect(out_ifindex, 0);
}

SEC("tcx/ingress")
int redirect_tc(struct __sk_buff *ctx)
{
	if (!write_macs((void *)(long)ctx->data, (void *)(long)ctx->data_end))
		return TCX_NEXT;
	return bpf_redirect(out_ifindex, 0);
}
