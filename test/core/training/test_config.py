"""Settings are read from YAML, overridden and checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssvif_core.errors import InputError
from ssvif_core.training.config import load_config

ROOT = Path(__file__).parents[3]


def test_the_shipped_configuration_loads_and_takes_overrides() -> None:
    path = ROOT / "config/train/default.yaml"
    loaded = load_config(path, ["seed=7", "model.size=m", "loss.gradient=5", "stages.1.steps=9"])
    assert (loaded.seed, loaded.model.size, loaded.loss.gradient) == (7, "m", 5.0)
    assert [stage.steps for stage in loaded.stages] == [16000, 9, 600]


def test_an_error_names_the_version_of_a_newer_configuration_and_not_its_keys(
    tmp_path: Path,
) -> None:
    newer = tmp_path / "newer.yaml"
    newer.write_text("version: 2\nunknown: key\n")
    with pytest.raises(InputError, match="newer.yaml: configuration of version 2; this release"):
        load_config(newer, [])


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("sed=3", "unknown key 'sed'; did you mean 'seed'?"),
        ("model.sise=m", "unknown key 'sise'; did you mean 'size'?"),
        ("seed=three", "seed='three'; expected int"),
        (
            "stages=[{name: warm}]",
            "stage 'warm'; expected one of fusion, consistency, joint, regions",
        ),
        ("version=2", "configuration of version 2; this release reads up to 1"),
        ("stages=[{weighting: dvd}]", "weighting 'dvd'; expected one of dwa, fixed, uncertainty"),
        ("stages=[{batch: 6, accumulate: 4}]", "batch=6 cannot be cut into accumulate=4"),
        ("stages=[{salient: 2}]", "salient=2.0; expected 0 to 1"),
        ("topics=[/visible]", "expected the visible and the thermal topic"),
        ("seed", "override 'seed'; expected key=value"),
        ("seed.x=3", "'seed.x' does not exist; expected a key as in"),
        ("stages.7.steps=5", "'stages.7.steps' does not exist"),
        ("data=[a", "override 'data=[a': not valid YAML"),
        ("stages=[]", "stages is empty; expected some of fusion"),
        ("stages.0.learning_rate=-1", "learning_rate=-1.0; expected 0 to 1"),
        ("views={haze: 7}", "views: haze=7.0; expected 0 to 1"),
        ("target={sky: 0}", "target: sky=0.0; expected above 0"),
        ("consistency={temperature: 0}", "temperature=0.0; expected above 0"),
        ("precision=bf17", "precision 'bf17'; expected one of 32-true, bf16-mixed"),
        ("workers=-1", "workers=-1; expected >= 0"),
    ],
)
def test_an_error_says_what_is_wrong_with_a_key_or_value(override: str, text: str) -> None:
    with pytest.raises(InputError) as error:
        load_config(ROOT / "config/train/default.yaml", [override])
    assert text in str(error.value)
