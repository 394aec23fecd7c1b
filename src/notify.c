/* SPDX-License-Identifier: GPL-2.0-only */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "notify.h"
#include "util.h"

static int connect_to(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t len = strlen(name);
	_cleanup_close_ int fd = -1;

	/* A path, or '@' for the abstract namespace */
	if (len < 2 || len >= sizeof(address.sun_path) || (name[0] != '/' && name[0] != '@'))
		return -1;
	memcpy(address.sun_path, name, len);
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)))
		return -1;
	return take_fd(&fd);
}

/* Half of the time that the manager waits; 0 if it does not, or waits for another process. */
static uint64_t watchdog_period(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	uint64_t value = usec ? strtoull(usec, NULL, 10) : 0;

	if (pid && strtol(pid, NULL, 10) != getpid())
		return 0;
	return value / 2000;
}

void notify_open(struct notify *notify)
{
	const char *name = getenv("NOTIFY_SOCKET");

	*notify = (struct notify){ .fd = -1 };
	if (!name)
		return;
	notify->fd = connect_to(name);
	if (notify->fd < 0)
		log_warn("the service manager cannot be told: no socket '%.100s'", name);
	else
		notify->watchdog_ms = watchdog_period();
}

void notify_close(struct notify *notify)
{
	if (notify->fd >= 0)
		close(notify->fd);
	notify->fd = -1;
}

static void tell(const struct notify *notify, const char *state)
{
	if (notify->fd >= 0 && send(notify->fd, state, strlen(state), MSG_DONTWAIT) < 0)
		log_debug("the service manager does not listen");
}

void notify_ready(const struct notify *notify)
{
	tell(notify, "READY=1\n");
}

/* Type=notify-reload wants to know when that was. */
void notify_reloading(const struct notify *notify)
{
	char state[64];

	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\n",
		 clock_ms() * 1000);
	tell(notify, state);
}

void notify_stopping(const struct notify *notify)
{
	tell(notify, "STOPPING=1\n");
}

void notify_alive(struct notify *notify, uint64_t now_ms)
{
	if (!notify->watchdog_ms || now_ms < notify->next_ms)
		return;
	notify->next_ms = now_ms + notify->watchdog_ms;
	tell(notify, "WATCHDOG=1\n");
}
