"""The fusion scores: known values, invariances, and rejected input."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ssvif_core.metrics import FUSION_METRICS, fusion_metrics, luma_of_bgr
from ssvif_core.metrics import fusion as m

STRIPES = np.array([[0, 255], [0, 255]], np.uint8)
BARS = STRIPES.T.copy()

small_images = arrays(
    np.uint8, st.tuples(st.integers(2, 12), st.integers(2, 12)), elements=st.integers(0, 255)
)
seeds = st.integers(0, 2**32 - 1)


def scene(seed: int = 0, shape: tuple[int, int] = (64, 80)) -> np.ndarray:
    """A smooth random image that uses the whole range."""
    noise = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def bgr(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)


class TestEntropy:
    def test_counts_bits(self):
        assert m.entropy(np.full((4, 4), 7, np.uint8)) == 0
        assert m.entropy(STRIPES) == 1
        assert m.entropy(np.arange(256, dtype=np.uint8).reshape(16, 16)) == 8

    @given(small_images)
    def test_ignores_positions_and_order_of_levels(self, image):
        assert 0 <= m.entropy(image) <= 8
        assert m.entropy(255 - image[::-1]) == pytest.approx(m.entropy(image), abs=1e-9)


class TestContrastAndSharpness:
    def test_known_values(self):
        slope = np.array([[0, 3], [4, 7]], np.uint8)  # dx = 3, dy = 4
        assert m.standard_deviation(STRIPES) == 127.5
        assert m.spatial_frequency(slope) == pytest.approx(5)
        assert m.average_gradient(slope) == pytest.approx(math.sqrt(12.5))

    @pytest.mark.parametrize(
        "score", [m.standard_deviation, m.spatial_frequency, m.average_gradient]
    )
    @given(image=small_images)
    def test_scales_with_contrast_and_ignores_brightness(self, score, image):
        half = image.astype(np.float32) / 2
        assert score(half + 100) == pytest.approx(score(image) / 2, rel=1e-4, abs=1e-4)


class TestMutualInformation:
    def test_known_values(self):
        assert m.mutual_information(STRIPES, STRIPES) == 1
        assert m.mutual_information(STRIPES, 255 - STRIPES) == 1
        assert m.mutual_information(STRIPES, BARS) == 0

    @given(small_images, seeds)
    def test_is_symmetric_and_bounded_by_entropy(self, image, seed):
        other = np.random.default_rng(seed).integers(0, 4, image.shape).astype(np.uint8)
        shared = m.mutual_information(image, other)
        assert shared == pytest.approx(m.mutual_information(other, image), abs=1e-9)
        assert -1e-9 <= shared <= min(m.entropy(image), m.entropy(other)) + 1e-9


class TestScd:
    def test_is_two_if_each_difference_is_the_other_source(self):
        visible, thermal = scene(0) // 2, scene(1) // 2
        assert m.scd(visible, thermal, visible + thermal) == pytest.approx(2)

    def test_a_flat_difference_adds_nothing(self):
        visible, flat = scene(0), np.full((64, 80), 9, np.uint8)
        assert m.scd(visible, flat, visible) == pytest.approx(1)


class TestVif:
    def test_is_one_for_the_same_image_and_ignores_brightness(self):
        image = scene().astype(np.float32) / 2
        assert m.vif(image, image) == pytest.approx(1)
        assert m.vif(image, image + 100) == pytest.approx(1, abs=1e-4)

    def test_blur_lowers_and_contrast_raises_it(self):
        image = scene().astype(np.float32) / 2
        assert m.vif(image, cv2.GaussianBlur(image, (0, 0), 3)) < 0.5
        assert m.vif(image, image * 2) > 1

    def test_an_inverted_image_scores_zero(self):
        assert m.vif(scene(), 255 - scene()) == pytest.approx(0, abs=1e-3)

    def test_a_flat_source_scores_zero(self):
        assert m.vif(np.full((64, 80), 93, np.uint8), scene()) == 0

    def test_smallest_image(self):
        assert m.vif(scene(shape=(41, 41)), scene(shape=(41, 41))) == pytest.approx(1)
        with pytest.raises(ValueError, match="at least 41 pixels"):
            m.vif(scene(shape=(40, 64)), scene(shape=(40, 64)))


class TestQabf:
    def test_is_the_product_of_both_sigmoids_for_the_same_image(self):
        best = 0.9994 / (1 + math.exp(-7.5)) * 0.9879 / (1 + math.exp(-4.4))
        image = scene()
        assert m.qabf(image, image, image) == pytest.approx(best, abs=1e-5)

    def test_rotated_edges_score_zero(self):
        ramp = np.tile(np.arange(0, 160, 2, dtype=np.uint8), (80, 1))
        assert m.qabf(ramp, ramp, ramp.T.copy()) < 1e-3

    def test_sources_without_edges_score_zero(self):
        flat = np.zeros((8, 8), np.uint8)
        assert m.qabf(flat, flat, scene(shape=(8, 8))) == 0


class TestSsim:
    def test_constant_images_give_the_luminance_term(self):
        a, b, c1 = 100.0, 50.0, 2.55**2
        images = (np.full((16, 16), x, np.uint8) for x in (a, b))
        expected = (2 * a * b + c1) / (a * a + b * b + c1)
        assert m.ssim(*images) == pytest.approx(expected, abs=1e-6)

    @settings(max_examples=30)
    @given(seeds, seeds)
    def test_is_symmetric_and_one_for_the_same_image(self, seed_a, seed_b):
        a, b = scene(seed_a), scene(seed_b)
        assert m.ssim(a, a) == pytest.approx(1, abs=1e-6)
        assert m.ssim(a, b) == pytest.approx(m.ssim(b, a), abs=1e-6)

    @pytest.mark.parametrize("seed", range(3))
    def test_agrees_with_scikit_image(self, seed):
        metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
        a = scene(seed)
        b = cv2.GaussianBlur(a, (0, 0), 1) // 2 + scene(seed + 10) // 4
        _, per_pixel = metrics.structural_similarity(
            a, b, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            full=True,
        )  # fmt: skip
        assert m.ssim(a, b) == pytest.approx(per_pixel.mean(), abs=1e-5)


class TestQcb:
    def test_range(self):
        visible, thermal = scene(0), scene(1)
        assert m.qcb(visible, visible, visible) == pytest.approx(1, abs=1e-6)
        assert 0 < m.qcb(visible, thermal, scene(2)) < m.qcb(visible, thermal, visible) < 1

    def test_ignores_a_contrast_stretch(self):
        """All images are stretched to the whole range first."""
        visible, thermal = scene(0), scene(1)
        dull = visible.astype(np.float32) / 2 + 20
        assert m.qcb(dull, thermal, visible) == pytest.approx(m.qcb(visible, thermal, visible))

    def test_flat_images_score_one(self):
        flat = np.full((32, 32), 40, np.uint8)
        assert m.qcb(flat, flat, flat) == 1


class TestNabf:
    def test_sources_and_flat_images_add_no_edges(self):
        visible, thermal = scene(0), scene(1)
        assert m.nabf(visible, thermal, visible) == 0
        assert m.nabf(visible, thermal, np.zeros_like(visible)) == 0

    def test_grows_with_noise(self):
        visible, thermal = scene(0) // 2, scene(1) // 2
        noise = np.random.default_rng(2).integers(0, 100, visible.shape)
        little, much = ((visible + noise * x).astype(np.uint8) for x in (0.1, 1))
        assert 0 < m.nabf(visible, thermal, little) < m.nabf(visible, thermal, much) < 1


class TestFusionMetrics:
    def test_gives_nine_scores_and_two_more_if_extended(self):
        images = bgr(scene(0)), scene(1), bgr(scene(2))
        nine = fusion_metrics(*images)
        assert tuple(nine) == FUSION_METRICS
        assert all(isinstance(score, float) for score in nine.values())
        more = fusion_metrics(*images, extended=True)
        assert set(more) - set(nine) == {"Qcb", "Nabf"}

    def test_equal_images_score_perfectly(self):
        image = scene()
        scores = fusion_metrics(bgr(image), image, bgr(image))
        assert scores["SSIM"] == pytest.approx(1, abs=1e-6)
        assert scores["VIF"] == pytest.approx(2)
        assert scores["MI"] == pytest.approx(2 * scores["EN"])

    def test_both_sources_count_equally(self):
        a, b, fused = scene(0), scene(1), bgr(scene(2))
        scores, swapped = fusion_metrics(bgr(a), b, fused), fusion_metrics(bgr(b), a, fused)
        assert scores == pytest.approx(swapped, rel=1e-6)

    def test_floats_score_like_bytes(self):
        images = scene(0), scene(1), scene(2)
        visible, thermal, fused = (image.astype(np.float64) for image in images)
        floats = m.ssim(visible, fused), m.vif(thermal, fused), m.qabf(visible, thermal, fused)
        visible, thermal, fused = images
        assert floats == pytest.approx(
            (m.ssim(visible, fused), m.vif(thermal, fused), m.qabf(visible, thermal, fused))
        )

    def test_is_reproducible_to_the_bit(self):
        images = bgr(scene(0)), scene(1), bgr(scene(2))
        assert fusion_metrics(*images, extended=True) == fusion_metrics(*images, extended=True)


class TestRejectedInput:
    @pytest.mark.parametrize(
        ("image", "message"),
        [
            (np.zeros((8, 8, 3), np.uint8), r"image has shape \(8, 8, 3\), expected \(H, W\)"),
            (np.zeros((1, 8), np.uint8), "at least 2 pixels"),
            (np.zeros((8, 8), np.uint16), "uint16.*map 16-bit thermal"),
            (np.full((8, 8), 256.0), "spans 256..256, expected finite values in 0..255"),
            (np.full((8, 8), np.nan), "spans nan..nan"),
        ],
    )
    def test_luma(self, image, message):
        with pytest.raises(ValueError, match=message):
            m.entropy(image)

    def test_different_sizes(self):
        with pytest.raises(ValueError, match=r"visible \(64, 80\), thermal \(48, 80\)"):
            m.scd(scene(), scene(shape=(48, 80)), scene())

    def test_errors_name_the_argument(self):
        with pytest.raises(ValueError, match=r"fused_bgr has shape \(64, 80\).*BGR"):
            fusion_metrics(bgr(scene()), scene(), scene())
        with pytest.raises(ValueError, match="visible_bgr has dtype uint16"):
            luma_of_bgr(bgr(scene()).astype(np.uint16), "visible_bgr")
