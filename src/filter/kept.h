/* SPDX-License-Identifier: GPL-2.0-only */
/* The maps that outlive a ruleset: by their names among the pins, and the programs in their slots. */
#ifndef BPFW_FILTER_KEPT_H
#define BPFW_FILTER_KEPT_H

#include <bpf/libbpf.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Before loading: those that are pinned take the place of these; the others are made by loading.
 * Returns 0 or -errno; -EPROTO (logged): another version has pinned maps of another shape.
 */
int kept_find(int pins, struct bpf_map *const maps[], size_t count);

/* After loading: pin those that are not yet. Returns 0 or -errno. */
int kept_pin(int pins, struct bpf_map *const maps[], size_t count);

/* From here on the program is in the slot of the program array `stages`. Returns 0 or -errno. */
int kept_set_stage(int stages, uint32_t stage, const struct bpf_program *program);

#endif /* BPFW_FILTER_KEPT_H */
