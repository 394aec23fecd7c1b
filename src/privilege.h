/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the daemon gives up once everything is attached. From then on it parses netlink
 * messages and files under /proc; a mistake in there shall not lead further than to what it
 * does anyway.
 */
#ifndef BPFW_PRIVILEGE_H
#define BPFW_PRIVILEGE_H

#include <stdbool.h>

/*
 * Keep CAP_BPF (maps, attaching to ports that come later) and CAP_NET_ADMIN (conntrack,
 * neighbours, TC, ethtool), and with `sessions` CAP_SYS_PTRACE: which PPPoE session is whose,
 * only the open files of pppd tell. All other capabilities go, for good: from the bounding
 * set too, and no program that is executed gets any. Returns 0 or -errno.
 */
int privilege_drop(bool sessions);

/*
 * Allow only the system calls that the event loop and the end of the daemon need; any other
 * ends the process (SIGSYS). Files can be opened for reading only, memory cannot become code.
 * Returns 0 or -errno: a kernel without seccomp filters says -EINVAL.
 */
int privilege_filter(bool sessions);

#endif /* BPFW_PRIVILEGE_H */
