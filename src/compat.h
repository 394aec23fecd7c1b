/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the kernel headers of the build machine may be too old to know. The rest of the
 * code asks the running kernel, never a version.
 */
#ifndef BPFW_COMPAT_H
#define BPFW_COMPAT_H

#include <linux/bpf.h>

/* enum bpf_attach_type, Linux 6.6 */
#define COMPAT_BPF_TCX_INGRESS ((enum bpf_attach_type)46)
#define COMPAT_BPF_TCX_EGRESS ((enum bpf_attach_type)47)

/* Linux 6.6: a link that comes before all others */
#define COMPAT_BPF_F_BEFORE (1U << 3)

/* enum netdev_xdp_act, Linux 6.3: the device takes frames that XDP redirects to it */
#define COMPAT_NETDEV_XDP_ACT_NDO_XMIT 4ULL

#endif /* BPFW_COMPAT_H */
