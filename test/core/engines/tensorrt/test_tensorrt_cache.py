"""The cache of engines: with the real builder of tensorrt_rtx, and with processes on stand-ins."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from build_requests import RANGE, SHAPES, damage_byte, request_of
from gpu_runs import SIZES

from ssvif_core.engines.tensorrt import cache as cache_module
from ssvif_core.engines.tensorrt.cache import EngineCache, EngineKey
from ssvif_core.engines.tensorrt.cuda import Device
from ssvif_core.engines.tensorrt.flavour import Flavour
from ssvif_core.errors import EngineError
from ssvif_core.graph.model_file import DEFAULT_MODEL


def test_an_engine_is_built_once(rtx: Flavour, tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "engines")
    first = cache.build(rtx, request_of())
    written = first.path.stat().st_mtime_ns
    again = EngineCache(tmp_path / "engines").build(rtx, request_of())
    assert again == first and again.path.stat().st_mtime_ns == written
    assert [path for path, _ in cache.entries()] == [first.path]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def lose_sidecar(path: Path) -> None:
    path.with_suffix(".json").unlink()


def change_sidecar(path: Path, **values: object) -> None:
    sidecar = path.with_suffix(".json")
    content = json.loads(sidecar.read_text())
    content["key"] |= values
    sidecar.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (damage_byte, "damaged or was replaced"),
        (cut, "damaged or was replaced"),
        (lose_sidecar, "does not describe this engine"),
        (lambda path: path.with_suffix(".json").write_text("{}"), "does not describe this engine"),
        (lambda path: change_sidecar(path, tensorrt="tensorrt 8.6.0"), "built for another key"),
        (lambda path: change_sidecar(path, gpu="another"), "built for another key"),
    ],
)
def test_a_damaged_or_foreign_engine_is_built_again(
    harm: Callable[[Path], None], reason: str, rtx: Flavour, tmp_path: Path, caplog
) -> None:
    cache = EngineCache(tmp_path / "engines")
    good = cache.build(rtx, request_of())
    harm(good.path)
    again = cache.build(rtx, request_of())
    assert reason in caplog.text and "built again" in caplog.text
    assert again.key == good.key and again.read() and cache.find(good.key) == again


def test_the_key_holds_everything_that_an_engine_depends_on(rtx: Flavour, tmp_path: Path) -> None:
    other_model = tmp_path / "model.onnx"
    other_model.write_bytes(DEFAULT_MODEL.read_bytes() + b"\0")
    device = Device("GPU", "8.6")
    request = request_of("fp32")
    keys = [
        EngineKey.of(rtx, request, device),
        EngineKey.of(rtx, replace(request, model=other_model), device),
        EngineKey.of(rtx, replace(request, precision="fp16"), device),
        EngineKey.of(rtx, replace(request, shapes=replace(SHAPES, width=322)), device),
        EngineKey.of(rtx, replace(request, shapes=replace(SHAPES, thermal_bytes=1)), device),
        EngineKey.of(rtx, replace(request, largest=RANGE[2]), device),
        EngineKey.of(rtx, replace(request, hardware_compatible=True), device),
        EngineKey.of(rtx, replace(request, version_compatible=True), device),
        EngineKey.of(replace(rtx, version="1.8"), request, device),
        EngineKey.of(rtx, request, Device("another GPU", "8.6")),
        EngineKey.of(rtx, request, Device("GPU", "8.9")),
    ]
    assert len({key.digest for key in keys}) == len(keys)
    moved = tmp_path / "moved.onnx"  # an engine does not depend on the path of its model
    moved.write_bytes(DEFAULT_MODEL.read_bytes())
    assert EngineKey.of(rtx, replace(request, model=moved), device) == keys[0]


def test_a_full_disk_leaves_the_cache_unchanged(
    rtx: Flavour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = EngineCache(tmp_path / "engines")
    good = cache.build(rtx, request_of())

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(cache_module.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            cache.build(rtx, request_of("int8"))
    assert [path for path, _ in cache.entries()] == [good.path]
    assert not list(cache.folder.glob("*.tmp")) + list(cache.folder.glob(".*.unfinished"))


def test_a_cache_that_other_users_may_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "engines"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(EngineError, match="other users may write to this cache of engines"):
        EngineCache(folder)


@pytest.mark.slow
def test_two_processes_that_start_together_build_once(gpu: dict[str, str], tmp_path: Path) -> None:
    builds = tmp_path / "builds"
    environment = {**gpu, "STANDIN_BUILD_SECONDS": "2", "STANDIN_BUILDS": str(builds)}
    command = [sys.executable, "-m", "ssvif_core.cli", "engine", "build", *SIZES]
    processes = [subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE)
                 for _ in range(2)]  # fmt: skip
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1]
    assert builds.read_text() == "built\n"


def test_a_killed_build_does_not_block_the_next_one(gpu: dict[str, str], tmp_path: Path) -> None:
    builds = tmp_path / "builds"
    command = [sys.executable, "-m", "ssvif_core.engines.tensorrt", str(tmp_path / "engines"),
               "tensorrt", request_of(compute_capability="").as_json()]  # fmt: skip
    environment = {**gpu, "STANDIN_BUILD_SECONDS": "60", "STANDIN_BUILDS": str(builds)}
    first = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 30
    while not builds.is_file() and time.monotonic() < deadline:  # until the build has begun
        time.sleep(0.05)
    assert builds.is_file()
    first.kill()
    first.wait()
    assert subprocess.run(command, env=gpu, timeout=60).returncode == 0
    assert len(list(EngineCache(tmp_path / "engines").entries())) == 1
