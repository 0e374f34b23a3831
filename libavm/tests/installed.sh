#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The library as a stranger finds it: installed, through pkg-config, in C and
# C++, static and shared. Called by the Makefile, which sets SRC, OUTPUT, MAKE,
# CC, CXX and VERSION. Prints TAP.

# shellcheck disable=SC2317 # functions are called through ok
set -u

root=$OUTPUT/tests/root
log=$OUTPUT/tests/installed.log
count=0
failed=0

# ok NAME COMMAND...: one test; what the command says is shown if it fails.
ok() {
	name=$1
	shift
	count=$((count + 1))
	if "$@" >"$log" 2>&1; then
		echo "ok $count - $name"
	else
		failed=1
		sed 's/^/# /' "$log"
		echo "not ok $count - $name"
	fi
}

# pc ARGUMENTS...: pkg-config that knows this installation and no other.
pc() {
	PKG_CONFIG_LIBDIR=$root/usr/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root \
		PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 \
		PKG_CONFIG_ALLOW_SYSTEM_LIBS=1 pkg-config "$@"
}

# install_twice: also over an installation that is there.
install_twice() {
	rm -rf "$root" &&
	install_it && install_it
}

# The build directory is given anew: a MAKEFLAGS of the caller's may name one.
install_it() {
	$MAKE --no-print-directory -C "$SRC" OUTPUT="$OUTPUT" DESTDIR="$root" \
		prefix=/usr libdir=/usr/lib includedir=/usr/include install
}

nothing_else_installed() {
	(cd "$root" && find . ! -type d | LC_ALL=C sort) >"$OUTPUT/tests/files" &&
	printf '%s\n' ./usr/include/avm.h ./usr/include/linux/avm.h \
		./usr/lib/libavm.a ./usr/lib/libavm.so \
		"./usr/lib/libavm.so.${VERSION%%.*}" \
		"./usr/lib/libavm.so.$VERSION" ./usr/lib/pkgconfig/libavm.pc |
		diff - "$OUTPUT/tests/files"
}

version_is_version() {
	[ "$(pc --modversion libavm)" = "$VERSION" ]
}

soname_is() {
	readelf -d "$root/usr/lib/libavm.so" |
		grep -F "soname: [libavm.so.${VERSION%%.*}]"
}

# All that is exported, and nothing else, has a version and is in the header.
exports_are_the_header() {
	nm -D --defined-only "$root/usr/lib/libavm.so" |
		sed -n 's/.* [TWDB] \(.*\)@@AVM_.*/\1/p' |
		LC_ALL=C sort >"$OUTPUT/tests/exported" &&
	sed -n 's/^[a-z].*[ *]\(avm_[a-z0-9_]*\)(.*/\1/p' \
		"$root/usr/include/avm.h" | grep -v '^avm_trap_fn$' |
		LC_ALL=C sort >"$OUTPUT/tests/declared" &&
	[ -s "$OUTPUT/tests/declared" ] &&
	diff "$OUTPUT/tests/declared" "$OUTPUT/tests/exported" &&
	! nm -D --defined-only "$root/usr/lib/libavm.so" | grep ' [TWDB] ' |
		grep -v '@@AVM_'
}

# A static library's names are everybody's: none but ours.
static_names_are_ours() {
	! nm -g --defined-only "$root/usr/lib/libavm.a" | grep ' [A-Z] ' |
		grep -v ' avm_'
}

# header LANGUAGE COMPILER...: nothing but the header, with all warnings.
header() {
	language=$1
	shift
	# shellcheck disable=SC2046 # flags are words
	echo '#include <avm.h>' | "$@" -pedantic -Wall -Wextra -Wconversion \
		-Werror $(pc --cflags libavm) -fsyntax-only -x "$language" -
}

# The error that another architecture gets is the one line that it should be.
header_refuses() {
	! echo '#include "avm.h"' | $CC -U__x86_64__ -I"$SRC" -I"$SRC/../uapi" \
		-fsyntax-only -x c - >"$OUTPUT/tests/refused" 2>&1 &&
	grep -F 'libavm supports x86-64' "$OUTPUT/tests/refused"
}

# consumer NAME static|shared COMPILER...: compile, link and run.
consumer() {
	program=$OUTPUT/tests/$1
	how=$2
	shift 2
	# shellcheck disable=SC2046 # flags are words
	set -- "$@" -Wall -Wextra -Werror -Wno-cast-function-type \
		-DWANT_VERSION="\"$VERSION\"" $(pc --cflags libavm)
	if [ "$how" = static ]; then
		# shellcheck disable=SC2046
		"$@" "$SRC/tests/consumer.c" -static \
			$(pc --static --libs libavm) -o "$program" &&
		"$program"
	else
		# shellcheck disable=SC2046
		"$@" "$SRC/tests/consumer.c" $(pc --libs libavm) -o "$program" &&
		readelf -d "$program" | grep -F 'libavm.so' &&
		LD_LIBRARY_PATH=$root/usr/lib "$program"
	fi
}

echo 1..13
ok 'make install with DESTDIR, twice' install_twice
ok 'installs these files and no others' nothing_else_installed
ok 'the soname' soname_is
ok 'exports what the header declares, versioned' exports_are_the_header
ok 'the static library defines no names but avm_*' static_names_are_ours
ok 'pkg-config: the version' version_is_version
ok 'the header in C11, pedantic' header c "$CC" -std=c11
ok 'the header in C++17, pedantic' header c++ "$CXX" -std=c++17
ok 'the header refuses other architectures in one line' header_refuses
ok 'a C program, shared' consumer c-shared shared "$CC" -std=c11 -D_GNU_SOURCE
ok 'a C program, static' consumer c-static static "$CC" -std=c11 -D_GNU_SOURCE
ok 'a C++ program, shared' consumer cxx-shared shared "$CXX" -x c++ -std=c++17
ok 'a C++ program, static' consumer cxx-static static "$CXX" -x c++ -std=c++17
exit $failed
