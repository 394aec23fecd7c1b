# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=ash disable=SC2154,SC3043
#
# Stand-in for OpenWrt's /lib/functions/procd.sh: what a script asks procd for is written to
# /tmp/procd as text, a line for each thing, instead of being sent over ubus as one message.
# ../procd.py reads it and acts as procd does. What of it is imitated:
# - procd_open_service, procd_close_service: begin and end of the message. Closing it asks the
#   script for its triggers.
# - procd_open_instance NAME, procd_set_param TYPE WORD..., procd_append_param,
#   procd_close_instance. respawn without words means 3600 5 5: a process that lived for less
#   than 3600 s is started again after 5 s, 5 times.
# - procd_add_jail NAME [FLAG...], procd_add_jail_mount PATH... (read only),
#   procd_add_jail_mount_rw PATH...: inside an instance.
# - procd_add_reload_trigger PACKAGE...: reload when `uci commit` (reload_config) has changed one.
# - procd_add_reload_interface_trigger NETWORK: reload when netifd says that it changed.
# - procd_kill SERVICE: ends it. procd_send_signal SERVICE [INSTANCE] SIGNAL.

record() {
	printf '%s\n' "$*" >>/tmp/procd
}

procd_open_service() {
	record "service $1"
}

procd_close_service() {
	service_triggers
	record end
}

procd_open_instance() {
	record "instance $1"
}

procd_set_param() {
	[ "$*" != respawn ] || set -- respawn 3600 5 5
	case "$1" in
	command | env | data | limits | file | netdev | respawn | error | nice | term_timeout | \
		reload_signal | pidfile | user | group | seccomp | capabilities | stdout | stderr | \
		no_new_privs) record "$@" ;;
	*) echo "procd_set_param: procd ignores '$1'" >&2 ;;
	esac
}

procd_append_param() {
	procd_set_param "$@"
}

procd_close_instance() {
	return 0
}

procd_add_jail() {
	record jail "$@"
}

procd_add_jail_mount() {
	local path
	for path; do
		record jail_mount "$path"
	done
}

procd_add_jail_mount_rw() {
	local path
	for path; do
		record jail_mount_rw "$path"
	done
}

procd_add_reload_trigger() {
	record reload_trigger "$@"
}

procd_add_reload_interface_trigger() {
	record reload_interface_trigger "$1"
}

procd_kill() {
	record "kill $1"
}

procd_send_signal() {
	record "signal $*"
}
