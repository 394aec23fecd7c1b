#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Form rather than function: formatting, static analysis, the compilers the BPF side is to be
# built by, and what must not get into the repository. Prints TAP.
set -u

cd "$(dirname "$0")/.." || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
results=0

ok() { # NAME
	results=$((results + 1))
	echo "ok $results - $1"
}

skip() { # NAME REASON
	results=$((results + 1))
	echo "ok $results - $1 # SKIP $2"
}

# Passes if the output, of which the failure's reader sees all, is empty.
silent() { # NAME OUTPUT
	results=$((results + 1))
	if [ -z "$2" ]; then
		echo "ok $results - $1"
	else
		echo "not ok $results - $1"
		printf '%s\n' "$2" | sed 's/^/# /'
	fi
}

in_git() {
	git -c safe.directory="$PWD" "$@" 2>/dev/null
}

# Everything that is, or is about to be, in the repository. Submodules are not ours.
list_files() {
	if in_git rev-parse --is-inside-work-tree >/dev/null; then
		in_git ls-files --cached --others --exclude-standard
	else
		find . -type f ! -path './build/*' -printf '%P\n'
	fi | grep -Ev '^(libbpf|bpftool)(/|$)' | sort -u | while read -r file; do
		[ -f "$file" ] && echo "$file"
	done
}

# FILE... whose first line names one of the interpreters
scripts() { # PATTERN FILE...
	local pattern=$1 file
	shift
	for file; do
		if head -n 1 "$file" | grep -aqE "^#!.*\b($pattern)\b"; then
			echo "$file"
		fi
	done
}

check_format() {
	local -a sources
	mapfile -t sources < <(printf '%s\n' "${files[@]}" | grep -E '^(src|bpf|tests|bench)/.*\.[ch]$')
	if ! command -v clang-format >/dev/null; then
		skip clang-format "clang-format is not installed"
	elif [ ${#sources[@]} -gt 0 ]; then
		silent "clang-format (make format)" "$(clang-format --dry-run -Werror \
			"${sources[@]}" 2>&1 | grep 'error:')"
	fi
}

check_tidy() {
	local source flags
	local -a sources=(src/*.c src/filter/*.c)
	if ! command -v clang-tidy >/dev/null; then
		skip clang-tidy "clang-tidy is not installed"
		return
	fi
	flags=$(make -s show-cflags) || return
	mkdir -p "$work/src/filter"
	# shellcheck disable=SC2016 # the inner shell expands these
	printf '%s\n' "${sources[@]}" |
		WORK=$work FLAGS=$flags xargs -P 2 -I '{}' sh -c \
			'clang-tidy --quiet "$1" -- $FLAGS >"$WORK/$1" 2>"$WORK/$1.err" ||
				grep -v "warnings\{0,1\} generated" "$WORK/$1.err" >>"$WORK/$1"' sh '{}'
	for source in "${sources[@]}"; do
		silent "clang-tidy $source" "$(cat "$work/$source" 2>&1)"
	done
}

check_bpf_compilers() {
	local compiler flags order name
	flags=$(make -s show-bpf-cflags) || return
	for compiler in clang clang-19; do
		for order in bpfel bpfeb; do
			name="the BPF side builds by $compiler for $order"
			if command -v $compiler >/dev/null; then
				# shellcheck disable=SC2086 # a list of words
				silent "$name" "$(for source in bpf/*.bpf.c; do
					$compiler $flags -target $order -c "$source" -o "$work/bpf.o"
				done 2>&1)"
			else
				skip "$name" "$compiler is not installed"
			fi
		done
	done
}

check_scripts() {
	local script
	while read -r script; do
		silent "bash -n $script" "$(bash -n "$script" 2>&1)"
	done < <(scripts bash "${files[@]}")
	while read -r script; do
		silent "sh -n $script" "$(sh -n "$script" 2>&1)"
	done < <(scripts sh "${files[@]}")
	while read -r script; do
		silent "python3 compiles $script" "$(python3 -c '
import sys
with open(sys.argv[1]) as source:
    compile(source.read(), sys.argv[1], "exec")' "$script" 2>&1)"
	done < <({
		scripts 'python[0-9.]*' "${files[@]}"
		printf '%s\n' "${files[@]}" | grep '\.py$'
	} | sort -u)
}

# A path of the machine that a file was written on works nowhere else: only directories that
# every system has may be named from the root on.
check_paths() {
	local path="(^|[[:space:]\"'=(,:])/[[:alnum:]_.-]+/"
	local standard='/(bin|boot|dev|etc|lib|lib64|proc|run|sbin|sys|tmp|usr|var)/$'
	silent "no path of this machine" "$(printf '%s\n' "${files[@]}" |
		grep -vE '(^|/)\.git[a-z]+$|^tests/vm/guest/' | # a guest's paths are its own
		xargs grep -InoE "$path" | grep -vE "$standard")"
}

# Names of hosts in the text of an address: documentation, where submodules come from, releases,
# the namespace of SVG
check_hosts() {
	silent "no address but of documentation, submodules and releases" "$(
		grep -InoE '(https?|git|ftp)://[[:alnum:]_.-]+' "${files[@]}" |
			grep -vE '://([a-z]+\.)*(github\.com|kernel\.org|gnu\.org|rfc-editor\.org|netfilter\.org|sourceware\.org|w3\.org|zlib\.net)$'
	)"
}

check_headers() {
	local file
	local -a sources
	mapfile -t sources < <({
		printf '%s\n' "${files[@]}" | grep -E '\.([ch]|py|sh|mk)$|(^|/)Makefile$'
		scripts '(ba)?sh|python[0-9.]*' "${files[@]}"
	} | sort -u)
	silent "every source file names its licence" "$(for file in "${sources[@]}"; do
		head -n 3 "$file" | grep -q 'SPDX-License-Identifier: GPL-2.0' || echo "$file"
	done)"
}

check_words() {
	silent "nothing is left for later" "$(grep -InwE 'TO[D]O|FIX[M]E|X[X]X' "${files[@]}")"
}

check_generated() {
	local name="nothing generated is in the repository"
	if in_git rev-parse --is-inside-work-tree >/dev/null; then
		silent "$name" "$(in_git ls-files --cached |
			grep -E '^build/|(^|/)vmlinux\.h$|\.(o|a|d|so|skel\.h|pyc)$|(^|/)__pycache__/')"
	else
		skip "$name" "no git repository"
	fi
}

mapfile -t files < <(list_files)
check_format
check_scripts
check_paths
check_hosts
check_headers
check_words
check_generated
check_bpf_compilers
check_tidy
echo "1..$results"
