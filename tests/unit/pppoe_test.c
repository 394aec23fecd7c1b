/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * PPPoE sessions: the kernel's list from files, what is paired with what and what must not
 * be, and where the kernel has PPPoE the real thing, a process for every session.
 */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/if_pppox.h>
#include <linux/ppp-ioctl.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "feed.h"
#include "pppoe.h"
#include "util.h"

#define ROUNDS 4000
#define TITLE "Id       Address              Device\n"

#define ETH 7
#define VLAN 8
#define PPP 20

static char directory[] = "/tmp/bpfw-pppoe-XXXXXX";
static char list[64];
static const char *const run[] = { "/nonexistent", directory, NULL };
static struct pppoe_sources sources = { list, run };

static struct links links;
static struct pppoe_sessions sessions;

static int begin(void **state)
{
	(void)state;
	memset(&links, 0, sizeof(links));
	memset(&sessions, 0, sizeof(sessions));
	strcpy(directory + sizeof(directory) - 7, "XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(list, sizeof(list), "%s/pppoe", directory);
	sources.list = list;
	return 0;
}

static int end(void **state)
{
	char command[128];

	(void)state;
	links_free(&links);
	snprintf(command, sizeof(command), "rm -r '%s'", directory);
	return system(command);
}

static bool read_again(void)
{
	return pppoe_read_from(&sessions, &links, &sources);
}

/* ---- What is there ----------------------------------------------------------- */

static char buffer[4096];

static struct nlmsghdr *start(uint16_t type)
{
	struct nlmsghdr *message;

	memset(buffer, 0, sizeof(buffer));
	message = mnl_nlmsg_put_header(buffer);
	message->nlmsg_type = type;
	return message;
}

static void set_device(uint32_t ifindex, const char *name, uint16_t type, const char *kind,
		       uint32_t flags)
{
	struct nlmsghdr *message = start(RTM_NEWLINK);
	struct ifinfomsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	struct nlattr *info;

	header->ifi_index = (int)ifindex;
	header->ifi_type = type;
	header->ifi_flags = flags;
	mnl_attr_put_strz(message, IFLA_IFNAME, name);
	info = mnl_attr_nest_start(message, IFLA_LINKINFO);
	mnl_attr_put_strz(message, IFLA_INFO_KIND, kind);
	mnl_attr_nest_end(message, info);
	links_event(&links, message, &ifindex);
}

static void set_ethernet(void)
{
	set_device(ETH, "eth0", ARPHRD_ETHER, "", IFF_UP);
	set_device(VLAN, "eth0.7", ARPHRD_ETHER, "vlan", IFF_UP);
}

static void set_ppp(uint32_t ifindex, const char *name, uint32_t flags)
{
	set_device(ifindex, name, ARPHRD_PPP, "ppp", flags);
}

static void drop_device(uint32_t ifindex)
{
	struct nlmsghdr *message = start(RTM_DELLINK);
	struct ifinfomsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));

	header->ifi_index = (int)ifindex;
	assert_int_equal(links_event(&links, message, &ifindex), LINK_GONE);
}

static void write_file(const char *path, const char *text, size_t len)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
}

static void set_list(const char *text)
{
	write_file(list, text, strlen(text));
}

/* A line as the kernel prints it. */
static size_t put_line(char *text, size_t size, uint16_t id, uint8_t remote, const char *device)
{
	return (size_t)snprintf(text, size, "%08X %02x:%02x:%02x:%02x:%02x:%02x %8s\n", htons(id),
				0x0a, 0x1b, 0x2c, 0x3d, 0x4e, remote, device);
}

struct line {
	uint16_t id;
	uint8_t remote;
	const char *device;
};

static void set_lines(const struct line *lines, size_t count)
{
	char text[1024] = TITLE;
	size_t len = strlen(text);

	for (size_t i = 0; i < count; i++)
		len += put_line(text + len, sizeof(text) - len, lines[i].id, lines[i].remote,
				lines[i].device);
	set_list(text);
}

#define SET_LINES(...)                                  \
	set_lines((const struct line[]){ __VA_ARGS__ }, \
		  sizeof((const struct line[]){ __VA_ARGS__ }) / sizeof(struct line))

static void set_pid(const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s.pid", directory, name);
	write_file(path, text, strlen(text));
}

/* ---- The list ---------------------------------------------------------------- */

static void test_one_session(void **state)
{
	static const uint8_t remote[6] = { 0x0a, 0x1b, 0x2c, 0x3d, 0x4e, 0x5f };
	static const uint8_t wire[2] = { 0x12, 0x34 };
	const struct pppoe_session *session;

	(void)state;
	set_ethernet();
	set_ppp(PPP, "pppoe-wan", IFF_UP);
	assert_false(read_again()); /* no such file: no module */
	SET_LINES({ 0x1234, 0x5f, "eth0.7" });
	assert_true(read_again());
	session = pppoe_by_device(&sessions, PPP);
	assert_non_null(session);
	assert_int_equal(session->ppp, PPP);
	assert_int_equal(session->lower, VLAN);
	assert_memory_equal(&session->id, wire, 2);
	assert_memory_equal(session->remote, remote, 6);
	assert_ptr_equal(pppoe_by_wire(&sessions, VLAN, htons(0x1234)), session);
	assert_null(pppoe_by_wire(&sessions, ETH, htons(0x1234)));
	assert_null(pppoe_by_wire(&sessions, VLAN, htons(0x1235)));
	assert_null(pppoe_by_device(&sessions, VLAN));
	assert_false(read_again());
}

/* Every line exactly as the kernel writes it: else nothing of the list is believed. */
static void test_malformed(void **state)
{
	static const char *const lines[] = {
		"",
		"\n",
		"00000000 0a:1b:2c:3d:4e:5f     eth0\n",
		"00010000 0a:1b:2c:3d:4e:5f     eth0\n",
		"FFFFFFFF 0a:1b:2c:3d:4e:5f     eth0\n",
		"0000001 0a:1b:2c:3d:4e:5f      eth0\n",
		"000000001 0a:1b:2c:3d:4e:5f    eth0\n",
		"0000000G 0a:1b:2c:3d:4e:5f     eth0\n",
		"0x000001 0a:1b:2c:3d:4e:5f     eth0\n",
		"-0000001 0a:1b:2c:3d:4e:5f     eth0\n",
		"00000100\t0a:1b:2c:3d:4e:5f     eth0\n",
		"00000100 0a:1b:2c:3d:4e:5g     eth0\n",
		"00000100 0a:1b:2c:3d:4e-5f     eth0\n",
		"00000100 0a:1b:2c:3d:4e:5f:60  eth0\n",
		"00000100 0a:1b:2c:3d:4e        eth0\n",
		"00000100 0a:1b:2c:3d:4e:5f\n",
		"00000100 0a:1b:2c:3d:4e:5f         \n",
		"00000100 0a:1b:2c:3d:4e:5f     eth0",
		"00000100 0a:1b:2c:3d:4e:5f     eth0 \n",
		"00000100 0a:1b:2c:3d:4e:5f     eth0 1\n",
		"00000100 0a:1b:2c:3d:4e:5f     eth0\r\n",
		"00000100 0a:1b:2c:3d:4e:5f sixteen-letters-\n",
	};
	char text[256];

	(void)state;
	set_ethernet();
	set_ppp(PPP, "ppp0", IFF_UP);
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		SET_LINES({ 1, 0x5f, "eth0" });
		read_again();
		assert_int_equal(sessions.count, 1);
		snprintf(text, sizeof(text), TITLE "%s", lines[i]);
		set_list(text);
		if (!read_again() || sessions.count)
			fail_msg("believed: '%s'", lines[i]);
		/* Nor is what stands before or behind it. */
		snprintf(text, sizeof(text), TITLE "00000100 0a:1b:2c:3d:4e:5f     eth0\n%s",
			 lines[i]);
		set_list(text);
		read_again();
		assert_int_equal(sessions.count, *lines[i] ? 0 : 1);
	}
	set_list("");
	read_again();
	assert_int_equal(sessions.count, 0);
	set_list("00000100 0a:1b:2c:3d:4e:5f     eth0\n");
	read_again();
	assert_int_equal(sessions.count, 0);
	set_list("Id Address Device\n00000100 0a:1b:2c:3d:4e:5f     eth0\n");
	read_again();
	assert_int_equal(sessions.count, 0);
	set_list(TITLE "00000100 0A:1B:2C:3D:4E:5F fifteen-letters\n");
	set_device(9, "fifteen-letters", ARPHRD_ETHER, "veth", IFF_UP);
	assert_true(read_again());
	assert_int_equal(sessions.session[0].lower, 9);
}

static void test_hostile(void **state)
{
	char whole[512] = TITLE, text[600];
	size_t len = strlen(whole);

	(void)state;
	set_ethernet();
	set_ppp(PPP, "ppp0", IFF_UP);
	len += put_line(whole + len, sizeof(whole) - len, 1, 1, "eth0");
	len += put_line(whole + len, sizeof(whole) - len, 2, 1, "eth0.7");
	for (int i = 0; i < ROUNDS; i++) {
		size_t cut = len;

		memcpy(text, whole, len);
		for (uint32_t wounds = 1 + unit_below(3); wounds; wounds--)
			text[strlen(TITLE) + unit_below((uint32_t)(len - strlen(TITLE)))] =
				unit_below(2) ? (char)unit_random() : "0F: \n\t"[unit_below(6)];
		if (unit_below(2))
			cut = unit_below((uint32_t)len);
		write_file(list, text, cut);
		read_again();
		assert_true(sessions.count <= 1);
	}
}

/* ---- Pairs by exclusion ------------------------------------------------------ */

static void test_changes(void **state)
{
	(void)state;
	set_ethernet();
	set_ppp(PPP, "ppp0", IFF_UP);
	SET_LINES({ 1, 1, "eth0" });
	assert_true(read_again());
	SET_LINES({ 2, 1, "eth0" });
	assert_true(read_again());
	assert_int_equal(sessions.session[0].id, htons(2));
	SET_LINES({ 2, 9, "eth0" });
	assert_true(read_again());
	assert_int_equal(sessions.session[0].remote[5], 9);
	SET_LINES({ 2, 9, "eth0.7" });
	assert_true(read_again());
	assert_int_equal(sessions.session[0].lower, VLAN);
	set_ppp(PPP, "ppp0", 0);
	assert_true(read_again());
	assert_null(pppoe_by_device(&sessions, PPP));
	set_ppp(PPP, "renamed", IFF_UP);
	assert_true(read_again());
	/* Dialled again: another device, the same session */
	drop_device(PPP);
	set_ppp(PPP + 1, "ppp0", IFF_UP);
	assert_true(read_again());
	assert_null(pppoe_by_device(&sessions, PPP));
	assert_non_null(pppoe_by_device(&sessions, PPP + 1));
	drop_device(VLAN);
	assert_true(read_again());
	assert_int_equal(sessions.count, 0);
	set_ethernet();
	assert_true(read_again());
	set_list(TITLE);
	assert_true(read_again());
	assert_int_equal(sessions.count, 0);
	assert_false(read_again());
}

static void test_not_certain(void **state)
{
	(void)state;
	set_ethernet();
	set_ppp(PPP, "ppp0", IFF_UP);
	SET_LINES({ 1, 1, "eth0" }, { 2, 1, "eth0" });
	assert_false(read_again());
	SET_LINES({ 1, 1, "eth0" }, { 2, 1, "elsewhere" });
	assert_false(read_again());
	/* A device that is down may be the one that the session belongs to. */
	SET_LINES({ 1, 1, "eth0" });
	set_ppp(PPP + 1, "ppp1", 0);
	assert_false(read_again());
	drop_device(PPP + 1);
	assert_true(read_again());
	SET_LINES({ 1, 1, "elsewhere" });
	assert_true(read_again());
	assert_int_equal(sessions.count, 0);
	/* Of type PPP, but none of the kernel's PPP */
	SET_LINES({ 1, 1, "eth0" });
	drop_device(PPP);
	set_device(PPP, "ppp0", ARPHRD_PPP, "tun", IFF_UP);
	assert_false(read_again());
	set_device(PPP, "ppp0", ARPHRD_ETHER, "ppp", IFF_UP);
	assert_false(read_again());
	set_ppp(PPP + 1, "ppp1", IFF_UP);
	assert_true(read_again());
	assert_non_null(pppoe_by_device(&sessions, PPP + 1));
}

static void test_many(void **state)
{
	const size_t size = 64 * 1024;
	char *text = calloc(1, size);
	size_t len = strlen(TITLE);

	(void)state;
	assert_non_null(text);
	set_ethernet();
	set_ppp(PPP, "ppp0", IFF_UP);
	strcpy(text, TITLE);
	for (uint16_t id = 1; id <= PPPOE_SESSIONS_MAX + 50; id++)
		len += put_line(text + len, size - len, id, 1, "eth0");
	set_list(text);
	free(text);
	assert_false(read_again());
	SET_LINES({ 1, 1, "eth0" });
	assert_true(read_again());
	for (uint32_t i = 1; i < PPPOE_SESSIONS_MAX + 50; i++) {
		char name[16];

		snprintf(name, sizeof(name), "ppp%u", i);
		set_ppp(PPP + i, name, IFF_UP);
	}
	assert_true(read_again());
	assert_int_equal(sessions.count, 0);
}

/* A file that names no pppd says nothing. */
static void test_stray_pid(void **state)
{
	char pid[32];

	(void)state;
	set_ethernet();
	set_ppp(PPP, "ppp0", IFF_UP);
	SET_LINES({ 1, 1, "eth0" });
	snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	const char *const texts[] = { "",  "\n",    "0\n",  "-1\n", "99999999999\n",
				      "x", "1 2\n", " 1\n", "+1\n", pid };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		memset(&sessions, 0, sizeof(sessions));
		set_pid("ppp0", texts[i]);
		assert_true(read_again());
		assert_int_equal(sessions.count, 1);
	}
}

/* ---- Pairs by process -------------------------------------------------------- */

static struct rtnl rtnl;

static int ask(struct nlmsghdr *request, uint16_t flags)
{
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	return rtnl_request(&rtnl, request, NULL, NULL);
}

static void create_veth(const char *name, const char *peer)
{
	struct nlmsghdr *request = start(RTM_NEWLINK);
	struct nlattr *info, *data, *nest;

	mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(request, IFLA_IFNAME, name);
	info = mnl_attr_nest_start(request, IFLA_LINKINFO);
	mnl_attr_put_strz(request, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(request, IFLA_INFO_DATA);
	nest = mnl_attr_nest_start(request, VETH_INFO_PEER);
	mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(request, IFLA_IFNAME, peer);
	mnl_attr_nest_end(request, nest);
	mnl_attr_nest_end(request, data);
	mnl_attr_nest_end(request, info);
	assert_int_equal(ask(request, NLM_F_CREATE | NLM_F_EXCL), 0);
}

static void set_up(const char *name)
{
	struct nlmsghdr *request = start(RTM_NEWLINK);
	struct ifinfomsg *header = mnl_nlmsg_put_extra_header(request, sizeof(*header));

	header->ifi_flags = IFF_UP;
	header->ifi_change = IFF_UP;
	mnl_attr_put_strz(request, IFLA_IFNAME, name);
	assert_int_equal(ask(request, 0), 0);
}

static int connect_session(const char *device, uint16_t id, uint8_t remote)
{
	struct sockaddr_pppox address = { .sa_family = AF_PPPOX, .sa_protocol = PX_PROTO_OE };
	int fd = socket(AF_PPPOX, SOCK_STREAM, PX_PROTO_OE);

	address.sa_addr.pppoe.sid = htons(id);
	memcpy(address.sa_addr.pppoe.remote, (uint8_t[]){ 2, 0, 0, 0, 0, remote }, 6);
	strncpy(address.sa_addr.pppoe.dev, device, IFNAMSIZ - 1);
	if (fd >= 0 && id && connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return -1;
	return fd;
}

/* What there is to see of a pppd: a unit, and the sockets of its sessions. */
struct dialler {
	const char *device; /* NULL: another carrier */
	uint16_t id;
	uint8_t remote;
	unsigned int sessions; /* the others: device, id + 1 and so on */
	char name[IFNAMSIZ];
	pid_t pid;
};

/* Returns the number of the unit, or -1. */
static int dial(const struct dialler *dialler)
{
	int fd = open("/dev/ppp", O_RDWR), unit = -1;

	if (fd < 0 || ioctl(fd, PPPIOCNEWUNIT, &unit))
		return -1;
	for (unsigned int i = 0; dialler->device && i < dialler->sessions; i++)
		if (connect_session(dialler->device, (uint16_t)(dialler->id + i), dialler->remote) <
		    0)
			return -1;
	return unit;
}

static void start_dialler(struct dialler *dialler)
{
	int channel[2], unit = -1;
	char pid[32];

	assert_int_equal(pipe(channel), 0);
	dialler->pid = fork();
	assert_true(dialler->pid >= 0);
	if (!dialler->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		unit = dial(dialler);
		if (write(channel[1], &unit, sizeof(unit)) == sizeof(unit))
			pause();
		_exit(1);
	}
	close(channel[1]);
	assert_int_equal(read(channel[0], &unit, sizeof(unit)), sizeof(unit));
	close(channel[0]);
	assert_true(unit >= 0);
	snprintf(dialler->name, sizeof(dialler->name), "ppp%d", unit);
	set_up(dialler->name);
	snprintf(pid, sizeof(pid), "%d\n", (int)dialler->pid);
	set_pid(dialler->name, pid);
}

static void stop_dialler(struct dialler *dialler)
{
	kill(dialler->pid, SIGKILL);
	waitpid(dialler->pid, NULL, 0);
}

static void forget_pid(const struct dialler *dialler)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s.pid", directory, dialler->name);
	assert_int_equal(unlink(path), 0);
}

/* Two Ethernet devices in a namespace of our own, or skip. */
static void enter_lab(void)
{
	static bool made;
	int fd = socket(AF_PPPOX, SOCK_STREAM, PX_PROTO_OE);
	int ppp = open("/dev/ppp", O_RDWR);

	close(fd);
	close(ppp);
	if (fd < 0 || ppp < 0 || !feed_enter_namespace()) {
		printf("# SKIP the kernel has no PPPoE, or no namespace is to be had\n");
		skip();
	}
	assert_int_equal(rtnl_open(&rtnl), 0);
	if (!made) {
		create_veth("wan0", "far0");
		create_veth("wan1", "far1");
		for (size_t i = 0; i < 4; i++)
			set_up((const char *const[]){ "wan0", "far0", "wan1", "far1" }[i]);
	}
	made = true;
	sources.list = "/proc/net/pppoe";
}

static bool read_kernel(void)
{
	links_free(&links);
	assert_int_equal(links_dump(&links, &rtnl), 0);
	return read_again();
}

static uint32_t ifindex_of(const char *name)
{
	const struct link *link = links_find_name(&links, name);

	assert_non_null(link);
	return link->ifindex;
}

static void check_pair(const struct dialler *dialler)
{
	const struct pppoe_session *session = pppoe_by_device(&sessions, ifindex_of(dialler->name));
	uint32_t lower = ifindex_of(dialler->device);

	assert_non_null(session);
	assert_int_equal(session->lower, lower);
	assert_int_equal(session->id, htons(dialler->id));
	assert_int_equal(session->remote[5], dialler->remote);
	assert_ptr_equal(pppoe_by_wire(&sessions, lower, htons(dialler->id)), session);
}

static void test_kernel_one(void **state)
{
	struct dialler dialler = { "wan0", 0x1234, 1, 1, "", 0 };

	(void)state;
	enter_lab();
	start_dialler(&dialler);
	assert_true(read_kernel());
	check_pair(&dialler);
	/* By exclusion it is the same. */
	forget_pid(&dialler);
	assert_false(read_kernel());
	check_pair(&dialler);
	stop_dialler(&dialler);
	assert_true(read_kernel());
	assert_int_equal(sessions.count, 0);
	rtnl_close(&rtnl);
}

static void test_kernel_several(void **state)
{
	struct dialler diallers[] = {
		{ "wan0", 1, 1, 1, "", 0 },
		{ "wan0", 2, 1, 1, "", 0 },
		{ "wan1", 1, 2, 1, "", 0 },
	};

	(void)state;
	enter_lab();
	for (size_t i = 0; i < ARRAY_SIZE(diallers); i++)
		start_dialler(&diallers[i]);
	assert_true(read_kernel());
	assert_int_equal(sessions.count, ARRAY_SIZE(diallers));
	for (size_t i = 0; i < ARRAY_SIZE(diallers); i++)
		check_pair(&diallers[i]);
	/* One that is not known is what is left, two are not certain. */
	forget_pid(&diallers[1]);
	assert_false(read_kernel());
	check_pair(&diallers[1]);
	forget_pid(&diallers[0]);
	assert_true(read_kernel());
	assert_int_equal(sessions.count, 1);
	check_pair(&diallers[2]);
	for (size_t i = 0; i < ARRAY_SIZE(diallers); i++)
		stop_dialler(&diallers[i]);
	rtnl_close(&rtnl);
}

/* Two files that name one process, and one process with two sessions */
static void test_kernel_contradictions(void **state)
{
	struct dialler one = { "wan0", 1, 1, 1, "", 0 }, two = { "wan0", 2, 1, 1, "", 0 };
	struct dialler both = { "wan0", 10, 1, 2, "", 0 };
	char pid[32];

	(void)state;
	enter_lab();
	start_dialler(&one);
	start_dialler(&two);
	assert_true(read_kernel());
	assert_int_equal(sessions.count, 2);
	snprintf(pid, sizeof(pid), "%d\n", (int)one.pid);
	set_pid(two.name, pid);
	assert_true(read_kernel());
	assert_int_equal(sessions.count, 0);
	stop_dialler(&two);
	start_dialler(&both);
	read_kernel();
	assert_int_equal(sessions.count, 1);
	check_pair(&one);
	stop_dialler(&one);
	stop_dialler(&both);
	rtnl_close(&rtnl);
}

/* What another protocol carries is not what a lone session belongs to. */
static void test_kernel_other_carrier(void **state)
{
	struct dialler other = { NULL, 0, 0, 0, "", 0 };
	int session;

	(void)state;
	enter_lab();
	start_dialler(&other);
	session = connect_session("wan0", 5, 1);
	assert_true(session >= 0);
	read_kernel();
	assert_int_equal(sessions.count, 0);
	/* Were the process not known, they would be taken for a pair. */
	forget_pid(&other);
	assert_true(read_kernel());
	assert_int_equal(sessions.count, 1);
	close(session);
	stop_dialler(&other);
	rtnl_close(&rtnl);
}

/* The same id from two concentrators on one link */
static void test_kernel_same_id(void **state)
{
	struct dialler one = { "wan0", 7, 1, 1, "", 0 }, two = { "wan0", 7, 2, 1, "", 0 };

	(void)state;
	enter_lab();
	start_dialler(&one);
	assert_true(read_kernel());
	start_dialler(&two);
	assert_true(read_kernel());
	assert_int_equal(sessions.count, 0);
	stop_dialler(&one);
	assert_true(read_kernel());
	check_pair(&two);
	stop_dialler(&two);
	rtnl_close(&rtnl);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_one_session),
		TEST(test_malformed),
		TEST(test_hostile),
		TEST(test_changes),
		TEST(test_not_certain),
		TEST(test_many),
		TEST(test_stray_pid),
		TEST(test_kernel_one),
		TEST(test_kernel_several),
		TEST(test_kernel_contradictions),
		TEST(test_kernel_other_carrier),
		TEST(test_kernel_same_id),
	};

	unit_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
