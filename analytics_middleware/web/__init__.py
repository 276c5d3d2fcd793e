"""The REST API, the dashboard and the browser's script, without a framework: a request in, a response out."""
