"""Who says what a U-Net predicts, and who is believed: one witness against the next."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from families import MODELS, meta_parts, stored_of
from torch import Tensor

from fromnoise.noise.denoiser import Process
from fromnoise.noise.schedule import schedule_from
from fromnoise.specs import SD21, SD21_BASE, ModelSpec, Prediction, ScheduleSpec
from fromnoise.weights.detect import Finding, Identity, detect
from fromnoise.weights.layouts import checkpoint_rules
from fromnoise.weights.model_converter import flipped, translate
from fromnoise.weights.probe import Probe
from fromnoise.weights.witnesses import TABLES

STATES = {
    family: translate(meta_parts(spec), flipped(checkpoint_rules(spec.vae, family)), source="ours")
    for family, spec in MODELS.items()
}
EDM = ScheduleSpec(kind="edm")


def found(
    family: str = "sd1",
    more: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, str] | None = None,
    configs: Mapping[str, Mapping[str, Any]] | None = None,
    path: Path = Path("nowhere/model.safetensors"),
    prediction: Prediction | None = None,
    probed: Probe | None = None,
) -> Identity:
    stored = stored_of(STATES[family] | (more or {}), metadata=metadata, configs=configs, path=path)
    identity = detect(stored, prediction=prediction, probed=probed)
    assert identity.spec, identity.obstacle
    Process.of(identity.spec)  # whatever is found can be drawn with
    return identity


def spec_of(identity: Identity) -> ModelSpec:
    assert identity.spec
    return identity.spec


def finding(identity: Identity, what: str) -> Finding:
    result = identity.finding(what)
    assert result, [finding.what for finding in identity.findings]
    return result


MARKER = torch.zeros(0)
EPS_SAYS = {"modelspec.prediction_type": "epsilon"}
V_SAYS = {"modelspec.prediction_type": "v"}
V_PROBE, EPS_PROBE = Probe(0.05, 0.5), Probe(0.99, 0.98)
EPS_CONFIG = {"scheduler": {"_class_name": "DDIMScheduler", "prediction_type": "epsilon"}}
V_CONFIG = {"scheduler": {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"}}
YAML = """model:
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    parameterization: "v"
    linear_start: 0.00085
"""


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    (tmp_path / "model.yaml").write_text(YAML)
    return tmp_path / "model.safetensors"


# --- the order of precedence ---


def test_the_user_is_believed_before_anything_that_the_file_says() -> None:
    told = found(metadata=V_SAYS, more={"v_pred": MARKER}, prediction="eps", probed=V_PROBE)
    assert spec_of(told).prediction == "eps"
    assert finding(told, "prediction").evidence == "asked for"
    overruled = [finding for finding in told.findings if finding.what == "prediction, overruled"]
    assert [finding.value for finding in overruled] == ["v", "v", "v"]
    assert overruled[0].evidence == "modelspec.prediction_type says 'v'"


def test_metadata_is_believed_before_markers() -> None:
    told = found(metadata=EPS_SAYS, more={"v_pred": MARKER})
    assert spec_of(told).prediction == "eps"
    assert finding(told, "prediction, overruled").evidence == "marker tensor 'v_pred'"


def test_markers_are_believed_before_the_file_beside(beside: Path) -> None:
    beside.with_suffix(".yaml").write_text(YAML.replace('"v"', "x0"))
    told = found(more={"v_pred": MARKER}, path=beside)
    assert spec_of(told).prediction == "v"
    assert finding(told, "prediction").evidence == "marker tensor 'v_pred'"
    assert finding(told, "prediction, overruled").value == "x0"


def test_the_file_beside_is_believed_before_the_probe(beside: Path) -> None:
    told = found(path=beside, probed=EPS_PROBE)
    assert spec_of(told).prediction == "v"
    assert finding(told, "prediction").evidence == "model.yaml beside it"
    assert finding(told, "prediction, overruled").evidence.startswith("probe: ")


def test_the_scheduler_is_believed_before_the_probe() -> None:
    assert spec_of(found(configs=V_CONFIG, probed=EPS_PROBE)).prediction == "v"
    assert spec_of(found(configs=EPS_CONFIG, probed=V_PROBE)).prediction == "eps"


def test_markers_are_believed_before_the_scheduler() -> None:
    assert spec_of(found(configs=EPS_CONFIG, more={"v_pred": MARKER})).prediction == "v"


def test_the_probe_is_believed_where_nobody_says_anything() -> None:
    told = found(probed=V_PROBE)
    assert spec_of(told).prediction == "v"
    assert finding(told, "prediction") == Finding("prediction", "v", f"probe: {V_PROBE}")
    assert told.undecided == ()


@pytest.mark.parametrize("probed", [None, Probe(0.5, 0.5), Probe(0.0, 0.0)])
@pytest.mark.parametrize(
    ("family", "usual"), [("sd1", "eps"), ("sd2", "v"), ("sdxl", "eps"), ("refiner", "eps")]
)
def test_where_nothing_is_decided_it_is_said(family: str, usual: str, probed: Probe | None) -> None:
    told = found(family, probed=probed)
    assert spec_of(told).prediction == usual
    assert told.undecided == ("prediction",)
    assert "nothing in the file says it" in finding(told, "prediction").evidence
    assert "`--prediction` overrules" in finding(told, "prediction").evidence


# --- what each may say ---


@pytest.mark.parametrize(
    ("key", "text", "prediction"),
    [
        ("modelspec.prediction_type", "epsilon", "eps"),
        ("modelspec.prediction_type", "v", "v"),
        ("modelspec.prediction_type", "v_prediction", "v"),
        ("modelspec.architecture", "stable-diffusion-v2-768-v", "v"),
        ("modelspec.architecture", "stable-diffusion-v2-768-v/lora", "v"),
        ("modelspec.architecture", "stable-diffusion-v2-512", "eps"),
    ],
)
def test_metadata(key: str, text: str, prediction: str) -> None:
    told = found("sd2", metadata={key: text})
    assert spec_of(told).prediction == prediction
    assert finding(told, "prediction").evidence == f"{key} says {text!r}"


def test_words_that_are_not_known_decide_nothing() -> None:
    assert found(metadata={"modelspec.prediction_type": "score"}).undecided == ("prediction",)


def test_the_sizes_of_sd2_go_with_its_prediction() -> None:
    v, eps = spec_of(found("sd2", metadata=V_SAYS)), spec_of(found("sd2", metadata=EPS_SAYS))
    assert (v.name, v.defaults) == (SD21.name, SD21.defaults)
    assert (eps.name, eps.defaults) == (SD21_BASE.name, SD21_BASE.defaults)


def test_markers_of_v_and_zero_terminal() -> None:
    plain = spec_of(found("sdxl", {"v_pred": MARKER}))
    assert (plain.prediction, plain.schedule) == ("v", ScheduleSpec())
    told = found("sdxl", {"v_pred": MARKER, "ztsnr": MARKER})
    assert spec_of(told).schedule == ScheduleSpec(zero_terminal=True)
    assert finding(told, "zero terminal SNR").evidence == "marker tensor 'ztsnr'"


def test_a_zero_terminal_schedule_is_not_given_to_a_network_that_predicts_eps() -> None:
    told = found("sdxl", {"ztsnr": MARKER})
    assert (spec_of(told).prediction, spec_of(told).schedule) == ("eps", ScheduleSpec())
    assert set(told.undecided) == {"prediction", "zero terminal SNR"}
    assert "cannot begin there" in finding(told, "zero terminal SNR").evidence
    told = found("sdxl", {"ztsnr": MARKER}, probed=V_PROBE)
    assert spec_of(told).schedule.zero_terminal


def test_kohyas_metadata_says_zero_terminal() -> None:
    spec = spec_of(found(metadata={"ss_zero_terminal_snr": "True", **V_SAYS}))
    assert spec.schedule.zero_terminal


PLAYGROUND_MEAN, PLAYGROUND_STD = (-1.6574, 1.886, -1.383, 2.5155), (8.4927, 5.9022, 6.5498, 5.2299)


@pytest.mark.parametrize("with_numbers", [True, False])
def test_playground(with_numbers: bool) -> None:
    mean, std = torch.tensor(PLAYGROUND_MEAN), torch.tensor(PLAYGROUND_STD)
    numbers = {"edm_mean": mean.view(1, 4, 1, 1), "edm_std": std.view(1, 4, 1, 1)}
    told = found("sdxl", numbers if with_numbers else {"edm_mean": MARKER, "edm_std": MARKER})
    spec = spec_of(told)
    assert (spec.prediction, spec.schedule, spec.vae.latent_scale) == ("edm", EDM, 0.5)
    assert spec.vae.latent_mean == pytest.approx(PLAYGROUND_MEAN)
    assert spec.vae.latent_std == pytest.approx(PLAYGROUND_STD)
    assert "Playground" in finding(told, "prediction").evidence


@pytest.mark.parametrize(
    ("numbers", "levels"), [((0.01, 100.0), (0.01, 100.0)), ((0.0, 0.0), (0.002, 120.0))]
)
def test_cosxl(numbers: tuple[float, float], levels: tuple[float, float]) -> None:
    low, high = map(torch.tensor, numbers)
    spec = spec_of(found("sdxl", {"edm_vpred.sigma_min": low, "edm_vpred.sigma_max": high}))
    assert (spec.prediction, spec.schedule.kind, spec.schedule.sigma_data) == ("v", "edm", 1.0)
    assert (spec.schedule.sigma_min, spec.schedule.sigma_max) == pytest.approx(levels)
    spec = spec_of(found("sdxl", {"edm_vpred.sigma_max": MARKER}))
    assert (spec.schedule.sigma_min, spec.schedule.sigma_max) == (0.002, 120.0)


# --- the table of noise levels ---


def alphas(spec: ScheduleSpec) -> Tensor:
    sigmas = schedule_from(spec).sigma_of(torch.arange(1000, dtype=torch.float64))
    return 1 / (1 + sigmas**2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("spec", TABLES.values(), ids=lambda spec: f"{spec.kind} {spec.zero_terminal}")
def test_a_table_that_is_known_is_recognised(spec: ScheduleSpec, dtype: torch.dtype) -> None:
    told = found(more={"alphas_cumprod": alphas(spec).to(dtype)}, metadata=V_SAYS)
    assert spec_of(told).schedule == spec
    assert "alphas_cumprod is" in finding(told, "schedule").evidence


def test_a_table_that_is_not_known_is_said_to_be_so() -> None:
    odd = ScheduleSpec(beta_start=0.0001, beta_end=0.03)
    told = found(more={"alphas_cumprod": alphas(odd)}, metadata=V_SAYS)
    assert told.undecided == ("schedule",)
    assert any(finding.value == "an unknown table of noise levels" for finding in told.findings)
    for useless in (torch.full((1000,), torch.nan), torch.ones(7)):
        assert found(more={"alphas_cumprod": useless}, metadata=V_SAYS).undecided == ()


# --- the file beside ---


@pytest.mark.parametrize(
    ("text", "prediction"),
    [
        (YAML, "v"),
        (YAML.replace('"v"', "'v'  # 768"), "v"),
        (YAML.replace('"v"', "eps"), "eps"),
        (YAML.replace("    param", "    # param"), None),
        (YAML + '    parameterization: "eps"\n', None),  # contradicts itself
        (YAML.replace("parameterization", "xparameterization"), None),
        (YAML.replace('"v"', '"v" and more'), None),
        ("parameterization: v\n", None),  # not where latent diffusion keeps it
        ("      scaling_config:\n        target: sgm.modules.denoiser_scaling.VScaling\n", "v"),
        ("      scaling_config:\n        target: sgm.modules.denoiser_scaling.EpsScaling\n", "eps"),
        ("      scaling_config:\n        target: sgm.modules.denoiser_scaling.EDMScaling\n", None),
        ("      other_config:\n        target: sgm.modules.denoiser_scaling.VScaling\n", None),
        ("", None),
        ("\x00\xff" * 99, None),
        ("#" * (1 << 16) + "\n" + YAML, None),  # too long to be one
    ],
)
@pytest.mark.parametrize("ending", [".yaml", ".yml"])
def test_the_file_beside(tmp_path: Path, text: str, prediction: str | None, ending: str) -> None:
    path = tmp_path / "model.ckpt"
    path.with_suffix(ending).write_bytes(text.encode("latin-1"))
    told = found("sd2", path=path)
    assert (told.undecided == ()) == bool(prediction)
    assert spec_of(told).prediction == (prediction or "v")


# --- folders ---


def scheduler(**config: Any) -> dict[str, dict[str, Any]]:
    return {"scheduler": {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction", **config}}


SD_BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


@pytest.mark.parametrize(
    ("config", "spec"),
    [
        (SD_BETAS, ScheduleSpec()),
        ({**SD_BETAS, "rescale_betas_zero_snr": True}, ScheduleSpec(zero_terminal=True)),
        ({**SD_BETAS, "num_train_timesteps": 500}, ScheduleSpec(steps=500)),
        ({}, ScheduleSpec(kind="linear", beta_start=0.0001, beta_end=0.02)),  # diffusers' own defaults
        ({"_class_name": "LCMScheduler"}, ScheduleSpec()),
        (
            {"beta_schedule": "squaredcos_cap_v2"},
            ScheduleSpec(kind="cosine", beta_start=0.0001, beta_end=0.02),
        ),
    ],
)
def test_a_folders_schedule(config: dict[str, Any], spec: ScheduleSpec) -> None:
    assert spec_of(found(configs=scheduler(**config))).schedule == spec


@pytest.mark.parametrize("config", [{"trained_betas": [0.1, 0.2]}, {"beta_schedule": "sigmoid"}])
def test_betas_of_its_own_are_said_to_be_unknown(config: dict[str, Any]) -> None:
    told = found(configs=scheduler(**config))
    assert told.undecided == ("schedule",)
    assert any(finding.value == "betas of its own" for finding in told.findings)


@pytest.mark.parametrize(("word", "prediction"), [("epsilon", "edm"), ("v_prediction", "v")])
@pytest.mark.parametrize("name", ["EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"])
def test_a_folders_edm(name: str, word: str, prediction: str) -> None:
    levels = {"sigma_min": 0.01, "sigma_max": 90, "sigma_data": 0.6}
    configs = {
        "scheduler": {"_class_name": name, "prediction_type": word, **levels},
        "vae": {
            "scaling_factor": 0.5,
            "latents_mean": list(PLAYGROUND_MEAN),
            "latents_std": list(PLAYGROUND_STD),
        },
    }
    spec = spec_of(found("sdxl", configs=configs))
    assert (spec.prediction, spec.schedule) == (prediction, replace(EDM, **levels))
    assert (spec.vae.latent_scale, spec.vae.latent_mean) == (0.5, PLAYGROUND_MEAN)


def test_a_folders_flow() -> None:
    configs = {"scheduler": {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}}
    spec = spec_of(found(configs=configs))
    assert (spec.prediction, spec.schedule) == ("flow", ScheduleSpec(kind="flow", shift=3.0))


def test_a_folders_scale_of_latents() -> None:
    told = found(configs={"vae": {"scaling_factor": 0.2}, **V_CONFIG})
    assert spec_of(told).vae.latent_scale == 0.2
    assert finding(told, "scale of latents").evidence == "scaling_factor of vae/config.json"
    assert finding(found("sdxl"), "scale of latents").value == "0.13025"


def test_the_user_may_ask_for_what_needs_another_schedule() -> None:
    for prediction in ("eps", "v", "x0", "flow", "edm"):
        assert spec_of(found(prediction=prediction)).prediction == prediction  # `found` builds its process


# --- remarks ---


@pytest.mark.parametrize(
    ("title", "word"),
    [
        ("SDXL Turbo", "turbo"),
        ("juggernaut-Lightning_v2", "lightning"),
        ("My LCM", "lcm"),
        ("Turbolence", None),
    ],
)
def test_few_steps_are_a_hint_that_the_title_gives(title: str, word: str | None) -> None:
    remark = found("sdxl", metadata={"modelspec.title": title}).finding("few steps")
    assert (remark and remark.value) == word


def test_the_embedding_of_guidance_is_a_remark() -> None:
    more = {"model.diffusion_model.time_embed.cond_proj.weight": torch.empty(320, 256, device="meta")}
    told = found("sd1", more)
    assert told.variant == "lcm"
    assert finding(told, "few steps").value == "LCM"
    assert spec_of(told).unet.guidance_width == 256
