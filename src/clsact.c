/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/libbpf.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "clsact.h"

static int see_filter(const struct nlmsghdr *message, void *data)
{
	bool *seen = data;

	*seen |= message->nlmsg_type == RTM_NEWTFILTER;
	return MNL_CB_OK;
}

/* Returns 0, or -errno if it could not be asked. */
static int list_filters(struct mnl_socket *socket, uint32_t ifindex, uint32_t parent, bool *seen)
{
	char buffer[16384];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct tcmsg *header;
	ssize_t len;
	int state;

	request->nlmsg_type = RTM_GETTFILTER;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	header->tcm_ifindex = (int)ifindex;
	header->tcm_parent = parent;
	if (mnl_socket_sendto(socket, request, request->nlmsg_len) < 0)
		return -errno;
	do {
		len = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
		if (len < 0)
			return -errno;
		state = mnl_cb_run(buffer, (size_t)len, 0, 0, see_filter, seen);
	} while (state > MNL_CB_STOP);
	return state < 0 ? -errno : 0;
}

/* Is it known that nobody has a filter there? */
static bool is_empty(uint32_t ifindex)
{
	struct mnl_socket *socket = mnl_socket_open(NETLINK_ROUTE);
	bool seen = false;
	int err;

	if (!socket)
		return false;
	err = list_filters(socket, ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS), &seen);
	if (!err)
		err = list_filters(socket, ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS), &seen);
	mnl_socket_close(socket);
	return !err && !seen;
}

bool clsact_remove_empty(uint32_t ifindex)
{
	/* Both directions at once: the whole qdisc. */
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex,
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);

	return is_empty(ifindex) && !bpf_tc_hook_destroy(&hook);
}
