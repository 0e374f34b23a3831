# SPDX-License-Identifier: GPL-2.0
"""What was measured on."""

from .markup import esc, run_head
from .words import clock_words, emulated


def mitigations(run):
    """What the kernel does against faults of the CPU, and how many it need not."""
    known = run.machine.get("mitigations")
    if not isinstance(known, dict) or not known:
        return "not known"
    lines_ = [f"{esc(k)}: {esc(v)}" for k, v in known.items() if v != "Not affected"]
    count = len(known) - len(lines_)
    if count:
        names = ", ".join(k for k, v in known.items() if v == "Not affected")
        lines_.append(f'<span title="{esc(names)}">not affected by {count} others</span>')
    return "<br>".join(lines_)


def date_of(run):
    """When it was measured, as far as the machine knows."""
    text = esc(run.date.replace("T", " ").replace("Z", " UTC")) or "not known"
    if run.clock == "instructions" and emulated(run):
        text += "<small>by the machine’s clock, which begins at a fixed date here</small>"
    return text


def machine_table(runs):
    """What was measured on, a column a run."""
    def plain(name, unit=""):
        return lambda run: esc(run.machine[name]) + unit if name in run.machine else "not known"

    rows = (
        ("Kernel", lambda r: f"{esc(r.kernel)}<small>{esc(r.machine.get('kernel_version', ''))}"
                             "</small>"),
        ("Clock", lambda r: esc(clock_words(r))),
        ("Sizes", lambda r: "quick: smaller sizes, some points are left out" if r.quick
         else "full"),
        ("CPU", plain("cpu")), ("CPUs", plain("cpus")), ("Memory", plain("memory_mib", " MiB")),
        ("Mitigations", mitigations), ("Clock source", plain("clocksource")),
        ("Huge pages", plain("huge_pages")), ("Command line", plain("cmdline")),
        ("avm", plain("avm")), ("Date", date_of), ("File", lambda r: esc(r.name)),
    )
    heads = "".join(f'<th scope="col">{run_head(run)}</th>' for run in runs)
    body = "".join(f'<tr><th scope="row">{name}</th>'
                   + "".join(f"<td>{cell(run)}</td>" for run in runs) + "</tr>"
                   for name, cell in rows)
    return (f'<div class="table"><table class="machine"><thead><tr><th></th>{heads}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>")
