"""Pairs in bags: which topics are visible and thermal, which images belong together, and them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.image import message_to_cvimage

from ssvif_core.cameras.camera_info import camera_of, info_topic, is_rectified
from ssvif_core.cameras.model import Camera
from ssvif_core.errors import InputError
from ssvif_core.files import fingerprint
from ssvif_core.recordings import words
from ssvif_core.recordings.bags import (
    COMPRESSED_TYPE,
    IMAGE_TYPE,
    THERMAL_TOPIC,
    VISIBLE_TOPIC,
    Bag,
    Message,
    decode,
    header_stamp,
)
from ssvif_core.types import Pair

SLOP = 20_000_000  # ns; the node's default
GAP = 1_000_000_000  # ns; parts of a bag that are nearer to each other are read in one go


@dataclass(frozen=True)
class BagMatch:
    """Two images of a bag that belong together.

    visible_stamp, thermal_stamp: stamps of their headers, ns; where a driver leaves 0, the time of
        recording.
    visible_time, thermal_time: when they were recorded, ns.
    visible_number, thermal_number: which image of its topic each is, from 0.
    """

    visible_stamp: int
    thermal_stamp: int
    visible_time: int
    thermal_time: int
    visible_number: int
    thermal_number: int


def choose_topics(bag: Bag, topics: tuple[str, str] | None = None) -> tuple[str, str]:
    """The visible and the thermal topic of an open bag: those given, or the only likely ones.

    Raises:
        InputError: a topic is not there, or several are likely; lists the bag's image topics.
    """
    if topics is not None:
        bag.require(*topics)
        return topics
    images = [topic for topic in bag.topics() if topic.type in (IMAGE_TYPE, COMPRESSED_TYPE)]
    if {VISIBLE_TOPIC, THERMAL_TOPIC} <= {topic.name for topic in images}:
        return VISIBLE_TOPIC, THERMAL_TOPIC
    chosen = []
    for modality, other, encodings in (
        (words.VISIBLE, words.THERMAL, ("bgr", "rgb", "bayer", "yuv", "uyvy", "yuyv", "8UC3")),
        (words.THERMAL, words.VISIBLE, ("mono", "8UC1", "16UC1")),
    ):
        likely = [t for t in images if modality.search(t.name)] or [
            t
            for t in images
            if not other.search(t.name) and t.frames.rpartition(" ")[2].startswith(encodings)
        ]
        chosen += [topic.name for topic in likely] if len(likely) == 1 else []
    if len(chosen) != 2 or chosen[0] == chosen[1]:
        there = ", ".join(f"{t.name} ({t.frames or t.type})" for t in images) or "none"
        raise InputError(
            f"{bag.path}: which topics are visible and thermal can be told neither from their "
            "names nor from their encodings; name both (--visible and --thermal, or `topics` of a "
            f"training); the bag's image topics: {there}"
        )
    return chosen[0], chosen[1]


def synchronised(
    bag: Bag, topics: tuple[str, str], slop: int = SLOP, offset: int = 0
) -> list[BagMatch]:
    """Which images of the visible and the thermal topic belong together, in order of the visible.

    Two images do if each is the other's nearest in time, and they are less than `slop` (ns) apart,
    once `offset` (ns) is added to the thermal stamps.

    Raises:
        InputError: a topic is not there or not of images, or the bag breaks off.
    """
    visible, thermal = _times(bag, topics)
    if not (len(visible) and len(thermal)):
        return []
    meant = thermal[:, 0] + offset
    to_thermal = _nearest(visible[:, 0], meant)
    to_visible = _nearest(meant, visible[:, 0])
    pairs = []
    for number, partner in enumerate(to_thermal.tolist()):
        stamps = int(visible[number, 0]), int(thermal[partner, 0])
        if to_visible[partner] == number and abs(stamps[0] - stamps[1] - offset) < slop:
            times = int(visible[number, 1]), int(thermal[partner, 1])
            pairs.append(BagMatch(*stamps, *times, number, partner))
    return pairs


def bag_pairs(
    path: Path,
    topics: tuple[str, str],
    frames: Collection[int],
    slop: int = SLOP,
    recover: bool = False,
    offset: int = 0,
) -> Iterator[tuple[int, Pair | InputError]]:
    """The synchronised pairs of a bag whose numbers are in `frames`, in order of number.

    In place of a pair whose images are of no use comes the error that says why.

    Images are read only of the parts of the bag where these pairs lie. Pairs are stamped as
    `BagMatch` says.

    Args:
        slop, recover, offset: what the pairs were numbered with; see `synchronised` and `Bag`.

    Raises:
        InputError: the bag breaks off.
    """
    with Bag(path, recover) as bag:
        wanted = {
            number: pair
            for number, pair in enumerate(synchronised(bag, topics, slop, offset))
            if number in frames
        }
        for part in _parts(wanted):
            yield from _read(bag, topics, part)


def bag_images(
    path: Path, topic: str, thermal: bool, recover: bool = False
) -> Iterator[tuple[int, np.ndarray]]:
    """Every image of a topic with its stamp (ns): BGR, (H, W, 3) uint8, or if thermal counts.

    Raises:
        InputError: the topic is not there, or an image cannot be read.
    """
    with Bag(path, recover) as bag:
        bag.require(topic)
        for message in bag.messages((topic,)):
            yield header_stamp(message) or message.time, _image(message, thermal)


def bag_cameras(
    path: Path, topics: tuple[str, str], recover: bool = False
) -> tuple[Camera | None, Camera | None]:
    """What the first CameraInfo beside each of the image topics says; None where there is none.

    Raises:
        InputError: what one says cannot be.
    """
    names = [info_topic(topic) for topic in topics]
    found: dict[str, Any] = {}
    with Bag(path, recover) as bag:
        there = {topic.name for topic in bag.topics()} & set(names)
        for message in bag.messages(tuple(there)) if there else ():
            found.setdefault(message.topic, decode(message))
            if len(found) == len(there):
                break
    visible, thermal = (
        camera_of(found[name], modality, is_rectified(topic)) if name in found else None
        for name, topic, modality in zip(names, topics, ("visible", "thermal"), strict=True)
    )
    return visible, thermal


def _read(
    bag: Bag, topics: tuple[str, str], wanted: dict[int, BagMatch]
) -> Iterator[tuple[int, Pair | InputError]]:
    """Pairs that lie near each other in a bag, by number."""
    recorded = [time for pair in wanted.values() for time in (pair.visible_time, pair.thermal_time)]
    start, stop = min(recorded), max(recorded) + 1
    # The n-th image that is read of a topic is the n-th of those recorded in this time.
    numbers = {
        topic: iter(np.flatnonzero((start <= times[:, 1]) & (times[:, 1] < stop)).tolist())
        for topic, times in zip(topics, _times(bag, topics), strict=True)
    }
    needed = {(topics[0], pair.visible_number) for pair in wanted.values()}
    needed |= {(topics[1], pair.thermal_number) for pair in wanted.values()}
    waiting = list(wanted.items())[::-1]
    held: dict[tuple[str, int], Message] = {}
    for message in bag.messages(topics, start, stop):
        image = message.topic, next(numbers[message.topic], None)
        if image not in needed:
            continue
        held[image] = message
        while waiting:
            number, pair = waiting[-1]
            images = (topics[0], pair.visible_number), (topics[1], pair.thermal_number)
            if not (images[0] in held and images[1] in held):
                break
            waiting.pop()
            yield number, _decoded(pair, held.pop(images[0]), held.pop(images[1]))


def _decoded(pair: BagMatch, visible: Message, thermal: Message) -> Pair | InputError:
    try:
        return Pair(
            _image(visible, thermal=False),
            _image(thermal, thermal=True),
            pair.visible_stamp,
            pair.thermal_stamp,
        )
    except InputError as error:
        return error


def _parts(wanted: dict[int, BagMatch]) -> list[dict[int, BagMatch]]:
    """The pairs cut into parts that were recorded more than GAP apart."""
    parts: list[dict[int, BagMatch]] = []
    last = 0
    for number, pair in wanted.items():
        times = pair.visible_time, pair.thermal_time
        if not parts or min(times) - last > GAP:
            parts.append({})
        parts[-1][number] = pair
        last = max(times)
    return parts


_known: dict[tuple[object, ...], tuple[np.ndarray, np.ndarray]] = {}


def _times(bag: Bag, topics: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Stamp and time of recording (ns) of all visible and all thermal images, (n, 2) int64 each.

    That takes reading the whole bag, so it is remembered: a long bag is read in many short parts.
    """
    key = (fingerprint(bag.path), topics)
    known = _known.get(key)
    if known is None:
        bag.require(*topics)
        times: dict[str, list[tuple[int, int]]] = {topic: [] for topic in topics}
        for message in bag.messages(topics):
            if message.type not in (IMAGE_TYPE, COMPRESSED_TYPE):
                raise InputError(
                    f"{bag.path}: topic {message.topic} is of type {message.type}; expected "
                    f"{IMAGE_TYPE} or {COMPRESSED_TYPE}; are the topics right?"
                )
            # Some drivers leave the stamp at 0; then the time of recording must do.
            times[message.topic].append((header_stamp(message) or message.time, message.time))
        visible, thermal = (np.array(times[topic], np.int64).reshape(-1, 2) for topic in topics)
        if len(_known) >= 16:
            _known.clear()
        known = _known[key] = visible, thermal
    return known


def _nearest(times: np.ndarray, among: np.ndarray) -> np.ndarray:
    """For each of `times`, (n,), the index of the nearest of `among`, (m,) with m > 0."""
    order = np.argsort(among, kind="stable")
    ordered = among[order]
    after = np.searchsorted(ordered, times).clip(max=len(among) - 1)
    before = (after - 1).clip(min=0)
    return order[np.where(times - ordered[before] <= ordered[after] - times, before, after)]


def _image(message: Message, thermal: bool) -> np.ndarray:
    """A recorded image as BGR, (H, W, 3) uint8, or if thermal as counts, (h, w)."""
    try:
        image = decode(message)
        if message.type == COMPRESSED_TYPE:
            grey = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_GRAYSCALE
            pixels = cv2.imdecode(image.data, grey if thermal else cv2.IMREAD_COLOR)
            if pixels is None:
                raise ValueError(f"format '{image.format}' cannot be decoded")
            return pixels
        # The converter knows no padding of rows, which is always less than a byte a pixel.
        row = image.width * (image.step // image.width)
        image.data = np.ascontiguousarray(image.data.reshape(image.height, image.step)[:, :row])
        pixels = np.asarray(message_to_cvimage(image, None if thermal else "bgr8"))
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY) if thermal and pixels.ndim == 3 else pixels
    except Exception as error:  # a message that is filled wrongly fails in many ways
        kind = "thermal" if thermal else "visible"
        raise InputError(
            f"{message.topic}: cannot be read as {kind} images ({error}); are the topics right?"
        ) from error
