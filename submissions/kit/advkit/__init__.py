"""Participant kit: what attacks and defenses share, so that each submission shows only its own idea.

`run`, `config`, `images`, `labels` and `transforms` need numpy only; `tensors`, `networks`, `attacks` and
`classify` import torch, which takes a second: a submission that does without them starts at once.
"""
