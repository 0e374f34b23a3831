#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A short run of the stress program, in the guest, by busybox: some thousand
# random operations, alone, by threads and by processes, each against what a
# model says; then threads that share pages. The seeds are always the same; the
# long runs are tools/stress's.

here=$(dirname "$0")
out=$(mktemp)
n=0
failed=0

# check TEXT OPTION...: one run.
check() {
	text=$1
	shift
	n=$((n + 1))
	echo "# stress $*"
	if "$here/stress" "$@" >"$out" 2>&1; then
		echo "# $(tail -n 1 "$out")"
		echo "ok $n $text"
	else
		sed 's/^/# /' "$out"
		echo "not ok $n $text"
		failed=$((failed + 1))
	fi
}

# What a mistake in a script is told, so that a replay that cannot be read is
# not taken for one that found nothing.
refuses() {
	n=$((n + 1))
	if printf '%s\n' "$2" | "$here/stress" --replay - >"$out" 2>&1; then
		echo "not ok $n $1 is refused"
		failed=$((failed + 1))
	else
		echo "ok $n $1 is refused"
	fi
}

echo "TAP version 13"
echo "1..8"
check "one thread: every result is the model's" --seed 5 --threads 1 --ops 8000
check "two threads: every result is the model's" --seed 50 --threads 2 --ops 8000
check "two processes: every result is the model's" --seed 500 --processes 2 --threads 2 --ops 8000
check "a script that a run has printed has the same results" --seed 7 --replay "$here/model-script"
"$here/stress" --seed 9 --episode 400 --print >"$out.script"
check "what a run prints can be replayed" --replay "$out.script"
check "threads share pages: no write is lost" --shared --seed 3 --seconds 4
refuses "a script that makes no sense" 'access at=5000'
refuses "a script of nothing" '# stress --replay: slot=0'
rm -f "$out" "$out.script"
[ "$failed" -eq 0 ]
