/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "ethtool.h"
#include "util.h"

/* The kernel has some sixty features; no later one will have more of them than this. */
#define FEATURES_MAX 1024
#define BLOCKS_MAX (FEATURES_MAX / 32)

/* By bit of enum ethtool_stripping */
static const char *const names[] = { "rx-vlan-hw-parse", "rx-vlan-stag-hw-parse" };

/* Numbers of the features that strip, in the kernel's bitmap; -1: it does not know them. */
struct numbers {
	int of[ARRAY_SIZE(names)];
	uint32_t blocks;
};

static int call(uint32_t ifindex, void *command)
{
	struct ifreq request = { .ifr_ifindex = (int)ifindex };
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCGIFNAME, &request))
		return -errno;
	request.ifr_data = command;
	/* More than 0 is advice that reading back gives as well. */
	return ioctl(fd, SIOCETHTOOL, &request) < 0 ? -errno : 0;
}

static int count_features(uint32_t ifindex, uint32_t *count)
{
	union {
		struct ethtool_sset_info info;
		uint32_t room[sizeof(struct ethtool_sset_info) / 4 + 1];
	} set = { .info = { .cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ULL << ETH_SS_FEATURES } };
	int err = call(ifindex, &set);

	if (err)
		return err;
	*count = set.info.sset_mask ? set.info.data[0] : 0;
	return *count && *count <= FEATURES_MAX ? 0 : -EOPNOTSUPP;
}

static void find_number(struct numbers *numbers, const char *name, int number)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strncmp(name, names[i], ETH_GSTRING_LEN))
			numbers->of[i] = number;
}

static int find_numbers(uint32_t ifindex, struct numbers *numbers)
{
	struct ethtool_gstrings *strings;
	uint32_t count;
	int err = count_features(ifindex, &count);

	if (err)
		return err;
	strings = calloc(1, sizeof(*strings) + (size_t)count * ETH_GSTRING_LEN);
	if (!strings)
		return -ENOMEM;
	strings->cmd = ETHTOOL_GSTRINGS;
	strings->string_set = ETH_SS_FEATURES;
	strings->len = count;
	err = call(ifindex, strings);
	numbers->blocks = (count + 31) / 32;
	memset(numbers->of, -1, sizeof(numbers->of));
	for (uint32_t i = 0; !err && i < count && i < strings->len; i++)
		find_number(numbers, (const char *)&strings->data[(size_t)i * ETH_GSTRING_LEN],
			    (int)i);
	free(strings);
	return err;
}

static int read_active(uint32_t ifindex, const struct numbers *numbers, uint32_t *which)
{
	union {
		struct ethtool_gfeatures header;
		uint32_t room[(sizeof(struct ethtool_gfeatures) +
			       BLOCKS_MAX * sizeof(struct ethtool_get_features_block)) /
			      4];
	} features = { .header = { .cmd = ETHTOOL_GFEATURES, .size = numbers->blocks } };
	int err = call(ifindex, &features);

	*which = 0;
	for (size_t i = 0; !err && i < ARRAY_SIZE(names); i++) {
		int number = numbers->of[i];

		if (number >= 0 && features.header.features[number / 32].active >> number % 32 & 1)
			*which |= 1U << i;
	}
	return err;
}

uint32_t ethtool_stripping(uint32_t ifindex)
{
	struct numbers numbers;
	uint32_t which;

	if (find_numbers(ifindex, &numbers) || read_active(ifindex, &numbers, &which))
		return 0;
	return which;
}

int ethtool_switch_stripping(uint32_t ifindex, uint32_t which, bool on)
{
	union {
		struct ethtool_sfeatures header;
		uint32_t room[(sizeof(struct ethtool_sfeatures) +
			       BLOCKS_MAX * sizeof(struct ethtool_set_features_block)) /
			      4];
	} features = { .header = { .cmd = ETHTOOL_SFEATURES } };
	struct numbers numbers;
	uint32_t active;
	int err = find_numbers(ifindex, &numbers);

	if (err)
		return err;
	features.header.size = numbers.blocks;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct ethtool_set_features_block *block;

		if (!(which >> i & 1) || numbers.of[i] < 0)
			continue;
		block = &features.header.features[numbers.of[i] / 32];
		block->valid |= 1U << numbers.of[i] % 32;
		block->requested |= (on ? 1U : 0U) << numbers.of[i] % 32;
	}
	err = call(ifindex, &features);
	err = err ? err : read_active(ifindex, &numbers, &active);
	if (err)
		return err;
	return (active & which) == (on ? which : 0) ? 0 : -EOPNOTSUPP;
}
