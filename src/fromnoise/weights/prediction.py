"""What a U-Net answers and how its noise was made: who says so, in the order in which they are believed.

The user, the metadata, marker tensors, the .yaml beside the file, the folder's scheduler, a probe of the
network's answers; where nobody says anything, what the family usually does, and that nobody said it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from fromnoise.specs import ModelSpec, Prediction, ScheduleSpec
from fromnoise.weights.families import TITLES
from fromnoise.weights.identity import Finding
from fromnoise.weights.probe import Probe
from fromnoise.weights.stored import Stored
from fromnoise.weights.testimony import PLAYGROUND_LEVELS, Word
from fromnoise.weights.witnesses import witnesses

T = TypeVar("T")


def settle(
    stored: Stored,
    spec: ModelSpec,
    family: str,
    *,
    prediction: Prediction | None = None,
    probed: Probe | None = None,
) -> tuple[ModelSpec, tuple[Finding, ...]]:
    """The spec with everything about noise and latents that the witnesses say, and who says what."""
    words = list(witnesses(stored, prediction, probed))
    chosen, findings = _prediction(words, spec, family, asked=probed is not None)
    schedule, more = _schedule(words, spec, chosen)
    scale, evidence = _first(words, lambda word: word.latents) or (None, f"as in {TITLES[family]}")
    vae = spec.vae
    if scale is not None:
        vae = replace(vae, latent_scale=scale.scale, latent_mean=scale.mean, latent_std=scale.std)
    findings += more
    doubts = [(word.doubt, word.evidence) for word in words if word.doubt]
    findings += [Finding("schedule", doubt, evidence, decided=False) for doubt, evidence in doubts]
    findings.append(Finding("scale of latents", f"{vae.latent_scale:g}", evidence))
    return replace(spec, prediction=chosen, schedule=schedule, vae=vae), tuple(findings)


def _prediction(
    words: Sequence[Word], spec: ModelSpec, family: str, *, asked: bool
) -> tuple[Prediction, list[Finding]]:
    said: list[tuple[Prediction, str]] = [(w.prediction, w.evidence) for w in words if w.prediction]
    if not said:
        nor = ", nor do its answers" if asked else ""
        usual = f"nothing in the file says it{nor}; {TITLES[family]} usually predicts {spec.prediction}"
        hint = "; `--prediction` overrules"
        return spec.prediction, [Finding("prediction", spec.prediction, usual + hint, decided=False)]
    chosen, evidence = said[0]
    findings = [Finding("prediction", chosen, evidence)]
    findings += [
        Finding("prediction, overruled", other, its_evidence)
        for other, its_evidence in said[1:]
        if other != chosen
    ]
    return chosen, findings


def _schedule(
    words: Sequence[Word], spec: ModelSpec, prediction: Prediction
) -> tuple[ScheduleSpec, list[Finding]]:
    schedule, evidence = _first(words, lambda word: word.schedule) or (spec.schedule, "as in its family")
    if prediction == "flow" and schedule.kind != "flow":
        schedule, evidence = ScheduleSpec(kind="flow"), "a flow needs it"
    if prediction == "edm" and schedule.kind != "edm":
        schedule, evidence = PLAYGROUND_LEVELS, "predicting as EDM does needs it"
    findings = [Finding("schedule", levels(schedule), evidence)]
    zero, why = _first(words, lambda word: word.zero_terminal) or (False, "")
    if zero and schedule.kind in ("flow", "edm"):
        zero, why = False, ""
    if zero and prediction == "eps":  # where there is only noise, eps says nothing of the picture
        ignored = f"{why}, but a network that predicts eps cannot begin there"
        findings.append(Finding("zero terminal SNR", "ignored", ignored, decided=False))
        zero = False
    elif zero:
        findings.append(Finding("zero terminal SNR", "yes", why))
    return replace(schedule, zero_terminal=zero), findings


def levels(schedule: ScheduleSpec) -> str:
    """A schedule in words."""
    if schedule.kind == "edm":
        return f"edm, sigma {schedule.sigma_min:g} to {schedule.sigma_max:g} of {schedule.sigma_data:g}"
    if schedule.kind in ("flow", "cosine"):
        return schedule.kind
    return f"{schedule.kind}, beta {schedule.beta_start:g} to {schedule.beta_end:g}"


def _first(words: Sequence[Word], pick: Callable[[Word], T | None]) -> tuple[T, str] | None:
    """What the first that says anything about it says, and its evidence."""
    for word in words:
        if (value := pick(word)) is not None:
            return value, word.evidence
    return None
