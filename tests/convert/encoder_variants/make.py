#!/usr/bin/env python3
"""Makes the folders beside this script: tiny encoders of random weights with settings that no golden
has, and the hidden states that transformers computes.

    python3 make.py

Run with PyPI's torch 2.15 and transformers 5.23."""

import pathlib

import torch
from safetensors.torch import save_file
from transformers import NomicBertConfig, NomicBertModel

HERE = pathlib.Path(__file__).parent
IDS = [[3, 9, 1, 14, 7, 2, 11, 5, 19, 4, 8, 6], [12, 3]]


@torch.no_grad()
def make(name, model):
    numbers = torch.Generator().manual_seed(11)
    for tensor in model.parameters():
        noise = torch.randn(tensor.shape, generator=numbers)
        tensor.data = noise / tensor.shape[-1] ** 0.5 if tensor.dim() == 2 else 1 + noise * 0.3
    model.eval().save_pretrained(HERE / name)
    out = {}
    for i, ids in enumerate(IDS):
        out[f"ids.{i}"] = torch.tensor(ids)
        out[f"states.{i}"] = model(input_ids=torch.tensor([ids])).last_hidden_state[0].contiguous()
    save_file(out, HERE / name / "golden.safetensors")


# Heads of 16 where the width over their number is 12.
make("nomic_heads", NomicBertModel(NomicBertConfig(
    vocab_size=20, hidden_size=24, num_hidden_layers=2, num_attention_heads=2, head_dim=16,
    intermediate_size=32, max_position_embeddings=32, type_vocab_size=2,
    attn_implementation="eager")))
