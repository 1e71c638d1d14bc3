"""The frames of one thermal camera, one after another -> counts, thermal range and state."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssvif_core.errors import InputError
from ssvif_core.thermal.doubt import SATURATED, has_swapped_bytes, impossible_scale, saturation
from ssvif_core.thermal.gain import NARROWEST, PlateauTone, ThermalGain, is_range
from ssvif_core.thermal.repair import DeadPixels
from ssvif_core.thermal.shutter import ShutterWatch, StreamState
from ssvif_core.types import AnyArray, Float32Array

DOUBT_EVERY = 30  # frames
MODES = ("auto", "percentile", "plateau", "temperature")


@dataclass(frozen=True)
class ThermalConfig:
    """How thermal counts are shown.

    Raises:
        InputError: a value is invalid.
    """

    # auto: 8-bit frames unchanged, others as in percentile. percentile: the range between two
    # percentiles. plateau: a tone curve by plateau equalisation. temperature: a fixed range.
    mode: str = "auto"
    # Counts shown as black and as white, for auto and percentile; None follows the scene.
    limits: tuple[float, float] | None = None
    percentiles: tuple[float, float] = (0.5, 99.5)
    # Black lies at most this many times as far below the median as white lies above it.
    depth: float = 0.6
    # 0 treats each frame alone, for unrelated images. It also turns off repair and state, which
    # need earlier frames.
    smoothing: float = 0.9
    # Largest share of the pixels that counts in one of 256 bins of the histogram.
    plateau: float = 0.008
    # degC shown as black and as white, and the camera's degC = offset + scale * count. The
    # defaults fit FLIR's 14-bit cameras in their fine resolution, 0.04 K.
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
                f"thermal limits {self.limits} with mode {self.mode}; expected no limits, because "
                "this mode sets its own range; remove the limits or use mode percentile"
            )
        if not is_range(self.temperatures):
            raise InputError(
                f"thermal temperatures {self.temperatures}; expected (black, white) in degC, "
                "black < white, such as (0, 40)"
            )
        if not 0 < self.scale < math.inf or not math.isfinite(self.offset):
            raise InputError(
                f"thermal scale {self.scale}, offset {self.offset}; expected kelvin per count, "
                "above 0, and degC at count 0; look them up in the camera's manual"
            )
        PlateauTone(self.gain(), self.plateau, self.depth)  # checks the other values

    def gain(self) -> ThermalGain:
        """A new gain with these settings."""
        return ThermalGain(
            self._counts() if self.mode == "temperature" else self.limits,
            self.percentiles,
            self.smoothing,
            None if self.mode == "plateau" else self.depth,
            stretch_8_bit=self.mode != "auto",
        )

    def check(self, thermal: AnyArray) -> None:
        """Check that an array is a thermal image and that its counts fit the settings.

        Raises:
            InputError: it is not (h, w) uint8 or uint16, or mode temperature cannot show it.
        """
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
                    "offset of the camera, or use another mode if it is not radiometric"
                )

    def _counts(self) -> tuple[float, float]:
        black, white = self.temperatures
        return (black - self.offset) / self.scale, (white - self.offset) / self.scale


@dataclass(frozen=True)
class ThermalFrame:
    """A thermal image, its range and its state.

    thermal: (h, w), contiguous, same dtype as the input: counts without dead pixels. With mode
        plateau it has the levels of the tone curve, over the full range of the type. May be the
        input array itself.
    range: (2,) float32, the counts (or levels) shown as black and as white; grey is linear
        between them.
    state: whether the frame shows the present.
    """

    thermal: AnyArray
    range: Float32Array
    state: StreamState


class ThermalStream:
    """Processes the frames of one thermal camera; not thread-safe.

    The range does not change while the stream is frozen or the shutter is closed.

    Attributes:
        doubt: a sentence that says why the images cannot be right; empty if they can. It is found
            anew at every 30th frame.
        saturated: share of the pixels at the largest count that the camera has, likewise.

    >>> frame = ThermalStream()(np.full((8, 8), 7300, np.uint16))
    >>> frame.range, str(frame.state)
    (array([7268., 7332.], dtype=float32), 'live')
    """

    def __init__(self, config: ThermalConfig | None = None) -> None:
        self.config = config = config or ThermalConfig()
        self.gain = config.gain()
        self.tone = PlateauTone(self.gain, config.plateau, config.depth)
        self.pixels, self.watch = DeadPixels(), ShutterWatch()
        self._format: tuple[tuple[int, ...], np.dtype[Any]] | None = None
        self._state = StreamState.LIVE  # of the previous frame
        self.doubt, self.saturated = "", 0.0
        self._count = 0

    def reset(self) -> None:
        """Forget the past, including dead pixels."""
        self.tone.reset()  # also resets the gain
        self.pixels.reset()
        self.watch.reset()
        self._format, self._state = None, StreamState.LIVE

    def __call__(self, thermal: AnyArray, stamp_ns: int = 0) -> ThermalFrame:
        """Process the next frame.

        Args:
            thermal: (h, w) uint8 or uint16, never changed. A new size or dtype starts anew.
            stamp_ns: time of the frame; 0 if unknown.

        Raises:
            InputError: see `ThermalConfig.check`.
        """
        if self._format != (thermal.shape, thermal.dtype):
            self.config.check(thermal)
            self.reset()
            self._format = (thermal.shape, thermal.dtype)
        if self._count % DOUBT_EVERY == 0:
            self.doubt = self._doubt(thermal)
        self._count += 1
        previous, state = self._state, StreamState.LIVE
        if self.config.smoothing:
            self._state = state = self.watch(thermal, stamp_ns)
            if self.config.repair:
                learn = state is not StreamState.FROZEN
                thermal = self.pixels(thermal, stamp_ns, learn)
        thermal = np.ascontiguousarray(thermal)
        if self.config.mode == "plateau":
            if state is StreamState.LIVE:
                self.tone.update(thermal, stamp_ns, corrected=previous is not state)
            full = np.iinfo(thermal.dtype).max
            return ThermalFrame(self.tone.apply(thermal), np.array((0, full), np.float32), state)
        if state is StreamState.LIVE:
            self._range = self.gain.update(thermal, stamp_ns, corrected=previous is not state)
        return ThermalFrame(thermal, self._range.copy(), state)

    def _doubt(self, thermal: AnyArray) -> str:
        self.saturated, largest = saturation(thermal)
        if has_swapped_bytes(thermal):
            return (
                "thermal images are noise, and smooth with swapped bytes; is_bigendian of the "
                "driver is wrong"
            )
        if self.config.mode == "temperature":
            doubt = impossible_scale(thermal, self.config.scale, self.config.offset)
            if doubt:
                return doubt
        if self.saturated > SATURATED:
            return (
                f"{100 * self.saturated:.0f} % of the thermal image is at the camera's largest "
                f"count ({largest}), so hot things cannot be told apart; set the camera to its "
                "gain mode for hot scenes"
            )
        return ""
