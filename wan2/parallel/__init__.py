"""One video on several cards: the first process makes it, the others compute their share of every pass.

Everything but the passes of the transformers happens in the first process, as for one card: text, schedule, solver,
guidance, states, frames, files. So a run that began on four cards goes on with one, and the reverse.
"""
