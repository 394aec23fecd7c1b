/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Kernel types and the constants that vmlinux.h, being made from BTF, cannot hold.
 *
 * The programs use UAPI types only, whose layout never changes. vmlinux.h would turn
 * even ctx->data into a CO-RE relocation, which a kernel without BTF cannot resolve
 * (OpenWrt ships such kernels), so the relocations are switched off.
 */
#ifndef BPFW_UAPI_H
#define BPFW_UAPI_H

#define BPF_NO_PRESERVE_ACCESS_INDEX
#define BPF_NO_KFUNC_PROTOTYPES /* newer ones of bpftool declare them */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define ETH_HLEN 14
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88A8
#define ETH_P_PPP_SES 0x8864

#define ETH_ALEN 6
#define VLAN_HLEN 4
#define VLAN_VID_MASK 0x0fff
#define VLAN_PRIO_SHIFT 13

/* PPPoE (RFC 2516): version 1, type 1, code 0 of a session; then PPP's protocol field */
#define PPPOE_HLEN 8
#define PPP_HLEN 2
#define PPPOE_SESSION bpf_htons(0x1100)
#define PPP_IP bpf_htons(0x0021)
#define PPP_IPV6 bpf_htons(0x0057)

/* DSA tags, by the name that the conduit's dsa/tagging in sysfs gives them */
#define MTK_HLEN 4
#define MTK_RX_PORT 0x0007
#define MTK_TX_TPID_8100 1
#define MTK_TX_TPID_88A8 2
#define QCA_HLEN 2
#define QCA_VERSION 0x8000 /* version 2, in the upper two bits */
#define QCA_RX_VERSION_TYPE 0xc7c0
#define QCA_RX_PORT 0x0007
#define QCA_TX_FROM_CPU 0x0080
#define GSWIP_RX_HLEN 8
#define GSWIP_TX_HLEN 4
#define GSWIP_TX_FROM_CPU 0x0200 /* source port CPU, destination group LAN */
#define GSWIP_TX_PORT_MAP 0xc001 /* by port map, which is enabled and counts */

#define AF_INET 2
#define AF_INET6 10

#define IPV4_HLEN 20
#define IPV6_HLEN 40
#define TCP_HLEN 20
#define UDP_HLEN 8

#define IP_DF 0x4000
#define IP_MF 0x2000
#define IP_OFFSET 0x1FFF

#define TCP_OFFSET_BYTE 12 /* offset of the header's length in the TCP header, and of */
#define TCP_FLAG_BYTE 13   /* the flags */
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* IPv6 extension headers (RFC 8200; RFC 4302, RFC 6275) */
#define NEXTHDR_HOP 0
#define NEXTHDR_ROUTING 43
#define NEXTHDR_FRAGMENT 44
#define NEXTHDR_AUTH 51
#define NEXTHDR_DEST 60
#define NEXTHDR_MOBILITY 135

#define CSUM_MANGLED_0 0xffff

/*
 * TC verdicts, the same for tcx (TCX_NEXT, TCX_DROP) and for clsact in direct-action
 * mode (TC_ACT_UNSPEC, TC_ACT_SHOT): go on with the next program, or drop.
 */
#define TC_NEXT (-1)
#define TC_DROP 2

#endif /* BPFW_UAPI_H */
