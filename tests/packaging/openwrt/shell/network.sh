# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=ash disable=SC2034,SC3043
#
# Stand-in for OpenWrt's /lib/functions/network.sh. netifd's answers are in /tmp/network: a line
# for each network with its name, layer-3 device and layer-2 device; "-" for what netifd does not
# tell, as of a network that is down. What of it is imitated:
# - network_get_device VARIABLE NETWORK: the layer-3 device (pppoe-wan); network_get_physdev: the
#   layer-2 device (eth1). Status 1, and an empty variable, where netifd tells none.
# - network_flush_cache: answers are kept for the life of the shell until it is called.

network_field() { # VARIABLE NETWORK FIELD
	local name l3 l2 found=
	while read -r name l3 l2; do
		[ "$name" = "$2" ] || continue
		eval "found=\$$3"
	done </tmp/network
	[ "$found" != - ] || found=
	eval "$1=\$found"
	[ -n "$found" ]
}

network_get_device() {
	network_field "$1" "$2" l3
}

network_get_physdev() {
	network_field "$1" "$2" l2
}

network_flush_cache() {
	return 0
}
