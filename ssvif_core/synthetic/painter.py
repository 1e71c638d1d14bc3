"""Draws the actors of one moment onto a canvas, from far to near."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ssvif_core.synthetic.actors import Actor, Pose
from ssvif_core.synthetic.canvas import DEPTH, OBJECT, TEMPERATURE, Canvas, Flare, fixed
from ssvif_core.synthetic.config import BICYCLE, CAR, PERSON, Effects
from ssvif_core.synthetic.numeric import noise
from ssvif_core.synthetic.shapes import Clothes, Limb, Mesh, bicycle, rider, walker
from ssvif_core.synthetic.street import PERIOD, Sprite, Street
from ssvif_core.synthetic.viewpoint import EYE_X, EYE_Y, NEAR, Viewpoint
from ssvif_core.types import Float32Array, Float64Array

SPEED = 4.0  # m/s, of the camera
FAR = 64.0  # m, largest z at which actors are drawn

# Outline of a rod that points right: a half circle at its start, then one at its end.
_ROD = np.concatenate([np.linspace(-0.5, 0.5, 6) * math.pi + turn for turn in (math.pi, 0)])


class Props(NamedTuple):
    """Textures and sprites for drawing."""

    street: Street
    trees: list[list[Sprite]]
    cloth: Float32Array
    metal: Float32Array


def grain(rng: np.random.Generator, slope: float, depth: float) -> Float32Array:
    """Texture as colour factors (64, 64, 3) float32 that fall towards the ground."""
    fade = np.linspace(1.1, 0.86, 64, dtype=np.float32)[:, None]
    plane = fade * (1 + depth * noise(rng, (64, 64), slope))
    return np.ascontiguousarray(np.repeat(np.clip(plane, 0.4, 1.6)[..., None], 3, 2))


def paint(
    viewpoint: Viewpoint, props: Props, actors: Sequence[Actor], effects: Effects, t: float
) -> Canvas:
    """Canvas with the street and its actors at time t (s)."""
    margin, camera_z = viewpoint.margin, SPEED * t
    shake = (
        round(margin * (0.7 * math.sin(0.5 * t) + 0.2 * math.sin(7 * t))),
        round(margin * (0.25 * math.sin(5.3 * t) + 0.15 * math.sin(11 * t + 1))),
    )
    canvas = Canvas(viewpoint, props.street, effects, camera_z, shake)
    painter = _Painter(canvas, props)
    poses = [(actor, actor.at(t)) for actor in actors]
    placed = [((pose.z - camera_z) % PERIOD, actor, pose) for actor, pose in poses]
    for z, actor, pose in sorted(placed, key=lambda item: -item[0]):
        if NEAR < z < FAR and abs(pose.x - EYE_X) < 0.7 * z + 3:
            painter.draw(actor, pose, z)
    return canvas


class _Painter:
    """Draws one actor after another; x is a world coordinate, z is relative to the camera."""

    def __init__(self, canvas: Canvas, props: Props) -> None:
        self.canvas, self.props = canvas, props

    def draw(self, actor: Actor, pose: Pose, z: float) -> None:
        x, heading, shadow = pose.x, pose.heading, self.canvas.shadow
        if isinstance(actor.body, Mesh):
            shadow(x, z + 2.1, 1.0, 2.3)
            self._car(actor.body, x, z)
        elif isinstance(actor.body, Clothes) and actor.category == "cyclist":
            shadow(x, z, 0.5, 0.5)
            self._bicycle(x, z, heading)
            self._person(rider(actor.body, pose.gait), x, z, heading, 1.0)
        elif isinstance(actor.body, Clothes):
            shadow(x, z, 0.35, 0.25)
            limbs = walker(actor.body, pose.gait, pose.stride)
            self._person(limbs, x, z, heading, actor.size)
        elif actor.category == "tree":
            shadow(x, z, 1.2, 1.0)
            self._tree(x, z, actor.size, int(actor.phase))
        else:
            self._lamp(x, z)

    def _person(
        self, limbs: list[Limb], x: float, z: float, heading: tuple[float, float], size: float
    ) -> None:
        canvas = self.canvas
        canvas.begin_object(PERSON, x, z)
        joints = np.array([limb[:2] for limb in limbs]).reshape(-1, 3)
        ends = _to_world(joints, x, z, heading, size)
        uv, scale = canvas.project(ends).reshape(-1, 2, 2), canvas.viewpoint.f * size / z
        radius = np.array([(limb.ra, limb.rb) for limb in limbs]) * scale
        colours = np.array([limb.colour for limb in limbs]) * canvas.gain
        along = uv[:, 1] - uv[:, 0]
        angle = np.arctan2(along[:, 1], along[:, 0])[:, None] + _ROD
        rim = np.stack((np.cos(angle), np.sin(angle)), 2) * np.repeat(radius, 6, 1)[..., None]
        centre = np.repeat(uv, 6, 1)
        edge = fixed(centre + rim)
        core = fixed(centre + 0.62 * rim + radius[:, :1, None] * (0.2, -0.2))
        dark = (0.8 * colours + canvas.added_haze).tolist()
        bright = (1.12 * colours + canvas.added_haze).tolist()
        for i in np.argsort(-ends[:, 2].reshape(-1, 2).sum(1)):
            canvas.fill(edge[i], dark[i], limbs[i].warmth)
            if scale > 12:  # the sunlit middle
                cv2.fillConvexPoly(canvas.bgr, core[i], bright[i], cv2.LINE_AA, 4)
        points, border = uv.reshape(-1, 2), 0.2 * scale
        outline = np.concatenate((points - border, points + border))
        canvas.end_object(outline, self.props.cloth)

    def _bicycle(self, x: float, z: float, heading: tuple[float, float]) -> None:
        canvas = self.canvas
        canvas.begin_object(BICYCLE, x, z)
        outline = []
        colour = canvas.shade(np.array((44, 40, 38))).tolist()
        scalars = (canvas.air + 2, canvas.object_number, z)
        for points, radius in bicycle():
            uv = canvas.project(_to_world(points, x, z, heading, 1.0))
            lines = [fixed(uv)]
            width = max(1, round(2 * radius * canvas.viewpoint.f / z))
            cv2.polylines(canvas.bgr, lines, False, colour, width, cv2.LINE_AA, 4)
            cv2.polylines(canvas.scalars, lines, False, scalars, width, cv2.LINE_8, 4)
            outline.append(uv)
        canvas.end_object(np.concatenate(outline), self.props.cloth)

    def _car(self, mesh: Mesh, x: float, z: float) -> None:
        canvas, (night, glare, _) = self.canvas, self.canvas.effects
        canvas.begin_object(CAR, x, z)
        uv = canvas.project(mesh.points + (x, 0, z))
        outlines = np.split(fixed(uv), mesh.ends[:-1])
        facing = (mesh.normals * ((EYE_X - x, EYE_Y, -z) - mesh.middles)).sum(1) > 0
        colours = canvas.shade(mesh.colours).tolist()
        for i in np.flatnonzero(facing):
            if mesh.lamps[i] and night > 0.3:
                colours[i] = mesh.colours[i].tolist()
                white = mesh.colours[i, 0] > 200
                power = 0.7 * glare + 0.35 * night if white else 0.05 * night
                tint = (0.92, 0.97, 1.0) if white else (0.1, 0.1, 1.0)
                u, v = outlines[i].mean(0) / 16
                canvas.flares.append(Flare(u, v, z, power, tint))
            canvas.fill(outlines[i], colours[i], mesh.warmth[i])
        canvas.end_object(uv, self.props.metal)

    def _tree(self, x: float, z: float, size: float, variant: int) -> None:
        canvas = self.canvas
        scale = canvas.viewpoint.f / z * size / 80  # canvas pixels per sprite pixel
        level = min(max(int(math.log2(0.8 / scale)) + 1, 0), 5) if scale < 0.8 else 0
        image, celsius = self.props.trees[variant][level]
        scale *= 2**level
        ((u, v),) = canvas.project(np.array([(x, 0.0, z)]))
        h, w = celsius.shape
        u0, v0 = u - w / 2 * scale, v - h * scale
        part = canvas.part(u0, u0 + w * scale, v0, v)
        roi, scalars = canvas.bgr[part], canvas.scalars[part]
        if not roi.size:
            return
        affine = np.array([[scale, 0, u0 - part[1].start], [0, scale, v0 - part[0].start]])
        roi_size = (roi.shape[1], roi.shape[0])
        sprite = cv2.warpAffine(image, affine, roi_size)
        alpha = sprite[..., 3].astype(np.float32) * np.float32(1 / 255)
        gain, _ = canvas.light(x, z, 2.5)
        leaf = cv2.multiply(cv2.cvtColor(sprite, cv2.COLOR_BGRA2BGR), (*gain, 0), dtype=cv2.CV_8U)
        roi[:] = cv2.blendLinear(leaf, np.ascontiguousarray(roi), alpha, 1 - alpha)
        solid = alpha > 0.5
        warped = cv2.warpAffine(celsius, affine, roi_size)
        scalars[..., TEMPERATURE][solid] = (warped + canvas.air - 17)[solid]
        scalars[..., OBJECT][solid] = 0
        scalars[..., DEPTH][solid] = z

    def _lamp(self, x: float, z: float) -> None:
        canvas, night = self.canvas, self.canvas.effects.night
        canvas.begin_object(0, x, z)
        lean = -math.copysign(1.4, x)
        colour = canvas.shade(np.array((96, 100, 98))).tolist()
        for (x0, y0), (x1, y1), r in (((x, 0), (x, 6), 0.06), ((x, 6), (x + lean, 6.3), 0.045)):
            a, b = canvas.project(np.array([(x0, y0, z), (x1, y1, z)]))
            r *= canvas.viewpoint.f / z
            across = np.array((r, 0)) if x0 == x1 else np.array((0, r))
            pole = np.array((a - across, a + across, b + across, b - across))
            canvas.fill(fixed(pole), colour, -1)
        corners = ((0.8, 6.2), (1.15, 6.2), (1.15, 6.32), (0.8, 6.34))
        head = canvas.project(np.array([(x + lean * k, y, z) for k, y in corners]))
        canvas.fill(fixed(head), (190, 235, 255) if night > 0.3 else colour, 12 * night)
        u, v = head.mean(0)
        canvas.flares.append(Flare(u, v, z, 0.12 * night, (0.5, 0.8, 1.0)))


def _to_world(
    points: Float64Array, x: float, z: float, heading: tuple[float, float], size: float
) -> Float64Array:
    """(forward, sideways, up) -> world, for a body at x, z that faces `heading` (x, z)."""
    hx, hz = heading
    forward, side, up = points.T * size
    return np.stack((x + forward * hx + side * hz, up, z + forward * hz - side * hx), 1)
