"""Every destination that collectors send to over HTTP."""

from .amplitude import Amplitude
from .ga4 import GA4
from .mixpanel import Mixpanel
from .plausible import Plausible
from .posthog import PostHog
from .segment import RudderStack, Segment
from .vendor import Vendor
from .webhook import Webhook

VENDORS: list[type[Vendor]] = [Webhook, GA4, Plausible, PostHog, Segment, RudderStack, Mixpanel, Amplitude]
