"""Country and city from a MaxMind database that may be replaced at any time, or from a CDN's header."""

import os
import sys

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from analytics_middleware.enrich.geo import RECHECK_SECONDS, GeoIP, country_code
from analytics_middleware.errors import ConfigurationError, MissingExtraError

RECORDS = {
    "203.0.113.0/25": {"country": {"iso_code": "GB"}, "city": {"names": {"en": "Leeds", "de": "Leeds!"}}},
    "203.0.113.128/25": {"country": {"iso_code": "DE"}},
    "2001:db8::/32": {"country": {"iso_code": "FR"}, "city": {"names": {"en": "Lyon"}}},
    "198.51.100.0/25": {"country_code": "JP", "country": "Japan", "city": "Osaka"},
    "198.51.100.128/25": {"country": "US"},
    "192.0.2.0/24": {"registered_country": {"iso_code": "US"}, "city": {"names": {"de": "Köln"}}},
    "100.64.0.0/24": {"country": {"iso_code": 7}, "city": ["odd"]},
}


def write(path, records):
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Test-City")
    for network, record in records.items():
        writer.insert_network(IPSet([network]), record)
    temporary = path.with_suffix(".new")
    writer.to_db_file(str(temporary))
    temporary.rename(path)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "places.mmdb"
    write(path, RECORDS)
    return path


@pytest.fixture
def geoip(path, clock):
    geoip = GeoIP(path, clock=clock)
    yield geoip
    geoip.close()


@pytest.mark.parametrize(
    ("ip", "place"),
    [
        ("203.0.113.7", ("GB", "Leeds")),
        ("203.0.113.200", ("DE", None)),
        ("2001:db8::7", ("FR", "Lyon")),
        ("198.51.100.7", ("JP", "Osaka")),  # flat records
        ("198.51.100.200", ("US", None)),
        ("192.0.2.1", (None, None)),  # where an address is registered is not where its user is
        ("100.64.0.1", (None, None)),  # values of unexpected types
        ("127.0.0.1", (None, None)),
        ("no address", (None, None)),
        ("", (None, None)),
        (None, (None, None)),
    ],
)
def test_an_address_is_located(geoip, ip, place):
    assert geoip.locate(ip) == place


def test_a_replaced_file_is_used_within_a_minute(geoip, path, clock):
    assert geoip.locate("203.0.113.7") == ("GB", "Leeds")
    write(path, {"203.0.113.0/24": {"country": {"iso_code": "NL"}}})
    clock.now += RECHECK_SECONDS - 1
    assert geoip.locate("203.0.113.7") == ("GB", "Leeds")
    clock.now += 1
    assert geoip.locate("203.0.113.7") == ("NL", None)


def test_the_file_is_looked_at_once_a_minute_at_most(geoip, clock, monkeypatch):
    looks = []
    monkeypatch.setattr(GeoIP, "_stat", lambda self: looks.append(1) or self._signature)
    for _ in range(3):
        clock.now += RECHECK_SECONDS / 2
        geoip.locate("203.0.113.7")
    assert len(looks) == 1


@pytest.mark.parametrize("damage", ["gone", "garbage"])
def test_a_damaged_replacement_leaves_the_old_database_in_use_until_a_good_one_comes(geoip, path, clock, damage):
    path.unlink()
    if damage == "garbage":
        path.write_bytes(b"not a database")
    clock.now += RECHECK_SECONDS
    assert geoip.locate("203.0.113.7") == ("GB", "Leeds")
    assert geoip.locate("203.0.113.200") == ("DE", None)
    write(path, {"203.0.113.0/24": {"country": {"iso_code": "NL"}}})
    clock.now += RECHECK_SECONDS
    assert geoip.locate("203.0.113.7") == ("NL", None)


def test_a_missing_file_is_a_configuration_error_that_names_it(tmp_path):
    with pytest.raises(ConfigurationError, match=r"geoip_database='.*none\.mmdb'"):
        GeoIP(tmp_path / "none.mmdb")


def test_a_file_of_another_kind_is_a_configuration_error(tmp_path):
    path = tmp_path / "text.mmdb"
    path.write_text("hello")
    with pytest.raises(ConfigurationError, match=r"give the path of a \.mmdb file"):
        GeoIP(os.fspath(path))


def test_a_missing_package_is_named_with_its_extra(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "maxminddb", None)
    with pytest.raises(MissingExtraError, match=r"analytics-middleware\[geoip\]"):
        GeoIP(path)


@pytest.mark.parametrize(("value", "code"), [("gb", "GB"), ("DE", "DE"), ("ZZ", None), ("XX", None)])
def test_a_country_code_is_in_upper_case_and_none_where_it_says_unknown(value, code):
    assert country_code(value) == code


@pytest.mark.parametrize("value", [None, 7, "", "G", "G1", "G B", "GBR", "GB, FR", "ÄÖ", "ＧＢ"])
def test_what_is_no_country_code_is_none(value):
    assert country_code(value) is None
