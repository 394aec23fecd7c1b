#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# systemd_boot.sh DIRECTORY: as the first process of new mount, process and cgroup namespaces,
# become a systemd that runs nothing but what it is asked to.
#
# Its root is that of the machine under an overlay in memory: what is installed or changed in it
# goes with it. Of the machine's own services none is started.
set -e

mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
cd "$1/root"
rm -rf usr/lib/systemd/system/*.wants etc/systemd/system/*.wants etc/fstab \
	usr/lib/systemd/system-generators
printf '[Unit]\nDefaultDependencies=no\n' >etc/systemd/system/bpfw-test.target

mount -t tmpfs tmpfs dev
for device in null zero full random urandom tty; do
	touch "dev/$device"
	mount --bind "/dev/$device" "dev/$device"
done
ln -s pts/ptmx dev/ptmx # systemd copies it for PrivateDevices
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t bpf -o mode=0700 bpf sys/fs/bpf
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
pivot_root . mnt
umount -l /mnt
exec env -i container=bpfw-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd \
	--unit=bpfw-test.target --log-target=console --show-status=no
