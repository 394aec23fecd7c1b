/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clsact.h"
#include "compat.h"
#include "filter/pins.h"
#include "filter/view.h"
#include "util.h"

static void add_device(struct filter_view *view, uint32_t ifindex, const struct filter_port *port)
{
	if (view->count == FILTER_PORTS)
		return; /* the map is not larger */
	view->device[view->count++] = (struct filter_view_device){
		.ifindex = ifindex,
		.xdp_program = port->judged ? port->xdp_program : 0,
		.made_qdisc = port->made_qdisc,
	};
}

static void read_pinned(struct filter_view *view, int pins)
{
	_cleanup_close_ int filtered = pins_get(pins, "filtered");
	uint32_t ifindex, *previous = NULL;
	struct filter_port port;

	while (filtered >= 0 && !bpf_map_get_next_key(filtered, previous, &ifindex)) {
		previous = &ifindex;
		if (view->count == FILTER_PORTS)
			break;
		if (!bpf_map_lookup_elem(filtered, &ifindex, &port))
			add_device(view, ifindex, &port);
	}
}

/* ---- Without a look at the pins ----------------------------------------------------------- */

/*
 * The filter is the first at the egress of every device that is filtered. At tcx it cannot be told
 * from programs of others; at clsact it has a handle.
 */
static bool has_egress_program(uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_prog_query_opts, query);
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = CLSACT_FILTER_HANDLE,
		    .priority = CLSACT_FILTER_PRIORITY);

	if (!bpf_prog_query_opts((int)ifindex, COMPAT_BPF_TCX_EGRESS, &query))
		return query.count;
	return !bpf_tc_query(&hook, &filter);
}

static void look_at_device(void *context, struct link *link)
{
	const struct filter_port unknown = { 0 };

	if (has_egress_program(link->ifindex))
		add_device(context, link->ifindex, &unknown);
}

/* ---- The view ------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	const struct filter_view_device *x = a, *y = b;

	return x->ifindex < y->ifindex ? -1 : x->ifindex > y->ifindex;
}

void filter_view_read(struct filter_view *view, const struct links *links)
{
	_cleanup_close_ int pins = pins_look();

	memset(view, 0, sizeof(*view));
	view->loaded = pins >= 0;
	if (pins >= 0) {
		read_pinned(view, pins);
	} else if (pins == -EACCES) {
		links_each(links, look_at_device, view);
		view->loaded = view->count;
	}
	qsort(view->device, view->count, sizeof(view->device[0]), compare);
}

bool filter_view_equal(const struct filter_view *a, const struct filter_view *b)
{
	return a->loaded == b->loaded && a->count == b->count &&
	       !memcmp(a->device, b->device, a->count * sizeof(a->device[0]));
}

const struct filter_view_device *filter_view_find(const struct filter_view *view, uint32_t ifindex)
{
	for (uint32_t i = 0; view && i < view->count; i++)
		if (view->device[i].ifindex == ifindex)
			return &view->device[i];
	return NULL;
}

/* ---- The stage behind ------------------------------------------------------------------------ */

static int open_next_stage(void)
{
	_cleanup_close_ int pins = pins_look();

	return pins < 0 ? pins : pins_get(pins, "next_stage");
}

static uint32_t program_id(int program)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	return bpf_prog_get_info_by_fd(program, &info, &len) ? 0 : info.id;
}

int filter_view_enter(uint32_t ifindex, int program)
{
	_cleanup_close_ int next = open_next_stage();

	return next < 0 ? next : bpf_map_update_elem(next, &ifindex, &program, BPF_ANY);
}

bool filter_view_is_entered(uint32_t ifindex, int program)
{
	_cleanup_close_ int next = open_next_stage();
	uint32_t id;

	return next >= 0 && !bpf_map_lookup_elem(next, &ifindex, &id) && id == program_id(program);
}

void filter_view_leave(uint32_t ifindex)
{
	_cleanup_close_ int next = open_next_stage();

	if (next >= 0)
		bpf_map_delete_elem(next, &ifindex);
}

void filter_view_give_qdisc(uint32_t ifindex)
{
	_cleanup_close_ int pins = pins_look(), filtered = -1;
	struct filter_port port;

	if (pins < 0)
		return;
	filtered = pins_get(pins, "filtered");
	if (filtered < 0 || bpf_map_lookup_elem(filtered, &ifindex, &port))
		return;
	port.made_qdisc = true;
	bpf_map_update_elem(filtered, &ifindex, &port, BPF_EXIST);
}
