"""TensorRT without a GPU: tensorrt_rtx parses and builds for real, ahead of time; what needs a
device runs in processes that find the stand-ins of test/standins."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from ssvif_core.engines import why_not
from ssvif_core.engines.tensorrt import cache as cache_module
from ssvif_core.engines.tensorrt.build import BuildRequest, build, keep_float
from ssvif_core.engines.tensorrt.cache import EngineCache, EngineKey, open_engine, store_engine
from ssvif_core.engines.tensorrt.cuda import Device
from ssvif_core.engines.tensorrt.flavour import Flavour, find_flavour
from ssvif_core.errors import EngineError, InputError, ModelError
from ssvif_core.graph.export import PRECISIONS, export_model
from ssvif_core.graph.model_file import DEFAULT_MODEL, file_of
from ssvif_core.models import Model, ModelConfig
from ssvif_core.types import Pair, Shapes

Run = Callable[..., subprocess.CompletedProcess]
SHAPES = Shapes(240, 320, 128, 160, 2)
RANGE = Shapes(120, 160, 64, 80, 2), SHAPES, Shapes(480, 640, 256, 320, 2)
MODEL = DEFAULT_MODEL.read_bytes()


@pytest.fixture(scope="module")
def rtx() -> Flavour:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx, the builder without a GPU, is absent")
    return find_flavour("tensorrt_rtx")


@pytest.fixture(scope="module")
def size_m(drive_pairs: list[Pair], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of size m, in all precisions."""
    path = tmp_path_factory.mktemp("m") / "m.onnx"
    torch.manual_seed(0)
    export_model(Model(ModelConfig(size="m")).eval(), path, drive_pairs[:2], PRECISIONS,
                 drive_pairs[::4])  # fmt: skip
    return path


def request_of(precision: str = "fp16", **values: object) -> BuildRequest:
    """A request for another GPU than this machine's, which needs none."""
    model = file_of(DEFAULT_MODEL, precision)
    return replace(BuildRequest(model, precision, SHAPES, compute_capability="8.6"), **values)


def build_file(flavour: Flavour, model: Path) -> None:
    build(flavour, request_of(model=model), model.read_bytes())


# --- the real parser and builder


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("size", ["s", "m"])
@pytest.mark.parametrize(
    ("capability", "shapes"),
    [("8.6", (SHAPES,)), ("8.9", (replace(SHAPES, thermal_bytes=1),)), ("8.9", RANGE)],
    ids=["16 bit", "8 bit", "range"],
)
def test_every_export_builds(
    precision: str, size: str, capability: str, shapes: tuple, rtx: Flavour, request, tmp_path: Path
) -> None:
    model = DEFAULT_MODEL if size == "s" else request.getfixturevalue("size_m")
    usual = shapes[len(shapes) // 2]
    wanted = BuildRequest(file_of(model, precision), precision, usual,
                          compute_capability=capability)  # fmt: skip
    if len(shapes) == 3:
        wanted = replace(wanted, smallest=shapes[0], largest=shapes[2])
    path = tmp_path / "made.engine"
    store_engine(path, rtx, wanted, None)
    stored = open_engine(path)
    assert stored.key == EngineKey.of(rtx, wanted, None)
    assert (stored.key.smallest, stored.key.largest) == (shapes[0], shapes[-1])
    assert (stored.key.compute_capability, stored.key.precision) == (capability, precision)
    assert (stored.note.size, stored.note.precision) == (size, precision)
    assert stored.tensors == {
        "visible": "uint8", "thermal": "uint8", "thermal_range": "float32", "grid": "float32",
        "coverage": "float32", "fused": "uint8", "labels": "uint8", "confidence": "uint8",
    }  # fmt: skip
    assert len(stored.read()) > 100_000


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_network_takes_and_gives_bytes(precision: str, rtx: Flavour) -> None:
    api = rtx.api
    builder = api.Builder(rtx.logger())
    network = builder.create_network(1 << int(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = api.OnnxParser(network, builder.logger)
    assert parser.parse(file_of(DEFAULT_MODEL, precision).read_bytes())
    inputs = {network.get_input(i).name: network.get_input(i) for i in range(network.num_inputs)}
    outputs = {network.get_output(i).name: network.get_output(i)
               for i in range(network.num_outputs)}  # fmt: skip
    assert {name: each.dtype for name, each in inputs.items()} == {
        "visible": api.uint8, "thermal": api.uint8, "thermal_range": api.float32,
        "grid": api.float32, "coverage": api.float32,
    }  # fmt: skip
    assert {name: each.dtype for name, each in outputs.items()} == dict.fromkeys(
        ("fused", "labels", "confidence"), api.uint8
    )
    types = {network.get_layer(i).get_output(0).dtype for i in range(network.num_layers)
             if network.get_layer(i).type == api.LayerType.CONVOLUTION}  # fmt: skip
    assert types == {api.float16 if precision == "fp16" else api.float32}
    quantisers = sum(network.get_layer(i).type == api.LayerType.QUANTIZE
                     for i in range(network.num_layers))  # fmt: skip
    assert (quantisers > 20) == (precision == "int8")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_nothing_that_tensorrt_8_6_misreads(precision: str) -> None:
    # From opset 18 on these take their axes as an input, which its parser does not look at.
    kinds = {node.op_type for node in onnx.load(file_of(DEFAULT_MODEL, precision)).graph.node}
    assert not kinds & {"ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2"}


def save(path: Path, *nodes: onnx.NodeProto, kind: int = TensorProto.FLOAT) -> Path:
    x = helper.make_tensor_value_info("x", kind, [1, 3, 8, 8])
    y = helper.make_tensor_value_info("y", kind, None)
    model = helper.make_model(
        helper.make_graph(list(nodes), "wrong", [x], [y]),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)], ir_version=9,
    )  # fmt: skip
    onnx.save(model, path)
    return path


def test_wrong_models_give_the_parsers_words(rtx: Flavour, tmp_path: Path) -> None:
    strange = save(tmp_path / "strange.onnx",
                   helper.make_node("Swirl", ["x"], ["y"], "layer 7", domain="mine"))  # fmt: skip
    with pytest.raises(ModelError, match=r"strange.onnx: .*node 'layer 7' \(Swirl\): "):
        build_file(rtx, strange)
    turn = helper.make_node("Transpose", ["x"], ["y"], "turn", perm=[0, 2, 3, 1])
    bytes_first = save(tmp_path / "bytes.onnx", turn, kind=TensorProto.UINT8)
    with pytest.raises((ModelError, EngineError), match="bytes.onnx: .*(?i:uint8)"):
        build_file(rtx, bytes_first)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ModelError, match="text.onnx: tensorrt_rtx .* cannot parse this file"):
        build_file(rtx, tmp_path / "text.onnx")


def test_what_a_flavour_cannot_do_is_said(rtx: Flavour) -> None:
    with pytest.raises(InputError, match="compute capability '5.0'; expected one of .*8.6"):
        build(rtx, request_of(compute_capability="5.0"), MODEL)
    with pytest.raises(InputError, match="has no hardware- or version-compatible engines"):
        build(rtx, request_of(hardware_compatible=True), MODEL)
    classic = replace(rtx, name="tensorrt", version="10.3.0")
    with pytest.raises(InputError, match="tensorrt 10.3.0 builds for the GPU it runs on only"):
        build(classic, request_of(), MODEL)


# --- the cache, with the real builder


def test_an_engine_is_built_once(rtx: Flavour, tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "engines")
    first = cache.build(rtx, request_of())
    written = first.path.stat().st_mtime_ns
    again = EngineCache(tmp_path / "engines").build(rtx, request_of())
    assert again == first and again.path.stat().st_mtime_ns == written
    assert [path for path, _ in cache.entries()] == [first.path]


def damage_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


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
    ("harm", "told"),
    [
        (damage_byte, "damaged or not the one"),
        (cut, "damaged or not the one"),
        (lose_sidecar, "does not say what engine it is"),
        (lambda path: path.with_suffix(".json").write_text("{}"), "does not say what engine it is"),
        (lambda path: change_sidecar(path, tensorrt="tensorrt 8.6.0"), "made for something else"),
        (lambda path: change_sidecar(path, gpu="another"), "made for something else"),
    ],
)
def test_a_damaged_or_foreign_engine_is_built_again(
    harm: Callable[[Path], None], told: str, rtx: Flavour, tmp_path: Path, caplog
) -> None:
    cache = EngineCache(tmp_path / "engines")
    good = cache.build(rtx, request_of())
    harm(good.path)
    again = cache.build(rtx, request_of())
    assert told in caplog.text and "built again" in caplog.text
    assert again.key == good.key and again.read() and cache.find(good.key) == again


def test_all_that_an_engine_depends_on_is_in_its_key(rtx: Flavour, tmp_path: Path) -> None:
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
    moved = tmp_path / "moved.onnx"  # where a model lies is nothing to an engine
    moved.write_bytes(DEFAULT_MODEL.read_bytes())
    assert EngineKey.of(rtx, replace(request, model=moved), device) == keys[0]


def test_a_full_disk_leaves_the_cache_as_it_was(
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
    assert not list(cache.folder.glob("*.tmp"))


def test_a_cache_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "engines"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(EngineError, match="others may write to this cache of engines"):
        EngineCache(folder)


# --- on the stand-in of a GPU


@pytest.fixture
def ssvif(gpu: dict[str, str]) -> Run:
    def run(*arguments: object, code: int = 0, **changes: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "ssvif_core.cli", *map(str, arguments)],
            env={**gpu, "COLUMNS": "200", **changes}, text=True, capture_output=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    return run


SIZES = ("--visible", "160x120", "--thermal", "80x64")


def test_build_list_verify_time_and_clean(ssvif: Run, gpu: dict[str, str]) -> None:
    said = ssvif("engine", "build", *SIZES)
    assert "tensorrt 10.3.0, Stand-in GPU, fp16, visible 160x120" in said and "dB" in said
    assert list((Path(gpu["XDG_CACHE_HOME"]) / "ssvif/engines").glob("*.timing"))
    said = ssvif("engine", "verify", *SIZES)
    assert "tensorrt 10.3.0 (fp16, Stand-in GPU) on 4 pairs" in said
    assert "building" not in said
    assert "dB" in ssvif("engine", "list")
    assert "p99" in ssvif("engine", "bench", "--runs", 3, *SIZES)
    assert "0 engines removed" in ssvif("engine", "clean")
    assert "1 engines removed" in ssvif("engine", "clean", STANDIN_GPU="another GPU")
    (Path(gpu["XDG_CACHE_HOME"]) / "ssvif/engines/lost.engine").write_bytes(b"half of one")
    said = ssvif("engine", "clean", LD_PRELOAD="")
    assert "only damaged engines are removed: no CUDA device" in said
    assert "1 engines removed" in said
    assert "0 engines in" in ssvif("engine", "list")


def test_two_that_start_together_build_once(gpu: dict[str, str], tmp_path: Path) -> None:
    builds = tmp_path / "builds"
    environment = {**gpu, "STANDIN_BUILD_SECONDS": "2", "STANDIN_BUILDS": str(builds)}
    command = [sys.executable, "-m", "ssvif_core.cli", "engine", "build", *SIZES]
    both = [subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE)
            for _ in range(2)]  # fmt: skip
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1]
    assert builds.read_text() == "built\n"


def test_a_build_that_is_killed_leaves_nothing_in_the_way(
    ssvif: Run, gpu: dict[str, str], tmp_path: Path
) -> None:
    builds = tmp_path / "builds"
    command = [sys.executable, "-m", "ssvif_core.engines.tensorrt", str(tmp_path / "engines"),
               "tensorrt", request_of(compute_capability="").as_json()]  # fmt: skip
    environment = {**gpu, "STANDIN_BUILD_SECONDS": "60", "STANDIN_BUILDS": str(builds)}
    first = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 30
    while not builds.is_file() and time.monotonic() < deadline:  # it is building
        time.sleep(0.05)
    assert builds.is_file()
    first.kill()
    first.wait()
    assert subprocess.run(command, env=gpu, timeout=60).returncode == 0
    assert len(list(EngineCache(tmp_path / "engines").entries())) == 1


@pytest.fixture
def pair_folder(drive_pairs: list[Pair], tmp_path: Path) -> Path:
    for index, pair in enumerate(drive_pairs[::4]):
        for name, image in (("vi", pair.visible), ("ir", pair.thermal)):
            (tmp_path / name).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / name / f"{index}.png"), image)
    return tmp_path


def fuse(folder: Path, out: str) -> tuple[object, ...]:
    return ("fuse", "--visible", folder / "vi", "--thermal", folder / "ir", "--out", folder / out)


def fused(ssvif: Run, folder: Path, out: str, *options: object) -> list[np.ndarray]:
    ssvif(*fuse(folder, out), *options)
    return [cv2.imread(str(path)) for path in sorted((folder / out).glob("*.png"))]


def test_captured_graph_and_plain_path_give_what_onnxruntime_gives(
    ssvif: Run, pair_folder: Path
) -> None:
    expected = fused(ssvif, pair_folder, "ort", "--engine", "onnxruntime")
    captured = fused(ssvif, pair_folder, "trt", "--engine", "tensorrt", "--precision", "fp32")
    # That one was captured and not just run is told by its silence.
    said = ssvif("engine", "bench", "--engine", "tensorrt", "--runs", 1, *SIZES)
    assert "no CUDA graph" not in said
    engine = pair_folder / "range.engine"
    ssvif("engine", "build", "--visible", "160x120:320x240:640x480", "--thermal",
          "80x64:160x128:320x256", "--precision", "fp32", "--out", engine)  # fmt: skip
    plain = fused(ssvif, pair_folder, "range", "--model", engine)
    assert len(expected) == 3
    for a, b, c in zip(expected, captured, plain, strict=True):
        assert (a == b).all() and (a == c).all()


def test_an_engine_file_must_go_with_the_machine(ssvif: Run, pair_folder: Path) -> None:
    engine = pair_folder / "mine.engine"
    ssvif("engine", "build", "--precision", "fp32", *SIZES, "--out", engine)
    with_it = (*fuse(pair_folder, "out"), "--model", engine)
    said = ssvif(*with_it, code=2)
    assert "made for visible 160x120, thermal 80x64 16 bit" in said and "320x240" in said
    assert "built with tensorrt 10.3.0, here is tensorrt 10.4" in ssvif(
        *with_it, code=2, STANDIN_VERSION="10.4"
    )
    damage_byte(engine)
    assert "the engine is damaged" in ssvif(*with_it, code=2)
    engine.with_suffix(".json").unlink()
    assert "mine.json, does not say what engine it is" in ssvif(*with_it, code=2)


def test_an_engine_below_its_floor_is_refused_and_stays_so(ssvif: Run) -> None:
    said = ssvif("engine", "build", *SIZES, code=2, STANDIN_ERROR="20")
    assert "agrees too little with float32" in said
    said = ssvif("engine", "verify", *SIZES, "--engine", "tensorrt", code=2)
    assert "agrees too little with float32" in said and "building" not in said


def test_without_a_device_tensorrt_is_never_touched(ssvif: Run, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    for nothing in ({"CUDA_VISIBLE_DEVICES": ""}, {"LD_PRELOAD": ""}):
        environment = {"STANDIN_TOUCHED": str(touched), **nothing}
        said = ssvif("engine", "build", *SIZES, code=2, **environment)
        assert "the CUDA driver knows no GPU" in said or "no CUDA device" in said
        said = ssvif("engine", "bench", "--runs", 1, *SIZES, **environment)
        assert "openvino" in said and "passed over: engine tensorrt: " in said
    assert "works here" in ssvif("doctor", STANDIN_TOUCHED=str(touched), LD_PRELOAD="")
    assert not touched.exists()
    ssvif("engine", "build", *SIZES, STANDIN_TOUCHED=str(touched))
    assert touched.exists()


def test_versions_that_are_not_supported_are_named(ssvif: Run) -> None:
    said = ssvif("engine", "build", "--flavour", "tensorrt", code=2, STANDIN_VERSION="9.1")
    assert "tensorrt is version 9.1, expected 8.6, or 10.3 to 11" in said
    assert "expected tensorrt or tensorrt_rtx" in ssvif(
        "engine", "build", "--flavour", "trt", code=2
    )


@pytest.mark.timeout(900)
def test_the_check_of_a_gpu_runs_and_writes_what_went_wrong(
    gpu: dict[str, str], tmp_path: Path
) -> None:
    tools = Path(__file__).parents[3] / "tools"
    pack = [sys.executable, tools / "gpu_pack.py", tmp_path, "--count", "1", "--models", "s"]
    subprocess.run(pack, check=True, capture_output=True, timeout=300)
    check = [sys.executable, tools / "gpu_check.py", tmp_path, "--runs", "2",
             "--only", "s-640x480x16", "--json", tmp_path / "check.json"]  # fmt: skip
    good = subprocess.run(check, env=gpu, text=True, capture_output=True, timeout=300)
    assert good.returncode == 0, good.stdout + good.stderr
    assert "s-640x480x16 fp16: fused" in good.stdout and "all is well" in good.stdout
    cases = json.loads((tmp_path / "check.json").read_text())["cases"]
    assert [(case["precision"], case["cuda_graph"], case["accepted"]) for case in cases] == [
        ("fp16", True, True), ("int8", True, True), ("fp32", True, True),
    ]  # fmt: skip
    assert all(case["engine_ms"]["median"] > 0 and case["floor_ms"]["memory"] for case in cases)
    assert cases[0]["slowest_layers"] == [{"layer": "everything", "ms": 1.0, "share": 1.0}]
    report = json.loads((tmp_path / "check.json").read_text())
    cache, hand_over = report["cache"], report["hand_over"]
    assert cache["the same is found"] and cache["damage is noticed"] and cache["repaired"]
    assert [name.split()[0] for name in hand_over["pairs"]] == ["openvino", "tensorrt"]
    assert not hand_over["not_used"]
    check[check.index("s-640x480x16")] = "s-640x480x16-fp32"
    bad = subprocess.run(check, env={**gpu, "STANDIN_ERROR": "30"}, text=True, capture_output=True,
                         timeout=300)  # fmt: skip
    assert bad.returncode == 1 and "NOT ALL IS WELL; to report it, send" in bad.stdout
    absent = subprocess.run(check, env={**gpu, "LD_PRELOAD": ""}, text=True, capture_output=True,
                            timeout=300)  # fmt: skip
    assert absent.returncode == 1 and "stopped: no CUDA device" in absent.stdout
    assert "EngineError" in json.loads((tmp_path / "check.json").read_text())["problem"]


class Layer:
    """One of a network, as TensorRT 8.6 shows it."""

    def __init__(self, kind: str, dtype: str) -> None:
        self.type, self.dtype, self.held = kind, dtype, False
        self.precision: str | None = None

    def get_output(self, _index: int) -> Layer:
        return self

    def set_output_type(self, _index: int, dtype: str) -> None:
        self.held = dtype == self.precision == "float"


@pytest.mark.parametrize(
    ("precision", "held"), [("fp16", [3, 5, 7]), ("int8", [3, 5])], ids=["fp16", "int8"]
)
def test_tensorrt_8_6_is_held_to_float_where_the_file_is(precision: str, held: list[int]) -> None:
    kinds = SimpleNamespace(
        CONSTANT="constant", SHAPE="shape", GRID_SAMPLE="grid sample", CAST="cast",
        QUANTIZE="quantize", DEQUANTIZE="dequantize",
    )  # fmt: skip
    api = SimpleNamespace(LayerType=kinds, float32="float")
    layers = [Layer("constant", "float"), Layer("cast", "float"), Layer("dequantize", "float"),
              Layer("sum", "float"), Layer("shape", "int"), Layer("grid sample", "float"),
              Layer("convolution", "half"),
              Layer("sum", "float")]  # fmt: skip
    network = SimpleNamespace(num_layers=len(layers), get_layer=layers.__getitem__)
    keep_float(api, network, precision)
    assert [i for i, layer in enumerate(layers) if layer.held] == held


def test_each_supported_version_builds_and_is_found_again(ssvif: Run) -> None:
    for version in ("8.6.1", "10.16.0", "11.0.0"):
        said = ssvif("engine", "build", *SIZES, "--precision", "int8", STANDIN_VERSION=version)
        assert f"tensorrt {version}, Stand-in GPU, int8" in said


def test_a_half_exported_model_serves_unchecked_and_says_so(ssvif: Run, tmp_path: Path) -> None:
    alone = tmp_path / "alone.fp16.onnx"
    alone.write_bytes(file_of(DEFAULT_MODEL, "fp16").read_bytes())
    said = ssvif("engine", "build", *SIZES, "--model", alone)
    assert "is used without a check: nothing to compare with" in said
    said = ssvif("engine", "bench", "--runs", 1, *SIZES, "--model", alone)
    assert "tensorrt 10.3.0 (fp16" in said
    said = ssvif("engine", "bench", "--engine", "openvino", *SIZES, "--model", alone, code=2)
    assert "alone.fp16.onnx: expected fp32, bf16; export that as well" in said


def test_auto_builds_nothing_offline(ssvif: Run) -> None:
    said = ssvif("engine", "bench", "--runs", 1, *SIZES)
    assert "openvino" in said
    assert "passed over: engine tensorrt must be built for these sizes" in said
    ssvif("engine", "build", *SIZES)
    assert "Stand-in GPU" in ssvif("engine", "bench", "--runs", 1, *SIZES)


@pytest.mark.skipif(why_not("tensorrt") is None, reason="this machine has a GPU")
def test_special_engines_need_a_file_of_their_own(ssvif: Run, tmp_path: Path) -> None:
    said = ssvif("engine", "build", "--compute-capability", "8.6", code=2)
    assert "give --out FILE.engine" in said
    assert "expected one of each, or SMALLEST:USUAL:LARGEST" in ssvif(
        "engine", "build", "--visible", "1x1:2x2", code=2
    )
    assert "size '640'; expected WIDTHxHEIGHT" in ssvif("engine", "bench", "--visible", 640, code=2)
    said = ssvif("engine", "build", "--out", tmp_path / "mine.plan", code=2)
    assert "expected a name that ends in .engine" in said
