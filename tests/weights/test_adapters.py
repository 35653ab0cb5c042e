"""Adapters in everybody's names: read whole or refused, put on, taken off, written and read again."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from families import meta_parts, stored_of
from parity import noise, relative_error
from peers import unet as their_unet
from safetensors.torch import save_file
from tiny_files import SPECS, bits, know_tiny_families, tiny_parts
from torch import Tensor, nn
from twins import filled

from fromnoise.errors import RequestError, WeightsError
from fromnoise.nets.low_rank import layers_of
from fromnoise.specs import SD15, SD21, SDXL, ModelSpec
from fromnoise.weights.adapter_algebra import LOHA, LORA, Change
from fromnoise.weights.adapter_names import KOHYA, OURS, PEFT, known_names, written_names
from fromnoise.weights.adapter_writer import save_adapter
from fromnoise.weights.adapters import Adapter, check, open_adapter, sorted_out
from fromnoise.weights.attaching import Attached, fitted, layers_like
from fromnoise.weights.detect import detect
from fromnoise.weights.layouts import folder_rules
from fromnoise.weights.model_converter import flipped, translate

RANK = 2
State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def _families(monkeypatch: pytest.MonkeyPatch) -> None:
    know_tiny_families(monkeypatch)


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(state: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
        save_file(dict(state), tmp_path / "style.safetensors", metadata)
        return tmp_path / "style.safetensors"

    return write


def trained(spec: ModelSpec, rank: int = RANK, alpha: float | None = 1.0) -> Adapter:
    """A LoRA of every layer there is."""
    changes = dict[str, Change]()
    for seed, (name, layer) in enumerate(layers_like(spec).items()):
        rows, columns, *kernel = layer.weight.shape
        up = noise(rows, rank, *[1] * len(kernel), seed=seed)
        changes[name] = Change(
            LORA, {"up": up, "down": noise(rank, columns, *kernel, seed=seed + 1) / 8}, alpha
        )
    return Adapter("style", OURS, changes)


def factors(layer: str, out: int = 320, width: int = 768, rank: int = RANK) -> State:
    """A LoRA of one layer in kohya's names."""
    return {f"{layer}.lora_up.weight": noise(out, rank), f"{layer}.lora_down.weight": noise(rank, width)}


# --- names ---

OLD = "attentions.0.transformer_blocks.0.attn1"
NAMES: list[tuple[ModelSpec, str, str]] = [
    (SD15, f"lora_unet_down_blocks_0_{OLD}_to_q".replace(".", "_"),
     "unet.down.1.1.blocks.0.self_attention.to_q"),
    (SD15, "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj",
     "unet.mid.1.blocks.0.feed_forward.gate"),
    (SD15, "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_attn2_to_out_0",
     "unet.up.11.1.blocks.0.cross_attention.to_out"),
    (SD15, "lora_unet_up_blocks_1_upsamplers_0_conv", "unet.up.5.2.conv"),
    (SD15, "lora_unet_down_blocks_2_downsamplers_0_conv", "unet.down.9.0.conv"),
    (SD15, "lora_unet_down_blocks_1_resnets_0_conv_shortcut", "unet.down.4.0.skip"),
    (SD15, "lora_unet_down_blocks_1_resnets_0_time_emb_proj", "unet.down.4.0.time"),
    (SD15, "lora_unet_time_embedding_linear_2", "unet.time.2"),
    (SD15, "lora_unet_conv_out", "unet.leave"),
    (SD15, "lora_unet_input_blocks_1_1_proj_in", "unet.down.1.1.enter"),
    (SD15, "lora_te_text_model_encoder_layers_11_self_attn_out_proj", "texts.0.layers.11.attention.to_out"),
    (SD15, "lora_te1_text_model_encoder_layers_3_mlp_fc1", "texts.0.layers.3.fc1"),
    (SD15, "lycoris_mid_block_attentions_0_proj_out", "unet.mid.1.leave"),
    (SD15, f"unet.down_blocks.0.{OLD}.to_out.0", "unet.down.1.1.blocks.0.self_attention.to_out"),
    (SD15, f"down_blocks.0.{OLD}.to_v", "unet.down.1.1.blocks.0.self_attention.to_v"),
    (SD15, f"base_model.model.down_blocks.0.{OLD}.to_v", "unet.down.1.1.blocks.0.self_attention.to_v"),
    (SD15, "diffusion_model.output_blocks.3.1.proj_in", "unet.up.3.1.enter"),
    (SD15, "text_encoder.text_model.encoder.layers.0.self_attn.q_proj", "texts.0.layers.0.attention.to_q"),
    (SD15, "text_encoder.encoder.layers.0.self_attn.q_proj", "texts.0.layers.0.attention.to_q"),
    (SD15, "text_encoder.text_model.encoder.layers.0.self_attn.to_q", "texts.0.layers.0.attention.to_q"),
    (SD15, "text_encoder.text_model.encoder.layers.0.self_attn.to_out", "texts.0.layers.0.attention.to_out"),
    (SD15, "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc2", "texts.0.layers.0.fc2"),
    (SD21, "lora_te_text_model_encoder_layers_22_mlp_fc2", "texts.0.layers.22.fc2"),
    (SDXL, "lora_unet_input_blocks_4_1_transformer_blocks_1_attn2_to_k",
     "unet.down.4.1.blocks.1.cross_attention.to_k"),
    (SDXL, "lora_unet_down_blocks_1_attentions_0_transformer_blocks_1_attn2_to_k",
     "unet.down.4.1.blocks.1.cross_attention.to_k"),
    (SDXL, "lora_unet_middle_block_1_transformer_blocks_9_ff_net_2", "unet.mid.1.blocks.9.feed_forward.out"),
    (SDXL, "lora_unet_output_blocks_2_2_conv", "unet.up.2.2.conv"),
    (SDXL, "lora_unet_input_blocks_3_0_op", "unet.down.3.0.conv"),
    (SDXL, "lora_unet_output_blocks_0_0_in_layers_2", "unet.up.0.0.conv1"),
    (SDXL, "lora_unet_label_emb_0_0", "unet.pooled.0"),
    (SDXL, "lora_te2_text_model_encoder_layers_31_mlp_fc2", "texts.1.layers.31.fc2"),
    (SDXL, "text_encoder_2.text_projection", "texts.1.project"),
]  # fmt: skip


@pytest.fixture(scope="session")
def known() -> Mapping[str, dict[str, str]]:
    """The names of the layers of the real models."""
    found = dict[str, dict[str, str]]()
    for spec in (SD15, SD21, SDXL):
        weights = [
            name for name, tensor in meta_parts(spec).items() if name.endswith(".weight") and tensor.ndim > 1
        ]
        layers = [name.removesuffix(".weight") for name in weights if name.startswith(("unet", "texts"))]
        layers = [name for name in layers if not name.endswith((".tokens", ".positions"))]
        found[spec.name] = known_names(spec, layers)
    return found


@pytest.mark.parametrize(("spec", "theirs", "ours"), NAMES, ids=lambda value: getattr(value, "name", None))
def test_everybodys_names_are_known(
    known: Mapping[str, dict[str, str]], spec: ModelSpec, theirs: str, ours: str
) -> None:
    assert known[spec.name][theirs] == ours


@pytest.mark.parametrize(
    ("suffixes", "layout"),
    [
        ((".lora_up.weight", ".lora_down.weight"), "kohya"),
        ((".lora_B.weight", ".lora_A.weight"), "peft"),
        ((".lora_B.default.weight", ".lora_A.default.weight"), "peft"),
        ((".lora_B", ".lora_A"), "peft"),
        ((".lora.up.weight", ".lora.down.weight"), "diffusers"),
        ((".processor.to_q_lora.up.weight", ".processor.to_q_lora.down.weight"), "diffusers"),
        ((".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"), "diffusers"),
    ],
)
def test_every_way_to_name_the_two_factors(
    written: Callable[..., Path], suffixes: tuple[str, str], layout: str
) -> None:
    layer = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1"
    layer += "" if "processor" in suffixes[0] else ".to_q"
    adapter = open_adapter(written({layer + suffixes[0]: noise(8, 2), layer + suffixes[1]: noise(2, 8)}))
    assert adapter.layout == layout
    (change,) = fitted(adapter, SPECS["sd1"], layers_like(SPECS["sd1"])).values()
    torch.testing.assert_close(change.delta(torch.zeros(8, 8)), noise(8, 2) @ noise(2, 8))


# --- each layout of each family ---


@pytest.mark.parametrize("layout", [KOHYA, PEFT])
@pytest.mark.parametrize("family", SPECS)
def test_what_is_written_is_read_back(tmp_path: Path, family: str, layout: Any) -> None:
    spec, path = SPECS[family], tmp_path / "style.safetensors"
    adapter = trained(spec)
    odd = next(iter(adapter.changes))
    adapter.changes[odd] = Change(LORA, adapter.changes[odd].parts, 5.0)  # type: ignore[index]  # a dict
    save_adapter(adapter, path, spec, layout)
    again = open_adapter(path)
    assert (again.layout, again.ranks, again.context_width) == (layout, (RANK,), spec.unet.context_width)
    fits = fitted(again, spec, layers_like(spec))
    assert fits.keys() == adapter.changes.keys()
    for name, change in adapter.changes.items():
        assert fits[name].alpha == change.alpha
        assert all(torch.equal(fits[name].parts[part], change.parts[part]) for part in ("up", "down"))
    before = path.read_bytes()
    save_adapter(again, path, spec, layout)
    assert path.read_bytes() == before


@pytest.mark.oracle
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_diffusers_unet_with_the_same_changes_answers_the_same(tmp_path: Path, family: str) -> None:
    """Their modules are found by the names in the file alone; without PEFT they cannot load it themselves."""
    from diffusers.loaders.lora_conversion_utils import (
        _convert_non_diffusers_lora_to_diffusers,
        _maybe_map_sgm_blocks_to_diffusers,
    )
    from safetensors.torch import load_file

    spec = SPECS[family]
    parts, adapter = tiny_parts(spec), trained(spec)
    unets = {name: change for name, change in adapter.changes.items() if name.startswith("unet.")}
    attached = Attached(spec, dict(parts.modules()))
    ours = {name: tensor for name, tensor in parts.state().items() if name.startswith("unet.")}
    theirs = filled(
        their_unet(spec.unet), translate(ours, flipped(folder_rules(spec)), source="ours"), "unet."
    )

    save_adapter(Adapter("style", OURS, unets), tmp_path / "peft.safetensors", spec, "peft")
    save_adapter(Adapter("style", OURS, unets), tmp_path / "kohya.safetensors", spec, "kohya")
    state = load_file(tmp_path / "peft.safetensors")
    layers = {name.removeprefix("unet.").removesuffix(".lora_A.weight") for name in state if "lora_A" in name}
    scale = 0.25
    for layer in layers:
        module: nn.Module = theirs.get_submodule(layer)
        up, down = (state[f"unet.{layer}.lora_{part}.weight"].flatten(1) for part in "BA")
        change = scale * (1.0 / RANK) * (up @ down).reshape(module.weight.shape)
        module.weight = nn.Parameter(module.weight + change, requires_grad=False)

    def answers() -> tuple[Tensor, Tensor]:
        x, t, context = (
            noise(1, 4, 16, 16),
            torch.tensor([321.0]),
            noise(1, 5, spec.unet.context_width, seed=3),
        )
        pooled = noise(1, spec.unet.pooled_width, seed=4) if spec.unet.pooled_width else None
        with torch.no_grad():
            added = None
            if pooled is not None:
                theirs.add_embedding.register_forward_pre_hook(lambda _, __: (pooled,))
                added = {"text_embeds": pooled[:, : -6 * 256], "time_ids": torch.zeros(1, 6)}
            expected = theirs(x, t, context, added_cond_kwargs=added).sample
            return parts.unet(x, t, context, pooled), expected

    plain, expected = answers()
    assert relative_error(plain, expected) > 0.01
    for layout in (PEFT, KOHYA):
        attached.wear([(open_adapter(tmp_path / f"{layout}.safetensors"), scale)])
        assert relative_error(answers()[0], expected) < 2e-5

    kohya = load_file(tmp_path / "kohya.safetensors")  # and they take kohya's names for the same layers
    if family == "sdxl":
        kohya = _maybe_map_sgm_blocks_to_diffusers(kohya, theirs.config)
    converted, alphas = _convert_non_diffusers_lora_to_diffusers(kohya)
    assert {_module(name) for name in converted} == {f"unet.{layer}" for layer in layers}
    assert set(alphas.values()) == {1.0}


def _module(name: str) -> str:
    """Their old names of the factors, as the name of the layer."""
    name = name.replace(".processor.", ".")
    for end in ("_lora", ".lora"):
        name = name.removesuffix(f"{end}.up.weight").removesuffix(f"{end}.down.weight")
    return f"{name}.0" if name.endswith("to_out") else name


# --- on and off ---


def test_taken_off_every_weight_is_the_very_one_from_before() -> None:
    spec = SPECS["sdxl"]
    parts, one, two = tiny_parts(spec), trained(spec), trained(spec, rank=3, alpha=None)
    attached = Attached(spec, dict(parts.modules()))
    before = {name: (bits(tensor), tensor.data_ptr()) for name, tensor in parts.state().items()}
    attached.wear([(one, 1.0), (two, -0.5)])
    changed = {name for name, tensor in parts.state().items() if bits(tensor) != before[name][0]}
    assert changed == {f"{name}.weight" for name in one.changes}
    attached.wear([(two, 0.5)])
    attached.wear([])
    assert {name: (bits(tensor), tensor.data_ptr()) for name, tensor in parts.state().items()} == before


def test_several_add_up_in_any_order_to_the_same_bytes() -> None:
    spec = SPECS["sd1"]
    parts = tiny_parts(spec)
    attached = Attached(spec, dict(parts.modules()))
    plain = {name: tensor.clone() for name, tensor in parts.state().items()}
    three = [
        Adapter(name, OURS, trained(spec, rank).changes) for name, rank in (("a", 1), ("b", 2), ("c", 3))
    ]
    scaled = [(each, 0.5 + number) for number, each in enumerate(three)]
    attached.wear(scaled)
    first = {name: bits(tensor) for name, tensor in parts.state().items()}
    attached.wear([])
    attached.wear(reversed(scaled))
    assert {name: bits(tensor) for name, tensor in parts.state().items()} == first
    name = next(iter(three[0].changes))
    expected = plain[f"{name}.weight"].clone()
    for adapter, scale in scaled:
        change = adapter.changes[name]
        product = change.parts["up"].flatten(1) @ change.parts["down"].flatten(1)
        expected += scale * (1.0 / change.parts["down"].shape[0]) * product.reshape(expected.shape)
    torch.testing.assert_close(parts.state()[f"{name}.weight"], expected)


def test_a_scale_of_nothing_changes_nothing() -> None:
    spec = SPECS["sd1"]
    parts = tiny_parts(spec)
    before = {name: tensor.data_ptr() for name, tensor in parts.state().items()}
    Attached(spec, dict(parts.modules())).wear([(trained(spec), 0.0)])
    assert {name: tensor.data_ptr() for name, tensor in parts.state().items()} == before


def test_a_mapped_file_is_never_written(tmp_path: Path) -> None:
    spec, path = SPECS["sd1"], tmp_path / "weights.safetensors"
    parts = tiny_parts(spec)
    save_file(parts.unet.state_dict(), path)
    before = path.read_bytes()
    from safetensors.torch import load_file

    parts.unet.load_state_dict(load_file(path), assign=True)  # views of the file
    attached = Attached(spec, dict(parts.modules()))
    attached.wear([(trained(spec), 1.0)])
    attached.wear([])
    assert path.read_bytes() == before


def test_weights_that_leave_the_finite_range_are_refused_and_nothing_stays_on() -> None:
    spec = SPECS["sd1"]
    parts = tiny_parts(spec)
    parts.unet.half()
    attached = Attached(spec, dict(parts.modules()))
    before = {name: tensor.data_ptr() for name, tensor in parts.state().items()}
    with pytest.raises(WeightsError, match=r"is not finite as torch.float16\n  hint: take a smaller scale"):
        attached.wear([(trained(spec), 1e6)])
    assert attached.on == ()
    assert {name: tensor.data_ptr() for name, tensor in parts.state().items()} == before


# --- what is refused ---


@pytest.mark.parametrize(
    ("mine", "other", "said"),
    [
        ("sdxl", "sd1", "made for SDXL, whose U-Net reads texts 56 wide; this is Stable Diffusion 1.x: 16"),
        ("sd1", "sdxl", "made for Stable Diffusion 1.x, whose U-Net reads texts 16 wide; this is SDXL: 56"),
        ("sd2", "sd1", "made for Stable Diffusion 2.x"),
        ("refiner", "sdxl", "made for the SDXL refiner"),
    ],
)
def test_another_familys_is_told_by_both_names(mine: str, other: str, said: str) -> None:
    with pytest.raises(WeightsError, match=said):
        fitted(trained(SPECS[mine]), SPECS[other], layers_like(SPECS[other]))


def test_what_has_no_place_is_named_with_the_nearest(written: Callable[..., Path]) -> None:
    state = factors("lora_unet_mid_block_attentions_0_proj_in", 32, 32) | factors(
        "lora_unet_mid_block_attentions_7_proj_in"
    )
    with pytest.raises(WeightsError) as caught:
        fitted(open_adapter(written(state)), SPECS["sd1"], layers_like(SPECS["sd1"]))
    said = "1 of 2 layers of style are not in sd15, first: 'lora_unet_mid_block_attentions_7_proj_in'"
    assert caught.value.message == said
    assert caught.value.hint == "nearest there is 'lora_unet_mid_block_attentions_0_proj_in'"


def test_another_size_is_named(written: Callable[..., Path]) -> None:
    adapter = open_adapter(written(factors("lora_te_text_model_encoder_layers_0_mlp_fc1", 99, 16)))
    said = r"1 of 1 layers of style are of another size than in sd15, first: .*: \(99, 16\), not \(64, 16\)"
    with pytest.raises(WeightsError, match=said):
        fitted(adapter, SPECS["sd1"], layers_like(SPECS["sd1"]))


def test_one_layer_under_two_names(written: Callable[..., Path]) -> None:
    names = ("lora_unet_mid_block_attentions_0_proj_in", "lora_unet_middle_block_1_proj_in")
    state = {key: tensor for name in names for key, tensor in factors(name, 32, 32).items()}
    with pytest.raises(WeightsError, match="changes one layer twice"):
        fitted(open_adapter(written(state)), SPECS["sd1"], layers_like(SPECS["sd1"]))


LAYER = "lora_unet_mid_block_attentions_0_proj_in"
UP, DOWN = f"{LAYER}.lora_up.weight", f"{LAYER}.lora_down.weight"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"text_model.x": noise(2)}, "1 of 3 tensors are not understood, first: 'text_model.x'"),
        ({f"{LAYER}.oft_blocks": noise(2, 2, 2)}, r"\(OFT, which is not built\)"),
        ({f"{LAYER}.diff_b": noise(2)}, "differences of biases, which is not built"),
        ({"bundle_emb.word.string_to_param.*": noise(1, 16)}, "an embedding, which is not built"),
        ({UP: noise(32, 3)}, r"at 'lora_unet_.*lora_\w+.weight' there is parts that do not go together"),
        ({UP: torch.full((32, 2), float("nan"))}, "it is damaged: '.*lora_up.weight' holds NaN or infinity"),
        (
            {DOWN: torch.full((2, 32), float("inf"))},
            "it is damaged: '.*lora_down.weight' holds NaN or infinity",
        ),
        ({UP: torch.zeros(32, 2, dtype=torch.int8)}, "is of the type torch.int8, not of fractions"),
        ({f"{LAYER}.alpha": noise(2)}, r"has the shape \(2,\), where one number belongs"),
        ({f"{LAYER}.alpha": torch.tensor(float("nan"))}, "it is damaged: '.*alpha' is nan"),
        ({f"{LAYER}.hada_w1_a": noise(2, 2)}, "there is parts of LoHa and LoRA"),
        ({f"{LAYER}.lora_A.weight": noise(2, 32)}, "one part stands twice"),
        ({"other.alpha": torch.tensor(1.0)}, "of 'other' there is nothing but 'other.alpha'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_name(
    written: Callable[..., Path], changed: State, said: str
) -> None:
    with pytest.raises(WeightsError, match=said) as caught:
        open_adapter(written(factors(LAYER, 32, 32) | changed))
    assert caught.value.message.startswith("style.safetensors: ")


@pytest.mark.parametrize(("gone", "left"), [(UP, "down without up"), (DOWN, "up without down")])
def test_half_a_layer(written: Callable[..., Path], gone: str, left: str) -> None:
    state = factors(LAYER, 32, 32)
    del state[gone]
    with pytest.raises(WeightsError, match=left):
        open_adapter(written(state))


def test_no_adapter(written: Callable[..., Path]) -> None:
    with pytest.raises(WeightsError, match="it is no adapter\n  hint: `fromnoise inspect FILE`"):
        open_adapter(written({"conv_in.weight": noise(3, 3)}))


def test_a_huge_rank_is_refused_before_a_number_is_read() -> None:
    stored = stored_of({UP: (320, 10**9), DOWN: (10**9, 320)})  # whose tensors may not be read
    _, layers = sorted_out(stored.shapes)
    with pytest.raises(WeightsError, match="a rank of 1,000,000,000, where 4,096 is the most"):
        check(stored, layers[LAYER])


def test_a_checkpoint_is_read_without_running_it(tmp_path: Path) -> None:
    torch.save(factors(LAYER, 32, 32), tmp_path / "style.pt")
    assert list(open_adapter(tmp_path / "style.pt").changes) == [LAYER]


# --- how much of it ---


@pytest.mark.parametrize(("alpha", "factor"), [(None, 1.0), (1.0, 0.5), (4.0, 2.0), (0.0, 1.0)])
def test_kohyas_alpha(written: Callable[..., Path], alpha: float | None, factor: float) -> None:
    beside = {} if alpha is None else {f"{LAYER}.alpha": torch.tensor(alpha)}
    (change,) = open_adapter(written(factors(LAYER, 32, 32) | beside)).changes.values()
    assert change.factor == factor


PEFT_LAYER = "unet.mid_block.attentions.0.proj_in"
PEFT_STATE = {f"{PEFT_LAYER}.lora_A.weight": noise(4, 32), f"{PEFT_LAYER}.lora_B.weight": noise(32, 4)}


@pytest.mark.parametrize(
    ("settings", "factor"),
    [
        ("", 1.0),
        ('{"unet.r": 4, "unet.lora_alpha": 2}', 0.5),
        ('{"unet.lora_alpha": 2, "unet.alpha_pattern": {"attentions.0.proj_in": 6}}', 1.5),
        ('{"unet.lora_alpha": 2, "unet.alpha_pattern": {"proj_out": 6}}', 0.5),
        ('{"unet.lora_alpha": 2, "unet.alpha_pattern": {"^mid_block.attentions.0.proj_in": 6}}', 1.5),
        ('{"unet.lora_alpha": 2, "unet.alpha_pattern": {"^attentions.0.proj_in": 6}}', 0.5),
        ('{"unet.lora_alpha": 2, "unet.alpha_pattern": null}', 0.5),
        ('{"unet.lora_alpha": 4, "unet.use_rslora": true}', 2.0),
        ('{"text_encoder.lora_alpha": 8}', 1.0),
    ],
)
def test_pefts_alpha(written: Callable[..., Path], settings: str, factor: float) -> None:
    metadata = {"lora_adapter_metadata": settings} if settings else None
    (change,) = open_adapter(written(PEFT_STATE, metadata)).changes.values()
    assert change.factor == factor


@pytest.mark.parametrize(
    "settings",
    [
        "[]",
        "{",
        '{"unet.lora_alpha": "much"}',
        '{"unet.lora_alpha": NaN}',
        '{"unet.lora_alpha": 1' + "0" * 400 + "}",
        '{"unet.alpha_pattern": [1]}',
        '{"unet.alpha_pattern": {"to_[qkv]": 8}}',  # a regular expression
        '{"alpha_pattern": {"(a+)+$": 8}}',  # one that takes forever
    ],
)
def test_settings_that_make_no_sense(written: Callable[..., Path], settings: str) -> None:
    with pytest.raises(WeightsError, match="its settings"):
        open_adapter(written(PEFT_STATE, {"lora_adapter_metadata": settings}))


def test_a_folder_of_pefts(tmp_path: Path) -> None:
    folder = tmp_path / "watercolour"
    folder.mkdir()
    save_file(PEFT_STATE, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"r": 4, "lora_alpha": 2}')
    adapter = open_adapter(folder)
    assert (adapter.name, [change.factor for change in adapter.changes.values()]) == ("watercolour", [0.5])


# --- what is said of them, and what is not written ---


def test_inspecting_tells_what_it_changes_and_its_words(written: Callable[..., Path]) -> None:
    from fromnoise.weights.stored import open_weights

    state = factors(LAYER, 32, 32) | {f"{LAYER}.alpha": torch.tensor(1.0)}
    state |= factors("lora_te_text_model_encoder_layers_0_mlp_fc1", 64, 16, rank=3)
    words = {"ss_tag_frequency": '{"10_cat": {"a cat": 3, "sitting": 9}}', "ss_base_model_version": "sd_v1"}
    with open_weights(written(state, words)) as stored:
        found = detect(stored)
    said = {finding.what: finding.value for finding in found.findings}
    assert said["layers"] == "2 LoRA"
    assert said["changes"] == "1 U-Net, 1 text encoders"
    assert (said["rank"], said["alpha"], said["trained on"]) == ("2, 3", "1, none", "sitting, a cat")
    assert "--lora FILE" in found.hint


def test_only_plain_lora_is_written(tmp_path: Path) -> None:
    parts = {
        name: noise(*shape)
        for name, shape in (("w1_a", (32, 2)), ("w1_b", (2, 32)), ("w2_a", (32, 2)), ("w2_b", (2, 32)))
    }
    adapter = Adapter("style", OURS, {"unet.mid.1.enter": Change(LOHA, parts)})
    with pytest.raises(WeightsError, match="style holds LoHa; only plain LoRA is written"):
        save_adapter(adapter, tmp_path / "x.safetensors", SPECS["sd1"])
    with pytest.raises(RequestError, match="'koya' is unknown; did you mean 'kohya'"):
        save_adapter(trained(SPECS["sd1"]), tmp_path / "x.safetensors", SPECS["sd1"], "koya")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_every_layer_has_one_written_name() -> None:
    for spec in SPECS.values():
        layers = layers_like(spec)
        for layout in (KOHYA, PEFT):
            names = written_names(spec, layers.keys(), layout)
            assert names.keys() == layers.keys()
            assert len(set(names.values())) == len(names)
    assert layers_of(nn.Linear(2, 2)).keys() == {""}
