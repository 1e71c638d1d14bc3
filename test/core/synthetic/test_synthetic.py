"""Generated drives: form, labels, temperatures, and the effects of the settings."""

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


generator = cache(fresh)  # shared, because frames do not depend on earlier calls


def celsius(frame: DriveFrame, bits: int = 14) -> np.ndarray:
    zero, step = THERMAL_SCALES[bits]
    return frame.thermal.astype(np.float64) * step + zero


def on_visible(frame: DriveFrame, image: np.ndarray, fill: float = np.nan) -> np.ndarray:
    """Thermal image warped onto the visible image with the frame's homography."""
    size = frame.visible.shape[1::-1]
    return cv2.warpPerspective(image, frame.homography, size, borderValue=fill)


def near_persons(frame: DriveFrame, least: int = 35):
    """(mask, ring) of every person at least `least` pixels tall: its pixels and surroundings."""
    for box in frame.boxes:
        if box.label == PERSON and box.h >= least and box.x > 12 and box.x + box.w < 308:
            window = np.zeros(frame.labels.shape, bool)
            window[box.y : box.y + box.h, box.x : box.x + box.w] = True
            mask = window & (frame.labels == PERSON)
            wide = cv2.dilate(mask.astype(np.uint8), np.ones((15, 15))) > 0
            yield mask, wide & (frame.labels == 0)


def same(a: DriveFrame, b: DriveFrame) -> bool:
    images = ("visible", "thermal", "labels")
    return a.boxes == b.boxes and all((getattr(a, k) == getattr(b, k)).all() for k in images)


@pytest.mark.slow
@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_frame_has_the_documented_form(condition):
    frame = DriveGenerator(DriveConfig(condition=condition)).frame(30)
    assert frame.visible.shape == (480, 640, 3) and frame.visible.dtype == np.uint8
    assert frame.thermal.shape == (256, 320) and frame.thermal.dtype == np.uint16
    assert frame.labels.shape == (480, 640) and frame.labels.dtype == np.uint8
    assert frame.homography.shape == (3, 3) and frame.homography.dtype == np.float64
    assert frame.stamp == pytest.approx(1.0) and frame.condition == condition
    assert CLASS_NAMES == ("background", "person", "bicycle", "car")
    assert set(np.unique(frame.labels)) == {0, PERSON, BICYCLE, CAR}
    assert len(np.unique(frame.visible)) > 60, "textured, not flat"


@settings(max_examples=2)
@given(seed=st.integers(0, 1), order=st.permutations([0, 7, 40]))
def test_frames_do_not_depend_on_the_order_of_requests(seed, order):
    drive = fresh(seed=seed)
    frames = {i: drive.frame(i) for i in order}
    assert all(same(frames[i], fresh(seed=seed).frame(i)) for i in order)


def test_seeds_give_different_streets():
    assert not same(generator(seed=0).frame(0), generator(seed=1).frame(0))


def test_iteration_gives_the_frames_in_order():
    drive = generator(frames=4)
    frames = list(drive)
    assert len(drive) == len(frames) == 4
    assert same(frames[2], drive.frame(2))
    assert [frame.stamp for frame in frames] == pytest.approx([i / 30 for i in range(4)])


def test_a_drive_passes_through_all_conditions_smoothly():
    drive = generator(frames=80)
    frames = [drive.frame(i) for i in range(0, 81, 4)]
    names = [frame.condition for frame in frames]
    assert list(dict.fromkeys(names)) == list(CONDITIONS) and names[-1] == "night"
    level = [frame.visible.mean() for frame in frames]
    assert np.abs(np.diff(level)).max() < 0.8 * (max(level) - min(level))
    assert level[0] > 80 and level[-1] < 60


@settings(max_examples=10)
@given(condition=st.sampled_from(CONDITIONS), index=st.integers(0, 2000))
@example(condition="day", index=1997)  # a near bicycle with thick wheels
def test_boxes_are_tight_around_labels(condition, index):
    frame = generator(condition=condition).frame(index)
    covered = np.zeros(frame.labels.shape, bool)
    for label, x, y, w, h in frame.boxes:
        assert 0 <= x and 0 <= y and x + w <= 320 and y + h <= 240
        inside = frame.labels[y : y + h, x : x + w] == label
        for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
            assert edge.any()
        covered[y : y + h, x : x + w] |= inside
    assert (covered == (frame.labels > 0)).all(), "each labelled pixel lies in a box of its class"


@pytest.mark.parametrize("condition", CONDITIONS)
def test_persons_are_warmer_than_their_surroundings(condition):
    drive, persons = generator(condition=condition), 0
    for index in (0, 20, 45):
        frame = drive.frame(index)
        temperature = on_visible(frame, celsius(frame))
        for mask, ring in near_persons(frame):
            assert np.nanmean(temperature[mask]) > np.nanmean(temperature[ring]) + 3
            persons += 1
    assert persons >= 3


@pytest.mark.parametrize("condition", ["smoke", "night"])
def test_bad_conditions_hide_persons_from_the_visible_camera_only(condition):
    """Compares the contrast of persons with the same street by day."""

    def contrast(name: str) -> tuple[float, float]:
        drive, visible, thermal = generator(condition=name), [], []
        for index in (0, 20, 45):
            frame = drive.frame(index)
            grey = cv2.cvtColor(frame.visible, cv2.COLOR_BGR2GRAY).astype(float)
            temperature = on_visible(frame, celsius(frame))
            for mask, ring in near_persons(frame):
                visible.append(abs(grey[mask].mean() - grey[ring].mean()))
                thermal.append(np.nanmean(temperature[mask]) - np.nanmean(temperature[ring]))
        return float(np.median(visible)), float(np.mean(thermal))

    (visible_by_day, thermal_by_day), (visible, thermal) = contrast("day"), contrast(condition)
    assert visible < 0.6 * visible_by_day
    assert thermal > 0.8 * thermal_by_day


def test_glare_saturates_part_of_the_visible_image_with_a_person_in_it():
    frame = generator(condition="glare").frame(20)
    white = frame.visible.min(2) >= 250
    assert 0.01 < white.mean() < 0.3
    hidden = white & (frame.labels == PERSON)
    assert hidden.sum() > 30
    temperature = on_visible(frame, celsius(frame))
    assert temperature[hidden].mean() > np.median(temperature[white & (frame.labels == 0)]) + 3


TURNED = thermal_to_visible((160, 120), (320, 240), scale=0.8, angle=6, shift=(9, -5))


@pytest.mark.parametrize("homography", [None, TURNED], ids=["resize", "turned"])
def test_hot_pixels_land_on_labelled_objects(homography):
    drive = fresh(condition="night", homography=homography, **QUIET)
    for index in (0, 30, 60):
        frame = drive.frame(index)
        hot = on_visible(frame, (celsius(frame) > 17).astype(np.uint8), 0) > 0
        objects = cv2.dilate((frame.labels > 0).astype(np.uint8), np.ones((7, 7))) > 0
        objects[:110] = True  # street lamps are hot too
        assert hot[110:].sum() > 100
        assert (hot & objects).sum() > 0.97 * hot.sum()
        for mask, _ in near_persons(frame):
            if on_visible(frame, np.ones((120, 160)), 0)[mask].all():  # in both images
                assert hot[mask].mean() > 0.2


def test_alignment_is_best_at_the_homography():
    """A shift of the thermal image reduces the overlap of persons with their heat."""
    frame = generator(condition="night", **QUIET).frame(30)
    people = (frame.labels == PERSON).astype(float)
    temperature = on_visible(frame, celsius(frame), 0)

    def score(dx: int, dy: int) -> float:
        return float((np.roll(temperature, (dy, dx), (0, 1)) * people).sum())

    aligned = score(0, 0)
    assert all(aligned >= score(*shift) for shift in ((3, 0), (-3, 0), (0, 3), (0, -3)))


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
    focal, eye, row = 0.9 * 320, 1.4, 2 * 108 + 0.5  # in a visible image of 320 x 240
    depth = focal * eye / (row - 0.46 * 240)
    expected = 0.3 * focal / depth / 2  # thermal pixels

    def misfit(shift: int) -> float:
        return float(np.abs(moved[20:100] - plain[20 + shift : 100 + shift]).mean())

    assert min(range(-20, 40), key=misfit) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("bits", sorted(THERMAL_SCALES))
def test_counts_fit_the_bits_and_give_plausible_temperatures(bits):
    frame = generator(thermal_bits=bits, dead_pixels=0).frame(0)
    assert frame.thermal.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert frame.thermal.max() < 2**bits
    temperature = celsius(frame, bits)
    assert -12 < temperature.min() and temperature.max() < 60
    assert 15 < np.median(temperature) < 25


def test_fourteen_bit_counts_lie_in_the_documented_range():
    counts = generator(dead_pixels=0).frame(0).thermal
    assert 6500 < counts.min() and counts.max() < 8400


def test_dead_pixels_are_stuck():
    drive = generator(dead_pixels=9)
    x, y = drive.dead_pixels.T
    values = np.array([drive.frame(i).thermal[y, x] for i in (0, 11, 90)])
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


def test_objects_move_and_grow_as_the_robot_drives():
    drive = generator(condition="day")
    first, second = drive.frame(0), drive.frame(1)
    assert np.abs(first.visible.astype(int) - second.visible).mean() > 2
    tallest = [max(b.h for b in drive.frame(i).boxes if b.label == PERSON) for i in (0, 60)]
    assert tallest[1] > 1.2 * tallest[0]


INVALID = [
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


@pytest.mark.parametrize(("name", "value"), INVALID)
def test_an_invalid_value_is_named_in_the_error(name, value):
    with pytest.raises(InputError) as error:
        DriveConfig(**{name: value})
    text = str(error.value)
    assert text.startswith(f"{name}=") and repr(value) in text and "expected" in text


@pytest.mark.parametrize("index", [-1, 1.5])
def test_an_invalid_index_is_named_in_the_error(index):
    with pytest.raises(InputError, match=f"index={index}; expected"):
        generator().frame(index)


def test_the_configuration_keeps_its_own_homography():
    matrix = np.eye(3)
    config = DriveConfig(homography=matrix)
    matrix[:] = 0
    assert (config.homography == np.eye(3)).all()
    with pytest.raises(ValueError):
        config.homography[0, 0] = 2


@settings(max_examples=8)
@given(
    visible=st.tuples(st.integers(16, 200), st.integers(16, 200)),
    thermal=st.tuples(st.integers(16, 160), st.integers(16, 120)),
    index=st.integers(0, 10**6),
)
def test_any_size_and_time_renders(visible, thermal, index):
    config = DriveConfig(visible_size=visible, thermal_size=thermal, frames=10**6)
    frame = DriveGenerator(config).frame(index)
    assert frame.visible.shape[1::-1] == frame.labels.shape[::-1] == visible
    assert frame.thermal.shape[::-1] == thermal
