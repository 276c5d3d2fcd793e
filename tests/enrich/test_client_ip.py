"""The visitor's address is the first one, from the right, that no trusted proxy stands for."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_middleware.enrich.client_ip import MAX_HEADER, MAX_HOPS, ClientIP, canonical
from analytics_middleware.request import Request

PROXIES = ["10.0.0.0/8", "2001:db8:ffff::/48", "unix"]


def request(peer, *values, header="x-forwarded-for"):
    return Request(peer=peer, headers=[(header.encode(), value.encode("latin-1", "replace")) for value in values])


@pytest.mark.parametrize(
    ("peer", "values", "expected"),
    [
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),  # an untrusted peer is the answer, whatever it claims
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.1", "10.0.0.2"], "198.51.100.1"),  # every occurrence, in order
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),  # all trusted: the leftmost
        ("10.0.0.1", ["198.51.100.1,,  ,"], "198.51.100.1"),  # empty list elements are nothing
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:DB8::0:1]:4711"], "2001:db8::1"),
        ("10.0.0.1", ["[2001:db8::1]"], "2001:db8::1"),
        ("10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["fe80::1%eth0"], "fe80::1"),
        ("10.0.0.1", ["6.6.6.6, unknown"], "10.0.0.1"),  # no address ends the walk at the hop before it
        ("10.0.0.1", ["6.6.6.6, _hidden, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["6.6.6.6, 010.0.0.1, 10.0.0.2"], "10.0.0.2"),  # octal or decimal? nobody knows
        ("10.0.0.1", ["6.6.6.6, 2130706433"], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("2001:db8:ffff::5", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1:5000", ["198.51.100.1"], "198.51.100.1"),
        ("", ["198.51.100.1"], "198.51.100.1"),
        (None, ["198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        (None, ["unknown"], None),
        (None, [], None),
        ("testclient", ["198.51.100.1"], None),
    ],
)
def test_walk_from_the_right(peer, values, expected):
    assert ClientIP(PROXIES)(request(peer, *values)) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["for=198.51.100.1"], "198.51.100.1"),
        (["For=198.51.100.1;proto=https;by=10.0.0.9"], "198.51.100.1"),
        (["proto=https; for = 198.51.100.1"], "198.51.100.1"),
        (['for="198.51.100.1:4711"'], "198.51.100.1"),
        (['for="[2001:db8::17]:4711"'], "2001:db8::17"),
        (['for="[2001:db8::17]"'], "2001:db8::17"),
        (['for="[2001:db8::17]:_port"'], "2001:db8::17"),
        (["for=6.6.6.6, for=198.51.100.1, for=10.0.0.2"], "198.51.100.1"),
        (["for=6.6.6.6", "for=198.51.100.1"], "198.51.100.1"),
        (["for=6.6.6.6, for=unknown, for=10.0.0.2"], "10.0.0.2"),
        (["for=6.6.6.6, for=_gazonk"], "10.0.0.1"),
        (["for=6.6.6.6, proto=https"], "10.0.0.1"),
        (["for=6.6.6.6;for=7.7.7.7"], "10.0.0.1"),
        (['for="6.6.6.6, for=198.51.100.1'], "198.51.100.1"),  # an open quote swallows nothing
        (["198.51.100.1"], "10.0.0.1"),
    ],
)
def test_forwarded_is_read_by_rfc_7239(values, expected):
    assert ClientIP(PROXIES, "forwarded")(request("10.0.0.1", *values, header="forwarded")) == expected


def test_a_header_with_one_address_is_read():
    client_ip = ClientIP(PROXIES, "cf-connecting-ip")
    assert client_ip(request("10.0.0.1", "198.51.100.1", header="cf-connecting-ip")) == "198.51.100.1"


def test_only_the_configured_header_is_read():
    spoofed = Request(
        peer="10.0.0.1",
        headers=[(b"x-real-ip", b"6.6.6.6"), (b"forwarded", b"for=6.6.6.6"), (b"cf-connecting-ip", b"6.6.6.6")],
    )
    assert ClientIP(PROXIES)(spoofed) == "10.0.0.1"


def test_no_proxies_means_the_peer_in_canonical_form():
    assert ClientIP()(request("2001:DB8:0::1", "6.6.6.6")) == "2001:db8::1"


def test_a_unix_socket_is_trusted_only_when_listed():
    assert ClientIP(["10.0.0.0/8"])(request("", "198.51.100.1")) is None
    assert ClientIP(["unix"])(request("", "198.51.100.1")) == "198.51.100.1"


def test_a_mapped_network_trusts_the_ipv4_addresses():
    assert ClientIP(["::ffff:10.0.0.0/104"])(request("10.1.2.3", "198.51.100.1")) == "198.51.100.1"


def test_at_most_32_hops_are_walked():
    hops = ["198.51.100.1", *["10.0.0.2"] * MAX_HOPS]
    assert ClientIP(PROXIES)(request("10.0.0.1", ", ".join(hops))) == "10.0.0.2"
    assert ClientIP(PROXIES)(request("10.0.0.1", ", ".join(hops[:-1]))) == "198.51.100.1"


def test_an_entry_cut_by_the_length_limit_is_not_taken_for_an_address():
    """Of ``210.9.8.7`` the limit may leave ``10.9.8.7``, which looks valid and trusted."""
    tail = "," + " " * (MAX_HEADER - len("10.9.8.7") - 1)
    assert ClientIP(PROXIES)(request("10.0.0.1", "210.9.8.7" + tail)) == "10.0.0.1"
    assert ClientIP(PROXIES)(request("10.0.0.1", "10.9.8.7" + tail)) == "10.9.8.7"


def test_a_huge_header_is_read_from_its_right_end():
    hostile = ", ".join(["6.6.6.6"] * 8000)
    assert ClientIP(PROXIES)(request("10.0.0.1", hostile + ", 198.51.100.1")) == "198.51.100.1"
    assert ClientIP(PROXIES)(request("10.0.0.1", "x" * 80_000)) == "10.0.0.1"


untrusted = st.ip_addresses().map(str).filter(lambda text: canonical(text) and not trusted(text))
hostile_text = st.one_of(
    st.text(max_size=60),
    st.text(alphabet='0123456789abcdef:.[]%",;= _-for', max_size=80),
    st.ip_addresses().map(str),
)


def trusted(text):
    address = ipaddress.ip_address(canonical(text))
    return any(address in ipaddress.ip_network(entry) for entry in PROXIES if entry != "unix")


@given(
    peer=st.one_of(st.none(), hostile_text, st.just("10.0.0.1")),
    values=st.lists(hostile_text, max_size=6),
    header=st.sampled_from(["x-forwarded-for", "forwarded", "x-real-ip"]),
)
def test_whatever_is_sent_the_answer_is_a_canonical_address_or_none(peer, values, header):
    answer = ClientIP(PROXIES, header)(request(peer, *values, header=header))
    assert answer is None or str(ipaddress.ip_address(answer)) == answer
    assert answer is None or "%" not in answer


@given(
    prefix=st.lists(st.one_of(hostile_text, st.text(min_size=2000, max_size=2100)), max_size=8),
    client=untrusted,
    proxies=st.lists(st.sampled_from(["10.0.0.2", "10.9.9.9", "2001:db8:ffff::9"]), max_size=5),
    one_line=st.booleans(),
)
def test_what_the_visitor_wrote_to_the_left_never_changes_the_answer(prefix, client, proxies, one_line):
    appended = [client, *proxies]
    alone = ClientIP(PROXIES)(request("10.0.0.1", ", ".join(appended)))
    spoofed = [", ".join([*prefix, *appended])] if one_line else [*prefix, *appended]
    assert ClientIP(PROXIES)(request("10.0.0.1", *spoofed)) == alone == canonical(client)


@given(prefix=hostile_text, client=untrusted)
def test_nor_does_it_in_the_forwarded_header(prefix, client):
    header = f'{prefix}, for="[{client}]"' if ":" in client else f"{prefix}, for={client}"
    assert ClientIP(PROXIES, "forwarded")(request("10.0.0.1", header, header="forwarded")) == canonical(client)
