#!/usr/bin/env python3
"""Makes the folders beside this script: tiny base models, and adapters of PEFT that change their
embeddings and heads, with the logits that PEFT gives then.

Run with PyPI's torch 2.15, transformers 5.24 and peft 0.21: python3 make.py"""

import json
import pathlib
import shutil

import torch
from peft import LoraConfig, TaskType, get_peft_model
from safetensors.torch import save_file
from transformers import (AutoModelForCausalLM, AutoModelForSequenceClassification, BertConfig,
                          BertForSequenceClassification, LlamaConfig, LlamaForCausalLM)

HERE = pathlib.Path(__file__).parent
VOCAB, DIM = 24, 8
IDS = torch.tensor([[1, 5, 9, 3, 7, 12, 20, 2]])
LLAMA = dict(
    vocab_size=VOCAB, hidden_size=DIM, intermediate_size=16, num_hidden_layers=1,
    num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=32)
BASES = {
    "tied": LlamaForCausalLM(LlamaConfig(**LLAMA, tie_word_embeddings=True)),
    "untied": LlamaForCausalLM(LlamaConfig(**LLAMA, tie_word_embeddings=False)),
    "labels": BertForSequenceClassification(BertConfig(
        vocab_size=VOCAB, hidden_size=DIM, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=16, num_labels=3, hidden_dropout_prob=0,
        attention_probs_dropout_prob=0)),
}
LORA = dict(r=2, lora_alpha=4)
CASES = {
    "tied_embedding": ("tied", dict(target_modules=["embed_tokens", "q_proj"])),
    "tied_head": ("tied", dict(target_modules=["lm_head"])),
    "tied_saved_embedding": ("tied", dict(target_modules=["q_proj"],
                                          modules_to_save=["embed_tokens"])),
    "tied_saved_head": ("tied", dict(target_modules=["q_proj"], modules_to_save=["lm_head"])),
    "tied_kept": ("tied", dict(target_modules=["q_proj"], modules_to_save=["embed_tokens"],
                               ensure_weight_tying=True)),
    "tied_tokens": ("tied", dict(target_modules=["q_proj"], trainable_token_indices=[3, 20])),
    "tied_dora_head": ("tied", dict(target_modules=["lm_head"], use_dora=True)),
    "untied_both": ("untied", dict(target_modules=["embed_tokens", "lm_head"])),
    "untied_saved": ("untied", dict(target_modules=["q_proj"],
                                    modules_to_save=["embed_tokens", "lm_head", "norm"])),
    "untied_tokens": ("untied", dict(target_modules=["v_proj"],
                                     trainable_token_indices={"embed_tokens": [5, 2]})),
    "labels_saved": ("labels", dict(target_modules=["query"], modules_to_save=["classifier"],
                                    task_type=TaskType.SEQ_CLS)),
}


def randomise(model, generator):
    for name, tensor in model.named_parameters():
        noise = torch.randn(tensor.shape, generator=generator)
        norm = "norm" in name.lower() and name.endswith("weight")
        tensor.data = 1 + 0.2 * noise if norm else noise * (DIM**-0.5 if tensor.dim() == 2 else 0.2)


def make(name, base, options):
    loader = AutoModelForSequenceClassification if base == "labels" else AutoModelForCausalLM
    model = loader.from_pretrained(HERE / base, dtype=torch.float32).eval()
    adapted = get_peft_model(model, LoraConfig(**LORA, **options)).eval()
    numbers = torch.Generator().manual_seed(17)
    for key, tensor in adapted.named_parameters():
        if not tensor.requires_grad:
            continue
        noise = torch.randn(tensor.shape, generator=numbers)
        if "magnitude" in key:
            tensor.data = tensor.data * (1 + 0.3 * noise)
        elif "lora_" in key:
            tensor.data = noise * 0.3
        else:
            tensor.data = tensor.data + 0.2 * noise
    with torch.no_grad():
        logits = adapted(IDS).logits[0]
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    adapted.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    settings = {key: value for key, value in json.loads(path.read_text()).items() if value}
    settings["base_model_name_or_path"] = base
    path.write_text(json.dumps(settings, indent=1, sort_keys=True))
    save_file({"logits": logits.contiguous()}, folder / "golden.safetensors")


generator = torch.Generator().manual_seed(29)
for name, model in BASES.items():
    randomise(model, generator)
    shutil.rmtree(HERE / name, ignore_errors=True)
    model.save_pretrained(HERE / name)
    (HERE / name / "generation_config.json").unlink(missing_ok=True)
for name, (base, options) in CASES.items():
    make(name, base, options)
