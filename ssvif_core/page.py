"""The common look of the project's HTML pages, light and dark, and drawings that fit it.

A page is a Jinja template that extends `page.html.jinja` in this folder and fills its blocks. It
needs no network and no other file. :mod:`ssvif_core.training.summary` and
:mod:`ssvif_core.evaluation.report` write pages.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Medium lightness: their contrast is at least 3 on both backgrounds of the page.
COLOURS = ("#2f7fd6", "#c96a1e", "#2f9668", "#b45cc4", "#85852a", "#d6487a")
# Placeholder for the page's text colour, which only CSS knows.
INK = "#010203"


def render(template: Path, **values: Any) -> str:
    """Fill a template with values; text is escaped, Markup is not.

    Args:
        template: a file that extends `page.html.jinja`.
        values: of the template; `facts` (name -> text) is required.

    Raises:
        jinja2.UndefinedError: the template uses a value that is not given.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(template.name).render(values)


def colour(index: int) -> str:
    """The colour of a page's item by its index; the six colours repeat."""
    return COLOURS[index % len(COLOURS)]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure in inches: 4.2 wide for a chart in a row, 8.4 for a single chart."""
    return Figure(figsize=(width, height), layout="constrained")


def calm(axes: Axes) -> Axes:
    """Give axes the look of the page: a faint grid, no frame, few round tick values."""
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.grid(color=INK, alpha=0.15, linewidth=0.6)
    axes.tick_params(labelsize=8, colors=INK, length=0)
    axes.spines[:].set_visible(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter("{x:.6g}")
    return axes


def to_svg(figure: Figure, name: str) -> Markup:
    """Convert a figure to SVG that takes the colour and font of the surrounding text.

    name: of the drawing, unique in its page.
    """
    drawing = io.StringIO()
    # Keep text as text in the page's font; the salt makes ids unique in the page.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(
            drawing,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
        )
    svg = drawing.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)  # viewBox gives the size
    return Markup(svg)
