/* SPDX-License-Identifier: GPL-2.0-only */
/* What the hardware does to frames before XDP sees them (SIOCETHTOOL). */
#ifndef BPFW_ETHTOOL_H
#define BPFW_ETHTOOL_H

#include <stdbool.h>
#include <stdint.h>

/* VLAN tags that a device takes out of the frames it receives. */
enum ethtool_stripping {
	ETHTOOL_STRIPS_8021Q = 1 << 0,
	ETHTOOL_STRIPS_8021AD = 1 << 1,
};

/* Those of enum ethtool_stripping that are on; 0 also for a device that cannot be asked. */
uint32_t ethtool_stripping(uint32_t ifindex);

/* Switch these on or off. Returns 0 or -errno: -EOPNOTSUPP if one stays as it was. */
int ethtool_switch_stripping(uint32_t ifindex, uint32_t which, bool on);

#endif /* BPFW_ETHTOOL_H */
