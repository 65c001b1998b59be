#!/usr/bin/env python3
"""Makes the files beside this script: SentencePiece models, and for each class of tokenizer a
directory's files with what transformers encodes and decodes with them.

Run with PyPI's transformers 5.23, sentencepiece 0.2.3 and protobuf: python3 make.py TEXT
TEXT is shared/eval/english-calibration.txt."""

import itertools
import json
import pathlib
import sys
import tempfile

import sentencepiece
from transformers import AutoTokenizer

HERE = pathlib.Path(__file__).parent
SCRATCH = pathlib.Path(tempfile.mkdtemp())

# A character map that is small and has what the usual ones have: compatibility forms, spaces,
# composition (also of three characters), something that vanishes.
RULES = ["FB01\t66 69", "9\t20", "A\t20", "A0\t20", "3000\t20", "65 301\tE9", "FF21\t41", "200B\t",
         "1100 1161 11A8\tAC01", "2581\t20"]
TEXTS = [
    "", " ", "  ", "a", "Hello world", "Hello  world", " leading", "  both   ends  ",
    "The mill stone turns slowly, and the water runs under it.", "don't stop; it's 12:45!",
    "line\nbreak", "two\n\nbreaks", "tab\there", "no\u00a0break", "wide\u3000space", "\ufb01ne",
    "cafe\u0301 au lait", "\uff21\uff21", "zero\u200bwidth", "\u1100\u1161\u11a8 jamo",
    "na\u00efve \u00fc\u00df", "\u78be\u78e8 grain", "\U0001f33e\U0001f33e wheat \U0001f468\u200d\U0001f469",
    "mark \u2581 inside\u2581", "</s>", "<s> a", "a</s>b", "a </s> b", "x <unk> y", "<pad>",
    "say <mask> now", "say<mask>now", "<mask_1> <mask_2>", "<extra_id_0> and <extra_id_1>.",
    "en_XX text de_DE", "<sep_user>x <sep_user> y", "<start_of_turn>user\nhi<end_of_turn>",
    "<extra>in", "< extra >", ">>fra<< Hello world", ">>xyz<< Hello", "a >>fra<< b",
    "<0x41>", "aaaaaaaaaaaaaaaa", "\u0e01\u0e02",
]

# Marian's class is Python's: a language within a text is no token there.
NOT_FOR_MARIAN = ["a >>fra<< b", ">>xyz<< Hello"]


def train(name, **settings):
    prefix = SCRATCH / name
    sentencepiece.SentencePieceTrainer.train(
        input=str(SCRATCH / "text"), model_prefix=str(prefix), minloglevel=2,
        hard_vocab_limit=False, num_threads=1, **settings)
    (HERE / f"{name}.model").write_bytes(pathlib.Path(f"{prefix}.model").read_bytes())


def cases_of(tokenizer, texts):
    """For each text ids, the ids decoded with control tokens, and without where that differs."""
    cases = []
    for text in texts:
        if type(tokenizer).__name__ == "MarianTokenizer" and text in NOT_FOR_MARIAN:
            cases.append(None)
            continue
        ids = tokenizer(text).input_ids
        full, plain = decode(tokenizer, ids, False), decode(tokenizer, ids, True)
        cases.append([ids, full] + ([plain] if plain != full else []))
    return cases


def decode(tokenizer, ids, skip):
    return tokenizer.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)


def write(name, models, config, **others):
    """Lays a directory out in SCRATCH; the test lays out the same from `files` and `models`."""
    path = SCRATCH / f"{name}.dir"
    path.mkdir()
    for placed, model in models.items():
        (path / placed).write_bytes((HERE / model).read_bytes())
    files = {"tokenizer_config.json": config}
    files |= {other.replace("_json", ".json"): content for other, content in others.items()}
    for placed, content in files.items():
        (path / placed).write_text(json.dumps(content, ensure_ascii=False))
    tokenizer = AutoTokenizer.from_pretrained(path)
    assert type(tokenizer).__name__ == config["tokenizer_class"], type(tokenizer)
    ids = [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id,
           tokenizer.pad_token_id, tokenizer.mask_token_id]
    out = dict(models=models, files=files, ids=[-1 if i is None else i for i in ids],
               cases=cases_of(tokenizer, TEXTS))
    text = json.dumps(out, ensure_ascii=False, separators=(",", ":"))
    (HERE / f"{name}.json").write_text(text + "\n")


def added(content, special=True, **flags):
    return dict(content=content, lstrip=False, normalized=False, rstrip=False, single_word=False,
                special=special) | flags


def classes(lines):
    common = dict(normalization_rule_tsv=str(SCRATCH / "rules"))
    plain = dict(normalization_rule_name="identity", remove_extra_whitespaces=False)
    ends = dict(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    train("t5", model_type="unigram", vocab_size=130, **ends, **common)
    train("roberta", model_type="unigram", vocab_size=130, **common)
    train("bare", model_type="unigram", vocab_size=130, normalization_rule_name="identity")
    train("llama", model_type="bpe", vocab_size=370, byte_fallback=True,
                  user_defined_symbols=["<sep_user>"], **plain)
    train("gemma", model_type="bpe", vocab_size=370, byte_fallback=True, add_dummy_prefix=False,
                  pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>", eos_piece="<eos>",
                  bos_piece="<bos>", user_defined_symbols=[
                      "<mask>", "<start_of_turn>", "<end_of_turn>", "\n\n", "▁▁", "▁▁▁"], **plain)
    TEXTS.extend(lines)
    (HERE / "texts.json").write_text(json.dumps(TEXTS, ensure_ascii=False) + "\n")
    write("llama", {"tokenizer.model": "llama.model"}, dict(tokenizer_class="LlamaTokenizer"))
    # An old directory: named tokens and additions in files of their own.
    write("llama_old", {"tokenizer.model": "llama.model"},
          dict(tokenizer_class="LlamaTokenizer", legacy=True, add_bos_token=True,
               add_eos_token=True),
          special_tokens_map_json=dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>",
                                       pad_token=dict(content="<pad>", lstrip=True, rstrip=True,
                                                      normalized=False, single_word=False)),
          added_tokens_json={"<extra>": 370, "<pad>": 371})
    write("gemma", {"tokenizer.model": "gemma.model"}, dict(
        tokenizer_class="GemmaTokenizer", add_bos_token=True, added_tokens_decoder={
            "5": added("<start_of_turn>"), "6": added("<end_of_turn>"),
            "370": added("<extra>", special=False, lstrip=True)}))
    write("t5", {"spiece.model": "t5.model"}, dict(tokenizer_class="T5Tokenizer"))
    write("xlm_roberta", {"sentencepiece.bpe.model": "roberta.model"}, dict(
        tokenizer_class="XLMRobertaTokenizer", mask_token="<mask>",
        added_tokens_decoder={"0": added("<s>"), "1": added("<pad>"), "2": added("</s>"),
                              "3": added("<unk>"), "131": added("<mask>", lstrip=True)}))
    # transformers 5.23 leaves mBART's character map out, so its model here has none.
    write("mbart", {"sentencepiece.bpe.model": "bare.model"},
          dict(tokenizer_class="MBartTokenizer", src_lang="de_DE", tgt_lang="en_XX"))
    write("mbart50", {"sentencepiece.bpe.model": "roberta.model"},
          dict(tokenizer_class="MBart50Tokenizer", src_lang="fr_XX", tgt_lang="en_XX"))
    write("pegasus", {"spiece.model": "t5.model"}, dict(tokenizer_class="PegasusTokenizer"))
    write("camembert", {"sentencepiece.bpe.model": "roberta.model"},
          dict(tokenizer_class="CamembertTokenizer"))


def marian():
    """Source and target share vocab.json. It leaves out some pieces of the source, and the target
    has pieces that the source lacks."""
    common = dict(model_type="unigram", bos_id=-1, normalization_rule_tsv=str(SCRATCH / "rules"))
    train("source", vocab_size=130, **common)
    (SCRATCH / "text").write_text("\n".join(["der die das und nicht schlafen wasser m\u00fchle"] * 40))
    train("target", vocab_size=40, **common)
    models = [sentencepiece.SentencePieceProcessor(model_file=str(HERE / f"{name}.model"))
              for name in ("source", "target")]
    pieces = [model.id_to_piece(i) for model in models for i in range(model.get_piece_size())
              if not model.is_control(i) and not model.is_unknown(i)]
    gone = (set(pieces[10:125:9]) | {"\u2581the", "s"}) - {"\u2581"}
    names = ["</s>", "<unk>"] + sorted(set(pieces) - gone) + [">>fra<<", ">>deu<<", "<pad>"]
    write("marian", {"source.spm": "source.model", "target.spm": "target.model"},
          dict(tokenizer_class="MarianTokenizer", source_lang="eng", target_lang="fra"),
          vocab_json={name: i for i, name in enumerate(names)})


def main():
    lines = pathlib.Path(sys.argv[1]).read_text().splitlines()
    (SCRATCH / "text").write_text("\n".join(lines[:1500]))
    (SCRATCH / "rules").write_text("\n".join(RULES) + "\n")
    classes([line[:60] for line in itertools.islice(filter(None, lines[100:]), 1)])
    marian()


main()
