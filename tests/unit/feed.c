/* SPDX-License-Identifier: GPL-2.0-only */
#include "unit.h"

#include <linux/netlink.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "feed.h"

#define GROUP 1

bool feed_enter_namespace(void)
{
	static bool entered;

	if (!entered)
		entered = !unshare(CLONE_NEWNET) || !unshare(CLONE_NEWUSER | CLONE_NEWNET);
	if (!entered)
		printf("# SKIP no network namespace can be made here\n");
	return entered;
}

static int open_end(int flags, unsigned int group)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = group };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_USERSOCK);

	if (fd >= 0 && bind(fd, (void *)&address, sizeof(address))) {
		close(fd);
		return -1;
	}
	return fd;
}

bool feed_open(struct feed *feed)
{
	int fd = open_end(SOCK_NONBLOCK, GROUP);

	feed->sender = open_end(0, 0);
	if (fd < 0 || feed->sender < 0) {
		if (fd >= 0)
			close(fd);
		printf("# SKIP a netlink socket pair cannot be had here\n");
		return false;
	}
	feed->socket = mnl_socket_fdopen(fd);
	return feed->socket;
}

void feed_close(struct feed *feed)
{
	if (feed->socket)
		mnl_socket_close(feed->socket);
	feed->socket = NULL;
	close(feed->sender);
}

void feed_send(const struct feed *feed, const void *data, size_t len)
{
	struct sockaddr_nl to = {
		.nl_family = AF_NETLINK,
		.nl_pid = mnl_socket_get_portid(feed->socket),
	};

	assert_int_equal(sendto(feed->sender, data, len, 0, (void *)&to, sizeof(to)), len);
}

bool feed_is_walkable(const void *data, size_t len)
{
	const char *at = data;

	while (len >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr header;

		memcpy(&header, at, sizeof(header));
		if (header.nlmsg_len > INT32_MAX)
			return false;
		if (header.nlmsg_len < sizeof(header) || MNL_ALIGN(header.nlmsg_len) > len)
			break;
		at += MNL_ALIGN(header.nlmsg_len);
		len -= MNL_ALIGN(header.nlmsg_len);
	}
	return true;
}

void feed_overflow(const struct feed *feed)
{
	/* To the group: a sender to one socket would be told that it is full. */
	struct sockaddr_nl to = { .nl_family = AF_NETLINK, .nl_groups = GROUP };
	static const char nothing[4096];
	int size = 8192;

	assert_int_equal(setsockopt(mnl_socket_get_fd(feed->socket), SOL_SOCKET, SO_RCVBUF, &size,
				    sizeof(size)),
			 0);
	/* The errors are about the kernel, which is in the group as well and does not listen. */
	for (int i = 0; i < 64; i++)
		sendto(feed->sender, nothing, sizeof(nothing), 0, (void *)&to, sizeof(to));
}

struct nlmsghdr *message_copy(const struct nlmsghdr *message, size_t len)
{
	/* libmnl rounds a message's end up, as every buffer it comes in is larger. */
	struct nlmsghdr *copy = calloc(1, MNL_ALIGN(len));

	assert_non_null(copy);
	memcpy(copy, message, len);
	copy->nlmsg_len = (uint32_t)len;
	return copy;
}

void message_damage(struct nlmsghdr *message)
{
	uint8_t *bytes = (void *)message;
	uint32_t room = message->nlmsg_len - sizeof(*message);
	uint32_t at = (uint32_t)sizeof(*message) + unit_below(room);
	static const uint8_t edges[] = { 0, 1, 3, 4, 5, 0x7f, 0x80, 0xff };

	if (unit_below(2))
		at &= ~3U; /* where lengths and types are */
	bytes[at] = unit_below(2) ? (uint8_t)unit_random() : edges[unit_below(8)];
}
