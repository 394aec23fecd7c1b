/* SPDX-License-Identifier: GPL-2.0-only */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_arp.h>
#include <linux/if_pppox.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log.h"
#include "pppoe.h"
#include "util.h"

#define DEVICES_MAX PPPOE_SESSIONS_MAX

/* A session of the kernel's list. */
struct wire {
	struct pppoe_session session; /* ppp: 0 until it is paired, lower: 0 if not known */
	char device[IFNAMSIZ];
	unsigned int claims; /* ppp devices whose process holds its socket */
};

/* What is known of the process behind a ppp device. */
enum carrier {
	CARRIER_UNKNOWN, /* no such process is known */
	CARRIER_SESSION, /* it holds the socket of one session */
	CARRIER_OTHER,   /* it carries something else, or cannot be told */
};

struct device {
	const struct link *link;
	enum carrier carrier;
	struct wire *wire; /* CARRIER_SESSION */
};

/* Everything that there is to pair. */
struct pairing {
	struct wire wire[PPPOE_SESSIONS_MAX];
	struct device device[DEVICES_MAX];
	size_t wires, devices;
	bool overflow; /* there are more than that */
};

/* ---- The kernel's list ------------------------------------------------------- */

static bool parse_hex(const char *text, size_t digits, uint32_t *value)
{
	*value = 0;
	for (size_t i = 0; i < digits; i++) {
		const char *hex = "0123456789abcdef0123456789ABCDEF";
		const char *at = text[i] ? strchr(hex, text[i]) : NULL;

		if (!at)
			return false;
		*value = *value << 4 | (uint32_t)((at - hex) & 15);
	}
	return true;
}

static bool parse_mac(const char *text, uint8_t mac[6])
{
	for (size_t i = 0; i < 6; i++) {
		uint32_t byte;

		if (!parse_hex(text + i * 3, 2, &byte) || (i < 5 && text[i * 3 + 2] != ':'))
			return false;
		mac[i] = (uint8_t)byte;
	}
	return true;
}

/* "%08X %pM %8s\n": id, address, device */
static bool parse_wire(const char *line, struct wire *wire)
{
	const size_t mac_at = 9, device_at = 27;
	const char *device;
	uint32_t id;
	size_t len;

	memset(wire, 0, sizeof(*wire));
	if (strlen(line) < device_at || !parse_hex(line, 8, &id) || line[8] != ' ' ||
	    !parse_mac(line + mac_at, wire->session.remote) || line[device_at - 1] != ' ')
		return false;
	device = line + device_at;
	device += strspn(device, " ");
	len = strcspn(device, " \t\n");
	if (!len || len >= sizeof(wire->device) || strcmp(device + len, "\n") != 0)
		return false;
	memcpy(wire->device, device, len);
	/* The kernel prints the two bytes as they are, in whatever order the machine reads. */
	wire->session.id = (__be16)id;
	return id && id <= UINT16_MAX;
}

static bool read_lines(FILE *file, struct pairing *pairing)
{
	char line[128];

	if (!fgets(line, sizeof(line), file) ||
	    strcmp(line, "Id       Address              Device\n") != 0)
		return false;
	while (fgets(line, sizeof(line), file)) {
		if (pairing->wires == ARRAY_SIZE(pairing->wire)) {
			pairing->overflow = true;
			break;
		}
		if (!parse_wire(line, &pairing->wire[pairing->wires]))
			return false;
		pairing->wires++;
	}
	return !ferror(file);
}

/* Without the module there is no file, hence no session. */
static void read_wires(struct pairing *pairing, const char *path)
{
	FILE *file = fopen(path, "re");

	if (!file)
		return;
	if (!read_lines(file, pairing)) {
		log_debug("%s is not as expected: PPPoE stays in the stack", path);
		pairing->wires = 0;
	}
	fclose(file);
}

static void find_lowers(struct pairing *pairing, const struct links *links)
{
	for (size_t i = 0; i < pairing->wires; i++) {
		const struct link *link = links_find_name(links, pairing->wire[i].device);

		pairing->wire[i].session.lower = link ? link->ifindex : 0;
	}
}

/* ---- The process behind a device --------------------------------------------- */

static int open_process(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static int copy_fd(int process, int fd)
{
	return (int)syscall(SYS_pidfd_getfd, process, fd, 0);
}

static struct wire *find_wire(struct pairing *pairing, const struct pppoe_addr *address)
{
	for (size_t i = 0; i < pairing->wires; i++) {
		struct wire *wire = &pairing->wire[i];

		if (wire->session.id == address->sid &&
		    !memcmp(wire->session.remote, address->remote, sizeof(address->remote)) &&
		    !strncmp(wire->device, address->dev, sizeof(address->dev)))
			return wire;
	}
	return NULL;
}

/* The session whose socket this is, NULL if it is another kind of socket. */
static struct wire *wire_of_socket(struct pairing *pairing, int fd)
{
	/* The second is packed, and so may not be where the first has to be. */
	union {
		struct sockaddr any;
		struct sockaddr_pppox pppox;
	} address = { 0 };
	struct pppoe_addr pppoe;
	socklen_t len = sizeof(address.pppox);
	int domain = 0;
	socklen_t domain_len = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_len) || domain != AF_PPPOX ||
	    getsockname(fd, &address.any, &len) || len != sizeof(address.pppox) ||
	    address.pppox.sa_protocol != PX_PROTO_OE)
		return NULL;
	pppoe = address.pppox.sa_addr.pppoe;
	return find_wire(pairing, &pppoe);
}

/* What the open files of a process tell. */
struct files {
	bool ppp; /* it drives some ppp device */
	size_t sessions;
	struct wire *wire; /* the last of these */
};

/* Returns false if the file cannot be told. */
static bool look_at_file(struct pairing *pairing, int process, int directory, const char *name,
			 struct files *files)
{
	_cleanup_close_ int fd = -1;
	char target[32] = "";
	struct wire *wire;

	if (readlinkat(directory, name, target, sizeof(target) - 1) < 0)
		return errno == ENOENT; /* closed in the meantime */
	files->ppp = files->ppp || !strcmp(target, "/dev/ppp");
	if (strncmp(target, "socket:", 7) != 0)
		return true;
	fd = copy_fd(process, (int)strtol(name, NULL, 10));
	if (fd < 0)
		return errno == EBADF;
	wire = wire_of_socket(pairing, fd);
	if (wire) {
		files->wire = wire;
		files->sessions++;
	}
	return true;
}

static bool look_at_files(struct pairing *pairing, pid_t pid, struct files *files)
{
	_cleanup_close_ int process = open_process(pid);
	char path[64];
	const struct dirent *entry;
	bool told = true;
	DIR *directory;

	if (process < 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	directory = opendir(path);
	if (!directory)
		return false;
	while (told && (entry = readdir(directory)))
		if (entry->d_name[0] != '.')
			told = look_at_file(pairing, process, dirfd(directory), entry->d_name,
					    files);
	closedir(directory);
	return told;
}

/* A ppp device of the same name may be in another namespace: /run is not the network's. */
static bool is_in_namespace(pid_t pid)
{
	struct stat own, its;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	return !stat("/proc/self/ns/net", &own) && !stat(path, &its) && own.st_dev == its.st_dev &&
	       own.st_ino == its.st_ino;
}

static enum carrier ask_process(struct pairing *pairing, pid_t pid, struct wire **wire)
{
	struct files files = { 0 };

	/* A process without /dev/ppp is one that has got the pid of a pppd that died. */
	if (!is_in_namespace(pid) || !look_at_files(pairing, pid, &files) || !files.ppp)
		return CARRIER_UNKNOWN;
	*wire = files.wire;
	return files.sessions == 1 ? CARRIER_SESSION : CARRIER_OTHER;
}

/* The pid in a file, 0 if there is none. */
static pid_t read_pid(const char *path)
{
	FILE *file = fopen(path, "re");
	char text[32] = "", *end;
	long pid;

	if (!file)
		return 0;
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	fclose(file);
	if (text[0] < '0' || text[0] > '9')
		return 0;
	pid = strtol(text, &end, 10);
	return pid <= INT32_MAX && (!*end || !strcmp(end, "\n")) ? (pid_t)pid : 0;
}

static void find_carrier(struct pairing *pairing, struct device *device, const char *const *run)
{
	for (; *run && device->carrier == CARRIER_UNKNOWN; run++) {
		char path[256];
		pid_t pid;

		snprintf(path, sizeof(path), "%s/%s.pid", *run, device->link->name);
		pid = read_pid(path);
		if (pid)
			device->carrier = ask_process(pairing, pid, &device->wire);
	}
	if (device->carrier == CARRIER_SESSION)
		device->wire->claims++;
}

/* ---- Pairs ------------------------------------------------------------------- */

static void collect_device(void *context, struct link *link)
{
	struct pairing *pairing = context;

	if (link->type != ARPHRD_PPP || !link_is(link, "ppp"))
		return;
	if (pairing->devices == ARRAY_SIZE(pairing->device)) {
		pairing->overflow = true;
		return;
	}
	pairing->device[pairing->devices++].link = link;
}

static struct device *only_unknown_device(struct pairing *pairing)
{
	struct device *found = NULL;

	for (size_t i = 0; i < pairing->devices; i++) {
		if (pairing->device[i].carrier != CARRIER_UNKNOWN)
			continue;
		if (found)
			return NULL;
		found = &pairing->device[i];
	}
	return found;
}

static struct wire *only_unclaimed_wire(struct pairing *pairing)
{
	struct wire *found = NULL;

	for (size_t i = 0; i < pairing->wires; i++) {
		if (pairing->wire[i].claims)
			continue;
		if (found)
			return NULL;
		found = &pairing->wire[i];
	}
	return found;
}

/* One device and one session of which nothing is known belong together. */
static void pair_by_exclusion(struct pairing *pairing)
{
	struct device *device = only_unknown_device(pairing);
	struct wire *wire = only_unclaimed_wire(pairing);

	if (!device || !wire || pairing->overflow)
		return;
	device->carrier = CARRIER_SESSION;
	device->wire = wire;
	wire->claims = 1;
}

/* Two concentrators may give the same id: frames are told apart by their source alone. */
static bool is_unique(const struct pairing *pairing, const struct pppoe_session *session)
{
	unsigned int same = 0;

	for (size_t i = 0; i < pairing->wires; i++)
		same += pairing->wire[i].session.id == session->id &&
			pairing->wire[i].session.lower == session->lower;
	return same == 1;
}

static bool is_usable(const struct pairing *pairing, const struct device *device)
{
	return device->carrier == CARRIER_SESSION && device->wire->claims == 1 &&
	       device->link->flags & IFF_UP && device->wire->session.lower &&
	       is_unique(pairing, &device->wire->session);
}

static void insert_session(struct pppoe_sessions *sessions, const struct pppoe_session *session)
{
	size_t at = sessions->count++;

	for (; at && sessions->session[at - 1].ppp > session->ppp; at--)
		sessions->session[at] = sessions->session[at - 1];
	sessions->session[at] = *session;
}

static bool same_session(const struct pppoe_session *a, const struct pppoe_session *b)
{
	return a->ppp == b->ppp && a->lower == b->lower && a->id == b->id &&
	       !memcmp(a->remote, b->remote, sizeof(a->remote));
}

static bool same_sessions(const struct pppoe_sessions *a, const struct pppoe_sessions *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!same_session(&a->session[i], &b->session[i]))
			return false;
	return true;
}

bool pppoe_read_from(struct pppoe_sessions *sessions, const struct links *links,
		     const struct pppoe_sources *sources)
{
	struct pppoe_sessions news = { 0 };
	struct pairing pairing = { 0 };
	bool changed;

	read_wires(&pairing, sources->list);
	find_lowers(&pairing, links);
	links_each(links, collect_device, &pairing);
	for (size_t i = 0; pairing.wires && i < pairing.devices; i++)
		find_carrier(&pairing, &pairing.device[i], sources->run);
	pair_by_exclusion(&pairing);
	for (size_t i = 0; i < pairing.devices; i++) {
		const struct device *device = &pairing.device[i];

		if (!is_usable(&pairing, device))
			continue;
		device->wire->session.ppp = device->link->ifindex;
		insert_session(&news, &device->wire->session);
	}
	changed = !same_sessions(sessions, &news);
	*sessions = news;
	return changed;
}

bool pppoe_read(struct pppoe_sessions *sessions, const struct links *links)
{
	/* pppd before and since 2.5, and where /run is not /var/run */
	static const char *const run[] = { "/run", "/run/pppd", "/var/run", NULL };
	static const struct pppoe_sources sources = { "/proc/net/pppoe", run };

	return pppoe_read_from(sessions, links, &sources);
}

const struct pppoe_session *pppoe_by_device(const struct pppoe_sessions *sessions, uint32_t ppp)
{
	for (size_t i = 0; i < sessions->count; i++)
		if (sessions->session[i].ppp == ppp)
			return &sessions->session[i];
	return NULL;
}

const struct pppoe_session *pppoe_by_wire(const struct pppoe_sessions *sessions, uint32_t lower,
					  __be16 id)
{
	for (size_t i = 0; i < sessions->count; i++)
		if (sessions->session[i].lower == lower && sessions->session[i].id == id)
			return &sessions->session[i];
	return NULL;
}
