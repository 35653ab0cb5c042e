"""WorldEval is frozen: whoever changes what is asked, or what counts as right, raises its version."""

import json
from dataclasses import asdict
from hashlib import sha256

import torch

from fromnoise.score import make_tiers, plans_digest, tiers_for
from fromnoise.score.stamp import VERSION
from fromnoise.world import FULL, SMALL, World
from fromnoise.world.check import judge
from fromnoise.world.render import render
from fromnoise.world.seeing import sightings

FROZEN = {
    "version": 3,
    "small": "186b1a15687b",
    "full": "a3af6d3d4b97",
    "verdicts": "6db1c13de426",
}
CHANGED = "the ruler has changed: raise VERSION in score/stamp.py, and enter the new digests here"


def plans_of(world: World) -> str:
    return plans_digest(make_tiers(tiers_for(world), 4, 2, world=world))[:12]


def verdicts() -> str:
    """What the rules say of true label maps, whole and with a part of them rubbed out."""
    prompts = [
        prompt
        for tier in make_tiers(("single", "count", "position", "attribution"), 6, 2)
        for several in tier.prompts.values()
        for prompt in several
    ]
    drawn = render([prompt.scene for prompt in prompts], 64)
    found: list[object] = []
    for n, (prompt, kinds, colours) in enumerate(zip(prompts, drawn.kinds, drawn.colours, strict=True)):
        seen = torch.ones_like(kinds)
        seen[:, 8 * (n % 8) : 8 * (n % 8) + 12] = 0
        for maps in ((kinds, colours), (kinds * seen, colours * seen), (kinds.flip(1), colours.flip(1))):
            verdict = judge(prompt.atoms, sightings(*maps, prompt.scene.setting, "day"))
            found.append(asdict(verdict))
    return sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:12]


def test_the_ruler_is_frozen() -> None:
    now = {
        "version": VERSION,
        "small": plans_of(SMALL),
        "full": plans_of(FULL),
        "verdicts": verdicts(),
    }
    assert now == FROZEN, CHANGED


def test_plans_have_a_digest_of_all_that_is_asked() -> None:
    tiers = make_tiers(("two", "count"), 4, 2)
    assert plans_digest(tiers) == plans_digest(make_tiers(("two", "count"), 4, 2))
    others = [
        make_tiers(("two",), 4, 2),
        make_tiers(("two", "count"), 5, 2),
        make_tiers(("two", "count"), 4, 2, 8),
    ]
    assert len({plans_digest(tiers), *map(plans_digest, others)}) == 4
