"""What a bag's cameras really send, in plain words, before anything is fused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ssvif_core.cameras.model import Camera
from ssvif_core.errors import InputError
from ssvif_core.recordings.bag_pairs import bag_cameras, choose_topics, clock_offset_s
from ssvif_core.recordings.bags import (
    COMPRESSED_TYPE,
    IMAGE_TYPE,
    Bag,
    decode,
    header_stamp,
    stamp_or_time,
)
from ssvif_core.recordings.decode import sixteen_bits, thermal_image, visible_image
from ssvif_core.recordings.encodings import encoding_of
from ssvif_core.recordings.missing_images import MissingImages
from ssvif_core.recordings.pixels import BitDepth
from ssvif_core.recordings.time_pairing import SLOP_NS, mutual_pairs
from ssvif_core.recordings.to_colour import to_colour
from ssvif_core.thermal.doubt import has_swapped_bytes
from ssvif_core.types import AnyArray, Int64Array

LOOKED_AT = 20  # images of each camera whose content is looked at
DRIFT = 2e-4  # seconds in a second; half a pair's slop after 50 s
JITTER = 0.2  # of a period; above, stamps are uneven


@dataclass
class StreamReport:
    """What one camera sends.

    Attributes:
        topic: its name. what: size and encoding, in words. rate_hz: by its stamps.
        stamps_ns: of all images, (n,). times_ns: when they were recorded, (n,).
        unset: images whose stamp is not set.
        problems: what is wrong, and what to do.
    """

    topic: str
    what: str = ""
    unset: int = 0
    rate_hz: float = 0.0
    stamps_ns: Int64Array = field(default_factory=lambda: np.empty(0, np.int64))
    times_ns: Int64Array = field(default_factory=lambda: np.empty(0, np.int64))
    problems: list[str] = field(default_factory=list)


@dataclass
class BagReport:
    """What `inspect` finds.

    Attributes:
        visible, thermal: the two streams.
        pairs: visible images with a thermal one within the slop.
        cameras: of the recorded camera_info of each stream; None if there is none.
        problems: of the bag as a whole.
        parameters: of the node that this bag needs, by name.
    """

    visible: StreamReport
    thermal: StreamReport
    pairs: int
    cameras: tuple[Camera | None, Camera | None]
    problems: list[str]
    parameters: dict[str, object]

    @property
    def launch_line(self) -> str:
        """The command that fuses these topics on a robot."""
        line = (
            f"ros2 launch ssvif_ros fusion.launch.py visible_image:={self.visible.topic} "
            f"thermal_image:={self.thermal.topic}"
        )
        return f"{line} config_file:=my.yaml" if self.parameters else line

    @property
    def is_usable(self) -> bool:
        """Whether the node can fuse it as it is."""
        streams = (self.visible, self.thermal)
        can_read = all(stream.what and not stream.unset for stream in streams)
        return can_read and self.pairs > 0 and not self.parameters


def inspect(path: Path, topics: tuple[str, str] | None = None, slop_ns: int = SLOP_NS) -> BagReport:
    """Look at the images of a bag.

    Raises:
        InputError: the bag cannot be read, or its topics cannot be told apart.
    """
    problems = []
    with Bag(path, recover=True) as bag:
        topics = choose_topics(bag, topics)
        types = {topic.name: topic.type for topic in bag.topics()}
        for topic in topics:
            if types[topic] not in (IMAGE_TYPE, COMPRESSED_TYPE):
                raise InputError(
                    f"{path}: topic {topic} is of type {types[topic]}; expected {IMAGE_TYPE} or "
                    f"{COMPRESSED_TYPE}"
                )
        visible, thermal = (_stream(bag, topic, topic == topics[1]) for topic in topics)
        if bag.broken:
            problems.append(bag.broken)
    parameters: dict[str, object] = {}
    offset_ns = 0
    pairs = mutual_pairs(visible.stamps_ns, thermal.stamps_ns, slop_ns)
    if not pairs and len(visible.stamps_ns) and len(thermal.stamps_ns):
        offset_s = clock_offset_s(*(
            np.stack([s.stamps_ns, s.times_ns], 1) for s in (visible, thermal)
        ))  # fmt: skip
        if abs(offset_s) * 1e9 >= slop_ns:
            offset_ns = round(offset_s * 1e9)
            parameters["thermal_time_offset"] = round(offset_s, 3)
            side = "behind" if offset_s > 0 else "ahead of"
            problems.append(
                f"thermal stamps are {abs(offset_s):.3f} s {side} the visible ones; let both "
                "drivers stamp with one clock, or set thermal_time_offset"
            )
            pairs = mutual_pairs(visible.stamps_ns, thermal.stamps_ns, slop_ns, offset_ns)
    if not pairs:
        parameters["pairing"] = "visible_rate"
        problems.append(
            f"no stamps are within {slop_ns * 1e-6:.0f} ms; the cameras run at different times, "
            "so use pairing: visible_rate, or a larger slop"
        )
    drift = _drift(visible, thermal)
    if abs(drift) > DRIFT:
        problems.append(
            f"the clocks drift apart by {1000 * drift:.2f} ms in a second; let both drivers stamp "
            "with one clock (PTP, or the time of arrival)"
        )
    elif pairs and len(pairs) < 0.8 * min(len(visible.stamps_ns), len(thermal.stamps_ns)):
        problems.append(
            f"only {len(pairs)} pairs of {len(visible.stamps_ns)} visible and "
            f"{len(thermal.stamps_ns)} thermal images; do the cameras run at different rates?"
        )
    try:
        cameras = bag_cameras(path, topics, recover=True)
    except InputError as error:
        cameras = (None, None)
        problems.append(str(error))
    return BagReport(visible, thermal, len(pairs), cameras, problems, parameters)


def _drift(visible: StreamReport, thermal: StreamReport) -> float:
    """Seconds by which thermal stamps gain on visible ones in a second, by the recorder's clock."""
    slopes = []
    for stream in (visible, thermal):
        times_s = (stream.times_ns - stream.times_ns[:1]) * 1e-9
        if len(times_s) < 10 or times_s[-1] < 1 or stream.unset:
            return 0.0
        lags_s = (stream.stamps_ns - stream.times_ns) * 1e-9
        # The middle of both halves: a few late messages do not matter.
        half = len(times_s) // 2
        run = np.median(times_s[half:]) - np.median(times_s[:half])
        slopes.append(float((np.median(lags_s[half:]) - np.median(lags_s[:half])) / run))
    return slopes[1] - slopes[0]


def _stream(bag: Bag, topic: str, thermal: bool) -> StreamReport:
    report = StreamReport(topic)
    stamps, times, looked_at = [], [], _Look(report, thermal)
    for message in bag.messages((topic,)):
        stamps.append(stamp_or_time(message))
        times.append(message.time)
        try:
            report.unset += header_stamp(message) <= 0
            if len(stamps) <= LOOKED_AT:
                looked_at.take(decode(message), message.type == COMPRESSED_TYPE)
        except Exception as error:  # a message with wrong content fails in many ways
            looked_at.refuse(str(error) or type(error).__name__)
    report.stamps_ns, report.times_ns = np.array(stamps, np.int64), np.array(times, np.int64)
    looked_at.conclude()
    if report.unset:
        report.problems.append(
            f"{report.unset} of {len(stamps)} stamps are not set; the time of recording is taken "
            "instead. A live node cannot do that: let the driver set the stamps"
        )
    steps = np.diff(report.stamps_ns)
    if (steps < 0).any():
        report.problems.append(f"stamps go back {int((steps < 0).sum())} times")
    missing = MissingImages()
    for stamp in np.sort(report.stamps_ns).tolist():
        missing.note(stamp)
    steps = steps[steps > 0]
    if len(steps):
        period = float(np.median(steps))
        report.rate_hz = 1e9 / period
        if missing.count > 0.02 * len(steps):
            report.problems.append(f"some {missing.count} images are missing by their stamps")
        elif float(np.mean(np.abs(steps - period))) > JITTER * period:
            report.problems.append("the stamps are uneven; does the driver stamp on arrival?")
    return report


class _Look:
    """What the first images of a stream show."""

    def __init__(self, report: StreamReport, thermal: bool) -> None:
        self._report, self._thermal = report, thermal
        self._depth = BitDepth()
        self._largest = 0  # value of a 16-bit visible image
        self._low, self._high = np.inf, -np.inf
        self._wrong_order = self._count = self._grey = 0
        self._refused: list[str] = []
        self._is_named_grey = False

    def refuse(self, reason: str) -> None:
        """An image cannot be read."""
        self._refused.append(reason)

    def take(self, image: Any, is_compressed: bool) -> None:
        """Look at an image message.

        Raises:
            InputError: it cannot be read.
        """
        pixels: AnyArray
        if self._thermal:
            pixels = thermal_image(image)
            self._low = min(self._low, float(pixels.min()))
            self._high = max(self._high, float(pixels.max()))
            self._wrong_order += has_swapped_bytes(pixels)
        else:
            pixels = visible_image(image, to_colour, self._depth)
            self._grey += not np.ptp(pixels, axis=2).any()
            values = sixteen_bits(image)
            if values is not None:
                self._largest = max(self._largest, int(values.max()))
        self._count += 1
        if not self._report.what:
            name = image.format if is_compressed else image.encoding
            encoding = encoding_of(name.partition(";")[0].strip())
            self._is_named_grey = encoding is not None and encoding.colours == "mono8"
            self._report.what = f"{pixels.shape[1]}x{pixels.shape[0]} {name}"
            if not is_compressed:
                self._note_padding(image)

    def _note_padding(self, image: Any) -> None:
        encoding = encoding_of(image.encoding)
        padding = image.step - image.width * encoding.pixel_bytes if encoding else 0
        if padding:
            self._report.what += f", {padding} bytes of padding in a row"

    def conclude(self) -> None:
        """Put what was seen into words."""
        report = self._report
        if self._refused:
            report.problems.append(
                f"{len(self._refused)} of the first {len(self._refused) + self._count} images "
                f"cannot be read: {self._refused[0]}"
            )
        if self._largest:
            report.what += f", {self._largest.bit_length()} of 16 bits used"
        if self._thermal and self._count:
            report.what += f", values {self._low:.0f} to {self._high:.0f}"
        is_grey = bool(self._count) and self._grey == self._count
        if is_grey and not self._thermal and not self._is_named_grey:
            report.problems.append(
                "the images are grey, though their encoding has colours; is the camera in a grey "
                "or night mode?"
            )
        if self._wrong_order > self._count / 2:
            report.problems.append(
                "the images are noise as they are and smooth with swapped bytes; is_bigendian of "
                "the driver is wrong"
            )
        if self._thermal and self._count and self._low == self._high:
            report.problems.append("all pixels have one value; is the shutter closed?")
