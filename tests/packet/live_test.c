/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs where they belong, attached to an interface, for what a test run cannot
 * show: the device that a frame leaves by, a VLAN tag that the kernel has taken off the
 * frame, and frames that are shorter than an IP header.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
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

static int open_packet_socket(uint32_t ifindex)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)ifindex,
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (void *)&address, sizeof(address)))
		tap_bail_out("packet socket: %s", strerror(errno));
	return fd;
}

static void send_frame(const struct frame *frame)
{
	if (send(sender, frame->data, frame->len, 0) != (ssize_t)frame->len)
		tap_bail_out("cannot send %zu bytes: %s", frame->len, strerror(errno));
}

/* The next frame that comes out of the wire on the WAN side. */
static bool receive_frame(struct frame *frame)
{
	uint64_t end = clock_ms() + PATIENCE_MS;

	while (clock_ms() < end) {
		struct pollfd ready = { .fd = receiver, .events = POLLIN };
		struct sockaddr_ll from = { 0 };
		socklen_t size = sizeof(from);
		ssize_t len;

		if (poll(&ready, 1, 100) <= 0)
			continue;
		memset(frame->data, 0, sizeof(frame->data));
		len = recvfrom(receiver, frame->data, sizeof(frame->data), 0, (void *)&from, &size);
		if (len < 0)
			return false;
		frame->len = (size_t)len;
		if (from.sll_pkttype != PACKET_OUTGOING &&
		    !memcmp(frame->data, lab.side[WAN].peer, 6))
			return true;
	}
	return false;
}

static bool nothing_received(void)
{
	struct frame frame;
	ssize_t len;

	while ((len = recv(receiver, frame.data, sizeof(frame.data), MSG_DONTWAIT)) > 0)
		if (!memcmp(frame.data, lab.side[WAN].peer, 6))
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
	struct frame in, expected, got;
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

static void test_vlan(const char *hook, const struct lab_flow *flow, uint16_t tag)
{
	struct frame_spec spec = lab_frame_spec(&lab, flow);
	struct frame frame;

	frame_build(&spec, &frame);
	memmove(frame.data + 16, frame.data + 12, frame.len - 12);
	frame_put16(&frame, 12, tag);
	frame_put16(&frame, 14, 10);
	frame.len += 4;
	tap(counted(&frame, EXIT_VLAN) && nothing_received(), "%s: a tag of type %04x is seen",
	    hook, tag);
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

static void test_hook(const char *hook)
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
	test_vlan(hook, &flow4, 0x8100);
	test_vlan(hook, &flow6, 0x8100);
	test_vlan(hook, &flow4, 0x88a8);
	test_short(hook, &flow4, "TCP/IPv4");
	test_short(hook, &flow6, "UDP/IPv6");
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
	test_hook(hook);
	close(link);
}

int main(void)
{
	lab_open(&lab, false);
	lab_go_live(&lab);
	sender = open_packet_socket(lab.side[LAN].host);
	receiver = open_packet_socket(lab.side[WAN].host);
	attach_and_test("tcx", datapath_tc_fd(&lab.datapath), COMPAT_BPF_TCX_INGRESS, 0);
	attach_and_test("xdpgeneric", datapath_xdp_fd(&lab.datapath), BPF_XDP, XDP_FLAGS_SKB_MODE);
	close(sender);
	close(receiver);
	lab_close(&lab);
	return tap_end();
}
