/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The directory in bpffs that keeps the filter of this network namespace in force. Names lead to
 * maps and links. All access is relative to a descriptor of the directory, which nobody else can
 * write to, and which is locked while it is open: changes come one after the other.
 */
#ifndef BPFW_FILTER_PINS_H
#define BPFW_FILTER_PINS_H

#include <stdbool.h>

/*
 * A descriptor to look at what is there, without waiting for who changes it. Returns -ENOENT: there
 * is none; -EACCES: whether there is one cannot be told (no bpffs is to be seen, or only root may
 * look into it).
 */
int pins_look(void);

/*
 * The same for what is kept for another purpose, in a directory of its own: "filter" is that of
 * pins_open().
 */
int pins_open_of(const char *purpose, bool make);

/* Returns a descriptor or -errno; -ENOENT: there is none, and it was not to be made. */
int pins_open(bool make);

/*
 * Remove those of network namespaces that are gone, unless a link among them still is attached to a
 * device. Namespaces are looked for among processes and their open files, and mounts.
 */
void pins_remove_stale(void);

/* A descriptor of what is pinned there, or -errno (-ENOENT). */
int pins_get(int pins, const char *name);

/* 0, or -errno (-EEXIST). */
int pins_put(int pins, const char *name, int fd);

int pins_remove(int pins, const char *name);

/*
 * A lock of its own beside the pins, held until the descriptor that is returned is closed. -errno;
 * -EWOULDBLOCK: another process has it.
 */
int pins_lock(int pins, const char *name);

/* Call `each` with every name. Names that are removed on the way are no harm. */
void pins_for_each(int pins, void (*each)(int pins, const char *name, void *context),
		   void *context);

/* Remove the directory, with all that is in it. The descriptor is closed. Returns 0 or -errno. */
int pins_remove_all(int pins);
int pins_remove_all_of(const char *purpose, int pins);

#endif /* BPFW_FILTER_PINS_H */
