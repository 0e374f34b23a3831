# SPDX-License-Identifier: GPL-2.0
"""The page: what is in it, and in which order."""

from pathlib import Path

from .behind import behind
from .machine import machine_table
from .markup import esc
from .plots import plots_of
from .reading import reading
from .subjects import subjects
from .summary import summary
from .tables import subject_table
from .works import WORKS, work_of


def figures_of(found, draw):
    """The plots of some subjects, a subject's two clocks side by side."""
    drawn = []
    for slug in dict.fromkeys(s.slug() for s in found):
        sets = [plots_of(s) for s in found if s.slug() == slug]
        for i in range(max(map(len, sets))):
            drawn += [f"<figure>{draw(p[i])}</figure>" for p in sets if i < len(p)]
    return f'<div class="plots">{"".join(drawn)}</div>' if drawn else ""


def kernel_section(name, runs, draw):
    """A work on one kernel: its plots, then its tables."""
    found = [s for run in runs for s in subjects(run, name)]
    if not found:
        return ""
    # Subject by subject, in the order of the first clock.
    order = list(dict.fromkeys(s.slug() for s in found))
    found.sort(key=lambda s: order.index(s.slug()))
    return (f"<h3>Linux {esc(runs[0].kernel)}</h3>{figures_of(found, draw)}"
            "<details open><summary>Tables</summary>"
            + "".join(subject_table(s) for s in found) + "</details>")


def work_section(name, runs, draw):
    """A work, kernel by kernel. @draw makes SVG of a plot."""
    work = work_of(name)
    text = f"<p>{work.text}</p>" if work.text else ""
    kernels = dict.fromkeys(run.kernel for run in runs)
    parts = [kernel_section(name, [r for r in runs if r.kernel == k], draw) for k in kernels]
    return (f'<section><h2 id="{esc(name)}">{esc(work.title)}</h2>{text}'
            f"{''.join(parts)}</section>\n")


def works_in(runs):
    """The works that were measured, in the order in which they build on each other."""
    names = dict.fromkeys(f.work for run in runs for f in run.figures)
    order = list(WORKS)
    return sorted(names, key=lambda n: order.index(n) if n in order else len(order))


def quick_note(runs):
    """That some sizes are not there, if so."""
    if not any(run.quick for run in runs):
        return ""
    which = "" if all(run.quick for run in runs) else " (the table of machines says which)"
    return f'<p class="quick">Quick run{which}: smaller sizes, and the largest are left out.</p>'


def error_note(runs):
    """That a run ended early, if so."""
    return "".join(f'<p class="quick">{esc(run.name)} ended before it was through:'
                   f" {esc(run.error)}</p>" for run in runs if run.error)


def page(runs, draw):
    """The whole page."""
    style = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    names = works_in(runs)
    kernels = dict.fromkeys(run.kernel for run in runs)
    links = "".join(f'<a href="#{esc(n)}">{esc(work_of(n).title)}</a>' for n in names)
    works = "".join(work_section(name, runs, draw) for name in names)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>avm beside what Linux has</title><style>{style}</style></head><body>
<header><h1>avm beside what Linux has</h1>
<p class="lead">Protection, traps and dirty pages in virtual memory: avm and its peers at the same
work. Linux {esc(", ".join(kernels))}.</p>{quick_note(runs)}{error_note(runs)}
<nav><a href="#summary">In short</a><a href="#behind">Where avm is not ahead</a>
<a href="#machine">The machine</a><a href="#reading">How to read this</a>{links}</nav></header>
<main><section><h2 id="summary">In short</h2>
{summary(runs)}</section>
<section><h2 id="behind">Where avm is not ahead</h2>
{behind(runs)}</section>
<section><h2 id="machine">The machine</h2>
{machine_table(runs)}</section>
<section><h2 id="reading">How to read this</h2>
{reading(runs)}</section>
{works}</main></body></html>
"""
