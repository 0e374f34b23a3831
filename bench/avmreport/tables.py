# SPDX-License-Identifier: GPL-2.0
"""Tables of all figures."""

from .markup import Notes, esc
from .words import clock_words, column_words, number, times
from .works import work_of


def figure_cell(figure, avm, notes):
    """A cell: the median, min and max, and the ratio to avm."""
    if not figure:
        return '<td class="none">–</td>'
    if figure.missing:
        return f'<td class="none">{notes.mark(figure.missing)}</td>'
    # What was counted once is not rounded.
    counted = figure.n == 1 and float(figure.median).is_integer()
    text = f"<b>{f'{figure.median:,.0f}' if counted else number(figure.median)}</b>"
    if figure.n > 1:
        text += f"<small>{number(figure.min)} – {number(figure.max)}</small>"
    ratio = figure.against(avm)
    if ratio is not None:
        text += f"<i>{times(ratio)}</i>"
    of = "once" if figure.n == 1 else f"median of {figure.n:g}"
    return f'<td title="{figure.median:.10g}, {of}">{text}</td>'


def columns_of(subject):
    """The heads of the columns, and the groups of rows: a name, a (metric, column) a cell."""
    column = work_of(subject.work).column
    if column:
        return ([column_words(column, c) for c in subject.columns],
                [(subject.metric_name(m), [(m, c) for c in subject.columns])
                 for m in subject.metrics])
    return ([subject.metric_name(m) for m in subject.metrics],
            [("", [(m, None) for m in subject.metrics])])


def peer_row(subject, peer, cells, notes):
    """A peer's row in a group."""
    def avm(metric, column):
        figure = subject.cells.get(("avm", metric, column))
        # avm is not compared with itself.
        if peer == "avm" or not figure:
            return None
        return subject.run.avm(figure.work, metric, figure.point)

    if peer in subject.gone:
        row = (f'<td class="none" colspan="{max(len(cells), 1)}">'
               f"not here {notes.mark(subject.gone[peer])}</td>")
    else:
        row = "".join(figure_cell(subject.cells.get((peer, *c)), avm(*c), notes) for c in cells)
    style = ' class="avm"' if peer == "avm" else ""
    title = esc(subject.run.title(subject.work, peer))
    return f'<tr{style}><th scope="row">{title}</th>{row}</tr>'


def subject_table(subject):
    """All figures of a subject."""
    notes, rows = Notes(), []
    heads, groups = columns_of(subject)
    for name, cells in groups:
        if len(groups) > 1:
            rows.append(f'<tr class="group"><th colspan="{len(heads) + 1}" scope="colgroup">'
                        f"{esc(name)}</th></tr>")
        rows += [peer_row(subject, peer, cells, notes)
                 for peer in subject.peers + list(subject.gone)]
    caption = "; ".join(t for t in (subject.words(), clock_words(subject.run, subject.work),
                                    subject.unit()) if t)
    top = "".join(f'<th scope="col">{esc(text)}</th>' for text in heads)
    corner = {"pages": "pages", "written": "written"}.get(work_of(subject.work).column, "")
    return (f'<div class="table"><table><caption>{esc(caption)}</caption><thead><tr>'
            f"<th>{corner}</th>{top}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
            f"{notes.html()}\n")
