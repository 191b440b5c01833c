#!/usr/bin/env python3
"""Write engine/tests/data/tokenizer/*.json: two small tokenizers and what the `tokenizers` package makes of many texts.

Development only; needs tokenizers 0.23. The training text is made here, at random, to force merges which only a wrong splitter,
normalizer or cutter would apply: each of those mistakes changes at least one pair.
"""
import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

OUT = pathlib.Path(__file__).resolve().parent.parent.parent / "engine" / "tests" / "data" / "tokenizer"
TAIL = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
HEAD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?"
MARKS = HEAD + r"[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + TAIL
LETTERS = HEAD + r"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + TAIL

# Pairs that training joins although the right splitter keeps most of them apart.
TRAPS = ["'ti", "'sm", "'re", "'ve", "'ll", "'do", "'Sa", "12", "20", "00", "1,", "x1", " 1", "\n\n", " \n", "\n ", "!\n", ")\n", ";\r\n",
         "(i", "_c", '"k', "   ", " a", "~~", "==", "é", "e\u0301", "\u0915\u093f", "\u05e9\u05bc", "\u0301", "tis", "\t\t", "a ", "--"]


def training_lines(rng):
    syllables = ["ka", "lo", "mi", "ter", "un", "ser", "vé", "zön", "да", "не", "το", "の", "は", "中", "文", "กา", "हिन्", "दी", "שּׁ", "مُ"]
    for _ in range(400):
        words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(rng.randint(2, 9))]
        yield " ".join(words) + rng.choice([".", "!", "?", ";", ""]) + rng.choice(TRAPS)
    for trap in TRAPS:
        yield trap * 40


def build(pattern):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    # Trained without the split, so that the merges cross its borders; then used with it.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False,
                                  max_token_length=6)
    tokenizer.train_from_iterator(training_lines(random.Random(11)), trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in ["<|end|>", "<|start|>", "<|end|>x"]])
    tokenizer.add_tokens([AddedToken("<think>", normalized=False, special=False), AddedToken("</think>", normalized=False, special=False),
                          AddedToken("né\u0301e", normalized=True, special=False), AddedToken("two words", normalized=False, special=False)])
    return tokenizer


def texts(rng):
    yield from ["", " ", "  ", "   a", "a   ", "a\n", "\n", "\n\n", " \n \n x", "a \r\n\r\n b", "\t\tx", "\r", "a\u00a0b", "a\u3000\u3000b",
                "a\u0085b", "a\u180eb", "a\u200bb", "a\x1cb", "\u2028\u2029", "a \u1680 b", "x\x00y", "\ufeffx"]
    yield from ["a'tis", "'tis", "I'm", "I'M", "we'll we'LL we'Ll", "a'\u017f b", "a'\u017fa", "'\u017f", " 'sm", "x's", "1's", "\n'sm", ".'sm", "it's'd've", "don't", "'", "''s",
                "O'\u212al", "'Re 'vE", "a'ti b'ti", "'re're"]
    yield from ["123", "1 200", "x12", "12x", "1,000.00", "٣٤٥", "Ⅷ½²", "१२३", "a1b22c333", "1\u0301\u0301", "𝟙𝟚"]
    yield from ["(if)", "_cat", '"kilo', "!a", "!!a", " !a", " !!a", "@e", "-c--d", "==\n\n=", "a!\n\nb", "a)\nb", "a;\r\n\r\nb", "#\u0301a",
                " \u0301a", "\n\u0301a", "!\u0301", "~~~~ ~~~", "- - -", "a -b", "...\n ...", "😀😀", "a😀b 👍🏽", "€5", "a\u200d\u0915"]
    yield from ["e\u0301", "é", "ne\u0301e", "née né\u0301e", "a\u0323\u0307", "a\u0307\u0323", "\u1e0b\u0323", "\u212b", "\uac00\u11a8", "\u1100\u1161\u11a8", "\u0915\u093c", "\u0958",
                "हिन्दी भाषा", "שּׁלום", "\ufb2c", "مُحَمَّد", "กำลัง", "ไทย", "中文字", "日本語のテキスト", "Ελληνικά ά", "Привет мир", "zön vé", "\u0344", "ﬁ ﬆ", "\U0001d15e",
                "\u0301", "\u0301\u0301", "a\u0301\u0327", "\U00010d4a\U00010d4b", "\U000105c0\u1c89", "\ua7cb\ua7da", "\u0897\u0898", "\U00011380\U000113b8", "\U0001e5d0\U0001e5f1", "\U00016d40\U00016d70"]
    yield from ["<|end|>", "a<|end|>b", "<|end|>x", "<|end|>xx", "<|end|", "<|start|><|end|>", "<think>e\u0301</think>", " <think> \n", "<<think>>", "two words", "two  words",
                "a two words", "e<|end|>\u0301", "<|END|>", "1<|end|>2", "nés né\u0301e né\u0301ef", "<|end|>'sm"]
    yield "The quick brown fox's 12 dogs - \"jump\" over (it)!\n\n\tDon't they?   Yes.\r\n"
    pool = ["a", "e", "s", "t", "é", "\u0301", "\u093f", "क", "中", "1", "2", "½", " ", " ", "  ", "\n", "\r\n", "\t", "'", "'s", "'T", "!", ".", "(", "<|end|>", "<think>", "\u00a0", "😀", "_",
            "\u3000", "ſ", "ll", "\u0323", "שּׁ"]
    for _ in range(120):
        yield "".join(rng.choices(pool, k=rng.randint(2, 24)))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for name, pattern in [("marks", MARKS), ("letters", LETTERS)]:
        tokenizer = build(pattern)
        data = json.loads(tokenizer.to_str())
        if name == "letters":  # the older way to write merges
            data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]
        tokenizer = Tokenizer.from_str(json.dumps(data))
        rng = random.Random(5)
        pairs = []
        for text in texts(rng):
            ids = tokenizer.encode(text).ids
            pairs.append({"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                          "decoded_skip": tokenizer.decode(ids, skip_special_tokens=True)})
        size = tokenizer.get_vocab_size()
        decode_only = []
        for _ in range(60):
            ids = [rng.randrange(size) if rng.random() < 0.3 else rng.randrange(256) for _ in range(rng.randint(1, 12))]
            decode_only.append({"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)})
        golden = {"pairs": pairs, "decode_only": decode_only}
        (OUT / f"{name}.json").write_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n")
        lines = [f'"{key}":[\n' + ",\n".join(json.dumps(item, separators=(",", ":")) for item in items) + "\n]" for key, items in golden.items()]
        (OUT / f"{name}_golden.json").write_text("{" + ",\n".join(lines) + "}\n")
        print(name, size, "tokens,", len(pairs), "pairs")


main()
