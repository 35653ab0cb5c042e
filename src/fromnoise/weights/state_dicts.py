"""What a checkpoint's value is made of: tensors by dotted name, facts about them, and what is left out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from fromnoise.errors import WeightsError
from fromnoise.weights.pickle_names import PARAMETER_DICT
from fromnoise.weights.pickles import Global, Inert
from fromnoise.weights.storages import StoredTensor
from fromnoise.weights.wording import shown

STATE_DICT: Final = "state_dict"
PARAMETERS: Final = "_parameters"  # where a module keeps them
NAMELESS: Final = "(no name)"  # a key that is not a text
DEEPEST: Final = 32  # dictionaries inside dictionaries
MOST_VALUES: Final = 50_000
MOST_DROPPED: Final = 1_000  # that are named
LONGEST_NAME: Final = 512  # letters
LONGEST_FACT_NAME: Final = 200  # letters
LONGEST_FACT: Final = 1 << 16  # letters: metadata that a conversion brought along

Fact = str | int | float | bool
Dict = dict[Any, Any]


@dataclass(slots=True)
class Held:
    """What there is so far."""

    tensors: dict[str, StoredTensor] = field(default_factory=dict[str, StoredTensor])
    facts: dict[str, Fact] = field(default_factory=dict[str, Fact])  # global_step, epoch …
    dropped: dict[str, None] = field(default_factory=dict[str, None])  # callbacks, optimizer_states …
    unwrapped: tuple[str, ...] = ()  # the dictionaries around the tensors, outermost first
    left: int = MOST_VALUES

    def visit(self, path: tuple[str, ...], value: Any) -> None:
        """Sort in a value and all that is in it."""
        self.left -= 1
        if self.left < 0 or len(path) > DEEPEST:
            raise WeightsError("holds dictionaries inside dictionaries without end")
        value = _parameters(value)
        if sum(map(len, path)) > LONGEST_NAME:
            self.drop(path)
        elif isinstance(value, StoredTensor):
            self.enter(".".join(path), value)
        elif isinstance(value, dict):
            for key, inner in cast(Dict, value).items():
                if isinstance(key, str):
                    self.visit((*path, key), inner)
                else:
                    self.drop(path)
        elif len(path) == 1:
            self.note(path[0], value)
        elif value is not None:
            self.drop(path)

    def enter(self, name: str, tensor: StoredTensor) -> None:
        """Keep a tensor under its name."""
        if name in self.tensors:
            raise WeightsError(f"holds two tensors of one name: {shown(name)}")
        self.tensors[name] = tensor

    def note(self, name: str, value: Any) -> None:
        """Keep a plain value; say of anything else that it was left out."""
        if isinstance(value, Fact) and len(name) <= LONGEST_FACT_NAME and len(str(value)) <= LONGEST_FACT:
            self.facts.setdefault(name, value)
        elif value is not None:
            self.drop((name,))

    def drop(self, path: tuple[str, ...]) -> None:
        """Say that something was left out."""
        if len(self.dropped) < MOST_DROPPED:
            self.dropped[shown(".".join(part[:LONGEST_FACT_NAME] for part in path) or NAMELESS)] = None


def sort_out(value: Any) -> Held:
    """The tensors of a checkpoint, and what else there is.  Raises: WeightsError if there are none"""
    held = Held()
    while inner := _wrapping(value):
        held.unwrapped = (*held.unwrapped, inner)
        if len(held.unwrapped) > DEEPEST:
            raise WeightsError("holds dictionaries inside dictionaries without end")
        for key, beside in cast(Dict, value).items():
            if key != inner:
                held.note(key if isinstance(key, str) else NAMELESS, beside)
        value = value[inner]
    if not isinstance(_parameters(value), dict):
        raise WeightsError("holds no tensors by name", hint="save the state_dict of a model")
    held.visit((), value)
    if not held.tensors:
        if _is_hypernetwork(value):
            raise WeightsError("is a hypernetwork, which is not read", hint="draw without it")
        raise WeightsError("holds no tensors by name", hint="save the state_dict of a model")
    return held


def _is_hypernetwork(value: Any) -> bool:
    """AUTOMATIC1111's: under each width of a text's tokens, two networks."""
    table = cast(Mapping[Any, Any], _parameters(value))
    return any(isinstance(key, int) and isinstance(pair, tuple) for key, pair in table.items())


def _wrapping(value: Any) -> str:
    """The key of the dictionary that is all that this one holds, or that matters in it; else nothing."""
    if not isinstance(value, dict):
        return ""
    table = cast(Mapping[Any, Any], value)
    only = next(iter(table)) if len(table) == 1 else STATE_DICT
    return only if isinstance(only, str) and isinstance(table.get(only), dict) else ""


def _parameters(value: Any) -> Any:
    """What an inert ParameterDict holds; anything else as it is."""
    if isinstance(value, Inert) and value.kind == Global(*PARAMETER_DICT) and isinstance(value.state, dict):
        return cast(Dict, value.state).get(PARAMETERS)
    return value
