/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What should become of a frame, worked out without bpfw's code: on bytes, with all
 * checksums from scratch. Only the order of the reasons to pass is taken from bpfw.
 */
#ifndef BPFW_TEST_MODEL_H
#define BPFW_TEST_MODEL_H

#include "lab.h"

#define NO_EXIT (-1)

struct model {
	const struct lab *lab;
	const struct lab_flow *flow; /* those that are installed */
	size_t flows;
	bool detect_partial;
};

struct expectation {
	enum lab_verdict verdict;
	int exit; /* the reason that is counted, or NO_EXIT */
	struct frame frame;
	const struct lab_flow *hit; /* of a TCP control segment too; NULL if none */
};

/* A frame whose link header has been read. */
struct opened {
	struct encapsulation link;
	struct frame plain; /* the rest, as plain Ethernet; its length is that of the frame's rest */
	size_t room;        /* bytes that IP may have, by PPPoE's length as well */
};

/* Returns the reason that the tags or PPPoE give to pass, or NO_EXIT. */
int model_open(const struct frame *in, struct opened *opened);

void model_walk(const struct model *model, enum lab_hook hook, const struct lab_arrival *arrival,
		const struct frame *in, struct expectation *expected);

/* The frame that leaves the router when `in` takes the fast path. */
void model_forward(const struct lab *lab, const struct lab_flow *flow, const struct frame *in,
		   struct frame *out);

/* Compare all of an outcome; tells what is wrong by TAP notes. */
bool check_outcome(const struct expectation *expected, const struct lab_outcome *outcome);

/* Run a frame and compare all of the outcome. */
bool check_run(struct lab *lab, enum lab_hook hook, const struct lab_arrival *arrival,
	       const struct frame *in, const struct expectation *expected,
	       struct lab_outcome *outcome);

#endif /* BPFW_TEST_MODEL_H */
