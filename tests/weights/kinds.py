"""What people have files of, and how files lie on the disk: the rows and columns of docs/weights.md."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from families import MODELS, UNETS, tiny

from fromnoise.specs import SDXL, ClipSpec, ModelSpec
from fromnoise.weights.folder_configs import SIZES
from fromnoise.weights.testimony import COSXL_LEVELS, PLAYGROUND, PLAYGROUND_LEVELS

NARROW = {
    768: 16,
    1024: 24,
    1280: 40,
}  # widths of text encoders; one for each kind, so that they are told apart


@dataclass(frozen=True)
class Kind:
    """A kind of model that there are files of, as published; `narrow` has all its tensors, only smaller."""

    family: str  # in MODELS
    unet: str  # in UNETS
    pipeline: str  # which diffusers draws with it
    variant: str = "base"  # as `detect` calls it
    changes: Mapping[str, Any] = field(default_factory=dict[str, Any])  # of the family's spec

    @property
    def full(self) -> ModelSpec:
        return replace(MODELS[self.family], unet=UNETS[self.unet], **self.changes)

    @property
    def narrow(self) -> ModelSpec:
        full, texts = self.full, tuple(map(narrow_text, self.full.texts))
        unet = replace(tiny(full.unet), context_width=sum(text.width for text in texts))
        if full.unet.pooled_width and self.family in SIZES:  # the pooled text, and numbers about the picture
            narrower = full.texts[-1].width - texts[-1].width
            unet = replace(unet, pooled_width=full.unet.pooled_width - narrower)
        return replace(full, texts=texts, unet=unet, vae=replace(full.vae, base_width=4, groups=2))


def narrow_text(text: ClipSpec) -> ClipSpec:
    """Every layer and the real vocabulary."""
    width = NARROW[text.width]
    return replace(text, width=width, heads=2, projection=text.projection and width)


SD, SDXL_PIPE = "StableDiffusionPipeline", "StableDiffusionXLPipeline"
EPS, V = {"prediction": "eps"}, {"prediction": "v"}
ZERO_SNR = V | {"schedule": replace(SDXL.schedule, zero_terminal=True)}
EDM = {
    "prediction": "edm",
    "schedule": PLAYGROUND_LEVELS,
    "vae": replace(
        SDXL.vae, latent_scale=PLAYGROUND.scale, latent_mean=PLAYGROUND.mean, latent_std=PLAYGROUND.std
    ),
}
EDM_V = V | {"schedule": COSXL_LEVELS}
KINDS: dict[str, Kind] = {
    "SD 1.x": Kind("sd1", "sd1", SD),
    "SD 1.x inpainting": Kind("sd1", "sd1 inpaint", "StableDiffusionInpaintPipeline", "inpaint"),
    "InstructPix2Pix": Kind(
        "sd1", "instruct-pix2pix", "StableDiffusionInstructPix2PixPipeline", "instruct-pix2pix"
    ),
    "SD 1.x LCM": Kind("sd1", "lcm", SD, "lcm"),
    "SD 2.x base, eps": Kind("sd2", "sd2", SD, changes=EPS),
    "SD 2.x 768, v": Kind("sd2", "sd2", SD),
    "SD 2.x inpainting": Kind("sd2", "sd2 inpaint", "StableDiffusionInpaintPipeline", "inpaint", EPS),
    "SD 2.x depth": Kind("sd2", "sd2 depth", "StableDiffusionDepth2ImgPipeline", "depth", EPS),
    "SDXL": Kind("sdxl", "sdxl", SDXL_PIPE),
    "SDXL inpainting": Kind("sdxl", "sdxl inpaint", "StableDiffusionXLInpaintPipeline", "inpaint"),
    "SDXL LCM": Kind("sdxl", "sdxl lcm", SDXL_PIPE, "lcm"),
    "SDXL v, zero terminal SNR": Kind("sdxl", "sdxl", SDXL_PIPE, changes=ZERO_SNR),
    "SDXL EDM (Playground 2.5)": Kind("sdxl", "sdxl", SDXL_PIPE, changes=EDM),
    "SDXL EDM, v (CosXL)": Kind("sdxl", "sdxl", SDXL_PIPE, changes=EDM_V),
    "CosXL Edit": Kind(
        "sdxl", "sdxl edit", "StableDiffusionXLInstructPix2PixPipeline", "instruct-pix2pix", EDM_V
    ),
    "SDXL refiner": Kind("refiner", "refiner", "StableDiffusionXLImg2ImgPipeline"),
    "BK-SDM base": Kind("sd1", "bk-sdm base", SD, "BK-SDM base"),
    "BK-SDM small": Kind("sd1", "bk-sdm small", SD, "BK-SDM small"),
    "BK-SDM tiny": Kind("sd1", "bk-sdm tiny", SD, "BK-SDM tiny"),
    "SDXS": Kind("sd2", "sdxs", SD, "SDXS", EPS),
    "SSD-1B": Kind("sdxl", "ssd-1b", SDXL_PIPE, "SSD-1B"),
    "Segmind Vega": Kind("sdxl", "vega", SDXL_PIPE, "Segmind Vega"),
    "KOALA 700M": Kind("sdxl", "koala 700m", SDXL_PIPE, "KOALA 700M"),
    "KOALA 1B": Kind("sdxl", "koala 1b", SDXL_PIPE, "KOALA 1B"),
}

# How files lie on the disk: what the table calls it, what the file is called, what `open_weights` says it is.
CONTAINERS: dict[str, tuple[str, str]] = {
    ".safetensors": ("model.safetensors", "safetensors"),
    ".ckpt": ("model.ckpt", "zip"),
    ".ckpt, PyTorch < 1.6": ("old.ckpt", "pickle"),
    "folder": ("folder", "folder"),
    "folder, .bin": ("folder-bin", "folder"),
    "folder, shards": ("folder-shards", "folder"),
}
WRITTEN = {".safetensors": "safetensors", ".ckpt": "ckpt", "folder": "folder"}  # by `convert`, and its word
