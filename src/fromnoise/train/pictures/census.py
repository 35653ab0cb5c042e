"""What was found in a folder of pictures, and what was left out and why: the report before a training."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fromnoise.train.pictures.examples import Example, Layout, Reason, Remark, Size, Skip
from fromnoise.train.pictures.opening import Pictures
from fromnoise.weights.wording import shown

NAMED: Final = 3  # examples of each reason
WAYS_OUT: Final = {
    Reason.NO_CAPTION: "write a .txt beside each, or give a caption for all that have none",
    Reason.STRANGE: "save them as PNG or JPEG",
    Reason.TOO_LARGE: "make them smaller",
    Reason.LINK: "copy them into the folder, or name the folder above both",
    Reason.OUTSIDE: "name the folder above both the list and the pictures",
}


@dataclass(frozen=True, slots=True)
class Census:
    """A count of everything in a folder of pictures."""

    folder: str
    usable: int
    shown: int  # pictures an epoch, repeats counted
    layouts: tuple[tuple[Layout, int, str], ...]  # how many pictures, and one of them as evidence
    captions: int  # different ones
    longest: int  # characters
    smallest: Size
    largest: Size
    commonest: Size
    skipped: tuple[tuple[Reason, tuple[Skip, ...]], ...]  # most frequent first
    remarks: tuple[tuple[Remark, tuple[str, ...]], ...]

    @property
    def left_out(self) -> int:
        """Everything that was skipped."""
        return sum(len(skips) for _, skips in self.skipped)

    def lines(self) -> Iterator[str]:
        """The report, for people."""
        yield f"{self.folder}: {self.usable:,} pictures to learn from, {self.left_out:,} left out"
        for layout, count, evidence in self.layouts:
            yield f"captions of {count:,}: {layout}, as {shown(evidence)}"
        if self.shown != self.usable:
            yield f"repeats: {self.shown:,} pictures an epoch"
        yield f"{self.captions:,} different captions, the longest of {self.longest:,} characters"
        small, large, common = (f"{w}x{h}" for w, h in (self.smallest, self.largest, self.commonest))
        yield f"sizes from {small} to {large}, most often {common}"
        for remark, names in self.remarks:
            yield f"{len(names):,} {remark}: {_named(names)}"
        for reason, skips in self.skipped:
            yield f"left out, {reason} ({len(skips):,}): {_named([_told(skip) for skip in skips])}"
            if reason in WAYS_OUT:
                yield f"  {WAYS_OUT[reason]}"


def take_census(pictures: Pictures, *, also: Sequence[Skip] = ()) -> Census:
    """Count what a folder holds. `also`: what turned out to be damaged when it was decoded"""
    broken = {skip.name for skip in also}
    examples = [example for example in pictures.examples if example.name not in broken]
    by_area = sorted((example.size for example in examples), key=lambda size: size[0] * size[1])
    captions = {caption for example in examples for caption in example.captions}
    reasons: dict[Reason, list[Skip]] = {}
    for skip in (*pictures.skipped, *also):
        reasons.setdefault(skip.reason, []).append(skip)
    return Census(
        folder=str(pictures.root),
        usable=len(examples),
        shown=sum(example.repeats for example in examples),
        layouts=tuple(_layouts(examples)),
        captions=len(captions),
        longest=max(map(len, captions), default=0),
        smallest=by_area[0] if by_area else (0, 0),
        largest=by_area[-1] if by_area else (0, 0),
        commonest=Counter(by_area).most_common(1)[0][0] if by_area else (0, 0),
        skipped=tuple(sorted(((r, tuple(s)) for r, s in reasons.items()), key=lambda pair: -len(pair[1]))),
        remarks=tuple(_remarks(examples)),
    )


def _layouts(examples: Sequence[Example]) -> Iterator[tuple[Layout, int, str]]:
    counted = Counter(example.told.layout for example in examples)
    for layout, count in counted.most_common():
        yield layout, count, next(e.told.evidence for e in examples if e.told.layout is layout)


def _remarks(examples: Sequence[Example]) -> Iterator[tuple[Remark, tuple[str, ...]]]:
    for remark in Remark:
        if names := tuple(example.name for example in examples if remark in example.remarks):
            yield remark, names


def _told(skip: Skip) -> str:
    return f"{skip.name} ({skip.detail})" if skip.detail else skip.name


def _named(names: Sequence[str]) -> str:
    more = ", …" if len(names) > NAMED else ""
    return ", ".join(map(shown, names[:NAMED])) + more
