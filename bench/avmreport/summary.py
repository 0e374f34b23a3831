# SPDX-License-Identifier: GPL-2.0
"""In short: avm against its peers where it matters most."""

from typing import NamedTuple

from .markup import Notes, esc, run_head
from .runs import Figure, Run
from .words import point_words, quantity, times

NOT_MEASURED = "not measured"


class Headline(NamedTuple):
    """A line of the summary: avm against some peers at a point."""
    text: str
    work: str
    metric: str
    point: dict
    peers: tuple
    avm: str = "avm"
    tile: bool = False  # also in large type, against the first peer


SCATTERED = {"pages": 1000, "layout": "scattered", "to": "r", "others": 0}
HEADLINES = (
    Headline("A trap whose handler does nothing", "appel", "trap", {},
             ("mprotect", "uffd-sigbus")),
    Headline("prot1+trap+unprot", "appel", "prot1", {},
             ("mprotect", "uffd-sigbus"), tile=True),
    Headline("protN+trap+unprot", "appel", "protn", {},
             ("mprotect", "uffd-sigbus"), tile=True),
    Headline("protN+trap+unprot, where avm’s trap opens the page itself", "appel", "protn", {},
             ("mprotect", "uffd-sigbus"), avm="avm-raise"),
    Headline("PROTN of 1,000 scattered pages", "protn", "protn", SCATTERED,
             ("mprotect", "uffd-sigbus"), tile=True),
    Headline("PROTN of 1,000 pages in one range", "protn", "protn",
             {**SCATTERED, "layout": "contiguous"}, ("mprotect", "mprotect-thp", "uffd-sigbus")),
    Headline("DIRTY, a round, 10 % written, spread, largest size", "dirty", "round",
             {"layout": "spread", "written": 10},
             ("soft-dirty", "uffd-async", "uffd-sigbus", "mprotect"), tile=True),
    Headline("ACCESSED, half of the pages read", "accessed", "sum", {}, ("mprotect",)),
    Headline("MAP2: make, use and remove the second address", "map2", "sum", {},
             ("memfd", "memfd-populate")),
    Headline("Populate: map and fill", "populate", "fill", {},
             ("madvise", "map-populate", "touch")),
    Headline("Kernel memory a page, every other page read-only", "memory", "kernel", {},
             ("mprotect", "uffd-sigbus"), tile=True),
)


class Comparison(NamedTuple):
    """Two figures of one run, or why there are none."""
    run: Run
    avm: Figure = None
    peer: Figure = None
    why: str = ""

    @property
    def ratio(self):
        """How many times avm's the peer's is."""
        return self.peer.against(self.avm) if self.peer else None


def compare(run, line, peer):
    """avm and a peer, in this run and at one point."""
    fits = [f for f in run.figures
            if (f.work, f.peer, f.metric) == (line.work, line.avm, line.metric)
            and all(f.point.get(k) == v for k, v in line.point.items())]
    if not fits:
        return Comparison(run, why=NOT_MEASURED)
    point = max(fits, key=lambda f: f.point.get("pages", 0)).point
    avm = run.avm(line.work, line.metric, point, line.avm)
    other = run.find(line.work, peer, line.metric, point)
    why = avm.missing or (other.missing if other else NOT_MEASURED)
    return Comparison(run, why=why) if why else Comparison(run, avm, other)


def summary_cell(comparison, notes):
    """A ratio, and what it is of."""
    if comparison.why:
        return f'<td class="none">{notes.mark(comparison.why)}</td>'
    ratio = comparison.ratio
    unit = comparison.peer.unit
    parts = f"{quantity(comparison.peer.median, unit)} : {quantity(comparison.avm.median, unit)}"
    behind = ' class="behind"' if ratio is not None and ratio < 1 else ""
    text = "–" if ratio is None else times(ratio)
    return f"<td{behind}><b>{text}</b><small>{parts}</small></td>"


def summary_point(line, comparisons):
    """Where a line comes from, as a link."""
    words = {point_words(line.work, c.avm.point) for c in comparisons if c.avm}
    where = f"{line.work}, {line.metric}" + (": " + "; ".join(sorted(words)) if words else "")
    return f'<a href="#{esc(line.work)}">{esc(where)}</a>'


def title_of(runs, work, peer):
    """A peer's name, of a run that has it."""
    return next((r.title(work, peer) for r in runs if peer in r.titles),
                runs[0].title(work, peer))


def tile(line, runs):
    """A line's first peer in large type: the least and the most of all runs."""
    ratios = [compare(run, line, line.peers[0]).ratio for run in runs]
    found = [ratio for ratio in ratios if ratio is not None]
    if not found:
        return ""
    low, high = times(min(found)), times(max(found))
    text = low if low == high else f"{low[:-2]} – {high}"
    peer = title_of(runs, line.work, line.peers[0])
    return (f'<div class="tile"><b>{text}</b><span>{esc(line.text)}: what {esc(peer)} takes,'
            f" as a multiple of avm’s</span></div>")


def group(line, runs, notes):
    """A line's rows: its heading, and a row a peer."""
    rows, all_found = [], []
    for peer in line.peers:
        found = [compare(run, line, peer) for run in runs]
        # Nothing of it was measured anywhere: another choice of works.
        if all(c.why == NOT_MEASURED for c in found):
            continue
        all_found += found
        rows.append(f'<tr><th scope="row">{esc(title_of(runs, line.work, peer))}</th>'
                    + "".join(summary_cell(c, notes) for c in found) + "</tr>")
    if not rows:
        return []
    return [f'<tr class="group"><th colspan="{len(runs) + 1}" scope="colgroup">'
            f"{esc(line.text)} <small>{summary_point(line, all_found)}</small></th></tr>", *rows]


def summary(runs):
    """The few figures that tell most."""
    notes = Notes()
    body = "".join(row for line in HEADLINES for row in group(line, runs, notes))
    if not body:
        return "<p>These files have none of the figures that a summary is made of.</p>"
    tiles = "".join(tile(line, runs) for line in HEADLINES if line.tile)
    heads = "".join(f'<th scope="col">{run_head(run)}</th>' for run in runs)
    return f"""<div class="tiles">{tiles}</div>
<p>Each ratio is what the peer takes divided by what avm takes, of two medians of the same run:
above 1, avm is cheaper. Large: the least and the most of the runs. Small: the two medians (a page,
a trap).</p>
<div class="table"><table class="summary"><thead><tr><th>avm against</th>{heads}</tr></thead>
<tbody>{body}</tbody></table></div>{notes.html()}"""
