# SPDX-License-Identifier: GPL-2.0
"""The figures that stand together, in one table and one plot."""

import json
import re

from .words import point_words, unit_words
from .works import work_of


class Subject:
    """The figures of a work at one point but for its column: a table, a plot."""

    def __init__(self, run, work, point):
        self.run, self.work, self.point = run, work, point
        self.columns = []  # values of the column, if there is one
        self.metrics = []
        self.peers = []
        self.cells = {}  # (peer, metric, column) -> figure
        self.gone = {}  # peer -> why it is not there at all

    def add(self, figure, column):
        """One figure, at a column (or None)."""
        for known, item in ((self.columns, column), (self.metrics, figure.metric),
                            (self.peers, figure.peer)):
            if item not in known:
                known.append(item)
        self.cells[figure.peer, figure.metric, column] = figure

    def finish(self, gone):
        """All figures are there; @gone: who is not, and why."""
        order = list(work_of(self.work).metrics)
        self.metrics.sort(key=lambda m: order.index(m) if m in order else len(order))
        for peer, why in gone.items():
            if peer not in self.peers:
                self.gone[peer] = why

    def value(self, peer, metric, column=None):
        """The figure, or None if it is missing."""
        figure = self.cells.get((peer, metric, column))
        return figure if figure and not figure.missing else None

    def unit(self):
        """The unit of what is in it, as words; none if there are several."""
        there = [f for f in self.cells.values() if not f.missing] or self.cells.values()
        units = {unit_words(f) for f in there} - {""}
        return units.pop() if len(units) == 1 else ""

    def words(self):
        return point_words(self.work, self.point)

    def slug(self):
        """A part of a file's name."""
        text = "-".join([self.work] + [f"{k}-{v}" for k, v in self.point.items()])
        return re.sub(r"[^A-Za-z0-9.-]+", "_", text)

    def metric_name(self, metric):
        return work_of(self.work).metrics.get(metric, metric)


def subjects(run, work):
    """What the run has of a work, in the order in which it was measured."""
    column = work_of(work).column
    found, gone = {}, {}
    for figure in run.figures:
        if figure.work != work:
            continue
        # Without a metric: the peer is not to be had, whatever the point says.
        if not figure.metric:
            gone.setdefault(figure.peer, figure.missing)
            continue
        point = {k: v for k, v in figure.point.items() if k != column}
        key = json.dumps(point, sort_keys=True)
        if key not in found:
            found[key] = Subject(run, work, point)
        found[key].add(figure, figure.point.get(column))
    if gone and not found:
        found[""] = Subject(run, work, {})
    for subject in found.values():
        subject.finish(gone)
    return list(found.values())
