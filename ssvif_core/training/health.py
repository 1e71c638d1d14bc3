"""What goes wrong in self-supervision, as figures, and when to stop.

Four failures are watched: collapse to few classes (`entropy`, `live_classes`), brightness posing
as classes (`luma_information`), codes painted into the image (`qabf`, `similarity`,
`validation_fusion`), and a fusion network that the consistency does not reach (`gradient_norm`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ssvif_core.losses.fusion import edge_transfer, ssim_maps
from ssvif_core.training.config import HealthConfig

LUMA_BINS = 16
LIVE_SHARE = 0.001
SILENT = 0.01  # deviation of a class's logit over the pixels below which it says nothing


def class_figures(labels: Tensor, luma: Tensor, deviation: Tensor) -> dict[str, float]:
    """How the pixels fall into classes.

    labels: class ids, any shape; luma: in [0, 1], same shape; deviation: (K,), of each class's
    logit over the pixels, before it is standardised: that makes classes of rounding errors, too.

    Returns `entropy`, of the classes' shares, divided by ln K; `live_classes`, the share of the
    classes that hold more than 0.1 % of the pixels and do not say the same everywhere;
    `luma_information`, the mutual information of
    class and luma (16 equal bins), divided by the entropy of the classes: 1 if classes are
    brightness thresholds, 0 if they have nothing to do with brightness.
    """
    classes = len(deviation)
    bins = (luma.flatten() * LUMA_BINS).long().clamp(0, LUMA_BINS - 1)
    joint = torch.bincount(labels.flatten() * LUMA_BINS + bins, minlength=classes * LUMA_BINS)
    joint = joint.view(classes, LUMA_BINS).double() / max(labels.numel(), 1)
    shares = joint.sum(1)
    class_entropy = _entropy(shares)
    information = class_entropy + _entropy(joint.sum(0)) - _entropy(joint)
    return {
        "entropy": class_entropy / math.log(classes),
        "live_classes": float(((shares > LIVE_SHARE) & (deviation > SILENT)).double().mean()),
        "luma_information": information / class_entropy if class_entropy > 1e-6 else 0.0,
    }


def image_figures(fused: Tensor, visible: Tensor, thermal: Tensor) -> dict[str, float]:
    """What the fused luma keeps: all (B, 1, H, W) in [0, 1].

    Returns `qabf`, the share of edges transferred, and `similarity`, the mean SSIM to both sources.
    """
    similarity = torch.stack([m.mean() for m in ssim_maps(fused, [visible, thermal])]).mean()
    return {
        "qabf": float(edge_transfer(fused, [visible, thermal]).mean()),
        "similarity": float(similarity),
    }


def gradient_norm(loss: Tensor, parameters: Iterable[nn.Parameter]) -> float:
    """Norm of the gradient that `loss` sends into `parameters`; the graph is kept."""
    trained = [p for p in parameters if p.requires_grad]
    gradients = torch.autograd.grad(loss, trained, retain_graph=True, allow_unused=True)
    squares = [g.detach().square().sum() for g in gradients if g is not None]
    return math.sqrt(float(torch.stack(squares).sum())) if squares else 0.0


class CollapseWatch:
    """Says when the classes have been below a gate for too many epochs in a row."""

    def __init__(self, config: HealthConfig) -> None:
        self.config = config
        self.bad_epochs = 0

    def look(self, figures: dict[str, float]) -> str | None:
        """The reason to stop, with advice, or none."""
        gates = {"entropy": self.config.entropy, "live_classes": self.config.live_classes}
        below = [
            f"{name} {figures[name]:.2f} (gate {gate:.2f})"
            for gated, gate in gates.items()
            for name in (gated, f"pixel_{gated}")  # of S_f and of S_p
            if figures[name] < gate
        ]
        self.bad_epochs = self.bad_epochs + 1 if below else 0
        if self.bad_epochs < self.config.patience:
            return None
        return (
            f"the classes have collapsed: {', '.join(below)} for {self.bad_epochs} epochs. "
            "Lower learning_rate, raise consistency.queue or batch, keep consistency.balance and "
            "consistency.information on, or see whether the recordings show more than one scene"
        )


def verdicts(stage: str, figures: dict[str, float], config: HealthConfig) -> list[str]:
    """What a person should know of a finished stage, in sentences; empty if all is well."""
    found = []
    agreement = figures.get("validation_agreement", 1.0)
    if agreement < config.agreement:
        found.append(
            f"{stage}: the branches agree on {agreement:.0%} of the pixels (gate "
            f"{config.agreement:.0%}): the classes mean little yet; train longer"
        )
    information = figures.get("luma_information", 0.0)
    if information > config.luma_information:
        found.append(
            f"{stage}: luma explains {information:.0%} of the classes (gate "
            f"{config.luma_information:.0%}): they are brightness thresholds; strengthen the views"
        )
    return found


def _entropy(shares: Tensor) -> float:
    kept = shares[shares > 0]
    return float(-(kept * kept.log()).sum())
