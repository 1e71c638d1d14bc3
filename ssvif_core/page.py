"""What the project's HTML pages share: one look, light and dark, and drawings that go with it.

A page is a Jinja template that extends `page.html.jinja`, beside this file, and fills its blocks;
it needs no network and no other file. What a page says is left to the modules that write one:
:mod:`ssvif_core.training.summary` and :mod:`ssvif_core.evaluation.report`.
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

# Of medium lightness: a contrast of 3 at least on both backgrounds of the page.
COLOURS = ("#2f7fd6", "#c96a1e", "#2f9668", "#b45cc4", "#85852a", "#d6487a")
# Stands for the page's text colour, which CSS knows and matplotlib does not.
INK = "#010203"


def render(template: Path, **values: Any) -> str:
    """The page that a template makes of values; text is escaped, Markup is not.

    template: a file that extends `page.html.jinja`, which wants `facts`: name -> text.

    Raises:
        jinja2.UndefinedError: the template names a value that is not given.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(template.name).render(values)


def colour(index: int) -> str:
    """The colour of the index-th thing a page shows; after six they begin again."""
    return COLOURS[index % len(COLOURS)]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; in inches, 4.2 for a chart among others and 8.4 for one alone."""
    return Figure(figsize=(width, height), layout="constrained")


def calm(axes: Axes) -> Axes:
    """Give axes the look of the page: a faint grid, no frame, few and round numbers."""
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
    """A drawing for a page, where it takes the colour and font of the text around it.

    name: of the drawing, unique in its page.
    """
    drawing = io.StringIO()
    # Text stays text, in the page's font; the salt keeps ids of the page's drawings apart.
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
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)  # those of viewBox serve
    return Markup(svg)
