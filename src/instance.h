/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How `bpfw flows`, `stats` and `status` find a running bpfw. It binds an abstract socket whose
 * name holds its pid and the numbers of its map descriptors. Such names are listed by
 * network namespace and go with the process; the reader takes copies of the descriptors
 * by pidfd_getfd(). So the daemon answers no requests, and can be looked into when it
 * hangs. Besides, the maps are pinned for bpftool where there is a bpffs.
 */
#ifndef BPFW_INSTANCE_H
#define BPFW_INSTANCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "datapath.h"

/* Changes whenever the layout of a map or of the name does. */
#define INSTANCE_LAYOUT 5

struct instance {
	int name_fd;   /* the bound socket */
	char pins[32]; /* name in the bpffs of the directory of pinned maps, empty if there is none */
};

/* Announce this process. Returns 0 or -errno; without a bpffs it says what is lost. */
int instance_announce(struct instance *instance, const struct datapath *datapath);
void instance_withdraw(struct instance *instance);

/* Another process's maps. */
struct instance_maps {
	pid_t pid;
	int flows;
	int exits;
	int counters;
	int plan;
};

#define MAX_INSTANCES 64

/* The root of the bpffs, which is mounted if it is to be made. A descriptor or -errno. */
int instance_open_bpffs(bool make);

/*
 * Open the maps of every instance in this network namespace, `max` at most. Returns how
 * many, or -errno with a message logged. instance_close() each.
 */
int instances_open(struct instance_maps *maps, int max);
void instance_close(struct instance_maps *maps);

#endif /* BPFW_INSTANCE_H */
