"""Where a style goes: soft masks and the queries that yield them."""

from velatura.regions.query import Query, parse_query
from velatura.regions.region import Region, latent_shares, whole_style

__all__ = ["Query", "Region", "latent_shares", "parse_query", "whole_style"]
