"""Models as data: their networks, and how each stage is trained.

Source: the shapes were chosen by FLOPs for two CPU cores; ARCHITECTURE.md tells why
"""

from dataclasses import dataclass, replace
from typing import Any, Self

from fromnoise.specs import (
    ClipSpec,
    Defaults,
    ImageTowerSpec,
    ModelSpec,
    OracleSpec,
    ScheduleSpec,
    UNetSpec,
    VaeSpec,
)
from fromnoise.train.pool import SHARD
from fromnoise.train.recipe import Recipe
from fromnoise.train.turbo import TurboRecipe
from fromnoise.train.unet import UNetRecipe
from fromnoise.world import FULL, SMALL, Mix, World
from fromnoise.world.vocabulary import STYLES, WEATHERS

PROMPTS = (
    "a red lighthouse on an island at sunset",
    "a purple whale in the sea at night",
    "a white cat in a meadow by day",
    "a blue car in the desert at sunset",
    "a yellow balloon in the snow by day",
    "a green rocket in space",
    "a pink house on a beach at sunset",
    "an orange fish in the sea by day",
    "a brown mushroom in a forest by day",
    "a black castle in the snow at night",
    "a gold star on paper",
    "a red heart on paper",
    "three yellow balloons on a beach by day",
    "a blue robot in a forest at night",
    "a white ghost in a meadow at night",
    "a red boat in the sea at sunset",
)


FULL_PROMPTS = (
    "a red lighthouse on an island at sunset",
    "three yellow balloons above a blue mountain in the snow by day",
    "a purple whale in the sea at night under a starry sky",
    "a cat on top of a pink cake in a garden by day",
    "two blue robots in a city at night in the rain",
    "a glowing white ghost in a forest at night in the fog",
    "a teal owl in a forest at night, watercolour",
    "a black penguin in the snow at sunrise in falling snow",
    "a rainbow in a meadow by day",
    "an orange butterfly in a garden at sunrise",
    "a gold crescent inside a red heart on paper",
    "a green rocket in space, neon",
    "a red mushroom in a forest by day, paper cut-out",
    "a striped orange snail in a garden by day",
    "a yellow car in a city at sunset, pixel art",
    "five pink flowers in a meadow by day, chalk",
)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A model, and how each of its stages is trained."""

    spec: ModelSpec
    image_tower: ImageTowerSpec
    oracle_spec: OracleSpec
    oracle: Recipe
    vae: Recipe
    decoder: Recipe
    clip: Recipe
    unet: UNetRecipe
    turbo: TurboRecipe
    scenes: int  # in the pool
    mix: Mix | None = None  # of scenes; None: the world's own
    shard: int = SHARD  # scenes in a file of the pool
    prompts: tuple[str, ...] = PROMPTS  # what the sample sheets show

    def told(self, stage: str, **changes: Any) -> Self:
        """The same, but for some numbers in one stage's recipe."""
        return replace(self, **{stage: replace(getattr(self, stage), **changes)})

    @property
    def world(self) -> World:
        """The words that its scenes are made of."""
        return self.mix.world if self.mix else SMALL

    def in_world(self, world: World) -> Self:
        """The same model, trained on scenes of another world."""
        if world is self.world:
            return self
        oracle = oracle_spec(world, self.oracle_spec.width, self.oracle_spec.groups)
        prompts = (PROMPTS if world is SMALL else FULL_PROMPTS)[: len(self.prompts)]
        return replace(self, mix=replace(self.mix or Mix(), world=world), oracle_spec=oracle, prompts=prompts)


def oracle_spec(world: World, width: int = 32, groups: int = 8) -> OracleSpec:
    """An oracle that tells all the words of a world."""
    return OracleSpec(
        kinds=len(world.things) + 1,
        colours=len(world.colours) + 1,
        settings=len(world.settings),
        times=len(world.times),
        weathers=len(WEATHERS) if world.has_looks else 0,
        styles=len(STYLES) if world.has_looks else 0,
        textures=len(world.textures) + 1 if world.has_looks else 0,
        width=width,
        groups=groups,
    )


VOCAB, WINDOW, TEXT_WIDTH = 1024, 32, 192
SIZE = 128

MITE = ModelSpec(
    name="mite",
    texts=(
        ClipSpec(
            vocab=VOCAB,
            context=WINDOW,
            width=TEXT_WIDTH,
            heads=6,
            layers=4,
            end=VOCAB - 1,
            pad=VOCAB - 1,
            hidden=-2,
            projection=TEXT_WIDTH,
        ),
    ),
    vae=VaeSpec(
        base_width=32,
        multipliers=(1, 2, 4),
        patch=2,
        blocks=1,
        groups=8,
        mid_attention=False,
        latent_scale=1.0,
    ),
    unet=UNetSpec(
        base_width=64,
        multipliers=(1, 2, 3),
        down=((0,), (1,), (1,)),
        mid=1,
        up=((1, 1), (1, 1), (0, 0)),
        groups=16,
        heads=None,
        head_width=32,
        context_width=TEXT_WIDTH,
        linear_projection=True,
        pooled_width=TEXT_WIDTH,
    ),
    # more steps where the layout is decided, and more of what the text says: measured, see docs/training.md
    schedule=ScheduleSpec(kind="flow", shift=2.0),
    prediction="flow",
    defaults=Defaults(
        width=SIZE, height=SIZE, steps=20, guidance=4.5, sampler="euler", spacing="uniform", enlarge=4
    ),
)
IMAGE_TOWER = ImageTowerSpec(projection=TEXT_WIDTH)
ORACLE = oracle_spec(SMALL)

ORACLE_RECIPE = Recipe(steps=3000, batch=32, lr=1.5e-3, look_every=250, held_out=512)
VAE_RECIPE = Recipe(steps=9000, batch=16, lr=1.5e-3, look_every=500, held_out=64)
DECODER_RECIPE = Recipe(steps=3000, batch=16, lr=5e-4, fall=0.5, look_every=500, held_out=64)
CLIP_RECIPE = Recipe(
    steps=800, batch=128, lr=1e-3, warmup=100, weight_decay=0.05, look_every=100, held_out=256
)
UNET_RECIPE = UNetRecipe(
    steps=24_000,
    batch=64,
    lr=7e-4,
    warmup=400,
    fall=0.38,
    look_every=1000,
    ema=0.10,
    held_out=512,
    slower={"text": 0.3},
)
TURBO_RECIPE = TurboRecipe(
    steps=700,
    batch=16,
    lr=2e-3,
    warmup=20,
    fall=0.6,
    weight_decay=0.0,
    ema=0.06,
    look_every=200,
    guidance=MITE.defaults.guidance,
)

MITE_RUN = Preset(
    spec=MITE,
    image_tower=IMAGE_TOWER,
    oracle_spec=ORACLE,
    oracle=ORACLE_RECIPE,
    vae=VAE_RECIPE,
    decoder=DECODER_RECIPE,
    clip=CLIP_RECIPE,
    unet=UNET_RECIPE,
    turbo=TURBO_RECIPE,
    scenes=90_000,
    mix=Mix(single=0.28, pair=0.30, count=0.14, rich=0.28, pattern=0.05, variants=1, flips=False),
)

# The full world in all its drawings. Source: MITE_RUN, longer by the ratio of the words; not trained yet
FULL_RUN = replace(
    MITE_RUN.in_world(FULL),
    spec=replace(MITE, name="mite-full"),
    oracle=replace(ORACLE_RECIPE, steps=6000),
    vae=replace(VAE_RECIPE, steps=12_000),
    clip=replace(CLIP_RECIPE, steps=2000),
    unet=replace(UNET_RECIPE, steps=40_000),
    scenes=120_000,
    mix=Mix(single=0.40, pair=0.20, count=0.15, rich=0.25, world=FULL),
)

# The same stages and code paths in seconds: what the tests run on, and a rehearsal before a long training.
_TINY_WIDTH, _TINY_SIZE = 32, 32
_TINY_RECIPE = Recipe(steps=4, batch=8, lr=1e-3, warmup=2, held_out=16, look_every=2)
TINY_RUN = Preset(
    spec=replace(
        MITE,
        name="tiny-mite",
        texts=(replace(MITE.texts[0], width=_TINY_WIDTH, heads=2, layers=2, projection=_TINY_WIDTH),),
        vae=replace(MITE.vae, base_width=8, groups=4),
        unet=replace(
            MITE.unet,
            base_width=16,
            groups=4,
            head_width=8,
            context_width=_TINY_WIDTH,
            pooled_width=_TINY_WIDTH,
        ),
        defaults=replace(MITE.defaults, width=_TINY_SIZE, height=_TINY_SIZE, steps=4),
    ),
    image_tower=replace(
        IMAGE_TOWER, size=_TINY_SIZE, width=_TINY_WIDTH, heads=2, layers=2, projection=_TINY_WIDTH
    ),
    oracle_spec=replace(ORACLE, width=8, groups=4),
    oracle=_TINY_RECIPE,
    vae=replace(_TINY_RECIPE, batch=4),
    decoder=replace(_TINY_RECIPE, batch=4),
    clip=_TINY_RECIPE,
    unet=UNetRecipe(steps=4, batch=8, lr=1e-3, warmup=2, held_out=16, look_every=2),
    turbo=TurboRecipe(
        steps=4, batch=2, lr=1e-3, warmup=2, held_out=16, look_every=2, rank=2, strides=2, teacher_steps=2
    ),
    scenes=64,
    shard=32,
    prompts=PROMPTS[:2],
)


def run_for(world: World, *, tiny: bool = False) -> Preset:
    """How a model of a world is trained, or the rehearsal of it."""
    if tiny:
        return TINY_RUN.in_world(world)
    return MITE_RUN if world is SMALL else FULL_RUN.in_world(world)
