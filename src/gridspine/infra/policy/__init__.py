"""May they? ``decide(principal, action, resource, context) -> Decision``, by Cedar policies that callers bring.

Default deny, and every decision says why in a sentence. Nothing here knows what a Thing or a product is: entity kinds,
policies and their schema are texts and values of the callers.
"""
