"""Regions: soft masks, the queries that find them in a picture, and their placement."""

from velatura.regions.placement import Placement
from velatura.regions.query import Query, parse_query
from velatura.regions.region import Region

__all__ = ["Placement", "Query", "Region", "parse_query"]
