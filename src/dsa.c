/* SPDX-License-Identifier: GPL-2.0-only */
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dsa.h"
#include "layout.h"
#include "util.h"

/* As /sys/class/net/CONDUIT/dsa/tagging has them */
static const struct {
	const char *name;
	uint8_t tag;
	uint8_t ports; /* that it can name on the way out */
} formats[] = {
	{ "mtk", SWITCH_TAG_MTK, 6 },
	{ "qca", SWITCH_TAG_QCA, 7 },
	{ "gswip", SWITCH_TAG_GSWIP, 6 },
	{ "gwsip", SWITCH_TAG_GSWIP, 6 }, /* so spelt by older kernels */
};

const char *dsa_tag_name(uint8_t tag)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		if (formats[i].tag == tag)
			return formats[i].name;
	return "unknown";
}

/* The format by its name, if it can name the port. */
static uint8_t parse_format(const char *text, unsigned long port)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		if (!strcmp(text, formats[i].name))
			return port < formats[i].ports ? formats[i].tag : SWITCH_TAG_NONE;
	return SWITCH_TAG_NONE;
}

static uint8_t read_format(uint32_t conduit, unsigned long port)
{
	char name[IF_NAMESIZE], path[64], text[32] = "";
	_cleanup_close_ int fd = -1;
	ssize_t len;

	if (!if_indextoname(conduit, name))
		return SWITCH_TAG_NONE;
	snprintf(path, sizeof(path), "/sys/class/net/%s/dsa/tagging", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (len <= 0)
		return SWITCH_TAG_NONE;
	text[strcspn(text, "\n")] = '\0';
	return parse_format(text, port);
}

void dsa_identify(struct link *link, const char *port_name)
{
	unsigned long port;
	char *end;

	/* Before Linux 6.0 a user port has no kind; other devices with one below have. */
	if (!link->lower || link->lower == link->ifindex ||
	    (link->kind[0] && !link_is(link, "dsa")))
		return;
	if (port_name[0] != 'p' || port_name[1] < '0' || port_name[1] > '9')
		return;
	port = strtoul(port_name + 1, &end, 10);
	if (*end || port >= SWITCH_PORTS)
		return;
	link->switch_tag = read_format(link->lower, port);
	link->switch_port = (uint8_t)port;
}
