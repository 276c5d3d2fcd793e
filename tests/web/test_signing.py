"""Tokens: good for their purpose until their time, in one spelling, by one secret."""

from hypothesis import given
from hypothesis import strategies as st

from analytics_middleware.web.signing import NONCE, Signer

NOW = 1_700_000_000.0
NONCES = st.binary(min_size=NONCE, max_size=NONCE).map(bytes.hex)
PURPOSES = st.sampled_from([b"token", b"cookie", b"share"])


def signer(secret: bytes = b"s" * 32, now: float = NOW) -> Signer:
    return Signer(lambda: secret, None, clock=lambda: now)


@given(nonce=NONCES, purpose=PURPOSES, seconds=st.integers(1, 10**8))
def test_a_token_says_what_was_put_into_it_until_its_time(nonce: str, purpose: bytes, seconds: int):
    token = signer().token(purpose, NOW + seconds, nonce)
    assert signer(now=NOW + seconds - 1).nonce(purpose, token) == nonce
    assert signer(now=NOW + seconds).nonce(purpose, token) is None


@given(nonce=NONCES, purpose=PURPOSES, data=st.data())
def test_what_differs_in_a_character_is_no_token(nonce: str, purpose: bytes, data: st.DataObject):
    token = signer().token(purpose, NOW + 60, nonce)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/= ", max_size=2))
    altered = token[:at] + other + token[at + 1 :]
    assert (signer().nonce(purpose, altered) == nonce) is (altered == token)


@given(text=st.text(max_size=60), purpose=PURPOSES)
def test_no_text_is_a_token_by_chance(text: str, purpose: bytes):
    assert signer().nonce(purpose, text) is None


@given(nonce=NONCES, purpose=PURPOSES, other=PURPOSES, secret=st.binary(min_size=1, max_size=40))
def test_a_token_is_good_for_one_purpose_and_one_secret(nonce: str, purpose: bytes, other: bytes, secret: bytes):
    token = signer().token(purpose, NOW + 60, nonce)
    assert (signer().nonce(other, token) == nonce) is (other == purpose)
    assert (signer(secret).nonce(purpose, token) == nonce) is (secret == b"s" * 32)
