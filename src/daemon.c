/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <linux/capability.h>
#include <linux/neighbour.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>

#include "bridge.h"
#include "conntrack.h"
#include "daemon.h"
#include "datapath.h"
#include "flow.h"
#include "instance.h"
#include "ipsec.h"
#include "link.h"
#include "log.h"
#include "neighbour.h"
#include "notify.h"
#include "path.h"
#include "port.h"
#include "pppoe.h"
#include "privilege.h"
#include "rtnl.h"
#include "rule.h"
#include "util.h"

#define DAEMON_NICE (-10)
#define TICK_MS 250                   /* heartbeat and deadlines */
#define EVENTLESS_MS 50               /* one round of flows_watch_eventless() */
#define REVIEW_MS UINT64_C(2000)      /* XDP targets, which change without an event */
#define FILTER_MS UINT64_C(1000)      /* `bpfw filter` loads and unloads without one, too */
#define RECONCILE_MS UINT64_C(300000) /* a dump to compare with, even if no event was lost */

/*
 * Where many entries send no events, dumps follow one another as fast as costs less than a
 * thousandth of a CPU: an entry takes about a microsecond.
 */
#define RECONCILE_LEAST_MS UINT64_C(5000)
#define RECONCILE_ENTRIES_PER_MS 1

/* What an epoll event is about. */
enum source {
	SOURCE_SIGNALS, /* of the BPF side */
	SOURCE_CONNTRACK,
	SOURCE_DUMP,
	SOURCE_RTNL,
	SOURCE_IPSEC,
	SOURCE_TICK,
	SOURCE_EVENTLESS,
	SOURCE_SERVICE,
};

struct daemon {
	struct options options;
	struct notify notify;
	struct rtnl rtnl;
	struct links links;
	struct bridges bridges;
	struct pppoe_sessions sessions;
	struct neighbours neighbours;
	struct rules rules;
	struct ipsec ipsec;
	struct conntrack conntrack;
	struct datapath datapath;
	struct ports ports;
	struct flows flows;
	struct instance instance;
	int epoll;
	int tick;
	int eventless;
	int service; /* signals of whoever runs the daemon: end, reload */
	bool eventless_armed;
	bool links_changed;  /* by events that the ports have not followed so far */
	bool routes_changed; /* since the last tick: put-off candidates get another chance */
	bool stop;
	uint64_t next_review_ms;
	uint64_t next_filter_ms;
	uint64_t reconciled_ms; /* when the last dump was begun */
	bool working;           /* flows_work() has more to do */
};

/* ---- Routing events --------------------------------------------------------- */

static int dump_devices(struct daemon *daemon)
{
	int err = links_dump(&daemon->links, &daemon->rtnl);

	err = err ? err : bridges_dump(&daemon->bridges, &daemon->rtnl);
	if (!err)
		pppoe_read(&daemon->sessions, &daemon->links);
	return err;
}

/* Unread, they count as what decides for each packet (rule.h). */
static void dump_rules(struct daemon *daemon)
{
	if (rules_dump(&daemon->rules, &daemon->rtnl))
		log_warn("cannot list the routing rules: flows stay in the stack");
}

static void dump_routes(struct daemon *daemon)
{
	if (rules_dump_routes(&daemon->rules, &daemon->rtnl))
		log_warn("cannot list the routes: flows of IPv4 stay in the stack");
}

static void on_everything(void *context, const char *why)
{
	struct daemon *daemon = context;

	log_info("%s: all flows go back to the stack for a new decision", why);
	if (dump_devices(daemon))
		log_warn("cannot list the network devices");
	dump_rules(daemon);
	daemon->links_changed = true;
	flows_forget_all(&daemon->flows);
	daemon->routes_changed = true;
}

static void on_lost(void *context)
{
	dump_routes(context);
	on_everything(context, "routing events were lost");
}

static void on_forwarding(void *context, int ifindex)
{
	struct daemon *daemon = context;

	daemon->links_changed = true; /* --iface auto: an interface may have come or gone */
	if (ifindex < 0 || ports_find(&daemon->ports, (uint32_t)ifindex))
		on_everything(context, "forwarding was switched");
}

static void on_route(void *context, const struct nlmsghdr *message, const struct address *prefix)
{
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);
	struct daemon *daemon = context;

	if (message->nlmsg_type == RTM_NEWROUTE && rules_learn_route(&daemon->rules, message))
		on_everything(daemon, "a route is for one TOS");
	flows_forget_route(&daemon->flows, route->rtm_family, prefix, route->rtm_dst_len);
	daemon->routes_changed = true;
}

/* A host moved to another port of its bridge, or the bridge has forgotten it. */
static void on_bridge_host(struct daemon *daemon, const struct nlmsghdr *message)
{
	const struct nlattr *table[NDA_MAX + 1];

	if (!bridges_event(&daemon->bridges, message))
		return;
	rtnl_attributes(message, sizeof(struct ndmsg), table, NDA_MAX);
	if (table[NDA_LLADDR] && mnl_attr_get_payload_len(table[NDA_LLADDR]) == 6)
		flows_forget_mac(&daemon->flows, mnl_attr_get_payload(table[NDA_LLADDR]));
}

static bool is_bridge_host(const struct nlmsghdr *message)
{
	const struct ndmsg *header = mnl_nlmsg_get_payload(message);

	return mnl_nlmsg_get_payload_len(message) >= sizeof(*header) &&
	       header->ndm_family == AF_BRIDGE;
}

static void on_neighbour(void *context, const struct nlmsghdr *message)
{
	struct daemon *daemon = context;
	struct neighbour *changed;

	if (is_bridge_host(message)) {
		on_bridge_host(daemon, message);
		return;
	}
	changed = neighbours_event(&daemon->neighbours, &daemon->rtnl, message);
	if (changed)
		flows_forget_neighbour(&daemon->flows, changed);
}

/* Does a flow depend on the device that the message is about? */
static bool is_in_path(const struct daemon *daemon, const struct nlmsghdr *message)
{
	const struct ifinfomsg *header = mnl_nlmsg_get_payload(message);
	const struct link *link;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*header))
		return false;
	link = links_find(&daemon->links, (uint32_t)header->ifi_index);
	return link && link->in_path;
}

static void on_link(void *context, const struct nlmsghdr *message)
{
	struct daemon *daemon = context;
	bool in_path = is_in_path(daemon, message);
	bool changed = bridges_event(&daemon->bridges, message);
	const struct port *port;
	uint32_t ifindex;

	if (links_event(&daemon->links, message, &ifindex) != LINK_SAME)
		changed = true;
	if (!changed)
		return;
	/* A bridge tells of its own VLANs by what else changes with them. */
	if (link_is(links_find(&daemon->links, ifindex), "bridge"))
		bridges_dump(&daemon->bridges, &daemon->rtnl);
	/* Sessions come and go with their ppp devices. */
	if (pppoe_read(&daemon->sessions, &daemon->links))
		in_path = true;
	daemon->routes_changed = true;
	daemon->links_changed = true;
	port = ports_find(&daemon->ports, ifindex);
	/* Routes come and go with their interface, for IPv4 without an event of their own. */
	if (in_path || port)
		flows_forget_all(&daemon->flows);
}

/* Once for all events of a batch: ports come and go with devices. */
static void follow_links(struct daemon *daemon)
{
	if (!daemon->links_changed)
		return;
	daemon->links_changed = false;
	switch (ports_update(&daemon->ports, &daemon->datapath, &daemon->links,
			     &daemon->sessions)) {
	case PORTS_SAME:
		return;
	case PORTS_OTHER:
		flows_forget_all(&daemon->flows);
		break;
	case PORTS_MORE:
		break;
	}
	daemon->routes_changed = true;
}

static void read_rtnl(struct daemon *daemon)
{
	const struct rtnl_events events = {
		.link = on_link,
		.neighbour = on_neighbour,
		.route = on_route,
		.forwarding = on_forwarding,
		.everything = on_everything,
		.lost = on_lost,
		.context = daemon,
	};

	path_forget_settings();
	rtnl_read_events(&daemon->rtnl, &events);
	flows_forget_changed(&daemon->flows);
	follow_links(daemon);
}

static void read_ipsec(struct daemon *daemon)
{
	if (ipsec_read_events(&daemon->ipsec))
		on_everything(daemon, "IPsec policies changed");
}

/* ---- Conntrack -------------------------------------------------------------- */

static bool on_signal(void *context, const struct bpfw_signal *signal)
{
	struct daemon *daemon = context;

	return flows_signal(&daemon->flows, signal);
}

static void on_conntrack(void *context, const struct ct_entry *entry, bool destroyed)
{
	struct daemon *daemon = context;

	flows_conntrack_event(&daemon->flows, entry, destroyed);
}

static void on_dump_entry(void *context, const struct ct_entry *entry, bool destroyed)
{
	struct daemon *daemon = context;

	(void)destroyed;
	flows_dump_entry(&daemon->flows, entry);
}

static int watch(const struct daemon *daemon, int fd, enum source source)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = source };

	return epoll_ctl(daemon->epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

/* Start comparing with conntrack's table, anew if a comparison is under way. */
static void start_reconcile(struct daemon *daemon)
{
	int err;

	conntrack_dump_stop(&daemon->conntrack);
	daemon->reconciled_ms = clock_ms();
	flows_dump_start(&daemon->flows);
	err = conntrack_dump_start(&daemon->conntrack);
	if (!err)
		err = watch(daemon, conntrack_dump_fd(&daemon->conntrack), SOURCE_DUMP);
	if (err)
		log_warn("cannot list conntrack's entries: %s", strerror(-err));
}

static void read_dump(struct daemon *daemon)
{
	int state;

	if (conntrack_dump_fd(&daemon->conntrack) < 0)
		return; /* stopped after epoll_wait() had returned */
	state = conntrack_dump_read(&daemon->conntrack, on_dump_entry, daemon);
	if (state > 0) {
		flows_dump_finish(&daemon->flows);
		daemon->working = true;
	} else if (state < 0) {
		start_reconcile(daemon);
	}
}

/*
 * Under a flood of tuples that conntrack does not tell of, their signals are read once a
 * millisecond. Those that find the ring full meanwhile are sent again with the next packet.
 */
static void rest_from_flood(void)
{
	const struct timespec rest = { .tv_nsec = 1000000 };

	nanosleep(&rest, NULL);
}

/* Signals and conntrack events, which belong together. */
static void read_flows(struct daemon *daemon)
{
	int err;

	/* A forged FIN is signalled before conntrack's event about it is sent: keep the order. */
	datapath_read_signals(&daemon->datapath);
	err = conntrack_read_events(&daemon->conntrack, on_conntrack, daemon);
	if (flows_untold(&daemon->flows))
		rest_from_flood();
	if (!err)
		return;
	datapath_count(&daemon->datapath, COUNT_EVENTS_LOST, 1);
	log_info("conntrack events were lost: comparing with its table");
	start_reconcile(daemon);
}

/* Every entry that exists at the start is signalled at its next packet. */
static void on_existing_entry(void *context, const struct ct_entry *entry, bool destroyed)
{
	struct daemon *daemon = context;

	(void)destroyed;
	daemon->flows.dump_entries++;
	datapath_arm_candidate(&daemon->datapath, &entry->original);
	datapath_arm_candidate(&daemon->datapath, &entry->reply);
}

/* ---- Time ------------------------------------------------------------------- */

static int arm_timer(int fd, unsigned int ms)
{
	const struct timespec every = {
		.tv_sec = ms / 1000,
		.tv_nsec = (long)(ms % 1000) * 1000000,
	};
	const struct itimerspec timer = { .it_value = every, .it_interval = every };

	return timerfd_settime(fd, 0, &timer, NULL) ? -errno : 0;
}

static void clear_timer(int fd)
{
	uint64_t expirations;

	if (read(fd, &expirations, sizeof(expirations)) < 0 && errno != EAGAIN)
		log_debug("cannot read a timer: %s", strerror(errno));
}

static void on_target_changed(void *context, const struct link *link)
{
	struct daemon *daemon = context;

	if (link->xdp_target == XDP_TARGET_YES) {
		log_info("interface '%s' takes frames from XDP", link->name);
		daemon->routes_changed = true;
		return;
	}
	log_warn("interface '%s' takes no more frames from XDP: flows that leave there take the "
		 "stack",
		 link->name);
	flows_forget_link(&daemon->flows, link->ifindex);
}

/* What was decided with another filter, or for another hook, is decided anew. */
static void follow_filter(struct daemon *daemon)
{
	if (!ports_filter_changed(&daemon->ports, &daemon->datapath))
		return;
	log_info("the filter: %s", daemon->ports.filter.loaded ? "loaded, or others of its "
								 "interfaces" :
								 "unloaded");
	flows_forget_all(&daemon->flows);
	ports_follow_filter(&daemon->ports, &daemon->datapath);
	daemon->routes_changed = true;
}

static bool must_reconcile(const struct daemon *daemon, uint64_t now)
{
	uint64_t pace = daemon->flows.dump_entries / RECONCILE_ENTRIES_PER_MS;

	if (conntrack_dump_fd(&daemon->conntrack) >= 0)
		return false;
	if (pace < RECONCILE_LEAST_MS)
		pace = RECONCILE_LEAST_MS;
	if (pace > RECONCILE_MS || !flows_need_dumps(&daemon->flows))
		pace = RECONCILE_MS;
	return now - daemon->reconciled_ms >= pace;
}

static void tick(struct daemon *daemon)
{
	uint64_t now = clock_ms();

	clear_timer(daemon->tick);
	datapath_heartbeat(&daemon->datapath, now);
	notify_alive(&daemon->notify, now);
	read_flows(daemon); /* before entries are refreshed: they may be gone */
	daemon->working = true;
	if (now >= daemon->next_review_ms) {
		ports_review_targets(&daemon->ports, &daemon->links, &daemon->datapath,
				     on_target_changed, daemon);
		daemon->next_review_ms = now + REVIEW_MS;
	}
	if (now >= daemon->next_filter_ms) {
		follow_filter(daemon);
		daemon->next_filter_ms = now + FILTER_MS;
	}
	if (daemon->routes_changed)
		datapath_undefer_candidates(&daemon->datapath);
	daemon->routes_changed = false;
	if (must_reconcile(daemon, now))
		start_reconcile(daemon);
}

/* The fast timer runs only while there are entries to look up in turn. */
static void watch_eventless(struct daemon *daemon)
{
	bool needed = flows_has_eventless(&daemon->flows) && !flows_need_dumps(&daemon->flows);

	if (needed == daemon->eventless_armed)
		return;
	arm_timer(daemon->eventless, needed ? EVENTLESS_MS : 0);
	daemon->eventless_armed = needed;
}

/* ---- Service ---------------------------------------------------------------- */

/* What cannot change while the daemon runs stays as it was. */
static void keep_fixed(struct options *options, const struct options *old)
{
	if (options->max_flows != old->max_flows)
		log_warn("--max-flows stays at %u until bpfw is started again", old->max_flows);
	if (memcmp(&options->cpus, &old->cpus, sizeof(options->cpus)))
		log_warn("--cpus stays as it is until bpfw is started again");
	options->max_flows = old->max_flows;
	options->cpus = old->cpus;
	options->no_sandbox = old->no_sandbox;
}

/* Flows that are as good by the new options as by the old ones stay where they are. */
static void reload(struct daemon *daemon)
{
	struct options options;
	char error[OPTIONS_ERROR];

	notify_reloading(&daemon->notify);
	if (options_reload(&options, &daemon->options, error)) {
		log_error("nothing is changed: %s", error);
	} else {
		keep_fixed(&options, &daemon->options);
		daemon->options = options;
		log_level = (enum log_level)options.log_level;
		flows_take_options(&daemon->flows);
		flows_forget_excluded(&daemon->flows);
		daemon->links_changed = true;
		daemon->routes_changed = true;
		follow_links(daemon);
	}
	notify_ready(&daemon->notify);
}

static void read_service(struct daemon *daemon)
{
	struct signalfd_siginfo signal;

	while (read(daemon->service, &signal, sizeof(signal)) == sizeof(signal)) {
		if (signal.ssi_signo == SIGHUP)
			reload(daemon);
		else
			daemon->stop = true;
	}
}

/* ---- The loop --------------------------------------------------------------- */

static void handle(struct daemon *daemon, enum source source)
{
	switch (source) {
	case SOURCE_SIGNALS:
	case SOURCE_CONNTRACK:
		read_flows(daemon);
		break;
	case SOURCE_DUMP:
		read_dump(daemon);
		break;
	case SOURCE_RTNL:
		read_rtnl(daemon);
		break;
	case SOURCE_IPSEC:
		read_ipsec(daemon);
		break;
	case SOURCE_TICK:
		tick(daemon);
		break;
	case SOURCE_EVENTLESS:
		clear_timer(daemon->eventless);
		flows_watch_eventless(&daemon->flows);
		break;
	case SOURCE_SERVICE:
		read_service(daemon);
		break;
	}
}

static int loop(struct daemon *daemon)
{
	struct epoll_event events[16];

	while (!daemon->stop) {
		int number = epoll_wait(daemon->epoll, events, ARRAY_SIZE(events),
					daemon->working ? 0 : -1);

		if (number < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < number && !daemon->stop; i++)
			handle(daemon, (enum source)events[i].data.u32);
		if (daemon->working)
			daemon->working = flows_work(&daemon->flows, clock_ms());
		conntrack_end_round(&daemon->conntrack);
		watch_eventless(daemon);
	}
	return 0;
}

static int open_sources(struct daemon *daemon)
{
	sigset_t signals;
	int err = 0;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	daemon->epoll = epoll_create1(EPOLL_CLOEXEC);
	daemon->service = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	daemon->tick = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	daemon->eventless = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (daemon->epoll < 0 || daemon->service < 0 || daemon->tick < 0 || daemon->eventless < 0)
		return -errno;
	err = err ? err : watch(daemon, daemon->service, SOURCE_SERVICE);
	err = err ? err : watch(daemon, daemon->tick, SOURCE_TICK);
	err = err ? err : watch(daemon, daemon->eventless, SOURCE_EVENTLESS);
	err = err ? err : watch(daemon, rtnl_events_fd(&daemon->rtnl), SOURCE_RTNL);
	if (!err && ipsec_events_fd(&daemon->ipsec) >= 0)
		err = watch(daemon, ipsec_events_fd(&daemon->ipsec), SOURCE_IPSEC);
	err = err ? err : watch(daemon, conntrack_events_fd(&daemon->conntrack), SOURCE_CONNTRACK);
	err = err ? err : watch(daemon, datapath_signals_fd(&daemon->datapath), SOURCE_SIGNALS);
	return err ? err : arm_timer(daemon->tick, TICK_MS);
}

/* ---- Start and end ---------------------------------------------------------- */

struct capability {
	const char *name;
	int number;
	bool in_sys_admin; /* was part of CAP_SYS_ADMIN before 5.8, which still covers it */
};

/* The verifier takes the programs' pointer arithmetic from those with CAP_PERFMON only. */
static const struct capability needed[] = {
	{ "CAP_BPF", CAP_BPF, true },
	{ "CAP_PERFMON", CAP_PERFMON, true },
	{ "CAP_NET_ADMIN", CAP_NET_ADMIN, false },
};

static int check_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };
	char missing[64] = "";
	uint64_t effective;

	if (syscall(SYS_capget, &header, data))
		return -errno;
	effective = (uint64_t)data[1].effective << 32 | data[0].effective;
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		const uint64_t enough = 1ULL << needed[i].number | (uint64_t)needed[i].in_sys_admin
									   << CAP_SYS_ADMIN;
		size_t len = strlen(missing);

		if (!(effective & enough))
			snprintf(missing + len, sizeof(missing) - len, "%s%s", len ? ", " : "",
				 needed[i].name);
	}
	if (!missing[0])
		return 0;
	log_error("missing capabilities: %s; run bpfw as root, or give it CAP_BPF, CAP_PERFMON "
		  "and CAP_NET_ADMIN",
		  missing);
	return -EPERM;
}

static int open_kernel(struct daemon *daemon)
{
	int err = rtnl_open(&daemon->rtnl);

	if (!err)
		err = dump_devices(daemon);
	if (err) {
		log_error("cannot talk to the kernel's routing (rtnetlink): %s", strerror(-err));
		return err;
	}
	dump_rules(daemon);
	dump_routes(daemon);
	err = ipsec_open(&daemon->ipsec);
	if (err) {
		log_error("cannot talk to the kernel's IPsec (XFRM): %s", strerror(-err));
		return err;
	}
	ipsec_dump(&daemon->ipsec);
	err = ports_plan(&daemon->ports, &daemon->options, &daemon->links, &daemon->sessions);
	if (err)
		return err;
	err = conntrack_open(&daemon->conntrack);
	if (err) {
		log_error("this kernel has no connection tracking to be asked (%s): load the "
			  "modules nf_conntrack and nf_conntrack_netlink (on OpenWrt: "
			  "kmod-nf-conntrack-netlink)",
			  strerror(-err));
		return err;
	}
	if (conntrack_events_setting() == 0)
		log_warn("nf_conntrack_events is 0: entries send no events when they are deleted, "
			 "and are looked up in turn instead; set it to 1 or 2");
	return 0;
}

/* One slot for each direction of a flow, so that those of existing entries fit at the start. */
static uint32_t candidate_sets(uint32_t max_flows)
{
	uint32_t sets = 1024;

	while (sets * CANDIDATE_WAYS < max_flows * DIRECTIONS && sets < 1U << 18)
		sets *= 2;
	return sets;
}

/*
 * While the machine is busy forwarding, it is this process that keeps the cache true, and the
 * fast path that makes it less busy. Without the right to it things go on as they are.
 */
static void raise_priority(void)
{
	errno = 0;
	if (!getpriority(PRIO_PROCESS, 0) && !errno)
		setpriority(PRIO_PROCESS, 0, DAEMON_NICE);
}

static int load(struct daemon *daemon)
{
	const struct datapath_config config = {
		.max_flows = daemon->options.max_flows,
		.candidate_sets = candidate_sets(daemon->options.max_flows),
		.detect_partial = ports_may_lack_checksums(&daemon->ports),
		.want_xdp = ports_want_xdp(&daemon->ports),
		.want_tc = ports_want_tc(&daemon->ports),
		.switched = daemon->ports.plan.switched,
		.cpus = &daemon->options.cpus,
	};
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };

	/* Before 5.11 BPF memory counted against this limit. */
	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	raise_priority();
	return datapath_load(&daemon->datapath, &config);
}

static int start_flows(struct daemon *daemon)
{
	const struct path_context paths = {
		.rtnl = &daemon->rtnl,
		.topology = {
			.links = &daemon->links,
			.bridges = &daemon->bridges,
			.sessions = &daemon->sessions,
			.filter = &daemon->ports.filter,
		},
		.neighbours = &daemon->neighbours,
		.rules = &daemon->rules,
		.policies = &daemon->ipsec.policies,
	};
	int err = flows_init(&daemon->flows, &daemon->options, &daemon->datapath,
			     &daemon->conntrack, &paths, &daemon->ports);

	if (!err)
		err = datapath_set_signals(&daemon->datapath, on_signal, daemon);
	if (!err)
		err = open_sources(daemon);
	if (err)
		log_error("cannot set up the event loop: %s", strerror(-err));
	return err;
}

static int learn_existing(struct daemon *daemon)
{
	int err = conntrack_dump(&daemon->conntrack, on_existing_entry, daemon);

	if (err)
		log_error("cannot list conntrack's entries: %s; the module nf_conntrack_netlink "
			  "is needed",
			  strerror(-err));
	daemon->reconciled_ms = clock_ms();
	return err;
}

static int start(struct daemon *daemon)
{
	int err = check_capabilities();

	err = err ? err : cpus_check(&daemon->options.cpus);
	err = err ? err : open_kernel(daemon);
	err = err ? err : load(daemon);
	err = err ? err : start_flows(daemon);
	err = err ? err : learn_existing(daemon);
	err = err ? err : ports_attach(&daemon->ports, &daemon->datapath, &daemon->links);
	err = err ? err : instance_announce(&daemon->instance, &daemon->datapath);
	if (err)
		return err;
	datapath_heartbeat(&daemon->datapath, clock_ms());
	return 0;
}

/* Sanitizers need system calls of their own. */
#if defined(__SANITIZE_ADDRESS__)
#define FILTERS_SYSTEM_CALLS false
#else
#define FILTERS_SYSTEM_CALLS true
#endif

static void give_up_privileges(const struct options *options)
{
	bool sessions = !access("/proc/net/pppoe", F_OK);
	int err;

	if (options->no_sandbox)
		return;
	err = privilege_drop(sessions);
	if (err)
		log_warn("cannot give capabilities up: %s", strerror(-err));
	err = FILTERS_SYSTEM_CALLS ? privilege_filter(sessions) : 0;
	if (err)
		log_warn("this kernel does not filter system calls (seccomp): %s", strerror(-err));
}

static void print_ready(const struct daemon *daemon)
{
	fprintf(stderr, "bpfw: ready");
	for (size_t i = 0; i < daemon->ports.count; i++)
		fprintf(stderr, "%s %s at %s", i ? "," : ":", daemon->ports.port[i].name,
			attach_mode_name(daemon->ports.port[i].mode));
	fprintf(stderr, "\n");
}

static void close_all(struct daemon *daemon)
{
	const int fds[] = { daemon->epoll, daemon->tick, daemon->eventless, daemon->service };

	/* The programs first: from here on every packet takes the stack. */
	ports_detach(&daemon->ports);
	instance_withdraw(&daemon->instance);
	flows_free(&daemon->flows);
	conntrack_close(&daemon->conntrack);
	datapath_unload(&daemon->datapath);
	neighbours_free(&daemon->neighbours);
	links_free(&daemon->links);
	bridges_free(&daemon->bridges);
	ipsec_close(&daemon->ipsec);
	rtnl_close(&daemon->rtnl);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

int daemon_run(const struct options *options)
{
	_cleanup_free_ struct daemon *daemon = calloc(1, sizeof(*daemon));
	int err;

	if (!daemon)
		return -ENOMEM;
	daemon->options = *options;
	daemon->instance.name_fd = -1;
	daemon->epoll = daemon->tick = daemon->eventless = daemon->service = -1;
	notify_open(&daemon->notify);
	err = start(daemon);
	if (!err) {
		give_up_privileges(options);
		print_ready(daemon);
		notify_ready(&daemon->notify);
		err = loop(daemon);
		notify_stopping(&daemon->notify);
	}
	close_all(daemon);
	notify_close(&daemon->notify);
	return err;
}
