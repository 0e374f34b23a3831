# SPDX-License-Identifier: GPL-2.0
# Leave out of a kernel's log what KCSAN reports of the kernel alone: a data race with
# no function of a module in either stack, such as that of a page fault with the
# maple tree in Linux 6.12. Such lines become empty, so that the numbers of the others
# stay true. A report is between two lines of "=".
function give(i) {
	for (i = 1; i <= held; i++)
		print ours ? lines[i] : ""
	held = ours = 0
}
{ fence = / ========================================+$/ }
!held && !fence { print; next }
{ lines[++held] = $0 }
held == 2 && !/BUG: KCSAN: data-race in / { ours = 1; give(); next }
/ \[[a-z0-9_]+\]$/ { ours = 1 }
fence && held > 1 { give() }
# Cut off: who knows.
END { ours = 1; give() }
