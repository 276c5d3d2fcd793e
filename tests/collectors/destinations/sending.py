"""Sending some events through a vendor's collector to its stand-in."""

from datetime import UTC, datetime
from typing import Any

import pytest

from analytics_middleware import DeliveryError, Event

from .server import Server
from .vendor import Vendor

AT = datetime(2026, 5, 4, 10, 30, 15, 123456, tzinfo=UTC)
SESSION = "019df28e-fb80-7000-8000-000000000001"
SESSION_START = 0x019DF28EFB80


def sent(vendor: Vendor, server: Server, *events: Event, **options: Any) -> Any:
    """Send *events* through the vendor's collector and return the collector."""
    server.handler = vendor.answer
    collector = vendor.make(server.url, **options)
    for event in events:
        collector.collect(event)
    collector.flush()
    collector.close()
    assert vendor.violations == []
    return collector


def refused(vendor: Vendor, server: Server, *events: Event, **options: Any) -> DeliveryError:
    """Send *events*, which fails, and return the error."""
    server.handler = vendor.answer
    collector = vendor.make(server.url, **options)
    for event in events:
        collector.collect(event)
    with pytest.raises(DeliveryError) as caught:
        collector.flush()
    collector.close()
    return caught.value
