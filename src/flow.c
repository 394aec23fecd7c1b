/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "flow.h"
#include "log.h"
#include "nat.h"

/* IPS_OFFLOAD and IPS_HW_OFFLOAD, newer than some kernel headers: in a kernel flowtable */
#define CT_STATUS_OFFLOAD (1U << 14 | 1U << 15)

/* UDP: conntrack takes a stream for assured when it is still active after two seconds. */
#define UDP_ASSURED_MS 2000

/* A flow leaves the fast path this long before conntrack drops its entry. */
#define EXPIRY_LEAD_MS 1000

/* Conntrack tells what is left in whole seconds: less of a difference is none. */
#define EXPIRY_SLACK_MS 1000

/* An active entry is refreshed when an eighth of its time is left, within these limits. */
#define REFRESH_LEAD_MS 30000
#define REFRESH_LEAST_MS (EXPIRY_LEAD_MS + 2 * DEADLINE_SLOT_MS)

/* After a forged FIN or RST conntrack is set right at once and looked after for a while. */
#define FORGED_WATCH_MS 3000
#define FORGED_REPEAT_MS 1000

/* Time for a new connection to show that it has taken over a reset one's ports. */
#define RESET_GRACE_MS 250

/* As in the TCP header */
#define TCP_FLAG_SYN 0x02
#define TCP_FLAG_RST 0x04

/* Settings of the namespace are read anew when they are needed and older than this. */
#define TIMEOUTS_FRESH_MS 5000

/* Entries that send no events: few are looked up, so many at a time; more wait for a dump. */
#define EVENTLESS_FEW 64
#define EVENTLESS_AT_ONCE 8

/*
 * Lookups for tuples that turned out to have no flow: so many a second, so many at once. Half a
 * per cent of a CPU.
 */
#define VAIN_PER_SECOND 1000
#define VAIN_MAX 250

/* What is done of a long task before other events get their turn: about a millisecond of it. */
#define DEADLINES_AT_ONCE 256
#define COMPARED_AT_ONCE 128

/* The least bits of a prefix whose flows are found by their destinations' list. */
#define DESTINATION_BITS4 16
#define DESTINATION_BITS6 32

/* A walk over so many flows is over long before the heartbeat is needed. */
#define WALKED_AT_ONCE 4096

static void count(struct flows *flows, enum daemon_counter counter)
{
	datapath_count(flows->datapath, counter, 1);
}

static bool is_tcp(const struct flow *flow)
{
	return flow->direction[ORIGINAL].tuple.protocol == IPPROTO_TCP;
}

static struct flow_direction *opposite_of(const struct flow_direction *direction)
{
	struct flow *flow = direction->flow;

	return &flow->direction[direction == &flow->direction[ORIGINAL] ? REPLY : ORIGINAL];
}

static bool is_installed(const struct flow_direction *direction)
{
	return direction->slot;
}

static bool is_eventless(const struct flow *flow)
{
	return !list_empty(&flow->eventless);
}

/* ---- The table -------------------------------------------------------------- */

static struct flow_direction **bucket_of(const struct flows *flows, const struct tuple *tuple)
{
	uint64_t hash = datapath_hash(flows->datapath, tuple);

	return &flows->bucket[(hash >> 32) & (flows->buckets - 1)];
}

static struct flow_direction *find_direction(const struct flows *flows, const struct tuple *tuple)
{
	struct flow_direction *direction = *bucket_of(flows, tuple);

	while (direction && !tuple_equal(&direction->tuple, tuple))
		direction = direction->hash_next;
	return direction;
}

static struct flow *find_flow(const struct flows *flows, const struct tuple *tuple)
{
	const struct flow_direction *direction = find_direction(flows, tuple);

	return direction ? direction->flow : NULL;
}

static void hash_direction(struct flows *flows, struct flow_direction *direction)
{
	struct flow_direction **bucket = bucket_of(flows, &direction->tuple);

	direction->hash_next = *bucket;
	*bucket = direction;
}

static void unhash_direction(struct flows *flows, const struct flow_direction *direction)
{
	struct flow_direction **at = bucket_of(flows, &direction->tuple);

	while (*at != direction)
		at = &(*at)->hash_next;
	*at = direction->hash_next;
}

/* Directions by the start of the address that they are routed by. */
static struct list *going_to(struct flows *flows, uint8_t family, const struct address *address)
{
	uint32_t start = address->word[0];
	uint64_t hash;

	if (family == AF_INET)
		start &= htonl(~0U << (32 - DESTINATION_BITS4));
	hash = hash_mix(flows->datapath->candidate_seed, start);
	return &flows->destination[(hash >> 32) % FLOW_LISTS];
}

/* Directions by the MAC that they are sent to; an attacker cannot aim at a list. */
static struct list *sent_to(struct flows *flows, const uint8_t mac[6])
{
	uint64_t number = 0;

	memcpy(&number, mac, 6);
	return &flows->mac[(hash_mix(flows->datapath->candidate_seed, number) >> 32) % FLOW_LISTS];
}

static void join_eventless(struct flows *flows, struct flow *flow)
{
	list_append(&flows->eventless, &flow->eventless);
	flows->eventless_count++;
}

static void leave_eventless(struct flows *flows, struct flow *flow)
{
	if (!is_eventless(flow))
		return;
	list_remove(&flow->eventless);
	flows->eventless_count--;
}

/* Conntrack sends events of this entry. */
static void remember_told(struct flows *flows, const struct tuple *original,
			  const struct tuple *reply, uint32_t id)
{
	told_add(&flows->told, datapath_hash(flows->datapath, original), id);
	told_add(&flows->told, datapath_hash(flows->datapath, reply), id);
}

static struct flow *add_flow(struct flows *flows, const struct ct_entry *entry)
{
	struct flow *flow = calloc(1, sizeof(*flow));

	if (!flow)
		return NULL;
	flow->direction[ORIGINAL].tuple = entry->original;
	flow->direction[REPLY].tuple = entry->reply;
	for (size_t i = 0; i < DIRECTIONS; i++) {
		flow->direction[i].flow = flow;
		flow->direction[i].wscale = entry->wscale[i];
		list_init(&flow->direction[i].neighbour_user);
		list_init(&flow->direction[i].by_mac);
		hash_direction(flows, &flow->direction[i]);
		list_append(going_to(flows, entry->original.family,
				     &flow->direction[DIRECTIONS - 1 - i].tuple.src),
			    &flow->direction[i].by_destination);
	}
	flow->ct_id = entry->id;
	flow->ct_status = entry->status;
	flow->mark = entry->mark;
	flow->learned_ms = clock_ms();
	flow->seen_in_dump = flows->dump;
	deadline_init(&flow->deadline);
	list_init(&flow->eventless);
	if (!told_has_entry(&flows->told, datapath_hash(flows->datapath, &entry->original),
			    entry->id))
		join_eventless(flows, flow);
	list_append(&flows->all, &flow->all);
	flows->count++;
	flows->datapath->counters->count[COUNT_FLOWS] = flows->count;
	return flow;
}

/* ---- The directions' entries in the datapath -------------------------------- */

/* What the programs do with an installed direction's packets, and count of them. */
static struct bpfw_action *action_of(const struct flows *flows,
				     const struct flow_direction *direction)
{
	return offload_map_action(&flows->datapath->map, direction->slot);
}

static void uninstall(struct flows *flows, struct flow_direction *direction)
{
	const struct bpfw_action *action;

	if (!is_installed(direction))
		return;
	action = action_of(flows, direction);
	datapath_count(flows->datapath, COUNT_RETIRED_PACKETS, action->packets);
	datapath_count(flows->datapath, COUNT_RETIRED_BYTES, action->bytes);
	offload_map_remove(&flows->datapath->map, direction->slot);
	direction->slot = 0;
	list_remove(&direction->by_mac);
	list_remove(&direction->neighbour_user);
	if (direction->neighbour)
		neighbour_release(flows->paths.neighbours, direction->neighbour);
	direction->neighbour = NULL;
}

static void free_flow(struct flows *flows, struct flow *flow)
{
	for (size_t i = 0; i < DIRECTIONS; i++) {
		uninstall(flows, &flow->direction[i]);
		unhash_direction(flows, &flow->direction[i]);
		list_remove(&flow->direction[i].by_destination);
	}
	deadline_cancel(&flow->deadline);
	leave_eventless(flows, flow);
	list_remove(&flow->all);
	free(flow);
	flows->count--;
	flows->full_warned = false;
	flows->datapath->counters->count[COUNT_FLOWS] = flows->count;
}

/* A flow that was offloaded leaves the fast path. */
static void remove_flow(struct flows *flows, struct flow *flow, enum daemon_counter why)
{
	char text[TUPLE_TEXT];

	log_debug("flow %s leaves the fast path (%u)",
		  tuple_print(&flow->direction[ORIGINAL].tuple, text), why);
	/* Its entry stays: the flow may come back. */
	if ((why == COUNT_CHANGED || why == COUNT_IDLE) && !is_eventless(flow))
		remember_told(flows, &flow->direction[ORIGINAL].tuple,
			      &flow->direction[REPLY].tuple, flow->ct_id);
	free_flow(flows, flow);
	count(flows, why);
}

/* Take a flow back because something that it was derived from changed; it may come back. */
static void forget_flow(struct flows *flows, struct flow *flow)
{
	for (size_t i = 0; i < DIRECTIONS; i++)
		datapath_arm_candidate(flows->datapath, &flow->direction[i].tuple);
	remove_flow(flows, flow, COUNT_CHANGED);
}

/* ---- Conntrack entries ------------------------------------------------------ */

static bool is_in_prefixes(const struct options *options, const struct tuple *tuple)
{
	for (size_t i = 0; i < options->excludes; i++) {
		const struct prefix_option *prefix = &options->exclude[i];

		if (tuple->family == prefix->family &&
		    (address_in_prefix(&tuple->src, &prefix->address, prefix->length) ||
		     address_in_prefix(&tuple->dst, &prefix->address, prefix->length)))
			return true;
	}
	return false;
}

/* --exclude goes by all addresses that the connection has, before and after NAT. */
static bool is_excluded(const struct options *options, const struct tuple *original,
			const struct tuple *reply, uint32_t mark)
{
	if (options->only_protocol && original->protocol != options->only_protocol)
		return true;
	if (options->exclude_mask && (mark & options->exclude_mask) == options->exclude_mark)
		return true;
	return is_in_prefixes(options, original) || is_in_prefixes(options, reply);
}

/* May the entry be offloaded? DAEMON_COUNTERS if so, else the counter that says why not. */
static enum daemon_counter judge_entry(const struct flows *flows, const struct ct_entry *entry)
{
	if (entry->zone)
		return COUNT_ZONE;
	if (entry->helper || entry->status & IPS_SEQ_ADJUST)
		return COUNT_HELPER;
	if (entry->status & CT_STATUS_OFFLOAD)
		return COUNT_KERNEL_OFFLOAD;
	if (!(entry->status & IPS_CONFIRMED) || entry->status & IPS_DYING)
		return COUNT_NO_ENTRY;
	/* Conntrack picks up a lone ACK as ESTABLISHED (tcp_loose): it takes two to have a flow. */
	if (!(entry->status & IPS_SEEN_REPLY))
		return COUNT_UNREPLIED;
	if (entry->original.protocol == IPPROTO_TCP &&
	    entry->tcp_state != TCP_CONNTRACK_ESTABLISHED)
		return COUNT_NOT_ESTABLISHED;
	if (ipsec_covers_flow(flows->paths.policies, &entry->original, &entry->reply))
		return COUNT_IPSEC;
	return is_excluded(flows->options, &entry->original, &entry->reply, entry->mark) ?
		       COUNT_EXCLUDED :
		       DAEMON_COUNTERS;
}

/* The flow's entry; false if it is gone, another one's by now, or not to be offloaded. */
static bool read_entry(struct flows *flows, const struct flow *flow, struct ct_entry *entry)
{
	return !conntrack_lookup(flows->conntrack, &flow->direction[ORIGINAL].tuple, entry) &&
	       entry->id == flow->ct_id && judge_entry(flows, entry) == DAEMON_COUNTERS;
}

static bool entry_still_good(struct flows *flows, const struct flow *flow)
{
	struct ct_entry entry;

	return read_entry(flows, flow, &entry);
}

static void freshen_timeouts(struct flows *flows, uint64_t now)
{
	if (flows->timeouts_read_ms && now - flows->timeouts_read_ms < TIMEOUTS_FRESH_MS)
		return;
	conntrack_read_timeouts(flows->timeouts);
	flows->timeouts_read_ms = now;
}

/* The timeout that the flow's entry has after a packet. */
static uint32_t timeout_of(struct flows *flows, const struct flow *flow, uint64_t now)
{
	freshen_timeouts(flows, now);
	if (is_tcp(flow))
		return flows->timeouts[CT_TIMEOUT_TCP_ESTABLISHED];
	return flows
		->timeouts[flow->ct_status & IPS_ASSURED ? CT_TIMEOUT_UDP_STREAM : CT_TIMEOUT_UDP];
}

/* The event of a change proves that the entry sends any. */
static void change_entry(struct flows *flows, const struct flow *flow, struct ct_change change)
{
	if (is_eventless(flow))
		change.flags |= CT_TELL_US;
	conntrack_change(flows->conntrack, &flow->direction[ORIGINAL].tuple, &change);
}

/* Set the entry's timeout so that it ends at `expires`; `change` may say more. */
static void set_expiry(struct flows *flows, struct flow *flow, uint64_t now, uint64_t expires,
		       struct ct_change change)
{
	change.flags |= CT_SET_TIMEOUT;
	change.timeout = expires > now ? (uint32_t)((expires - now + 999) / 1000) : 1;
	if (!is_tcp(flow)) {
		change.flags |= CT_SET_STATUS;
		change.status = flow->ct_status;
	}
	change_entry(flows, flow, change);
	flow->expires_ms = expires;
}

/* How long the flow has been idle, by the direction that was active last. */
static uint64_t idle_ms(const struct flows *flows, const struct flow *flow, uint64_t now)
{
	uint64_t idle = now - flow->learned_ms;

	for (size_t i = 0; i < DIRECTIONS; i++) {
		uint64_t age;

		if (!is_installed(&flow->direction[i]))
			continue;
		age = clock_age_ms(&flows->datapath->clock, now,
				   action_of(flows, &flow->direction[i])->last_seen);
		if (age < idle)
			idle = age;
	}
	return idle;
}

/* Has an end of the connection been seen (control_close() of the BPF side)? */
static bool is_closing(const struct flows *flows, const struct flow *flow)
{
	for (size_t i = 0; i < DIRECTIONS; i++)
		if (is_installed(&flow->direction[i]) &&
		    action_of(flows, &flow->direction[i])->verdict == FLOW_PASS)
			return true;
	return false;
}

/*
 * Nothing to look up: the flow is active now, so nobody has set a later end than it is to have;
 * and an event would have told if the entry were gone. A TCP entry may be about to close.
 */
static bool is_known_good(const struct flow *flow, uint64_t now, uint64_t active)
{
	return !is_tcp(flow) && !is_eventless(flow) && now - active <= EXPIRY_SLACK_MS;
}

/*
 * Bring the entry's timeout to what it would be had the stack seen every packet. The
 * stack may have seen later ones than the fast path (too long for the MTU, or of a
 * direction that is not offloaded), so the timeout is only ever raised. Returns false
 * when the entry is gone or no longer one to offload.
 */
static bool sync_expiry(struct flows *flows, struct flow *flow, uint64_t now, uint64_t active)
{
	struct ct_entry entry;
	uint64_t expires;

	if (!is_tcp(flow) && active - flow->learned_ms >= UDP_ASSURED_MS)
		flow->ct_status |= IPS_ASSURED;
	flow->timeout_s = timeout_of(flows, flow, now);
	expires = active + flow->timeout_s * 1000ULL;
	if (expires <= flow->expires_ms + EXPIRY_SLACK_MS)
		return true;
	if (is_known_good(flow, now, active)) {
		set_expiry(flows, flow, now, now + flow->timeout_s * 1000ULL,
			   (struct ct_change){ 0 });
		count(flows, COUNT_REFRESHED);
		return true;
	}
	if (!read_entry(flows, flow, &entry))
		return false;
	flow->expires_ms = now + entry.timeout * 1000ULL;
	if (expires > flow->expires_ms + EXPIRY_SLACK_MS) {
		set_expiry(flows, flow, now, expires, (struct ct_change){ 0 });
		count(flows, COUNT_REFRESHED);
	}
	return true;
}

/*
 * Conntrack may have taken a forged FIN or RST for genuine, or cut the timeout short on
 * account of it: undo that. Returns false when the flow has ended after all.
 */
static bool repair_entry(struct flows *flows, struct flow *flow, uint64_t now)
{
	uint64_t expires = now - idle_ms(flows, flow, now);
	struct ct_change change = { 0 };
	struct ct_entry entry;

	if (conntrack_lookup(flows->conntrack, &flow->direction[ORIGINAL].tuple, &entry) ||
	    entry.id != flow->ct_id || is_closing(flows, flow))
		return false;
	flow->timeout_s = timeout_of(flows, flow, now);
	expires += flow->timeout_s * 1000ULL;
	if (entry.tcp_state != TCP_CONNTRACK_ESTABLISHED)
		change = (struct ct_change){ .flags = CT_SET_TCP_STATE | CT_SET_LIBERAL,
					     .tcp_state = TCP_CONNTRACK_ESTABLISHED };
	else if (expires <= now + entry.timeout * 1000ULL + EXPIRY_SLACK_MS)
		return true;
	set_expiry(flows, flow, now, expires, change);
	count(flows, COUNT_REPAIRED);
	return true;
}

/*
 * A while after a genuine RST, and no SYN since: conntrack's own window may have been too
 * old to accept it (control.h), so its entry is closed as the kernel would have done.
 * Not at once, lest a new connection with the same ports be closed in its handshake.
 */
static void close_entry(struct flows *flows, struct flow *flow, uint64_t now)
{
	struct ct_change change = {
		.flags = CT_SET_TCP_STATE | CT_SET_TIMEOUT,
		.tcp_state = TCP_CONNTRACK_CLOSE,
	};

	if (!entry_still_good(flows, flow))
		return;
	freshen_timeouts(flows, now);
	change.timeout = flows->timeouts[CT_TIMEOUT_TCP_CLOSE];
	change_entry(flows, flow, change);
}

/* ---- Deadlines -------------------------------------------------------------- */

/* When to look at the flow next, given when it was active last. */
static void schedule(struct flows *flows, struct flow *flow, uint64_t now, uint64_t active)
{
	uint64_t limit = is_tcp(flow) ? flows->tcp_idle_ms : flows->udp_idle_ms;
	uint64_t lead = flow->timeout_s * 125ULL;
	uint64_t at;

	if (lead > REFRESH_LEAD_MS)
		lead = REFRESH_LEAD_MS;
	if (lead < REFRESH_LEAST_MS)
		lead = REFRESH_LEAST_MS;
	at = flow->expires_ms - lead;
	if (at <= now) /* nothing to refresh by then: a last look before the entry expires */
		at = flow->expires_ms - EXPIRY_LEAD_MS;
	if (at > active + limit)
		at = active + limit;
	if (!is_tcp(flow) && !(flow->ct_status & IPS_ASSURED) &&
	    now < flow->learned_ms + UDP_ASSURED_MS + DEADLINE_SLOT_MS)
		at = flow->learned_ms + UDP_ASSURED_MS + DEADLINE_SLOT_MS;
	if (flow->forged_ms && at > now + FORGED_REPEAT_MS)
		at = now + FORGED_REPEAT_MS;
	deadline_set(&flows->deadlines, &flow->deadline, at);
}

static void run_deadline(struct flows *flows, struct flow *flow, uint64_t now)
{
	uint64_t limit = is_tcp(flow) ? flows->tcp_idle_ms : flows->udp_idle_ms;
	uint64_t idle = idle_ms(flows, flow, now);

	if (flow->reset_ms) {
		close_entry(flows, flow, now);
		remove_flow(flows, flow, COUNT_CLOSED);
		return;
	}
	if (flow->forged_ms) {
		if (!repair_entry(flows, flow, now)) {
			remove_flow(flows, flow, COUNT_CLOSED);
			return;
		}
		if (now - flow->forged_ms > FORGED_WATCH_MS)
			flow->forged_ms = 0;
	}
	if (!sync_expiry(flows, flow, now, now - idle)) {
		remove_flow(flows, flow, COUNT_DELETED);
		return;
	}
	if (idle >= limit || flow->expires_ms <= now + EXPIRY_LEAD_MS) {
		remove_flow(flows, flow, COUNT_IDLE);
		return;
	}
	schedule(flows, flow, now, now - idle);
}

static bool run_deadlines(struct flows *flows, uint64_t now_ms)
{
	for (int i = 0; i < DEADLINES_AT_ONCE; i++) {
		struct deadline *deadline = deadlines_next(&flows->deadlines, now_ms);

		if (!deadline)
			return false;
		run_deadline(flows, container_of(deadline, struct flow, deadline), now_ms);
	}
	return true;
}

/* ---- Learning --------------------------------------------------------------- */

static void refuse(struct flows *flows, const struct tuple *tuple, enum daemon_counter why)
{
	char text[TUPLE_TEXT];

	log_debug("candidate %s refused (%u)", tuple_print(tuple, text), why);
	count(flows, why);
	switch (why) {
	case COUNT_NO_ENTRY:
	case COUNT_NOT_ESTABLISHED:
	case COUNT_UNREPLIED:
	case COUNT_NO_NEIGHBOUR:
		return; /* may change any time: the candidate's own back-off is right */
	default:
		datapath_defer_candidate(flows->datapath, tuple);
	}
}

static void release_path(const struct flows *flows, const struct path *path)
{
	if (path->neighbour)
		neighbour_release(flows->paths.neighbours, path->neighbour);
}

/*
 * Would the packets be judged as in the stack? Packets that come in by a filtered port are, if that
 * is the device that receives them; so are those that nobody has judged before a filtered device
 * that they leave by directly (at TC: that is where such a port is attached). Others cross a
 * filtered device on top of a port, which does not see what is redirected below it.
 */
static bool is_judged_alike(const struct flows *flows, const struct segment *segment,
			    const struct path *path)
{
	const struct filter_view *filter = &flows->ports->filter;
	const struct transmission *out = &path->transmission;
	bool direct = path->reception.device == segment->port;

	if (!filter->loaded)
		return true;
	if (path->reception.filtered)
		return false;
	if (direct && filter_view_find(filter, segment->port))
		return true;
	if (!out->filtered && !filter_view_find(filter, out->egress) &&
	    !filter_view_find(filter, out->segment.port))
		return true;
	return direct && !out->filtered;
}

/* The direction's path; DAEMON_COUNTERS, or the counter that says why there is none. */
static enum daemon_counter find_path(const struct flows *flows,
				     const struct flow_direction *direction,
				     const struct segment *segment, struct path *path)
{
	const struct tuple to = tuple_inverse(&opposite_of(direction)->tuple);
	const struct port *port = ports_find(flows->ports, segment->port);
	const struct path_query query = {
		.family = direction->tuple.family,
		.protocol = direction->tuple.protocol,
		.keep_queues = port && port_is_tc(port),
		.segment = *segment,
		.mark = direction->flow->mark,
		.src = direction->tuple.src,
		.dst = to.dst,
		.sport = direction->tuple.sport,
		.dport = to.dport,
	};
	struct link *egress;

	if (!port)
		return COUNT_DEVICE;
	switch (path_resolve(&flows->paths, &query, path)) {
	case PATH_LATER:
		return COUNT_NO_NEIGHBOUR;
	case PATH_NOT_FORWARDED:
		return COUNT_NOT_FORWARDED;
	case PATH_PER_PACKET:
		return COUNT_PER_PACKET;
	case PATH_MULTIPATH:
		return COUNT_MULTIPATH;
	case PATH_DEVICE:
		return COUNT_DEVICE;
	case PATH_QDISC:
		return COUNT_QDISC;
	case PATH_OK:
		break;
	}
	if (!is_judged_alike(flows, segment, path)) {
		release_path(flows, path);
		return COUNT_FILTER;
	}
	if (path->kind == PATH_BLACKHOLE)
		return DAEMON_COUNTERS;
	egress = links_find(flows->paths.topology.links, path->transmission.egress);
	if (egress && port_can_redirect(flows->ports, port, egress, flows->datapath))
		return DAEMON_COUNTERS;
	release_path(flows, path);
	return COUNT_TARGET;
}

static void fill_link(const struct path *path, struct bpfw_action *action)
{
	const struct transmission *out = &path->transmission;

	action->egress = out->egress;
	action->switch_egress = out->switch_egress;
	action->gso_egress = out->gso_egress;
	action->link_len = out->link_len;
	action->tags = out->tags;
	action->pcp_at = path->pcp_at;
	action->pcp = path->pcp;
	memcpy(action->link, out->link, sizeof(action->link));
	memcpy(action->ingress_mac, path->reception.mac, sizeof(action->ingress_mac));
	memcpy(action->session_mac, path->reception.session_mac, sizeof(action->session_mac));
	if (out->segment.session)
		action->flags |= FLOW_PPPOE;
}

static void fill_action(const struct flows *flows, const struct flow_direction *direction,
			const struct tuple *to, const struct path *path, struct bpfw_action *action)
{
	memset(action, 0, sizeof(*action));
	fill_link(path, action);
	action->mtu = path->kind == PATH_BLACKHOLE ? UINT16_MAX : path->mtu;
	action->verdict = path->kind == PATH_BLACKHOLE ? FLOW_DROP : FLOW_FORWARD;
	if (direction == &direction->flow->direction[REPLY])
		action->flags |= FLOW_REPLY;
	action->wscale = direction->wscale;
	action->last_seen = (uint32_t)clock_to_jiffies(&flows->datapath->clock, clock_ms());
	nat_fill_action(&direction->tuple, to, action);
}

/*
 * Install a direction whose path is known. `signal` is that of the packet, if one came.
 * Returns false when there is no room.
 */
static bool install(struct flows *flows, struct flow_direction *direction,
		    const struct segment *segment, const struct path *path,
		    const struct bpfw_signal *signal)
{
	const struct tuple to = tuple_inverse(&opposite_of(direction)->tuple);
	struct bpfw_action action;
	struct bpfw_flow flow;

	fill_action(flows, direction, &to, path, &action);
	if (signal && direction->tuple.protocol == IPPROTO_TCP) {
		action.seq_end = signal->seq;
		action.ack = signal->ack;
		action.window = signal->window;
		action.flags |= FLOW_TRACKED;
	}
	offload_map_fill(&flow, &direction->tuple, segment, &to, &action);
	direction->slot = offload_map_add(&flows->datapath->map, &flow);
	if (!direction->slot)
		return false;
	direction->segment = *segment;
	direction->egress = action.egress;
	memcpy(direction->next_hop_mac, action.link, sizeof(direction->next_hop_mac));
	list_append(sent_to(flows, direction->next_hop_mac), &direction->by_mac);
	direction->neighbour = path->neighbour;
	if (path->neighbour)
		list_append(&path->neighbour->users, &direction->neighbour_user);
	return true;
}

/* The opposite direction comes in where this one goes out, if we are attached there. */
static void install_opposite(struct flows *flows, const struct flow_direction *direction,
			     const struct segment *segment)
{
	struct flow_direction *opposite = opposite_of(direction);
	const struct port *port = ports_find(flows->ports, segment->port);
	struct path path;

	if (is_installed(opposite) || !port || port->mode == ATTACH_NONE)
		return;
	if (find_path(flows, opposite, segment, &path) != DAEMON_COUNTERS)
		return;
	if (!install(flows, opposite, segment, &path, NULL))
		release_path(flows, &path);
}

/*
 * Conntrack first: from the next packet on it may see none of the flow's any more. An entry that
 * has all that it needs is left alone: what it was seen to have left is less than the packet gave
 * it that made the flow known, and will be looked after in time.
 */
static void prepare_entry(struct flows *flows, struct flow *flow, const struct ct_entry *entry)
{
	uint64_t now = clock_ms();

	flow->timeout_s = timeout_of(flows, flow, now);
	if (!is_tcp(flow) || entry->liberal) {
		flow->expires_ms = now + entry->timeout * 1000ULL;
		return;
	}
	set_expiry(flows, flow, now, now + flow->timeout_s * 1000ULL,
		   (struct ct_change){ .flags = CT_SET_LIBERAL });
	conntrack_flush(flows->conntrack);
}

static struct flow_direction *direction_for(struct flows *flows, const struct tuple *tuple,
					    const struct ct_entry *entry)
{
	struct flow *flow = find_flow(flows, tuple);

	if (flow && flow->ct_id != entry->id) {
		remove_flow(flows, flow, COUNT_DELETED);
		flow = NULL;
	}
	if (!flow)
		flow = add_flow(flows, entry);
	if (!flow)
		return NULL;
	return &flow->direction[tuple_equal(tuple, &entry->original) ? ORIGINAL : REPLY];
}

static bool table_is_full(struct flows *flows)
{
	if (flows->count < flows->max)
		return false;
	if (!flows->full_warned)
		log_warn("%u flows are offloaded, which is all that --max-flows allows: further "
			 "ones stay in the stack",
			 flows->max);
	flows->full_warned = true;
	return true;
}

/*
 * The direction cannot be offloaded where the packet came in. If it is offloaded elsewhere,
 * it stays so: a stray frame must not take it back. A flow of which nothing is offloaded goes.
 */
static void give_up(struct flows *flows, struct flow_direction *direction, bool was_offloaded,
		    enum daemon_counter why)
{
	refuse(flows, &direction->tuple, why);
	if (is_installed(direction) || is_installed(opposite_of(direction)))
		return;
	if (was_offloaded)
		remove_flow(flows, direction->flow, COUNT_CHANGED);
	else
		free_flow(flows, direction->flow);
}

/* The neighbour may have no other user left, and is about to get one. */
static void uninstall_keeping(struct flows *flows, struct flow_direction *direction,
			      struct neighbour *neighbour)
{
	struct list guard;

	list_init(&guard);
	if (neighbour)
		list_append(&neighbour->users, &guard);
	uninstall(flows, direction);
	list_remove(&guard);
}

/* Offload the entry's direction that a packet of `tuple` came in for. */
static void learn(struct flows *flows, const struct tuple *tuple, const struct segment *segment,
		  const struct ct_entry *entry, const struct bpfw_signal *signal)
{
	struct flow_direction *direction = direction_for(flows, tuple, entry);
	bool was_offloaded, known;
	enum daemon_counter why;
	struct path path;

	if (!direction)
		return;
	known = is_installed(opposite_of(direction));
	was_offloaded = known || is_installed(direction);
	why = find_path(flows, direction, segment, &path);
	if (why != DAEMON_COUNTERS) {
		give_up(flows, direction, was_offloaded, why);
		return;
	}
	uninstall_keeping(flows, direction, path.neighbour); /* it came in elsewhere before */
	if (!known)
		prepare_entry(flows, direction->flow, entry);
	if (!install(flows, direction, segment, &path, signal)) {
		release_path(flows, &path);
		give_up(flows, direction, was_offloaded, COUNT_FULL);
		return;
	}
	install_opposite(flows, direction, &path.transmission.segment);
	if (!known) {
		uint64_t now = clock_ms();

		count(flows, COUNT_LEARNED);
		schedule(flows, direction->flow, now, now);
	}
}

static struct tuple tuple_of_signal(const struct bpfw_signal *signal)
{
	return signal->family == AF_INET ? tuple_from_key4(&signal->key.v4) :
					   tuple_from_key6(&signal->key.v6);
}

static struct segment segment_of_signal(const struct bpfw_signal *signal)
{
	return signal->family == AF_INET ? segment_from_key4(&signal->key.v4) :
					   segment_from_key6(&signal->key.v6);
}

/* May the tuple be looked up although that is likely to be in vain? */
static bool may_be_vain(struct flows *flows)
{
	uint64_t now = clock_ms(), more = (now - flows->vain_ms) * VAIN_PER_SECOND / 1000;

	if (more) {
		flows->vain = more < VAIN_MAX - flows->vain ? flows->vain + (uint32_t)more :
							      VAIN_MAX;
		flows->vain_ms = now;
	}
	return flows->vain;
}

static void look_candidate_up(struct flows *flows, const struct bpfw_signal *signal, bool known)
{
	const struct segment segment = segment_of_signal(signal);
	const struct tuple tuple = tuple_of_signal(signal);
	enum daemon_counter why = COUNT_NO_ENTRY;
	struct ct_entry entry;

	if (!conntrack_lookup(flows->conntrack, &tuple, &entry))
		why = judge_entry(flows, &entry);
	if (why != DAEMON_COUNTERS && flows->vain)
		flows->vain--;
	if (why == DAEMON_COUNTERS && !known && table_is_full(flows))
		why = COUNT_FULL;
	if (why != DAEMON_COUNTERS)
		refuse(flows, &tuple, why);
	else
		learn(flows, &tuple, &segment, &entry, signal);
}

/*
 * An entry that can be offloaded has been told of by an event, or is older than the daemon. What
 * has not may be a flood of spoofed packets: it is put aside until the events have been read, in
 * case the event is among those, and then only a number of such tuples is looked up.
 */
static bool candidate_signal(struct flows *flows, const struct tuple *tuple,
			     const struct segment *segment, const struct bpfw_signal *signal)
{
	const struct flow_direction *direction = find_direction(flows, tuple);

	if (direction && is_installed(direction) && segment_equal(&direction->segment, segment))
		return true; /* signalled again before we were done */
	if (direction || told_has(&flows->told, datapath_hash(flows->datapath, tuple)) ||
	    may_be_vain(flows)) {
		look_candidate_up(flows, signal, direction);
		return true;
	}
	flows->untold[flows->untold_count++] = *signal;
	return flows->untold_count < UNTOLD_AT_ONCE;
}

bool flows_untold(struct flows *flows)
{
	bool passed_over = false;

	for (uint32_t i = 0; i < flows->untold_count; i++) {
		const struct bpfw_signal *signal = &flows->untold[i];
		const struct tuple tuple = tuple_of_signal(signal);

		if (told_has(&flows->told, datapath_hash(flows->datapath, &tuple)) ||
		    may_be_vain(flows)) {
			look_candidate_up(flows, signal, find_direction(flows, &tuple));
			continue;
		}
		refuse(flows, &tuple, COUNT_UNREPLIED);
		passed_over = true;
	}
	flows->untold_count = 0;
	return passed_over;
}

/* ---- TCP control segments --------------------------------------------------- */

static void reset_signal(struct flows *flows, struct flow *flow)
{
	if (flow->reset_ms)
		return;
	flow->reset_ms = clock_ms();
	deadline_set(&flows->deadlines, &flow->deadline, flow->reset_ms + RESET_GRACE_MS);
}

static void forged_signal(struct flows *flows, struct flow *flow)
{
	flow->forged_ms = clock_ms();
	deadline_set(&flows->deadlines, &flow->deadline, flow->forged_ms);
}

static void control_signal(struct flows *flows, struct flow *flow, const struct bpfw_signal *signal)
{
	bool reset = signal->tcp_flags & TCP_FLAG_RST;
	bool syn = signal->tcp_flags & TCP_FLAG_SYN;

	if (flow->reset_ms && syn)
		forget_flow(flows, flow); /* the ports are in use again */
	else if (signal->verdict == CONTROL_GENUINE && reset)
		reset_signal(flows, flow);
	else if (signal->verdict == CONTROL_FORGED)
		forged_signal(flows, flow);
	/* Else conntrack has seen as much as we have: what it makes of it is the truth. */
	else if (!syn || !entry_still_good(flows, flow))
		remove_flow(flows, flow, COUNT_CLOSED);
}

bool flows_signal(struct flows *flows, const struct bpfw_signal *signal)
{
	const struct segment segment = segment_of_signal(signal);
	const struct tuple tuple = tuple_of_signal(signal);
	struct flow *flow;

	if (signal->kind == SIGNAL_CANDIDATE)
		return candidate_signal(flows, &tuple, &segment, signal);
	flow = find_flow(flows, &tuple);
	if (flow)
		control_signal(flows, flow, signal);
	return true;
}

/* ---- Conntrack events and dumps --------------------------------------------- */

/* The entry can be offloaded from now on: the reason for which it was refused may be gone. */
static void entry_good(struct flows *flows, const struct ct_entry *entry)
{
	if (judge_entry(flows, entry) != DAEMON_COUNTERS)
		return;
	remember_told(flows, &entry->original, &entry->reply, entry->id);
	datapath_rearm_candidate(flows->datapath, &entry->original);
	datapath_rearm_candidate(flows->datapath, &entry->reply);
}

/*
 * An entry that is not ESTABLISHED: its flow has ended, unless a forgery did it, or the
 * event is an old one of the handshake that was still waiting when the flow was learned.
 */
static void entry_closing(struct flows *flows, struct flow *flow)
{
	uint64_t now = clock_ms();

	if (flow->forged_ms && now - flow->forged_ms < FORGED_WATCH_MS &&
	    repair_entry(flows, flow, now))
		return;
	if (!entry_still_good(flows, flow))
		remove_flow(flows, flow, COUNT_CLOSED);
}

void flows_conntrack_event(struct flows *flows, const struct ct_entry *entry, bool destroyed)
{
	struct flow *flow;

	if (entry->zone)
		return;
	flow = find_flow(flows, &entry->original);
	if (!flow) {
		if (!destroyed)
			entry_good(flows, entry);
		return;
	}
	if (entry->id != flow->ct_id) {
		/* The tuple is another connection's by now; an old one's end is no news. */
		if (!destroyed)
			remove_flow(flows, flow, COUNT_DELETED);
		return;
	}
	leave_eventless(flows, flow);
	if (destroyed || entry->status & IPS_DYING)
		remove_flow(flows, flow, COUNT_DELETED);
	else if (is_tcp(flow) && entry->tcp_state != TCP_CONNTRACK_ESTABLISHED)
		entry_closing(flows, flow);
	else if (entry->mark != flow->mark)
		forget_flow(flows, flow);
	else
		flow->ct_status |= entry->status;
}

void flows_dump_start(struct flows *flows)
{
	flows->dump++;
	flows->dump_entries = 0;
	flows->comparing = false;
}

/* Those that are still there go to the end of the list: in front remain those to ask about. */
static void mark_seen(struct flows *flows, struct flow *flow)
{
	flow->seen_in_dump = flows->dump;
	list_remove(&flow->all);
	list_append(&flows->all, &flow->all);
}

void flows_dump_entry(struct flows *flows, const struct ct_entry *entry)
{
	struct flow *flow = find_flow(flows, &entry->original);

	flows->dump_entries++;
	if (flow && flow->ct_id == entry->id && !entry->zone)
		mark_seen(flows, flow);
}

void flows_dump_finish(struct flows *flows)
{
	count(flows, COUNT_RECONCILED);
	flows->comparing = true;
}

/* A dump may miss entries while the kernel resizes its table: ask again. */
static bool compare_some(struct flows *flows)
{
	for (int i = 0; i < COMPARED_AT_ONCE && flows->comparing; i++) {
		struct flow *flow = container_of(flows->all.next, struct flow, all);

		if (list_empty(&flows->all) || flow->seen_in_dump == flows->dump)
			flows->comparing = false;
		else if (entry_still_good(flows, flow))
			mark_seen(flows, flow);
		else
			remove_flow(flows, flow, COUNT_DELETED);
	}
	return flows->comparing;
}

bool flows_work(struct flows *flows, uint64_t now_ms)
{
	bool more = run_deadlines(flows, now_ms);

	return compare_some(flows) || more;
}

void flows_watch_eventless(struct flows *flows)
{
	uint32_t number = flows->eventless_count;

	for (uint32_t i = 0; i < number && i < EVENTLESS_AT_ONCE; i++) {
		struct flow *flow = container_of(flows->eventless.next, struct flow, eventless);

		list_remove(&flow->eventless);
		list_append(&flows->eventless, &flow->eventless);
		if (!entry_still_good(flows, flow) && !flow->forged_ms)
			remove_flow(flows, flow, COUNT_DELETED);
	}
}

bool flows_has_eventless(const struct flows *flows)
{
	return flows->eventless_count;
}

bool flows_need_dumps(const struct flows *flows)
{
	return flows->eventless_count > EVENTLESS_FEW;
}

/* ---- Changes of path -------------------------------------------------------- */

typedef bool (*flow_predicate)(const struct flow_direction *direction, const void *data);

/* At once, however long it takes: what remains of the cache until then is wrong. */
static void forget_where(struct flows *flows, flow_predicate matches, const void *data)
{
	struct list *node = flows->all.next;

	for (uint32_t walked = 1; node != &flows->all; walked++) {
		struct flow *flow = container_of(node, struct flow, all);

		node = node->next;
		if (walked % WALKED_AT_ONCE == 0)
			datapath_heartbeat(flows->datapath, clock_ms());
		if (matches(&flow->direction[ORIGINAL], data) ||
		    matches(&flow->direction[REPLY], data))
			forget_flow(flows, flow);
	}
}

static bool always(const struct flow_direction *direction, const void *data)
{
	(void)direction;
	(void)data;
	return true;
}

void flows_forget_all(struct flows *flows)
{
	forget_where(flows, always, NULL);
}

static bool excluded_by(const struct flow_direction *direction, const void *data)
{
	const struct flow *flow = direction->flow;

	return is_excluded(data, &flow->direction[ORIGINAL].tuple, &flow->direction[REPLY].tuple,
			   flow->mark);
}

void flows_forget_excluded(struct flows *flows)
{
	forget_where(flows, excluded_by, flows->options);
}

static bool uses_link(const struct flow_direction *direction, const void *data)
{
	const uint32_t *ifindex = data;

	return is_installed(direction) &&
	       (direction->segment.port == *ifindex || direction->egress == *ifindex);
}

void flows_forget_link(struct flows *flows, uint32_t ifindex)
{
	forget_where(flows, uses_link, &ifindex);
}

/* Is the direction routed by the prefix? It goes to where the opposite one comes from. */
static bool routed_by(const struct flow_direction *direction, const struct flow_prefix *prefix)
{
	const struct tuple *opposite = &opposite_of(direction)->tuple;

	return opposite->family == prefix->family &&
	       address_in_prefix(&opposite->src, &prefix->address, prefix->length);
}

static bool routed_by_changed(const struct flow_direction *direction, const void *data)
{
	const struct flows *flows = data;

	for (size_t i = 0; i < flows->changed_prefixes; i++)
		if (routed_by(direction, &flows->changed_prefix[i]))
			return true;
	return false;
}

void flows_forget_changed(struct flows *flows)
{
	if (flows->changed_prefixes)
		forget_where(flows, routed_by_changed, flows);
	flows->changed_prefixes = 0;
}

/*
 * Move all of a list to another head. Taking a flow back takes both its directions out of
 * whatever lists they are in, so a walk may only ever look at the first.
 */
static void move_all(struct list *from, struct list *to)
{
	list_init(to);
	if (list_empty(from))
		return;
	*to = *from;
	to->next->prev = to;
	to->prev->next = to;
	list_init(from);
}

void flows_forget_route(struct flows *flows, uint8_t family, const struct address *address,
			unsigned int length)
{
	const struct flow_prefix prefix = { *address, length, family };
	struct list *list = going_to(flows, family, address), rest;

	if (length < (family == AF_INET ? DESTINATION_BITS4 : DESTINATION_BITS6)) {
		if (flows->changed_prefixes == CHANGED_PREFIXES)
			flows_forget_changed(flows);
		flows->changed_prefix[flows->changed_prefixes++] = prefix;
		return;
	}
	move_all(list, &rest);
	while (!list_empty(&rest)) {
		struct flow_direction *direction =
			container_of(rest.next, struct flow_direction, by_destination);

		list_remove(&direction->by_destination);
		list_append(list, &direction->by_destination);
		if (routed_by(direction, &prefix))
			forget_flow(flows, direction->flow);
	}
}

void flows_forget_mac(struct flows *flows, const uint8_t mac[6])
{
	struct list *list = sent_to(flows, mac), rest;

	move_all(list, &rest);
	while (!list_empty(&rest)) {
		struct flow_direction *direction =
			container_of(rest.next, struct flow_direction, by_mac);

		list_remove(&direction->by_mac);
		list_append(list, &direction->by_mac);
		if (!memcmp(direction->next_hop_mac, mac, sizeof(direction->next_hop_mac)))
			forget_flow(flows, direction->flow);
	}
}

void flows_forget_neighbour(struct flows *flows, struct neighbour *neighbour)
{
	struct list guard; /* keeps the neighbour alive until its last user has left */

	list_init(&guard);
	list_append(&neighbour->users, &guard);
	while (neighbour->users.next != &guard) {
		struct flow_direction *direction =
			container_of(neighbour->users.next, struct flow_direction, neighbour_user);

		forget_flow(flows, direction->flow);
	}
	list_remove(&guard);
	neighbour_release(flows->paths.neighbours, neighbour);
}

/* ---- Life of the table ------------------------------------------------------ */

void flows_take_options(struct flows *flows)
{
	flows->tcp_idle_ms = flows->options->tcp_idle_s * 1000ULL;
	flows->udp_idle_ms = flows->options->udp_idle_s * 1000ULL;
}

int flows_init(struct flows *flows, const struct options *options, struct datapath *datapath,
	       struct conntrack *conntrack, const struct path_context *paths, struct ports *ports)
{
	flows->options = options;
	flows->datapath = datapath;
	flows->conntrack = conntrack;
	flows->paths = *paths;
	flows->ports = ports;
	flows->max = options->max_flows;
	flows_take_options(flows);
	flows->buckets = 1024;
	while (flows->buckets < flows->max)
		flows->buckets *= 2;
	flows->bucket = calloc(flows->buckets, sizeof(*flows->bucket));
	if (!flows->bucket || told_init(&flows->told, flows->buckets))
		return -ENOMEM;
	list_init(&flows->all);
	list_init(&flows->eventless);
	for (size_t i = 0; i < FLOW_LISTS; i++) {
		list_init(&flows->destination[i]);
		list_init(&flows->mac[i]);
	}
	deadlines_init(&flows->deadlines, clock_ms());
	return 0;
}

void flows_free(struct flows *flows)
{
	uint64_t now = clock_ms();

	while (flows->bucket && !list_empty(&flows->all)) {
		struct flow *flow = container_of(flows->all.next, struct flow, all);

		sync_expiry(flows, flow, now, now - idle_ms(flows, flow, now));
		remove_flow(flows, flow, COUNT_IDLE);
	}
	if (flows->bucket)
		conntrack_flush(flows->conntrack);
	told_free(&flows->told);
	free(flows->bucket);
	flows->bucket = NULL;
}
