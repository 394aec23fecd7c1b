/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "bpf_log.h"
#include "filter/reject_stage.h"
#include "filter/shared.h"
#include "filter_layout.h"
#include "reject.skel.h"
#include "util.h"

/* ---- Addresses ----------------------------------------------------------------------- */

static uint32_t count_addresses(const struct ifaddrs *all)
{
	uint32_t count = 1; /* no map is empty */

	for (; all; all = all->ifa_next)
		count++;
	return count;
}

static struct filter_address address_of(const struct sockaddr *sockaddr)
{
	struct filter_address address = { { 0 } };

	if (sockaddr->sa_family == AF_INET6)
		memcpy(&address, &((const struct sockaddr_in6 *)(const void *)sockaddr)->sin6_addr,
		       sizeof(address));
	else
		address.word[0] =
			((const struct sockaddr_in *)(const void *)sockaddr)->sin_addr.s_addr;
	return address;
}

static bool is_of_link(const struct filter_address *address)
{
	return IN6_IS_ADDR_LINKLOCAL((const struct in6_addr *)(const void *)address);
}

/* An address that is the machine's own on one device is never a broadcast address. */
static int add_address(const struct reject_bpf *skeleton, const struct sockaddr *sockaddr,
		       uint32_t is_own)
{
	const struct filter_address address = address_of(sockaddr);
	int err = bpf_map_update_elem(bpf_map__fd(skeleton->maps.reject_addresses), &address,
				      &is_own, is_own ? BPF_ANY : BPF_NOEXIST);

	return err == -EEXIST ? 0 : err;
}

/* The first address of each family is the one that the kernel prefers. */
static void note_address(struct filter_reject_device *device, const struct sockaddr *sockaddr)
{
	const struct filter_address address = address_of(sockaddr);
	const struct sockaddr_ll *link = (const void *)sockaddr;

	if (sockaddr->sa_family == AF_PACKET && link->sll_halen == sizeof(device->mac))
		memcpy(device->mac, link->sll_addr, sizeof(device->mac));
	if (sockaddr->sa_family == AF_INET && !device->address4)
		device->address4 = address.word[0];
	if (sockaddr->sa_family == AF_INET6 && !is_of_link(&address) && !device->address6.word[0])
		device->address6 = address;
}

static int add_to_device(const struct reject_bpf *skeleton, const struct ifaddrs *entry)
{
	const int map = bpf_map__fd(skeleton->maps.reject_devices);
	const uint32_t ifindex = if_nametoindex(entry->ifa_name);
	struct filter_reject_device device = { 0 };

	if (!ifindex)
		return 0; /* gone by now */
	bpf_map_lookup_elem(map, &ifindex, &device);
	note_address(&device, entry->ifa_addr);
	return bpf_map_update_elem(map, &ifindex, &device, BPF_ANY);
}

/* Where routes send broadcasts, whether the address says so or not (fib_add_ifaddr()). */
static int add_broadcast(const struct reject_bpf *skeleton, const struct ifaddrs *entry)
{
	struct sockaddr_in broadcast = { .sin_family = AF_INET };
	const in_addr_t mask = entry->ifa_netmask ? address_of(entry->ifa_netmask).word[0] :
						    INADDR_NONE;
	int err = 0;

	if (!(entry->ifa_flags & IFF_BROADCAST))
		return 0;
	if (entry->ifa_broadaddr)
		err = add_address(skeleton, entry->ifa_broadaddr, 0);
	if (err || ntohl(~mask) <= 1)
		return err;
	broadcast.sin_addr.s_addr = address_of(entry->ifa_addr).word[0] | ~mask;
	return add_address(skeleton, (const struct sockaddr *)&broadcast, 0);
}

static int add_entry(const struct reject_bpf *skeleton, const struct ifaddrs *entry)
{
	const struct sockaddr *address = entry->ifa_addr;
	int err;

	if (!address)
		return 0;
	err = add_to_device(skeleton, entry);
	if (!err && (address->sa_family == AF_INET || address->sa_family == AF_INET6))
		err = add_address(skeleton, address, 1);
	if (!err && address->sa_family == AF_INET)
		err = add_broadcast(skeleton, entry);
	return err;
}

/* ---- The program --------------------------------------------------------------------- */

static int load_and_fill(struct reject_bpf *skeleton, const struct filter_bpf *filter,
			 uint8_t family, const struct ifaddrs *addresses)
{
	const uint32_t stage = FILTER_STAGE_REJECTS + (family == AF_INET6);
	const struct shared_maps maps = shared_maps_of(filter);
	const uint32_t count = count_addresses(addresses);
	int err;

	skeleton->rodata->is_ipv6 = family == AF_INET6;
	/* Each may come with two broadcast addresses. */
	bpf_map__set_max_entries(skeleton->maps.reject_addresses, 3 * count);
	bpf_map__set_max_entries(skeleton->maps.reject_devices, count);
	err = shared_maps_use(&maps, skeleton->obj);
	err = err ? err : reject_bpf__load(skeleton);
	for (const struct ifaddrs *entry = addresses; entry && !err; entry = entry->ifa_next)
		err = add_entry(skeleton, entry);
	return err ? err :
		     shared_maps_set_stage(&maps, stage, skeleton->progs.reject_xdp,
					   skeleton->progs.reject_tc);
}

int reject_stage_fill(const struct filter_bpf *filter, uint8_t family)
{
	struct ifaddrs *addresses;
	struct reject_bpf *skeleton;
	int err;

	if (getifaddrs(&addresses))
		return -errno;
	bpf_log_take();
	skeleton = reject_bpf__open();
	err = skeleton ? load_and_fill(skeleton, filter, family, addresses) : -errno;
	reject_bpf__destroy(skeleton);
	freeifaddrs(addresses);
	return err;
}
