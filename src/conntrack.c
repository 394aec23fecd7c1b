/* SPDX-License-Identifier: GPL-2.0-only */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack_tcp.h>
#include <linux/filter.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "conntrack.h"
#include "log.h"
#include "util.h"

/* conntrack -F with 100,000 entries sends as many messages of about 300 bytes. */
#define EVENTS_BUFFER (64 << 20)

/* Room for a request of ours: two headers, a tuple of IPv6, and what a change can say. */
#define REQUEST_MAX 512

typedef struct nf_conntrack nfct;

static inline void cleanup_nfct(nfct *const *object)
{
	if (*object)
		nfct_destroy(*object);
}

#define _cleanup_nfct_ __attribute__((cleanup(cleanup_nfct)))

static struct mnl_socket *open_socket(int flags)
{
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_NETFILTER, flags | SOCK_CLOEXEC);

	if (socket && mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) {
		mnl_socket_close(socket);
		return NULL;
	}
	return socket;
}

/*
 * Two kinds of events are left in the kernel. Those of our own changes, one for every refresh:
 * an event has the port id of the socket that asked for the change (the kernel's own have 0).
 * And those of entries that never saw an answer: a flood of spoofed packets would send one for
 * each entry that times out. The program looks for CTA_STATUS behind the two headers and lets
 * through what has no such attribute.
 */
static int filter_events(const struct mnl_socket *socket, uint32_t own)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_pid)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(own), 8, 0),
		BPF_STMT(BPF_LD | BPF_IMM, NLMSG_LENGTH(sizeof(struct nfgenmsg))),
		BPF_STMT(BPF_LDX | BPF_IMM, CTA_STATUS),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_NLATTR)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 3, 0),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_STMT(BPF_LD | BPF_W | BPF_IND, sizeof(struct nlattr)),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, IPS_SEEN_REPLY, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = { .len = ARRAY_SIZE(code), .filter = code };

	if (setsockopt(mnl_socket_get_fd(socket), SOL_SOCKET, SO_ATTACH_FILTER, &program,
		       sizeof(program)))
		return -errno;
	return 0;
}

static int subscribe(const struct mnl_socket *socket, uint32_t own)
{
	static const int groups[] = { NFNLGRP_CONNTRACK_UPDATE, NFNLGRP_CONNTRACK_DESTROY };
	int fd = mnl_socket_get_fd(socket), size = EVENTS_BUFFER, err;

	err = filter_events(socket, own);
	if (err)
		return err;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
		if (mnl_socket_setsockopt(socket, NETLINK_ADD_MEMBERSHIP, (void *)&groups[i],
					  sizeof(groups[i])))
			return -errno;
	return 0;
}

int conntrack_open(struct conntrack *ct)
{
	const struct timeval patience = { .tv_sec = 2 };

	ct->seq = (uint32_t)time(NULL);
	ct->query = open_socket(0);
	if (!ct->query)
		return -errno;
	ct->unheard.socket = open_socket(SOCK_NONBLOCK);
	if (!ct->unheard.socket)
		return -errno;
	ct->heard.socket = open_socket(SOCK_NONBLOCK);
	if (!ct->heard.socket)
		return -errno;
	ct->events = open_socket(SOCK_NONBLOCK);
	if (!ct->events)
		return -errno;
	setsockopt(mnl_socket_get_fd(ct->query), SOL_SOCKET, SO_RCVTIMEO, &patience,
		   sizeof(patience));
	return subscribe(ct->events, mnl_socket_get_portid(ct->unheard.socket));
}

void conntrack_close(struct conntrack *ct)
{
	struct mnl_socket **sockets[] = { &ct->query, &ct->unheard.socket, &ct->heard.socket,
					  &ct->events, &ct->dump };

	for (size_t i = 0; i < ARRAY_SIZE(sockets); i++) {
		if (*sockets[i])
			mnl_socket_close(*sockets[i]);
		*sockets[i] = NULL;
	}
}

int conntrack_events_fd(const struct conntrack *ct)
{
	return mnl_socket_get_fd(ct->events);
}

/* ---- Between our types and libnetfilter_conntrack's ------------------------ */

struct tuple_attributes {
	enum nf_conntrack_attr l3, l4, src4, dst4, src6, dst6, sport, dport;
};

static const struct tuple_attributes original_attributes = {
	ATTR_ORIG_L3PROTO,  ATTR_ORIG_L4PROTO,  ATTR_ORIG_IPV4_SRC, ATTR_ORIG_IPV4_DST,
	ATTR_ORIG_IPV6_SRC, ATTR_ORIG_IPV6_DST, ATTR_ORIG_PORT_SRC, ATTR_ORIG_PORT_DST,
};

static const struct tuple_attributes reply_attributes = {
	ATTR_REPL_L3PROTO,  ATTR_REPL_L4PROTO,  ATTR_REPL_IPV4_SRC, ATTR_REPL_IPV4_DST,
	ATTR_REPL_IPV6_SRC, ATTR_REPL_IPV6_DST, ATTR_REPL_PORT_SRC, ATTR_REPL_PORT_DST,
};

static void put_tuple(nfct *object, const struct tuple_attributes *attributes,
		      const struct tuple *tuple)
{
	nfct_set_attr_u8(object, attributes->l3, tuple->family);
	nfct_set_attr_u8(object, attributes->l4, tuple->protocol);
	if (tuple->family == AF_INET) {
		nfct_set_attr_u32(object, attributes->src4, tuple->src.word[0]);
		nfct_set_attr_u32(object, attributes->dst4, tuple->dst.word[0]);
	} else {
		nfct_set_attr(object, attributes->src6, &tuple->src);
		nfct_set_attr(object, attributes->dst6, &tuple->dst);
	}
	nfct_set_attr_u16(object, attributes->sport, tuple->sport);
	nfct_set_attr_u16(object, attributes->dport, tuple->dport);
}

static bool get_tuple(const nfct *object, const struct tuple_attributes *attributes,
		      struct tuple *tuple)
{
	memset(tuple, 0, sizeof(*tuple));
	tuple->family = nfct_get_attr_u8(object, attributes->l3);
	tuple->protocol = nfct_get_attr_u8(object, attributes->l4);
	if (tuple->protocol != IPPROTO_TCP && tuple->protocol != IPPROTO_UDP)
		return false;
	if (tuple->family == AF_INET) {
		tuple->src.word[0] = nfct_get_attr_u32(object, attributes->src4);
		tuple->dst.word[0] = nfct_get_attr_u32(object, attributes->dst4);
	} else if (tuple->family == AF_INET6) {
		const void *src = nfct_get_attr(object, attributes->src6);
		const void *dst = nfct_get_attr(object, attributes->dst6);

		if (!src || !dst)
			return false;
		memcpy(&tuple->src, src, sizeof(tuple->src));
		memcpy(&tuple->dst, dst, sizeof(tuple->dst));
	} else {
		return false;
	}
	tuple->sport = nfct_get_attr_u16(object, attributes->sport);
	tuple->dport = nfct_get_attr_u16(object, attributes->dport);
	return true;
}

/*
 * The window scale of a sender. An entry that was picked up in mid-connection (the kernel
 * makes such ones liberal) does not know it: then the largest there is (RFC 7323).
 */
static uint8_t window_scale(const nfct *object, enum nf_conntrack_attr scale,
			    enum nf_conntrack_attr flags)
{
	uint8_t known = nfct_get_attr_u8(object, flags);

	if (known & IP_CT_TCP_FLAG_WINDOW_SCALE)
		return nfct_get_attr_u8(object, scale);
	return known & IP_CT_TCP_FLAG_BE_LIBERAL ? 14 : 0;
}

/* A TCP or UDP entry out of a message; false for everything else. */
static bool parse_entry(const struct nlmsghdr *message, struct ct_entry *entry)
{
	_cleanup_nfct_ nfct *object = nfct_new();

	if (!object || nfct_nlmsg_parse(message, object) < 0)
		return false;
	if (!get_tuple(object, &original_attributes, &entry->original) ||
	    !get_tuple(object, &reply_attributes, &entry->reply))
		return false;
	entry->id = nfct_get_attr_u32(object, ATTR_ID);
	entry->status = nfct_get_attr_u32(object, ATTR_STATUS);
	entry->timeout = nfct_get_attr_u32(object, ATTR_TIMEOUT);
	entry->mark = nfct_get_attr_u32(object, ATTR_MARK);
	entry->zone = nfct_get_attr_u16(object, ATTR_ZONE) |
		      nfct_get_attr_u16(object, ATTR_ORIG_ZONE) |
		      nfct_get_attr_u16(object, ATTR_REPL_ZONE);
	entry->tcp_state = nfct_get_attr_u8(object, ATTR_TCP_STATE);
	entry->wscale[0] = window_scale(object, ATTR_TCP_WSCALE_ORIG, ATTR_TCP_FLAGS_ORIG);
	entry->wscale[1] = window_scale(object, ATTR_TCP_WSCALE_REPL, ATTR_TCP_FLAGS_REPL);
	entry->liberal = nfct_get_attr_u8(object, ATTR_TCP_FLAGS_ORIG) &
			 nfct_get_attr_u8(object, ATTR_TCP_FLAGS_REPL) & IP_CT_TCP_FLAG_BE_LIBERAL;
	entry->helper = nfct_attr_is_set(object, ATTR_HELPER_NAME) > 0;
	return true;
}

/* `buffer` has room for a whole request of ours. */
static struct nlmsghdr *put_header(struct conntrack *ct, char *buffer, uint16_t type,
				   uint16_t flags, uint8_t family)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct nfgenmsg *header;

	message->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
	message->nlmsg_flags = NLM_F_REQUEST | flags;
	message->nlmsg_seq = ++ct->seq;
	header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	header->nfgen_family = family;
	header->version = NFNETLINK_V0;
	return message;
}

/* ---- Lookups ---------------------------------------------------------------- */

static int keep_entry(const struct nlmsghdr *message, void *data)
{
	return parse_entry(message, data) ? MNL_CB_OK : MNL_CB_ERROR;
}

int conntrack_lookup(struct conntrack *ct, const struct tuple *tuple, struct ct_entry *entry)
{
	_cleanup_nfct_ nfct *object = nfct_new();
	struct nlmsghdr *request;
	char buffer[REQUEST_MAX];

	if (!object)
		return -ENOMEM;
	put_tuple(object, &original_attributes, tuple);
	request = put_header(ct, buffer, IPCTNL_MSG_CT_GET, 0, tuple->family);
	if (nfct_nlmsg_build(request, object) < 0)
		return -EINVAL;
	if (mnl_socket_sendto(ct->query, request, request->nlmsg_len) < 0)
		return -errno;
	for (;;) {
		ssize_t len = mnl_socket_recvfrom(ct->query, ct->buffer, sizeof(ct->buffer));
		const struct nlmsghdr *first = (void *)ct->buffer;

		if (len < 0)
			return -errno;
		if ((size_t)len >= sizeof(*first) && first->nlmsg_seq != ct->seq)
			continue; /* the answer to a question that timed out earlier */
		if (mnl_cb_run(ct->buffer, (size_t)len, ct->seq, 0, keep_entry, entry) < 0)
			return -errno;
		return 0;
	}
}

/* ---- Changes ---------------------------------------------------------------- */

static void put_change(nfct *object, const struct tuple *original, const struct ct_change *change)
{
	put_tuple(object, &original_attributes, original);
	if (change->flags & CT_SET_TIMEOUT)
		nfct_set_attr_u32(object, ATTR_TIMEOUT, change->timeout);
	if (change->flags & CT_SET_STATUS)
		nfct_set_attr_u32(object, ATTR_STATUS, change->status);
	if (change->flags & CT_SET_TCP_STATE)
		nfct_set_attr_u8(object, ATTR_TCP_STATE, change->tcp_state);
	if (change->flags & CT_SET_LIBERAL) {
		nfct_set_attr_u8(object, ATTR_TCP_FLAGS_ORIG, IP_CT_TCP_FLAG_BE_LIBERAL);
		nfct_set_attr_u8(object, ATTR_TCP_MASK_ORIG, IP_CT_TCP_FLAG_BE_LIBERAL);
		nfct_set_attr_u8(object, ATTR_TCP_FLAGS_REPL, IP_CT_TCP_FLAG_BE_LIBERAL);
		nfct_set_attr_u8(object, ATTR_TCP_MASK_REPL, IP_CT_TCP_FLAG_BE_LIBERAL);
	}
}

void conntrack_change(struct conntrack *ct, const struct tuple *original,
		      const struct ct_change *change)
{
	struct ct_writer *writer = change->flags & CT_TELL_US ? &ct->heard : &ct->unheard;
	_cleanup_nfct_ nfct *object = nfct_new();
	struct nlmsghdr *message;

	if (!object)
		return;
	if (writer->batched + REQUEST_MAX > sizeof(writer->batch))
		conntrack_flush(ct);
	put_change(object, original, change);
	message = put_header(ct, writer->batch + writer->batched, IPCTNL_MSG_CT_NEW, 0,
			     original->family);
	if (nfct_nlmsg_build(message, object) < 0) {
		log_warn("cannot build a conntrack message");
		return;
	}
	writer->batched += NLMSG_ALIGN(message->nlmsg_len);
}

static int report_error(const struct nlmsghdr *message, void *data)
{
	const struct nlmsgerr *report = mnl_nlmsg_get_payload(message);

	(void)data;
	if (mnl_nlmsg_get_payload_len(message) >= sizeof(*report) && report->error &&
	    report->error != -ENOENT)
		log_debug("conntrack refused a change: %s", strerror(-report->error));
	return MNL_CB_OK;
}

static void flush(struct ct_writer *writer)
{
	if (!writer->batched)
		return;
	if (mnl_socket_sendto(writer->socket, writer->batch, writer->batched) < 0)
		log_warn("cannot update conntrack entries: %s", strerror(errno));
	writer->batched = 0;
	writer->sent = true;
}

/* Only errors are answered. */
static void read_errors(struct conntrack *ct, struct ct_writer *writer)
{
	mnl_cb_t control[NLMSG_MIN_TYPE] = { [NLMSG_ERROR] = report_error };
	ssize_t len;

	if (!writer->sent)
		return;
	writer->sent = false;
	while ((len = mnl_socket_recvfrom(writer->socket, ct->buffer, sizeof(ct->buffer))) > 0)
		mnl_cb_run2(ct->buffer, (size_t)len, 0, 0, NULL, NULL, control,
			    ARRAY_SIZE(control));
}

void conntrack_flush(struct conntrack *ct)
{
	flush(&ct->unheard);
	flush(&ct->heard);
}

void conntrack_end_round(struct conntrack *ct)
{
	conntrack_flush(ct);
	read_errors(ct, &ct->unheard);
	read_errors(ct, &ct->heard);
}

/* ---- Events and dumps ------------------------------------------------------- */

struct delivery {
	ct_callback callback;
	void *context;
};

static int deliver(const struct nlmsghdr *message, void *data)
{
	const struct delivery *to = data;
	struct ct_entry entry;

	if (message->nlmsg_type >> 8 == NFNL_SUBSYS_CTNETLINK && parse_entry(message, &entry))
		to->callback(to->context, &entry,
			     (message->nlmsg_type & 0xff) == IPCTNL_MSG_CT_DELETE);
	return MNL_CB_OK;
}

/* One call for many. Returns how many came, or -errno. */
static int receive_events(struct conntrack *ct, struct mmsghdr *messages, struct iovec *vectors)
{
	int number;

	for (size_t i = 0; i < CT_EVENTS_AT_ONCE; i++) {
		vectors[i] = (struct iovec){ ct->event[i], sizeof(ct->event[i]) };
		messages[i] = (struct mmsghdr){
			.msg_hdr = { .msg_iov = &vectors[i], .msg_iovlen = 1 },
		};
	}
	do
		number = recvmmsg(mnl_socket_get_fd(ct->events), messages, CT_EVENTS_AT_ONCE,
				  MSG_DONTWAIT, NULL);
	while (number < 0 && errno == EINTR);
	return number < 0 ? -errno : number;
}

/* Calls in which events are read before the loop does something else: some milliseconds. */
#define EVENT_CALLS 32

int conntrack_read_events(struct conntrack *ct, ct_callback callback, void *context)
{
	struct delivery to = { callback, context };
	struct mmsghdr messages[CT_EVENTS_AT_ONCE];
	struct iovec vectors[CT_EVENTS_AT_ONCE];
	int err = 0;

	for (int call = 0; call < EVENT_CALLS; call++) {
		int number = receive_events(ct, messages, vectors);

		if (number == -ENOBUFS || number == -ENOSPC)
			err = -ENOBUFS;
		for (int i = 0; i < number; i++) {
			if (messages[i].msg_hdr.msg_flags & MSG_TRUNC)
				err = -ENOBUFS;
			mnl_cb_run(ct->event[i], messages[i].msg_len, 0, 0, deliver, &to);
		}
		if (number != CT_EVENTS_AT_ONCE && !(number < 0 && err))
			break;
	}
	return err;
}

int conntrack_dump_start(struct conntrack *ct)
{
	struct nlmsghdr *request;
	char buffer[256];

	ct->dump = open_socket(SOCK_NONBLOCK);
	if (!ct->dump)
		return -errno;
	request = put_header(ct, buffer, IPCTNL_MSG_CT_GET, NLM_F_DUMP, AF_UNSPEC);
	if (mnl_socket_sendto(ct->dump, request, request->nlmsg_len) < 0) {
		int err = -errno;

		conntrack_dump_stop(ct);
		return err;
	}
	return 0;
}

int conntrack_dump_fd(const struct conntrack *ct)
{
	return ct->dump ? mnl_socket_get_fd(ct->dump) : -1;
}

int conntrack_dump_read(struct conntrack *ct, ct_callback callback, void *context)
{
	struct delivery to = { callback, context };
	char buffer[32768];
	ssize_t len = mnl_socket_recvfrom(ct->dump, buffer, sizeof(buffer));
	int more;

	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (len > 0) {
		more = mnl_cb_run(buffer, (size_t)len, 0, 0, deliver, &to);
		if (more > MNL_CB_STOP)
			return 0;
	} else {
		more = MNL_CB_ERROR;
	}
	more = more < 0 ? -errno : 1;
	conntrack_dump_stop(ct);
	return more;
}

void conntrack_dump_stop(struct conntrack *ct)
{
	if (ct->dump)
		mnl_socket_close(ct->dump);
	ct->dump = NULL;
}

int conntrack_dump(struct conntrack *ct, ct_callback callback, void *context)
{
	int state = conntrack_dump_start(ct);

	while (!state)
		state = conntrack_dump_read(ct, callback, context);
	return state < 0 ? state : 0;
}

/* ---- Settings --------------------------------------------------------------- */

static long read_setting(const char *name)
{
	_cleanup_close_ int fd = -1;
	char path[128], text[32];
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/sys/net/netfilter/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	len = read(fd, text, sizeof(text) - 1);
	if (len <= 0)
		return -1;
	text[len] = '\0';
	return strtol(text, NULL, 10);
}

void conntrack_read_timeouts(uint32_t timeouts[CT_TIMEOUTS])
{
	static const struct {
		const char *name;
		uint32_t otherwise;
	} settings[CT_TIMEOUTS] = {
		[CT_TIMEOUT_TCP_ESTABLISHED] = { "nf_conntrack_tcp_timeout_established", 432000 },
		[CT_TIMEOUT_TCP_CLOSE] = { "nf_conntrack_tcp_timeout_close", 10 },
		[CT_TIMEOUT_UDP] = { "nf_conntrack_udp_timeout", 30 },
		[CT_TIMEOUT_UDP_STREAM] = { "nf_conntrack_udp_timeout_stream", 120 },
	};

	for (size_t i = 0; i < CT_TIMEOUTS; i++) {
		long value = read_setting(settings[i].name);

		timeouts[i] = value > 0 ? (uint32_t)value : settings[i].otherwise;
	}
}

int conntrack_events_setting(void)
{
	return (int)read_setting("nf_conntrack_events");
}
