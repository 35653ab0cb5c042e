"""A conversion is a table of rules that reads both ways. This engine runs the tables; it knows no model."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from string import Formatter
from typing import Final

import torch
from torch import Tensor

from fromnoise.errors import WeightsError

Op = Callable[..., Tensor | tuple[Tensor, ...]]  # as many tensors in and out as the rule has names
Source = Tensor | Callable[[], Tensor]  # at hand, on the meta device, or read when asked
PARAMETERS: Final = ("weight", "bias")


# --- what a rule may do to a tensor ---


def keep(tensor: Tensor) -> Tensor:
    """Only the name changes."""
    return tensor


def transposed(matrix: Tensor) -> Tensor:
    """A matrix that was used from the right becomes that of a linear layer; its own inverse."""
    return matrix.t().contiguous()


def linear(weight: Tensor) -> Tensor:
    """The weight of a 1x1 convolution (out, in, 1, 1), or of a linear layer, as that of a linear layer."""
    return weight.reshape(weight.shape[:2])


def pointwise(weight: Tensor) -> Tensor:
    """The weight of a linear layer, or of a 1x1 convolution, as that of a 1x1 convolution."""
    return weight.reshape(*weight.shape[:2], 1, 1)


def thirds(stacked: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values, stacked along the first dimension, apart."""
    return stacked.reshape(3, -1, *stacked.shape[1:]).unbind()


def stacked(*thirds: Tensor) -> Tensor:
    """Queries, keys and values in one tensor."""
    return torch.cat(thirds)


# --- rules ---


@dataclass(frozen=True, slots=True)
class Rule:
    """What they call `theirs` we call `ours`; a tuple of names stands for parts of one thing.

    `{i}` in a name is any number, the same on both sides. A name that ends in "weight" or "bias" is that
    parameter alone; otherwise the names are those of layers: `load` and `save` work on their weights, and
    biases are kept as they are.
    """

    theirs: str | tuple[str, ...]
    ours: str | tuple[str, ...]
    load: Op = keep
    save: Op = keep

    def flipped(self) -> "Rule":
        """The same rule for the way back."""
        return Rule(self.ours, self.theirs, self.save, self.load)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one tensor is made from tensors of the other side."""

    sources: tuple[str, ...]
    make: Callable[..., Tensor] = keep

    def __call__(self, state: Mapping[str, Source]) -> Tensor:
        """Read the sources and make the tensor.  Raises: WeightsError if they have a shape it cannot use"""
        tensors = [_at_hand(state[name]) for name in self.sources]
        try:
            return self.make(*tensors)
        except (RuntimeError, TypeError) as error:  # torch's, about shapes
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
            raise WeightsError(f"{self.sources[0]!r} has the unusable shape {shapes}") from error


Plan = dict[str, Recipe]  # the name a tensor gets -> where it comes from


def translate(state: Mapping[str, Source], rules: Iterable[Rule], *, source: str) -> dict[str, Tensor]:
    """Rename (and reshape) every tensor by the rule that fits it.

    Raises: WeightsError if a tensor has no rule, if two claim one name, or if a part of one is missing
    """
    return {name: recipe(state) for name, recipe in plan(state, rules, source=source).items()}


def flipped(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The table for the way back."""
    return tuple(rule.flipped() for rule in rules)


def plan(names: Collection[str], rules: Iterable[Rule], *, source: str) -> Plan:
    """What `translate` would do, from the names alone; of two rules that fit a name, the first is taken.

    Raises: WeightsError as `translate`; `source` says in its message where the names come from
    """
    table, groups, strays = _compiled(rules), dict[_Group, dict[int, str]](), list[str]()
    for name in names:
        if match := table.find(name.split(".")):
            entry, numbers = match
            filled = dict(zip(entry.numbers, numbers, strict=True))
            group = _Group(entry.line, tuple(target.format(**filled) for target in entry.line.ours))
            groups.setdefault(group, {})[entry.part] = name
        else:
            strays.append(name)
    if strays:
        problem = f"{len(strays)} of {len(names)} tensors in {source} have no rule, first: {strays[0]!r}"
        raise WeightsError(problem, hint="another model family? `fromnoise inspect FILE` names it")
    recipes: Plan = {}
    for group, parts in groups.items():
        for target, recipe in _recipes(group, parts, source):
            if target in recipes:
                both = f"{recipes[target].sources[0]!r} and {recipe.sources[0]!r}"
                raise WeightsError(f"{both} in {source} are the same tensor, {target!r}")
            recipes[target] = recipe
    return recipes


def without_rule(names: Iterable[str], rules: Iterable[Rule]) -> list[str]:
    """The names that no rule fits."""
    table = _compiled(rules)
    return [name for name in names if not table.find(name.split("."))]


def compose(first: Plan, second: Plan) -> Plan:
    """One plan for both conversions in a row, such as theirs to ours to another's."""
    return {name: _chained([first[s] for s in recipe.sources], recipe) for name, recipe in second.items()}


# --- how a table is searched: word by word, so the time does not grow with the number of rules ---


@dataclass(frozen=True, slots=True)
class _Line:
    """A rule about single tensors."""

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    op: Op


@dataclass(frozen=True, slots=True)
class _Entry:
    """One of the names by which a line is found."""

    line: _Line
    part: int
    numbers: tuple[str, ...]  # its placeholders, in order


@dataclass(frozen=True, slots=True)
class _Group:
    """A line with its numbers filled in: the names of a file that fit it belong together."""

    line: _Line
    targets: tuple[str, ...]


@dataclass(slots=True)
class _Node:
    words: dict[str, "_Node"] = field(default_factory=dict[str, "_Node"])
    number: "_Node | None" = None
    entry: _Entry | None = None

    def add(self, words: list[str], entry: _Entry) -> None:
        node = self
        for word in words:
            if word.startswith("{"):
                node.number = node.number or _Node()
                node = node.number
            else:
                node = node.words.setdefault(word, _Node())
        node.entry = node.entry or entry

    def find(
        self, words: list[str], at: int = 0, numbers: tuple[str, ...] = ()
    ) -> tuple[_Entry, tuple[str, ...]] | None:
        if at == len(words):
            return (self.entry, numbers) if self.entry else None
        word = words[at]
        if (literal := self.words.get(word)) and (match := literal.find(words, at + 1, numbers)):
            return match
        if self.number and word.isdecimal():
            return self.number.find(words, at + 1, (*numbers, word))
        return None


def _compiled(rules: Iterable[Rule]) -> _Node:
    table = _Node()
    for line in (line for rule in rules for line in _lines(rule)):
        for part, name in enumerate(line.theirs):
            table.add(name.split("."), _Entry(line, part, _placeholders(name)))
    return table


def _lines(rule: Rule) -> Iterator[_Line]:
    theirs, ours = _names(rule.theirs), _names(rule.ours)
    placeholders = {frozenset(_placeholders(name)) for name in (*theirs, *ours)}
    assert len(placeholders) == 1, f"the names of {rule} have different placeholders"
    if any(name.rpartition(".")[2] in PARAMETERS for name in (*theirs, *ours)):
        yield _Line(theirs, ours, rule.load)
        return
    assert len(theirs) == len(ours) == 1, f"{rule} takes layers apart: name their weights and biases"
    for parameter, op in zip(PARAMETERS, (rule.load, keep), strict=True):
        yield _Line((f"{theirs[0]}.{parameter}",), (f"{ours[0]}.{parameter}",), op)


def _names(side: str | tuple[str, ...]) -> tuple[str, ...]:
    return (side,) if isinstance(side, str) else side


def _placeholders(name: str) -> tuple[str, ...]:
    return tuple(word for _, word, _, _ in Formatter().parse(name) if word is not None)


def _recipes(group: _Group, parts: Mapping[int, str], source: str) -> Iterator[tuple[str, Recipe]]:
    line = group.line
    if len(parts) < len(line.theirs):
        lost = next(name for part, name in enumerate(line.theirs) if part not in parts)
        raise WeightsError(f"{source} holds {next(iter(parts.values()))!r} without its {lost!r}")
    sources = tuple(parts[part] for part in sorted(parts))
    for k, target in enumerate(group.targets):
        yield target, Recipe(sources, keep if line.op is keep else partial(_made, line.op, k))


def _made(op: Op, k: int, *tensors: Tensor) -> Tensor:
    out = op(*tensors)
    return out if isinstance(out, Tensor) else out[k]


def _chained(steps: list[Recipe], last: Recipe) -> Recipe:
    if last.make is keep:
        return steps[0]
    sources = tuple(name for step in steps for name in step.sources)
    return Recipe(sources, partial(_run, steps, last.make))


def _run(steps: list[Recipe], make: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    rest = iter(tensors)
    return make(*(step.make(*(next(rest) for _ in step.sources)) for step in steps))


def _at_hand(source: Source) -> Tensor:
    return source if isinstance(source, Tensor) else source()
