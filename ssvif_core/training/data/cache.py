"""The disk cache of training pairs, for more pairs than the memory can hold."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssvif_core.cameras.model import CameraPair
from ssvif_core.errors import InputError
from ssvif_core.files import fingerprint, write_atomically
from ssvif_core.recordings.sources import PairSource
from ssvif_core.training.data.crops import GreyPair

CACHES = ("ram", "disk", "none")
CACHE_VERSION = 2  # part of every file name; raise it when the pixels of cached pairs change


@dataclass(frozen=True)
class CachedPair:
    """The two .npy files of a pair."""

    visible: Path
    thermal: Path

    @classmethod
    def of(
        cls, source: PairSource, folder: Path, calibration: CameraPair | None = None
    ) -> CachedPair:
        """The files of a source.

        Their names depend on path, time and size of its files, and on the calibration.
        """
        stream = source.bag
        bag = stream and (*stream.topics, stream.slop_ns, stream.offset_ns)
        facts: list[object] = [
            fingerprint(source.visible),
            fingerprint(source.thermal),
            source.frame,
            bag,
        ]
        if calibration is not None:
            facts.append(repr(calibration))
        digest = hashlib.sha256(repr((CACHE_VERSION, facts)).encode()).hexdigest()[:32]
        return cls(folder / f"{digest}_visible.npy", folder / f"{digest}_thermal.npy")

    def exists(self) -> bool:
        """Whether both files exist."""
        return self.visible.is_file() and self.thermal.is_file()

    def save(self, pair: GreyPair) -> None:
        """Write both files.

        Raises:
            OSError: the disk is full or not writable.
        """
        for path, image in zip((self.visible, self.thermal), pair, strict=True):
            # np.save to a file does not always report a full disk.
            data = io.BytesIO()
            np.save(data, image)
            write_atomically(path, data.getvalue())

    def load(self) -> GreyPair:
        """Map both files into memory.

        Raises:
            InputError: a file is damaged or missing.
        """
        try:
            visible, thermal = (
                np.load(path, mmap_mode="r") for path in (self.visible, self.thermal)
            )
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.visible.parent}: the cache changed during the run ({error}); run the "
                "command again"
            ) from error
        return visible, thermal
