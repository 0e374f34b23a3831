# SPDX-License-Identifier: GPL-2.0
"""Plots of bars: the names at the left, the values at the right."""

from typing import NamedTuple

from .gnuplot import INK, Plot, begin, write
from .runs import Figure
from .scales import axis_name, bar_scale
from .words import has_spread, quantity, subtitle_of
from .works import look

ROW = 19  # pixels


class Bar(NamedTuple):
    """One bar: its name, and the figure, or None above a group of bars."""
    label: str
    peer: str
    figure: Figure = None


def bar_labels(rows, unit):
    """The names and the values, beside the bars."""
    script = []
    for y, row in zip(range(len(rows), 0, -1), rows):
        bold = not row.figure or row.peer == "avm"
        if not row.figure:
            script.append(write(row.label, "screen 0.012", f"first {y}", bold=bold))
            continue
        script.append(write(row.label, "graph 0", f"first {y}", "right offset -0.8,0", bold))
        script.append(write(quantity(row.figure.median, unit), "graph 1", f"first {y}",
                            "left offset 0.8,0", bold))
    return script


def bar_data(rows, scale, spread):
    """The bars, and thin lines from min to max, as data and as what to plot."""
    boxes, whiskers = [], []
    for y, row in zip(range(len(rows), 0, -1), rows):
        f = row.figure
        if not f:
            continue
        if f.median > scale.low:
            boxes.append(f"{f.median:.10g} {y} {scale.low:.10g} {f.median:.10g} {y - 0.38}"
                         f" {y + 0.38} {int(look(row.peer).colour[1:], 16)}")
        if spread and f.n > 1 and f.max > scale.low:
            whiskers.append(" ".join(f"{v:.10g}" for v in (
                scale.clip(f.median), y, scale.clip(f.min), scale.clip(f.max))))
    parts = ["$boxes using 1:2:3:4:5:6:7 with boxxyerror lc rgb variable"]
    if whiskers:
        parts.append(f"$whiskers using 1:2:3:4 with xerrorbars pt 0 ps 0 lw 0.9 lc rgb '{INK}'")
    return ["$boxes << EOD", *boxes, "EOD", "$whiskers << EOD", *whiskers, "EOD",
            "plot " + ", ".join(parts)]


def bars(run, name, title, rows, marks=()):
    """A plot of bars, or None if all are 0. @marks: values with a line of their own."""
    figures = [row.figure for row in rows if row.figure]
    unit = figures[0].unit
    spread = has_spread(run, figures)
    ends = [end for f in figures for end in (f.min, f.max)] if spread else []
    scale = bar_scale([f.median for f in figures], ends + list(marks), unit)
    if not scale:
        return None
    width, height = 640, 108 + ROW * len(rows)
    subtitle = subtitle_of(run, figures, scale if spread else None)
    script = begin(name, width, height, title, subtitle) + scale.commands("x") + [
        f"set xtics textcolor rgb '{INK}' font 'sans-serif,11'",
        "set lmargin at screen 0.385", "set rmargin at screen 0.875",
        f"set tmargin at screen {1 - 52 / height:.4f}", f"set bmargin at screen {48 / height:.4f}",
        write(axis_name(figures[0], scale.log), "graph 0.5", f"screen {12 / height:.4f}", "center",
              size=11),
        f"set yrange [0.3:{len(rows) + 0.7}]",
        "unset ytics", "set grid noytics", "unset key", "set style fill solid noborder",
    ]
    for i, value in enumerate(marks, 1):
        script.append(f"set arrow {i} from first {value}, graph 0 to first {value}, graph 1 nohead"
                      f" lc rgb '{INK}' lw 1 dt 2 front")
    script += bar_labels(rows, unit) + bar_data(rows, scale, spread)
    return Plot(name, f"{title}; {subtitle}", "\n".join(script) + "\n", width, height)


def metric_bars(subject, name, title, metrics, marks=()):
    """Bars of some metrics: a group each, or no heading if there is one."""
    rows = []
    for metric in metrics:
        there = [(peer, subject.value(peer, metric)) for peer in subject.peers]
        group = [Bar(subject.run.title(subject.work, peer), peer, f) for peer, f in there if f]
        if group and len(metrics) > 1:
            if len(subject.peers) == 1:
                group = [group[0]._replace(label=subject.metric_name(metric))]
            else:
                rows.append(Bar(subject.metric_name(metric), ""))
        rows += group
    return bars(subject.run, name, title, rows, marks) if rows else None
