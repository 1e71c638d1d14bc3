"""Quality measures of fused images, label maps and fused streams, as pure functions of arrays.

`fusion` scores one image against its sources. `person_contrast` measures whether persons stay
visible. `segmentation` compares label maps. `temporal` measures flicker. `ranking` compares
methods. `validate` checks arguments. :mod:`ssvif_core.evaluation` reads files, runs engines and
writes reports.
"""

from ssvif_core.metrics.fusion import FUSION_METRICS, AnalysedImage, fusion_metrics
from ssvif_core.metrics.person_contrast import (
    PersonContrast,
    PersonContrastSummary,
    box_regions,
    person_contrast,
    person_regions,
    region_contrast,
    summarise,
)
from ssvif_core.metrics.ranking import (
    Interval,
    Ranking,
    average_rank,
    bootstrap_average_rank,
    bootstrap_interval,
)
from ssvif_core.metrics.segmentation import (
    SegmentationScores,
    confusion_matrix,
    segmentation_scores,
)
from ssvif_core.metrics.temporal import Flicker, LumaFrame, flicker, stream_flicker
from ssvif_core.metrics.validate import luma_of_bgr

__all__ = [
    "FUSION_METRICS",
    "AnalysedImage",
    "Flicker",
    "Interval",
    "LumaFrame",
    "PersonContrast",
    "PersonContrastSummary",
    "Ranking",
    "SegmentationScores",
    "average_rank",
    "bootstrap_average_rank",
    "bootstrap_interval",
    "box_regions",
    "confusion_matrix",
    "flicker",
    "fusion_metrics",
    "luma_of_bgr",
    "person_contrast",
    "person_regions",
    "region_contrast",
    "segmentation_scores",
    "stream_flicker",
    "summarise",
]
