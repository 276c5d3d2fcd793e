"""Every destination that collectors send to over HTTP."""

from .vendor import Vendor
from .webhook import Webhook

VENDORS: list[type[Vendor]] = [Webhook]
