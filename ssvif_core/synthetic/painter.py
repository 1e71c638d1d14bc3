"""Draws the actors of one moment onto a canvas, each kind in its own way, from far to near.

Light, projection and the street itself are left to `canvas`, sensor effects to `camera` and
`thermal`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ssvif_core.synthetic.actors import Actor, Pose
from ssvif_core.synthetic.canvas import Canvas, Flare, fixed
from ssvif_core.synthetic.config import BICYCLE, CAR, PERSON, Mood
from ssvif_core.synthetic.numeric import noise
from ssvif_core.synthetic.shapes import Clothes, Limb, Mesh, bicycle, rider, walker
from ssvif_core.synthetic.street import PERIOD, Sprite, Street
from ssvif_core.synthetic.view import EYE_X, EYE_Y, NEAR, View

SPEED = 4.0  # of the camera, m/s
FAR = 64.0  # actors are drawn in z NEAR..FAR

# Outline of a rod that points right: half a circle at its start, then one at its end.
_ROD = np.concatenate([np.linspace(-0.5, 0.5, 6) * math.pi + turn for turn in (math.pi, 0)])


class Props(NamedTuple):
    """What is drawn with."""

    street: Street
    trees: list[list[Sprite]]
    cloth: np.ndarray
    metal: np.ndarray


def grain(rng: np.random.Generator, slope: float, depth: float) -> np.ndarray:
    """(64, 64, 3) float32 factors: texture, and darker towards the ground."""
    fade = np.linspace(1.1, 0.86, 64, dtype=np.float32)[:, None]
    plane = fade * (1 + depth * noise(rng, (64, 64), slope))
    return np.ascontiguousarray(np.repeat(np.clip(plane, 0.4, 1.6)[..., None], 3, 2))


def paint(view: View, props: Props, actors: Sequence[Actor], mood: Mood, t: float) -> Canvas:
    """The street and everybody in it at time t (s)."""
    reach, at = view.margin, SPEED * t
    shake = (
        round(reach * (0.7 * math.sin(0.5 * t) + 0.2 * math.sin(7 * t))),
        round(reach * (0.25 * math.sin(5.3 * t) + 0.15 * math.sin(11 * t + 1))),
    )
    canvas = Canvas(view, props.street, mood, at, shake)
    painter = _Painter(canvas, props)
    ahead = [((pose.z - at) % PERIOD, actor, pose) for actor in actors for pose in (actor.at(t),)]
    for z, actor, pose in sorted(ahead, key=lambda item: -item[0]):
        if NEAR < z < FAR and abs(pose.x - EYE_X) < 0.7 * z + 3:
            painter.draw(actor, pose, z)
    return canvas


class _Painter:
    """x, z are an actor's place relative to the camera."""

    def __init__(self, canvas: Canvas, props: Props) -> None:
        self.canvas, self.props = canvas, props

    def draw(self, actor: Actor, pose: Pose, z: float) -> None:
        x, heading, shadow = pose.x, pose.heading, self.canvas.shadow
        if isinstance(actor.body, Mesh):
            shadow(x, z + 2.1, 1.0, 2.3)
            self._car(actor.body, x, z)
        elif isinstance(actor.body, Clothes) and actor.kind == "cyclist":
            shadow(x, z, 0.5, 0.5)
            self._bicycle(x, z, heading)
            self._person(rider(actor.body, pose.gait), x, z, heading, 1.0)
        elif isinstance(actor.body, Clothes):
            shadow(x, z, 0.35, 0.25)
            limbs = walker(actor.body, pose.gait, pose.stride)
            self._person(limbs, x, z, heading, actor.size)
        elif actor.kind == "tree":
            shadow(x, z, 1.2, 1.0)
            self._tree(x, z, actor.size, int(actor.phase))
        else:
            self._lamp(x, z)

    def _person(
        self, limbs: list[Limb], x: float, z: float, heading: tuple[float, float], size: float
    ) -> None:
        canvas = self.canvas
        canvas.begin(PERSON, x, z)
        ends = np.array([limb[:2] for limb in limbs]).reshape(-1, 3)
        ends = _turned(ends, x, z, heading, size)
        uv, scale = canvas.project(ends).reshape(-1, 2, 2), canvas.view.f * size / z
        radius = np.array([(limb.ra, limb.rb) for limb in limbs]) * scale
        colours = np.array([limb.colour for limb in limbs]) * canvas.gain
        along = uv[:, 1] - uv[:, 0]
        turn = np.arctan2(along[:, 1], along[:, 0])[:, None] + _ROD
        round_ = np.stack((np.cos(turn), np.sin(turn)), 2) * np.repeat(radius, 6, 1)[..., None]
        centre = np.repeat(uv, 6, 1)
        edge = fixed(centre + round_)
        core = fixed(centre + 0.62 * round_ + radius[:, :1, None] * (0.2, -0.2))
        dark = (0.8 * colours + canvas.veil).tolist()
        bright = (1.12 * colours + canvas.veil).tolist()
        for i in np.argsort(-ends[:, 2].reshape(-1, 2).sum(1)):
            canvas.fill(edge[i], dark[i], limbs[i].warmth)
            if scale > 12:  # the sunlit middle
                cv2.fillConvexPoly(canvas.bgr, core[i], bright[i], cv2.LINE_AA, 4)
        joints, thick = uv.reshape(-1, 2), 0.2 * scale
        canvas.end(np.concatenate((joints - thick, joints + thick)), self.props.cloth)

    def _bicycle(self, x: float, z: float, heading: tuple[float, float]) -> None:
        canvas = self.canvas
        canvas.begin(BICYCLE, x, z)
        every = []
        colour = (np.array((44, 40, 38)) * canvas.gain + canvas.veil).tolist()
        matter = (canvas.air + 2, canvas.tag, z)
        for points, radius in bicycle():
            uv = canvas.project(_turned(points, x, z, heading, 1.0))
            p = [fixed(uv)]
            width = max(1, round(2 * radius * canvas.view.f / z))
            cv2.polylines(canvas.bgr, p, False, colour, width, cv2.LINE_AA, 4)
            cv2.polylines(canvas.heat, p, False, matter, width, cv2.LINE_8, 4)
            every.append(uv)
        canvas.end(np.concatenate(every), self.props.cloth)

    def _car(self, mesh: Mesh, x: float, z: float) -> None:
        canvas, mood = self.canvas, self.canvas.mood
        canvas.begin(CAR, x, z)
        uv = canvas.project(mesh.points + (x, 0, z))
        outlines = np.split(fixed(uv), mesh.ends[:-1])
        facing = (mesh.normals * ((EYE_X - x, EYE_Y, -z) - mesh.middles)).sum(1) > 0
        colours = (mesh.colours * canvas.gain + canvas.veil).tolist()
        for i in np.flatnonzero(facing):
            if mesh.lamps[i] and mood.night > 0.3:
                colours[i] = mesh.colours[i].tolist()
                white = mesh.colours[i, 0] > 200
                power = 0.7 * mood.glare + 0.35 * mood.night if white else 0.05 * mood.night
                tint = (0.92, 0.97, 1.0) if white else (0.1, 0.1, 1.0)
                u, v = outlines[i].mean(0) / 16
                canvas.flares.append(Flare(u, v, z, power, tint))
            canvas.fill(outlines[i], colours[i], mesh.warmth[i])
        canvas.end(uv, self.props.metal)

    def _tree(self, x: float, z: float, size: float, kind: int) -> None:
        canvas = self.canvas
        per_metre = canvas.view.f / z * size / 80  # sprite pixels to canvas pixels
        level = min(max(int(math.log2(0.8 / per_metre)) + 1, 0), 5) if per_metre < 0.8 else 0
        image, warm = self.props.trees[kind][level]
        per_metre *= 2**level
        ((u, v),) = canvas.project(np.array([(x, 0.0, z)]))
        h, w = warm.shape
        u0, v0 = u - w / 2 * per_metre, v - h * per_metre
        part = canvas.part(u0, u0 + w * per_metre, v0, v)
        roi, heat = canvas.bgr[part], canvas.heat[part]
        if not roi.size:
            return
        place = np.array([[per_metre, 0, u0 - part[1].start], [0, per_metre, v0 - part[0].start]])
        to = (roi.shape[1], roi.shape[0])
        sprite = cv2.warpAffine(image, place, to)
        alpha = sprite[..., 3].astype(np.float32) * np.float32(1 / 255)
        gain, _ = canvas.light(x, z, 2.5)
        leaf = cv2.multiply(cv2.cvtColor(sprite, cv2.COLOR_BGRA2BGR), (*gain, 0), dtype=cv2.CV_8U)
        roi[:] = cv2.blendLinear(leaf, np.ascontiguousarray(roi), alpha, 1 - alpha)
        solid = alpha > 0.5
        heat[..., 0][solid] = (cv2.warpAffine(warm, place, to) + canvas.air - 17)[solid]
        heat[..., 1][solid] = 0
        heat[..., 2][solid] = z

    def _lamp(self, x: float, z: float) -> None:
        canvas, night = self.canvas, self.canvas.mood.night
        canvas.begin(0, x, z)
        lean = -math.copysign(1.4, x)
        colour = (np.array((96, 100, 98)) * canvas.gain + canvas.veil).tolist()
        for (x0, y0), (x1, y1), r in (((x, 0), (x, 6), 0.06), ((x, 6), (x + lean, 6.3), 0.045)):
            a, b = canvas.project(np.array([(x0, y0, z), (x1, y1, z)]))
            r *= canvas.view.f / z
            across = np.array((r, 0)) if x0 == x1 else np.array((0, r))
            pole = np.array((a - across, a + across, b + across, b - across))
            canvas.fill(fixed(pole), colour, -1)
        corners = ((0.8, 6.2), (1.15, 6.2), (1.15, 6.32), (0.8, 6.34))
        head = canvas.project(np.array([(x + lean * k, y, z) for k, y in corners]))
        canvas.fill(fixed(head), (190, 235, 255) if night > 0.3 else colour, 12 * night)
        u, v = head.mean(0)
        canvas.flares.append(Flare(u, v, z, 0.12 * night, (0.5, 0.8, 1.0)))


def _turned(
    points: np.ndarray, x: float, z: float, heading: tuple[float, float], size: float
) -> np.ndarray:
    """(forward, sideways, up) -> world, for a body at x, z that faces `heading` (x, z)."""
    hx, hz = heading
    f, s, up = points.T * size
    return np.stack((x + f * hx + s * hz, up, z + f * hz - s * hx), 1)
