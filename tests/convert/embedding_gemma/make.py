#!/usr/bin/env python3
"""Makes model/ beside this script: a tiny EmbeddingGemma (Gemma3TextModel with attention in both
directions, Pooling, two Dense, Normalize) of random weights, with the hidden states that
transformers computes and the embeddings of sentence-transformers.

    python3 make.py

Run with PyPI's torch 2.15, transformers 5.23 and sentence-transformers 6.2. The tokenizer is one of
words. Of a window of 8, as config.json has it, transformers makes 4 tokens on either side."""

import json
import pathlib
import shutil
import tempfile

import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import Gemma3TextConfig, Gemma3TextModel, PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).parent / "model"
WORDS = "[PAD] [UNK] <bos> <eos> the mill turns stone old water moon under a by".split()
TEXTS = ["the mill turns", " ".join(WORDS[4 + (i * i + i // 3) % 10] for i in range(40)), "a"]
DIM = 24
CONFIG = Gemma3TextConfig(
    vocab_size=len(WORDS), hidden_size=DIM, intermediate_size=32, num_hidden_layers=4,
    num_attention_heads=3, num_key_value_heads=1, head_dim=8, max_position_embeddings=64,
    query_pre_attn_scalar=12, sliding_window=8, use_bidirectional_attention=True,
    layer_types=["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
    rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": 1000.0},
                     "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}},
    pad_token_id=0, bos_token_id=2, eos_token_id=3, attn_implementation="eager")


def randomise(module, numbers):
    for name, tensor in module.named_parameters():
        noise = torch.randn(tensor.shape, generator=numbers)
        tensor.data = noise / tensor.shape[-1] ** 0.5 if tensor.dim() == 2 else noise * 0.3


def make_base(folder, numbers):
    model = Gemma3TextModel(CONFIG).eval()
    randomise(model, numbers)
    model.save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 2), ("<eos>", 3)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", bos_token="<bos>",
        eos_token="<eos>", model_max_length=64).save_pretrained(folder)


@torch.no_grad()
def make(base, saved):
    numbers = torch.Generator().manual_seed(7)
    make_base(base, numbers)
    modules = [Pooling(DIM, "mean"),
               Dense(DIM, 40, bias=False, activation_function=nn.Identity()),
               Dense(40, 16, bias=False, activation_function=nn.Identity()), Normalize()]
    for module in modules:
        randomise(module, numbers)
    SentenceTransformer(modules=[Transformer(base), *modules], device="cpu").save(saved)
    again = SentenceTransformer(saved, device="cpu").eval()
    out = {"embeddings": again.encode(TEXTS, convert_to_tensor=True, batch_size=len(TEXTS))}
    model = Gemma3TextModel.from_pretrained(saved, attn_implementation="eager").eval()
    assert model.config.sliding_window == 5, model.config.sliding_window
    for i, text in enumerate(TEXTS):
        ids = again.tokenizer(text, return_tensors="pt")["input_ids"]
        out[f"ids.{i}"] = ids[0]
        out[f"states.{i}"] = model(input_ids=ids).last_hidden_state[0]
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    for path in sorted(pathlib.Path(saved).iterdir()):
        if path.is_dir() and any(path.iterdir()):  # Git keeps no empty folders.
            shutil.copytree(path, HERE / path.name)
        elif path.name in ("config.json", "model.safetensors", "tokenizer.json", "modules.json",
                           "sentence_bert_config.json", "config_sentence_transformers.json"):
            shutil.copy(path, HERE)
    save_file({key: value.contiguous() for key, value in out.items()}, HERE / "golden.safetensors")
    (HERE / "texts.json").write_text(json.dumps(TEXTS))


with tempfile.TemporaryDirectory() as base, tempfile.TemporaryDirectory() as saved:
    make(base, saved)
