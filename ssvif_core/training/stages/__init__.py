"""The stages of a training.

base          what a stage is: the loop in `trainer` knows no more
fusion        1a: F learns to fuse
consistency   1b: S_f and S_p learn classes on which they agree; F is frozen
joint         2: F, S_f and S_p learn together
regions       F and S_f learn to tell regions apart; for classes named by few labels
"""

from __future__ import annotations

from ssvif_core.training.stages.base import Batch, Losses, Networks, Stage
from ssvif_core.training.stages.consistency import ConsistencyStage
from ssvif_core.training.stages.fusion import FusionStage
from ssvif_core.training.stages.joint import JointStage
from ssvif_core.training.stages.regions import RegionsStage

STAGES: dict[str, type[Stage]] = {
    stage.name: stage for stage in (FusionStage, ConsistencyStage, JointStage, RegionsStage)
}

__all__ = ["STAGES", "Batch", "Losses", "Networks", "Stage"]
