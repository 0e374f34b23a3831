# SPDX-License-Identifier: GPL-2.0
"""How to read the page: what its figures mean, and what they do not."""

from .words import emulated

HOW_TO_READ = """<ul>
<li><b>Two clocks, two runs.</b> <i>Time</i> is that of a machine with two CPUs, so flushes of the
other CPU, locks and waiting are in it. <i>Instructions</i> are counted exactly, on one CPU: a count
repeats, and says how long the way through the code is, not how fast it is gone. Where the two
disagree, something other than the length of the code matters.</li>
<li><b>Only ratios within one run mean something.</b> Every ratio here is of two medians of the same
run, measured minutes apart at most on the same machine. Do not compare the two clocks, or the
kernels, by their values.</li>
<li><b>Medians, with min and max.</b> Each figure is the median of at least 5 samples, of up to 25
where they are short; min and max are in small type in tables, and thin lines in the plots of time.
The first sample is kept: a far max is often that one. A value without them was counted once, or
computed of medians.</li>
<li><b>The ratio to avm</b>, in italics in each table, is the value divided by avm’s value in the
same column: above 1 means dearer than avm, but for ratings and speedups, of which more is
better.</li>
<li><b>Scales</b> of bars begin at 0, and the length of a bar is in proportion, where that shows all
of them. Others are logarithmic, which is beneath or beside them: a step is a factor of ten, and the
length of a bar is not in proportion. A value of 0 has no bar, or is at the bottom. A thin line that
goes far beyond all medians is cut off where the scale ends.</li>
<li><b>What is missing</b> has a number in brackets, and the reason beneath its table.</li>
</ul>"""
EMULATION = """<p><b>What emulation tells about hardware, and what it does not.</b> At least one
of these machines has a CPU that QEMU emulates in software (TCG). There, an instruction costs
about the same whatever it is. Memory is always near: there are no cache misses, so whatever walks
much memory looks too cheap. A fault, a system call and the return from each, which take a CPU
hundreds of cycles beside their instructions (more with mitigations), are ordinary code here, and
look too cheap or too dear. A TLB flush empties tables of QEMU’s, and each page touched after it
pays for filling them again; an interrupt from one CPU to the other waits until the host runs the
other’s thread, which may take milliseconds, so all figures with two busy CPUs vary much. What
does carry over: how many instructions, faults, flushes, calls and mappings a piece of work needs,
how that grows with the number of pages, and which of two ways does less.</p>"""


def reading(runs):
    """What applies to these runs."""
    return HOW_TO_READ + (EMULATION if any(map(emulated, runs)) else "")
