/* SPDX-License-Identifier: GPL-2.0-only */
/* bpfw's entry points: one walk for all of them. The maps are in maps.h. */
#include "spread.h"
#include "walk.h"

SEC("xdp")
int bpfw_xdp(struct xdp_md *ctx)
{
	struct packet p = {
		.xdp = ctx,
		.ingress = ctx->ingress_ifindex,
	};

	return walk(&p);
}

/* The same for the conduits of DSA switches, and for ports beside them. */
SEC("xdp")
int bpfw_xdp_dsa(struct xdp_md *ctx)
{
	struct packet p = {
		.xdp = ctx,
		.switched = true,
		.ingress = ctx->ingress_ifindex,
	};

	return walk(&p);
}

/*
 * --cpus: attached in place of those above, which then are loaded as programs of the CPU map
 * (BPF_XDP_CPUMAP, Linux 5.9) and see the frame on the CPU that was chosen. There ctx says where
 * it was received, as here: the frame carries its device.
 */
SEC("xdp")
int bpfw_spread(struct xdp_md *ctx)
{
	struct packet p = {
		.xdp = ctx,
		.switched = spread_switched != 0,
		.ingress = ctx->ingress_ifindex,
	};

	return spread(&p);
}

/*
 * What the daemon enters in the filter's `next_stage`, where the filter stands at XDP. It holds
 * nothing of the daemon's but an empty map once that has ended: from then on packets take the stack.
 */
SEC("xdp")
int bpfw_behind(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &fast_path, 0);
	return XDP_PASS;
}

/* tcx/ingress loads on kernels without tcx too, where clsact takes it. */
SEC("tcx/ingress")
int bpfw_tc(struct __sk_buff *ctx)
{
	struct packet p = {
		.skb = ctx,
		.ingress = ctx->ifindex,
	};

	return walk(&p);
}

/* The same for devices without a link layer (WireGuard, tun, PPP). */
SEC("tcx/ingress")
int bpfw_tc_l3(struct __sk_buff *ctx)
{
	struct packet p = {
		.skb = ctx,
		.bare = true,
		.ingress = ctx->ifindex,
	};

	return walk(&p);
}

/*
 * The daemon runs this once, by BPF_PROG_TEST_RUN, to learn what jiffies its own
 * monotonic clock corresponds to; it is attached to nothing.
 */
SEC("tc")
int bpfw_clock(struct __sk_buff *ctx __attribute__((unused)))
{
	clock_jiffies = bpf_jiffies64();
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
