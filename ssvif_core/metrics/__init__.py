"""How good a fused image, a label map or a fused stream is: pure functions of numpy arrays.

`fusion` scores one image against its sources, `person_contrast` asks whether persons stay visible,
`segmentation` compares label maps, `temporal` looks for flicker, `ranking` compares methods.
Reading files, running engines and writing reports is left to :mod:`ssvif_core.evaluation`.
"""

from ssvif_core.metrics.fusion import FUSION_METRICS, Analysed, fusion_metrics
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
    "Analysed",
    "Flicker",
    "Interval",
    "LumaFrame",
    "Ranking",
    "SegmentationScores",
    "PersonContrast",
    "PersonContrastSummary",
    "average_rank",
    "bootstrap_average_rank",
    "bootstrap_interval",
    "box_regions",
    "confusion_matrix",
    "flicker",
    "fusion_metrics",
    "luma_of_bgr",
    "person_regions",
    "region_contrast",
    "segmentation_scores",
    "stream_flicker",
    "summarise",
    "person_contrast",
]
