"""From scenes to pictures, with the exact mask of everything in them.

Backdrops are painted for all scenes of a setting at once, things for all of a kind at once; only the pasting
goes scene by scene. Whatever varies comes from the seeds of scenes and things, so a scene looks the same in
any batch, and (but for its sharpness) at any size.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final, cast

import torch
from torch import Tensor

from fromnoise.errors import RequestError, did_you_mean
from fromnoise.world.backdrop import Backdrop, Light
from fromnoise.world.chance import Dice
from fromnoise.world.layout import layout
from fromnoise.world.palette import SKIES, WORDS, Sky, rgb
from fromnoise.world.pasting import halo, paste, reflect, rim, shade
from fromnoise.world.patches import PATTERNS, Draw, Patch, Place, paint_things, sun_of
from fromnoise.world.scene import Scene
from fromnoise.world.settings import PAINT
from fromnoise.world.styles import AFTER as STYLED
from fromnoise.world.styles import BEFORE
from fromnoise.world.things import DRAW
from fromnoise.world.vocabulary import COLOURS, STYLES, TEXTURES, THINGS, TIMELESS, WEATHERS
from fromnoise.world.weather import BEFORE as FALL
from fromnoise.world.weather import BEHIND as FAR
from fromnoise.world.weather import overcast

KIND_NUMBER: Final = {kind: n for n, kind in enumerate(THINGS, start=1)}
COLOUR_NUMBER: Final = {"": 0} | {colour: n for n, colour in enumerate(COLOURS, start=1)}
TEXTURE_NUMBER: Final = {texture: n for n, texture in enumerate(TEXTURES, start=1)}
STREAM: Final = 1  # of a scene's seed
MIN_SIZE: Final = 16
WATERS: Final = ("sea",)
PAVED: Final = ("city",)
STYLE_STREAM: Final = 3
CHUNK: Final = 8  # backdrops under paint at a time: what fits the cache


@dataclass(frozen=True, slots=True)
class Rendering:
    """Pictures and their ground truth.

    Letters: B scenes, H x W pixels
    Shapes:  pixels (B, 3, H, W); kinds, colours, textures, owners (B, H, W); all uint8
    Units:   pixels 0..255; masks 0 for the backdrop, else 1 + index in THINGS, COLOURS, TEXTURES and
             scene.things (colours are 0, too, where a thing has colours of its own);
             visible: for each thing, the part of its pixels that nothing hides and the frame keeps
    """

    pixels: Tensor
    kinds: Tensor
    colours: Tensor
    textures: Tensor
    owners: Tensor
    visible: tuple[tuple[float, ...], ...]


@torch.inference_mode()
def render(
    scenes: Sequence[Scene],
    size: int = 128,
    device: torch.device | str = "cpu",
    draw: Draw = DRAW,
) -> Rendering:
    """Draw scenes as square pictures.

    Raises: RequestError for a size below 16, or a word that the world does not have
    """
    check(scenes, size, draw)
    frames, tints, skies = backdrops(scenes, size, device)
    by_style = groups_of(scenes, lambda scene: scene.style, STYLED)
    for style, members in by_style.items():
        if style in BEFORE:
            frames[members] = BEFORE[style](frames[members], dice_of(scenes, members, STYLE_STREAM, device))
    patches = paint_things(scenes, size, draw, tints)
    ground(frames, scenes, patches)
    owners = torch.zeros(len(scenes), size, size, dtype=torch.uint8, device=frames.device)
    for b, scene in enumerate(scenes):
        for i, thing in enumerate(scene.things):
            if thing.texture == "glowing":
                halo(frames[b], thing)
            if scene.style == "paper-cut":
                rim(frames[b], patches[b, i])
            paste(frames[b], owners[b], patches[b, i], i + 1)
    visible = visible_parts(owners, scenes, patches)
    for weather, members, backdrop in skies:
        backdrop.rgb = frames[members]
        FALL[weather](backdrop)
        frames[members] = backdrop.rgb
    for style, members in by_style.items():
        dice = dice_of(scenes, members, STYLE_STREAM, device)
        frames[members], owners[members] = STYLED[style](frames[members], owners[members], dice)
    pixels = (frames.clamp(0, 1) * 255 + 0.5).to(torch.uint8)
    kinds = look_up(owners, [[KIND_NUMBER[t.kind] for t in s.things] for s in scenes])
    colours = look_up(owners, [[COLOUR_NUMBER[t.colour] for t in s.things] for s in scenes])
    textures = look_up(owners, [[TEXTURE_NUMBER[t.texture] for t in s.things] for s in scenes])
    return Rendering(pixels, kinds, colours, textures, owners, visible)


def groups_of(
    scenes: Sequence[Scene], word: Callable[[Scene], str], among: Mapping[str, object]
) -> dict[str, list[int]]:
    """Which scenes have each of these words."""
    groups: dict[str, list[int]] = defaultdict(list)
    for b, scene in enumerate(scenes):
        if word(scene) in among:
            groups[word(scene)].append(b)
    return groups


def dice_of(scenes: Sequence[Scene], members: Sequence[int], stream: int, device: torch.device | str) -> Dice:
    """Dice for some of the scenes."""
    return Dice([scenes[b].seed for b in members], stream, device)


def check(scenes: Sequence[Scene], size: int, draw: Draw) -> None:
    """Refuse what cannot be drawn.  Raises: RequestError"""
    if size < MIN_SIZE:
        raise RequestError({"size": f"{size} pixels are too few; at least {MIN_SIZE}"})
    known = {"setting": PAINT, "time": SKIES, "kind": draw, "colour": WORDS, "texture": PATTERNS}
    known |= {"weather": WEATHERS, "style": STYLES}
    for scene in scenes:
        words = [(f, getattr(scene, f)) for f in ("setting", "time", "weather", "style")]
        words += [(f, getattr(t, f)) for t in scene.things for f in ("kind", "texture")]
        words += [("colour", t.colour) for t in scene.things if t.colour or THINGS[t.kind].usual]
        for field, word in words:
            if word not in known[field]:
                raise RequestError(
                    {field: f"{word!r} cannot be drawn"}, hint=did_you_mean(word, tuple(known[field]))
                )


def backdrops(
    scenes: Sequence[Scene], size: int, device: torch.device | str
) -> tuple[Tensor, Tensor, list[tuple[str, list[int], Backdrop]]]:
    """The empty places, how each one's light tints things, and what is still to fall on which of them.

    Shapes: (B, 3, H, W), (B, 3, 1, 1)
    """
    frames = torch.empty(len(scenes), 3, size, size, device=device)
    tints = torch.empty(len(scenes), 3, 1, 1, device=device)
    skies: list[tuple[str, list[int], Backdrop]] = []
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for b, scene in enumerate(scenes):
        groups[scene.setting, scene.weather if scene.weather in FALL else ""].append(b)
    for (setting, weather), members in groups.items():
        for start in range(0, len(members), CHUNK):
            chosen = members[start : start + CHUNK]
            dice = dice_of(scenes, chosen, STREAM, frames.device)
            light, tint = light_for([scenes[b] for b in chosen], dice)
            backdrop = Backdrop(size, dice, light)
            PAINT[setting](backdrop)
            if weather in FAR:
                FAR[weather](backdrop)
            if weather:
                skies.append((weather, chosen, backdrop))
            frames[chosen], tints[chosen] = backdrop.rgb, tint
    return frames, tints, skies


def light_for(scenes: Sequence[Scene], dice: Dice) -> tuple[Light, Tensor]:
    """Choose each scene's sky by its seed; the sky glows where the sun stands."""
    names = [f.name for f in fields(Sky)]
    chances = cast(list[float], dice.roll()[:, 0].tolist())
    skies = [SKIES[s.time][int(c * len(SKIES[s.time]))] for s, c in zip(scenes, chances, strict=True)]
    device = dice.key.device
    numbers = torch.tensor([[rgb(getattr(sky, name)) for name in names] for sky in skies], device=device)
    colour = dict(zip(names, numbers.transpose(0, 1)[..., None, None], strict=True))
    suns = [sun_of(s) for s in scenes]
    where = dice.between(0.15, 0.85)
    known = torch.tensor([[sun.x if sun else -1.0] for sun in suns], device=device)
    hours = torch.tensor(
        [[s.time == "night", s.time in ("sunset", "sunrise")] for s in scenes], device=device
    ).float()
    tint = colour.pop("tint")
    timeless = torch.tensor([s.setting in TIMELESS for s in scenes], device=device).view(-1, 1, 1, 1)
    light = Light(
        top=colour["top"],
        middle=colour["middle"],
        low=colour["low"],
        glow=colour["glow"],
        veil=colour["veil"],
        water=colour["water"],
        land=colour["light"],
        glow_x=torch.where(known < 0, where, known),
        night=hours[:, :1],
        sunset=hours[:, 1:],
    )
    return overcast(light, scenes), torch.where(timeless, torch.ones_like(tint), tint)


def ground(frames: Tensor, scenes: Sequence[Scene], patches: dict[Place, Patch]) -> None:
    """Bind each thing that stands to what it stands on: a soft shadow, and in water its reflection."""
    size = frames.shape[-1]
    steps = (torch.arange(size, device=frames.device) + 0.5) / size
    for b, scene in enumerate(scenes):
        for i, thing in enumerate(scene.things):
            if stands(scene, i):
                if mirrors(scene):
                    reflect(frames[b], patches[b, i], round((thing.y + thing.size / 2) * size))
                shade(frames[b], thing, steps)


def mirrors(scene: Scene) -> bool:
    """Is the ground water, or as wet as that?"""
    return scene.setting in WATERS or (scene.setting in PAVED and scene.weather == "rainy")


def stands(scene: Scene, index: int) -> bool:
    """Does this thing rest on the ground, not in the air nor on another thing?"""
    thing, lines = scene.things[index], layout(scene.setting)
    if any(r.word == "on top of" and r.subject == index for r in scene.relations):
        return False
    if scene.setting == "paper":  # a sheet has no ground line: what usually stands does
        return THINGS[thing.kind].place == "ground"
    return lines.solid and thing.y + thing.size / 2 > lines.ground - 0.03


def look_up(owners: Tensor, numbers: Sequence[Sequence[int]]) -> Tensor:
    """Replace each owner by its number; 0 stays 0.  Shapes: (B, H, W) -> (B, H, W)"""
    if not numbers:
        return owners
    longest = max(map(len, numbers))
    table = [[0, *row, *([0] * (longest - len(row)))] for row in numbers]
    rows = torch.tensor(table, dtype=torch.uint8, device=owners.device)
    return rows.gather(1, owners.flatten(1).long()).view_as(owners)


def visible_parts(
    owners: Tensor, scenes: Sequence[Scene], patches: dict[Place, Patch]
) -> tuple[tuple[float, ...], ...]:
    """The part of each thing that can be seen."""
    parts: list[tuple[float, ...]] = []
    for b, scene in enumerate(scenes):
        count = len(scene.things)
        pixels = cast(list[int], torch.bincount(owners[b].flatten(), minlength=count + 1).tolist())
        areas = [patches[b, i].area for i in range(count)]
        parts.append(
            tuple(seen / area if area else 0.0 for seen, area in zip(pixels[1:], areas, strict=True))
        )
    return tuple(parts)
