"""The fusion loss L_fus: the fused image should keep the content of both cameras.

All images are luma (B, 1, H, W) in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssvif_core.errors import InputError
from ssvif_core.models.fusion import exposure, spatial_mean


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, kernel cut at 3 sigma, edges replicated: same shape.

    Two matrix products are ten times faster on a CPU than single-channel convolutions with a long
    kernel. On crops their time does not depend on sigma.
    """
    height, width = x.shape[-2:]
    rows, columns = (_blur_matrix(n, sigma, x.device, x.dtype) for n in (height, width))
    return rows @ (x @ columns.t())


@cache
def _blur_matrix(size: int, sigma: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(size, size) matrix that blurs a line of `size` pixels."""
    radius = int(3 * sigma + 0.5)
    taps = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-taps.square() / (2 * sigma**2))
    columns = (torch.arange(size)[:, None] + taps).clamp(0, size - 1)
    weights = (kernel / kernel.sum()).expand(size, -1)
    return torch.zeros(size, size).scatter_add_(1, columns, weights).to(device, dtype)


def sobel(x: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel derivatives along x and y in grey levels per pixel: same shape each."""
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    down = x[..., :-2, :] / 4 + x[..., 1:-1, :] / 2 + x[..., 2:, :] / 4
    across = x[..., :-2] / 4 + x[..., 1:-1] / 2 + x[..., 2:] / 4
    return (down[..., 2:] - down[..., :-2]) / 2, (across[..., 2:, :] - across[..., :-2, :]) / 2


def dilate(x: Tensor, side: int) -> Tensor:
    """Maximum over a square of odd `side`: same shape.

    Works along one axis, then the other, with windows that double in length. This is faster than
    pooling.

    >>> dilate(torch.tensor([[[[0.0, 0.0, 1.0, 0.0]]]]), 3)
    tensor([[[[0., 1., 1., 1.]]]])
    """
    for _ in range(2):
        line = F.pad(x, (side // 2, side // 2), value=-torch.inf)
        length = 1
        while length < side:
            step = min(length, side - length)
            line = torch.maximum(line[..., :-step], line[..., step:])
            length += step
        x = line.transpose(-1, -2)
    return x


def ssim_maps(image: Tensor, references: list[Tensor], sigma: float = 1.5) -> list[Tensor]:
    """Structural similarity per pixel to each reference, in [-1, 1].

    Wang et al., TIP 2004, eq. 13, with a dynamic range of 1. The references get no gradient.
    """
    c1, c2 = 0.01**2, 0.03**2
    mean = blur(image, sigma)
    variance = blur(image * image, sigma) - mean.square()
    maps = []
    for reference in references:
        with torch.no_grad():
            mean_r = blur(reference, sigma)
            variance_r = blur(reference * reference, sigma) - mean_r.square()
        covariance = blur(image * reference, sigma) - mean * mean_r
        maps.append(
            (2 * mean * mean_r + c1)
            * (2 * covariance + c2)
            / ((mean.square() + mean_r.square() + c1) * (variance + variance_r + c2))
        )
    return maps


@dataclass(frozen=True)
class TargetConfig:
    """Settings of `fusion_target`.

    Raises:
        InputError: `hot_width` or `sky` is not above 0.
    """

    minimum_share: float = 0.16
    minimum_pivot: float = 0.12
    exposed_share: float = 0.4  # of the minimum, where both sources are well exposed
    exposed_pivot: float = 0.35
    veil: float = 0.1
    sharpen: float = 0.27
    hot_threshold: float = 0.08
    hot_width: float = 0.12
    hot_lift: float = 0.5
    kept_contrast: float = 0.8
    saturated: float = 0.93
    sky: float = 0.16

    def __post_init__(self) -> None:
        for name in ("hot_width", "sky"):
            if not getattr(self, name) > 0:
                raise InputError(f"target: {name}={getattr(self, name)}; expected above 0")


def fusion_target(
    visible: Tensor, thermal: Tensor, config: TargetConfig = TargetConfig()
) -> tuple[Tensor, Tensor]:
    """Target luma of the fused image and mask of hot objects, (B, 1, H, W) in [0, 1] each.

    The target starts from the maximum of both images (SeAFusion, Tang et al. 2022) and corrects
    its weaknesses:

    1. A share of the minimum is added about a pivot, so that structure of the darker source is
       kept. The sum of differences then correlates with both sources.
    2. The maximum of two well-exposed images is pale: nothing in it is dark. For such images the
       share is larger, the pivot is higher, and a `veil` is subtracted while white stays white.
       The exposure is one number per image. A local exposure would darken most where the darker
       source is bright, and so remove what step 1 adds. Night images do not change.
    3. Hot objects (warmer than their surroundings of about 12 pixels) become brighter, and a
       brighter visible background around them becomes darker until `kept_contrast` of the thermal
       contrast remains. In headlights, haze and smoke the maximum alone would keep the white veil
       and hide the person behind it. Where the visible image is saturated and shows no content,
       the darkening reaches further. A sky is saturated and cold and does not change: a house is
       warm beside it, but no person would be missed.
    4. Slight unsharp masking compensates for the smoothing of networks.
    """
    c = config
    low, high = torch.minimum(visible, thermal), torch.maximum(visible, thermal)
    exposed = exposure(spatial_mean(visible), spatial_mean(thermal))
    share = c.minimum_share + exposed * (c.exposed_share - c.minimum_share)
    pivot = c.minimum_pivot + exposed * (c.exposed_pivot - c.minimum_pivot)
    veil = c.veil * exposed
    target = (high + share * (low - pivot) - veil) / (1 - veil)

    heat = blur(thermal, 1.5)
    hot = ((heat - blur(thermal, 12) - c.hot_threshold) / c.hot_width).clamp(0, 1)
    saturated = ((blur(visible, 3) - c.saturated) / 0.05).clamp(0, 1)
    far_hot = blur(dilate((2 * hot - 1).clamp(min=0), 49), 8)
    near_hot = torch.maximum(blur(dilate(hot, 17), 4), saturated * far_hot)
    peak = dilate(heat * hot, 57)
    around = blur(thermal, 4)
    lifted_peak = peak + c.hot_lift * (1 - peak)
    ceiling = torch.maximum(lifted_peak - c.kept_contrast * (peak - around).clamp(min=0), around)
    sky = saturated * (2 - 2 * heat / c.sky).clamp(0, 1)
    sky = blur(dilate(sky, 25), 4)  # widened, because the edges of both images do not coincide
    hot, near_hot = hot * (1 - sky), near_hot * (1 - sky)
    surroundings = (near_hot - hot).clamp(min=0)
    target = target - (blur(target, 4) - ceiling).clamp(min=0) * surroundings
    target = target + c.hot_lift * hot * (1 - target)

    target = (target + c.sharpen * (target - blur(target, 2))).clamp(0, 1)
    return target, torch.maximum(hot, near_hot).clamp(0, 1)


@dataclass(frozen=True)
class FusionLossWeights:
    """Weights of the terms of `FusionLoss`.

    The first three are close to those of SwinFusion (Ma et al. 2022).
    """

    intensity: float = 10.0
    gradient: float = 30.0
    ssim: float = 4.0
    target_ssim: float = 2.0
    difference: float = 1.5
    transfer: float = 6.0
    emphasis: float = 4.0  # of hot objects, inside the intensity


class FusionLoss(nn.Module):
    """L_fus: distance to the `fusion_target`, and loss of the sources' content.

    ::

        intensity    mean (1 + emphasis hot) |Y_F - Y*|
        gradient     mean |sobel Y_F - sobel Y*|, along x and y
        target_ssim  1 - mean SSIM(Y_F, Y*)
        ssim         1 - mean SSIM to both sources, each weighted by its share of gradient energy
        difference   1 - [corr(Y_F - T, Y) + corr(Y_F - Y, T)] / 2, see `difference_correlation`
        transfer     1 - mean share of the sources' edges in Y_F, see `edge_transfer`

    The last three terms know only the sources. The emphasis on hot objects keeps them from trading
    a person in headlights for edges of the glare. The gradient has a sign and a direction, so that
    edges of the wrong polarity are penalised.

    Shape: fused, visible, thermal (B, 1, H, W) in [0, 1] -> dict of scalars, including `total`.
    """

    def __init__(
        self,
        weights: FusionLossWeights = FusionLossWeights(),
        target: TargetConfig = TargetConfig(),
    ) -> None:
        super().__init__()
        self.weights = weights
        self.target = target

    def forward(self, fused: Tensor, visible: Tensor, thermal: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            target, hot = fusion_target(visible, thermal, self.target)
            emphasis = 1 + self.weights.emphasis * hot
            target_dx, target_dy = sobel(target)
            energy_visible, energy_thermal = _energy(visible), _energy(thermal)
            share = energy_visible / (energy_visible + energy_thermal)
        fused_dx, fused_dy = sobel(fused)
        to_visible, to_thermal, to_target = ssim_maps(fused, [visible, thermal, target])
        losses = {
            "intensity": (emphasis * (fused - target).abs()).mean(),
            "gradient": ((fused_dx - target_dx).abs() + (fused_dy - target_dy).abs()).mean(),
            "ssim": 1 - (share * to_visible + (1 - share) * to_thermal).mean(),
            "target_ssim": 1 - to_target.mean(),
            "difference": 1 - difference_correlation(fused, visible, thermal).mean() / 2,
            "transfer": 1 - edge_transfer(fused, [visible, thermal]).mean(),
        }
        losses["total"] = sum(getattr(self.weights, name) * loss for name, loss in losses.items())
        return losses


def difference_correlation(fused: Tensor, visible: Tensor, thermal: Tensor) -> Tensor:
    """corr(F - T, Y) + corr(F - Y, T) per image, (B,) in [-2, 2].

    Aslantas and Bendes, AEU 2015, eq. 2: the fused image minus one source should correlate with
    the other source. A flat image counts as uncorrelated.
    """
    return _correlation(fused - thermal, visible) + _correlation(fused - visible, thermal)


def edge_transfer(fused: Tensor, sources: list[Tensor]) -> Tensor:
    """Share of the sources' edges that the fused image preserves, (B,) in [0, 1].

    Xydeas and Petrovic, Electronics Letters 2000: strength and orientation of every edge, each
    passed through a sigmoid, weighted by the edge's strength in the source. The angle is between
    undirected lines, so an edge of the opposite polarity also counts.
    """
    fused_dx, fused_dy = (255 * slope for slope in sobel(fused))
    fused_strength = _length(fused_dx, fused_dy)
    preserved = total = torch.zeros(len(fused)).to(fused)
    for source in sources:
        dx, dy = (255 * slope for slope in sobel(source))
        strength = _length(dx, dy)
        ratio = torch.minimum(fused_strength, strength) / torch.maximum(fused_strength, strength)
        # Clamped below 1, where the slope of the arc cosine is infinite.
        cosine = (fused_dx * dx + fused_dy * dy).abs() / (fused_strength * strength)
        alignment = 1 - torch.arccos(cosine.clamp(max=0.9999)) / (torch.pi / 2)
        similarity = torch.sigmoid(15 * (ratio - 0.5)) * torch.sigmoid(22 * (alignment - 0.8))
        preserved = preserved + (similarity * strength).sum((1, 2, 3))
        total = total + strength.sum((1, 2, 3))
    return preserved / total


def change_loss(change: Tensor) -> Tensor:
    """How much a change (B, 1, H, W) of the fused luma shows: its mean size and its edges."""
    dx, dy = sobel(change)
    return change.abs().mean() + 3 * (dx.abs().mean() + dy.abs().mean())


def _length(dx: Tensor, dy: Tensor) -> Tensor:
    return (dx.square() + dy.square() + 1e-3).sqrt()


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    a, b = (x - x.mean((1, 2, 3), keepdim=True) for x in (a, b))
    variances = a.square().mean((1, 2, 3)) * b.square().mean((1, 2, 3))
    # The constant is inside the root, because the slope of the root is infinite at 0.
    return (a * b).mean((1, 2, 3)) / (variances + 1e-8).sqrt()


def _energy(image: Tensor) -> Tensor:
    """Local gradient energy, (B, 1, H, W), always above 0."""
    dx, dy = sobel(image)
    return blur(dx.square() + dy.square(), 1.5) + 1e-4
