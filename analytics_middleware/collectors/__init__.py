"""Destinations for events."""

from analytics_middleware.collectors.base import BaseCollector, BatchCollector, CallableCollector, Collector
from analytics_middleware.collectors.stdout import StdoutCollector

__all__ = ["BaseCollector", "BatchCollector", "CallableCollector", "Collector", "StdoutCollector"]
