"""Strings and vocabularies that on-device tokenizers were recorded with.

Plain Python without imports: the recording runs in environments of its own.
"""

PAD_ID = 0

_WORDS = (
    "a b c d e i o u x z ß é ü ı ñ я σ ς ё ö µ İ À Σ Я Ａ ａ ﬁ ſ K k the dog"
    " cafe café naive naïve strasse straße stras un want good movie hello"
    " hotel resume don s t … ... . , ! ? ' ’ “ ” - – — _ # $ ^ ` + = < > | ~"
    ' ( ) [ ] / \\ @ : ; & * % " « » ¿ ¡ 中 国 日 𠀀 𫝀 豈 丽 々 の ア ー 한'
    " 국어 、 。 「 」 １ 1 2 3 10 ² ½ Ⅷ 👍 ❤ ☺ € £ © ® ™ ° × ÷ ∞ → ¨ ´"
    " · • § ¶ mask cls ẞ ǆ привет при ไทย שלום ש हिन ि unk"
).split()
_SUFFIXES = (
    "want ed aff able a b c d e x n s t ss ße ß é ed ing ffable xx xxx"
    " 0 1 2 3 中 的 в ет и ́ ̈ ーン ン 어 👍 ❤ ﬁ … ’ ⃣ ी द"
).split()

# 0 to 4 are the special tokens, as in BERT's own vocabularies of today.
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = tuple(
    dict.fromkeys(
        list(_SPECIAL)
        + _WORDS
        + ["##" + suffix for suffix in _SUFFIXES]
        + ["##\u0301", "##\u00ad", "##\u200d", "\ufffd", "\x7f"]
        + ["##\ufffd", "##\x01", "##\u200b", "\u200b", "[unk]", "[cls]"]
    )
)


# Only "a" and "b" are known words, so that "aXb" shows what X is.
SCAN_VOCABULARY = (*_SPECIAL, "a", "b", ".")

_SPACES = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u180e\u2000\u2002\u2003\u2009"
    "\u200a\u2028\u2029\u202f\u205f\u3000"
)
_INVISIBLE = (
    "\x01\x07\x08\x0e\x1b\x7f\x80\x9f\xad\u0600\u061c\u200b\u200c\u200d\u200e"
    "\u2060\u2066\ufeff\ufff9\ufffd\ufffe\uffff\ue000\U000e0001\U000f0000"
)
_SYMBOLS = "$+<=>^`|~¢£¤¦¨©¬®¯°±´·¸×÷€™→∞☺❤�"
_PUNCTUATION = (
    "!\"#%&'()*,-./:;?@[\\]_{}¡§«¶·»¿‐–—‘’“”„†•…‰′‹›‽⁂、。「」〜・？！"
)
_CJK_EDGES = (
    "\u3007\u33ff\u3400\u4dbf\u4dc0\u4dff\u4e00\u9fff\ua000\uf8ff\uf900\ufaff"
    "\ufb00\U0001ffff\U00020000\U0002a6df\U0002a6e0\U0002a6ff\U0002a700"
    "\U0002b73f\U0002b740\U0002b81f\U0002b820\U0002ceaf\U0002ceb0\U0002ebe0"
    "\U0002f800\U0002fa1f\U0002fa20\U00030000\U00031350々ぁ゛ーㄅ가힣"
)

STRINGS = (
    "",
    " ",
    " \t\n",
    "a",
    "the dog",
    "  the   dog  ",
    "The DOG. THE dog!",
    "unwanted unwantedx xunwant UnWanted",
    "unaffable zzz the qqq dog",
    "A good, good movie... isn't it?",
    "don't don’t dog's dog’s",
    "hello-good_movie/hotel@dog.a:b;c",
    "café cafe\u0301 CAFÉ CAFE\u0301 naïve NAÏVE résumé",
    "é É e\u0301 E\u0301 ü Ü ñ Ñ À à",
    "Straße STRASSE straße STRAẞE ẞ ß aß Aß",
    "İ I ı i̇ İI ıi Iı",
    "Σ σ ς ΑΣ ας",
    "Я я Привет привет ПРИВЕТ Ё ё Е\u0308",
    "ﬁ FI ﬁa ſ S K k Å Ω Ω µ μ",
    "Ａ ａ １ １1 ！ ？ ａＡ",
    "Ǆ ǅ ǆ Ⅷ ⅷ ² ½ 2² x²",
    "… ... a…b a...b ….. the…dog",
    "“good” ‘a’ «a» ¿a? ¡a!",
    "— – - ‐ ‑ − a—b a–b a-b a−b",
    "$1 £1 €1 1% 1+1=2 a^b `a` ~a |a| <a> c++ c#",
    "中国 中国ab ab中国 日本の ア ーン アーン 々 a々",
    "𠀀 a𠀀b 𫝀 豈 丽 a豈b",
    "한국어 한 국어 한국어\u1112\u1161\u11ab",
    "हिन्दी हिनदी ไทย שלום שׁלום",
    "👍 👍👍 a👍 ❤ ❤️ 👍🏽 👨\u200d👩\u200d👧 🇩🇪 1⃣ 1️⃣",
    "☺ a☺b ™ © ® ° 10° × ÷ → ∞ § ¶ • · ´ ¨",
    "[MASK] [CLS] [SEP] [PAD] [UNK] [mask] [unk] [cls] mask",
    "# ## ### a##b ##a ## a #a",
    "1 10 123 1,000 3.14 1/2 10th 2x",
    "a\\b a\"b a'b (a) [a] {a} <a> a_b _a_ __",
    "http://a.b/c?d=e&x=1#z",
    "a@b.c :) :-( <3 ^_^ o_O",
    "x" * 99,
    "x" * 100,
    "x" * 101,
    "x" * 200,
    "x" * 201,
    "X" * 100 + " a",
    "a" + "é" * 49 + " a" + "é" * 50,
    "é" + "é" * 49,
    "é" + "é" * 50,
    "ß" * 50 + " " + "ß" * 51,
    "a" + "👍" * 24 + " a" + "👍" * 25,
    "x" * 60 + "." + "x" * 60,
    "x" * 60 + "中" + "x" * 60,
    "中" * 101,
    "a" * 98 + "\u0301" + " " + "a" * 99 + "\u0301",
    "the dog " * 200,
    "a\ud7ffb a\ue000b",
    *(f"a{char}b" for char in _SPACES),
    *(f"a{char}b {char}a a{char} {char}" for char in _INVISIBLE),
    *(f"a{char}b {char}{char}" for char in _SYMBOLS),
    " ".join(f"a{char}b{char}" for char in _PUNCTUATION),
    " ".join(f"a{char}b" for char in _CJK_EDGES),
    # A text ends at NUL for clients written in C.
    "a\x00b the dog",
    "\x00a",
)

TRUNCATED = (
    "",
    "a b",
    "a b c d e",
    "a b c d e i",
    "a b c d e i o",
    "unwanted unwanted unwanted unwanted",
    "a b c d e unwanted",
    "a b c d zzz unwanted",
)

# Repeated tokens, white space around a token, an empty line, CR LF, and no
# line end after the last.
QUIRKY_VOCABULARY = (
    b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"
    b"a\nb\na\n c\nd \n\ne\r\ni\n##a\no\n##a\n\r\nu\n\nx"
)
QUIRKS = ("a", "b", "c", "d", "e", "i", "o", "u", "x", "aa", "ba")

# Not UTF-8: a stray byte, half a character, a lone surrogate, overlong forms.
INVALID = (
    b"a\xffb the dog",
    b"\xff a \xc3 b",
    b"the\xe4\xb8.dog",
    b"a \xed\xa0\x80 b",
    b"a\xc0\xafb \xf5a",
    b"dog\xc3",
    b"\xc3\xa9 \xe9",
)
