"""Person contrast: which regions count, and how much contrast is kept."""

from __future__ import annotations

import numpy as np
import pytest

from ssvif_core.metrics import person_contrast, summarise
from ssvif_core.metrics.person_contrast import person_regions

BOX = (slice(20, 40), slice(20, 30))


def mask_of(*boxes: tuple[slice, slice]) -> np.ndarray:
    mask = np.zeros((64, 64), np.uint8)
    for box in boxes:
        mask[box] = 1
    return mask


def image_of(background: int, person: int, box: tuple[slice, slice] = BOX) -> np.ndarray:
    image = np.full((64, 64), background, np.uint8)
    image[box] = person
    return image


def test_contrast_kept_is_the_share_of_the_better_source():
    [person] = person_contrast(image_of(50, 60), image_of(100, 200), image_of(50, 80), mask_of(BOX))
    assert (person.visible, person.thermal, person.fused) == (10, 100, 30)
    assert person.kept == pytest.approx(0.3)
    assert person.region.pixels == 200


def test_polarity_does_not_matter():
    [person] = person_contrast(image_of(9, 9), image_of(90, 40), image_of(10, 60), mask_of(BOX))
    assert person.kept == 1


def test_contrast_kept_is_limited():
    [person] = person_contrast(image_of(0, 20), image_of(0, 0), image_of(0, 250), mask_of(BOX))
    assert person.kept == 1.5


def test_persons_without_contrast_in_the_sources_do_not_count():
    assert not person_contrast(image_of(0, 14), image_of(0, 14), image_of(0, 99), mask_of(BOX))


def test_ring_is_nine_pixels_wide_and_stays_in_the_image():
    [region] = person_regions(mask_of((slice(0, 20), slice(20, 30))))
    assert region.window == (slice(0, 29), slice(11, 39))
    assert region.ring[25, 14]
    assert not (region.ring & region.inside).any()


def test_ring_excludes_other_persons_but_includes_ignored_pixels():
    other = (slice(20, 40), slice(33, 43))
    image = image_of(50, 100)
    image[other] = 255
    regions = person_regions(mask_of(BOX, other))
    assert [region.contrast(image) for region in regions] == [50, pytest.approx(205, abs=5)]
    mask = mask_of(BOX)
    mask[mask == 0] = 255
    assert person_regions(mask)[0].contrast(image_of(50, 100)) == 50


def test_diagonal_pixels_are_connected_and_small_regions_are_dropped():
    touching = mask_of((slice(10, 16), slice(10, 16)), (slice(16, 22), slice(16, 22)))
    assert [region.pixels for region in person_regions(touching)] == [72]
    assert not person_regions(mask_of((slice(10, 16), slice(10, 19))))  # 54 pixels


def test_a_person_without_surroundings_is_dropped():
    assert not person_regions(np.ones((64, 64), np.uint8))


def test_summary_has_mean_and_percentile():
    persons = [
        person_contrast(image_of(0, 100), image_of(0, 0), image_of(0, fused), mask_of(BOX))[0]
        for fused in (0, 50, 100)
    ]
    summary = summarise(persons)
    assert (summary.regions, summary.mean) == (3, 0.5)
    assert summary.p10 == pytest.approx(0.1)
    assert np.isnan(summarise([]).mean)


def test_rejected_input():
    image = image_of(0, 9)
    with pytest.raises(ValueError, match="mask has shape .* and dtype float"):
        person_contrast(image, image, image, image.astype(float))
    with pytest.raises(ValueError, match=r"mask \(32, 64\)"):
        person_contrast(image, image, image, mask_of(BOX)[:32])
