# SPDX-License-Identifier: GPL-2.0
"""Pieces of HTML that all parts of the page have."""

import html


def esc(text):
    """Text as HTML."""
    return html.escape(str(text), quote=True)


class Notes:
    """Footnotes of a table: one for each reason."""

    def __init__(self):
        self.reasons = []

    def mark(self, why):
        """The mark that leads to a reason."""
        if why not in self.reasons:
            self.reasons.append(why)
        return f'<span class="why">({self.reasons.index(why) + 1})</span>'

    def html(self):
        """All of them, for beneath the table."""
        if not self.reasons:
            return ""
        items = "".join(f"<li>({i}) {esc(why)}</li>" for i, why in enumerate(self.reasons, 1))
        return f'<ul class="notes">{items}</ul>'


def run_head(run):
    """The head of a run's column."""
    return f"{esc(run.kernel)}<br><small>{esc(run.clock)}</small>"
