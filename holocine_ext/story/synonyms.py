"""What people call the fields of a storyboard, and what to write instead. Knows nothing of how fields are read."""

from __future__ import annotations

_SIZE = "write size = [height, width]"
_LENGTH = "did you mean num_frames (seconds times fps)?"
_SHOTS = "did you mean shots, a list with a caption each?"
_GLOBAL = "did you mean global_caption?"
_CAST = "did you mean characters, a table of names with a description each?"


def _flags(*names: str) -> dict[str, str]:
    return {name: f"it is no field but a flag of the command line: `{name}`" for name in names}


def _settings(*names: str) -> dict[str, str]:
    return {name: f"it belongs in settings, as {name}" for name in names}


# What others call the settings of a film.
_OTHERWISE = (
    dict.fromkeys(("steps", "num_inference_steps", "sampling_steps"), "infer_steps")
    | dict.fromkeys(("cfg", "cfg_scale", "guidance"), "guidance_scale")
    | dict.fromkeys(("solver", "sampler", "scheduler", "sampler_name"), "sample_solver")
    | dict.fromkeys(("shift", "sigma_shift", "time_shift"), "flow_shift")
    | dict.fromkeys(("negative", "neg_prompt", "negative_caption"), "negative_prompt")
    | dict.fromkeys(("lora", "loras", "lora_path"), "lora_weight")
    | dict.fromkeys(("lora_scale", "lora_strength"), "lora_multiplier")
)


# Beside the field that says it, in lower case and with underscores.
OF_SCENE: dict[str, str] = (
    dict.fromkeys(("scenes", "clips", "segments", "shot_list", "shotlist", "sequence", "beats", "cuts_list"), _SHOTS)
    | dict.fromkeys(("captions", "shot_prompts", "prompts", "storyboard", "timeline", "scene_list"), _SHOTS)
    | dict.fromkeys(
        ("length", "frames", "frame_count", "video_length", "total_frames", "n_frames"), "did you mean num_frames?"
    )
    | dict.fromkeys(("duration", "seconds", "video_seconds", "duration_seconds", "total_seconds", "time"), _LENGTH)
    | dict.fromkeys(("width", "height", "resolution", "video_size", "dimensions", "w", "h"), _SIZE)
    | dict.fromkeys(("aspect_ratio", "image_size", "frame_size"), _SIZE)
    | dict.fromkeys(("frame_rate", "framerate", "frames_per_second", "rate"), "did you mean fps?")
    | dict.fromkeys(("people", "actors", "persons", "roles", "subjects", "character"), _CAST)
    | dict.fromkeys(("global", "global_prompt", "global_description", "scene", "scene_description"), _GLOBAL)
    | dict.fromkeys(("description", "caption", "setting", "style", "synopsis", "summary", "location"), _GLOBAL)
    | dict.fromkeys(("text", "raw_prompt", "full_prompt"), "did you mean prompt?")
    | dict.fromkeys(("cuts", "cut_frames", "shot_cuts", "cut_points", "boundaries"), "did you mean shot_cut_frames?")
    | dict.fromkeys(("random_seed", "noise_seed", "rng_seed"), "did you mean seed?")
    | _flags("save_path", "output_type", "device", "dtype", "attn_mode", "vram_budget", "models_dir")
    | _settings("negative_prompt", "infer_steps", "sample_solver", "flow_shift", "guidance_scale", "model", "variant")
    | _settings("preset", "lora_weight", "lora_multiplier", "shot_mask_type")
    | {name: f"it belongs in settings, as {meant}" for name, meant in _OTHERWISE.items()}
)
OF_SETTINGS: dict[str, str] = (
    {name: f"did you mean {meant}?" for name, meant in _OTHERWISE.items()}
    | _flags("save_path", "output_type", "device", "dtype", "attn_mode", "vram_budget", "models_dir", "fp8_scaled")
    | dict.fromkeys(("width", "height", "resolution", "dimensions"), _SIZE)
    | dict.fromkeys(("prompt", "caption", "global_caption", "shots"), "it stands outside of settings")
)
OF_SHOT: dict[str, str] = (
    dict.fromkeys(
        ("action", "text", "description", "prompt", "content", "visual", "shot_caption"), "did you mean caption?"
    )
    | dict.fromkeys(("captions", "title", "what", "event", "events", "scene", "subject"), "did you mean caption?")
    | dict.fromkeys(
        ("camera", "framing", "movement", "dialogue", "sound", "style", "characters"), "say it in the caption"
    )
    | dict.fromkeys(("duration", "length", "time", "secs", "sec", "s", "length_seconds"), "did you mean seconds?")
    | dict.fromkeys(("duration_seconds", "duration_s", "seconds_long", "duration_sec"), "did you mean seconds?")
    | dict.fromkeys(
        ("num_frames", "frame_count", "n_frames", "video_length", "duration_frames"), "did you mean frames?"
    )
    | dict.fromkeys(
        ("start", "start_frame", "first_frame", "begin", "from_frame", "cut", "at"), "did you mean cut_frame?"
    )
    | dict.fromkeys(("take", "source", "shot", "from_take"), "did you mean from, such as takes/night.mp4#2?")
    | dict.fromkeys(("shot_cut_frame", "cut_at", "begins", "frame"), "did you mean cut_frame?")
    | dict.fromkeys(
        ("start_time", "start_seconds", "end", "end_frame", "end_time"), "give seconds, frames or cut_frame"
    )
    | dict.fromkeys(("lora", "loras", "lora_strength", "lora_scale", "lora_weight"), "did you mean lora_multiplier?")
    | dict.fromkeys(("fps", "size"), "it holds for the whole scene; give it beside shots, not in one")
)
