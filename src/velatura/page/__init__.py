"""The page: static files in plain JavaScript over the service's HTTP API, and what only a page asks for."""
