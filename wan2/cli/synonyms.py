"""What other tools call the flags of these commands. Names only flags that some command here has."""

from __future__ import annotations

SYNONYMS: dict[str, str] = (
    dict.fromkeys(("--height", "--width", "--size", "--resolution", "--image_size"), "--video_size")
    | dict.fromkeys(
        ("--num_frames", "--frames", "--length", "--frame_num", "--duration", "--seconds"), "--video_length"
    )
    | dict.fromkeys(("--steps", "--num_steps", "--num_inference_steps", "--sample_steps"), "--infer_steps")
    | dict.fromkeys(("--cfg", "--cfg_scale", "--guidance", "--sample_guide_scale"), "--guidance_scale")
    | dict.fromkeys(("--shift", "--sample_shift", "--time_shift"), "--flow_shift")
    | dict.fromkeys(("--scheduler", "--sampler", "--solver"), "--sample_solver")
    | dict.fromkeys(("--output", "--out", "--output_path", "--output_dir", "--save_file"), "--save_path")
    | dict.fromkeys(("--negative", "--neg_prompt", "--n_prompt"), "--negative_prompt")
    | dict.fromkeys(("--frame_rate", "--framerate"), "--fps")
    | dict.fromkeys(("--lora", "--loras", "--lora_path"), "--lora_weight")
    | dict.fromkeys(("--lora_scale", "--lora_strength", "--lora_alpha"), "--lora_multiplier")
    | dict.fromkeys(("--swap_blocks", "--block_swap", "--offload", "--offload_model"), "--blocks_to_swap")
    | dict.fromkeys(("--nproc", "--num_gpus", "--devices", "--ulysses_size"), "--gpus")
    | dict.fromkeys(("--denoise", "--denoising_strength"), "--strength")
    | dict.fromkeys(("--continue", "--restart"), "--resume")
    | dict.fromkeys(("--force", "--yes"), "--overwrite")
)
"""The flag that is meant, by what it is called elsewhere."""
