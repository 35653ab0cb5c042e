"""What a folder of pictures holds: examples to learn from, and what is left out, with the reason."""

from dataclasses import dataclass
from enum import StrEnum

from fromnoise.train.pictures.places import Place

Size = tuple[int, int]
"""Width and height, in pixels."""


class Layout(StrEnum):
    """Where a picture's caption comes from."""

    SIDECAR = "a file beside each picture (kohya)"
    TABLE = "metadata.jsonl or metadata.csv (Hugging Face)"
    LIST = "a JSONL list"
    SHARD = "tar shards (webdataset)"
    REPEATS = "folders named like 10_word (kohya)"
    CLASSES = "class folders"
    FILE_NAME = "the pictures' own names, as asked for"
    GIVEN = "one caption for those without, as asked for"


class Reason(StrEnum):
    """Why something is left out."""

    NO_CAPTION = "without a caption"
    DAMAGED = "damaged"
    STRANGE = "not PNG, JPEG or WebP"
    TOO_LARGE = "too large"
    TOO_SMALL = "too small"
    EMPTY = "empty"
    UNREADABLE = "not readable"
    LINK = "links out of the folder"
    NO_FILE = "no ordinary file"
    MISSING = "listed, but not there"
    OUTSIDE = "listed, but outside the folder"
    BAD_LINE = "lines that name no picture"
    BAD_SHARD = "archives that are damaged or packed"
    PARQUET = "tables we do not read"


class Remark(StrEnum):
    """What is done to a picture that is no plain one."""

    TURNED = "turned upright"
    TRANSPARENT = "transparent, laid on a page"
    CMYK = "printing colours (CMYK), made RGB without a profile"
    DEEP = "16 bits a colour, of which 8 are kept"
    ANIMATED = "animated, its first frame taken"


@dataclass(frozen=True, slots=True)
class Skip:
    """Something that is left out."""

    name: str
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What somebody says of a picture, and who."""

    captions: tuple[str, ...]
    layout: Layout
    evidence: str


@dataclass(frozen=True, slots=True)
class Example:
    """A picture to learn from. `name` is its path within the folder; a shard counts as a folder."""

    name: str
    place: Place
    told: Told
    size: Size  # upright
    repeats: int = 1  # times an epoch
    remarks: tuple[Remark, ...] = ()

    @property
    def captions(self) -> tuple[str, ...]:
        """What it shows; where there are several, each says it in its own way."""
        return self.told.captions


class Unfit(Exception):
    """A picture that cannot be learned from. Stays within this room: it becomes a `Skip`."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def skip(self, name: str) -> Skip:
        """The same, of a picture with a name."""
        return Skip(name, self.reason, self.detail)
