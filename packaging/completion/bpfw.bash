# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Completion of bpfw's command line for bash. What there is to complete comes from bpfw itself
# where it can tell: the options from --help, the interfaces from the kernel.

_bpfw_options() {
	"$@" --help 2>/dev/null | grep -oE -- '--[a-z][a-z-]*' | sort -u
}

# Of --iface, behind the last comma: NAME or NAME:HOOK. Readline takes what stands behind a colon
# for a word of its own.
_bpfw_interfaces() { # WORD
	local last=${1##*,} before=''
	[[ $1 == *,* ]] && before=${1%,*},
	if [[ $last == *:* ]]; then
		compgen -W 'auto tc xdp xdpgeneric' -- "${last##*:}"
	else
		compgen -P "$before" -W "auto $(ls /sys/class/net)" -- "$last"
	fi
}

_bpfw() {
	local word=${COMP_WORDS[COMP_CWORD]} option=${COMP_WORDS[COMP_CWORD - 1]} line found
	local -a command=()
	line=${COMP_LINE:0:COMP_POINT}
	line=${line##* }
	# eth0:x is three words to readline: the option is in front of all of them.
	if [[ $line == *:* && $line != -* ]]; then
		option=--iface
		[[ $word == : ]] && word=''
	fi
	case $option in
	--iface) found=$(_bpfw_interfaces "$line") ;;
	--hook)
		found=$(compgen -W 'auto tc xdp xdpgeneric' -- "$word")
		[[ ${COMP_WORDS[1]} == filter ]] && found=$(compgen -W 'tc xdp' -- "$word")
		;;
	--only) found=$(compgen -W 'tcp udp' -- "$word") ;;
	--in | --out) found=$(compgen -W "$(ls /sys/class/net)" -- "$word") ;;
	--log-level) found=$(compgen -W 'error warn info debug' -- "$word") ;;
	--config)
		compopt -o filenames 2>/dev/null
		found=$(compgen -f -- "$word")
		;;
	--cpus) found=$(compgen -W "$(cat /sys/devices/system/cpu/online)" -- "$word") ;;
	--exclude | --exclude-mark | --max-flows | --tcp-idle | --udp-idle | --user) found='' ;;
	filter) found=$(compgen -W 'load show why zero flush log unload' -- "$word") ;;
	set) found=$(compgen -W 'load create add del test list destroy' -- "$word") ;;
	block) found=$(compgen -W 'add del test load list' -- "$word") ;;
	flows | stats | status) found=$(compgen -W '--json' -- "$word") ;;
	*)
		[[ ${COMP_WORDS[1]} == @(filter|set|block) ]] && command=("${COMP_WORDS[1]}")
		found=$(compgen -W "$(_bpfw_options "${COMP_WORDS[0]}" "${command[@]}")" -- "$word")
		if ((COMP_CWORD == 1)); then
			found+=$'\n'$(compgen -W 'block filter flows set stats status' -- "$word")
		fi
		;;
	esac
	mapfile -t COMPREPLY < <(grep . <<<"$found")
}

complete -F _bpfw bpfw
