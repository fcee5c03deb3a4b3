"""Counters of texts: exact where they claim to be, and never a reason to fail."""

from __future__ import annotations

import base64
import hashlib
import importlib
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastpaca.tokens import CharsCounter, TiktokenCounter, TokenCounter, counter_for
from tests.tokens.oracle import ENCODINGS, oracle

TEXTS = {
    "nothing": "",
    "English": "It's the caller's own words that we've kept; they'll be THERE'S and didn't.\n" * 3,
    "Python": "def f(x: int) -> str:\n\treturn f'{x!r:>10}'  # 0x1F, 1_000\n\n\nclass A(B): ...\n",
    "JavaScript": "const f = async (x) => { await g(`${x?.y ?? 'z'}`); /* … */ };\r\n\r\n// end",
    "JSON": '{"type":"tool_call","arguments":{"a":[1,2.5e-7,null,true],"b":"\\u00e9\\n"}}',
    "SQL": "SELECT count(*) FROM messages WHERE context_id = $1 AND seq >= 100;--",
    "Markdown": "# Title\n\n- [x] done\n- [ ] open\n\n```sh\nmake test\n```\n| a | b |\n|---|---|",
    "Chinese": "我们把对话保存在本地,每条消息都有自己的序号。然后呢?「好的」——他说。" * 4,
    "Japanese": "会話はすべて保存されます。カタカナとひらがな、漢字も。ッャュョ" * 3,
    "Korean": "대화는 모두 저장됩니다. 토큰 예산을 지킵니다! ㅋㅋㅋ",
    "rare ideographs": "".join(chr(0x20000 + 37 * i) for i in range(200)),
    "Arabic": "مرحبًا بالعالم، هذا نصٌّ عربيٌّ مُشَكَّل ١٢٣٤٥٦٧٨٩٠",
    "Hebrew": "שָׁלוֹם עוֹלָם! \u200fטקסט מימין לשמאל\u200e abc",
    "Hindi": "नमस्ते दुनिया, यह एक परीक्षण है। क्ष त्र ज्ञ १२३४",
    "Thai": "สวัสดีชาวโลก นี่คือการทดสอบ ๑๒๓๔๕",
    "Russian": "Съешь же ещё этих мягких французских булок, да выпей чаю. ЁЖ",
    "Greek and Turkish": "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία; İstanbul'da ışık IİiıŞ",
    "emoji": "😀😃🎉🔥 👍🏽 🇩🇪🇯🇵 ❤️ ☺︎ #️⃣",
    "joined emoji": "👨‍👩‍👧‍👦👩🏾‍🚀🏳️‍🌈🧑‍🤝‍🧑🏴󠁧󠁢󠁳󠁣󠁴󠁿",
    "combining marks": "e\u0301 a\u0308\u0323 Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d",
    "digits": "1 12 123 1234 12345 1234567890 3.14159 1,000,000 ½ ² ٣ ৪ Ⅷ 𝟘𝟙",
    "spaces": "a  b   c    d" + " " * 200 + "e\t\t\tf \t g\u00a0\u00a0h\u2003\u3000i\u200b",
    "line breaks": "a\n\n\n\nb\r\n\r\nc\r\rd \n \n e\x85f\u2028g\u2029h\n   ",
    "control characters": "".join(map(chr, range(32))) + "\x7f\x80\x9f\ufeff\ufffd\U0010ffff",
    "special tokens": "<|endoftext|> <|endofprompt|><|fim_prefix|>a<|im_start|>user<|im_end|>",
    "contractions": "I'M you'RE we'Ve it'S 'tis o'ſ 'LL d'D 'S ’s",
    "repeated letter": "a" * 3000 + "A" * 3000 + "^" * 3000 + "=-" * 1000,
    "base64": base64.b64encode(
        b"".join(hashlib.sha256(bytes([i])).digest() for i in range(99))
    ).decode(),
    "web address": "https://user:pw@example.com:8080/a/b/c.html?q=1&r=%20#frag",
}


@pytest.fixture(scope="module", params=ENCODINGS)
def encoding(request: pytest.FixtureRequest) -> str:
    """Give each of the encodings in turn."""
    assert isinstance(request.param, str)
    return request.param


@pytest.fixture(scope="module")
def counter(encoding: str) -> TokenCounter:
    """Load the counter of the encoding once."""
    return TiktokenCounter(encoding)


@pytest.mark.parametrize("name", TEXTS)
def test_counts_are_those_of_tiktoken(counter: TokenCounter, encoding: str, name: str) -> None:
    """
    Texts of every script, code, white space and control characters count as tiktoken has it.
    """
    text = TEXTS[name]
    assert counter.count(text) == len(oracle(encoding).encode_ordinary(text))


_SPLICES = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.sampled_from(list(TEXTS.values())).flatmap(
            lambda text: st.integers(0, max(len(text) - 1, 0)).map(lambda at: text[at : at + 17])
        ),
        st.sampled_from([" ", "  ", "\n", "\r\n", "\t", "'s", "'LL", "123", "1234", "/", "\u00a0"]),
    ),
    max_size=12,
).map("".join)


@given(_SPLICES)
@example(" \n/\r\n 's")
def test_counts_of_random_splices_are_those_of_tiktoken(text: str) -> None:
    """
    Any text counts as tiktoken has it, for both encodings.
    """
    for encoding in ENCODINGS:
        assert _loaded(encoding).count(text) == len(oracle(encoding).encode_ordinary(text))


_counters: dict[str, TokenCounter] = {}


def _loaded(encoding: str) -> TokenCounter:
    if encoding not in _counters:
        _counters[encoding] = TiktokenCounter(encoding)
    return _counters[encoding]


def test_a_special_token_in_a_text_is_ordinary_text(counter: TokenCounter, encoding: str) -> None:
    """
    The text `<|endoftext|>` costs what its characters cost, and not the one token it is named for.
    """
    text = "<|endoftext|>"
    assert counter.count(text) == len(oracle(encoding).encode(text, disallowed_special=())) > 1


@pytest.mark.parametrize(
    "unit", ["a", " ", "\n", "^", "0", "\0", "中", "😀", "\u0301", " \n", "=-"]
)
def test_a_long_run_of_anything_is_counted_whole_and_fast(counter: TokenCounter, unit: str) -> None:
    """
    A megabyte of one character, where tiktoken itself panics or takes a second, is no trouble.
    """
    text = unit * (1_000_000 // len(unit.encode()))
    assert 0 < counter.count(text) <= len(text.encode())


class Panic(BaseException):
    """What a panic in a Rust extension looks like: it is no Exception."""


def _failing(error: BaseException) -> Callable[[str], Callable[[str], int]]:
    def load(encoding: str) -> Callable[[str], int]:
        def count(text: str) -> int:
            raise error

        return count

    return load


@pytest.mark.parametrize("error", [Panic("a panic"), ValueError("too long"), RecursionError()])
def test_a_failing_tokenizer_is_answered_by_the_character_estimate(error: BaseException) -> None:
    """
    Whatever a tokenizer raises, a panic included, the text gets the count of its characters.
    """
    counter = TiktokenCounter("o200k_base", load=_failing(error))
    assert counter.count("twelve chars") == CharsCounter().count("twelve chars") == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_the_end_of_the_process_is_not_swallowed(error: type[BaseException]) -> None:
    """
    Ctrl-C, an exit and a lack of memory are not the tokenizer's, and go through.
    """
    with pytest.raises(error):
        TiktokenCounter("o200k_base", load=_failing(error())).count("text")


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("中文字符五", 2), ("😀" * 8, 2)],
)
def test_chars_takes_four_characters_for_a_token(text: str, tokens: int) -> None:
    """
    The estimate is the number of characters divided by four, rounded up.
    """
    assert CharsCounter().count(text) == tokens


def test_chars_works_without_any_tokenizer() -> None:
    """
    Where toktok is not installed, `chars` counts, and `tiktoken:` says in a sentence what to do.
    """
    program = """
import sys
sys.modules["toktok"] = None
from fastpaca.tokens import counter_for
print(counter_for("chars").count("abcde"))
try:
    counter_for("tiktoken:gpt-4o")
except ValueError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    count, sentence = done.stdout.splitlines()
    assert count == "2"
    assert "toktok-rs" in sentence
    assert "'chars'" in sentence


def test_the_public_function_of_toktok_stands_in_for_the_private_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    A toktok without the function that counts a single text gives the same counts.
    """
    exact = TiktokenCounter("cl100k_base")
    batch_count = importlib.import_module("toktok").batch_count
    public = SimpleNamespace(batch_count=batch_count)
    monkeypatch.setitem(sys.modules, "toktok", public)
    counter = TiktokenCounter("cl100k_base")
    assert [counter.count(text) for text in TEXTS.values()] == [
        exact.count(text) for text in TEXTS.values()
    ]


def test_a_counter_is_named_by_its_spec() -> None:
    """
    A model's counter is named for its encoding, and says so where it is an approximation.
    """
    exact, near = counter_for("tiktoken:gpt-4"), counter_for("tiktoken:claude-sonnet-4")
    assert (exact.name, exact.approximate) == ("tiktoken:cl100k_base", False)
    assert (near.name, near.approximate) == (
        "tiktoken:o200k_base (approximate for claude-sonnet-4)",
        True,
    )
    assert (counter_for("chars").name, counter_for("chars").approximate) == ("chars", True)


@pytest.mark.parametrize(
    ("spec", "nearest"),
    [
        ("", "'tiktoken:gpt-4o'"),
        ("char", "'chars'"),
        ("CHARS", "'chars'"),
        ("gpt-4o", "'tiktoken:gpt-4o'"),
        ("tiktoken:", "'tiktoken:gpt-4o'"),
        ("tiktokens:gpt-4o", "'tiktoken:gpt-4o'"),
        ("tiktoken:gtp-4o", "'gpt-4o'"),
    ],
)
def test_an_unknown_spec_is_refused_with_the_nearest(spec: str, nearest: str) -> None:
    """
    A spec that names no counter raises a sentence with one that does.
    """
    with pytest.raises(ValueError, match=f"closest is .*{nearest}"):
        counter_for(spec)
