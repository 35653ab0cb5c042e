"""Whether the tensors of a file are those of its networks: what is unknown, missing, or of another shape."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from fromnoise.errors import WeightsError
from fromnoise.specs import ModelSpec
from fromnoise.weights.detect import detect
from fromnoise.weights.identity import OURS, Identity
from fromnoise.weights.model_converter import Recipe, Rule, flipped, plan, without_rule
from fromnoise.weights.native import skeleton
from fromnoise.weights.planning import rules_of, shapes_of, used
from fromnoise.weights.stored import Stored

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Fit:
    """The names as the file has them, or would have them."""

    compared: bool = False  # there was something to compare with
    unknown: tuple[str, ...] = ()  # in the place of a network, but of no rule
    missing: tuple[str, ...] = ()  # that a network in the file needs
    misshapen: tuple[str, ...] = ()
    problem: str = ""  # why the rest could not be compared

    @property
    def is_perfect(self) -> bool:
        """Is everything there, and nothing else?"""
        return self.compared and not (self.unknown or self.missing or self.misshapen or self.problem)


def compare(stored: Stored, identity: Identity) -> Fit:
    """Compare the networks that are in the file with those of its spec; what `sift` drops does not count."""
    try:
        if identity.layout == OURS:
            return _compare(stored, identity.spec, (), tuple(stored.shapes)) if identity.spec else Fit()
        return _compare_theirs(stored, identity)
    except WeightsError as error:
        return Fit(True, problem=error.message)


def _compare_theirs(stored: Stored, identity: Identity) -> Fit:
    networks, names = used(stored, identity.spec)
    rules = tuple(rules_of(stored, networks, identity.spec))
    unknown = without_rule(names, rules)
    spec = identity.spec or (_spec_without(stored, unknown) if unknown else None)
    if spec is None:
        return Fit(bool(unknown), tuple(unknown))
    known = tuple(name for name in names if name not in set(unknown))
    fit = _compare(stored, spec, rules, known)
    return replace(fit, unknown=(*unknown, *fit.unknown))


def _spec_without(stored: Stored, names: Collection[str]) -> ModelSpec | None:
    """What the networks would be if these tensors were not there."""
    shapes = {name: shape for name, shape in stored.shapes.items() if name not in set(names)}
    return detect(replace(stored, shapes=shapes)).spec


def _compare(stored: Stored, spec: ModelSpec, rules: Sequence[Rule], names: Sequence[str]) -> Fit:
    recipes = plan(names, rules, source=stored.name) if rules else {name: Recipe((name,)) for name in names}
    found = shapes_of(recipes, stored.name, stored.shapes)
    wanted = _wanted(stored.name, spec, found)
    missing = _theirs([name for name in wanted if name not in found], rules)
    odd = {name for name, shape in wanted.items() if name in found and found[name] != shape}
    misshapen = [recipe.sources[0] for name, recipe in recipes.items() if name in odd]
    unknown = [recipes[name].sources[0] for name in found if name not in wanted]
    return Fit(True, tuple(unknown), tuple(missing), tuple(misshapen))


def _wanted(name: str, spec: ModelSpec, found: Shapes) -> Shapes:
    """What the networks need of which there is anything: encoder and decoder belong together."""
    state = skeleton(name, spec, (), {}, str).state()
    rooms = {_room(name) for name in found}
    return {name: tuple(tensor.shape) for name, tensor in state.items() if _room(name) in rooms}


def _room(name: str) -> str:
    first, _, rest = name.partition(".")
    if first == "texts":
        return f"{first}.{rest.partition('.')[0]}"
    return "vae" if first in ("encoder", "decoder") else first


def _theirs(names: Sequence[str], rules: Sequence[Rule]) -> Sequence[str]:
    """What the file would call these tensors of ours."""
    try:
        return list(plan(names, flipped(rules), source="the model")) if rules else names
    except WeightsError:  # parts of what the file holds in one piece
        return names
