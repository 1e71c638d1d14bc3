"""What the synthetic street scenes promise."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ssvif_core.errors import InputError
from ssvif_core.synthetic import (
    BICYCLE,
    CAR,
    CLASS_NAMES,
    CONDITIONS,
    PERSON,
    THERMAL_SCALES,
    DriveConfig,
    DriveFrame,
    DriveGenerator,
    thermal_to_visible,
)

SMALL = {"visible_size": (320, 240), "thermal_size": (160, 120)}
QUIET = {"thermal_noise": 0, "stripe_noise": 0, "thermal_drift": 0, "dead_pixels": 0}


def fresh(**options) -> DriveGenerator:
    return DriveGenerator(DriveConfig(**{**SMALL, **options}))


generator = cache(fresh)  # sharing is sound as frames do not depend on what was asked before


def celsius(scene: DriveFrame, bits: int = 14) -> np.ndarray:
    zero, step = THERMAL_SCALES[bits]
    return scene.thermal.astype(np.float64) * step + zero


def on_visible(scene: DriveFrame, image: np.ndarray, fill: float = np.nan) -> np.ndarray:
    """Thermal image laid over the visible one by the scene's homography."""
    size = scene.visible.shape[1::-1]
    return cv2.warpPerspective(image, scene.homography, size, borderValue=fill)


def near_persons(scene: DriveFrame, least: int = 35):
    """(mask, ring) of every person at least that tall: its pixels, and what surrounds them."""
    for box in scene.boxes:
        if box.label == PERSON and box.h >= least and box.x > 12 and box.x + box.w < 308:
            window = np.zeros(scene.labels.shape, bool)
            window[box.y : box.y + box.h, box.x : box.x + box.w] = True
            mask = window & (scene.labels == PERSON)
            wide = cv2.dilate(mask.astype(np.uint8), np.ones((15, 15))) > 0
            yield mask, wide & (scene.labels == 0)


def same(a: DriveFrame, b: DriveFrame) -> bool:
    images = ("visible", "thermal", "labels")
    return a.boxes == b.boxes and all((getattr(a, k) == getattr(b, k)).all() for k in images)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_frame_has_the_documented_form(condition):
    scene = DriveGenerator(DriveConfig(condition=condition)).frame(30)
    assert scene.visible.shape == (480, 640, 3) and scene.visible.dtype == np.uint8
    assert scene.thermal.shape == (256, 320) and scene.thermal.dtype == np.uint16
    assert scene.labels.shape == (480, 640) and scene.labels.dtype == np.uint8
    assert scene.homography.shape == (3, 3) and scene.homography.dtype == np.float64
    assert scene.stamp == pytest.approx(1.0) and scene.condition == condition
    assert CLASS_NAMES == ("background", "person", "bicycle", "car")
    assert set(np.unique(scene.labels)) == {0, PERSON, BICYCLE, CAR}
    assert len(np.unique(scene.visible)) > 60, "textured, not flat"


@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 1), order=st.permutations([0, 7, 40]))
def test_frames_do_not_depend_on_the_order_of_asking(seed, order):
    street = fresh(seed=seed)
    later = {i: street.frame(i) for i in order}
    assert all(same(later[i], fresh(seed=seed).frame(i)) for i in order)


def test_seeds_give_different_streets():
    assert not same(generator(seed=0).frame(0), generator(seed=1).frame(0))


def test_iteration_gives_the_frames_in_order():
    street = generator(frames=4)
    scenes = list(street)
    assert len(street) == len(scenes) == 4
    assert same(scenes[2], street.frame(2))
    assert [s.stamp for s in scenes] == pytest.approx([i / 30 for i in range(4)])


def test_a_drive_passes_through_all_conditions_smoothly():
    street = generator(frames=80)
    scenes = [street.frame(i) for i in range(0, 81, 4)]
    names = [s.condition for s in scenes]
    assert list(dict.fromkeys(names)) == list(CONDITIONS) and names[-1] == "night"
    level = [s.visible.mean() for s in scenes]
    assert np.abs(np.diff(level)).max() < 0.8 * (max(level) - min(level))
    assert level[0] > 80 and level[-1] < 60


@settings(max_examples=10, deadline=None)
@given(condition=st.sampled_from(CONDITIONS), index=st.integers(0, 2000))
@example(condition="day", index=1997)  # a bicycle so near that its wheels are broad strokes
def test_boxes_are_tight_around_labels(condition, index):
    scene = generator(condition=condition).frame(index)
    covered = np.zeros(scene.labels.shape, bool)
    for label, x, y, w, h in scene.boxes:
        assert 0 <= x and 0 <= y and x + w <= 320 and y + h <= 240
        inside = scene.labels[y : y + h, x : x + w] == label
        for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
            assert edge.any()
        covered[y : y + h, x : x + w] |= inside
    assert (covered == (scene.labels > 0)).all(), "each labelled pixel lies in a box of its class"


@pytest.mark.parametrize("condition", CONDITIONS)
def test_persons_are_warmer_than_what_surrounds_them(condition):
    street, seen = generator(condition=condition), 0
    for index in (0, 20, 45):
        scene = street.frame(index)
        warm = on_visible(scene, celsius(scene))
        for mask, ring in near_persons(scene):
            assert np.nanmean(warm[mask]) > np.nanmean(warm[ring]) + 3
            seen += 1
    assert seen >= 3


@pytest.mark.parametrize("condition", ["smoke", "night"])
def test_bad_conditions_hide_persons_from_the_visible_camera_only(condition):
    """Contrast of persons against their surroundings, compared with the same street by day."""

    def contrast(name: str) -> tuple[float, float]:
        street, visible, thermal = generator(condition=name), [], []
        for index in (0, 20, 45):
            scene = street.frame(index)
            grey = cv2.cvtColor(scene.visible, cv2.COLOR_BGR2GRAY).astype(float)
            warm = on_visible(scene, celsius(scene))
            for mask, ring in near_persons(scene):
                visible.append(abs(grey[mask].mean() - grey[ring].mean()))
                thermal.append(np.nanmean(warm[mask]) - np.nanmean(warm[ring]))
        return float(np.median(visible)), float(np.mean(thermal))

    (seen_by_day, warm_by_day), (seen, warm) = contrast("day"), contrast(condition)
    assert seen < 0.6 * seen_by_day
    assert warm > 0.8 * warm_by_day


def test_glare_saturates_part_of_the_visible_image_with_a_person_in_it():
    scene = generator(condition="glare").frame(20)
    white = scene.visible.min(2) >= 250
    assert 0.01 < white.mean() < 0.3
    swallowed = white & (scene.labels == PERSON)
    assert swallowed.sum() > 30
    warm = on_visible(scene, celsius(scene))
    assert warm[swallowed].mean() > np.median(warm[white & (scene.labels == 0)]) + 3


TURNED = thermal_to_visible((160, 120), (320, 240), scale=0.8, angle=6, shift=(9, -5))


@pytest.mark.parametrize("homography", [None, TURNED], ids=["resize", "turned"])
def test_hot_pixels_land_on_labelled_objects(homography):
    street = fresh(condition="night", homography=homography, **QUIET)
    for index in (0, 30, 60):
        scene = street.frame(index)
        hot = on_visible(scene, (celsius(scene) > 17).astype(np.uint8), 0) > 0
        objects = cv2.dilate((scene.labels > 0).astype(np.uint8), np.ones((7, 7))) > 0
        objects[:110] = True  # street lamps are hot too
        assert hot[110:].sum() > 100
        assert (hot & objects).sum() > 0.97 * hot.sum()
        for mask, _ in near_persons(scene):
            if on_visible(scene, np.ones((120, 160)), 0)[mask].all():  # seen by both cameras
                assert hot[mask].mean() > 0.2


def test_alignment_is_best_at_the_homography():
    """Moving the thermal image off the homography makes persons overlap less with their heat."""
    scene = generator(condition="night", **QUIET).frame(30)
    people = (scene.labels == PERSON).astype(float)
    warm = on_visible(scene, celsius(scene), 0)

    def score(dx: int, dy: int) -> float:
        return float((np.roll(warm, (dy, dx), (0, 1)) * people).sum())

    here = score(0, 0)
    assert all(here >= score(*d) for d in ((3, 0), (-3, 0), (0, 3), (0, -3)))


def test_pure_resize_maps_the_outer_corners_onto_each_other():
    h = thermal_to_visible((320, 256), (640, 480))
    corners = np.array([[[-0.5, -0.5], [319.5, 255.5]]])  # outer edges; pixel centres are integers
    mapped = cv2.perspectiveTransform(corners, h)[0]
    assert np.allclose(mapped, [[-0.5, -0.5], [639.5, 479.5]])


def test_turning_keeps_the_image_centre_and_then_shifts_it():
    h = thermal_to_visible((320, 256), (640, 480), scale=1.3, angle=20, shift=(4, -3))
    centre = cv2.perspectiveTransform(np.array([[[159.5, 127.5]]]), h)[0, 0]
    assert np.allclose(centre, [323.5, 236.5])


@pytest.mark.parametrize("extra", [{"parallax": 0.2}, {"distortion": 0.15}])
def test_parallax_and_distortion_move_the_thermal_image(extra):
    plain, bent = generator(**QUIET).frame(30), generator(**QUIET, **extra).frame(30)
    assert (plain.visible == bent.visible).mean() > 0.98
    assert np.abs(celsius(plain) - celsius(bent)).max() > 5


def test_parallax_moves_the_road_to_the_left_by_its_disparity():
    plain, moved = (celsius(generator(**QUIET, parallax=p).frame(30))[108] for p in (0.0, 0.3))
    focal, eye, row = 0.9 * 320, 1.4, 2 * 108 + 0.5  # of a visible image of 320 x 240
    depth = focal * eye / (row - 0.46 * 240)
    expected = 0.3 * focal / depth / 2  # thermal pixels

    def misfit(shift: int) -> float:
        return float(np.abs(moved[20:100] - plain[20 + shift : 100 + shift]).mean())

    assert min(range(-20, 40), key=misfit) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("bits", sorted(THERMAL_SCALES))
def test_counts_fit_the_bits_and_mean_temperatures(bits):
    scene = generator(thermal_bits=bits, dead_pixels=0).frame(0)
    assert scene.thermal.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert scene.thermal.max() < 2**bits
    warm = celsius(scene, bits)
    assert -12 < warm.min() and warm.max() < 60
    assert 15 < np.median(warm) < 25


def test_fourteen_bit_counts_lie_where_the_docstring_says():
    counts = generator(dead_pixels=0).frame(0).thermal
    assert 6500 < counts.min() and counts.max() < 8400


def test_dead_pixels_are_stuck():
    street = generator(dead_pixels=9)
    x, y = street.dead_pixels.T
    values = np.array([street.frame(i).thermal[y, x] for i in (0, 11, 90)])
    assert (values == values[0]).all()
    assert set(values[0]) <= {0, 2**14 - 1} and len(set(zip(x, y, strict=True))) == 9


def test_stripes_stay_and_noise_changes():
    quiet = generator(**QUIET).frame(3).thermal.astype(float)
    striped = generator(**{**QUIET, "stripe_noise": 0.5}).frame(3).thermal - quiet
    columns = striped.mean(0)
    assert columns.std() > 0.5 * 0.5 / 0.04
    noisy = generator(**{**QUIET, "thermal_noise": 0.2}).frame(3).thermal - quiet
    assert noisy.std() == pytest.approx(0.2 / 0.04, rel=0.1)


def test_drift_moves_the_whole_image_slowly():
    options = {**QUIET, "condition": "night"}
    still, drifting = generator(**options), generator(**{**options, "thermal_drift": 2.0})
    change = [np.mean(celsius(drifting.frame(i)) - celsius(still.frame(i))) for i in (0, 1, 350)]
    assert abs(change[1] - change[0]) < 0.05 and change[2] > 1


def test_things_move_and_grow_as_the_robot_drives():
    street = generator(condition="day")
    first, second = street.frame(0), street.frame(1)
    assert np.abs(first.visible.astype(int) - second.visible).mean() > 2
    tallest = [max(b.h for b in street.frame(i).boxes if b.label == PERSON) for i in (0, 60)]
    assert tallest[1] > 1.2 * tallest[0]


BAD = [
    ("seed", -1),
    ("seed", 1.5),
    ("visible_size", (8, 480)),
    ("thermal_size", (320,)),
    ("thermal_size", 320),
    ("condition", "rain"),
    ("condition", ["day"]),
    ("frames", 0),
    ("frames", True),
    ("fps", 0.0),
    ("fps", float("nan")),
    ("thermal_bits", 10),
    ("thermal_bits", [14]),
    ("homography", np.zeros((3, 3))),
    ("homography", np.eye(2)),
    ("homography", "resize"),
    ("distortion", 2.0),
    ("parallax", "far"),
    ("thermal_drift", -1),
    ("thermal_noise", float("inf")),
    ("stripe_noise", -0.1),
    ("thermal_blur", 99),
    ("dead_pixels", -1),
    ("dead_pixels", 10**6),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_configuration_is_named(name, value):
    with pytest.raises(InputError) as error:
        DriveConfig(**{name: value})
    text = str(error.value)
    assert text.startswith(f"{name}=") and repr(value) in text and "expected" in text


@pytest.mark.parametrize("index", [-1, 1.5])
def test_a_bad_index_is_named(index):
    with pytest.raises(InputError, match=f"index={index}: expected"):
        generator().frame(index)


def test_the_configuration_keeps_its_own_homography():
    matrix = np.eye(3)
    config = DriveConfig(homography=matrix)
    matrix[:] = 0
    assert (config.homography == np.eye(3)).all()
    with pytest.raises(ValueError):
        config.homography[0, 0] = 2


@settings(max_examples=8, deadline=None)
@given(
    visible=st.tuples(st.integers(16, 200), st.integers(16, 200)),
    thermal=st.tuples(st.integers(16, 160), st.integers(16, 120)),
    index=st.integers(0, 10**6),
)
def test_any_size_and_time_renders(visible, thermal, index):
    config = DriveConfig(visible_size=visible, thermal_size=thermal, frames=10**6)
    scene = DriveGenerator(config).frame(index)
    assert scene.visible.shape[1::-1] == scene.labels.shape[::-1] == visible
    assert scene.thermal.shape[::-1] == thermal
