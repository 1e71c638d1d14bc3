"""`ssvif engine`: build, list, verify, time and remove engines."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from ssvif_core.cli.options import WorkingSize
from ssvif_core.engines import create_engine, precision_of
from ssvif_core.engines.tensorrt.build import BuildRequest, build_in_child
from ssvif_core.engines.tensorrt.cache import EngineCache, StoredEngine, open_engine
from ssvif_core.engines.tensorrt.cuda import find_device
from ssvif_core.engines.tensorrt.engine import TensorRtEngine
from ssvif_core.engines.tensorrt.flavour import find_flavour
from ssvif_core.engines.verify import check_accepted, generated_pairs, measure, reference_engine
from ssvif_core.errors import EngineError, InputError
from ssvif_core.graph.model_file import DEFAULT_MODEL, ENGINE_SUFFIX, float_file_of
from ssvif_core.pipeline import FusionPipeline
from ssvif_core.recordings.reading import sample_pairs
from ssvif_core.types import Shapes

app = typer.Typer(
    help="Build engines before the robot needs them; list, verify, time and remove them.",
    no_args_is_help=True,
)

Model = Annotated[Path | None, typer.Option(help="ONNX file; default: the shipped model.")]
Precision = Annotated[str, typer.Option(help="auto, fp32, fp16 or int8.")]
Name = Annotated[str, typer.Option("--engine", help="auto, tensorrt, openvino or onnxruntime.")]
Visible = Annotated[str, typer.Option(help="Size of visible images.")]
Thermal = Annotated[str, typer.Option(help="Size of thermal images.")]
Bits = Annotated[int, typer.Option(help="Bits of a thermal pixel: 8 or 16.")]


@app.command()
def build(
    model: Model = None,
    precision: Precision = "auto",
    visible: Annotated[
        str, typer.Option(help="Size of visible images; or a range, SMALLEST:USUAL:LARGEST.")
    ] = "640x480",
    thermal: Annotated[str, typer.Option(help="Size of thermal images, or a range.")] = "320x256",
    bits: Bits = 16,
    out: Annotated[
        Path | None, typer.Option(help="File for the engine; default: into the cache.")
    ] = None,
    compute_capability: Annotated[
        str, typer.Option(help="Of another GPU, such as 8.6; only tensorrt_rtx, and with --out.")
    ] = "",
    flavour: Annotated[
        str, typer.Option(help="tensorrt or tensorrt_rtx; default: what is installed.")
    ] = "",
    hardware_compatible: Annotated[
        bool, typer.Option(help="The engine runs on every GPU from Ampere on, but slower.")
    ] = False,
    version_compatible: Annotated[
        bool, typer.Option(help="The engine runs with later TensorRT of this major version.")
    ] = False,
) -> None:
    """Build a TensorRT engine into the cache, where the node finds it, or into a file."""
    sizes = _ranges(visible, thermal, bits)
    installed = find_flavour(flavour or ("tensorrt_rtx" if compute_capability else None))
    others = compute_capability or hardware_compatible or version_compatible
    special = others or flavour or len(sizes) == 3
    if out is not None and out.suffix != ENGINE_SUFFIX:
        raise InputError(f"--out {out}; expected a name that ends in {ENGINE_SUFFIX}")
    if special and out is None:
        raise InputError(
            "the cache has only engines of fixed sizes for this GPU and the first TensorRT; for "
            "others, give --out FILE.engine, and use that file as the node's model"
        )
    device = None if compute_capability else find_device()
    precision, file = precision_of(TensorRtEngine, model or DEFAULT_MODEL, precision)
    request = BuildRequest(
        file,
        precision,
        sizes[len(sizes) // 2],
        sizes[0] if len(sizes) == 3 else None,
        sizes[-1] if len(sizes) == 3 else None,
        compute_capability,
        hardware_compatible,
        version_compatible,
    )
    if out is not None:
        build_in_child(request, installed, out)
        if device is None or installed != find_flavour():  # it cannot run here
            typer.echo(f"{out}: {_described(open_engine(out))}")
            return
    # Without --out this builds the engine, if the cache does not have it.
    engine = TensorRtEngine(out or file, request.shapes, precision)
    engine.warm_up()
    engine.accept()
    stored = engine.stored
    typer.echo(f"{stored.path}: {_described(stored)}; {stored.agreement or 'not compared'}")


@app.command("list")
def list_engines() -> None:
    """List the engines in the cache, and what is wrong with those that cannot be loaded."""
    cache = EngineCache()
    table = Table("engine", "model", "for", "built", "agreement with float32")
    for column in table.columns:
        column.overflow = "fold"
    entries = list(cache.entries())
    for path, entry in entries:
        if isinstance(entry, EngineError):
            table.add_row(f"[red]{path.name}", "", "", "", str(entry))
            continue
        table.add_row(
            path.name,
            Path(entry.source).name,
            f"{entry.key.gpu}, {entry.key.tensorrt}",
            f"{entry.made}, {entry.build_seconds:.0f} s",
            str(entry.agreement or "not measured yet"),
        )
    console = Console()
    if entries:
        console.print(table)
    console.print(f"{len(entries)} engines in {cache.folder}")


@app.command()
def verify(
    data: Annotated[
        Path | None,
        typer.Argument(help="Pairs, as `ssvif pairs` lists them; default: generated ones."),
    ] = None,
    model: Model = None,
    engine: Name = "auto",
    precision: Precision = "auto",
    visible: Visible = "640x480",
    thermal: Thermal = "320x256",
    bits: Bits = 16,
    images: Annotated[int, typer.Option(help="Largest number of pairs.")] = 20,
) -> None:
    """Compare an engine with float32 on the CPU. Exit code 2 if it agrees too little."""
    if data is not None:
        pairs = sample_pairs(data, images)
    else:
        pairs = list(generated_pairs(_shapes(visible, thermal, bits)))
    shapes = Shapes.of(pairs[0])
    pairs = [pair for pair in pairs if Shapes.of(pair) == shapes]
    file = model or DEFAULT_MODEL
    judged = create_engine(engine, file, shapes, precision)
    source = Path(open_engine(file).source) if file.suffix == ENGINE_SUFFIX else file
    reference = reference_engine(float_file_of(source), shapes)
    if reference is None:
        raise EngineError(
            f"nothing to compare with: {float_file_of(source)} or a CPU engine is missing; export "
            "the model in fp32, or `pip install openvino`"
        )
    result = measure(judged, reference, pairs)
    typer.echo(f"{judged.info} on {len(pairs)} pairs, {shapes}: {result}")
    check_accepted(result, judged.info.precision, str(judged.info))


@app.command()
def bench(
    model: Model = None,
    engine: Name = "auto",
    precision: Precision = "auto",
    visible: Visible = "640x480",
    thermal: Thermal = "320x256",
    bits: Bits = 16,
    runs: Annotated[int, typer.Option(help="Pairs to fuse.")] = 200,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 lets the engine choose.")] = 0,
    working_size: WorkingSize = "full",
) -> None:
    """Time an engine from camera bytes to message bytes, with all copies."""
    shapes = _shapes(visible, thermal, bits)
    pipeline = FusionPipeline(model, engine, precision, threads=threads, working_size=working_size)
    timed = pipeline.prepare(shapes)
    (pair,) = generated_pairs(shapes, 1)
    thermal_range = np.array((pair.thermal.min(), pair.thermal.max()), np.float32)
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        timed.infer(pair.visible, pair.thermal, thermal_range)
        seconds.append(time.perf_counter() - start)
    p50, p99 = np.percentile(seconds, (50, 99)) * 1000
    typer.echo(f"{timed.info}, {shapes}: median {p50:.2f} ms, p99 {p99:.2f} ms of {runs} pairs")


@app.command()
def clean(
    all_engines: Annotated[
        bool, typer.Option("--all", help="Remove all engines, good ones too.")
    ] = False,
) -> None:
    """Remove engines that this machine cannot load: damaged, for another TensorRT or GPU."""
    cache = EngineCache()
    if all_engines:
        cache.clear()
        typer.echo(f"{cache.folder} is empty")
        return
    try:
        machine = str(find_flavour()), find_device().name
    except EngineError as error:
        machine = None
        typer.echo(f"only damaged engines are removed: {error}")
    removed = 0
    for path, entry in list(cache.entries()):
        is_good = isinstance(entry, StoredEngine) and (
            machine is None or machine == (entry.key.tensorrt, entry.key.gpu)
        )
        if not is_good:
            cache.remove(path)
            removed += 1
    typer.echo(f"{removed} engines removed from {cache.folder}")


def _described(stored: StoredEngine) -> str:
    key = stored.key
    sizes = str(key.shapes)
    if key.smallest != key.largest:
        sizes = f"{key.smallest} to {key.largest}"
    return f"{key.tensorrt}, {key.gpu}, {key.precision}, {sizes}; {stored.build_seconds} s to build"


def _ranges(visible: str, thermal: str, bits: int) -> list[Shapes]:
    """One set of shapes, or the smallest, usual and largest."""
    visibles, thermals = visible.split(":"), thermal.split(":")
    if {len(visibles), len(thermals)} not in ({1}, {3}):
        raise InputError(
            f"sizes {visible} and {thermal}; expected one size each, or SMALLEST:USUAL:LARGEST "
            "for both"
        )
    return [_shapes(*sizes, bits) for sizes in zip(visibles, thermals, strict=True)]


def _shapes(visible: str, thermal: str, bits: int) -> Shapes:
    if bits not in (8, 16):
        raise InputError(f"bits {bits}; expected 8 or 16")
    (width, height), (thermal_width, thermal_height) = map(_size, (visible, thermal))
    return Shapes(height, width, thermal_height, thermal_width, bits // 8)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) * int(height)):
        raise InputError(f"size '{text}'; expected WIDTHxHEIGHT, such as 640x480")
    return int(width), int(height)
