"""The request inside the PNG: written for people and other programs, and exactly, for ourselves."""

import json
import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Final, cast

from PIL.PngImagePlugin import PngInfo

from fromnoise.errors import RequestError
from fromnoise.images.files import place, replace
from fromnoise.images.parameters import LEFT_OUT, OURS, parameters, record_in
from fromnoise.images.pixels import enlarged, opened, to_image
from fromnoise.request import GenerateRequest, GenerateResult, Picture
from fromnoise.version import VERSION

THEIRS, XMP = "parameters", "XML:com.adobe.xmp"

LOADED: Final[Mapping[str, type]] = {  # what `Pipeline.loaded` may say
    "prediction": str,
    "ema": bool,
    "variant": str,
    "dtype": str,
    "engine": str,
    "batch": int,
}
BESIDE: Final[Mapping[str, Any]] = {"given": [], "loaded": {}, "hashes": {}}  # a request: what may be told

# Source: IPTC Digital Source Type, https://cv.iptc.org/newscodes/digitalsourcetype/
AI_MARK: Final = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/>
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


# --- writing ---


def encode_png(result: GenerateResult, picture: Picture) -> bytes:
    """One picture of the result as the bytes of a PNG that says how it was made, and that a machine did."""
    info = PngInfo()
    info.add_text(THEIRS, parameters(result, picture))
    info.add_itxt(OURS, json.dumps(_record(result, picture), ensure_ascii=False))
    info.add_itxt(XMP, AI_MARK)
    file = BytesIO()
    enlarged(to_image(picture), result.enlarge).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def save_result(result: GenerateResult, path: Path, *, overwrite: bool = False) -> tuple[Path, ...]:
    """Write each picture beside the others: name.png, name-2.png, …; see `GenerateResult.save`."""
    if path.suffix.lower() != ".png":
        raise RequestError({"path": f"{path.name!r} does not end in .png"}, hint=f"try {path.stem}.png")
    written: list[Path] = []
    for picture in result.pictures:
        target = path.with_name(path.name.replace("{seed}", str(picture.seed)))
        data = encode_png(result, picture)
        may_replace = overwrite and target not in written
        written.append(replace(target, data) if may_replace else place(target, data))
    return tuple(written)


def _record(result: GenerateResult, picture: Picture) -> dict[str, Any]:
    """What makes this one picture again: it depends on its own seed alone."""
    others = {
        "refiner": result.refiner,
        "refiner_hash": result.refiner_hash,
        "given": list(result.given),
        "loaded": dict(result.loaded),
        "hashes": dict(result.hashes),
    }
    return {
        "request": result.request.to_json() | {"seeds": [picture.seed]},
        "model": result.model,
        "model_hash": result.model_hash,
        "version": VERSION,
        **{name: value for name, value in others.items() if value},
    }


# --- reading ---


def read_request(path: str | os.PathLike[str]) -> GenerateRequest:
    """The request that a picture carries: ours exactly, or AUTOMATIC1111's as far as we share its words.

    Raises: StorageError, RequestError if there is none
    """
    return GenerateRequest.from_json(read_record(path)["request"])


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a picture says of how it was made: its "request", as fields nobody checked, and what is `BESIDE`.

    `LEFT_OUT`: what changed another program's picture and is in no request
    Raises: StorageError, RequestError if it says nothing, or nothing that can be read
    """
    whose, text = read_text(path)
    return _our_record(text) if whose == OURS else {**BESIDE, **record_in(text)}


def read_text(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Whose words a picture carries, `OURS` or `THEIRS`, and these words as they are.

    Raises: StorageError, RequestError if it carries none
    """
    with opened(path) as image:
        image.load()  # some programs write their text after the pixels
        texts = cast(dict[str, Any], image.info)
    for whose in (OURS, THEIRS):
        if (text := texts.get(whose)) is not None:
            return whose, str(text)
    problem = f"{Path(path).name} does not say how it was made"
    raise RequestError({"picture": problem}, hint="PNG files by fromnoise or AUTOMATIC1111 do")


def _our_record(text: str) -> dict[str, Any]:
    try:
        record: dict[str, Any] = {**BESIDE, **json.loads(text), LEFT_OUT: []}
        if not _fits(record):
            raise ValueError("it says what we never write; update fromnoise if a newer one does")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RequestError({"picture": f"its fromnoise record is damaged: {error}"}) from error
    return record


def _fits(record: Mapping[str, Any]) -> bool:
    """Could we have written this? The request's values are not looked at.

    Raises: KeyError, TypeError, AttributeError if not even the kinds are right
    """
    hashes = {name: record.get(name, "") for name in ("model_hash", "refiner_hash")} | record["hashes"]
    words = [*record["request"].keys(), *record["given"], *hashes.values()]
    return all(isinstance(word, str) and word.isprintable() for word in words) and all(
        type(value) is LOADED.get(name) for name, value in record["loaded"].items()
    )
