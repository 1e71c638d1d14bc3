"""Videos and a contact sheet from the recorded outputs of the node."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track
from rosbags.image import message_to_cvimage

from ssvif_core.errors import InputError
from ssvif_core.recordings.bags import Bag, Message, decode
from ssvif_core.recordings.decode import thermal_image
from ssvif_core.recordings.video import VideoWriter
from ssvif_core.thermal import ThermalGain, to_grey
from ssvif_core.types import UInt8Array, stamp_of
from ssvif_ros.node.messages import visible_array
from ssvif_ros.replay.replay import FUSED, OVERLAY

MOMENTS = 6  # rows of the contact sheet
Row = dict[str, UInt8Array]  # topic -> picture


def make_pictures(
    bag: Path, visible: str, thermal: str, recording: Path, out: Path, console: Console
) -> None:
    """Write `fused.mp4`, `overlay.mp4` and `contact_sheet.png`.

    Args:
        bag: what was played. visible, thermal: its topics.
        recording: bag of the node's outputs.
    """
    with Bag(recording) as outputs:
        stamps = sorted({stamp_of(decode(m).header) for m in outputs.messages([OVERLAY])})
        period_ns = float(np.median(np.diff(stamps))) if len(stamps) > 1 else 1e9 / 30
        chosen = [stamps[int((i + 0.5) * len(stamps) / MOMENTS)] for i in range(MOMENTS)]
        sheet: dict[int, Row] = {stamp: {} for stamp in chosen}
        for topic, name in ((FUSED, "fused.mp4"), (OVERLAY, "overlay.mp4")):
            messages = track(
                outputs.messages([topic]), f"writing {name}", len(stamps), console=console
            )
            with VideoWriter(out / name, 1e9 / period_ns) as video:
                for message in messages:
                    image = decode(message)
                    picture = np.asarray(message_to_cvimage(image, "bgr8"), np.uint8)
                    video.write(picture)
                    stamp = stamp_of(image.header)
                    if stamp in sheet:
                        sheet[stamp][topic] = picture
    _add_sources(bag, visible, thermal, sheet)
    columns = (visible, thermal, FUSED, OVERLAY)
    rows = [[row[topic] for topic in columns] for row in sheet.values() if len(row) == 4]
    cv2.imwrite(str(out / "contact_sheet.png"), contact_sheet(rows))


def _add_sources(bag: Path, visible: str, thermal: str, sheet: dict[int, Row]) -> None:
    """Add to each moment its visible image and the nearest thermal one."""
    gain = ThermalGain()
    distances_ns = dict.fromkeys(sheet, 10**18)

    def add(message: Message) -> None:
        image = decode(message)
        stamp = stamp_of(image.header)
        if message.topic == visible:
            if stamp in sheet:
                sheet[stamp].setdefault(visible, visible_array(image))
            return
        counts = thermal_image(image)
        shown = gain.update(counts, stamp)  # for every frame: it is smoothed over time
        for moment, row in sheet.items():
            if abs(stamp - moment) < distances_ns[moment]:
                distances_ns[moment] = abs(stamp - moment)
                grey = to_grey(counts, shown, *counts.shape)
                row[thermal] = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)

    with Bag(bag) as played:
        for message in played.messages([visible, thermal]):
            with suppress(InputError):  # the node leaves damaged messages out too
                add(message)


def contact_sheet(
    rows: list[list[UInt8Array]],
    titles: tuple[str, ...] = ("visible", "thermal", "fused", "overlay"),
    width: int = 480,
) -> UInt8Array:
    """Pictures in rows under titles, (H, W, 3); all get the shape of the first picture.

    Raises:
        InputError: there are no pictures.
    """
    if not rows:
        raise InputError("nothing was recorded, so there is nothing to show")
    height = round(width * rows[0][0].shape[0] / rows[0][0].shape[1])
    header = np.full((40, width * len(titles), 3), 255, np.uint8)
    for column, title in enumerate(titles):
        place = (column * width + 10, 28)
        cv2.putText(header, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 0, 0), 1, cv2.LINE_AA)
    strips = [
        np.hstack([
            cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA) for picture in row
        ])
        for row in rows
    ]  # fmt: skip
    return np.vstack([header, *strips])
