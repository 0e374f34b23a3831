#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The programs that the fuzzer keeps, run once more, on a kernel with KCOV: none
# hangs, the kernel does not complain, and they still reach the module. In the
# guest, by busybox; fuzz/ beside it has the fuzzer and its corpus.

here=$(dirname "$0")

if [ ! -e /sys/kernel/debug/kcov ]; then
	echo "1..0 # SKIP this kernel has no KCOV"
	exit 4
fi
exec "$here/fuzz/run-guest" --replay 1 --tap
