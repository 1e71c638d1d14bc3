"""The figures of the diagnostics as a text file for Prometheus.

node_exporter reads it with `--collector.textfile.directory`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssvif_core.errors import InputError


class PrometheusFile:
    """Writes each figure as a gauge, named after its key.

    Raises:
        InputError: the library is missing, or the folder of the file is.
    """

    def __init__(self, path: Path, node: str) -> None:
        try:
            import prometheus_client
        except ImportError as error:
            raise InputError(
                f"prometheus_file needs a library ({error}); run `pip install prometheus-client`"
            ) from error
        if not path.parent.is_dir():
            raise InputError(f"prometheus_file {path}: there is no folder {path.parent}")
        self._client, self._path, self._node = prometheus_client, path, node
        self._registry = prometheus_client.CollectorRegistry()
        self._gauges: dict[str, Any] = {}

    def write(self, values: Mapping[str, object]) -> None:
        """Write those of the values that are numbers.

        Raises:
            OSError: the file cannot be written. The next call tries again.
        """
        for key, value in values.items():
            try:
                number = float(str(value))
            except ValueError:
                continue
            if key not in self._gauges:
                self._gauges[key] = self._client.Gauge(
                    metric_name(key), key, ["node"], registry=self._registry
                )
            self._gauges[key].labels(self._node).set(number)
        self._client.write_to_textfile(str(self._path), self._registry)


def metric_name(key: str) -> str:
    """The name of the metric of a key.

    >>> metric_name("a key, with signs")
    'ssvif_a_key_with_signs'
    """
    return "ssvif_" + re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_")
