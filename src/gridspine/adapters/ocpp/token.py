"""Tokens: who may charge, by the node's own list and its word on all others."""

from gridspine.adapters.ocpp.settings import Settings, Token
from gridspine.kernel.time import parse_rfc3339


class Verdict:
    """What is answered for a token: an OCPP authorisation ``status``, and what the list says of it."""

    __slots__ = ("expires", "group", "status")

    def __init__(self, status: str, expires: str = "", group: str = "") -> None:
        self.status = status
        self.expires = expires
        self.group = group


class Tokens:
    """The list of tokens; ids are compared without regard to case (OCPP 1.6 §7.17 CiString, 2.0.1 identifierString)."""

    def __init__(self, settings: Settings) -> None:
        self._unknown = settings.unknown_tokens
        self._known: dict[tuple[str, str], Token] = {
            (token.organisation, token.id.casefold()): token for token in settings.tokens
        }

    def listed(self, organisation: str, now_us: int) -> list[Token]:
        """Return the tokens that charge points of ``organisation`` may keep: those whose time is not over.

        What is said of a token for the organisation counts, and not what is said for all.
        """
        own = [
            token
            for (of, id_), token in self._known.items()
            if of == organisation or (of == "" and (organisation, id_) not in self._known)
        ]
        return [one for one in own if not (one.expires and parse_rfc3339(one.expires) <= now_us)]

    def lists(self, id_: str, organisation: str) -> bool:
        """Whether the token ``id_`` stands in the list, whatever is said of it there."""
        return bool({(organisation, id_.casefold()), ("", id_.casefold())} & self._known.keys())

    def judge(self, id_: str, organisation: str, now_us: int, type_: str = "") -> Verdict:
        """Return what a charge point of ``organisation`` is to be told of the token ``id_`` of ``type_``.

        A charge point that asks for no token at all (type ``NoAuthorization``) lets everybody charge: only where the
        settings say so for unknown ones. What the node itself asked for (type ``Central``) it knows from its own call.
        """
        token = self._known.get((organisation, id_.casefold())) or self._known.get(("", id_.casefold()))
        if token is None or (token.type and type_ and token.type != type_):
            return Verdict(self._unknown)
        if token.expires and parse_rfc3339(token.expires) <= now_us:
            return Verdict("Expired", token.expires, token.group)
        return Verdict(token.status, token.expires, token.group)
