/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A netlink socket whose other end is the test: what the modules read from the kernel is
 * sent to them by way of a real socket (NETLINK_USERSOCK), bytes as the test wants them.
 */
#ifndef BPFW_TEST_FEED_H
#define BPFW_TEST_FEED_H

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stddef.h>

struct feed {
	struct mnl_socket *socket; /* the module's end, which it may close */
	int sender;
};

/*
 * Enter a network namespace of the process's own, so that no message that a test provokes
 * reaches the machine's. Returns false where that is not allowed.
 */
bool feed_enter_namespace(void);

/* Returns false where such sockets cannot be had. */
bool feed_open(struct feed *feed);
void feed_close(struct feed *feed);
void feed_send(const struct feed *feed, const void *data, size_t len);

/*
 * libmnl takes the length of a message for a signed number: from 2 GiB on it walks out of
 * the buffer by itself. Does a datagram have no such length anywhere on its way?
 */
bool feed_is_walkable(const void *data, size_t len);

/* Send until the receiver's buffer overflows: its next read is ENOBUFS. */
void feed_overflow(const struct feed *feed);

/* A copy that ends where the message ends, for ASan to see what is read beyond. */
struct nlmsghdr *message_copy(const struct nlmsghdr *message, size_t len);

/* Damage a message somewhere behind its header. */
void message_damage(struct nlmsghdr *message);

#endif /* BPFW_TEST_FEED_H */
