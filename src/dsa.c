/* SPDX-License-Identifier: GPL-2.0-only */
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dsa.h"
#include "layout.h"
#include "util.h"

/* As /sys/class/net/CONDUIT/dsa/tagging has them */
static const struct {
	const char *name;
	uint8_t tag;
} formats[] = {
	{ "mtk", SWITCH_TAG_MTK },
	{ "qca", SWITCH_TAG_QCA },
	{ "gswip", SWITCH_TAG_GSWIP },
	{ "gwsip", SWITCH_TAG_GSWIP }, /* so spelt by older kernels */
};

const char *dsa_tag_name(uint8_t tag)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		if (formats[i].tag == tag)
			return formats[i].name;
	return "unknown";
}

static uint8_t parse_format(const char *text)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		if (!strcmp(text, formats[i].name))
			return formats[i].tag;
	return SWITCH_TAG_NONE;
}

static uint8_t read_format(uint32_t conduit)
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
	return parse_format(text);
}

void dsa_identify(struct link *link, const char *port_name)
{
	unsigned int port;
	char rest;

	/* Before Linux 6.0 a user port has no kind; other devices with one below have. */
	if (!link->lower || link->lower == link->ifindex ||
	    (link->kind[0] && !link_is(link, "dsa")))
		return;
	if (sscanf(port_name, "p%2u%c", &port, &rest) != 1 || port >= SWITCH_PORTS)
		return;
	link->switch_tag = read_format(link->lower);
	link->switch_port = (uint8_t)port;
}
