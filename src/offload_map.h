/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Typed accessors of the flow maps, so that no caller handles a file descriptor with an
 * untyped key. All return 0 or -errno.
 */
#ifndef BPFW_OFFLOAD_MAP_H
#define BPFW_OFFLOAD_MAP_H

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "layout.h"

struct offload_maps {
	int flows4;
	int flows6;
};

#define OFFLOAD_MAP_ACCESSORS(family)                                                         \
	static inline int offload##family##_update(const struct offload_maps *maps,           \
						   const struct bpfw_flow##family##_key *key, \
						   const struct bpfw_flow##family *flow)      \
	{                                                                                     \
		return bpf_map_update_elem(maps->flows##family, key, flow, BPF_ANY);          \
	}                                                                                     \
                                                                                              \
	static inline int offload##family##_lookup(const struct offload_maps *maps,           \
						   const struct bpfw_flow##family##_key *key, \
						   struct bpfw_flow##family *flow)            \
	{                                                                                     \
		return bpf_map_lookup_elem(maps->flows##family, key, flow);                   \
	}                                                                                     \
                                                                                              \
	static inline int offload##family##_delete(const struct offload_maps *maps,           \
						   const struct bpfw_flow##family##_key *key) \
	{                                                                                     \
		return bpf_map_delete_elem(maps->flows##family, key);                         \
	}

OFFLOAD_MAP_ACCESSORS(4)
OFFLOAD_MAP_ACCESSORS(6)

#endif /* BPFW_OFFLOAD_MAP_H */
