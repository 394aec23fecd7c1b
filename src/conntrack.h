/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's connection tracking: look up, follow, and keep entries true while their
 * packets go past them.
 */
#ifndef BPFW_CONNTRACK_H
#define BPFW_CONNTRACK_H

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stdint.h>

#include "tuple.h"

struct ct_entry {
	struct tuple original;
	struct tuple reply; /* as conntrack expects answers: after NAT */
	uint32_t id;
	uint32_t status;  /* IPS_* */
	uint32_t timeout; /* seconds that were left */
	uint32_t mark;
	uint16_t zone;
	uint8_t tcp_state; /* enum tcp_conntrack */
	uint8_t wscale[2]; /* of the original and of the reply direction's sender */
	bool helper;
	bool liberal; /* no TCP window tracking, neither direction */
};

/* A change to make to an entry; the flags say what. */
enum ct_change_flags {
	CT_SET_TIMEOUT = 1 << 0,
	CT_SET_STATUS = 1 << 1, /* bits are only ever added */
	CT_SET_TCP_STATE = 1 << 2,
	CT_SET_LIBERAL = 1 << 3, /* no TCP window tracking, both directions */
	CT_TELL_US = 1 << 4,     /* the change's event is to reach us, others of ours do not */
};

struct ct_change {
	unsigned int flags;
	uint32_t timeout;
	uint32_t status;
	uint8_t tcp_state;
};

/* Changes, sent in batches. */
struct ct_writer {
	struct mnl_socket *socket;
	size_t batched; /* bytes waiting in the batch */
	bool sent;      /* errors may wait to be read */
	_Alignas(struct nlmsghdr) char batch[8192];
};

#define CT_EVENTS_AT_ONCE 16
#define CT_EVENT_MAX 2048

struct conntrack {
	struct mnl_socket *query; /* lookups, answered at once */
	struct ct_writer unheard; /* its changes are filtered from `events` by its port id */
	struct ct_writer heard;   /* for CT_TELL_US */
	struct mnl_socket *events;
	struct mnl_socket *dump; /* a dump under way, NULL if none */
	uint32_t seq;
	_Alignas(struct nlmsghdr) char buffer[32768];
	_Alignas(struct nlmsghdr) char event[CT_EVENTS_AT_ONCE][CT_EVENT_MAX];
};

/*
 * Open the sockets and subscribe to updates and deletions of entries that have seen
 * packets in both directions. Returns 0 or -errno.
 */
int conntrack_open(struct conntrack *ct);
void conntrack_close(struct conntrack *ct);
int conntrack_events_fd(const struct conntrack *ct);

/* The entry that a packet of this tuple belongs to. Returns 0, -ENOENT or -errno. */
int conntrack_lookup(struct conntrack *ct, const struct tuple *tuple, struct ct_entry *entry);

/*
 * Change the entry with this original tuple, at the next conntrack_flush() at the
 * latest. An entry that is gone is no error: its deletion is an event.
 */
void conntrack_change(struct conntrack *ct, const struct tuple *original,
		      const struct ct_change *change);
void conntrack_flush(struct conntrack *ct);

/* Flush, and log what the kernel refused: once a round of the event loop. */
void conntrack_end_round(struct conntrack *ct);

typedef void (*ct_callback)(void *context, const struct ct_entry *entry, bool destroyed);

/*
 * Read waiting events, a few hundred at most: the socket stays readable while there are more.
 * Returns 0, or -ENOBUFS when some were lost.
 */
int conntrack_read_events(struct conntrack *ct, ct_callback callback, void *context);

/* Call back for every TCP and UDP entry there is. Returns 0 or -errno. */
int conntrack_dump(struct conntrack *ct, ct_callback callback, void *context);

/*
 * The same in steps, for the event loop: start, then read when conntrack_dump_fd() is
 * readable. Returns 1 when the dump is complete, 0 when more follows, or -errno, after
 * which there is no dump under way.
 */
int conntrack_dump_start(struct conntrack *ct);
int conntrack_dump_fd(const struct conntrack *ct);
int conntrack_dump_read(struct conntrack *ct, ct_callback callback, void *context);
void conntrack_dump_stop(struct conntrack *ct);

/* The timeout that the kernel gives an active entry of this kind, in seconds. */
enum ct_timeout {
	CT_TIMEOUT_TCP_ESTABLISHED,
	CT_TIMEOUT_TCP_CLOSE,
	CT_TIMEOUT_UDP,
	CT_TIMEOUT_UDP_STREAM,
	CT_TIMEOUTS,
};

/* Reads the network namespace's settings anew. A setting that cannot be read keeps its default. */
void conntrack_read_timeouts(uint32_t timeouts[CT_TIMEOUTS]);

/* The setting of nf_conntrack_events: 0 off, 1 on, 2 on where somebody listens; -1 unknown. */
int conntrack_events_setting(void);

#endif /* BPFW_CONNTRACK_H */
