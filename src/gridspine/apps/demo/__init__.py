"""A demonstration: three homes with their own device processes, two organisations, one story told and checked."""
