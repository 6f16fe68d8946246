"""From noise to latents: schedule, solvers, guidance, the choice of expert, the loop."""
