"""The request inside the PNG: written for people and other programs, and exactly, for ourselves."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Final, cast

from PIL.PngImagePlugin import PngInfo

from fromnoise.errors import RequestError
from fromnoise.images.files import place, replace
from fromnoise.images.pixels import enlarged, opened, to_image
from fromnoise.names import find_sampler
from fromnoise.request import GenerateRequest, GenerateResult, Picture
from fromnoise.version import VERSION

OURS, THEIRS, XMP = "fromnoise", "parameters", "XML:com.adobe.xmp"

# How AUTOMATIC1111 labels what we call by an id.
SAMPLER_LABELS: Final[Mapping[str, str]] = {
    "ddpm": "DDPM",
    "ddim": "DDIM",
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "dpmpp_2m": "DPM++ 2M",
    "lcm": "LCM",
}
SPACING_LABELS: Final[Mapping[str, str]] = {
    "karras": "Karras",
    "exponential": "Exponential",
    "leading": "DDIM",
    "linspace": "Normal",
    "trailing": "Simple",
    "uniform": "SGM Uniform",
}
FIELDS: Final[Mapping[str, str]] = {
    "Steps": "steps",
    "Sampler": "sampler",
    "Schedule type": "spacing",
    "CFG scale": "guidance",
    "Image CFG scale": "image_guidance",
    "Seed": "seeds",
    "Denoising strength": "strength",
    "Refiner switch at": "refine_from",
    "Token merging ratio": "merge",
}
# Source: AUTOMATIC1111's sd_schedulers.py: "Uniform" is k-diffusion's own, equal distances in t, 0 included
THEIR_SPACINGS: Final[Mapping[str, str | None]] = {
    **{label: name for name, label in SPACING_LABELS.items()},
    "Uniform": "linspace",
    "Automatic": None,
}
# Where it names none, its samplers go by equal distances in t; these have a way of their own.
UNNAMED: Final[Mapping[str, str]] = {"ddim": "leading", "lcm": "trailing"}
HIRES: Final = {"Hires upscale", "Hires resize"}  # a second pass, whose strength is no request's
HARMLESS: Final = {  # details that change no picture, or are told in another way
    *("Size", "Model", "Model hash", "Hashes", "Lora hashes", "TI hashes", "Refiner", "RNG", "Version"),
    *("User", "Created Date"),
}
LOADED: Final[Mapping[str, type]] = {  # what `Pipeline.loaded` may say
    "prediction": str,
    "ema": bool,
    "variant": str,
    "dtype": str,
    "engine": str,
}
BESIDE: Final[Mapping[str, Any]] = {"given": [], "loaded": {}, "hashes": {}}  # a request: what may be told
LEFT_OUT: Final = "left_out"  # of another program's settings: those we have no word for
HASH_LENGTH: Final = 10  # of the SHA-256, as AUTOMATIC1111 shows it
HEADING = re.compile(r"^(\s*)(Steps|Negative prompt):", re.MULTILINE)
TAG = re.compile(r" ?<(?:lora|lyco):([^<>:]+)(?::([^<>]*))?>")
NUMBER = re.compile(r"[+-]?[\d.]+")
PLAIN_NAME = re.compile(r"[\w.\-]+\Z", re.ASCII)  # Source: Civitai's reader takes these letters only
HASHES = re.compile(r"Hashes: ({[^{}]*})\s*\Z")
DETAIL = re.compile(r'\s?(\w[\w \-/]{1,60}):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')

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


def parameters(result: GenerateResult, picture: Picture) -> str:
    """The text that AUTOMATIC1111, Civitai and their readers understand."""
    request = result.request
    tags = [
        f"<lora:{use.name}:{use.scale:g}>" for use in request.adapters or () if PLAIN_NAME.match(use.name)
    ]
    lines = [" ".join([_body(request.prompt), *tags])]
    if request.negative:
        lines.append(f"Negative prompt: {_body(request.negative)}")
    return "\n".join([*lines, ", ".join(f"{name}: {value}" for name, value in _details(result, picture))])


def _details(result: GenerateResult, picture: Picture) -> Iterator[tuple[str, str]]:
    request, short_hash = result.request, result.model_hash[:HASH_LENGTH]
    yield "Steps", str(request.steps)  # first: Civitai finds the line by it
    yield "Sampler", SAMPLER_LABELS[request.sampler]
    yield "Schedule type", SPACING_LABELS[request.spacing]
    yield "CFG scale", f"{request.guidance:g}"
    yield "Seed", str(picture.seed)
    yield "Size", f"{picture.width}x{picture.height}"
    if short_hash:
        yield "Model hash", short_hash
    if result.model:
        yield "Model", _quoted(result.model)
    if request.image_guidance is not None:
        yield "Image CFG scale", f"{request.image_guidance:g}"
    if request.strength is not None:
        yield "Denoising strength", f"{request.strength:g}"
    if request.refine_from is not None:
        short = result.refiner_hash[:HASH_LENGTH]
        yield "Refiner", _quoted(f"{result.refiner} [{short}]" if short else result.refiner)
        yield "Refiner switch at", f"{request.refine_from:g}"
    if request.merge:
        yield "Token merging ratio", f"{request.merge:g}"
    yield "RNG", "CPU"  # else readers take it for GPU noise
    yield "Version", f"{OURS} {VERSION}"
    hashes = {f"lora:{use.name}": use.hash for use in request.adapters or () if PLAIN_NAME.match(use.name)}
    hashes = {name: short for name, short in {"model": short_hash, **hashes}.items() if short}
    if hashes:
        yield "Hashes", json.dumps(hashes)  # last, and not quoted: Civitai


def _body(prompt: str) -> str:
    """A prompt whose lines cannot be taken for headings; the exact one is in our own record."""
    return HEADING.sub(r"\1\2 :", prompt).replace("\0", "\ufffd")


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if set(value) & set(',:\n"') else value


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
    return _our_record(text) if whose == OURS else _their_record(text)


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


def from_parameters(text: str) -> GenerateRequest:
    """Read AUTOMATIC1111's text; details we have no word for are left out.  Raises: RequestError"""
    return GenerateRequest.from_json(_their_record(text)["request"])


def _their_record(text: str) -> dict[str, Any]:
    """What AUTOMATIC1111 says of a picture.  Raises: RequestError"""
    *body, last = text.strip().split("\n")
    details = {name: _unquoted(value) for name, value in DETAIL.findall(last)}
    if "Steps" not in details:
        raise RequestError({"picture": "its text says nothing about steps, so it is not a list of settings"})
    left = {name: value for name, value in details.items() if name not in FIELDS.keys() | HARMLESS}
    if HIRES & details.keys():
        details.pop("Denoising strength", None)
    prompt, _, negative = "\n".join(body).partition("\nNegative prompt:")
    if prompt.startswith("Negative prompt:"):
        prompt, negative = "", prompt.removeprefix("Negative prompt:")
    fields: dict[str, Any] = {"prompt": TAG.sub("", prompt), "negative": negative.strip()}
    try:
        fields["adapters"] = _adapters(prompt, last)
        fields |= {
            ours: _value(ours, details[theirs]) for theirs, ours in FIELDS.items() if theirs in details
        }
        if size := details.get("Size"):
            width, height = map(int, size.split("x"))
            fields |= {"width": width, "height": height}
    except (ValueError, RecursionError) as error:
        raise RequestError({"picture": f"its settings are damaged: {error}"}) from error
    if fields.get("spacing") is None:
        fields["spacing"] = _spacing_of(details.get("Sampler", ""))
    digest = details.get("Model hash", "")
    return {
        "request": fields,
        "model": details.get("Model", ""),
        "model_hash": digest if len(digest) == HASH_LENGTH else "",  # shorter ones are no SHA-256
        **BESIDE,
        LEFT_OUT: [f"{name}: {value}" for name, value in left.items()],
    }


def _spacing_of(sampler: str) -> str | None:
    """What AUTOMATIC1111 means by this sampler alone; None for one that we do not have."""
    try:
        name, implied = find_sampler(sampler)
    except RequestError:
        return None
    return implied or UNNAMED.get(name, "linspace")


def _adapters(prompt: str, details: str) -> list[dict[str, Any]] | None:
    """Those that AUTOMATIC1111 is asked for inside the prompt.  Raises: ValueError"""
    found = HASHES.search(details) if f"Version: {OURS} " in details else None  # others mean other hashes
    hashes: dict[str, Any] = json.loads(found[1]) if found else {}
    named = {name: _scale(rest) for name, rest in cast(list[tuple[str, str]], TAG.findall(prompt))}
    short = {name: str(hashes.get(f"lora:{name}", "")) for name in named}
    return [{"name": name, "scale": scale, "hash": short[name]} for name, scale in named.items()] or None


def _scale(said: str) -> float:
    """How much of an adapter: one number, or the text encoders' and then the U-Net's, which decides here.

    Raises: ValueError
    """
    numbers = [float(word) for word in said.split(":") if NUMBER.fullmatch(word)]
    return numbers[:2][-1] if numbers else 1.0


def _value(field: str, text: str) -> Any:
    match field:
        case "steps":
            return int(text)
        case "seeds":
            return [int(text)]
        case "sampler":
            return text
        case "spacing":
            return THEIR_SPACINGS.get(text, text)
        case _:
            return float(text)


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value
