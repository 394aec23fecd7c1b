/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if_arp.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "bpf_log.h"
#include "compat.h"
#include "filter.skel.h"
#include "filter/inforce.h"
#include "filter/load.h"
#include "filter/pins.h"
#include "filter/stage.h"
#include "filter/track.h"
#include "log.h"
#include "util.h"

/* Where the clsact filters stand: before those of the fast path (port.c). */
#define CLSACT_HANDLE 0xbf
#define CLSACT_PRIORITY 0x01

/* ---- Opening: the maps that outlive a ruleset --------------------------------------- */

#define KEPT_MAPS 4

static void list_kept(const struct filter_bpf *skeleton, struct bpf_map *maps[KEPT_MAPS])
{
	maps[0] = skeleton->maps.stages_xdp;
	maps[1] = skeleton->maps.stages_tc;
	maps[2] = skeleton->maps.filtered;
	maps[3] = skeleton->maps.walks;
}

static int keep_map(int pins, struct bpf_map *map)
{
	_cleanup_close_ int fd = pins_get(pins, bpf_map__name(map));

	if (fd == -ENOENT)
		return 0; /* made by loading, pinned after it */
	if (fd < 0)
		return fd;
	return bpf_map__reuse_fd(map, fd);
}

/* Returns 0 or -errno: a map that another version has pinned has another shape. */
static int keep_maps(struct filter_bpf *skeleton, int pins)
{
	struct bpf_map *maps[KEPT_MAPS];
	int err = 0;

	list_kept(skeleton, maps);
	for (size_t i = 0; i < KEPT_MAPS && !err; i++)
		err = keep_map(pins, maps[i]);
	return err;
}

static int pin_maps(const struct filter_bpf *skeleton, int pins)
{
	struct bpf_map *maps[KEPT_MAPS];
	int err = 0;

	list_kept(skeleton, maps);
	for (size_t i = 0; i < KEPT_MAPS && !err; i++) {
		err = pins_put(pins, bpf_map__name(maps[i]), bpf_map__fd(maps[i]));
		err = err == -EEXIST ? 0 : err;
	}
	return err;
}

/* ---- Swapping -------------------------------------------------------------------------- */

static bool is_empty(const struct bpf_map *stages, uint32_t stage)
{
	uint32_t id;

	return bpf_map_lookup_elem(bpf_map__fd(stages), &stage, &id) != 0;
}

/* Is any ruleset in force? */
static bool is_in_force(int pins)
{
	_cleanup_close_ int filtered = pins_get(pins, "filtered");
	uint32_t ifindex;

	return filtered >= 0 && !bpf_map_get_next_key(filtered, NULL, &ifindex);
}

static int set_stage(const struct bpf_map *stages, uint32_t stage,
		     const struct bpf_program *program)
{
	int fd = bpf_program__fd(program);

	return bpf_map_update_elem(bpf_map__fd(stages), &stage, &fd, BPF_ANY);
}

/* From here on the new rules are in force, where entries are attached. */
static int swap(const struct filter_bpf *skeleton, const struct track *track)
{
	const uint32_t ours = track->family_stage;
	const uint32_t other = ours == FILTER_STAGE_IPV6 ? FILTER_STAGE_IPV4 : FILTER_STAGE_IPV6;
	int err = 0;

	if (is_empty(skeleton->maps.stages_xdp, other))
		err = set_stage(skeleton->maps.stages_xdp, other, skeleton->progs.pass_xdp);
	if (!err && is_empty(skeleton->maps.stages_tc, other))
		err = set_stage(skeleton->maps.stages_tc, other, skeleton->progs.pass_tc);
	return err ? err : track_swap(track, skeleton);
}

/* ---- Hooks of interfaces ------------------------------------------------------------------ */

/* The pins of an interface's links, one for each kind of hook. */
static const char *const pin_kinds[] = { "xdp", "tc-in", "tc-out" };

static const char *pin_name(char name[32], const char *kind, uint32_t ifindex)
{
	snprintf(name, 32, "%s-%u", kind, ifindex);
	return name;
}

static int attach_link(int pins, const char *pin, const struct bpf_program *program,
		       uint32_t ifindex, enum bpf_attach_type type,
		       const struct bpf_link_create_opts *options)
{
	_cleanup_close_ int link = -1;

	link = bpf_link_create(bpf_program__fd(program), (int)ifindex, type, options);
	return link < 0 ? link : pins_put(pins, pin, link);
}

static int attach_xdp(int pins, const struct filter_bpf *skeleton, uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_link_create_opts, native, .flags = XDP_FLAGS_DRV_MODE);
	LIBBPF_OPTS(bpf_link_create_opts, generic, .flags = XDP_FLAGS_SKB_MODE);
	char pin[32];
	int err;

	pin_name(pin, "xdp", ifindex);
	err = attach_link(pins, pin, skeleton->progs.entry_xdp, ifindex, BPF_XDP, &native);
	if (err == -EOPNOTSUPP || err == -EINVAL)
		err = attach_link(pins, pin, skeleton->progs.entry_xdp, ifindex, BPF_XDP, &generic);
	return err;
}

/* Before all others: what the filter drops, nobody sees. */
static int attach_tcx(int pins, const char *pin, const struct bpf_program *program,
		      uint32_t ifindex, enum bpf_attach_type type)
{
	LIBBPF_OPTS(bpf_link_create_opts, first, .flags = COMPAT_BPF_F_BEFORE);

	return attach_link(pins, pin, program, ifindex, type, &first);
}

static int attach_clsact(const struct bpf_program *program, uint32_t ifindex,
			 enum bpf_tc_attach_point point)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = point);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = CLSACT_HANDLE, .priority = CLSACT_PRIORITY,
		    .prog_fd = bpf_program__fd(program), .flags = BPF_TC_F_REPLACE);
	int err = bpf_tc_hook_create(&hook);

	return err && err != -EEXIST ? err : bpf_tc_attach(&hook, &filter);
}

static int attach_tc(int pins, const struct filter_bpf *skeleton, uint32_t ifindex, bool out)
{
	const struct bpf_program *program = out ? skeleton->progs.entry_tc_out :
						  skeleton->progs.entry_tc_in;
	char pin[32];
	int err;

	err = attach_tcx(pins, pin_name(pin, out ? "tc-out" : "tc-in", ifindex), program, ifindex,
			 out ? COMPAT_BPF_TCX_EGRESS : COMPAT_BPF_TCX_INGRESS);
	if (err != -EINVAL && err != -EOPNOTSUPP)
		return err;
	return attach_clsact(program, ifindex, out ? BPF_TC_EGRESS : BPF_TC_INGRESS);
}

/* Has the device no link layer, so that its packets begin with the IP header? */
static bool is_bare(uint32_t ifindex)
{
	char path[64], text[16] = "";
	char name[IFNAMSIZ];
	_cleanup_close_ int fd = -1;
	long type;

	if (!if_indextoname(ifindex, name))
		return false;
	snprintf(path, sizeof(path), "/sys/class/net/%s/type", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return false;
	type = strtol(text, NULL, 10);
	return type != ARPHRD_ETHER && type != ARPHRD_LOOPBACK;
}

static int mark_filtered(const struct filter_bpf *skeleton, uint32_t ifindex)
{
	struct filter_port port = { .bare = is_bare(ifindex) };

	return bpf_map_update_elem(bpf_map__fd(skeleton->maps.filtered), &ifindex, &port, BPF_ANY);
}

static int attach_interface(int pins, const struct filter_bpf *skeleton, uint32_t ifindex,
			    enum stage_hook hook)
{
	int err = mark_filtered(skeleton, ifindex);

	if (!err)
		err = hook == STAGE_XDP ? attach_xdp(pins, skeleton, ifindex) :
					  attach_tc(pins, skeleton, ifindex, false);
	return err ? err : attach_tc(pins, skeleton, ifindex, true);
}

static void detach_clsact(uint32_t ifindex, enum bpf_tc_attach_point point)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = point);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = CLSACT_HANDLE, .priority = CLSACT_PRIORITY);

	bpf_tc_detach(&hook, &filter);
}

static void detach_interface(int pins, int filtered, uint32_t ifindex)
{
	char pin[32];

	for (size_t i = 0; i < ARRAY_SIZE(pin_kinds); i++)
		pins_remove(pins, pin_name(pin, pin_kinds[i], ifindex));
	detach_clsact(ifindex, BPF_TC_INGRESS);
	detach_clsact(ifindex, BPF_TC_EGRESS);
	bpf_map_delete_elem(filtered, &ifindex);
}

static bool is_filtered(const struct filter_bpf *skeleton, uint32_t ifindex)
{
	struct filter_port port;

	return !bpf_map_lookup_elem(bpf_map__fd(skeleton->maps.filtered), &ifindex, &port);
}

/* Attach those that are not yet; those of this call are detached again if one fails. */
static int attach_all(int pins, const struct filter_bpf *skeleton,
		      const struct stage_options *options)
{
	uint32_t attached[STAGE_INTERFACES], count = 0;
	int err = 0;

	for (uint32_t i = 0; i < options->interface_count && !err; i++) {
		uint32_t ifindex = if_nametoindex(options->interfaces[i]);

		if (!ifindex) {
			log_error("interface '%s': there is no such interface",
				  options->interfaces[i]);
			err = -ENODEV;
			break;
		}
		if (is_filtered(skeleton, ifindex))
			continue;
		attached[count++] = ifindex;
		err = attach_interface(pins, skeleton, ifindex, options->hook);
		if (err)
			log_error("interface '%s': cannot attach the filter: %s%s",
				  options->interfaces[i], strerror(-err),
				  options->hook == STAGE_XDP && err == -EBUSY ?
					  "; another XDP program is there, use --hook tc" :
					  "");
	}
	while (err && count)
		detach_interface(pins, bpf_map__fd(skeleton->maps.filtered), attached[--count]);
	return err;
}

/* ---- The fast path -------------------------------------------------------------------------- */

static bool is_fast_path(uint32_t program)
{
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(program);
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	if (fd < 0 || bpf_prog_get_info_by_fd(fd, &info, &len))
		return false;
	return !strncmp(info.name, "bpfw_", strlen("bpfw_"));
}

/* The fast path at XDP forwards without the filter at TC, whatever interface it stands at. */
static int check_fast_path(void)
{
	struct if_nameindex *all = if_nameindex();
	int err = 0;

	for (size_t i = 0; all && all[i].if_index && !err; i++) {
		LIBBPF_OPTS(bpf_xdp_query_opts, query);

		query.sz = offsetof(struct bpf_xdp_query_opts, feature_flags);
		if (bpf_xdp_query((int)all[i].if_index, 0, &query) || !query.prog_id ||
		    !is_fast_path(query.prog_id))
			continue;
		log_error("interface '%s': bpfw's fast path is attached at XDP there and would go "
			  "around the filter: run it with --hook tc",
			  all[i].if_name);
		err = -EBUSY;
	}
	if (all)
		if_freenameindex(all);
	return err;
}

/* ---- Loading and unloading ------------------------------------------------------------------ */

/* Kept with the program, in pieces: an array's value is limited on old kernels. */
static int keep_text(const struct filter_bpf *skeleton, const char *text, size_t size)
{
	const int programs[] = { bpf_program__fd(skeleton->progs.filter_xdp),
				 bpf_program__fd(skeleton->progs.filter_tc) };
	int map = bpf_map__fd(skeleton->maps.text), err = 0;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);

	if (memory == MAP_FAILED)
		return -errno;
	memcpy(memory, text, size);
	munmap(memory, size);
	for (size_t i = 0; i < ARRAY_SIZE(programs) && !err; i++)
		err = bpf_prog_bind_map(programs[i], map, NULL);
	return err;
}

/* Nobody else loads meanwhile: the pins are locked. */
static int check_replaced(int pins, uint8_t family, uint32_t replaces)
{
	uint32_t generation = 0;
	int err = replaces ? in_force_generation(pins, family, &generation) : 0;

	return err ? err : generation == replaces ? 0 : -EAGAIN;
}

static int load_and_swap(struct filter_bpf *skeleton, struct track *track, int pins,
			 const struct image *image, const char *text, size_t text_size,
			 const struct stage_options *options)
{
	bool first;
	int err = check_replaced(pins, image->family, options->replaces);

	err = err ? err : check_fast_path();
	if (err)
		return err;
	err = keep_maps(skeleton, pins);
	err = err ? err : track_open(track, skeleton, image);
	bpf_map__set_max_entries(skeleton->maps.text, (uint32_t)(text_size + 7) / 8);
	err = err ? err : ruleset_load(skeleton, image);
	err = err ? err : keep_text(skeleton, text, text_size);
	err = err ? err : pin_maps(skeleton, pins);
	err = err ? err : track_load(track, skeleton);
	if (err) {
		log_error("cannot load the filter: %s", strerror(-err));
		return err;
	}
	/* Entries go where rules are in force: the old ones until the swap, if there are any. */
	first = is_empty(skeleton->maps.stages_tc, FILTER_STAGE_IPV4);
	if (!first)
		err = attach_all(pins, skeleton, options);
	err = err ? err : swap(skeleton, track);
	if (first && !err)
		err = attach_all(pins, skeleton, options);
	return err;
}

int stage_load(const struct image *image, const char *text, size_t text_size,
	       const struct stage_options *options)
{
	struct track track = { 0 };
	struct filter_bpf *skeleton;
	_cleanup_close_ int pins = -1;
	int err;

	bpf_log_take();
	skeleton = filter_bpf__open();
	if (!skeleton)
		return -errno;
	pins = pins_open(true);
	if (pins < 0) {
		log_error("cannot keep the filter in the bpffs: %s", strerror(-pins));
		err = pins;
	} else {
		err = load_and_swap(skeleton, &track, pins, image, text, text_size, options);
	}
	if (err && pins >= 0 && !is_in_force(pins))
		pins_remove_all(take_fd(&pins));
	track_close(&track);
	filter_bpf__destroy(skeleton);
	return err;
}

bool stage_is_loaded(void)
{
	return pins_exist();
}

int stage_unload(void)
{
	int pins = pins_open(false), filtered;
	uint32_t ifindex, *previous = NULL;

	if (pins < 0)
		return pins;
	bpf_log_take();
	filtered = pins_get(pins, "filtered");
	while (filtered >= 0 && !bpf_map_get_next_key(filtered, previous, &ifindex))
		detach_interface(pins, filtered, ifindex);
	if (filtered >= 0)
		close(filtered);
	pins_remove_all(pins);
	return 0;
}
