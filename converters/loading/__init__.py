"""The rungs of the loading ladder; `converters.load` climbs it."""
