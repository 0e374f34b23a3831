# SPDX-License-Identifier: GPL-2.0
"""Plots of lines: one a peer, with a legend beneath."""

from typing import NamedTuple

from .gnuplot import INK, Plot, begin, write
from .scales import axis_name, log_scale, tic
from .words import has_spread, subtitle_of
from .works import look

KEY = 18  # pixels that a row of the legend takes


class Line(NamedTuple):
    """One line: whose, its name, {x: figure}."""
    peer: str
    label: str
    values: dict

    def style(self):
        """Its colour and dashes: those with huge pages lie close to those without."""
        dashes = " dt (8,4)" if self.peer.endswith("-thp") else ""
        return f"lc rgb '{look(self.peer).colour}'{dashes}"

    def weight(self):
        """How thick it is."""
        return 3.2 if self.peer == "avm" else 1.8

    def point(self):
        """The points on it."""
        return f"pt {look(self.peer).point} ps {0.75 if self.peer == 'avm' else 0.6}"


def places(xs, series, log_x):
    """Where each x is, and what gnuplot is told of that axis."""
    style = f"textcolor rgb '{INK}' font 'sans-serif,11'"
    if log_x:
        there = [x for line in series for x in line.values]
        left, right = min(there), max(max(there), 10 * min(there))
        tics = ", ".join(f"{tic(f'{x:,}')} {x}" for x in xs if left <= x <= right)
        return {x: x for x in xs}, ["set logscale x", f"set xrange [{left * 0.8}:{right * 1.25}]",
                                    f"set xtics ({tics}) {style}"]
    # Not to scale: 0 and 1 % would be one.
    place = {x: i for i, x in enumerate(xs)}
    tics = ", ".join(f"{tic(f'{x} %')} {i}" for x, i in place.items())
    return place, [f"set xrange [-0.15:{len(xs) - 0.85}]", f"set xtics ({tics}) {style}"]


def legend(series, height):
    """A key of our own, as gnuplot only guesses how long a name is."""
    script, rows = [], -(-len(series) // 2)
    for i, line in enumerate(series):
        x, y = 0.03 + 0.5 * (i % 2), f"screen {(10 + KEY * (rows - 1 - i // 2)) / height:.4f}"
        script += [
            f"set arrow {i + 1} from screen {x}, {y} to screen {x + 0.05}, {y} nohead"
            f" {line.style()} lw {line.weight()}",
            write(line.label, f"screen {x + 0.065}", y, bold=line.peer == "avm"),
            f"set label '' at screen {x + 0.025}, {y} point {line.style().split(' dt')[0]}"
            f" {line.point()}",
        ]
    return script


def line_data(series, place, scale, spread):
    """The lines, and thin lines from min to max, as data and as what to plot."""
    parts, data = [], []
    for i, line in enumerate(series):
        data.append(f"$line{i} << EOD")
        for x, f in sorted(line.values.items()):
            data.append(" ".join(f"{v:.10g}" for v in (
                place[x], scale.clip(f.median), scale.clip(f.min), scale.clip(f.max))))
        data.append("EOD")
        # avm's last, so that it is above the others.
        parts.insert(len(parts) if line.peer == "avm" else 0,
                     f"$line{i} using 1:2 with linespoints {line.style()} lw {line.weight()}"
                     f" {line.point()}")
        if spread:
            colour = line.style().split(" dt")[0]
            parts.insert(0, f"$line{i} using 1:2:3:4 with yerrorbars {colour} lw 0.7 pt 0 ps 0")
    return data + ["plot " + ", ".join(parts)]


def lines(run, name, title, series, xlabel, log_x):
    """A plot of lines, or None if all are 0."""
    series = [line for line in series if any(f.median > 0 for f in line.values.values())]
    figures = [f for line in series for f in line.values.values()]
    if not figures:
        return None
    spread = has_spread(run, figures)
    ends = [end for f in figures for end in (f.min, f.max)] if spread else []
    scale = log_scale([f.median for f in figures], ends, figures[0].unit, 8)
    place, x_axis = places(sorted({x for line in series for x in line.values}), series, log_x)
    below = KEY * -(-len(series) // 2)
    width, height = 640, 352 + below
    subtitle = subtitle_of(run, figures, scale if spread else None)
    script = begin(name, width, height, title, subtitle) + scale.commands("y") + x_axis + [
        f"set ytics textcolor rgb '{INK}' font 'sans-serif,11'",
        "set lmargin at screen 0.14", "set rmargin at screen 0.962",
        f"set tmargin at screen {1 - 52 / height:.4f}",
        f"set bmargin at screen {(58 + below) / height:.4f}",
        write(xlabel, "graph 0.5", f"screen {(20 + below) / height:.4f}", "center", size=11),
        write(axis_name(figures[0], True), "screen 0.022", "graph 0.5", "center rotate by 90",
              size=11),
        "unset key",
    ]
    script += legend(series, height) + line_data(series, place, scale, spread)
    return Plot(name, f"{title}; {subtitle}", "\n".join(script) + "\n", width, height)


def metric_lines(subject, name, title, metric, xlabel, log_x):
    """The lines of a subject whose columns are points."""
    series = []
    for peer in subject.peers:
        values = {c: subject.value(peer, metric, c) for c in subject.columns}
        series.append(Line(peer, subject.run.title(subject.work, peer),
                           {c: f for c, f in values.items() if f}))
    return lines(subject.run, name, title, series, xlabel, log_x)
