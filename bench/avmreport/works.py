# SPDX-License-Identifier: GPL-2.0
"""What works, metrics and peers are called, mean and look like."""

from typing import NamedTuple

# Metrics that are ratios: their unit is none, and more of them is better.
MORE_IS_BETTER = ("rating", "speedup")


class Look(NamedTuple):
    """How a peer is shown: its colour, its points in gnuplot's numbers."""
    colour: str
    point: int
    title: str = ""  # in place of avm-bench's, which means something only beneath another


# One colour a peer, everywhere; told apart by colour-blind people, and seen on
# white as well as on black. avm's are warm, and nobody else's are. Grey is what
# is no peer.
LOOKS = {
    "avm": Look("#d55e00", 7), "avm-raise": Look("#f0a30a", 7),
    "avm-vector": Look("#a6761d", 14), "avm-signal": Look("#e78a8a", 15),
    "avm-touch": Look("#e0b040", 6),
    "mprotect": Look("#1f78b4", 5), "mprotect-thp": Look("#6db6e8", 5),
    "uffd-sigbus": Look("#009e73", 9), "uffd-sigbus-thp": Look("#7fae3c", 9),
    "uffd-thread": Look("#4dc4a2", 7),
    "uffd-async": Look("#7b5ec6", 13), "uffd-async-thp": Look("#b29be6", 13),
    "soft-dirty": Look("#cc79a7", 11), "memfd": Look("#4a6fa5", 5),
    "memfd-populate": Look("#8fb0dd", 4, "memfd mapped twice, MAP_POPULATE"),
    "map-populate": Look("#8a6bbe", 13), "madvise": Look("#2a9d8f", 9),
    "touch": Look("#8a8f98", 2), "mincore": Look("#8a8f98", 2), "floor": Look("#8a8f98", 2),
}
OTHER = Look("#70757d", 3)


def look(peer):
    """How a peer is shown; one that this program does not know is grey."""
    return LOOKS.get(peer, OTHER)


class Work(NamedTuple):
    """What a work is: for people, and how its figures are laid out."""
    title: str
    text: str
    metrics: dict       # the order, and what each is called
    column: str = ""    # what the columns are: this of the point, or metrics
    whole: tuple = ()   # metrics that tell the whole; all, if none
    own: dict = {}      # metric -> avm's own count, beneath which its figure cannot be
    uses_clock: bool = True  # or counts, whatever the clock


WORKS = {
    "floor": Work("The floor: the kernel itself", """What no way through the kernel can be cheaper
than: a system call that does nothing, an ioctl that the module does not know (the way there and
back), and the least that a page fault can be: on a page that only has to be mapped, which is the
page of zeros for a first read of fresh memory, and a page in the page cache for reads and writes
of a file. A trap that comes back to user code cannot be cheaper than a fault by much.""",
                  {"getppid": "getppid", "ioctl": "ioctl", "fault-zero": "fault, page of zeros",
                   "fault-read": "fault, page cache, read",
                   "fault-write": "fault, page cache, write"}),
    "calls": Work("One page at a time", """PROT1 (close one page) and UNPROT (open it) of pages
that were written, each in a system call of its own, in the order of addresses, which is the
cheapest for mprotect, as its mappings merge. userfaultfd cannot close a page to reads. And, for
avm only, to make a space of 1 TiB, map it, and take both away.""",
                  {"prot1-read": "close to writes", "prot1-none": "close to all",
                   "unprot-read": "open, from writes", "unprot-none": "open, from all",
                   "create": "make and take away"}),
    "appel": Work("Appel and Li’s three primitives", """The benchmark of Appel and Li (ASPLOS
1991): 100 pages, written in random order, closed to all access (userfaultfd: to writes, the most
it can). <b>trap</b>: the handler does nothing. <b>prot1</b>+trap+unprot: the handler closes the
page that was written before, and opens this one. <b>protN</b>+trap+unprot: all 100 are closed by
one call, and the handler opens one. The <b>rating</b> is 3000 divided by the sum of the three in
µs, about the fault services in a millisecond: more is better, and a Sun 3/60 has 1.00. The
comparison that matters is avm with mprotect + SIGSEGV, which is what programs use today; what
Linux has of its own that is nearest to avm is userfaultfd. “Raised by the trap” has the kernel
open the page before the handler runs, so that the handler needs no call. avm’s handler is compiled
for general registers only (AVM_TRAP_NOVECTOR); “vector registers saved” is for one that is not.""",
                  {"trap": "trap", "prot1": "prot1+trap+unprot", "protn": "protN+trap+unprot",
                   "rating": "rating"}),
    "dune": Work("Dune’s two forms of it", """As in Dune (Belay and others, OSDI 2012): 100 pages
in the order of addresses, closed to writes only. <b>appel1</b>: the handler opens the page, and
closes the page 100 pages ahead. <b>appel2</b>: all are closed by one call, the handler opens one.
One loop is 100 traps. Dune, on hardware, took appel1 7.4 times faster than Linux did.""",
                 {"appel1": "appel1", "appel2": "appel2"}),
    "protn": Work("PROTN: close many pages at once", """All pages were written since they were
last closed, so that each CPU which ran the program may have their translations; where another
thread runs, the flush has to reach its CPU too. <b>Contiguous</b>: one range, which is what
mprotect is best at, above all with huge pages. <b>Scattered</b>: every other page, for which
mprotect needs a call and a mapping each, and avm one call. <b>Shuffled</b>: those in random
order, which makes avm look up the page table for each anew. Up to 10 pages the call itself is
most of it; how the line goes on tells what a page takes. The time ends with the call: that pages
are looked up again afterwards, as the TLB was flushed, is not in it.""",
                  {"protn": "close"}, column="pages"),
    "dirty": Work("DIRTY: find the pages that were written", """<b>Arm</b>: begin to watch pages,
all of which were written before. <b>Write</b> to some of them: the price of the first write to
each is in it. <b>Find</b>: learn which. <b>Re-arm</b>: watch again (0 where finding does it).
<b>Round</b> is write, find and re-arm, which is what each round takes after the first; <b>sum</b>
is that and arm, which is what a single one takes. All is per page of the region, not per
page that was written. <b>Spread</b>: at equal distances; <b>clustered</b>: one run in the middle.
The peers that matter are soft-dirty and, from Linux 6.7 on, userfaultfd’s async mode with
PAGEMAP_SCAN; mprotect and userfaultfd with SIGBUS take a trap for each page that is written, and
have nothing to find when none is.""",
                  {"round": "round", "sum": "sum", "arm": "arm", "write": "write",
                   "find": "find", "rearm": "re-arm"}, column="written",
                  whole=("round", "sum")),
    "accessed": Work("ACCESSED: find the pages that were used", """Half of the pages are read,
spread. <b>Use</b>: the reads. <b>Find</b>: learn which pages, and watch again. <b>Sum</b>: both.
mprotect closes all pages to all access. mincore is no peer, but shows what an answer costs: it
tells what is in memory, not what was used.""",
                     {"sum": "sum", "use": "use", "find": "find"}, whole=("sum",)),
    "map2": Work("MAP2: the same pages at a second address", """<b>Make</b>: map the pages at a
second address, every other one read-only there. <b>Use</b>: read each there for the first time.
<b>Remove</b>: take the second address away. <b>Sum</b>: all three. The peer is a memfd that is
mapped twice, with mprotect; with MAP_POPULATE, the second address is filled as it is made, so
that its use is cheaper.""",
                 {"sum": "sum", "make": "make", "use": "use", "remove": "remove"},
                 whole=("sum",)),
    "populate": Work("Have pages before they are touched", """<b>Fill</b>: the call, or the
touches, that allocate and map. <b>Touch</b>: a write to each page after it. To clear a page is
most of it, and QEMU counts each step of the instruction that clears.""",
                     {"fill": "fill", "touch": "touch after it"}, whole=("fill",)),
    "memory": Work("What the kernel keeps for protections", """Every other page is made read-only;
bytes per page of all. <b>Kernel</b>: how much more memory the kernel has in slabs and page tables
then, where mprotect’s mappings and avm’s state are; others use them at the same time, and for a
user who is not root it may be less than what is kept, and even less than 0.
<b>Own count</b>: what avm itself says it has. Ratios are to the larger one of avm’s two.
userfaultfd keeps its marks in page tables that are there anyway.""",
                   {"kernel": "kernel", "state": "own count"}, whole=("kernel",),
                   own={"kernel": "state"}, uses_clock=False),
    "scale": Work("Whether a trap costs more where more pages are closed", """So many pages are
closed to all access, every other one; 100 of them, in random order, are written, and opened by
the handler. A flat line is what is wanted. (How PROTN and DIRTY grow, their own works tell.)""",
                  {"trap": "trap+unprot"}, column="pages"),
    "threads": Work("Two threads that trap, against one", """Each does protN+trap+unprot on 100
pages of its own, in one region. The time is per trap of all threads together; a second thread
costs nothing if the <b>speedup</b> is 2, and slows the first one down if it is less than 1. In
the way are locks, and that each PROTN has to flush the other CPU too. Two emulated CPUs that wait
for each other depend much on what else the host does: look at min and max.""",
                    {"one": "1 thread", "two": "2 threads", "speedup": "speedup"}),
    "events": Work("What can be counted without a clock", """TLB flushes to close 1,000 written
pages, every other one of 2,000; to open them again; and to close 1,000 pages that nobody has
touched. avm takes one call for all of them, mprotect and userfaultfd one each; userfaultfd closes
them to writes, the others to all access. Page faults of the first write to a page that is watched
for writes. Lines of /proc/self/maps for 2,000 pages of which every other one is read-only.""",
                   {"protn": "flushes, close", "unprot": "flushes, open",
                    "untouched": "flushes, untouched", "faults": "faults a first write",
                    "mappings": "mappings"}, uses_clock=False),
}


def work_of(name):
    """The work; one that this program does not know has its figures shown plainly."""
    return WORKS.get(name) or Work(name, "", {})
