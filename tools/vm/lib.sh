# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What the scripts of tools/ share: messages, the cache, and a private apt.
#
# The private apt keeps its lists and downloads under the cache, so that a
# suite the machine does not use (backports, for Linux 6.12) can be read
# without changing anything on the machine. Its mirrors are those that the
# system's own apt is configured with.

set -euo pipefail

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
		dpkg-query -W -f '${Status}' "$p" 2>/dev/null |
			grep -q 'install ok installed' || missing+=("$p")
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
	apt-get indextargets 'Created-By: Packages' 2>/dev/null | grep -q . ||
		as_root apt-get update -q >&2
	suite_sources "$1" >"$state/sources.list"
	private_apt "$1" apt-get update -q >&2 ||
		die "cannot read the package lists for Linux $1: is the network up?"
	touch "$stamp"
}

# dependency SUITE PACKAGE PATTERN: the dependency that matches the pattern.
dependency() {
	private_apt "$1" apt-cache depends "$2" | sed -n 's/^ *Depends: //p' |
		grep -E -m 1 "$3" || die "$2 has no dependency like $3"
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
