# SPDX-License-Identifier: GPL-2.0
"""Have gnuplot draw, and make its SVG fit to stand in a page."""

import html
import re
import subprocess
import zlib
from typing import NamedTuple

from .trouble import Trouble

GNUPLOT = "gnuplot"
# Replaced in the SVG by the colour that the page has for text.
INK = "#123456"
GRID = "#8c8c8c"


class Plot(NamedTuple):
    """A plot: the name of its file, what it shows, and gnuplot's commands."""
    name: str
    alt: str
    script: str
    width: int
    height: int


def quote(text):
    """A string that gnuplot takes as it is: no escapes, no commands in it."""
    return "'" + re.sub(r"[\x00-\x1f]", " ", text).replace("'", "''") + "'"


def write(text, x, y, how="left", bold=False, size=12):
    """The command that writes a text there."""
    weight = ":Bold" if bold else ""
    return (f"set label {quote(text)} at {x}, {y} {how}"
            f" font 'sans-serif{weight},{size}' tc rgb '{INK}'")


def begin(name, width, height, title, subtitle):
    """The commands that all plots begin with."""
    return [
        f"set terminal svg size {width},{height} noenhanced font 'sans-serif,12'"
        f" name {quote(re.sub(r'[^A-Za-z0-9]', '_', name))}",
        "set encoding utf8",
        write(title, "screen 0.012", f"screen {1 - 15 / height:.4f}", bold=True, size=13),
        write(subtitle, "screen 0.012", f"screen {1 - 32 / height:.4f}", size=11),
        f"set border 3 lc rgb '{INK}' lw 0.8",
        f"set grid lc rgb '{GRID}' lw 0.4 dt 3",
        "set tics nomirror",
    ]


def run_gnuplot(plot):
    """The plot as SVG."""
    try:
        done = subprocess.run([GNUPLOT], input=plot.script, capture_output=True, check=False,
                              encoding="utf-8")
    except OSError as e:
        raise Trouble(f"cannot run {GNUPLOT} ({e.strerror}): install it; "
                      "Debian's package is gnuplot-nox")
    if done.returncode or "</svg>" not in done.stdout:
        raise Trouble(f"gnuplot made no plot {plot.name}; it says: "
                      f"{' '.join(done.stderr.split()) or 'nothing'}; "
                      "gnuplot 5.4 or later with the terminal svg is needed")
    return tidy_svg(done.stdout, plot)


def tidy_svg(text, plot):
    """What gnuplot made, fit to stand in a page beside others."""
    text = text[text.index("<svg"):]
    body = text.split(">", 1)[1]
    # Names in a document are unique; those of markers come in every plot.
    own = f"p{zlib.crc32(plot.name.encode()):08x}-"
    body = re.sub(r"(\bid=[\"'])", lambda m: m[1] + own, body)
    body = re.sub(r"(href=[\"']#)", lambda m: m[1] + own, body)
    body = body.replace("url(#", f"url(#{own}")
    alt = html.escape(plot.alt, quote=True)
    body = re.sub(r"<title>.*?</title>", "", body, flags=re.DOTALL)
    body = re.sub(r"<desc>.*?</desc>", "", body, flags=re.DOTALL)
    r, g, b = (int(INK[i:i + 2], 16) for i in (1, 3, 5))
    ink = rf"rgb\(\s*{r}\s*,\s*{g}\s*,\s*{b}\s*\)|{INK}"
    body = re.sub(ink, "currentColor", body, flags=re.IGNORECASE)
    # Discs that gnuplot puts beneath points, white whatever the page is; boxes
    # for text, which has none here.
    body = re.sub(r"<use [^>]*color='white'[^>]*/>", "", body)
    body = re.sub(r"<filter .*?</filter>", "", body, flags=re.DOTALL)
    # It would be the current colour.
    body = re.sub(r'(<g [^>]*?) color="[^"]*"', r"\1", body)
    body = body.replace('font-family="sans-serif:Bold"', 'font-family="sans-serif"'
                        ' font-weight="bold"')
    body = re.sub(r"[ \t]*\n\s*", "\n", body)
    body = re.sub(r"<g [^>]*>\s*</g>\n?", "", body)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
            f' viewBox="0 0 {plot.width} {plot.height}" role="img" aria-label="{alt}">'
            f"<title>{alt}</title>{body.strip()}\n")


def alone(svg, plot):
    """The plot as a file, which has no page around it to take colours from."""
    size = f' width="{plot.width}" height="{plot.height}" style="background:#fff;color:#222"'
    return '<?xml version="1.0" encoding="utf-8"?>\n' + svg.replace(" role=", size + " role=", 1)
