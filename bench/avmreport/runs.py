# SPDX-License-Identifier: GPL-2.0
"""Read what avm-bench wrote, and refuse whatever it does not write."""

import json
import math
import re
from pathlib import Path
from typing import NamedTuple

from .trouble import Trouble
from .works import look, work_of

CLOCKS = ("time", "instructions")


class Figure(NamedTuple):
    """One figure: n, min, median and max, or why it is missing."""
    work: str
    point: dict
    peer: str
    metric: str
    unit: str
    n: int = 0
    min: float = 0.0
    median: float = 0.0
    max: float = 0.0
    missing: str = ""

    def against(self, avm):
        """How many times avm's it is, or None where that says nothing."""
        if not avm or self.missing or avm.missing or avm.median <= 0:
            return None
        # A difference of two counts of what others use too may be less than 0.
        return max(self.median, 0) / avm.median


class Run(NamedTuple):
    """One file: a kernel, measured by one clock."""
    name: str
    clock: str
    date: str
    quick: bool
    error: str
    machine: dict
    titles: dict
    figures: list

    @property
    def kernel(self):
        return self.machine["kernel"]

    def title(self, work, peer):
        """The peer's name for people."""
        # Its name in one work, which is in the place of its name if read last.
        if peer == "avm":
            return "avm_populate" if work == "populate" else "avm"
        return look(peer).title or self.titles.get(peer, peer)

    def find(self, work, peer, metric, point):
        """The figure at a point; one of the whole row if that is missing."""
        for figure in self.figures:
            if (figure.work, figure.peer) == (work, peer) and (
                    not figure.metric or (figure.metric, figure.point) == (metric, point)):
                return figure
        return None

    def avm(self, work, metric, point, peer="avm"):
        """What others are compared with: avm's figure, or its own count if that is more."""
        figure, own = self.find(work, peer, metric, point), work_of(work).own.get(metric)
        count = self.find(work, peer, own, point) if own else None
        if count and not count.missing and figure and not figure.missing:
            return max(figure, count, key=lambda f: f.median)
        return figure


def first_wins(pairs):
    """An object's members; the first, where a name is there twice."""
    members = {}
    for name, value in pairs:
        members.setdefault(name, value)
    return members


def read_figure(raw, where):
    """A figure, checked, as whoever reads the page has no way to."""
    head = read_head(raw, where)
    if "missing" in raw:
        return Figure(*head, missing=str(raw["missing"]) or "no reason is given")
    values = [raw.get(name) for name in ("n", "min", "median", "max")]
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) or not math.isfinite(v)
           for v in values):
        raise Trouble(f"{where} has neither numbers (n, min, median, max) nor \"missing\"")
    if values[0] < 1 or not values[1] <= values[2] <= values[3]:
        raise Trouble(f"{where}: n, min, median and max contradict each other")
    return Figure(*head, *values)


def read_head(raw, where):
    """What a figure is of: all but its values."""
    if not isinstance(raw, dict):
        raise Trouble(f"{where} is not an object")
    for name in ("work", "peer", "metric", "unit"):
        if not isinstance(raw.get(name), str):
            raise Trouble(f"{where} has no {name}")
    point = raw.get("point")
    if not isinstance(point, dict) or any(
            isinstance(v, bool) or not isinstance(v, (int, float, str)) for v in point.values()):
        raise Trouble(f"{where} has no point")
    # What is counted with, or sorted by, further on.
    column = work_of(raw["work"]).column
    if any(not isinstance(point[name], int) for name in ("pages", "bytes", "written")
           if name in point) or (raw["metric"] and column and column not in point):
        raise Trouble(f"{where} has a point that its work cannot have")
    return raw["work"], point, raw["peer"], raw["metric"], raw["unit"]


def read_run(path):
    """The file's run. Anything that avm-bench does not write is refused."""
    again = "give a file that avm-bench wrote with --json, or write it anew"
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=first_wins)
    except OSError as e:
        raise Trouble(f"cannot read {path}: {e.strerror}; look at its name and who may read it")
    except ValueError as e:
        raise Trouble(f"{path} is not JSON ({e}); {again}")
    if not isinstance(raw, dict) or raw.get("program") != "avm-bench":
        raise Trouble(f"{path} is JSON, but not avm-bench's; {again}")
    if raw.get("clock") not in CLOCKS:
        raise Trouble(f"{path} has no clock that is one of {', '.join(CLOCKS)}; {again}")
    machine, figures, titles = raw.get("machine"), raw.get("figures"), raw.get("peers", {})
    if not isinstance(machine, dict) or not isinstance(machine.get("kernel"), str):
        raise Trouble(f"{path} does not say which kernel it is from; {again}")
    if not isinstance(figures, list) or not isinstance(titles, dict):
        raise Trouble(f"{path} has no figures; {again}")
    try:
        checked = [read_figure(f, f"figure {i}") for i, f in enumerate(figures, 1)]
    except Trouble as e:
        raise Trouble(f"{path}: {e}; {again}")
    return Run(Path(path).name, raw["clock"], str(raw.get("date", "")), bool(raw.get("quick")),
               str(raw.get("error", "")),
               machine, {k: str(v) for k, v in titles.items()}, checked)


def kernel_key(kernel):
    """Sorts 6.12 after 6.1."""
    return [int(part) for part in re.findall(r"\d+", kernel)], kernel


def read_all(paths):
    """The runs, by kernel and then by clock."""
    runs = {}
    for path in paths:
        run = read_run(path)
        other = runs.setdefault((run.kernel, run.clock), run)
        if other is not run:
            raise Trouble(f"{other.name} and {path} are both of {run.kernel} by {run.clock}: "
                          "give one of them, as figures of two runs are never mixed")
    return sorted(runs.values(), key=lambda r: (kernel_key(r.kernel), CLOCKS.index(r.clock)))
