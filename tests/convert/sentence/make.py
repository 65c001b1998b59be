#!/usr/bin/env python3
"""Makes the folders beside this script: what sentence-transformers saves around a transformer, for
many orders of its modules, and the embeddings that it makes then. The transformer is the golden
`bert`, which is not copied; `tokenizer.json` here is every case's.

    python3 make.py GOLDENS/models

Run with PyPI's torch 2.15, transformers 5.24 and sentence-transformers 6.2."""

import json
import os
import pathlib
import shutil
import sys
import tempfile

import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Dropout, LayerNorm, Pooling
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).parent
BASE = pathlib.Path(sys.argv[1]) / "bert"
WORDS = "[PAD] [UNK] [CLS] [SEP] the mill turns stone old water moon under a".split()
TEXTS = ["the mill turns", "a", "the old stone turns under the water of a moon", "moon moon"]
DIM = 96


def dense(columns_in, columns_out, activation, **more):
    return Dense(columns_in, columns_out, activation_function=activation, **more)


ROWS = dict(module_input_name="token_embeddings")
CASES = {
    "dense": [Pooling(DIM, "mean"), dense(DIM, 8, nn.Tanh()), Normalize()],
    "no_bias": [Pooling(DIM, "cls"), dense(DIM, 12, nn.Identity(), bias=False)],
    "two_dense": [Pooling(DIM, "max"), dense(DIM, 12, nn.ReLU()), Normalize(),
                  dense(12, 6, nn.GELU()), Normalize()],
    "residual": [Pooling(DIM, "lasttoken"), dense(DIM, 8, nn.SiLU(), use_residual=True),
                 dense(8, 8, nn.Sigmoid(), use_residual=True)],
    "weighted": [Pooling(DIM, "weightedmean"), Dropout(0.1)],
    "last": [Normalize(), Pooling(DIM, "lasttoken"), Normalize()],
    "joined": [Pooling(DIM, ("lasttoken", "mean_sqrt_len_tokens", "max")), Normalize()],
    "joined_dense": [Pooling(DIM, ("cls", "mean")), Normalize(), dense(2 * DIM, 6, nn.Tanh()),
                     LayerNorm(6)],
    "rows": [dense(DIM, 10, nn.Identity(), bias=False, **ROWS), Normalize(**ROWS),
             Pooling(10, "weightedmean"), dense(10, 4, nn.Tanh())],
    "twice": [Pooling(DIM, "cls"), Normalize(), Pooling(DIM, "max"), dense(DIM, 5, nn.Tanh())],
}


def make_base(folder):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(BASE / name, folder)
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_max_length=64).save_pretrained(folder)


def randomise(modules):
    numbers = torch.Generator().manual_seed(3)
    for module in modules:
        for tensor in module.parameters():
            noise = torch.randn(tensor.shape, generator=numbers)
            tensor.data = noise / tensor.shape[-1] ** 0.5 if tensor.dim() == 2 else noise * 0.5


def make(name, modules, base):
    randomise(modules)
    model = SentenceTransformer(modules=[Transformer(base), *modules], device="cpu")
    with tempfile.TemporaryDirectory() as saved:
        model.save(saved)
        again = SentenceTransformer(saved, device="cpu").eval()
        embeddings = again.encode(TEXTS, convert_to_tensor=True, batch_size=len(TEXTS))
        target = HERE / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for path in sorted(pathlib.Path(saved).iterdir()):
            if path.is_dir():
                shutil.copytree(path, target / path.name)
            elif path.name in ("modules.json", "sentence_bert_config.json"):
                shutil.copy(path, target)
        for folder in target.iterdir():  # Git keeps no empty folders.
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    save_file({"embeddings": embeddings.contiguous()}, target / "golden.safetensors")


with tempfile.TemporaryDirectory() as base:
    make_base(base)
    shutil.copy(os.path.join(base, "tokenizer.json"), HERE)
    with open(HERE / "texts.json", "w") as file:
        json.dump(TEXTS, file)
    for name, modules in CASES.items():
        make(name, modules, base)
