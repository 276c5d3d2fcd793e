"""Destinations for events.

Those that send over the network are imported on first use, so that an application that has none does not load an
HTTP client.
"""

from typing import TYPE_CHECKING

from analytics_middleware import lazy
from analytics_middleware.collectors.base import BaseCollector, BatchCollector, CallableCollector, Collector
from analytics_middleware.collectors.stdout import StdoutCollector

if TYPE_CHECKING:
    from analytics_middleware.collectors.amplitude import AmplitudeCollector
    from analytics_middleware.collectors.cloudevents import CloudEventsCollector
    from analytics_middleware.collectors.ga4 import GA4Collector
    from analytics_middleware.collectors.http import HTTPCollector
    from analytics_middleware.collectors.jsonl import JSONLinesCollector
    from analytics_middleware.collectors.matomo import MatomoCollector
    from analytics_middleware.collectors.mixpanel import MixpanelCollector
    from analytics_middleware.collectors.openpanel import OpenPanelCollector
    from analytics_middleware.collectors.otlp import OTLPCollector
    from analytics_middleware.collectors.plausible import PlausibleCollector
    from analytics_middleware.collectors.posthog import PostHogCollector
    from analytics_middleware.collectors.segment import RudderStackCollector, SegmentCollector
    from analytics_middleware.collectors.snowplow import SnowplowCollector
    from analytics_middleware.collectors.umami import UmamiCollector
    from analytics_middleware.collectors.webhook import WebhookCollector

_MODULES = {
    "AmplitudeCollector": "amplitude",
    "CloudEventsCollector": "cloudevents",
    "GA4Collector": "ga4",
    "HTTPCollector": "http",
    "JSONLinesCollector": "jsonl",
    "MatomoCollector": "matomo",
    "MixpanelCollector": "mixpanel",
    "OTLPCollector": "otlp",
    "OpenPanelCollector": "openpanel",
    "PlausibleCollector": "plausible",
    "PostHogCollector": "posthog",
    "RudderStackCollector": "segment",
    "SegmentCollector": "segment",
    "SnowplowCollector": "snowplow",
    "UmamiCollector": "umami",
    "WebhookCollector": "webhook",
}

__all__ = [
    "AmplitudeCollector",
    "BaseCollector",
    "BatchCollector",
    "CallableCollector",
    "CloudEventsCollector",
    "Collector",
    "GA4Collector",
    "HTTPCollector",
    "JSONLinesCollector",
    "MatomoCollector",
    "MixpanelCollector",
    "OTLPCollector",
    "OpenPanelCollector",
    "PlausibleCollector",
    "PostHogCollector",
    "RudderStackCollector",
    "SegmentCollector",
    "SnowplowCollector",
    "StdoutCollector",
    "UmamiCollector",
    "WebhookCollector",
]


__getattr__ = lazy.importer(globals(), _MODULES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
