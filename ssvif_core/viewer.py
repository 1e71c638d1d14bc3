"""Shows a fusion in the viewer Rerun: images, labels and figures over time, to scrub in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from ssvif_core.errors import InputError, SsvifError
from ssvif_core.overlay import colours_of
from ssvif_core.types import UInt8Array

QUALITY = 85  # of JPEGs; raw images would fill the memory of the viewer
VISIBLE, THERMAL, FUSED, LABELS, LOG = "visible", "thermal", "fused", "labels", "log"


class Viewer:
    """A stream of what is shown. Use it as a context manager.

    Args:
        out: file (.rrd) to write, which `rerun FILE` opens; None opens the viewer's window.
        graphs: names of the graphs below the images, each with figures of one unit.

    Raises:
        SsvifError: rerun-sdk is not installed, or its window cannot be opened.
        InputError: the file cannot be written.
    """

    def __init__(self, out: Path | None, graphs: Sequence[str]) -> None:
        try:
            import rerun
            import rerun.blueprint as layout
        except ImportError as error:
            raise SsvifError(
                f"the viewer needs rerun-sdk ({error}); run `pip install rerun-sdk`"
            ) from error
        self._rerun, self._out = rerun, out
        self._stream = rerun.RecordingStream("ssvif")
        pictures = [
            layout.Spatial2DView(origin=name, name=name) for name in (VISIBLE, THERMAL, FUSED)
        ]
        overlay = layout.Spatial2DView(contents=[FUSED, LABELS], name="labels")
        blueprint = layout.Blueprint(
            layout.Vertical(
                layout.Grid(*pictures, overlay),
                layout.Horizontal(*(layout.TimeSeriesView(origin=g, name=g) for g in graphs)),
                row_shares=[3, 1],
            )
        )
        try:
            if out is None:
                self._stream.spawn(default_blueprint=blueprint)
            else:
                self._stream.save(out, default_blueprint=blueprint)
        except (OSError, RuntimeError, ValueError) as error:
            if out is None:
                raise SsvifError(
                    f"the viewer cannot be opened ({error}); write a file with --out instead"
                ) from error
            raise InputError(f"{out}: cannot be written ({error}); choose another") from error

    def __enter__(self) -> Viewer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._stream.flush()
            self._stream.disconnect()
        except RuntimeError as problem:
            if error is None:
                raise InputError(
                    f"{self._out}: cannot be written to its end ({problem}); is the disk full?"
                    if self._out
                    else f"the viewer was closed ({problem})"
                ) from problem

    def at(self, seconds: float, pair: int | None = None) -> None:
        """All that follows belongs to this time, and to this number of a pair."""
        self._stream.set_time("time", duration=seconds)
        if pair is not None:
            self._stream.set_time("pair", sequence=pair)

    def classes(self, names: Sequence[str]) -> None:
        """Names and colours of the labels, by id."""
        colours = colours_of(names)[:, ::-1].tolist()
        classes = [(number, *each) for number, each in enumerate(zip(names, colours, strict=True))]
        self._stream.log("/", self._rerun.AnnotationContext(classes), static=True)

    def picture(self, name: str, pixels: UInt8Array) -> None:
        """An image: (H, W, 3) BGR or (H, W) grey."""
        image = self._rerun.Image(pixels, color_model="BGR" if pixels.ndim == 3 else "L")
        self._stream.log(name, image.compress(jpeg_quality=QUALITY))

    def labels(self, ids: UInt8Array) -> None:
        """Class ids, (H, W), which lie over the fused image."""
        self._stream.log(LABELS, self._rerun.SegmentationImage(ids, opacity=0.4, draw_order=1))

    def figure(self, graph: str, name: str, value: float) -> None:
        """A number that changes over time, in a graph."""
        self._stream.log([graph, name], self._rerun.Scalars(value))

    def note(self, text: str) -> None:
        """A line of text."""
        self._stream.log(LOG, self._rerun.TextLog(text))
