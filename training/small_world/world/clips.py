"""The clips of the small world: one creature in a colour that swims or sleeps, drawn from formulas.

64x64 pixels, 16 frames, 8 frames a second. Three bodies, six colours, five motions; size, start, speed and
background are random. A creature that moves has an open eye on its leading side and swims towards the light:
the water darkens behind it. One that rests has its eyes closed, in even water. Temporal modules have no text
input and read the motion from single frames; the light tells it where noise hides the eye, at the first steps
of sampling, where the path is decided.

Everything is drawn with signed distances (negative inside, in pixels), so edges are smooth and any batch is
drawn at once. Local coordinates: u along the heading, v to its side, in units of the body's size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SIZE = 64
FRAMES = 16
BODIES = ("fish", "crab", "star")
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.90, 0.18, 0.16),
    "orange": (0.98, 0.52, 0.08),
    "yellow": (0.97, 0.86, 0.16),
    "green": (0.18, 0.72, 0.28),
    "blue": (0.16, 0.40, 0.92),
    "purple": (0.66, 0.24, 0.84),
}
MOTIONS = ("still", "left", "right", "up", "down")
HEADINGS = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]])  # (x, y) by motion


@dataclass
class Clips:
    """Parameters of n clips. body, colour, motion: (n,) indices; the rest in pixels or 0..1.

    centre: (n, f, 2) x, y of the body; size: (n,); heading: (n, 2); background: (n, 2, 3) RGB of the water at
    the picture's edges behind and ahead; rgb: (n, 3) colour of the body.
    """

    body: Tensor
    colour: Tensor
    motion: Tensor
    centre: Tensor
    size: Tensor
    heading: Tensor
    background: Tensor
    rgb: Tensor

    def __len__(self) -> int:
        return len(self.body)

    @property
    def labels(self) -> Tensor:
        """(n, 3) body, colour, motion."""
        return torch.stack([self.body, self.colour, self.motion], dim=1)

    def captions(self) -> list[str]:
        """Full captions, e.g. `a red fish swimming left`, `a blue crab sleeping`."""
        return captions_of(self.labels)


def caption(body: str, colour: str, motion: str) -> str:
    doing = "sleeping" if motion == "still" else f"swimming {motion}"
    return f"a {colour} {body} {doing}"


def captions_of(labels: Tensor) -> list[str]:
    """Full captions of labels (n, 3)."""
    names = list(COLOURS)
    return [caption(BODIES[b], names[c], MOTIONS[m]) for b, c, m in labels.tolist()]


def without_colour(text: str) -> str:
    """`a red fish swimming left` -> `a fish swimming left`."""
    article, _colour, rest = text.split(" ", 2)
    return f"{article} {rest}"


def all_labels() -> list[tuple[int, int, int]]:
    """The 90 combinations of body, colour and motion, as indices."""
    return [(b, c, m) for b in range(len(BODIES)) for c in range(len(COLOURS)) for m in range(len(MOTIONS))]


def labels_in_turn(n: int) -> Tensor:
    """(n, 3): the 90 combinations in turn, mixed so that any part of them is a fair sample."""
    combinations = all_labels()
    # 37 and 90 have no common divisor: every combination comes once before one comes again.
    return torch.tensor([combinations[i * 37 % len(combinations)] for i in range(n)])


def _uniform(n: int, low: float | Tensor, high: float | Tensor, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)


def _backgrounds(moving: Tensor, generator: torch.Generator) -> Tensor:
    """(n, 2, 3): pale or deep water, little saturation so that the creature stands out, darker behind it."""
    n = len(moving)
    # Colour of the water: a hue as RGB in 0..1, of which little is mixed in.
    hue = torch.rand(n, generator=generator)
    tint = torch.stack([(torch.cos(2 * torch.pi * (hue + k / 3)) + 1) / 2 for k in range(3)], dim=1)
    saturation = _uniform(n, 0.04, 0.20, generator)[:, None]
    # Its brightness ahead of the creature, and the share of it that is left behind one that moves.
    deep = torch.rand(n, generator=generator) < 0.4
    value = torch.where(deep, _uniform(n, 0.20, 0.40, generator), _uniform(n, 0.75, 0.97, generator))
    fall = torch.where(moving, _uniform(n, 0.50, 0.70, generator), 1.0)[:, None]
    ahead = value[:, None] * (1 - saturation * (1 - tint))
    return torch.stack([ahead * fall, ahead], dim=1)


def _centres(
    size: Tensor, travel: Tensor, heading: Tensor, frames: int, generator: torch.Generator
) -> Tensor:
    """(n, f, 2) x, y of bodies that swim `travel` pixels along `heading` and stay inside the picture."""
    n = len(size)
    # Along the heading, counted from the side behind the creature, with room for the whole way; and across.
    margin = 1.28 * size  # a little more than the farthest that a body reaches from its centre
    start = _uniform(n, margin, SIZE - margin - travel, generator)
    across = _uniform(n, margin, SIZE - margin, generator)[:, None].expand(-1, frames)
    along = start[:, None] + travel[:, None] * torch.linspace(0, 1, frames)

    # To x and y: the side behind is the far one for those that look left or up.
    positive = (heading.sum(1) > 0)[:, None]
    along = torch.where(positive, along, SIZE - along)
    horizontal = (heading[:, 0] != 0)[:, None]
    x, y = torch.where(horizontal, along, across), torch.where(horizontal, across, along)
    return torch.stack([x, y], dim=-1)


def sample_clips(
    n: int,
    generator: torch.Generator,
    labels: Tensor | None = None,
    frames: int = FRAMES,
    between: bool = False,
) -> Clips:
    """n random clips; `labels` (n, 3) fixes body, colour and motion, otherwise all are random.

    between: colours anywhere between those of the palette, named by the nearest.
    """
    # What is shown.
    if labels is None:
        counts = (len(BODIES), len(COLOURS), len(MOTIONS))
        labels = torch.stack([torch.randint(c, (n,), generator=generator) for c in counts], dim=1)
    body, colour, motion = labels.unbind(1)

    # How large it is, how far it swims and which way it looks; sleepers stay, and face either side.
    size = _uniform(n, 10.0, 13.0, generator)
    moving = motion != 0
    travel = torch.where(moving, _uniform(n, 15.0, 24.0, generator), 0.0)
    heading = HEADINGS[motion].clone()
    flip = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    heading[~moving] *= flip[~moving, None]

    centre = _centres(size, travel, heading, frames, generator)

    # Its colour: of the palette, or up to half-way to a neighbour in it.
    palette = torch.tensor(list(COLOURS.values()))
    rgb = palette[colour]
    if between:
        side = 2 * torch.randint(2, (n,), generator=generator) - 1
        neighbour = palette[(colour + side) % len(palette)]
        rgb = torch.lerp(rgb, neighbour, _uniform(n, 0, 0.5, generator)[:, None])
    return Clips(body, colour, motion, centre, size, heading, _backgrounds(moving, generator), rgb)


def _ellipse(u: Tensor, v: Tensor, a: float, b: float) -> Tensor:
    """Approximate distance to an ellipse with half axes a, b: exact on its outline, first order around it."""
    # The implicit function k - 1 over the length of its gradient (g / k).
    k = ((u / a) ** 2 + (v / b) ** 2).sqrt()
    g = ((u / a**2) ** 2 + (v / b**2) ** 2).sqrt()
    return k * (k - 1) / g.clamp_min(1e-6)


def _fish(u: Tensor, v: Tensor) -> Tensor:
    body = _ellipse(u - 0.15, v, 1.0, 0.66)
    tail = torch.maximum((v.abs() - 0.95 * (-0.5 - u)) * 0.72, -1.25 - u)
    fin = _ellipse(u + 0.05, v.abs() - 0.55, 0.35, 0.28)
    return torch.minimum(torch.minimum(body, torch.maximum(tail, u + 0.5)), fin)


def _crab(u: Tensor, v: Tensor) -> Tensor:
    side = v.abs()
    shell = _ellipse(u + 0.15, v, 0.62, 0.88)
    claw = ((u - 0.72) ** 2 + (side - 0.80) ** 2).sqrt() - 0.36
    bite = torch.maximum(0.9 - u - 2.2 * (side - 0.80).abs(), 0.62 - u)  # a notch open to the front
    claw = torch.maximum(claw, bite * 0.4)
    arm = torch.maximum((side - 0.78).abs() - 0.13, (u - 0.25).abs() - 0.4)
    leg = torch.maximum(((u + 0.62 - 0.35 * (side - 0.7)).abs() - 0.09), (side - 0.85).abs() - 0.33)
    return torch.minimum(torch.minimum(shell, claw), torch.minimum(arm, leg))


def _star(u: Tensor, v: Tensor) -> Tensor:
    radius = (u**2 + v**2).sqrt()
    angle = torch.atan2(v, u)
    # Fold the plane onto the upper half of one arm, that along the heading: five arms, each symmetric.
    sector = 2 * torch.pi / 5
    a = (angle + sector / 2).remainder(sector) - sector / 2
    x, y = radius * torch.cos(a), radius * torch.sin(a).abs()
    # Distance to the one edge left: from the tip (1.18, 0) to the notch between two arms. Rounded by 0.06.
    notch = torch.tensor(
        [0.50 * torch.cos(torch.tensor(sector / 2)), 0.50 * torch.sin(torch.tensor(sector / 2))]
    )
    edge = notch - torch.tensor([1.18, 0.0])
    normal = torch.tensor([edge[1], -edge[0]]) / edge.norm()
    return (x - 1.18) * normal[0] + y * normal[1] - 0.06


def _eyes(body: int, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distances to white of the eye, pupil and closed lid."""
    where = ((0.62, 0.0, 0.27), (0.30, 0.34, 0.25), (0.42, 0.0, 0.27))[body]
    du, dv = u - where[0], (v.abs() if body == 1 else v) - where[1]
    white = (du**2 + dv**2).sqrt() - where[2]
    pupil = ((du - 0.09) ** 2 + dv**2).sqrt() - 0.14
    lid = torch.maximum(du.abs() - 0.06, dv.abs() - where[2])
    return white, pupil, lid


@dataclass
class Distances:
    """Signed distances (n, f, 64, 64) in units of the body's size, negative inside.

    u, v: place along and across the heading, y: downwards, in the same units; size: (n, 1, 1, 1) pixels.
    """

    shape: Tensor
    white: Tensor
    pupil: Tensor
    lid: Tensor
    u: Tensor
    v: Tensor
    y: Tensor
    size: Tensor

    def paint(
        self, picture: Tensor, distance: Tensor, rgb: Tensor | float, strength: Tensor | float = 1.0
    ) -> None:
        """Cover `picture` (n, f, 3, 64, 64) in place where `distance` is negative, with smooth edges."""
        alpha = ((0.5 - distance * self.size).clamp(0, 1) * strength)[:, :, None]
        picture.mul_(1 - alpha).add_(alpha * rgb)

    def paint_eyes(self, picture: Tensor, awake: Tensor) -> None:
        """awake: (n, 1, 1, 1), 1 for open eyes and 0 for closed ones."""
        self.paint(picture, self.white, 0.98, awake)
        self.paint(picture, self.pupil, 0.05, awake)
        self.paint(picture, self.lid, 0.05, 1 - awake)


def distances(clips: Clips, frames: list[int] | None = None) -> Distances:
    """Where the creature and its eyes are; `frames` picks some of each clip."""
    centre = clips.centre if frames is None else clips.centre[:, frames]
    grid = torch.arange(SIZE) + 0.5
    dx = grid[None, None, None, :] - centre[..., 0, None, None]
    dy = grid[None, None, :, None] - centre[..., 1, None, None]
    # Turn and scale the picture's axes into the creature's: u along its heading, v across.
    size = clips.size[:, None, None, None]
    hx, hy = (clips.heading[:, k, None, None, None] for k in (0, 1))
    u = (dx * hx + dy * hy) / size
    v = (dy * hx - dx * hy) / size
    # Each body has its own formula.
    shape = torch.empty_like(u)
    white, pupil, lid = torch.empty_like(u), torch.empty_like(u), torch.empty_like(u)
    for index, distance in enumerate((_fish, _crab, _star)):
        mine = clips.body == index
        if mine.any():
            shape[mine] = distance(u[mine], v[mine])
            white[mine], pupil[mine], lid[mine] = _eyes(index, u[mine], v[mine])
    return Distances(shape, white, pupil, lid, u, v, dy / size, size)


def towards_light(clips: Clips) -> Tensor:
    """(n, 1, 64, 64): 0 at the picture's edge behind the heading, 1 at the one ahead."""
    ramp = torch.linspace(-0.5, 0.5, SIZE)
    hx, hy = clips.heading[:, :, None, None].unbind(1)
    return (0.5 + hx * ramp[None, None, :] + hy * ramp[None, :, None])[:, None]


def draw(clips: Clips, frames: list[int] | None = None) -> Tensor:
    """Pictures of the clips, (n, f, 3, 64, 64) float32 in 0..1; `frames` picks some of each clip."""
    at = distances(clips, frames)
    n, f = at.shape.shape[:2]
    # Water, lighter towards where the creature looks.
    behind, ahead = (clips.background[:, k, :, None, None] for k in (0, 1))
    water = behind + (ahead - behind) * towards_light(clips)
    picture = water[:, None].expand(n, f, 3, SIZE, SIZE).clone()
    # The creature, from the outline in.
    rgb = clips.rgb[:, None, :, None, None]
    at.paint(picture, at.shape - 1.6 / at.size, rgb * 0.45)  # a darker outline of about a pixel and a half
    light = (0.92 - 0.16 * at.y.clamp(-1, 1))[:, :, None]  # lit from above
    at.paint(picture, at.shape, (rgb * light * 1.08).clamp(0, 1))
    at.paint_eyes(picture, (clips.motion != 0).float()[:, None, None, None])
    return picture
