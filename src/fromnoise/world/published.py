"""What is kept from training, as lists for people."""

from itertools import product

from fromnoise.world.splits import LISTED, MIRRORED, relation_is_withheld, withheld_pairs
from fromnoise.world.templates import kept_templates
from fromnoise.world.worlds import SMALL, World


def publish(world: World = SMALL) -> dict[str, list[str]]:
    """Everything kept from training in words, by split; H2 counts facts, not phrasings."""
    found = {split: sorted(" ".join(pair) for pair in withheld_pairs(split, world)) for split in LISTED}
    facts = [word for word in world.relations if word not in MIRRORED]
    found["H2"] = sorted(
        f"{a} {word} {b}"
        for word, a, b in product(facts, world.things, world.things)
        if a != b and relation_is_withheld(word, a, b)
    )
    found["H6"] = kept_templates(world)
    return {split: lines for split, lines in found.items() if lines}
