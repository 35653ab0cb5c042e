"""A machine for pickles that can do no harm: it makes plain data, and never imports or calls what is named.

`pickle` calls whatever a file asks for. Here a name that is not in the caller's table ends the reading, and
one that is stands for a function of ours, or for nothing at all. Only what PyTorch and its neighbours write
(protocols 2 to 4) is understood. Every step is counted, and costs as much as it counts.
Source: the instructions as described in CPython's Lib/pickletools.py
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from struct import unpack
from typing import Any, BinaryIO, Final, cast

from fromnoise.errors import WeightsError
from fromnoise.weights.wording import shown

PROTOCOLS: Final = range(2, 5)
MOST_STEPS: Final = 1_000_000  # instructions and elements; a tensor takes about 40
LARGEST_PICKLE: Final = 64 << 20  # bytes
LONGEST_STRING: Final = 16 << 20  # bytes
LONGEST_NAME: Final = 256  # bytes of a line that names a module or what it holds
LARGEST_KEY: Final = 1 << 60  # larger numbers can be chosen so that a dict becomes slow

Values = list[Any]
Make = Callable[[tuple[Any, ...]], Any]


@dataclass(frozen=True, slots=True)
class Global:
    """Something that a pickle names; never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{shown(self.module)}.{shown(self.name)}"


@dataclass(eq=False, slots=True)
class Inert:
    """What stands for an object that we do not make."""

    kind: Global
    state: Any = None


@dataclass(eq=False, slots=True)
class OddKey:
    """A key that is neither a text nor a number; equal only to itself, so that no file chooses its hash."""

    key: Any


@dataclass(frozen=True, slots=True)
class Names:
    """What a pickle may name: `make` does the same harmlessly, `inert` is nothing, `refused` says why not."""

    make: Mapping[tuple[str, str], Make]
    inert: frozenset[tuple[str, str]]
    refused: Mapping[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])


class Machine:
    """Reads one pickle from where `file` stands, and leaves it behind the last instruction.

    Raises: WeightsError for whatever is not plain data
    """

    def __init__(self, file: BinaryIO, limit: int, names: Names, find: Callable[[Any], Any]) -> None:
        """`limit` is how many bytes there are; `find` turns a persistent id (a storage) into a value."""
        self.file, self.left, self.names, self.find = file, min(limit, LARGEST_PICKLE), names, find
        self.steps = MOST_STEPS
        self.stack: Values = []
        self.marks: list[Values] = []
        self.memo: dict[int, Any] = {}
        self.globals: dict[Global, None] = {}

    def run(self) -> Any:
        """The value that the pickle describes."""
        try:
            if self.take(1) != b"\x80" or self.take(1)[0] not in PROTOCOLS:
                raise WeightsError("is no pickle of protocol 2, 3 or 4")
            while (code := self.take(1)) != b".":
                self.spend(1)
                if code not in INSTRUCTIONS:
                    raise WeightsError(f"uses the pickle instruction {code!r}, which no checkpoint needs")
                INSTRUCTIONS[code](self)
            return self.stack.pop()
        except (LookupError, ValueError) as error:  # an empty stack, an empty memo, text that is not UTF-8
            raise WeightsError("holds a damaged pickle", hint="download it again") from error

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count > self.left:
            raise WeightsError("holds a pickle that is cut short or too long", hint="download it again")
        data = self.file.read(count)
        if len(data) != count:
            raise WeightsError("holds a pickle that is cut short", hint="download it again")
        self.left -= count
        return data

    def spend(self, steps: int) -> None:
        """Count the work, so that a small file cannot ask for much."""
        self.steps -= steps
        if self.steps < 0:
            raise WeightsError(f"holds a pickle of more than {MOST_STEPS:,} steps")

    def number(self, count: int) -> int:
        """The next bytes as a number."""
        return int.from_bytes(self.take(count), "little")

    def signed(self, count: int) -> int:
        """The next bytes as a number that may be negative."""
        return int.from_bytes(self.take(count), "little", signed=True)

    def string(self, width: int) -> bytes:
        """The next bytes, their number before them."""
        if (count := self.number(width)) > LONGEST_STRING:
            raise WeightsError(f"holds a pickle with a text of {count:,} bytes")
        return self.take(count)

    def line(self) -> str:
        """The next line, without its end."""
        data = self.file.readline(min(LONGEST_NAME, self.left))
        self.left -= len(data)
        if not data.endswith(b"\n"):
            raise WeightsError("holds a damaged pickle: a name has no end")
        return data[:-1].decode()

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def since_mark(self) -> Values:
        """Take off the stack what was put there since the last mark."""
        found, self.stack = self.stack, self.marks.pop()
        return found

    def last(self, count: int) -> Values:
        """Take the last values off the stack."""
        if count > len(self.stack):
            raise LookupError("the stack is empty")
        found = self.stack[-count:]
        del self.stack[-count:]
        return found

    def name(self, module: object, name: object) -> None:
        """Put what stands for a name on the stack, if it may be named at all."""
        if not (isinstance(module, str) and isinstance(name, str)):
            raise WeightsError("holds a damaged pickle: a name that is not a text")
        found, names = Global(module, name), self.names
        self.globals[found] = None
        key = (module, name)
        if reason := names.refused.get(key):
            raise WeightsError(reason)
        if key not in names.make and key not in names.inert:
            raise WeightsError(
                f"asks for {found}, which weights do not need: it may be an attack",
                hint="look for a .safetensors file of the same model; nothing of this one was run",
            )
        self.push(found)

    def call(self, arguments: object, what: object) -> None:
        """Put on the stack what we make in place of a call."""
        if not (isinstance(what, Global) and isinstance(arguments, tuple)):
            raise WeightsError("holds a pickle that calls something without a name")
        arguments = cast(tuple[Any, ...], arguments)
        make = self.names.make.get((what.module, what.name))
        self.spend(sum(len(cast(Values, each)) for each in arguments[:1] if isinstance(each, list | tuple)))
        self.push(make(arguments) if make else Inert(what))

    def build(self, state: object, thing: object) -> None:
        """Give an inert object its state. Dicts have attributes too (`_metadata`): they are left out."""
        if isinstance(thing, Inert):
            thing.state = state
        elif not isinstance(thing, dict):
            raise WeightsError("holds a pickle that gives a state to what cannot have one")

    def extend(self, values: Values) -> None:
        """Append to the list on top of the stack."""
        target = self.stack[-1]
        if not isinstance(target, list | Inert):
            raise WeightsError("holds a pickle that appends to what is not a list")
        if isinstance(target, list):
            target.extend(values)

    def update(self, items: Values) -> None:
        """Fill the dict on top of the stack with keys and values in turn."""
        target = self.stack[-1]
        if not isinstance(target, dict | Inert) or len(items) % 2:
            raise WeightsError("holds a pickle that sets an item of what is not a dictionary")
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                target[safe_key(key)] = value

    def mark(self) -> None:
        """Begin a collection."""
        self.marks.append(self.stack)
        self.stack = []


def safe_key(key: Any) -> Any:
    """The key itself, or an `OddKey` if a file could have chosen its hash."""
    is_plain = isinstance(key, str | Global) or (isinstance(key, int) and abs(key) < LARGEST_KEY)
    return key if is_plain else OddKey(key)


def text_of(data: bytes) -> str | bytes:
    """What Python 2 wrote as a string: text if it can be."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


Instruction = Callable[[Machine], Any]
INSTRUCTIONS: Final[Mapping[bytes, Instruction]] = {
    # constants and numbers
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"K": lambda m: m.push(m.number(1)),
    b"M": lambda m: m.push(m.number(2)),
    b"J": lambda m: m.push(m.signed(4)),
    b"\x8a": lambda m: m.push(m.signed(m.number(1))),
    b"G": lambda m: m.push(unpack(">d", m.take(8))[0]),
    # strings
    b"U": lambda m: m.push(text_of(m.string(1))),
    b"T": lambda m: m.push(text_of(m.string(4))),
    b"\x8c": lambda m: m.push(m.string(1).decode("utf-8", "surrogatepass")),
    b"X": lambda m: m.push(m.string(4).decode("utf-8", "surrogatepass")),
    b"\x8d": lambda m: m.push(m.string(8).decode("utf-8", "surrogatepass")),
    b"C": lambda m: m.push(m.string(1)),
    b"B": lambda m: m.push(m.string(4)),
    b"\x8e": lambda m: m.push(m.string(8)),
    # collections; a set is a list here, because nobody asks what is in it
    b"(": Machine.mark,
    b")": lambda m: m.push(()),
    b"]": lambda m: m.push([]),
    b"\x8f": lambda m: m.push([]),
    b"}": lambda m: m.push({}),
    b"t": lambda m: m.push(tuple(m.since_mark())),
    b"\x85": lambda m: m.push(tuple(m.last(1))),
    b"\x86": lambda m: m.push(tuple(m.last(2))),
    b"\x87": lambda m: m.push(tuple(m.last(3))),
    b"l": lambda m: m.push(m.since_mark()),
    b"\x91": lambda m: m.push(m.since_mark()),
    b"a": lambda m: m.extend(m.last(1)),
    b"e": lambda m: m.extend(m.since_mark()),
    b"\x90": lambda m: m.extend(m.since_mark()),
    b"s": lambda m: m.update(m.last(2)),
    b"u": lambda m: m.update(m.since_mark()),
    # the stack and the memo
    b"0": lambda m: m.stack.pop(),
    b"1": Machine.since_mark,
    b"2": lambda m: m.push(m.stack[-1]),
    b"q": lambda m: m.memo.__setitem__(m.number(1), m.stack[-1]),
    b"r": lambda m: m.memo.__setitem__(m.number(4), m.stack[-1]),
    b"\x94": lambda m: m.memo.__setitem__(len(m.memo), m.stack[-1]),
    b"h": lambda m: m.push(m.memo[m.number(1)]),
    b"j": lambda m: m.push(m.memo[m.number(4)]),
    b"\x95": lambda m: m.take(8),
    # names and what is asked of them
    b"c": lambda m: m.name(m.line(), m.line()),
    b"\x93": lambda m: m.name(*m.last(2)),
    b"R": lambda m: m.call(m.stack.pop(), m.stack.pop()),
    b"\x81": lambda m: m.call(m.stack.pop(), m.stack.pop()),
    b"b": lambda m: m.build(m.stack.pop(), m.stack[-1]),
    b"Q": lambda m: m.push(m.find(m.stack.pop())),
}
