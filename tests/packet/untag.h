/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A program that makes of a frame in a test run what the kernel makes of one from the
 * wire: the outermost VLAN tag is taken out of the data (skb_vlan_untag()). Then it runs
 * the program under test, and tells what has become of the tag.
 */
#ifndef BPFW_TEST_UNTAG_H
#define BPFW_TEST_UNTAG_H

#include <bpf/libbpf.h>

/* Words of __sk_buff's cb: in, the tag to take out (type 0: none) */
enum untag_in {
	UNTAG_TYPE, /* network byte order */
	UNTAG_TCI,
};

/* and out */
enum untag_out {
	UNTAG_PRESENT, /* is there a tag beside the data, and which? */
	UNTAG_OUT_TYPE,
	UNTAG_OUT_TCI,
	UNTAG_PROTOCOL, /* skb->protocol, network byte order */
};

struct untag {
	int fd;
};

/* Load it, around the instructions of this TC program, which is loaded. Returns 0 or -errno. */
int untag_open(struct untag *untag, const struct bpf_program *tc);
void untag_close(struct untag *untag);

#endif /* BPFW_TEST_UNTAG_H */
