"""What strangers write fills no memory: neither with many texts nor with long ones."""

import pytest

from analytics_middleware.remembering import MAX_REMEMBERED, remembered


@pytest.fixture
def asked():
    return []


@pytest.fixture
def joined(asked):
    @remembered(3)
    def join(first, second):
        asked.append((first, second))
        return f"{first}{second}"

    return join


def test_an_answer_is_remembered(joined, asked):
    assert [joined("a", None), joined("a", None), joined(b"a", "b")] == ["aNone", "aNone", "b'a'b"]
    assert asked == [("a", None), (b"a", "b")]


def test_the_length_of_all_texts_together_decides_what_is_worked_out_each_time(joined, asked):
    half = "x" * (MAX_REMEMBERED // 2)
    for second in (half, half + "x"):
        for _ in range(3):
            assert joined(half, second) == half + second
    assert [len(first) + len(second) for first, second in asked] == [MAX_REMEMBERED, *[MAX_REMEMBERED + 1] * 3]


def test_when_it_is_full_remembering_starts_over(joined, asked):
    for text in ("a", "b", "c", "d", "d", "a"):
        joined(text, "")
    assert [first for first, _ in asked] == ["a", "b", "c", "d", "a"]


def test_what_raises_is_asked_again(asked):
    @remembered(3)
    def fails(text):
        asked.append(text)
        raise LookupError(text)

    for _ in range(2):
        with pytest.raises(LookupError, match="a"):
            fails("a")
    assert asked == ["a", "a"]
