"""One thermal frame of a stream after another -> counts, range and state, for the pipeline."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.thermal.gain import NARROWEST, PlateauTone, ThermalGain, is_range
from ssvif_core.thermal.repair import DeadPixels
from ssvif_core.thermal.shutter import ShutterWatch, StreamState

MODES = ("auto", "percentile", "plateau", "temperature")


@dataclass(frozen=True)
class ThermalConfig:
    """How thermal counts are shown.

    Raises:
        InputError: a value is not what was expected.
    """

    # auto: 8-bit frames as they come, others as `percentile`. percentile: the range between two
    # percentiles. plateau: a tone curve by plateau equalisation. temperature: a fixed range.
    mode: str = "auto"
    # Counts shown as black and as white, for auto and percentile; None follows the scene.
    limits: tuple[float, float] | None = None
    percentiles: tuple[float, float] = (0.5, 99.5)
    # Black lies at most this many times as far below the median as white above it.
    depth: float = 0.6
    # 0 judges each frame alone: for images that are no stream. Then there is no repair and no
    # state either, for both need a past.
    smoothing: float = 0.9
    # Largest share of the pixels that counts in one of 256 bins of the histogram.
    plateau: float = 0.008
    # degC shown as black and as white, and the camera's degC = offset + scale * count. The
    # defaults are those of FLIR's 14-bit cameras in their fine resolution, 0.04 K.
    temperatures: tuple[float, float] = (0.0, 40.0)
    scale: float = 0.04
    offset: float = -273.15
    # Whether dead pixels are replaced.
    repair: bool = True

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InputError(f"thermal mode {self.mode!r}; expected one of {', '.join(MODES)}")
        if self.limits is not None and self.mode in ("plateau", "temperature"):
            raise InputError(
                f"thermal limits {self.limits} with mode {self.mode}, which has a range of its "
                "own; leave the limits out, or take mode percentile"
            )
        if not is_range(self.temperatures):
            raise InputError(
                f"thermal temperatures {self.temperatures}; expected those of black and white in "
                "degC, black below white, such as (0, 40)"
            )
        if not 0 < self.scale < math.inf or not math.isfinite(self.offset):
            raise InputError(
                f"thermal scale {self.scale}, offset {self.offset}; expected kelvin per count, "
                "above 0, and degC at count 0; the camera's manual has them"
            )
        PlateauTone(self.gain(), self.plateau, self.depth)  # they check the others

    def gain(self) -> ThermalGain:
        """A new gain as these settings want it."""
        return ThermalGain(
            self._counts() if self.mode == "temperature" else self.limits,
            self.percentiles,
            self.smoothing,
            None if self.mode == "plateau" else self.depth,
            stretch_8_bit=self.mode != "auto",
        )

    def check(self, thermal: np.ndarray) -> None:
        """Raise InputError if a frame is none, or its counts cannot be as the settings say."""
        if thermal.ndim != 2 or thermal.dtype not in NARROWEST or not thermal.size:
            raise InputError(
                f"thermal image of shape {thermal.shape}, {thermal.dtype}; expected (h, w) uint8 "
                "or uint16 in this machine's byte order"
            )
        if self.mode == "temperature":
            black, white = self._counts()
            full = np.iinfo(thermal.dtype).max
            if white <= 0 or black >= full:
                raise InputError(
                    f"thermal temperatures {self.temperatures} degC are the counts {black:.0f} to "
                    f"{white:.0f}, but {thermal.dtype} counts go from 0 to {full}; set scale and "
                    "offset to the camera's, or take another mode if it is not radiometric"
                )

    def _counts(self) -> tuple[float, float]:
        black, white = self.temperatures
        return (black - self.offset) / self.scale, (white - self.offset) / self.scale


@dataclass(frozen=True)
class ThermalFrame:
    """A thermal frame and how it is shown.

    thermal: (h, w), contiguous, of the dtype that came: the counts without dead pixels; with
        mode plateau the levels of its tone curve, which take the full range of the type. May be
        the very array that came.
    range: (2,) float32, the counts (or levels) shown as black and as white, with a straight line
        between them.
    state: whether it shows the scene of now.
    """

    thermal: np.ndarray
    range: np.ndarray
    state: StreamState


class ThermalStream:
    """Makes views of the frames of one thermal camera; belongs to one thread.

    While the stream is frozen or the shutter closed, the range stays as it was.
    """

    def __init__(self, config: ThermalConfig | None = None) -> None:
        self.config = config = config or ThermalConfig()
        self.gain = config.gain()
        self.tone = PlateauTone(self.gain, config.plateau, config.depth)
        self.pixels, self.watch = DeadPixels(), ShutterWatch()
        self._kind: tuple | None = None
        self._state = StreamState.LIVE  # of the frame before

    def reset(self) -> None:
        """Forget the past, dead pixels included."""
        self.tone.reset()  # and with it the gain
        self.pixels.reset()
        self.watch.reset()
        self._kind, self._state = None, StreamState.LIVE

    def __call__(self, thermal: np.ndarray, stamp_ns: int = 0) -> ThermalFrame:
        """View of the next frame.

        Args:
            thermal: (h, w) uint8 or uint16, never written to. Another size or dtype than that of
                the frame before starts anew.
            stamp_ns: when it was taken; 0 where that is not known.

        Raises:
            InputError: see `ThermalConfig.check`.
        """
        if self._kind != (thermal.shape, thermal.dtype):
            self.config.check(thermal)
            self.reset()
            self._kind = (thermal.shape, thermal.dtype)
        before, state = self._state, StreamState.LIVE
        if self.config.smoothing:
            self._state = state = self.watch(thermal, stamp_ns)
            if self.config.repair:
                learn = state is not StreamState.FROZEN
                thermal = self.pixels(thermal, stamp_ns, learn)
        thermal = np.ascontiguousarray(thermal)
        if self.config.mode == "plateau":
            if state is StreamState.LIVE:
                self.tone.update(thermal, stamp_ns, corrected=before is not state)
            full = np.iinfo(thermal.dtype).max
            return ThermalFrame(self.tone.apply(thermal), np.array((0, full), np.float32), state)
        if state is StreamState.LIVE:
            self._range = self.gain.update(thermal, stamp_ns, corrected=before is not state)
        return ThermalFrame(thermal, self._range.copy(), state)
