# SPDX-License-Identifier: GPL-2.0
"""Axes: where they begin and end, and what their tics say."""

import math
from typing import NamedTuple

from .gnuplot import quote
from .words import quantity

# Bars are in proportion, unless the least would be too thin to be seen.
MOST_LINEAR = 100


class Scale(NamedTuple):
    """An axis of values."""
    low: float
    high: float
    tics: str
    log: bool

    def clip(self, value):
        """The value, or the end of the axis that is nearest to it."""
        return min(max(value, self.low), self.high)

    def commands(self, axis):
        """What gnuplot is told of it."""
        # Rounding must not put a value at the end beyond it.
        slack = 0.001 * (self.low if self.log else self.high)
        return ([f"set logscale {axis}"] if self.log else []) + [
            f"set {axis}range [{self.low - slack:.10g}:{self.high * 1.001:.10g}]",
            f"set {axis}tics {self.tics}"]


def tic(text):
    """The words of a tic, which gnuplot takes as a format."""
    return quote(text.replace("%", "%%"))


def axis_words(value, unit):
    """What a tic says."""
    return quantity(value, unit, lambda v: f"{v:,.10g}")


def decades(values):
    """The powers of ten around values that are not 0."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def log_tics(low, high, unit, most):
    """Tics of a logarithmic axis: words at the powers of ten, at @most of them."""
    step = -(-(high - low + 1) // most)
    tics = []
    for power in range(low, high + 1):
        text = axis_words(10.0 ** power, unit) if (power - low) % step == 0 else ""
        tics.append(f"{tic(text)} 1e{power}")
        if high - low <= 4:
            tics += [f"'' {digit}e{power} 1" for digit in range(2, 10) if power < high]
    return "(" + ", ".join(tics) + ")"


def log_scale(medians, ends, unit, most):
    """A logarithmic axis. @ends: where thin lines end, which may be cut off."""
    low, high = decades([m for m in medians if m > 0])
    there = [e for e in ends if e > 0]
    if there:
        # A sample that is far off must not press all else together.
        low_end, high_end = decades(there)
        low, high = max(min(low, low_end), low - 1), min(max(high, high_end), high + 1)
    return Scale(10.0 ** low, 10.0 ** high, log_tics(low, high, unit, most), True)


def linear_scale(most, unit):
    """An axis from 0 on, with about five tics at 1, 2 or 5."""
    power = 10.0 ** math.floor(math.log10(most / 5))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= most / 5)
    tics = ", ".join(f"{tic(axis_words(i * step, unit))} {i * step:.10g}"
                     for i in range(int(most / step) + 1))
    return Scale(0.0, most, f"({tics})", False)


def bar_scale(medians, ends, unit):
    """An axis for bars: linear where that shows them all. None if all are 0."""
    there = [m for m in medians if m > 0]
    if not there:
        return None
    most = max(medians + ends)
    if most <= MOST_LINEAR * min(there):
        return linear_scale(most * 1.05, unit)
    scale = log_scale(medians, ends, unit, 6)
    if min(there) > scale.low * 1.4:
        return scale
    # Begin beneath the least value, so that its bar is seen.
    return log_scale(medians + [scale.low / 9.9], ends, unit, 6)


def axis_name(figure, log):
    """What is along an axis, with its unit: "instructions per page, logarithmic"."""
    what, _, per = figure.unit.partition("/")
    words = {"ns": "time"}.get(what, what)
    if what == "times":
        words = figure.metric
    if per not in ("", "1"):
        words += f" per {per}"
    return words + (", logarithmic" if log else "")
