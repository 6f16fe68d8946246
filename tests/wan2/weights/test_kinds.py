"""Every kind of file by its name: tables of tensors as public files have them, and what they must be called."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny import DATA
from wan2.models.config import A14B, TransformerConfig
from wan2.weights.kinds.kind import Table
from wan2.weights.kinds.namer import kind_of

PUBLISHED = {
    file: {name: ("BF16", tuple(shape)) for name, shape in tensors.items()}
    for file, tensors in json.loads((DATA / "checkpoint_keys.json").read_text()).items()
}
T2V = PUBLISHED["dit_t2v_A14B"]
T5 = PUBLISHED["models_t5_umt5-xxl-enc-bf16.pth"]
VAE = PUBLISHED["Wan2.1_VAE.pth"]
Q = "blocks.0.self_attn.q"


def table(*names: str, **shapes: tuple[int, ...]) -> Table:
    """A tensor for each name, and for each name with a shape; "__" stands for a dot."""
    found: dict[str, tuple[str, tuple[int, ...]]] = {name: ("F16", (8, 8)) for name in names}
    return found | {name.replace("__", "."): ("F16", shape) for name, shape in shapes.items()}


def wan(channels: int, *added: str, width: int = 5120, blocks: int = 2, out: int = 16) -> Table:
    """The tensors of a transformer of the Wan family that takes in so many channels."""
    config = TransformerConfig(**{**vars(A14B), "dim": width, "in_dim": channels, "out_dim": out, "num_layers": blocks})
    return {name: ("BF16", shape) for name, shape in config.tensor_shapes().items()} | dict(table(*added))


def under(prefix: str, tensors: Table) -> Table:
    return {prefix + name: value for name, value in tensors.items()}


def cast(tensors: Table, dtype: str, *marks: str, **scale: tuple[str, tuple[int, ...]]) -> Table:
    """The matrices of blocks in another type, each with what `scale` gives by the end of its name; -1 for its rows."""
    found = dict(tensors)
    for name, (_, shape) in tensors.items():
        if name.startswith("blocks.") and name.endswith(".weight") and len(shape) == 2:
            found[name] = dtype, shape
            for end, (kind, sizes) in scale.items():
                rows = tuple(shape[0] if size == -1 else size for size in sizes)
                found[name.removesuffix("weight") + end] = kind, rows
    return found | {mark: ("U8", (26,)) for mark in marks}


def layers(prefix: str, *names: str, count: int = 2) -> list[str]:
    return [f"{prefix}{index}.{name}" for index in range(count) for name in names]


T5_BLOCK = ("layer.0.SelfAttention.q.weight", "layer.0.layer_norm.weight", "layer.1.DenseReluDense.wi_0.weight")
BIAS = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
IMAGES = ("img_emb.proj.0.weight", "blocks.0.cross_attn.k_img.weight")
F32 = ("F32", ())

KINDS: list[tuple[str, Table]] = [
    # Transformers of Wan.
    ("a Wan T2V-14B transformer (16 input channels, 40 blocks, 5120 wide)", T2V),
    ("a Wan T2V-1.3B transformer (16 input channels, 30 blocks, 1536 wide)", wan(16, width=1536, blocks=30)),
    ("a Wan T2V transformer (16 input channels, 2 blocks, 96 wide)", wan(16, width=96)),
    ("a Wan T2V-14B transformer (17 input channels,", wan(17)),
    ("a Wan2.1 I2V transformer (36 input channels", wan(36, *IMAGES)),
    ("a Wan2.2 I2V transformer (36 input channels", wan(36)),
    ("a Wan2.1 FLF2V transformer", wan(36, *IMAGES, "img_emb.emb_pos")),
    ("a Wan2.2 TI2V-5B transformer (48 input channels", wan(48, width=3072, out=48)),
    ("a Wan2.1 Fun Control transformer (48 input channels", wan(48, *IMAGES)),
    ("a Wan Fun Control transformer (52 input channels", wan(52, "ref_conv.weight")),
    ("a Wan2.2 Fun Control transformer (52 input channels", wan(52)),
    ("a Wan2.2 Fun-InP of 5B transformer (100", wan(100, width=3072, out=48)),
    ("a Wan2.2 Fun Control of 5B transformer (148", wan(148, width=3072, out=48)),
    ("a Wan control transformer (32 input channels", wan(32)),
    ("a Wan Fun Camera transformer", wan(36, "control_adapter.conv.weight")),
    ("a Wan VACE transformer", wan(16, "vace_blocks.0.after_proj.weight", "vace_patch_embedding.weight")),
    ("a Wan2.2 Animate transformer", wan(36, "motion_encoder.enc.weight", "face_adapter.x.weight", *IMAGES)),
    ("a Wan2.2 S2V transformer", wan(16, "casual_audio_encoder.weights", "audio_injector.injector.0.k.weight")),
    ("a Wan HuMo transformer", wan(36, "blocks.0.audio_cross_attn_wrapper.norm.weight")),
    ("a Wan MultiTalk transformer", wan(36, "blocks.0.audio_cross_attn.q_linear.weight", *IMAGES)),
    ("a Wan FantasyTalking transformer", wan(36, "blocks.0.cross_attn.processor.k_proj.weight", *IMAGES)),
    ("a Wan ReCamMaster transformer", wan(16, "blocks.0.cam_encoder.weight")),
    ("a Wan SCAIL transformer", wan(20, "patch_embedding_pose.weight")),
    ("a Wan IP-Adapter transformer", wan(16, "blocks.0.cross_attn.ip_adapter.to_k.weight")),
    ("a Wan SkyReels V2 transformer", wan(16, "fps_embedding.weight", "fps_projection.0.weight")),
    ("a Wan Ovi transformer", wan(48, "blocks.0.cross_attn.k_fusion.weight")),
    ("a Wan transformer (64 input channels", wan(64)),
    ("a Wan T2V-14B transformer (16 input channels, 2 blocks, 5120 wide, prefix diffusion_model.)",
     under("diffusion_model.", wan(16))),
    ("a Wan T2V-14B transformer (16 input channels, 2 blocks, 5120 wide, prefix model.diffusion_model.)",
     under("model.diffusion_model.", wan(16))),
    ("a Wan T2V-14B transformer (16 input channels, 2 blocks, 5120 wide, prefix generator.model.)",
     under("generator.model.", wan(16))),
    # Other video and image models.
    ("a Qwen-Image transformer", table(*layers("transformer_blocks.", "img_mod.1.weight", "attn.to_q.weight"))),
    ("a HiDream transformer", table("double_stream_blocks.0.block.norm1_i.weight")),
    ("a Kandinsky 5 transformer", table("visual_transformer_blocks.0.self_attention.to_query.weight")),
    ("a HunyuanVideo transformer",
     table("double_blocks.0.img_attn_qkv.weight", "txt_in.individual_token_refiner.blocks.0.norm1.weight")),
    ("a HunyuanVideo 1.5 transformer", table("double_blocks.0.img_attn_qkv.weight", "byt5_in.fc1.weight")),
    ("a HunyuanVideo transformer", table("transformer_blocks.0.attn.to_q.weight", "context_embedder.token_refiner.x")),
    ("a Hunyuan3D transformer", table("double_blocks.0.img_attn.qkv.weight", "latent_in.weight")),
    ("a Chroma transformer", table("double_blocks.0.img_attn.qkv.weight", "distilled_guidance_layer.in_proj.weight")),
    ("a Flux.1 transformer", table("double_blocks.0.img_attn.norm.key_norm.scale", "single_blocks.0.linear1.weight")),
    ("a Flux.1 transformer", table("transformer_blocks.0.attn.to_q.bias", "single_transformer_blocks.0.proj_mlp.bias")),
    ("a Flux.2 transformer", table("double_blocks.0.img_attn.qkv.weight", "double_stream_modulation_img.lin.weight")),
    ("an LTX-Video transformer",
     table("patchify_proj.weight", "adaln_single.emb.timestep_embedder.linear_1.bias", "transformer_blocks.0.attn1.x")),
    ("an LTX-2 transformer", table("patchify_proj.weight", "audio_patchify_proj.weight", "adaln_single.emb.x")),
    ("a PixArt transformer", table("blocks.0.attn.qkv.weight", "t_block.1.weight")),
    ("a Mochi transformer", table("blocks.0.mod_x.weight", "t5_yproj.weight")),
    ("a CogVideoX transformer", table("transformer_blocks.0.norm1.linear.weight", "patch_embed.text_proj.weight")),
    ("a Stable Diffusion 3 transformer", table("joint_blocks.0.context_block.attn.qkv.weight", "x_embedder.proj.bias")),
    ("an AuraFlow transformer", table("double_layers.0.attn.w1q.weight")),
    ("a Cosmos-Predict2 transformer", table("blocks.0.adaln_modulation_self_attn.1.weight", "x_embedder.proj.1.bias")),
    ("a Cosmos transformer", table("blocks.block0.blocks.0.block.attn.to_q.0.weight")),
    ("a Z-Image transformer", table("noise_refiner.0.attention.qkv.weight", "cap_pad_token", "layers.0.x.weight")),
    ("a Lumina 2 transformer", table("noise_refiner.0.attention.qkv.weight", "cap_embedder.0.weight")),
    ("a Sana transformer", table("blocks.0.mlp.inverted_conv.conv.weight")),
    ("a LongCat-Video transformer", table("blocks.0.cross_attn.kv_linear.weight", "blocks.0.attn.qkv.weight")),
    ("a Hunyuan DiT transformer", table("mlp_t5.0.weight", "blocks.0.attn1.Wqkv.weight")),
    ("a Stable Cascade transformer", table("clip_txt_mapper.weight", "down_blocks.0.0.channelwise.0.weight")),
    ("a Stable Audio transformer", table("transformer.rotary_pos_emb.inv_freq")),
    ("an SDXL UNet", under("model.diffusion_model.", table("input_blocks.0.0.weight", "label_emb.0.0.weight"))),
    ("a Stable Diffusion UNet", under("model.diffusion_model.", table("input_blocks.0.0.weight", "out.2.weight"))),
    ("a Stable Diffusion UNet", table("down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight")),
    ("a Stable Video Diffusion UNet", table("input_blocks.1.1.time_stack.0.attn1.to_q.weight")),
    ("an AnimateDiff UNet", table("down_blocks.0.motion_modules.0.temporal_transformer.norm.weight")),
    ("a Stable Diffusion ControlNet", table("control_model.input_blocks.0.0.weight", "control_model.zero_convs.bias")),
    ("a Stable Diffusion ControlNet", table("controlnet_cond_embedding.conv_in.weight", "conv_in.weight")),
    # Encoders.
    ("a UMT5 text encoder (24 blocks, 4096 wide, 256384 tokens)", T5),
    ("a UMT5 text encoder (2 blocks, 8 wide, 9 tokens, names of transformers)",
     table(*layers("encoder.block.", *T5_BLOCK), BIAS, BIAS.replace("0", "1", 1), shared__weight=(9, 8))),
    ("a T5 1.1 text encoder (2 blocks, 8 wide, 9 tokens, names of transformers)",
     table(*layers("encoder.block.", *T5_BLOCK), BIAS, shared__weight=(9, 8))),
    ("a T5 text encoder", table(*layers("encoder.block.", *T5_BLOCK[:2]), BIAS, shared__weight=(9, 8))),
    ("a CLIP text encoder", table("text_model.embeddings.x", *layers("text_model.encoder.layers.", "mlp.fc1.weight"))),
    ("an XLM-RoBERTa CLIP text encoder", table("textual.token_embedding.weight", "visual.patch_embedding.weight")),
    ("a Qwen2.5-VL text encoder", table("visual.blocks.0.x", "model.layers.0.self_attn.q_proj.bias")),
    ("a Qwen3 text encoder",
     table("model.layers.0.self_attn.q_norm.weight", "model.layers.0.post_attention_layernorm.weight")),
    ("a Gemma text encoder", table("model.layers.0.pre_feedforward_layernorm.weight")),
    ("a Llama text encoder",
     table("model.layers.0.self_attn.q_proj.weight", "model.layers.0.post_attention_layernorm.weight")),
    ("a BERT text encoder", table("encoder.layer.0.attention.self.query.weight")),
    ("a CLIP image encoder", table("vision_model.encoder.layers.0.mlp.fc1.weight")),
    ("a SigLIP image encoder", table("vision_model.head.attention.in_proj_weight")),
    ("a DINOv2 image encoder", table("encoder.layer.0.layer_scale1.lambda1")),
    ("a wav2vec 2 audio encoder", table("wav2vec2.feature_extractor.conv_layers.0.conv.weight")),
    ("a Whisper audio encoder", table("model.encoder.conv1.weight", "model.encoder.layers.0.self_attn.q_proj.weight")),
    # VAEs.
    ("a Wan2.1 VAE", VAE),
    ("a Wan2.1 VAE (16 channels of latents, 12 of pictures)",
     {**VAE, "decoder.head.2.weight": ("BF16", (12, 96, 3, 3, 3)), "decoder.head.2.bias": ("BF16", (12,))}),
    ("a Wan2.1 VAE (24 channels wide)", {**VAE, "encoder.conv1.weight": ("BF16", (24, 3, 3, 3, 3))}),
    ("a Wan2.2 VAE (48 channels of latents)",
     table("decoder.middle.0.residual.0.gamma", "decoder.upsamples.0.upsamples.0.residual.2.weight",
           conv2__weight=(48, 48, 1, 1, 1))),
    ("a Wan2.2 VAE (48 channels of latents, names of diffusers)",
     table("decoder.mid_block.resnets.0.norm1.gamma", "decoder.up_blocks.0.resnets.0.norm1.gamma",
           "decoder.up_blocks.0.upsampler.resample.1.weight", post_quant_conv__weight=(48, 48, 1, 1, 1))),
    ("a tiny (TAEHV) VAE", table("decoder.1.weight", "encoder.0.weight", "decoder.3.conv.0.weight")),
    ("an LTX-Video VAE", table("per_channel_statistics.mean-of-means", "decoder.conv_in.conv.weight")),
    ("a HunyuanVideo VAE", table("decoder.conv_in.conv.weight", "post_quant_conv.weight")),
    ("a CogVideoX VAE", table("decoder.conv_in.conv.weight", "decoder.mid_block.resnets.0.conv1.conv.weight")),
    ("a Cosmos VAE", table("encoder.patcher3d.wavelets", "decoder.unpatcher3d.wavelets")),
    ("a Mochi VAE", table("decoder.blocks.0.0.weight")),
    ("a Stable Diffusion or Flux.1 VAE (prefix first_stage_model.)",
     under("first_stage_model.", table("decoder.up.0.block.0.conv1.weight", "encoder.conv_in.weight"))),
    ("a Stable Diffusion or Flux.1 VAE", table("decoder.up_blocks.0.resnets.0.conv1.weight")),
    # Adapters.
    ("a Wan LoRA (1 block, 8 wide)", table(f"{Q}.lora_A.weight", f"{Q}.lora_B.weight")),
    ("a Wan LoRA (3 blocks, 8 wide, names of kohya)",
     table("lora_unet_blocks_2_self_attn_q.lora_down.weight", "lora_unet_blocks_2_self_attn_q.alpha")),
    ("a Wan LoRA (1 block, 8 wide, names of diffusers)", table("transformer.blocks.0.attn1.to_q.lora_A.weight")),
    ("a Wan LoRA (1 block, 8 wide, names of PEFT)", table(f"base_model.model.{Q}.lora_A.weight")),
    ("a Wan LoRA (1 block, 8 wide, prefix diffusion_model.)", table(f"diffusion_model.{Q}.lora_A.weight")),
    ("a Wan LoRA (1 block, 8 wide, prefix pipe.dit.)", table(f"pipe.dit.{Q}.lora_A.default.weight")),
    ("a Wan LoHa (1 block, names of LyCORIS)", table("lycoris_blocks_0_self_attn_q.hada_w1_a")),
    ("a Wan LoKr (1 block", table("lora_unet_blocks_0_self_attn_q.lokr_w1")),
    ("a Wan DoRA (1 block", table(f"{Q}.lora_A.weight", f"{Q}.lora_magnitude_vector")),
    ("a Wan DoRA (1 block", table(f"{Q}.lora_down.weight", f"{Q}.dora_scale")),
    ("a Wan OFT (1 block", table("lora_unet_blocks_0_self_attn_q.oft_blocks")),
    ("a Wan OFT (1 block", table(f"{Q}.oft_R.weight")),
    ("a Wan BOFT (1 block", table(f"{Q}.boft_R.weight")),
    ("a Wan VeRA (1 block", table(f"{Q}.vera_lambda_b", f"{Q}.vera_lambda_d")),
    ("a Wan LoCon with a factor in the middle", table(f"{Q}.lora_mid.weight", f"{Q}.lora_down.weight")),
    ("a Wan set of differences (1 block", table(f"diffusion_model.{Q}.diff", f"diffusion_model.{Q}.diff_b")),
    ("a Wan I2V LoRA", table(f"{Q}.lora_A.weight", "blocks.0.cross_attn.k_img.lora_A.weight")),
    ("a Wan VACE LoRA", table("vace_blocks.0.self_attn.q.lora_A.weight")),
    ("a Flux.1 or HunyuanVideo LoRA", table("transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight")),
    ("a Qwen-Image LoRA", table("transformer_blocks.0.img_mlp.net.2.lora_A.weight")),
    ("a Stable Diffusion LoRA", table("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight")),
    ("an LTX-Video or CogVideoX LoRA", table("transformer.transformer_blocks.0.attn1.to_q.lora_A.weight")),
    ("a text encoder LoRA", table("lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight")),
    ("a Stable Diffusion control LoRA", table("lora_controlnet", "input_blocks.0.0.lora_up")),
    # How weights are held.
    ("wide, scaled fp8)", cast(wan(16), "F8_E4M3", "scaled_fp8", scale_weight=F32)),
    ("wide, scaled fp8)", cast(wan(16), "F8_E4M3", f"{Q}.comfy_quant", weight_scale=F32)),
    ("wide, scaled fp8 with scales of blocks)", cast(wan(16), "F8_E4M3", weight_scale_inv=("F32", (40, 40)))),
    ("wide, mxfp8)", cast(wan(16), "F8_E4M3", weight_scale=("U8", (5120, 160)))),
    ("wide, nvfp4)", cast(wan(16), "U8", weight_scale=("F8_E4M3", (5120, 320)), weight_scale_2=F32)),
    ("wide, mxfp4)", cast(wan(16), "U8", weight_scale=("U8", (5120, 160)))),
    ("wide, int8)", cast(wan(16), "I8", weight_scale=("F32", (-1, 1)))),
    ("wide, int8 with scales of blocks)", cast(wan(16), "I8", weight_scale=("F32", (5120, 40)))),
    ("wide, int8 without scales)", cast(wan(16), "I8")),
    ("wide, bitsandbytes nf4)", wan(16) | dict(table(f"{Q}.weight.quant_state.bitsandbytes__nf4"))),
    ("wide, bitsandbytes fp4)", wan(16) | dict(table(f"{Q}.weight.quant_state.bitsandbytes__fp4"))),
    ("wide, bitsandbytes int8)", wan(16) | dict(table(f"{Q}.SCB"))),
    ("wide, optimum-quanto)", wan(16) | dict(table(f"{Q}.weight._data", f"{Q}.weight._scale"))),
    ("wide, torchao)", wan(16) | dict(table(f"{Q}.weight:qdata", f"{Q}.weight:scale"))),
    ("wide, SVDQuant (Nunchaku))", wan(16) | dict(table(f"{Q}.qweight", f"{Q}.wscales"))),
    ("wide, AWQ or GPTQ)", wan(16) | dict(table(f"{Q}.qweight", f"{Q}.qzeros"))),
    ("wide, HQQ)", wan(16) | dict(table(f"{Q}.W_q"))),
    # Everything else.
    ("a file without tensors", {}),
    ("a file of saved latents", table("latents")),
    ("a saved state of a run", table("latents", "solver.0")),
    ("an image upscaler", table("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight")),
    ("a frame interpolator", table("module.block0.conv0.0.0.weight")),
    ("an IP-Adapter", table("image_proj.proj.weight", "ip_adapter.1.to_k_ip.weight")),
    ("a textual inversion", table("emb_params")),
    ("a training state", table("optimizer.state.0.exp_avg")),
    ("a model of an unknown family (its first tensor is 'h.0.mlp.weight')", table("h.0.mlp.weight")),
]  # fmt: skip


def test_there_are_many_kinds():
    assert len(KINDS) >= 130


@pytest.mark.parametrize(("said", "tensors"), KINDS, ids=[f"{i} {said}" for i, (said, _) in enumerate(KINDS)])
def test_a_file_is_called_what_it_is(said: str, tensors: Table):
    called = str(kind_of(tensors))
    assert called.startswith(said) or (said.startswith("wide") and called.endswith(said)), called


@pytest.mark.parametrize(
    ("note", "dtype", "said"),
    [
        ({"format": "int8_tensorwise", "convrot": True}, "I8", "int8 ConvRot"),
        ({"format": "int8_tensorwise"}, "I8", "int8"),
        ({"format": "nvfp4"}, "U8", "nvfp4"),
        ({"format": "mxfp8"}, "F8_E4M3", "mxfp8"),
        ({"format": "float8_e4m3fn"}, "F8_E4M3", "scaled fp8"),
    ],
)
def test_what_a_file_says_of_its_numbers_is_heard(note: dict[str, object], dtype: str, said: str):
    tensors = cast(wan(16), dtype, f"{Q}.comfy_quant", weight_scale=("F32", (1,)))
    assert kind_of(tensors, [json.dumps(note)]).quantisation == said


@pytest.mark.parametrize("note", ["", "[", "[1]", "null", '{"format": 3}'])
def test_a_note_that_says_nothing_hides_nothing(note: str):
    assert kind_of(cast(wan(16), "I8", weight_scale=("F32", (-1, 1))), [note]).quantisation == "int8"


@pytest.mark.parametrize(("dtype", "said"), [("BF16", "bf16"), ("F8_E4M3", "fp8"), ("I8", "int8"), ("Q4_K", "Q4_K")])
def test_the_type_is_that_of_most_values(dtype: str, said: str):
    assert kind_of(cast(wan(16), dtype)).dtype == said


PARTS = ["blocks", "0", "1", "encoder", "block", "decoder", "layer", "weight", "bias", "lora_A", "alpha", "self_attn"]
PARTS += ["q", "weight_scale", "comfy_quant", "patch_embedding", "upsamples", "conv_in", "gamma", "shared", "model", ""]
NAMES = st.lists(st.sampled_from(PARTS), min_size=1, max_size=5).map(".".join)
SHAPES = st.lists(st.integers(0, 2**40), max_size=5).map(tuple)
DTYPES = st.sampled_from(["F32", "BF16", "F8_E4M3", "F8_E8M0", "I8", "U8", "Q4_K", "", "?"])


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(NAMES, st.tuples(DTYPES, SHAPES), max_size=8))
def test_any_table_is_called_something_in_one_line(tensors: Table):
    kind = kind_of(tensors)
    assert str(kind).startswith(("a ", "an ")) and "\n" not in str(kind) and len(str(kind)) < 300
