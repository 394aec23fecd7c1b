/* SPDX-License-Identifier: GPL-2.0-only */
#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "genl.h"

#define PATIENCE_S 2

struct search {
	const char *name;
	bool found;
};

static int compare_name(const struct nlattr *attr, void *data)
{
	struct search *search = data;

	if (mnl_attr_get_type(attr) != CTRL_ATTR_FAMILY_NAME ||
	    mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) < 0)
		return MNL_CB_OK;
	if (!strcmp(mnl_attr_get_str(attr), search->name))
		search->found = true;
	return MNL_CB_OK;
}

static int read_family(const struct nlmsghdr *message, void *data)
{
	return mnl_attr_parse(message, sizeof(struct genlmsghdr), compare_name, data);
}

static bool search_families(struct mnl_socket *socket, struct search *search)
{
	char buffer[16384];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct genlmsghdr *control;
	ssize_t len;

	request->nlmsg_type = GENL_ID_CTRL;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	control = mnl_nlmsg_put_extra_header(request, sizeof(*control));
	control->cmd = CTRL_CMD_GETFAMILY;
	control->version = 1;
	if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) ||
	    mnl_socket_sendto(socket, request, request->nlmsg_len) < 0)
		return false;
	do {
		len = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
	} while (len > 0 && mnl_cb_run(buffer, (size_t)len, 0, mnl_socket_get_portid(socket),
				       read_family, search) > MNL_CB_STOP);
	return search->found;
}

bool genl_has_family(const char *name)
{
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC);
	struct search search = { .name = name };
	bool found;

	if (!socket)
		return false;
	setsockopt(mnl_socket_get_fd(socket), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	found = search_families(socket, &search);
	mnl_socket_close(socket);
	return found;
}
