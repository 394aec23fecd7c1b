/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs where they belong, attached to an interface, for what a test run cannot
 * show: the device that a frame leaves by, a VLAN tag that the kernel has taken off the
 * frame, packets that are segmented or get their checksum later, and frames that are
 * shorter than an IP header.
 */
#include <bpf/bpf.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "compat.h"
#include "lab.h"
#include "model.h"
#include "tap.h"
#include "util.h"

/* How long a frame may take from one end of a veth pair to the other. */
#define PATIENCE_MS 5000

static struct lab lab;
static int sender = -1, receiver = -1;

/* What the kernel is to do with the frame, or has left to do. */
static const struct virtio_net_hdr nothing_left;

static int open_packet_socket(uint32_t ifindex)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)ifindex,
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), yes = 1;

	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &yes, sizeof(yes)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &yes, sizeof(yes)) ||
	    bind(fd, (void *)&address, sizeof(address)))
		tap_bail_out("packet socket: %s", strerror(errno));
	return fd;
}

static void send_with(const struct frame *frame, struct virtio_net_hdr left)
{
	const struct iovec parts[] = {
		{ .iov_base = &left, .iov_len = sizeof(left) },
		{ .iov_base = (void *)frame->data, .iov_len = frame->len },
	};

	if (writev(sender, parts, 2) != (ssize_t)(sizeof(left) + frame->len))
		tap_bail_out("cannot send %zu bytes: %s", frame->len, strerror(errno));
}

static void send_frame(const struct frame *frame)
{
	send_with(frame, nothing_left);
}

/* The tag that the kernel keeps beside a frame belongs back into it. */
static void restore_tag(struct msghdr *message, struct frame *frame)
{
	struct cmsghdr *control = CMSG_FIRSTHDR(message);
	struct tpacket_auxdata aux;

	if (!control || control->cmsg_level != SOL_PACKET || control->cmsg_type != PACKET_AUXDATA)
		return;
	memcpy(&aux, CMSG_DATA(control), sizeof(aux));
	if (!(aux.tp_status & TP_STATUS_VLAN_VALID))
		return;
	frame_insert(frame, 12, 4);
	frame_put16(frame, 12, aux.tp_vlan_tpid);
	frame_put16(frame, 14, aux.tp_vlan_tci);
}

/* One frame, if it is one that the router sent. */
static bool receive_one(int fd, struct frame *frame, struct virtio_net_hdr *left)
{
	char control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
	struct sockaddr_ll from = { 0 };
	struct iovec parts[] = {
		{ .iov_base = left, .iov_len = sizeof(*left) },
		{ .iov_base = frame->data, .iov_len = sizeof(frame->data) - 4 },
	};
	struct msghdr message = {
		.msg_name = &from,
		.msg_namelen = sizeof(from),
		.msg_iov = parts,
		.msg_iovlen = 2,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t len;

	memset(frame->data, 0, sizeof(frame->data));
	len = recvmsg(fd, &message, MSG_DONTWAIT);
	if (len < (ssize_t)sizeof(*left))
		return false;
	frame->len = (size_t)len - sizeof(*left);
	restore_tag(&message, frame);
	return from.sll_pkttype != PACKET_OUTGOING && !memcmp(frame->data, lab.side[WAN].peer, 6);
}

/* The next frame that comes out of the wire on the WAN side. */
static bool receive_with(struct frame *frame, struct virtio_net_hdr *left)
{
	uint64_t end = clock_ms() + PATIENCE_MS;

	while (clock_ms() < end) {
		struct pollfd ready = { .fd = receiver, .events = POLLIN };

		if (poll(&ready, 1, 100) > 0 && receive_one(receiver, frame, left))
			return true;
	}
	return false;
}

static bool receive_frame(struct frame *frame)
{
	struct virtio_net_hdr left;

	return receive_with(frame, &left) && !left.flags && !left.gso_type;
}

static bool nothing_received(void)
{
	struct pollfd ready = { .fd = receiver, .events = POLLIN };
	struct virtio_net_hdr left;
	struct frame frame;

	while (poll(&ready, 1, 0) > 0)
		if (receive_one(receiver, &frame, &left))
			return false;
	return true;
}

/* Send a frame that is to leave by `exit`, and wait until it has. */
static bool counted(const struct frame *frame, int exit)
{
	uint64_t before = lab_exit_count(&lab, exit), end = clock_ms() + PATIENCE_MS;
	struct timespec pause = { .tv_nsec = 1000000 };

	lab_heartbeat(&lab);
	send_frame(frame);
	while (lab_exit_count(&lab, exit) == before) {
		if (clock_ms() > end) {
			tap_note("%zu bytes: %s not counted", frame->len, lab_exit_name(exit));
			return false;
		}
		nanosleep(&pause, NULL);
	}
	return lab_exit_count(&lab, exit) == before + 1;
}

/* ---- Tests ------------------------------------------------------------------- */

static void test_forwarding(const char *hook, const struct lab_flow *flow, const char *what)
{
	struct frame_spec spec = lab_frame_spec(&lab, flow);
	struct frame in, expected, got = { 0 };
	bool ok = true;

	for (uint16_t i = 0; i < 20 && ok; i++) {
		spec.payload = (uint16_t)(i * 70);
		spec.padding = i % 4;
		frame_build(&spec, &in);
		model_forward(&lab, flow, &in, &expected);
		lab_heartbeat(&lab);
		send_frame(&in);
		ok = receive_frame(&got) && frame_equal(&expected, &got);
		if (!ok)
			frame_note_difference(&expected, &got);
	}
	tap(ok, "%s: %s: leaves by the WAN interface as it should", hook, what);
}

/* The flow is an untagged one: with a tag it is another, and VLAN id 0 is no VLAN at all. */
static void test_vlan(const char *hook, const struct lab_flow *flow, uint16_t type, uint16_t id,
		      int exit)
{
	struct frame_spec spec = lab_frame_spec(&lab, flow);
	struct frame frame;

	spec.link = (struct encapsulation){ .tags = 1, .tag = { { type, id } } };
	frame_build(&spec, &frame);
	tap(counted(&frame, exit) && nothing_received(), "%s: a tag of type %04x, id %u: %s", hook,
	    type, id, lab_exit_name(exit));
}

static void test_short(const char *hook, const struct lab_flow *flow, const char *what)
{
	struct frame_spec spec = lab_frame_spec(&lab, flow);
	struct frame frame;
	bool ok = true;
	size_t whole;

	frame_build(&spec, &frame);
	whole = frame.len;
	for (frame.len = ETH_HLEN; frame.len < whole && ok; frame.len++)
		ok = counted(&frame, EXIT_TRUNCATED);
	tap(ok && nothing_received(), "%s: %s: cut after every byte", hook, what);
}

/* ---- Link headers ------------------------------------------------------------- */

static struct lab_flow make_flow(bool ipv6, enum link_kind in, enum link_kind out)
{
	struct lab_flow flow = {
		.egress = WAN,
		.mtu = 1500,
		.link_in = frame_links[in],
		.link_out = frame_links[out],
	};

	flow.from = ipv6 ? lab_tuple(IPPROTO_TCP, "fd00:1::3", 40000, "2001:db8:5::5", 443) :
			   lab_tuple(IPPROTO_TCP, "10.0.1.3", 40000, "203.0.113.5", 443);
	flow.to = ipv6 ? lab_tuple(IPPROTO_TCP, "2001:db8::1", 51000, "2001:db8:5::5", 443) :
			 lab_tuple(IPPROTO_TCP, "198.51.100.1", 51000, "203.0.113.5", 443);
	return flow;
}

static struct frame_spec forwarded(const struct frame_spec *spec, const struct lab_flow *flow)
{
	struct frame_spec out = *spec;

	memcpy(out.dst_mac, lab.side[WAN].peer, 6);
	memcpy(out.src_mac, lab.side[WAN].mac, 6);
	out.tuple = flow->to;
	out.link = flow->link_out;
	out.ttl--;
	return out;
}

/* A frame whose checksum is left to hardware says where it begins. */
static struct virtio_net_hdr left_checksum(const struct encapsulation *link, bool ipv6, bool beside)
{
	return (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = (uint16_t)(frame_link_len(link) + (ipv6 ? 40 : 20) -
					 (beside && link->tags ? 4 : 0)),
		.csum_offset = 16,
	};
}

/* `partial`: TC alone can tell, and leaves it so where there is no PPPoE. */
static bool cross(bool ipv6, enum link_kind in_kind, enum link_kind out_kind, bool partial)
{
	struct lab_flow flow = make_flow(ipv6, in_kind, out_kind);
	struct frame_spec spec = lab_frame_spec(&lab, &flow), out_spec;
	struct virtio_net_hdr left = nothing_left, expected_left = nothing_left;
	struct frame in, expected, got = { 0 };
	bool ok;

	if (partial) {
		spec.checksum = CHECKSUM_PSEUDO;
		left = left_checksum(&flow.link_in, ipv6, false);
		expected_left = left_checksum(&flow.link_out, ipv6, true);
	}
	for (size_t i = 0; i < spec.link.tags; i++)
		spec.link.tag[i].tci |= 0xe000;
	out_spec = forwarded(&spec, &flow);
	frame_build(&spec, &in);
	frame_build(&out_spec, &expected);
	lab_heartbeat(&lab);
	lab_install(&lab, &flow);
	send_with(&in, left);
	ok = receive_with(&got, &left) && frame_equal(&expected, &got);
	lab_remove(&lab, &flow);
	if (!ok)
		frame_note_difference(&expected, &got);
	if (ok && (left.flags != expected_left.flags ||
		   left.csum_start != expected_left.csum_start || left.gso_type)) {
		tap_note("checksum: flags %u, from %u on", left.flags, left.csum_start);
		ok = false;
	}
	if (!ok)
		tap_note("%s -> %s", frame_link_names[in_kind], frame_link_names[out_kind]);
	return ok;
}

static void test_links(const char *hook, bool tc)
{
	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		for (int partial = 0; partial < (tc ? 2 : 1); partial++) {
			enum link_kind kinds = partial ? LINK_PPPOE : LINK_KINDS;
			bool ok = true;

			for (enum link_kind in = 0; in < LINK_KINDS && ok; in++)
				for (enum link_kind out = 0; out < kinds && ok; out++)
					ok = cross(ipv6, in, out, partial);
			tap(ok, "%s: %s: every kind of link in, every kind out%s", hook,
			    ipv6 ? "IPv6" : "IPv4", partial ? ", checksum left to hardware" : "");
		}
	}
}

/* ---- Segments ----------------------------------------------------------------- */

#define SEGMENTS_DATA 2800

/*
 * One packet that stands for several: as one where the device segments it, as several where
 * the kernel has to, for two tags are beyond what devices do. Adds up their data.
 */
static bool is_part(const struct frame *got, const struct frame *expected, size_t link_len,
		    size_t *data)
{
	static struct opened opened;
	size_t header;

	if (memcmp(got->data, expected->data, link_len) || model_open(got, &opened) != NO_EXIT)
		return false;
	header = (frame_is_ipv6(&opened.plain) ? 40U : 20U) + 20U;
	if (opened.room < header || opened.room != frame_l3_len(&opened.plain))
		return false;
	*data += opened.room - header;
	/* Addresses and ports */
	return !memcmp(got->data + link_len + header - 28, expected->data + link_len + header - 28,
		       12) &&
	       frame_ip_checksum_ok(&opened.plain) &&
	       (frame_l4_checksum_ok(&opened.plain) ||
		frame_get16(&opened.plain, frame_l4_check(&opened.plain)) ==
			frame_pseudo_sum(&opened.plain));
}

static bool cross_segmented(bool ipv6, enum link_kind out_kind)
{
	struct lab_flow flow = make_flow(ipv6, LINK_PLAIN, out_kind);
	struct frame_spec spec = lab_frame_spec(&lab, &flow), out_spec;
	struct virtio_net_hdr left = left_checksum(&flow.link_in, ipv6, false);
	struct frame in, expected, got;
	size_t data = 0;
	bool ok = true;

	left.gso_type = ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
	left.gso_size = 1000;
	left.hdr_len = left.csum_start + 20;
	spec.checksum = CHECKSUM_PSEUDO;
	spec.payload = SEGMENTS_DATA;
	out_spec = forwarded(&spec, &flow);
	frame_build(&spec, &in);
	frame_build(&out_spec, &expected);
	lab_heartbeat(&lab);
	lab_install(&lab, &flow);
	send_with(&in, left);
	while (ok && data < SEGMENTS_DATA)
		ok = receive_with(&got, &left) &&
		     is_part(&got, &expected, frame_link_len(&flow.link_out), &data);
	lab_remove(&lab, &flow);
	if (!ok)
		tap_note("%s, after %zu bytes", frame_link_names[out_kind], data);
	return ok && data == SEGMENTS_DATA && nothing_received();
}

static void test_segments(const char *hook)
{
	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		bool ok = true;

		for (enum link_kind out = 0; out < LINK_PPPOE && ok; out++)
			ok = cross_segmented(ipv6, out);
		tap(ok, "%s: %s: segments, with every number of tags", hook,
		    ipv6 ? "IPv6" : "IPv4");
	}
}

/* ---- A device without a link layer ---------------------------------------------- */

struct bare_device {
	int fd;
	uint32_t ifindex;
};

/* A tun device stands for a ppp device: packets leave it for us, segmented or not. */
static bool open_bare(struct bare_device *bare)
{
	struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR };
	_cleanup_close_ int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	bare->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (bare->fd < 0 || ioctl(bare->fd, TUNSETIFF, &request) ||
	    ioctl(bare->fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6))
		return false;
	if (ioctl(control, SIOCGIFINDEX, &request))
		return false;
	bare->ifindex = (uint32_t)request.ifr_ifindex;
	request.ifr_flags = IFF_UP;
	return !ioctl(control, SIOCSIFFLAGS, &request);
}

/* The next TCP packet, as the rest of a frame that has no link header. */
static bool read_bare(const struct bare_device *bare, const struct frame *expected,
		      struct virtio_net_hdr *left, struct frame *got)
{
	uint64_t end = clock_ms() + PATIENCE_MS;

	memcpy(got->data, expected->data, FRAME_L3);
	while (clock_ms() < end) {
		struct pollfd ready = { .fd = bare->fd, .events = POLLIN };
		struct iovec parts[] = {
			{ .iov_base = left, .iov_len = sizeof(*left) },
			{ .iov_base = got->data + FRAME_L3, .iov_len = FRAME_ROOM - FRAME_L3 },
		};
		ssize_t len;

		if (poll(&ready, 1, 100) <= 0)
			continue;
		len = readv(bare->fd, parts, 2);
		if (len < (ssize_t)sizeof(*left))
			return false;
		got->len = FRAME_L3 + (size_t)len - sizeof(*left);
		if (frame_is_ipv6(got) == (got->data[FRAME_L3] >> 4 == 6) &&
		    frame_protocol(got) == IPPROTO_TCP)
			return true;
	}
	return false;
}

/* By a bare egress; or by a session whose ppp device is to segment it, or do its checksum. */
enum bare_reason {
	BARE_EGRESS,
	BARE_SEGMENTS,
	BARE_CHECKSUM,
};

static struct virtio_net_hdr left_for_ppp(const struct lab_flow *flow, bool ipv6, bool segments)
{
	struct virtio_net_hdr left = left_checksum(&flow->link_in, ipv6, false);

	if (!segments)
		return left;
	left.gso_type = ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
	left.gso_size = 1000;
	left.hdr_len = left.csum_start + 20;
	return left;
}

static bool cross_bare(const struct bare_device *bare, bool ipv6, enum link_kind in_kind,
		       enum link_kind out_kind, enum bare_reason reason)
{
	struct lab_flow flow = make_flow(ipv6, in_kind, out_kind);
	struct frame_spec spec = lab_frame_spec(&lab, &flow), out_spec;
	struct virtio_net_hdr left = nothing_left, got_left = { 0 };
	struct frame in, expected, got = { 0 };
	struct bpfw_action action;
	bool ok;

	if (reason != BARE_EGRESS) {
		left = left_for_ppp(&flow, ipv6, reason == BARE_SEGMENTS);
		spec.checksum = CHECKSUM_PSEUDO;
	}
	if (reason == BARE_SEGMENTS)
		spec.payload = 2800;
	out_spec = forwarded(&spec, &flow);
	out_spec.link = frame_links[LINK_PLAIN];
	frame_build(&spec, &in);
	frame_build(&out_spec, &expected);
	lab_heartbeat(&lab);
	lab_install(&lab, &flow);
	action = lab_action(&lab, &flow);
	action.gso_egress = bare->ifindex;
	if (reason == BARE_EGRESS) {
		action.egress = bare->ifindex;
		action.link_len = 0;
	}
	lab_set_action(&lab, &flow, &action);
	send_with(&in, left);
	ok = read_bare(bare, &expected, &got_left, &got) && frame_equal(&expected, &got);
	lab_remove(&lab, &flow);
	if (!ok)
		frame_note_difference(&expected, &got);
	if (ok && (got_left.gso_type != left.gso_type || got_left.gso_size != left.gso_size ||
		   got_left.flags != left.flags)) {
		tap_note("segments: type %u, of %u bytes, flags %u", got_left.gso_type,
			 got_left.gso_size, got_left.flags);
		ok = false;
	}
	if (!ok)
		tap_note("%s -> %s", frame_link_names[in_kind], frame_link_names[out_kind]);
	return ok && nothing_received();
}

static void test_bare(const char *hook)
{
	struct bare_device bare;

	if (!open_bare(&bare)) {
		tap(true, "%s: a device without a link layer # SKIP no tun: %s", hook,
		    strerror(errno));
		return;
	}
	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		const char *family = ipv6 ? "IPv6" : "IPv4";
		bool ok = true;

		for (enum link_kind in = 0; in < LINK_KINDS && ok; in++)
			ok = cross_bare(&bare, ipv6, in, LINK_PLAIN, BARE_EGRESS);
		tap(ok, "%s: %s: a bare packet, whatever it came in", hook, family);
		ok = true;
		/* The kernel takes segments from a packet socket in plain Ethernet only. */
		for (enum link_kind out = LINK_PPPOE; out < LINK_KINDS && ok; out++)
			ok = cross_bare(&bare, ipv6, LINK_PLAIN, out, BARE_SEGMENTS);
		tap(ok, "%s: %s: what is to be segmented before PPPoE goes to the ppp device", hook,
		    family);
		ok = true;
		for (enum link_kind in = 0; in < LINK_KINDS && ok; in++)
			for (enum link_kind out = LINK_PPPOE; out < LINK_KINDS && ok; out++)
				ok = cross_bare(&bare, ipv6, in, out, BARE_CHECKSUM);
		tap(ok, "%s: %s: so does what needs its checksum", hook, family);
	}
	close(bare.fd);
}

static void test_hook(const char *hook, bool tc)
{
	struct lab_flow flow4 = { .egress = WAN, .mtu = 1500 }, flow6 = flow4;

	flow4.from = lab_tuple(IPPROTO_TCP, "10.0.1.2", 40000, "203.0.113.5", 443);
	flow4.to = lab_tuple(IPPROTO_TCP, "198.51.100.1", 51000, "203.0.113.5", 443);
	flow6.from = lab_tuple(IPPROTO_UDP, "fd00:1::2", 40000, "2001:db8:5::5", 443);
	flow6.to = lab_tuple(IPPROTO_UDP, "2001:db8::1", 51000, "2001:db8:5::5", 443);
	lab_install(&lab, &flow4);
	lab_install(&lab, &flow6);
	test_forwarding(hook, &flow4, "TCP/IPv4");
	test_forwarding(hook, &flow6, "UDP/IPv6");
	test_vlan(hook, &flow4, 0x8100, 10, EXIT_MISS);
	test_vlan(hook, &flow6, 0x8100, 0, EXIT_VLAN);
	test_vlan(hook, &flow4, 0x88a8, 10, EXIT_MISS);
	test_vlan(hook, &flow6, 0x88a8, 0, EXIT_VLAN);
	test_short(hook, &flow4, "TCP/IPv4");
	test_short(hook, &flow6, "UDP/IPv6");
	test_links(hook, tc);
	if (!tc)
		return;
	test_segments(hook);
	test_bare(hook);
}

static void attach_and_test(const char *hook, int program, enum bpf_attach_type type,
			    unsigned int flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = flags);
	int link = bpf_link_create(program, (int)lab.side[LAN].ifindex, type, &options);

	if (link < 0) {
		tap(true, "%s # SKIP cannot be attached here: %s", hook, strerror(-link));
		return;
	}
	test_hook(hook, type != BPF_XDP);
	close(link);
}

int main(void)
{
	lab_open(&lab, false);
	lab_go_live(&lab);
	sender = open_packet_socket(lab.side[LAN].host);
	receiver = open_packet_socket(lab.side[WAN].host);
	attach_and_test("tcx", datapath_tc_fd(&lab.datapath, false), COMPAT_BPF_TCX_INGRESS, 0);
	attach_and_test("xdpgeneric", datapath_xdp_fd(&lab.datapath), BPF_XDP, XDP_FLAGS_SKB_MODE);
	close(sender);
	close(receiver);
	lab_close(&lab);
	return tap_end();
}
