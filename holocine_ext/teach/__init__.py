"""LoRAs on films with cuts: films become clips with storyboards, clips become two LoRA files."""
