"""What a file is: which model, how its numbers are held, by its tensors and not by its name. No PyTorch.

`kind_of` names a table of tensors, `no_weights` a file that has none. Every refusal of a file uses them.
"""
