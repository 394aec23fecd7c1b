/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * rtnetlink: one socket for questions, which the kernel answers before send() returns,
 * and one for events, read by the event loop.
 */
#ifndef BPFW_RTNL_H
#define BPFW_RTNL_H

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stdint.h>

#include "tuple.h"

struct rtnl_events {
	/* RTM_NEWLINK or RTM_DELLINK */
	void (*link)(void *context, const struct nlmsghdr *message);
	/* RTM_NEWNEIGH or RTM_DELNEIGH */
	void (*neighbour)(void *context, const struct nlmsghdr *message);
	/* A route came, went or changed: RTM_NEWROUTE or RTM_DELROUTE, and its prefix. */
	void (*route)(void *context, const struct nlmsghdr *message, const struct address *prefix);
	/* Forwarding was switched, of one interface or (ifindex -1) of all. */
	void (*forwarding)(void *context, int ifindex);
	/* Rules or next hop objects changed. */
	void (*everything)(void *context, const char *why);
	/* Events were lost. */
	void (*lost)(void *context);
	void *context;
};

struct rtnl {
	struct mnl_socket *query;
	struct mnl_socket *events;
	uint32_t seq;
	char buffer[32768];
};

/* Opens both sockets and subscribes. Returns 0 or -errno; rtnl_close() is always allowed. */
int rtnl_open(struct rtnl *rtnl);
void rtnl_close(struct rtnl *rtnl);
int rtnl_events_fd(const struct rtnl *rtnl);

/*
 * Ask and hand each answer to `callback`. Sets the sequence number. Returns 0 or the
 * kernel's -errno. A dump that was interrupted by a change is -EINTR: ask again.
 */
int rtnl_request(struct rtnl *rtnl, struct nlmsghdr *request, mnl_cb_t callback, void *data);

/*
 * Read events that are waiting, some hundreds at most: the socket stays readable while there are
 * more. Lost events end in events->lost().
 */
void rtnl_read_events(struct rtnl *rtnl, const struct rtnl_events *events);

/* Attribute helpers: `table` has max + 1 entries, absent ones are NULL. */
void rtnl_attributes(const struct nlmsghdr *message, size_t header_len, const struct nlattr **table,
		     unsigned int max);
void rtnl_nested(const struct nlattr *nest, const struct nlattr **table, unsigned int max);

/* An unsigned attribute, or `absent` when it is missing or too short. */
uint32_t rtnl_u32(const struct nlattr *attribute, uint32_t absent);

/* An address attribute of the family; false when it is missing or of the wrong length. */
bool rtnl_address(const struct nlattr *attribute, uint8_t family, struct address *address);

/* Bytes of an address of the family. */
size_t rtnl_address_len(uint8_t family);

#endif /* BPFW_RTNL_H */
