/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bpf_log.h"
#include "filter/kept.h"
#include "filter/pins.h"
#include "filter/shared.h"
#include "filter/track.h"
#include "log.h"
#include "util.h"

/* ---- Why it cannot be -------------------------------------------------------------------- */

/* nf_conntrack may be a module; then its functions are in the module's BTF. */
static bool kernel_has(const struct btf *vmlinux, const struct btf *module, const char *function)
{
	return btf__find_by_name_kind(vmlinux, function, BTF_KIND_FUNC) > 0 ||
	       (module && btf__find_by_name_kind(module, function, BTF_KIND_FUNC) > 0);
}

/* `needed`: by what, and the verb */
static void say_why(enum log_level level, const char *needed, int err)
{
	static const char *const functions[] = { "bpf_xdp_ct_lookup", "bpf_skb_ct_lookup",
						 "bpf_ct_release" };
	struct btf *vmlinux = btf__load_vmlinux_btf();
	struct btf *module = vmlinux ? btf__load_module_btf("nf_conntrack", vmlinux) : NULL;

	if (!vmlinux)
		log_message(level,
			    "%s a kernel with BTF (/sys/kernel/btf/vmlinux), Linux 6.0 or later; "
			    "this one has none",
			    needed);
	for (size_t i = 0; vmlinux && i < ARRAY_SIZE(functions); i++) {
		if (kernel_has(vmlinux, module, functions[i]))
			continue;
		log_message(level,
			    "%s Linux 6.0 or later with BTF and nf_conntrack loaded; this kernel "
			    "has no %s()",
			    needed, functions[i]);
		vmlinux = (btf__free(vmlinux), NULL);
		err = 0;
	}
	if (vmlinux && err)
		log_message(level, "%s a program that this kernel refuses: %s", needed,
			    strerror(-err));
	btf__free(module);
	btf__free(vmlinux);
}

/* ---- Opening and loading ------------------------------------------------------------------- */

/* Nobody but the kernel's own rules makes it track, namespace by namespace. */
static void warn_of_silence(void)
{
	_cleanup_close_ int fd =
		open("/proc/sys/net/netfilter/nf_conntrack_count", O_RDONLY | O_CLOEXEC);
	char text[16] = "";

	if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && strtoul(text, NULL, 10))
		return;
	log_warn("rules ask for the state of connections, and conntrack has none in this network "
		 "namespace: unless a rule of the kernel makes it track (NAT, nft 'ct state', "
		 "iptables -m conntrack), no packet is ever ESTABLISHED");
}

struct track_bpf *track_skeleton(void)
{
	return track_bpf__open();
}

int track_probe(uint8_t family)
{
	struct track_bpf *skeleton;
	int err;

	bpf_log_take();
	skeleton = track_skeleton();
	if (!skeleton)
		return -errno;
	skeleton->rodata->is_ipv6 = family == AF_INET6;
	err = track_bpf__load(skeleton);
	if (err)
		say_why(LOG_LEVEL_WARN, "to know what the table nat does needs", err);
	track_bpf__destroy(skeleton);
	return err;
}

int track_open(struct track *track, struct filter_bpf *filter, const struct image *image,
	       uint32_t turn)
{
	const bool is_ipv6 = image->family == AF_INET6;
	const uint32_t judge = FILTER_JUDGE_STAGE(is_ipv6, turn);

	*track = (struct track){ .is_ipv6 = is_ipv6, .turn = turn };
	filter->rodata->own_stage = image->is_tracked ? judge : FILTER_RULES_STAGE(is_ipv6, turn);
	if (!image->is_tracked)
		return 0;
	track->skeleton = track_skeleton();
	if (!track->skeleton)
		return -errno;
	if (image->states || image->connlimit_count)
		warn_of_silence();
	filter->rodata->is_tracked = true;
	track->skeleton->rodata->is_ipv6 = is_ipv6;
	track->skeleton->rodata->judge_stage = judge;
	track->skeleton->rodata->used_tuples = image->connlimit_count;
	return 0;
}

#define LEARNT_MAPS 2

static void list_learnt(const struct track_bpf *track, struct bpf_map *maps[LEARNT_MAPS])
{
	maps[0] = track->maps.others;
	maps[1] = track->maps.fragments;
}

int track_load(struct track *track, const struct filter_bpf *filter, int pins)
{
	const struct shared_maps maps = shared_maps_of(filter);
	struct bpf_map *learnt[LEARNT_MAPS];
	int err;

	if (!track->skeleton)
		return 0;
	list_learnt(track->skeleton, learnt);
	err = shared_maps_use(&maps, track->skeleton->obj);
	if (!err && pins != TRACK_APART)
		err = kept_find(pins, learnt, LEARNT_MAPS);
	if (err)
		return err;
	err = track_bpf__load(track->skeleton);
	if (err) {
		say_why(LOG_LEVEL_ERROR, "rules with 'conntrack', 'state' or 'connlimit' need",
			err);
		return err;
	}
	return pins == TRACK_APART ? 0 : kept_pin(pins, learnt, LEARNT_MAPS);
}

void track_close(struct track *track)
{
	track_bpf__destroy(track->skeleton);
	track->skeleton = NULL;
}
