/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The program that answers for rules with REJECT (bpf/reject.bpf.c), in its slot beside those of the
 * rulesets. It belongs to none: a load whose rules have the target puts a new one there.
 */
#ifndef BPFW_FILTER_REJECT_STAGE_H
#define BPFW_FILTER_REJECT_STAGE_H

#include <stdint.h>

#include "filter.skel.h"

/*
 * Load it for a family, with the addresses that the machine has now, and put it where `filter`, which
 * is loaded, looks for it. Returns 0 or -errno.
 */
int reject_stage_fill(const struct filter_bpf *filter, uint8_t family);

#endif /* BPFW_FILTER_REJECT_STAGE_H */
