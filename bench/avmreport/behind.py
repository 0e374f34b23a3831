# SPDX-License-Identifier: GPL-2.0
"""Where avm is not ahead: what a summary would rather not say."""

import math
from typing import NamedTuple

from .markup import esc, run_head
from .runs import Figure, Run
from .words import point_words, quantity, times, unit_words
from .works import MORE_IS_BETTER, work_of

# They answer another question, or are no peer.
NO_PEERS = ("floor", "mincore")


class Case(NamedTuple):
    """A peer's figure beside avm's."""
    run: Run
    figure: Figure
    avm: Figure

    @property
    def ratio(self):
        """How many times better the peer is; of 0, infinitely."""
        # Less than 0 is a count that others took part in.
        pair = (max(self.figure.median, 0), max(self.avm.median, 0))
        worse, better = pair if self.figure.metric in MORE_IS_BETTER else pair[::-1]
        return worse / better if better else math.inf if worse else 1.0

    @property
    def subject(self):
        """What is compared, wherever it is."""
        return self.figure.work, self.figure.metric, self.figure.peer

    def what(self):
        """Work and metric, as a link."""
        work, metric, _ = self.subject
        name = work_of(work).metrics.get(metric, metric)
        return f'<a href="#{esc(work)}">{esc(work)}</a>, {esc(name)}'

    def where(self):
        """The point, for people."""
        return esc(point_words(self.figure.work, self.figure.point))

    def peer(self):
        """The peer's name, for people."""
        return esc(self.run.title(self.figure.work, self.figure.peer))

    def values(self):
        """The ratio and what it is of: avm's first."""
        unit = "" if self.figure.metric in MORE_IS_BETTER else self.figure.unit
        what = "" if unit.startswith("ns") else f" {unit_words(self.figure)}"
        text = times(self.ratio) if math.isfinite(self.ratio) else "peer: 0"
        return (f"<b>{text}</b><small>{quantity(self.avm.median, unit)} :"
                f" {quantity(self.figure.median, unit)}{esc(what.rstrip())}</small>")


def comparable(figure):
    """Whether it is a peer's, and of a whole: a sum of phases, not each."""
    whole = work_of(figure.work).whole
    return not (figure.missing or figure.peer in NO_PEERS or figure.peer.startswith("avm")
                or (whole and figure.metric not in whole))


def cases(runs):
    """All that can be compared, in the order of the files."""
    for run in runs:
        for figure in filter(comparable, run.figures):
            avm = run.avm(figure.work, figure.metric, figure.point)
            if avm and not avm.missing:
                yield Case(run, figure, avm)


def worst_cell(found, worse):
    """A run's cell: the worst of what was found, and at how many points of how many."""
    if not found:
        return '<td class="none">–</td>'
    if not worse:
        return f'<td class="none">at none of {len(found)}</td>'
    count = "" if len(found) == 1 else f"at {len(worse)} of {len(found)} points; here: "
    return f"<td>{worse[0].values()}<small>{count}{worse[0].where()}</small></td>"


def overview(runs, everything, worse):
    """A row a work and peer, a column a run."""
    rows = []
    for subject in dict.fromkeys(case.subject for case in worse):
        first = next(case for case in worse if case.subject == subject)
        cells = "".join(
            worst_cell(*([c for c in those if c.run is run and c.subject == subject]
                         for those in (everything, worse))) for run in runs)
        rows.append(f'<tr><th scope="row">{first.what()}<small>{first.peer()}</small></th>'
                    f"{cells}</tr>")
    heads = "".join(f'<th scope="col">{run_head(run)}</th>' for run in runs)
    return ('<div class="table"><table class="behind-list"><thead><tr><th>what, and peer</th>'
            f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>")


def all_of_them(worse):
    """A row a figure."""
    rows = "".join(
        f'<tr><th scope="row">{case.what()}<small>{case.where()}</small></th>'
        f"<td>{case.peer()}</td><td>{run_head(case.run)}</td><td>{case.values()}</td></tr>"
        for case in worse)
    return (f"<details><summary>One by one ({len(worse)})</summary>"
            '<div class="table"><table class="behind-list"><thead><tr><th>what</th><th>peer</th>'
            f"<th>run</th><th>avm : peer</th></tr></thead><tbody>{rows}</tbody></table></div>"
            "</details>")


def behind(runs):
    """Where a peer is better than avm."""
    everything = list(cases(runs))
    worse = sorted((case for case in everything if case.ratio > 1), key=lambda case: -case.ratio)
    if not worse:
        return "<p>In none of these figures is a peer better than avm.</p>"
    return f"""<p>Where the median of a whole (a sum of phases, not each) is better at a peer than
at avm, the worst first. The ratio is what avm takes divided by what the peer takes; small: the two
medians, avm’s first.</p>
{overview(runs, everything, worse)}{all_of_them(worse)}"""
