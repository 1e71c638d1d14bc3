"""The networks, in PyTorch.

fusion       what a fusion network F takes and gives
networks/    the fusion networks, one file each; `registry` finds them
heads        S_f reads classes from the features of F; a naming turns them into named classes
pixel_net    S_p reads classes from the fused image, in training only
blocks       convolutions that train with branches and run as one
model        F and S_f with their names: what is saved, exported and shipped
"""

from ssvif_core.models.model import Model, ModelConfig, Prediction, load_model, save_model

__all__ = ["Model", "ModelConfig", "Prediction", "load_model", "save_model"]
