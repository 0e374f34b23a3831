# SPDX-License-Identifier: GPL-2.0
"""Which plots show a subject."""

import re

from .bars import metric_bars
from .lines import metric_lines
from .subjects import Subject
from .works import WORKS


def phase_bars(subject, name):
    """DIRTY's phases, where a tenth was written."""
    if 10 not in subject.columns:
        return None
    phases = Subject(subject.run, subject.work, subject.point)
    for (_, metric, column), figure in subject.cells.items():
        if column == 10 and not figure.missing and metric not in ("sum", "round"):
            phases.add(figure, None)
    phases.finish({})
    return metric_bars(phases, name, f"DIRTY: the phases, 10 % of {subject.words()}",
                       phases.metrics)


def protn(subject, name):
    """PROTN: how it grows."""
    return [metric_lines(subject, name, f"PROTN: {subject.words()}", "protn",
                         "pages closed by one call", True)]


def scale(subject, name):
    """Traps: whether they do."""
    return [metric_lines(subject, name, "trap+unprot, where so many pages are closed", "trap",
                         "pages that are closed", True)]


def dirty(subject, name):
    """DIRTY: the whole, and the phases of what is most usual."""
    found = [metric_lines(subject, name, f"DIRTY: {subject.words()}", "round",
                          "pages written (steps are not to scale)", False)]
    if subject.point.get("layout") == "spread":
        found.append(phase_bars(subject, f"{name}-phases"))
    return found


def appel(subject, name):
    """The primitives, and the rating, which is on another scale."""
    return [metric_bars(subject, name, "Appel and Li: 100 pages, a trap each",
                        [m for m in subject.metrics if m != "rating"]),
            metric_bars(subject, f"{name}-rating",
                        "Appel and Li’s rating: more is better, a Sun 3/60 has 1.00", ["rating"])]


def threads(subject, name):
    """The times, and the speedup, which is on another scale."""
    return [metric_bars(subject, name, "protN+trap+unprot, all threads together",
                        [m for m in subject.metrics if m != "speedup"]),
            metric_bars(subject, f"{name}-speedup",
                        "Speedup by a second thread: more is better, 2 is all", ["speedup"],
                        marks=(1, 2))]


def events(_subject, _name):
    """Each metric is on a scale of its own: a table says more."""
    return []


def others(subject, name):
    """All metrics, where they are of one kind."""
    if subject.work not in WORKS or "bytes" in subject.point:
        return []
    return [metric_bars(subject, name, WORKS[subject.work].title, subject.metrics)]


SHOWN = {"protn": protn, "scale": scale, "dirty": dirty, "appel": appel, "threads": threads,
         "events": events}


def plots_of(subject):
    """The plots that show a subject."""
    kernel = re.sub(r"[^A-Za-z0-9.-]+", "_", subject.run.kernel)
    name = f"{kernel}-{subject.run.clock}-{subject.slug()}"
    return [plot for plot in SHOWN.get(subject.work, others)(subject, name) if plot]
