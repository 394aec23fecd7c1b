/* SPDX-License-Identifier: GPL-2.0-only */
/* MARK sets what only packets of the stack have: rules with it cannot be in force at XDP. */
#ifndef BPFW_FILTER_MARK_H
#define BPFW_FILTER_MARK_H

#include "filter/compile.h"
#include "filter/stage.h"

/*
 * The line of a rule of the other family that sets a mark, if the options are about to attach that
 * family to XDP; else 0. Takes the lock of the pins.
 */
uint32_t mark_of_other_family(uint8_t family, const struct stage_options *options);

/*
 * May the image be in force where the options and the pins say? Returns 0, or -EOPNOTSUPP after an
 * error was reported; `other` is what mark_of_other_family() has said.
 */
int mark_check(const struct image *image, uint32_t other, int pins,
	       const struct stage_options *options);

#endif /* BPFW_FILTER_MARK_H */
