"""Every destination that collectors send to over HTTP."""

from .amplitude import Amplitude
from .cloudevents import CloudEvents
from .ga4 import GA4
from .matomo import Matomo
from .mixpanel import Mixpanel
from .openpanel import OpenPanel
from .otlp import OTLP
from .plausible import Plausible
from .posthog import PostHog
from .segment import RudderStack, Segment
from .snowplow import Snowplow
from .umami import Umami
from .vendor import Vendor
from .webhook import Webhook

VENDORS: list[type[Vendor]] = [
    Webhook,
    GA4,
    Plausible,
    PostHog,
    Segment,
    RudderStack,
    Mixpanel,
    Amplitude,
    Matomo,
    Umami,
    OpenPanel,
    Snowplow,
    OTLP,
    CloudEvents,
]
