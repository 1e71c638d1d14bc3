"""`ssvif evaluate --through-ros` plays bags to the real node and measures it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ssvif_core.evaluation.plan import Settings
from ssvif_core.recordings.bags import THERMAL_TOPIC, VISIBLE_TOPIC, write_pairs
from ssvif_core.types import Pair
from ssvif_ros.replay.evaluation import playable, robot_run
from ssvif_ros.replay.replay import PairTiming, ReplayResult


def ssvif(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ssvif_core.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=170)


def test_a_bag_is_played_to_the_node_and_measured(drive_bag: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = ssvif("evaluate", drive_bag, "--through-ros", "--rate", 0.5, "--out", out)
    assert result.returncode == 0, result.stderr
    (run,) = json.loads((out / "summary.json").read_text())["through ROS"]
    assert run["pairs"] == 12
    # Every pair of the bag is either fused or counted with the cause of its loss.
    assert run["fused"] + sum(run["dropped"].values()) == 12
    assert run["fused"] > 0
    assert run["stamp difference, ms"]["p50"] == pytest.approx(3.0)
    assert 0 < run["latency, ms"]["p50"] <= run["latency, ms"]["p99"]
    assert run["CPU, cores"] > 0 and run["memory, MB"][1] > 50
    assert "through the node, at 0.5x" in (out / "summary.md").read_text()
    assert "report.html" in {path.name for path in out.iterdir()}


def test_a_bag_that_was_cut_off_is_played_up_to_the_break(cut_bag: Path, tmp_path: Path) -> None:
    result = ssvif("evaluate", cut_bag, "--through-ros", "--rate", 0.5, "--out", tmp_path / "out")
    assert result.returncode == 3, result.stderr
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    (run,) = summary["through ROS"]
    assert 0 < run["fused"] <= run["pairs"] == summary["pairs"] < 12


def test_damaged_messages_are_left_out(damaged_bag: Path, tmp_path: Path) -> None:
    result = ssvif("evaluate", damaged_bag, "--through-ros", "--rate", 0.5, "--out", tmp_path / "o")
    assert result.returncode == 3, result.stderr  # pairs were left out
    summary = json.loads((tmp_path / "o/summary.json").read_text())
    (run,) = summary["through ROS"]
    # The one with a senseless stamp is whole, so it is taken by its time of recording.
    assert run["pairs"] == summary["pairs"] == 10
    assert run["fused"] > 0


@pytest.mark.parametrize("rewritten", [False, True])
def test_a_constant_clock_offset_is_given_to_the_node(
    drive_pairs: list[Pair], tmp_path: Path, rewritten: bool
) -> None:
    """As it is, and as a bag that is written anew because it was cut off."""
    late = [
        Pair(p.visible, p.thermal, p.visible_stamp, p.thermal_stamp + 37_000_000_000)
        for p in drive_pairs
    ]
    bag = tmp_path / "b"
    write_pairs(bag, late, offset_ns=-37_000_000_000)
    if rewritten:
        (file,) = bag.glob("*.mcap")
        (tmp_path / "cut.mcap").write_bytes(file.read_bytes()[:-30])
        bag = tmp_path / "cut.mcap"
    result = ssvif("evaluate", bag, "--through-ros", "--rate", 0.5, "--thermal-time-offset", -37,
                   "--out", tmp_path / "out")  # fmt: skip
    assert result.returncode in (0, 3), result.stderr
    (run,) = json.loads((tmp_path / "out/summary.json").read_text())["through ROS"]
    assert run["fused"] > 0
    assert run["fused"] + sum(run["dropped"].values()) == run["pairs"] >= 11


def test_compressed_images_are_played_as_they_are(compressed_bag: Path, tmp_path: Path) -> None:
    assert playable(compressed_bag, Settings(), tmp_path)[0] == compressed_bag
    out = tmp_path / "out"
    result = ssvif("evaluate", compressed_bag, "--through-ros", "--rate", 0.5, "--out", out)
    assert result.returncode == 0, result.stderr
    (run,) = json.loads((out / "summary.json").read_text())["through ROS"]
    assert run["pairs"] == 12
    assert run["fused"] > 0
    assert run["fused"] + sum(run["dropped"].values()) == 12


def test_a_bag_without_the_given_topic_is_refused(tmp_path: Path, drive_pairs: list[Pair]) -> None:
    write_pairs(tmp_path / "bag", drive_pairs[:1], "/only/this", THERMAL_TOPIC)
    result = ssvif("evaluate", tmp_path / "bag", "--through-ros", "--visible", VISIBLE_TOPIC,
                   "--thermal", THERMAL_TOPIC, "--out", tmp_path / "out")  # fmt: skip
    assert result.returncode == 2
    assert f"no topic {VISIBLE_TOPIC}" in result.stderr


def test_the_timeline_contains_lost_pairs() -> None:
    period_ns = 100_000_000
    traces = tuple(
        PairTiming(n * period_ns, n * period_ns + 2_000_000, sent, latency)
        for n, (sent, latency) in enumerate([(50.0, 30.0), (50.1, None), (None, None)])
    )
    result = ReplayResult(
        3, 1, {"engine busy": 1}, {}, 0.0, "engine", 0.5, {"start": 1.0, "end": 2.0}, {},
        traces, ((49.5, {"engine busy": 0}), (50.5, {"engine busy": 1})),
    )  # fmt: skip
    run = robot_run("bag", 2.0, result)
    assert [round(time, 6) for time, _ in run.timeline] == [0.0, 0.1, 0.1]
    assert [latency for _, latency in run.timeline] == [30.0, None, None]
    assert run.latencies == (30.0,)
    assert run.causes == ((0.5, {"engine busy": 1}),)
    assert run.stamp_differences == pytest.approx([2.0] * 3)
