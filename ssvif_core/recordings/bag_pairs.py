"""The pairs of a bag: which topics, which messages belong together, and their images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ssvif_core.cameras.camera_info import camera_of, info_topic, is_rectified
from ssvif_core.cameras.model import Camera
from ssvif_core.errors import InputError
from ssvif_core.recordings import words
from ssvif_core.recordings.bags import (
    COMPRESSED_TYPE,
    IMAGE_TYPE,
    THERMAL_TOPIC,
    VISIBLE_TOPIC,
    Bag,
    Message,
    decode,
    stamp_or_time,
)
from ssvif_core.recordings.decode import Crop, Reading, sixteen_bits, thermal_image, visible_image
from ssvif_core.recordings.pixels import BitDepth
from ssvif_core.recordings.time_pairing import SLOP_NS, mutual_pairs
from ssvif_core.recordings.to_colour import to_colour
from ssvif_core.types import AnyArray, Int64Array, Pair

DEPTH_IMAGES = 200  # that tell the bit depth of a camera
GAP_NS = 1_000_000_000  # parts of a bag that are nearer to each other are read together
# Topic, time of recording (ns), and how many images of the topic were recorded at that time before.
ImageKey = tuple[str, int, int]


@dataclass(frozen=True)
class BagMatch:
    """Two images of a bag that belong together.

    Attributes:
        visible_stamp, thermal_stamp: stamps of their headers, ns. If a driver leaves them at 0,
            they are the times of recording.
        visible_time, thermal_time: when they were recorded, ns.
        visible_order, thermal_order: how many images of the same topic were recorded at the same
            time before.
    """

    visible_stamp: int
    thermal_stamp: int
    visible_time: int
    thermal_time: int
    visible_order: int = 0
    thermal_order: int = 0


@dataclass(frozen=True)
class BagStream:
    """A bag as a stream of pairs.

    Attributes:
        path: of the bag.
        topics: of the visible and the thermal images.
        slop_ns, offset_ns: which images are a pair; see `mutual_pairs`.
        recover: read a bag that was cut off; see `Bag`.
        reading: what must be known of the cameras.
    """

    path: Path
    topics: tuple[str, str]
    slop_ns: int = SLOP_NS
    offset_ns: int = 0
    recover: bool = False
    reading: Reading = Reading()

    def matches(self) -> list[BagMatch]:
        """All pairs, in order of the visible images. This reads the whole bag.

        Raises:
            InputError: see `match_images`.
        """
        with Bag(self.path, self.recover) as bag:
            return match_images(bag, self.topics, self.slop_ns, self.offset_ns)

    def pairs(self, matches: Mapping[int, BagMatch]) -> Iterator[tuple[int, Pair | InputError]]:
        """The images of matches, in order of their numbers.

        A pair whose images cannot be used is replaced by the error that says why. Only the parts
        of the bag that hold these pairs are read.

        Args:
            matches: by number, some of what `matches` gives.

        Raises:
            InputError: the bag breaks off.
        """
        with Bag(self.path, self.recover) as bag:
            depth = _depth_of(bag, self.topics[0], self.reading.visible_bits)
            images = _Images(depth, self.reading.thermal_crop)
            for part in _parts(dict(sorted(matches.items()))):
                yield from _read_part(bag, self.topics, part, images)

    def numbered(self, numbers: Collection[int]) -> Iterator[tuple[int, Pair | InputError]]:
        """The pairs whose numbers are in `numbers`. This reads the whole bag for their matches."""
        matches = enumerate(self.matches())
        return self.pairs({number: match for number, match in matches if number in numbers})


def choose_topics(bag: Bag, topics: tuple[str, str] | None = None) -> tuple[str, str]:
    """The visible and the thermal topic of an open bag: those given, or the only likely ones.

    Raises:
        InputError: a topic is missing, or several are likely; lists the bag's image topics.
    """
    if topics is not None:
        bag.require(*topics)
        if topics[0] == topics[1]:
            raise InputError(
                f"{topics[0]} is given as the visible and as the thermal topic; expected two topics"
            )
        return topics
    images = [topic for topic in bag.topics() if topic.type in (IMAGE_TYPE, COMPRESSED_TYPE)]
    if {VISIBLE_TOPIC, THERMAL_TOPIC} <= {topic.name for topic in images}:
        return VISIBLE_TOPIC, THERMAL_TOPIC
    chosen = []
    for modality, other, encodings in (
        (words.VISIBLE, words.THERMAL, ("bgr", "rgb", "bayer", "yuv", "uyvy", "yuyv", "8UC3")),
        (words.THERMAL, words.VISIBLE, ("mono", "8UC1", "16UC1")),
    ):
        likely = [topic for topic in images if modality.search(topic.name)] or [
            topic
            for topic in images
            if not other.search(topic.name)
            and topic.frames.rpartition(" ")[2].startswith(encodings)
        ]
        chosen += [topic.name for topic in likely] if len(likely) == 1 else []
    if len(chosen) != 2 or chosen[0] == chosen[1]:
        names = ", ".join(f"{topic.name} ({topic.frames or topic.type})" for topic in images)
        raise InputError(
            f"{bag.path}: neither names nor encodings say which topics are visible and thermal; "
            "name both (--visible and --thermal, or `topics` of a training); the bag's image "
            f"topics: {names or 'none'}"
        )
    return chosen[0], chosen[1]


def match_images(
    bag: Bag, topics: tuple[str, str], slop_ns: int = SLOP_NS, offset_ns: int = 0
) -> list[BagMatch]:
    """Which images of an open bag belong together, in order of the visible ones.

    Args:
        slop_ns, offset_ns: see `mutual_pairs`.

    Raises:
        InputError: a topic is missing, no image has a partner (says how far the clocks are
            apart), or the bag breaks off.
    """
    visible, thermal = _recorded(bag, topics)
    matches = mutual_pairs(visible[:, 0], thermal[:, 0], slop_ns, offset_ns)
    if not matches:
        raise InputError(f"{bag.path}: {_why_no_pair(topics, visible, thermal, slop_ns)}")
    orders = [_orders(images[:, 1]) for images in (visible, thermal)]
    return [
        BagMatch(
            int(visible[v, 0]), int(thermal[t, 0]), int(visible[v, 1]), int(thermal[t, 1]),
            orders[0][v], orders[1][t],
        )
        for v, t in matches
    ]  # fmt: skip


def bag_images(
    path: Path, topic: str, thermal: bool, recover: bool = False
) -> Iterator[tuple[int, AnyArray]]:
    """Every image of a topic with its stamp (ns).

    Args:
        thermal: read counts, (h, w); otherwise BGR, (H, W, 3) uint8.

    Raises:
        InputError: the topic is missing, or an image cannot be read.
    """
    with Bag(path, recover) as bag:
        bag.require(topic)
        images = _Images(BitDepth() if thermal else _depth_of(bag, topic))
        for message in bag.messages((topic,)):
            yield stamp_or_time(message), images.of(message, thermal)


def bag_cameras(
    path: Path, topics: tuple[str, str], recover: bool = False
) -> tuple[Camera | None, Camera | None]:
    """The cameras of the first CameraInfo next to each image topic; None if there is none.

    Raises:
        InputError: a CameraInfo has impossible values.
    """
    names = [info_topic(topic) for topic in topics]
    infos: dict[str, Any] = {}
    with Bag(path, recover) as bag:
        recorded = {topic.name for topic in bag.topics()} & set(names)
        for message in bag.messages(tuple(recorded)) if recorded else ():
            infos.setdefault(message.topic, decode(message))
            if len(infos) == len(recorded):
                break
    visible, thermal = (
        camera_of(infos[name], modality, is_rectified(topic), name) if name in infos else None
        for name, topic, modality in zip(names, topics, ("visible", "thermal"), strict=True)
    )
    return visible, thermal


def _recorded(bag: Bag, topics: tuple[str, str]) -> tuple[Int64Array, Int64Array]:
    """Stamp and time of recording (ns) of all visible and all thermal images, (n, 2) each."""
    bag.require(*topics)
    times: dict[str, list[tuple[int, int]]] = {topic: [] for topic in topics}
    for message in bag.messages(topics):
        if message.type not in (IMAGE_TYPE, COMPRESSED_TYPE):
            raise InputError(
                f"{bag.path}: topic {message.topic} is of type {message.type}; expected "
                f"{IMAGE_TYPE} or {COMPRESSED_TYPE}; are the topics right?"
            )
        times[message.topic].append((stamp_or_time(message), message.time))
    visible, thermal = (np.array(times[topic], np.int64).reshape(-1, 2) for topic in topics)
    return visible, thermal


def _why_no_pair(
    topics: tuple[str, str], visible: Int64Array, thermal: Int64Array, slop_ns: int
) -> str:
    """A sentence that says why no stamps of two topics, (n, 2) each, are near each other."""
    for topic, images in zip(topics, (visible, thermal), strict=True):
        if not len(images):
            return f"{topic} has no images; expected both cameras in the bag"
    sentence = (
        f"no image on {topics[0]} has one on {topics[1]} within {slop_ns * 1e-6:.0f} ms; are the "
        "cameras' clocks the same?"
    )
    offset_s = clock_offset_s(visible, thermal)
    if abs(offset_s) < slop_ns * 1e-9:
        return f"{sentence} Are the cameras slower than that? Then raise the slop"
    return (
        f"{sentence} The thermal stamps are {abs(offset_s):.3f} s "
        f"{'behind' if offset_s > 0 else 'ahead'}: set the thermal time offset to {offset_s:.3f} s "
        "(--thermal-time-offset, or thermal_time_offset of the node)"
    )


def clock_offset_s(visible: Int64Array, thermal: Int64Array) -> float:
    """Seconds to add to thermal stamps so that both clocks agree.

    Images are recorded soon after they are taken, so the time of recording shows how far each
    clock is from the recorder's.

    Args:
        visible, thermal: stamps and times of recording (ns), (n, 2) and (m, 2).
    """
    lags_ns = [float(np.median(images[:, 0] - images[:, 1])) for images in (visible, thermal)]
    return (lags_ns[0] - lags_ns[1]) * 1e-9


def _orders(times: Int64Array) -> list[int]:
    """For each image, how many were recorded at the same time before."""
    before: Counter[int] = Counter()
    orders = []
    for time in times.tolist():
        orders.append(before[time])
        before[time] += 1
    return orders


def _parts(matches: dict[int, BagMatch]) -> list[dict[int, BagMatch]]:
    """The matches in parts that were recorded more than `GAP_NS` apart."""
    parts: list[dict[int, BagMatch]] = []
    last = 0
    for number, match in matches.items():
        times = match.visible_time, match.thermal_time
        if not parts or min(times) - last > GAP_NS:
            parts.append({})
        parts[-1][number] = match
        last = max(times)
    return parts


def _read_part(
    bag: Bag, topics: tuple[str, str], matches: dict[int, BagMatch], images: _Images
) -> Iterator[tuple[int, Pair | InputError]]:
    """Pairs that lie near each other in a bag, by number."""
    keys: dict[int, tuple[ImageKey, ImageKey]] = {
        number: (
            (topics[0], match.visible_time, match.visible_order),
            (topics[1], match.thermal_time, match.thermal_order),
        )
        for number, match in matches.items()
    }
    uses = Counter(key for pair in keys.values() for key in pair)  # two pairs may share an image
    times = [time for _, time, _ in uses]
    waiting = list(matches)[::-1]
    before: Counter[tuple[str, int]] = Counter()
    messages: dict[ImageKey, Message] = {}

    def pair_of(number: int) -> Pair | InputError:
        visible, thermal = (messages.get(key) for key in keys[number])
        uses.subtract(keys[number])
        for done in [key for key in keys[number] if not uses[key]]:
            messages.pop(done, None)
        if visible is None or thermal is None:
            return InputError(
                f"{bag.path}: pair {number} is not in the bag any more; was the bag changed while "
                "it was read?"
            )
        return _decoded(matches[number], visible, thermal, images)

    for message in bag.messages(topics, min(times), max(times) + 1):
        place = message.topic, message.time
        key = (*place, before[place])
        before[place] += 1
        if key not in uses:
            continue
        messages[key] = message
        while waiting and all(key in messages for key in keys[waiting[-1]]):
            number = waiting.pop()
            yield number, pair_of(number)
    for number in reversed(waiting):
        yield number, pair_of(number)


def _decoded(
    match: BagMatch, visible: Message, thermal: Message, images: _Images
) -> Pair | InputError:
    try:
        return Pair(
            images.of(visible, thermal=False),
            images.of(thermal, thermal=True),
            match.visible_stamp,
            match.thermal_stamp,
        )
    except InputError as error:
        return error


def _depth_of(bag: Bag, visible: str, bits: int = 0) -> BitDepth:
    """The bit depth of the visible images, from the first of them.

    So the pairs of a bag are equally bright, whichever of them is read first.
    """
    depth = BitDepth(bits)
    for message in islice(bag.messages((visible,)), DEPTH_IMAGES):
        with suppress(InputError):
            values = sixteen_bits(decode(message))
            if values is None:
                break
            depth.note(values)
    return depth


@dataclass(frozen=True)
class _Images:
    """Reads the image messages of a bag."""

    depth: BitDepth
    crop: Crop | None = None

    def of(self, message: Message, thermal: bool) -> AnyArray:
        """The image of a message.

        Raises:
            InputError: it cannot be read.
        """
        try:
            image = decode(message)
            if thermal:
                pixels = thermal_image(image, self.crop)
            else:
                pixels = visible_image(image, to_colour, self.depth)
            return np.require(pixels, requirements=["W"])  # the bytes of a bag are read-only
        except Exception as error:  # a message with wrong content fails in many ways
            camera = "thermal" if thermal else "visible"
            raise InputError(
                f"{message.topic}: cannot be read as {camera} images ({error}); are the topics "
                "right?"
            ) from error
