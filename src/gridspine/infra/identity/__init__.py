"""Who is who: organisations, principals, keys, certificates, tokens and sessions."""
