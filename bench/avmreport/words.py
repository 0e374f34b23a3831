# SPDX-License-Identifier: GPL-2.0
"""Numbers, units and points as words."""

import math

from .works import MORE_IS_BETTER, work_of


def number(value):
    """Three digits at least, and thousands apart."""
    if value == 0:
        return "0"
    if abs(value) < 1:
        return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.1e}"
    return f"{value:,.{2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0}f}"


def three_digits(value):
    """Three significant digits, without an exponent."""
    if value == 0:
        return "0"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value)) + 1e-9))}f}"


def quantity(value, unit, digits=three_digits):
    """A value with its unit, which is made larger for large values."""
    what = unit.split("/")[0]
    if value == 0:
        return "0"
    if what == "ns":
        steps = ((1e9, " s"), (1e6, " ms"), (1e3, " µs"), (1, " ns"))
    else:
        steps = ((1e9, " G"), (1e6, " M"), (1e4, " k"), (1, ""))
    for size, name in steps:
        # A value that would be rounded up to a thousand has the next unit.
        if value >= size * 0.9995:
            factor = 1e3 if name == " k" else size
            return digits(value / factor) + name
    return digits(value) + steps[-1][1]


def times(ratio):
    """A ratio: 17 ×, 1.3 ×, 0.05 ×."""
    if ratio == 0:
        return "0 ×"
    if ratio >= 99.5:
        return f"{ratio:,.0f} ×"
    return f"{ratio:.{1 if ratio >= 9.95 else 2}f} ×" if ratio >= 0.095 else f"{ratio:.2g} ×"


def unit_words(figure):
    """A unit as words: "ns a page"."""
    if figure.metric in MORE_IS_BETTER:
        return ""
    what, _, per = figure.unit.partition("/")
    return what if per in ("", "1") else f"{what} a {per}"


def clock_words(run, work=""):
    """What the figures of a run are; of a work that counts, which run they are from."""
    if not work_of(work).uses_clock:
        return f"counted in the run by {run.clock}"
    if run.clock != "time":
        return "exact count of instructions"
    return "emulated time" if emulated(run) else "time"


def has_spread(run, figures):
    """Whether min and max are to be seen: exact counts have next to none."""
    return run.clock == "time" and any(f.n > 1 for f in figures)


def subtitle_of(run, figures, scale):
    """The second line of a plot. @scale: where lines from min to max are cut, if there are any."""
    words = [f"Linux {run.kernel}", clock_words(run, figures[0].work)]
    if scale:
        beyond = any(f.max > scale.high or 0 < f.min < scale.low for f in figures)
        words.append("thin: min to max" + (", cut off at the end" if beyond else ""))
    return "; ".join(words)


def emulated(run):
    """Whether the CPU is QEMU's, in software."""
    return "TCG" in str(run.machine.get("cpu", ""))


POINT_WORDS = {
    ("to", "r"): "closed to writes", ("to", "none"): "closed to all access",
    ("others", 0): "nothing else running", ("others", 1): "another thread running",
    ("layout", "clustered"): "written in one cluster", ("layout", "spread"): "written spread",
}


def point_words(work, point):
    """A point as words: "4 MiB, written spread"."""
    words = []
    for name, value in point.items():
        if (name, value) in POINT_WORDS:
            words.append(POINT_WORDS[name, value])
        elif name == "pages" and work == "dirty" and value % 256 == 0:
            words.append(f"{value // 256:,} MiB")
        elif name == "pages":
            words.append(f"{value:,} page" + ("" if value == 1 else "s"))
        elif name == "bytes" and value % 2**40 == 0:
            words.append(f"{value // 2**40:,} TiB")
        elif name == "written":
            words.append(f"{value}\u00a0% written")
        elif name == "layout":
            words.append(f"{value} pages")
        else:
            words.append(f"{name} {value}")
    return ", ".join(words)


def column_words(name, value):
    """The head of a column that is a point."""
    if isinstance(value, str):
        return value
    return f"{value} %" if name == "written" else f"{value:,}"
