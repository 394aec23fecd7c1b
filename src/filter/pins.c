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

#include "filter/namespace.h"
#include "filter/pins.h"
#include "instance.h"
#include "util.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

/* The number of the namespace's file, 0 if there is no /proc. */
static uint64_t namespace_number(void)
{
	struct stat status;

	return stat("/proc/self/ns/net", &status) ? 0 : status.st_ino;
}

/*
 * What tells this network namespace from all others since the machine was started. Before Linux
 * 5.14 it is the number of its file, which another may have after it.
 */
static uint64_t namespace_id(void)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	if (fd >= 0 && !getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len))
		return cookie;
	return namespace_number();
}

#define OURS "filter"
#define OF_ALL "bpfw-"

/* Namespaces have no smaller numbers: the kernel's PROC_DYNAMIC_FIRST. */
#define FIRST_NAMESPACE 0xf0000000

/* The number says later whether the namespace still is there. */
static void directory_name(char name[64], const char *purpose)
{
	snprintf(name, 64, OF_ALL "%s-%llx-%llu", purpose, (unsigned long long)namespace_id(),
		 (unsigned long long)namespace_number());
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

	if (bpffs < 0 || fstatfs(bpffs, &fs) || fs.f_type != BPF_FS_MAGIC || !namespace_number())
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

static int remove_directory(int bpffs, int pins, const char *name)
{
	pins_for_each(pins, remove_one, NULL);
	return unlinkat(bpffs, name, AT_REMOVEDIR) ? -errno : 0;
}

int pins_remove_all_of(const char *purpose, int pins)
{
	_cleanup_close_ int bpffs = instance_open_bpffs(false);
	char name[64];
	int err;

	directory_name(name, purpose);
	err = remove_directory(bpffs, pins, name);
	close(pins);
	return bpffs < 0 ? bpffs : err;
}

int pins_remove_all(int pins)
{
	return pins_remove_all_of(OURS, pins);
}

/* ---- Namespaces that are gone -------------------------------------------------------- */

static void see_link(int pins, const char *name, void *context)
{
	_cleanup_close_ int fd = pins_get(pins, name);
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	bool *attached = context;

	/* The device is the first that a link at XDP or tcx says. Maps have no such information. */
	if (strncmp(name, "xdp-", 4) != 0 && strncmp(name, "tc-", 3) != 0)
		return;
	*attached |= fd >= 0 && !bpf_link_get_info_by_fd(fd, &info, &len) && info.xdp.ifindex;
}

/* The number at the end of the name of a directory of pins, whatever they are for; 0: it is none. */
static uint64_t namespace_of(const char *name)
{
	const char *last = strrchr(name, '-');
	uint64_t number;
	char *end;

	if (strncmp(name, OF_ALL, strlen(OF_ALL)) != 0 || last == name + strlen(OF_ALL) - 1)
		return 0;
	number = strtoull(last + 1, &end, 10);
	return *end || number < FIRST_NAMESPACE ? 0 : number;
}

static void remove_if_stale(int bpffs, const char *name)
{
	uint64_t number = namespace_of(name);
	_cleanup_close_ int pins = -1;
	bool attached = false;

	if (!number || namespace_exists(number))
		return;
	pins = open_locked(bpffs, name);
	if (pins < 0)
		return;
	pins_for_each(pins, see_link, &attached);
	if (!attached)
		remove_directory(bpffs, pins, name);
}

void pins_remove_stale(void)
{
	int bpffs = instance_open_bpffs(false);
	DIR *directory = bpffs < 0 ? NULL : fdopendir(bpffs);
	const struct dirent *entry;

	if (!directory) {
		if (bpffs >= 0)
			close(bpffs);
		return;
	}
	while ((entry = readdir(directory)))
		remove_if_stale(dirfd(directory), entry->d_name);
	closedir(directory);
}
