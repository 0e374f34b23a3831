# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What the scripts of tools/ share: messages, the cache, and a private apt.
#
# The private apt keeps its lists and downloads under the cache, so that a
# suite the machine does not use (backports, for Linux 6.12) can be read
# without changing anything on the machine. Its mirrors are those that the
# system's own apt is configured with.

set -euo pipefail
shopt -s inherit_errexit

AVM_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
AVM_CACHE=${AVM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/avm}
# shellcheck disable=SC2034 # read by the scripts that source this file
AVM_KERNELS="6.1 6.12"

say() { printf '%s\n' "avm: $*" >&2; }
die() { say "$*"; exit 1; }

# Run a command as root: as it is when we are, by sudo otherwise.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "need root for: $* (no sudo here; run it as root, then try again)"
	fi
}

# need PACKAGE...: install what is missing, and say what.
need() {
	local p missing=()
	for p in "$@"; do
		case $(dpkg-query -W -f '${Status}' "$p" 2>/dev/null || true) in
		*'install ok installed'*) ;;
		*) missing+=("$p") ;;
		esac
	done
	[ "${#missing[@]}" -eq 0 ] && return 0
	say "installing with apt: ${missing[*]}"
	as_root apt-get update -q >&2 || say "apt-get update failed, trying with the lists at hand"
	as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get install -q -y --no-install-recommends "${missing[@]}" >&2 ||
		die "apt could not install ${missing[*]}; install them by hand, then try again"
}

# mirror main|security: the address that the system's apt uses for it.
mirror() {
	local want=$1 uri codename component
	# shellcheck disable=SC2016 # apt's own variables, below
	while read -r uri codename component; do
		[ "$component" = main ] || continue
		case $want:$codename in
		security:*-security | main:bookworm | main:trixie | main:forky | main:sid)
			printf '%s\n' "$uri"
			return 0
			;;
		esac
	done < <(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' \
		'Created-By: Packages' 'Origin: Debian')
	return 1
}

# suite_sources 6.1|6.12: the sources.list lines that hold that kernel.
suite_sources() {
	local key=/usr/share/keyrings/debian-archive-keyring.gpg uri
	uri=$(mirror main) || die "no Debian mirror in the system's apt configuration (run apt-get update, then try again)"
	case $1 in
	6.1)
		printf 'deb [signed-by=%s] %s bookworm main\n' "$key" "$uri"
		if uri=$(mirror security); then
			printf 'deb [signed-by=%s] %s bookworm-security main\n' "$key" "$uri"
		fi
		;;
	6.12) printf 'deb [signed-by=%s] %s bookworm-backports main\n' "$key" "$uri" ;;
	*) die "no Debian suite known for Linux $1 (known: $AVM_KERNELS)" ;;
	esac
}

# private_apt SUITE-OF-KERNEL TOOL ARG...: apt-get or apt-cache on that suite.
private_apt() {
	local state=$AVM_CACHE/apt/$1 tool=$2
	shift 2
	"$tool" -o Dir::State="$state" -o Dir::Cache="$state/cache" \
		-o Dir::State::status=/var/lib/dpkg/status \
		-o Dir::Etc::sourcelist="$state/sources.list" \
		-o Dir::Etc::sourceparts=/dev/null \
		-o APT::Sandbox::User=root "$@"
}

# private_apt_update 6.1|6.12: read the lists of its suite, once a day.
private_apt_update() {
	local state=$AVM_CACHE/apt/$1 stamp=$AVM_CACHE/apt/$1/stamp
	if [ -n "$(find "$stamp" -mmin -1440 2>/dev/null)" ]; then
		return 0
	fi
	mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
	[ -n "$(apt-get indextargets 'Created-By: Packages' 2>/dev/null)" ] ||
		as_root apt-get update -q >&2
	suite_sources "$1" >"$state/sources.list"
	private_apt "$1" apt-get update -q >&2 ||
		die "cannot read the package lists for Linux $1: is the network up?"
	touch "$stamp"
}

# dependency SUITE PACKAGE PATTERN: the dependency that matches the pattern.
dependency() {
	local found
	found=$(private_apt "$1" apt-cache depends "$2" |
		awk -v pattern="$3" '/Depends:/ && $2 ~ pattern && !n++ { print $2 }')
	[ -n "$found" ] || die "$2 has no dependency like $3"
	printf '%s\n' "$found"
}

# unpack SUITE DIRECTORY PACKAGE...: download by name, check, unpack there.
unpack() {
	local suite=$1 to=$2 deb tmp
	shift 2
	tmp=$(mktemp -d "$AVM_CACHE/unpack.XXXXXX")
	(cd "$tmp" && private_apt "$suite" apt-get download -q "$@" >&2) ||
		die "apt could not download: $*"
	mkdir -p "$to"
	for deb in "$tmp"/*.deb; do
		dpkg-deb -x "$deb" "$to"
	done
	rm -rf "$tmp"
}

# with_lock FILE COMMAND...: one process at a time, for what is built once and
# then shared (the cache, a build folder). The command runs in this shell, and
# its failure ends it.
with_lock() {
	local file=$1 fd
	shift
	mkdir -p "$(dirname "$file")"
	exec {fd}>"$file"
	if ! flock -n "$fd"; then
		say "waiting for another run that holds $file"
		flock "$fd"
	fi
	"$@"
	exec {fd}>&-
}

# kernel_known KERNEL: a stock version, a folder with a kernel of one's own, or,
# to build for only, the running one.
kernel_known() {
	case $1 in
	6.1 | 6.12) return 0 ;;
	*/*) [ -f "$1/bzImage" ] || die "no bzImage in $1 (a kernel folder holds bzImage, config, build.tar.zst)" ;;
	running) [ -d "/lib/modules/$(uname -r)/build" ] ||
		die "no headers for the running kernel here: on Debian, apt install linux-headers-$(uname -r)" ;;
	*) die "no such kernel: $1 (known: $AVM_KERNELS, or a folder, written with a slash, that holds bzImage and build.tar.zst)" ;;
	esac
}

# kernel_name KERNEL: what its build folder and its column in tables are called.
kernel_name() {
	case $1 in
	*/*) basename "$1" ;;
	running) uname -r ;;
	*) printf '%s\n' "$1" ;;
	esac
}

# kernel_image KERNEL: the file to boot; fetched if need be.
kernel_image() {
	local dir
	case $1 in
	*/*) printf '%s\n' "$1/bzImage" ;;
	running) die "the running kernel is not one to boot in a VM" ;;
	*)
		dir=$("$AVM_TOP/tools/vm/kernel" "$1")
		printf '%s\n' "$dir/vmlinuz"
		;;
	esac
}

# unpack_build ARCHIVE DIRECTORY: a tree for external modules, all or nothing.
unpack_build() {
	[ -d "$2" ] && return 0
	rm -rf "$2.part"
	mkdir -p "$2.part"
	tar --zstd -xf "$1" -C "$2.part" || die "cannot unpack $1"
	mv "$2.part" "$2"
}

# kernel_build KERNEL: the tree to build modules against; fetched or unpacked
# if need be. A folder's archive is kept unpacked under its checksum.
kernel_build() {
	local dir sum
	case $1 in
	*/*)
		[ -f "$1/build.tar.zst" ] || die "no build.tar.zst in $1: cannot build modules for it"
		sum=$(sha256sum "$1/build.tar.zst")
		dir=$AVM_CACHE/builds/${sum%% *}
		with_lock "$AVM_CACHE/builds/lock" unpack_build "$1/build.tar.zst" "$dir"
		# The archive may hold its files under one folder.
		[ -f "$dir/Makefile" ] || dir=$(dirname "$(find "$dir" -maxdepth 2 -name Makefile -print -quit)")
		[ -f "$dir/Makefile" ] || die "$1/build.tar.zst holds no Makefile"
		printf '%s\n' "$dir"
		;;
	running) printf '/lib/modules/%s/build\n' "$(uname -r)" ;;
	*)
		dir=$("$AVM_TOP/tools/vm/kernel" "$1")
		printf '%s\n' "$dir/build"
		;;
	esac
}
