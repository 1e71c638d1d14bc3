"""Figures that show how self-supervision fails, and the decision to stop.

Four failures are watched:

- The classes collapse to a few (`entropy`, `live_classes`).
- The classes are only brightness thresholds (`luma_information`).
- F hides class codes in the fused image (`qabf`, `similarity`, `validation_fusion`).
- The consistency loss does not reach F (`gradient_norm`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ssvif_core.losses.fusion import edge_transfer, ssim_maps
from ssvif_core.training.config import HealthConfig

LUMA_BINS = 16
LIVE_SHARE = 0.001  # smallest share of the pixels that a live class holds
LIVE_DEVIATION = 0.01  # smallest deviation over the pixels that the logit of a live class has


def class_figures(labels: Tensor, luma: Tensor, deviation: Tensor) -> dict[str, float]:
    """Figures about the classes of the pixels.

    Args:
        labels: class ids below K, integers of any shape.
        luma: in [0, 1], of the same shape.
        deviation: (K,), standard deviation of each class's logit over the pixels. It is taken
            before the standardisation, which turns even rounding errors into classes.

    Returns:
        entropy: of the classes' shares, divided by ln K.
        live_classes: share of the classes that hold more than 0.1 % of the pixels and whose
            logits differ between pixels.
        luma_information: mutual information of class and luma (16 equal bins), divided by the
            entropy of the classes. It is 1 if the classes are brightness thresholds, and 0 if
            they are independent of brightness.

    >>> luma = torch.arange(4096) / 4096
    >>> figures = class_figures((luma * 4).long(), luma, deviation=torch.ones(4))
    >>> {name: round(figure, 6) for name, figure in figures.items()}
    {'entropy': 1.0, 'live_classes': 1.0, 'luma_information': 1.0}
    """
    classes = len(deviation)
    bins = (luma.flatten() * LUMA_BINS).long().clamp(0, LUMA_BINS - 1)
    joint = torch.bincount(labels.flatten() * LUMA_BINS + bins, minlength=classes * LUMA_BINS)
    joint = joint.view(classes, LUMA_BINS).double() / max(labels.numel(), 1)
    shares = joint.sum(1)
    class_entropy = _entropy(shares)
    information = class_entropy + _entropy(joint.sum(0)) - _entropy(joint)
    is_live = (shares > LIVE_SHARE) & (deviation > LIVE_DEVIATION)
    return {
        "entropy": class_entropy / math.log(classes),
        "live_classes": float(is_live.double().mean()),
        "luma_information": information / class_entropy if class_entropy > 1e-6 else 0.0,
    }


def image_figures(fused: Tensor, visible: Tensor, thermal: Tensor) -> dict[str, float]:
    """Figures about what the fused luma keeps of its sources.

    Args:
        fused, visible, thermal: (B, 1, H, W) in [0, 1].

    Returns:
        qabf: share of the edges that are transferred.
        similarity: mean SSIM to both sources.
    """
    sources = [visible, thermal]
    similarity = torch.stack([ssim.mean() for ssim in ssim_maps(fused, sources)]).mean()
    return {
        "qabf": float(edge_transfer(fused, sources).mean()),
        "similarity": float(similarity),
    }


def gradient_norm(loss: Tensor, parameters: Iterable[nn.Parameter]) -> float:
    """The norm of the gradient of `loss` with respect to `parameters`; the graph is kept."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = torch.autograd.grad(loss, trained, retain_graph=True, allow_unused=True)
    squares = [gradient.detach().square().sum() for gradient in gradients if gradient is not None]
    return math.sqrt(float(torch.stack(squares).sum())) if squares else 0.0


class CollapseWatch:
    """Reports a collapse when the classes are below a gate for several epochs in a row.

    >>> watch = CollapseWatch(HealthConfig(entropy=0.3, live_classes=0.25, patience=1))
    >>> figures = {"entropy": 0.8, "live_classes": 1.0}
    >>> figures |= {"pixel_entropy": 0.1, "pixel_live_classes": 1.0}
    >>> watch.look(figures).partition(" for ")[0]
    'the classes have collapsed: pixel_entropy 0.10 (gate 0.30)'
    """

    def __init__(self, config: HealthConfig) -> None:
        self.config = config
        self.bad_epochs = 0

    def look(self, figures: dict[str, float]) -> str | None:
        """Take the figures of one epoch; returns the reason to stop, with advice, or None."""
        gates = {"entropy": self.config.entropy, "live_classes": self.config.live_classes}
        below = [
            f"{name} {figures[name]:.2f} (gate {gate:.2f})"
            for figure, gate in gates.items()
            for name in (figure, f"pixel_{figure}")  # of S_f and of S_p
            if figures[name] < gate
        ]
        self.bad_epochs = self.bad_epochs + 1 if below else 0
        if self.bad_epochs < self.config.patience:
            return None
        return (
            f"the classes have collapsed: {', '.join(below)} for {self.bad_epochs} epochs. "
            "Lower learning_rate, raise consistency.queue or batch, keep consistency.balance and "
            "consistency.information on, and check that the recordings show more than one scene"
        )


def verdicts(stage: str, figures: dict[str, float], config: HealthConfig) -> list[str]:
    """Sentences about the problems of a finished stage; empty if all is well.

    >>> verdicts("2 joint", {"validation_agreement": 0.8}, HealthConfig())
    []
    """
    problems = []
    agreement = figures.get("validation_agreement", 1.0)
    if agreement < config.agreement:
        problems.append(
            f"{stage}: the branches agree on {agreement:.0%} of the pixels (gate "
            f"{config.agreement:.0%}), so the classes mean little yet; train longer"
        )
    information = figures.get("luma_information", 0.0)
    if information > config.luma_information:
        problems.append(
            f"{stage}: luma explains {information:.0%} of the classes (gate "
            f"{config.luma_information:.0%}), so they are brightness thresholds; strengthen the "
            "views"
        )
    return problems


def _entropy(shares: Tensor) -> float:
    positive = shares[shares > 0]
    return float(-(positive * positive.log()).sum())
