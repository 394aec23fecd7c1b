/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "filter/pins.h"
#include "instance.h"
#include "util.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

/*
 * What tells this network namespace from all others since the machine was started. Before Linux
 * 5.14 it is the number of its file, which another may have after it.
 */
static uint64_t namespace_id(void)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);
	struct stat status;

	if (fd >= 0 && !getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len))
		return cookie;
	return stat("/proc/self/ns/net", &status) ? 0 : status.st_ino;
}

#define OURS "filter"

static void directory_name(char name[64], const char *purpose)
{
	snprintf(name, 64, "bpfw-%s-%llx", purpose, (unsigned long long)namespace_id());
}

/* Only root, or who we are, can have made what is taken from it. */
static int check_owner(int fd)
{
	struct stat status;

	if (fstat(fd, &status))
		return -errno;
	return status.st_uid == geteuid() && !(status.st_mode & 077) ? 0 : -EPERM;
}

static int open_locked(int bpffs, const char *name)
{
	_cleanup_close_ int fd =
		openat(bpffs, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat there, ours;
	int err;

	if (fd < 0)
		return -errno;
	err = check_owner(fd);
	if (err)
		return err;
	if (flock(fd, LOCK_EX))
		return -errno;
	/* Whoever had the lock before may have removed the directory. */
	if (fstatat(bpffs, name, &there, AT_SYMLINK_NOFOLLOW) || fstat(fd, &ours))
		return -EAGAIN;
	return there.st_ino == ours.st_ino ? take_fd(&fd) : -EAGAIN;
}

int pins_look(void)
{
	_cleanup_close_ int bpffs = instance_open_bpffs(false), fd = -1;
	struct statfs fs;
	char name[64];
	int err;

	if (bpffs < 0 || fstatfs(bpffs, &fs) || fs.f_type != BPF_FS_MAGIC)
		return -EACCES;
	directory_name(name, OURS);
	fd = openat(bpffs, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ENOENT : -EACCES;
	err = check_owner(fd);
	return err ? -EACCES : take_fd(&fd);
}

int pins_open_of(const char *purpose, bool make)
{
	_cleanup_close_ int bpffs = instance_open_bpffs(make);
	char name[64];
	int fd;

	if (bpffs < 0)
		return bpffs;
	directory_name(name, purpose);
	do {
		if (make && mkdirat(bpffs, name, 0700) && errno != EEXIST)
			return -errno;
		fd = open_locked(bpffs, name);
	} while (fd == -EAGAIN || (fd == -ENOENT && make));
	return fd;
}

int pins_open(bool make)
{
	return pins_open_of(OURS, make);
}

/* libbpf takes paths, not descriptors (before Linux 6.5 the kernel does, too). */
static void pin_path(int pins, const char *name, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "/proc/self/fd/%d/%s", pins, name);
}

int pins_get(int pins, const char *name)
{
	char path[PATH_MAX];

	pin_path(pins, name, path);
	return bpf_obj_get(path);
}

int pins_put(int pins, const char *name, int fd)
{
	char path[PATH_MAX];

	pin_path(pins, name, path);
	return bpf_obj_pin(fd, path);
}

int pins_remove(int pins, const char *name)
{
	return unlinkat(pins, name, 0) ? -errno : 0;
}

int pins_lock(int pins, const char *name)
{
	_cleanup_close_ int fd = -1;

	if (mkdirat(pins, name, 0700) && errno != EEXIST)
		return -errno;
	fd = openat(pins, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB))
		return -errno;
	return take_fd(&fd);
}

void pins_for_each(int pins, void (*each)(int pins, const char *name, void *context), void *context)
{
	int copy = openat(pins, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;

	if (!directory) {
		if (copy >= 0)
			close(copy);
		return;
	}
	while ((entry = readdir(directory)))
		if (entry->d_name[0] != '.')
			each(pins, entry->d_name, context);
	closedir(directory);
}

static void remove_one(int pins, const char *name, void *context)
{
	(void)context;
	if (pins_remove(pins, name) == -EISDIR)
		unlinkat(pins, name, AT_REMOVEDIR);
}

void pins_remove_all_of(const char *purpose, int pins)
{
	_cleanup_close_ int bpffs = instance_open_bpffs(false);
	char name[64];

	directory_name(name, purpose);
	pins_for_each(pins, remove_one, NULL);
	if (bpffs >= 0)
		unlinkat(bpffs, name, AT_REMOVEDIR);
	close(pins);
}

void pins_remove_all(int pins)
{
	pins_remove_all_of(OURS, pins);
}
