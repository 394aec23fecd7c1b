# SPDX-License-Identifier: GPL-2.0-only
"""Small charts as SVG: horizontal bars, and lines over a logarithmic axis.

The output depends on the arguments alone. Text stays text, colours follow the reader's choice of
light or dark, and each chart says in a title and a description what it shows.
"""

import math
import typing
from xml.sax.saxutils import escape

WIDTH = 760
LABEL = 190  # width of the names at the left
VALUE = 130  # width of the numbers at the right
ROW = 30
TOP = 56
BOTTOM = 46

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.heading { font-size: 15px; font-weight: 600; }
.note { font-size: 12px; fill: #59636e; }
.end { text-anchor: end; }
.middle { text-anchor: middle; }
.grid { stroke: #d1d9e0; }
.whisker { stroke: #1f2328; stroke-width: 1.5; fill: none; }
.aim { stroke: #bc4c00; stroke-width: 2; }
.c0 { fill: #8c959f; } .c1 { fill: #0969da; } .c2 { fill: #1a7f37; } .c3 { fill: #8250df; }
.c4 { fill: #bf8700; }
.l0 { stroke: #8c959f; } .l1 { stroke: #0969da; } .l2 { stroke: #1a7f37; } .l3 { stroke: #8250df; }
.l4 { stroke: #bf8700; }
.line { fill: none; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc; }
.note { fill: #9198a1; }
.grid { stroke: #3d444d; }
.whisker { stroke: #f0f6fc; }
.aim { stroke: #f0883e; }
.c0 { fill: #6e7681; } .c1 { fill: #4493f8; } .c2 { fill: #3fb950; } .c3 { fill: #ab7df8; }
.c4 { fill: #d29922; }
.l0 { stroke: #6e7681; } .l1 { stroke: #4493f8; } .l2 { stroke: #3fb950; } .l3 { stroke: #ab7df8; }
.l4 { stroke: #d29922; }
}
"""


class Bar(typing.NamedTuple):
    """q1 and q3: ends of the whisker; aim: a mark that the bar should reach or stay below."""
    label: str
    value: float
    text: str
    colour: int = 1
    q1: typing.Optional[float] = None
    q3: typing.Optional[float] = None
    aim: typing.Optional[float] = None


class Line(typing.NamedTuple):
    """Points are (x, y, q1, q3), the quartiles None where there are none."""
    label: str
    points: list
    colour: int = 1


class Scale:
    """From values to places between two ends."""

    def __init__(self, least, most, begin, end, logarithmic=False):
        self._map = math.log10 if logarithmic else float
        self._least, self._begin = self._map(least), begin
        self._factor = (end - begin) / ((self._map(most) - self._least) or 1)

    def __call__(self, value):
        return self._begin + (self._map(value) - self._least) * self._factor


def place(value):
    """A coordinate: a tenth of a pixel is enough."""
    return f"{value:.1f}".removesuffix(".0")


def text(x, y, what, kind=""):
    kind = f' class="{kind}"' if kind else ""
    return f'<text x="{place(x)}" y="{place(y)}"{kind}>{escape(what)}</text>'


def line(x1, y1, x2, y2, kind):
    return (f'<line x1="{place(x1)}" y1="{place(y1)}" x2="{place(x2)}" y2="{place(y2)}" '
            f'class="{kind}"/>')


def whisker(low, high, y):
    path = (f"M{place(low)} {place(y - 4)}v8M{place(low)} {place(y)}H{place(high)}"
            f"M{place(high)} {place(y - 4)}v8")
    return f'<path d="{path}" class="whisker"/>'


def upright(x, low, high):
    path = (f"M{place(x - 3)} {place(low)}h6M{place(x)} {place(low)}V{place(high)}"
            f"M{place(x - 3)} {place(high)}h6")
    return f'<path d="{path}" class="whisker"/>'


def ticks(most, about=5):
    """Round numbers from 0 to at least the greatest."""
    rough = most / about or 1
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough * (1 - 1e-9))
    return [step * index for index in range(math.ceil(most / step - 1e-9) + 1)]


def decades(least, most):
    return [10.0 ** power for power in range(math.floor(math.log10(least) + 1e-9),
                                             math.ceil(math.log10(most) - 1e-9) + 1)]


def short(value):
    """A number of an axis."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def document(height, title, description, note, parts):
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title desc">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="desc">{escape(description)}</desc>',
            f"<style>{STYLE}</style>",
            text(0, 18, title, "heading"), text(0, 38, note, "note")]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def bars(title, note, unit, rows, logarithmic=False, format_tick=short):
    """One bar a row, from the left; with an aim, its mark."""
    values = [value for row in rows for value in (row.value, row.q3, row.aim) if value]
    marks = (decades(min(values) / 1.5, max(values)) if logarithmic else
             ticks(max(values, default=1)))
    scale = Scale(marks[0], marks[-1], LABEL, WIDTH - VALUE, logarithmic)
    bottom, parts = TOP + ROW * len(rows), []
    for mark in marks:
        parts.append(line(scale(mark), TOP - 6, scale(mark), bottom, "grid"))
        parts.append(text(scale(mark), bottom + 16, format_tick(mark), "note middle"))
    parts.append(text((LABEL + WIDTH - VALUE) / 2, bottom + 34, unit, "note middle"))
    for index, row in enumerate(rows):
        parts += bar(row, TOP + ROW * index, scale, marks[0])
    description = "; ".join(f"{row.label}: {row.text}" for row in rows)
    return document(bottom + BOTTOM, title, f"{unit}. {description}.", note, parts)


def bar(row, y, scale, least):
    middle = y + ROW / 2 - 3
    length = max(1.0, scale(max(row.value, least)) - LABEL)
    yield text(LABEL - 8, middle + 4, row.label, "end")
    yield (f'<rect x="{LABEL}" y="{place(y + 2)}" width="{place(length)}" height="{ROW - 10}" '
           f'class="c{row.colour}"/>')
    if row.q1 is not None and row.q3 is not None:
        yield whisker(scale(row.q1), scale(row.q3), middle)
    if row.aim:
        yield line(scale(row.aim), y - 1, scale(row.aim), y + ROW - 5, "aim")
    yield text(WIDTH - VALUE + 12, middle + 4, row.text)


def lines(title, note, x_title, y_title, series, logarithmic=False):
    """Rates over counts, which grow by powers of ten, and maybe so do the rates."""
    points = [point for one in series for point in one.points]
    height, top, left, right = 390, TOP + 20, 60, WIDTH - VALUE
    xs = sorted({point[0] for point in points})
    most = max(value for point in points for value in (point[1], point[3] or 0))
    least = min(value for point in points for value in point[1:] if value is not None)
    marks = decades(least, most) if logarithmic else ticks(most)
    across = Scale(xs[0], xs[-1], left, right, True)
    up = Scale(marks[0], marks[-1], height - BOTTOM - 16, top, logarithmic)
    parts = [text(0, top - 16, y_title, "note")]
    for mark in marks:
        parts.append(line(left, up(mark), right, up(mark), "grid"))
        parts.append(text(left - 6, up(mark) + 4, short(mark), "note end"))
    for mark in xs:
        parts.append(text(across(mark), height - BOTTOM + 4, short(mark), "note middle"))
    parts.append(text((left + right) / 2, height - 12, x_title, "note middle"))
    for one in series:
        parts += curve(one, across, up)
    parts += names(series, up, right)
    description = "; ".join(f"{one.label}: " + ", ".join(
        f"{short(round(point[1], 3))} at {short(point[0])}" for point in one.points)
        for one in series)
    return document(height, title, f"{y_title} over {x_title}. {description}.", note, parts)


def curve(one, across, up):
    places = " ".join(f"{place(across(x))},{place(up(y))}" for x, y, _, _ in one.points)
    yield f'<polyline points="{places}" class="line l{one.colour}"/>'
    for x, y, low, high in one.points:
        if low is not None and high is not None:
            yield upright(across(x), up(low), up(high))
        yield (f'<circle cx="{place(across(x))}" cy="{place(up(y))}" r="3.5" '
               f'class="c{one.colour}"/>')


def names(series, up, right):
    """At the curves' ends, apart enough to be read."""
    last = -math.inf
    for one in sorted(series, key=lambda one: up(one.points[-1][1])):
        last = max(last + 15, up(one.points[-1][1]))
        yield f'<rect x="{right + 10}" y="{place(last - 5)}" width="10" height="10" ' \
              f'class="c{one.colour}"/>'
        yield text(right + 25, last + 4, one.label)
