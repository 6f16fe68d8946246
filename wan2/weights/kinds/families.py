"""Models that this program does not run, and what tells them apart: names of tensors. One table for each kind of file.

A row has the name of a model and patterns; the first row whose patterns are all found in some name decides. Rows of
special models stand before those of the families that they belong to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

Rows = tuple[tuple[str, tuple[str, ...]], ...]
"""(model, patterns), in the order in which they are tried."""

TRANSFORMERS: Rows = (
    ("Qwen-Image", (r"transformer_blocks\.0\.img_mod\.1\.",)),
    ("HiDream", (r"double_stream_blocks\.0\.block\.",)),
    ("Kandinsky 5", (r"visual_transformer_blocks\.0\.",)),
    ("HunyuanVideo 1.5", (r"double_blocks\.0\.", r"^byt5_in\.")),
    (
        "HunyuanVideo",
        (
            r"(double_blocks\.0\.|transformer_blocks\.0\.)",
            r"^(txt_in\.individual_token_refiner|context_embedder\.token_refiner)\.",
        ),
    ),
    ("Hunyuan3D", (r"double_blocks\.0\.", r"^latent_in\.")),
    ("Chroma", (r"double_blocks\.0\.", r"^distilled_guidance_layer\.")),
    ("Flux.2", (r"^double_stream_modulation_img\.",)),
    ("Flux.1", (r"(double_blocks|single_transformer_blocks)\.0\.",)),
    ("LTX-2", (r"^audio_patchify_proj\.|\.audio_to_video_attn\.",)),
    ("LTX-Video", (r"^(patchify_proj|proj_in)\.", r"^(adaln_single|time_embed)\.emb\.")),
    ("PixArt", (r"^(adaln_single\.emb\.|t_block\.1\.)",)),
    ("Mochi", (r"^(t5_yproj\.|transformer_blocks\.0\.norm1_context\.)",)),
    ("CogVideoX", (r"transformer_blocks\.0\.norm1\.linear\.", r"^patch_embed\.text_proj\.")),
    ("Stable Diffusion 3", (r"(joint_blocks\.0\.|transformer_blocks\.0\.ff_context\.)",)),
    ("AuraFlow", (r"(double_layers\.0\.|joint_transformer_blocks\.0\.)",)),
    ("Cosmos-Predict2", (r"blocks\.0\.adaln_modulation_self_attn\.",)),
    ("Cosmos", (r"blocks\.block0\.blocks\.",)),
    ("Z-Image", (r"^noise_refiner\.0\.", r"^cap_pad_token$")),
    ("Lumina 2", (r"^(noise_refiner\.0\.|cap_embedder\.)",)),
    ("Sana", (r"\.conv_inverted\.|\.inverted_conv\.",)),
    ("LongCat-Video", (r"blocks\.0\.cross_attn\.kv_linear\.",)),
    ("Hunyuan DiT", (r"^mlp_t5\.0\.",)),
    ("Stable Cascade", (r"^(clf\.1\.|clip_txt_mapper\.)",)),
    ("Stable Audio", (r"^transformer\.rotary_pos_emb\.",)),
)
UNETS: Rows = (
    ("AnimateDiff", (r"motion_modules\.0\.",)),
    ("SDXL", (r"(label_emb\.0\.0|add_embedding\.linear_1)\.weight$", r"(input_blocks|down_blocks)\.")),
    ("Stable Video Diffusion", (r"\.time_stack\.0\.|temporal_transformer_blocks\.0\.",)),
    ("Stable Diffusion", (r"(^|\.)input_blocks\.|^down_blocks\.\d+\.attentions\.\d+\.transformer_blocks\.",)),
)
CONTROL_NETS: Rows = (
    (
        "Wan",
        (
            r"^control_blocks\.0\.|^controlnet_(patch_embedding|blocks)\.",
            r"^(blocks|controlnet_blocks|control_blocks)\.0\.",
        ),
    ),
    ("Stable Diffusion", (r"^control_model\.|^zero_convs\.|^controlnet_cond_embedding\.|^input_hint_block\.",)),
    ("Flux.1", (r"^(controlnet_blocks|controlnet_single_blocks)\.0\.",)),
)
TEXT_ENCODERS: Rows = (
    ("CLIP", (r"(^|\.)text_model\.encoder\.layers\.0\.", r"(^|\.)text_model\.embeddings\.")),
    ("XLM-RoBERTa CLIP", (r"^textual\.", r"^visual\.")),
    ("Qwen2.5-VL", (r"(^|\.)visual\.blocks\.0\.", r"(^|\.)layers\.0\.self_attn\.q_proj\.bias$")),
    ("Qwen3", (r"(^|\.)layers\.0\.self_attn\.q_norm\.", r"(^|\.)layers\.0\.post_attention_layernorm\.")),
    ("Gemma", (r"(^|\.)layers\.0\.pre_feedforward_layernorm\.",)),
    ("Llama", (r"(^|\.)layers\.0\.self_attn\.q_proj\.", r"(^|\.)layers\.0\.post_attention_layernorm\.")),
    ("BERT", (r"(^|\.)encoder\.layer\.0\.attention\.self\.query\.",)),
)
IMAGE_ENCODERS: Rows = (
    ("CLIP", (r"^(vision_model\.encoder\.layers\.0\.|visual\.transformer\.)",)),
    ("SigLIP", (r"^vision_model\.head\.",)),
    ("DINOv2", (r"(^|\.)encoder\.layer\.0\.layer_scale1\.",)),
)
AUDIO_ENCODERS: Rows = (
    ("wav2vec 2", (r"feature_extractor\.conv_layers\.0\.",)),
    ("Whisper", (r"encoder\.conv1\.", r"encoder\.layers\.0\.self_attn\.")),
)
VAES: Rows = (
    ("tiny (TAEHV)", (r"^(taesd_)?decoder\.\d+\.(conv\.0\.)?weight$", r"^(taesd_)?encoder\.\d+\.(conv\.0\.)?weight$")),
    ("LTX-Video", (r"(^|\.)per_channel_statistics\.",)),
    ("HunyuanVideo", (r"^(decoder\.conv_in\.conv\.|encoder\.down\.0\.block\.0\.conv1\.conv\.)", r"^post_quant_conv\.")),
    ("CogVideoX", (r"^decoder\.conv_in\.conv\.", r"^decoder\.mid_block\.")),
    ("Cosmos", (r"^(encoder\.patcher3d\.|decoder\.unpatcher3d\.)",)),
    ("Mochi", (r"^decoder\.blocks\.0\.0\.|^layers\.0\.layer\.weight$",)),
    ("Stable Diffusion or Flux.1", (r"^decoder\.(up\.0\.block|up_blocks\.0\.resnets\.0)\.",)),
)
OTHERS: Rows = (
    ("image upscaler", (r"^(model\.1\.sub\.0\.|body\.0\.rdb1\.|conv_first\.weight$)",)),
    ("frame interpolator", (r"^(module\.)?(block0\.conv0\.|flownet\.)",)),
    ("IP-Adapter", (r"^(ip_adapter\.|image_proj\.)",)),
    ("textual inversion", (r"^(emb_params|string_to_param|clip_l|clip_g)$",)),
    ("training state", (r"^(optimizer|exp_avg|state\.0\.)",)),
)


def first_of(rows: Rows, names: Iterable[str]) -> str | None:
    """The model of the first row whose patterns are all found; None where none is."""
    text = "\n".join(names)
    found = (model for model, signs in rows if all(re.search(sign, text, re.MULTILINE) for sign in signs))
    return next(found, None)
