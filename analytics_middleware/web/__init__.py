"""The REST API and what browsers need of it: framework-free, from request to response; adapters mount it."""
