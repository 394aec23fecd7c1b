# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=ash disable=SC1090,SC2015,SC2034,SC3043
#
# Stand-in for OpenWrt's /lib/functions.sh and the commands uci and logger. What of them is
# imitated:
# - config_load PACKAGE: reads /etc/config/PACKAGE into shell variables. Sections of packages that
#   were loaded before stay, those of the same name are overwritten option by option. A section
#   without a name gets one. The files here are what `uci export` prints, and like it valid
#   shell: config, option and list lines with quoted words.
# - config_get VARIABLE SECTION OPTION [DEFAULT]: the value; a list's items joined by spaces; the
#   default where it is missing or empty. A name that is no shell word leaves the variable alone.
# - config_get_bool: 1 for 1, on, true, yes, enabled; 0 for 0, off, false, no, disabled; the
#   default for anything else.
# - config_foreach FUNCTION [TYPE]: calls it with the name of each section of the type.
# - config_list_foreach SECTION OPTION FUNCTION [ARGUMENT...]: calls it with each item; an option
#   that is no list has none.
# - uci -q get PACKAGE.SECTION: the section's type; nothing and status 1 if there is none.
# - logger -s -t TAG -p FACILITY.PRIORITY TEXT: to syslog (here /tmp/log) and stderr.

config() { # TYPE [NAME]
	unnamed=$((unnamed + 1))
	section="${2:-cfg$unnamed}"
	sections="$sections $section"
	eval "CONFIG_${section}_TYPE=\$1"
}

option() { # NAME VALUE
	eval "CONFIG_${section}_$1=\$2"
}

list() { # NAME VALUE
	local before length
	eval "before=\$CONFIG_${section}_$1 length=\${CONFIG_${section}_${1}_LENGTH:-0}"
	length=$((length + 1))
	eval "CONFIG_${section}_$1=\${before:+\$before }\$2"
	eval "CONFIG_${section}_${1}_ITEM$length=\$2 CONFIG_${section}_${1}_LENGTH=$length"
}

package() {
	return 0
}

# What was loaded once is not loaded again: it would double the lists.
config_load() { # PACKAGE
	case " $loaded " in
	*" $1 "*) return 0 ;;
	esac
	loaded="$loaded $1"
	[ ! -f "/etc/config/$1" ] || . "/etc/config/$1"
}

config_get() { # VARIABLE SECTION OPTION [DEFAULT]
	case "$2$3" in
	*[!A-Za-z0-9_]*) return 0 ;;
	esac
	eval "$1=\${CONFIG_${2}_${3}:-\$4}"
}

config_get_bool() { # VARIABLE SECTION OPTION [DEFAULT]
	local bool
	config_get bool "$2" "$3" "$4"
	case $bool in
	1 | on | true | yes | enabled) bool=1 ;;
	0 | off | false | no | disabled) bool=0 ;;
	*) bool=$4 ;;
	esac
	eval "$1=\$bool"
}

config_foreach() { # FUNCTION [TYPE]
	local each type
	for each in $sections; do
		config_get type "$each" TYPE
		[ -n "$2" ] && [ "$type" != "$2" ] || "$1" "$each"
	done
}

config_list_foreach() { # SECTION OPTION FUNCTION [ARGUMENT...]
	local in="$1" name="$2" function="$3" length item number=1
	shift 3
	config_get length "$in" "${name}_LENGTH" 0
	while [ "$number" -le "$length" ]; do
		config_get item "$in" "${name}_ITEM$number"
		"$function" "$item" "$@"
		number=$((number + 1))
	done
}

uci() { # -q get PACKAGE.SECTION
	(
		sections='' loaded=''
		config_load "${3%%.*}"
		for section in $sections; do
			[ "$section" = "${3#*.}" ] || continue
			eval "echo \"\$CONFIG_${section}_TYPE\""
			exit 0
		done
		exit 1
	)
}

logger() { # -s -t TAG -p FACILITY.PRIORITY TEXT
	echo "$5 $3: $6" >>/tmp/log
	echo "$3: $6" >&2
}
