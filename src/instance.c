/* SPDX-License-Identifier: GPL-2.0-only */
#include <dirent.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

#include "bpfw.skel.h"
#include "instance.h"
#include "log.h"
#include "util.h"

#define BPFFS "/sys/fs/bpf"
#define PINS_PREFIX "bpfw-" /* bpffs keeps names with dots for itself */

/* bpfw.instance.LAYOUT.PID.FLOWS4.FLOWS6.EXITS.COUNTERS.PLAN */
#define NAME_PREFIX "bpfw.instance"
#define NAME_NUMBERS 6

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

/*
 * Our pid as those see it who look at us: a jail has a process namespace of its own, but the
 * /proc that it was given is that of the machine.
 */
static pid_t own_pid(void)
{
	char text[32] = "";

	return readlink("/proc/self", text, sizeof(text) - 1) > 0 ? (pid_t)strtol(text, NULL, 10) :
								    getpid();
}

/* From a jail the processes of the machine are seen in /proc only. */
static bool is_gone(pid_t pid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	return access(path, F_OK) && kill(pid, 0) && errno == ESRCH;
}

/* ---- Pins ------------------------------------------------------------------- */

static int open_directory(int at, const char *name)
{
	return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static bool is_mounted(void)
{
	struct statfs fs;

	return !statfs(BPFFS, &fs) && fs.f_type == BPF_FS_MAGIC;
}

/*
 * A second mount would hide what is pinned in the first, so of several processes one mounts:
 * that which holds the lock on the bare mount point. Anybody can hold that for ever; we wait
 * for a second at most.
 */
static void lock_mount_point(int fd)
{
	const struct timespec pause = { .tv_nsec = 10L * 1000 * 1000 };

	for (int tries = 100; tries && flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
	     tries--)
		nanosleep(&pause, NULL);
}

static int have_bpffs(void)
{
	_cleanup_close_ int bare = -1;

	if (is_mounted())
		return 0;
	bare = open_directory(AT_FDCWD, BPFFS);
	if (bare < 0)
		return -errno;
	lock_mount_point(bare);
	if (is_mounted())
		return 0;
	if (mount("bpffs", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700"))
		return -errno;
	return 0;
}

/* The kernel makes its root sticky: others may make names there, but not take ours away. */
static int open_bpffs(void)
{
	int fd = open_directory(AT_FDCWD, BPFFS);

	return fd < 0 ? -errno : fd;
}

int instance_open_bpffs(bool make)
{
	int err = make ? have_bpffs() : 0;

	return err ? err : open_bpffs();
}

static void empty_directory(int fd)
{
	DIR *directory = fdopendir(fd); /* owns the descriptor from here on */
	const struct dirent *entry;

	if (!directory) {
		close(fd);
		return;
	}
	while ((entry = readdir(directory)))
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(directory), entry->d_name, 0);
	closedir(directory);
}

/*
 * A directory of pins with all that is in it: another version may have pinned other maps.
 * What is not a directory of our own (a symbolic link, or somebody else's) is left alone.
 */
static void remove_pins(int bpffs, const char *name)
{
	int fd = open_directory(bpffs, name);
	struct stat status;

	if (fd < 0)
		return;
	if (fstat(fd, &status) || status.st_uid != geteuid()) {
		close(fd);
		return;
	}
	empty_directory(fd);
	unlinkat(bpffs, name, AT_REMOVEDIR);
}

/* The process that the directory's name holds; 0 if it is no such name. */
static pid_t pins_owner(const char *name)
{
	char *end;
	long pid;

	if (strncmp(name, PINS_PREFIX, strlen(PINS_PREFIX)))
		return 0;
	pid = strtol(name + strlen(PINS_PREFIX), &end, 10);
	return *end || pid <= 0 || pid > INT_MAX ? 0 : (pid_t)pid;
}

/* A killed bpfw cannot remove its pins: the next one does, lest the maps stay in memory. */
static void remove_stale_pins(int bpffs)
{
	DIR *directory = opendir(BPFFS);
	const struct dirent *entry;

	if (!directory)
		return;
	while ((entry = readdir(directory))) {
		pid_t pid = pins_owner(entry->d_name);

		if (pid && is_gone(pid))
			remove_pins(bpffs, entry->d_name);
	}
	closedir(directory);
}

static int pin_one(const struct instance *instance, const char *name, int map)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s/%s", BPFFS, instance->pins, name);
	return bpf_obj_pin(map, path);
}

static int pin_maps(struct instance *instance, const struct datapath *datapath)
{
	static const char *const names[] = { "flows", "exits", "counters", "plan" };
	const struct bpf_map *const maps[] = {
		datapath->skeleton->maps.flows,
		datapath->skeleton->maps.exits,
		datapath->skeleton->maps.counters,
		datapath->skeleton->maps.plan,
	};
	char own[sizeof(instance->pins)];
	_cleanup_close_ int bpffs = -1;
	int err = have_bpffs();

	if (err)
		return err;
	bpffs = open_bpffs();
	if (bpffs < 0)
		return bpffs;
	remove_stale_pins(bpffs);
	snprintf(own, sizeof(own), PINS_PREFIX "%d", own_pid());
	remove_pins(bpffs, own); /* of a killed one that had our pid */
	if (mkdirat(bpffs, own, 0700))
		return -errno;
	memcpy(instance->pins, own, sizeof(own));
	for (size_t i = 0; i < ARRAY_SIZE(names) && !err; i++)
		err = pin_one(instance, names[i], bpf_map__fd(maps[i]));
	return err;
}

static void unpin_maps(struct instance *instance)
{
	_cleanup_close_ int bpffs = instance->pins[0] ? open_bpffs() : -1;

	if (bpffs >= 0)
		remove_pins(bpffs, instance->pins);
	instance->pins[0] = '\0';
}

/* ---- The name --------------------------------------------------------------- */

static int bind_name(struct instance *instance, const struct datapath *datapath)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int len;

	instance->name_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (instance->name_fd < 0)
		return -errno;
	len = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1,
		       NAME_PREFIX ".%d.%d.%d.%d.%d.%d", INSTANCE_LAYOUT, own_pid(),
		       bpf_map__fd(datapath->skeleton->maps.flows),
		       bpf_map__fd(datapath->skeleton->maps.exits),
		       bpf_map__fd(datapath->skeleton->maps.counters),
		       bpf_map__fd(datapath->skeleton->maps.plan));
	if (bind(instance->name_fd, (struct sockaddr *)&address,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)))
		return -errno;
	return 0;
}

int instance_announce(struct instance *instance, const struct datapath *datapath)
{
	int err = pin_maps(instance, datapath);

	if (err) {
		/* Who is not root may not; that is no surprise. */
		log_message(geteuid() ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
			    "cannot use a bpffs at " BPFFS
			    " (%s): the maps are not pinned, so bpftool finds "
			    "them by id only; forwarding, and bpfw's own commands, do not need it",
			    strerror(-err));
		unpin_maps(instance);
	}
	err = bind_name(instance, datapath);
	if (err)
		log_error("cannot announce this instance: %s", strerror(-err));
	return err;
}

void instance_withdraw(struct instance *instance)
{
	unpin_maps(instance);
	if (instance->name_fd >= 0)
		close(instance->name_fd);
	instance->name_fd = -1;
}

/* ---- Looking into another process ------------------------------------------- */

struct map_layout {
	uint32_t key_size;
	uint32_t value_size;
};

static const struct map_layout layouts[] = {
	{ sizeof(uint32_t), sizeof(struct bpfw_flow) },
	{ sizeof(uint32_t), sizeof(struct bpfw_exit_counters) },
	{ sizeof(uint32_t), sizeof(struct bpfw_daemon_counters) },
	{ sizeof(uint32_t), sizeof(struct bpfw_plan_row) },
};

/* Anybody can bind a name: what it leads to must be a map of the right shape. */
static int take_map(int pidfd, int number, const struct map_layout *layout)
{
	_cleanup_close_ int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	int err;

	if (fd < 0)
		return -errno;
	err = bpf_map_get_info_by_fd(fd, &info, &len);
	if (err)
		return err;
	if (info.key_size != layout->key_size || info.value_size != layout->value_size)
		return -EPROTO;
	return take_fd(&fd);
}

static int open_maps(struct instance_maps *maps, const int *numbers)
{
	int *const into[] = { &maps->flows, &maps->exits, &maps->counters, &maps->plan };
	_cleanup_close_ int pidfd = -1;
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(into); i++)
		*into[i] = -1;
	pidfd = (int)syscall(SYS_pidfd_open, maps->pid, 0);
	if (pidfd < 0)
		err = -errno;
	for (size_t i = 0; i < ARRAY_SIZE(into) && !err; i++) {
		*into[i] = take_map(pidfd, numbers[i], &layouts[i]);
		err = *into[i] < 0 ? *into[i] : 0;
	}
	if (!err)
		return 0;
	log_error("cannot look into bpfw with pid %d: %s; it takes root (CAP_SYS_PTRACE)",
		  maps->pid, strerror(-err));
	instance_close(maps);
	return err;
}

void instance_close(struct instance_maps *maps)
{
	int *const fds[] = { &maps->flows, &maps->exits, &maps->counters, &maps->plan };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

/* The numbers of an instance's name in a line of /proc/net/unix; false if it holds none. */
static bool parse_name(const char *line, int numbers[NAME_NUMBERS])
{
	const char *at = strstr(line, "@" NAME_PREFIX ".");

	if (!at)
		return false;
	at += strlen("@" NAME_PREFIX);
	for (size_t i = 0; i < NAME_NUMBERS; i++) {
		char *end;
		long number;

		if (*at != '.')
			return false;
		number = strtol(at + 1, &end, 10);
		if (end == at + 1 || number < 0 || number > INT_MAX)
			return false;
		numbers[i] = (int)number;
		at = end;
	}
	return *at == '\n' || !*at;
}

int instances_open(struct instance_maps *maps, int max)
{
	FILE *names = fopen("/proc/self/net/unix", "re");
	int count = 0, found = 0, numbers[NAME_NUMBERS];
	char line[256];

	if (!names)
		return -errno;
	while (count < max && fgets(line, sizeof(line), names)) {
		if (!parse_name(line, numbers))
			continue;
		found++;
		maps[count].pid = numbers[1];
		if (numbers[0] != INSTANCE_LAYOUT)
			log_warn("bpfw with pid %d is of another version: use its own binary to "
				 "look at it",
				 numbers[1]);
		else if (!open_maps(&maps[count], &numbers[2]))
			count++;
	}
	fclose(names);
	if (found)
		return count ? count : -EPERM;
	log_error("no bpfw is running in this network namespace; start one with "
		  "'bpfw --iface NAME --iface NAME'");
	return -ESRCH;
}
