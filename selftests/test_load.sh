#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Loading and unloading, in the guest, by busybox: refused while anything of the
# module is in use, and harmless a hundred times. Leaves the module loaded, as
# it found it. AVM_MODULE is the file, which the machine's init has loaded.

here=$(dirname "$0")
module=${AVM_MODULE:-/vm/module/avm.ko}
times=100
[ -z "$AVM_SLOW" ] || times=20
dir=$(mktemp -d)
n=0
failed=0

# check TEXT COMMAND...: one promise.
check() {
	text=$1
	shift
	n=$((n + 1))
	if "$@"; then
		echo "ok $n $text"
	else
		echo "not ok $n $text"
		failed=$((failed + 1))
	fi
}

# No programs in these, which are asked so often.
loaded() { [ -d /sys/module/avm/holders ]; }
node() { [ -c /dev/avm ]; }
working() { loaded && node; }
gone() { ! loaded && ! [ -e /dev/avm ] && ! [ -d /sys/module/avm ]; }

# Lines of the kernel log that should not be there: a trace of any kind.
complaints() { dmesg | grep -cE 'WARNING|BUG|Oops|Call Trace|sysfs: cannot|kobject_add|refcount_t'; }

# A process that holds a space by its descriptor or by a mapping, until it is
# told to go by the end of its input.
hold() {
	mkfifo "$dir/$1"
	"$here/test_lifetime" "$1" <"$dir/$1" >"$dir/$1.out" &
	holder=$!
	exec 4>"$dir/$1"
	tries=100
	while [ "$tries" -gt 0 ] && ! grep -q holding "$dir/$1.out"; do
		tries=$((tries - 1))
		sleep 0.1
	done
	[ "$tries" -gt 0 ]
}

let_go() {
	exec 4>&-
	wait "$holder"
}

unload_refused() { ! rmmod avm 2>"$dir/rmmod" && working; }

unload() { rmmod avm && gone; }

load() { insmod "$module" && working; }

# Says which time it was that failed.
many_times() {
	i=0
	while [ "$i" -lt "$times" ]; do
		i=$((i + 1))
		if ! unload; then
			echo "# unload $i: something is left, or it is refused"
			return 1
		fi
		if ! load; then
			echo "# load $i: no module, or no device"
			return 1
		fi
	done
}

quiet() { [ "$(complaints)" -eq "$before" ]; }

# A whole program's work right after the last load.
works_as_ever() { "$here/test_lifetime" hold-mapping </dev/null | grep -q holding; }

echo "TAP version 13"
echo "1..15"
before=$(complaints)
check "the module is loaded and its device is there" working
check "a process holds a space" hold hold-fd
check "unloading is refused while a descriptor of a space is open" unload_refused
check "the process ends as if nothing had been" let_go
check "a process holds a mapping alone" hold hold-mapping
check "unloading is refused while a mapping is left" unload_refused
check "the process ends as if nothing had been" let_go
exec 5<>/dev/avm
check "unloading is refused while the device is open" unload_refused
exec 5>&-
check "unloading works when all is closed, and leaves no device" unload
check "loading works, and the device is there" load
check "loading twice is refused" sh -c "! insmod '$module' 2>/dev/null"
check "unloading and loading works $times times" many_times
check "the module works as ever" works_as_ever
check "the kernel has not complained" quiet
check "the module is left loaded" working
rm -rf "$dir"
[ "$failed" -eq 0 ]
