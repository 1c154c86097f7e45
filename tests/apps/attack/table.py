"""Who may what, stated by hand: the policies and the routes are held against this table, not it against them.

Roles: a administrator, o operator, w owner, c consumer, d device, u auditor.
Organisations: own (owns all that is asked for, runs the node), granted (has a grant), other (has none).

A row: method and path; which roles of own, granted and other organisation are let in; and what the rest are answered,
first within the own organisation, then elsewhere. 403 comes with a decision's id; 404 is as if there were nothing: with
a letter only to that role, who might have found something there (403 to the others), with g to who is neither side.
"""

from typing import NamedTuple

ROLES = {"a": "administrator", "o": "operator", "w": "owner", "c": "consumer", "d": "device", "u": "auditor"}
ORGANISATIONS = {"own": "northside-networks", "granted": "brightfield", "other": "third"}
ALL = "aowcdu"
_NONE = "-"


class Row(NamedTuple):
    """One row of the table; ``inside`` and ``outside`` say what those are answered who are not let in."""

    method: str
    path: str
    may: dict[str, str]
    inside: str
    outside: str

    @property
    def name(self) -> str:
        """Return method and path."""
        return f"{self.method} {self.path}"

    def lets_in(self, organisation: str, role: str) -> bool:
        """Whether a principal with this one role (a letter) is let in."""
        return role in self.may[organisation]

    def refusal(self, organisation: str, role: str) -> int:
        """Return the status for one who is not let in."""
        code = self.inside if organisation == "own" else self.outside
        if code[3:] == "g":
            return 404 if organisation == "other" else 403
        return int(code) if len(code) == 3 else (404 if role in code[3:] else 403)


_TEXT = """
POST /readings                                          od      od      od     403 403
GET  /things                                            aowdu   aowdu   aowdu  403 403
POST /things                                            ao      ao      ao     403 403
POST /things/batch                                      ao      ao      ao     403 403
GET  /things/{thing_id}                                 aowu    -       -      403 403
GET  /things/{thing_id}/report                          aowu    -       -      403 403
PUT  /things/{thing_id}                                 ao      -       -      403 403
PATCH /things/{thing_id}                                ao      -       -      403 403
DELETE /things/{thing_id}                               o       -       -      403 403
GET  /events                                            aowcdu  aowcdu  aowcdu 403 403
GET  /events/{kind}                                     aowcdu  aowcdu  aowcdu 403 403
GET  /models                                            aowu    aowu    aowu   403 403
POST /models                                            ao      ao      ao     403 403
POST /models/fill                                       aowu    aowu    aowu   403 403
GET  /templates                                         aowu    aowu    aowu   403 403
GET  /templates/{template}                              aowu    aowu    aowu   403 403
POST /templates/{template}/things                       ao      -       -      403 403
GET  /things/{thing_id}/properties                      aowu    -       -      403 403
GET  /things/{thing_id}/properties/{name}               aowu    -       -      403 403
GET  /things/{thing_id}/mappings/{language}             aowu    -       -      403 403
GET  /things/{thing_id}/channels                        aowu    -       -      403 403
GET  /things/{thing_id}/properties/{name}/value         aowu    -       -      403 403
PUT  /things/{thing_id}/properties/{name}/value         o       -       -      403 403
GET  /things/{thing_id}/values                          aowu    -       -      403 403
PUT  /things/{thing_id}/values                          o       -       -      403 403
GET  /things/{thing_id}/properties/{name}/observe       aowu    -       -      403 403
GET  /things/{thing_id}/properties/{name}/next          aowu    -       -      403 403
GET  /things/{thing_id}/values/observe                  aowu    -       -      403 403
WS   /things/{thing_id}/values/socket                   aowu    -       -      403 403
GET  /things/{thing_id}/events                          aowu    -       -      403 403
GET  /things/{thing_id}/events/{name}                   aowu    -       -      403 403
GET  /things/{thing_id}/events/{name}/next              aowu    -       -      403 403
GET  /things/{thing_id}/actions                         aowu    -       -      403 403
POST /things/{thing_id}/actions/{name}                  o       -       -      403 403
GET  /things/{thing_id}/actions/{name}/{invocation}     aowu    -       -      403 403
DELETE /things/{thing_id}/actions/{name}/{invocation}   o       -       -      403 403
POST /tickets                                           aowcdu  aowcdu  aowcdu 403 403
GET  /things/{thing_id}/form                            aowu    -       -      403 403
POST /things/{thing_id}/form                            o       -       -      403 403
POST /things/form                                       o       -       -      403 403
GET  /emulated/orders                                   o       o       o      403 403
GET  /commands                                          aowu    -       -      403 403
POST /commands                                          o       -       -      403 403
GET  /commands/awaiting                                 aowdu   aowdu   aowdu  403 403
POST /commands/batch                                    o       -       -      403 403
POST /commands/{command_id}/approval                    o       -       -      403 403
GET  /things/{thing_id}/control                         aowu    -       -      403 403
POST /things/{thing_id}/local                           o       -       -      403 403
POST /things/{thing_id}/remote                          o       -       -      403 403
POST /things/{thing_id}/tags                            o       -       -      403 403
POST /things/{thing_id}/tags/{tag_id}/remove            o       -       -      403 403
GET  /commands/{command_id}                             aowu    -       -      403 403
POST /commands/{command_id}/cancel                      o       -       -      403 403
POST /all-stop                                          o       -       -      403 403
GET  /edge/orders                                       d       d       d      403 403
POST /edge/report                                       d       d       d      403 403
GET  /edges                                             aowdu   aowdu   aowdu  403 403
GET  /edges/{edge_id}                                   aowu    -       -      403 403
GET  /edges/{edge_id}/rules                             aowu    -       -      403 403
POST /edges/{edge_id}/rules                             o       -       -      403 403
POST /edges/{edge_id}/rules/{rule}/roll-back            o       -       -      403 403
DELETE /edges/{edge_id}/rules/{rule}                    o       -       -      403 403
POST /ensembles/gather                                  aowdu   aowdu   aowdu  403 403
GET  /ensembles                                         aowdu   aowdu   aowdu  403 403
POST /ensembles                                         ao      ao      ao     403 403
GET  /ensembles/{ensemble_id}                           aowdu   -       -      403 404aowdu
DELETE /ensembles/{ensemble_id}                         ao      -       -      403 404ao
GET  /ensembles/{ensemble_id}/orders                    aowdu   -       -      403 404aowdu
GET  /ensembles/{ensemble_id}/stream                    aowu    -       -      403 404aowu
GET  /search/jsonpath                                   aowdu   aowdu   aowdu  403 403
GET  /search/sparql                                     aowdu   aowdu   aowdu  403 403
POST /search/sparql                                     aowdu   aowdu   aowdu  403 403
GET  /sites                                             aowu    aowu    aowu   403 403
POST /sites                                             o       o       o      403 403
GET  /sites/{site_id}                                   aowu    -       -      403 404aowu
PUT  /sites/{site_id}                                   o       -       -      403 404o
DELETE /sites/{site_id}                                 o       -       -      403 404o
GET  /sites/{site_id}/limits                            aowu    -       -      403 404aowu
GET  /sites/{site_id}/envelopes                         aowu    -       -      403 404aowu
POST /sites/{site_id}/envelopes                         o       -       -      403 404o
PUT  /sites/{site_id}/envelopes/{envelope_id}           o       -       -      403 404o
DELETE /sites/{site_id}/envelopes/{envelope_id}         o       -       -      403 404o
GET  /programmes                                        aowu    aowu    aowu   403 403
POST /programmes                                        o       o       o      403 403
GET  /programmes/{programme_id}                         aowu    -       -      403 404aowu
PUT  /programmes/{programme_id}                         o       -       -      403 404o
DELETE /programmes/{programme_id}                       o       -       -      403 404o
GET  /programmes/{programme_id}/events                  aowu    -       -      403 404aowu
POST /programmes/{programme_id}/events                  o       -       -      403 404o
GET  /programmes/{programme_id}/events/{programme_event_id} aowu -      -      403 404aowu
POST /programmes/{programme_id}/events/{programme_event_id}/cancel o -  -      403 404o
GET  /programmes/{programme_id}/events/{programme_event_id}/responses aowu - - 403 404aowu
GET  /programmes/{programme_id}/enrolments              aowu    -       -      403 404aowu
POST /programmes/{programme_id}/enrolments              w       -       -      403 404w
POST /programmes/{programme_id}/enrolments/{enrolment_id}/decision o -  -      403 404o
POST /programmes/{programme_id}/enrolments/{enrolment_id}/withdraw w -  -      403 404w
POST /programmes/{programme_id}/enrolments/{enrolment_id}/opt-out ow -  -      403 404ow
POST /programmes/{programme_id}/enrolments/{enrolment_id}/opt-in ow  -  -      403 404ow
GET  /programmes/{programme_id}/reports                 aowu    -       -      403 404aowu
POST /programmes/{programme_id}/reports                 ow      -       -      403 404ow
GET  /programmes/{programme_id}/reports/{programme_report_id} aowu -    -      403 404aowu
GET  /bids                                              aowu    aowu    aowu   403 403
POST /bids                                              ow      -       -      403 404ow
GET  /bids/{bid_id}                                     aowu    -       -      403 404aowu
POST /bids/{bid_id}/decision                            ow      -       -      403 404ow
POST /bids/{bid_id}/withdraw                            ow      -       -      403 404ow
GET  /bids/{bid_id}/settlement                          aowu    -       -      403 404aowu
GET  /products                                          aowcdu  aowcdu  aowcdu 403 403
POST /products                                          w       w       w      403 403
GET  /products/{product_id}                             aowcdu  aowcdu  aowcdu 403 403
GET  /products/{product_id}/sample                      aowcdu  aowcdu  aowcdu 403 403
GET  /products/{product_id}/readings                    ow      c       -      403 403
GET  /products/{product_id}/stream                      ow      c       -      403 403
WS   /products/{product_id}/socket                      ow      c       -      403 403
POST /products/{product_id}/query                       ow      c       -      403 403
GET  /grants                                            owu     ocu     aowcdu 403 403
POST /grants                                            c       c       c      403 403
GET  /grants/{grant_id}                                 owu     ocu     -      403 404g
POST /grants/{grant_id}/approve                         w       -       -      403 404g
POST /grants/{grant_id}/refuse                          w       -       -      403 404g
POST /grants/{grant_id}/revoke                          w       c       -      403 404g
POST /grants/{grant_id}/suspend                         ow      -       -      403 404g
POST /grants/{grant_id}/resume                          ow      -       -      403 404g
GET  /behaviours                                        aowu    aowu    aowu   403 403
POST /behaviours                                        ao      ao      ao     403 403
GET  /behaviours/{behaviour}/versions/{version}         aowu    -       -      403 404aowu
GET  /behaviours/{behaviour}/deployment                 aowu    -       -      403 404aowu
POST /behaviours/{behaviour}/deployment                 o       -       -      403 404o
POST /behaviours/{behaviour}/{verb}                     o       -       -      403 404o
GET  /alarms                                            aowdu   aowdu   aowdu  403 403
POST /alarms/acknowledge                                o       -       -      403 403
GET  /incidents                                         aowu    aowu    aowu   403 403
POST /incidents                                         o       o       o      403 403
POST /incidents/{incident_id}/note                      o       -       -      403 404o
POST /incidents/{incident_id}/close                     o       -       -      403 404o
GET  /quarantine                                        aowu    aowu    aowu   403 403
POST /quarantine/release                                o       -       -      403 403
POST /query                                             o       -       -      403 403
GET  /organisations                                     aowcdu  aowcdu  aowcdu 403 403
POST /organisations                                     a       -       -      403 403
GET  /principals                                        a       a       a      403 403
POST /principals                                        a       -       -      403 403
POST /principals/{principal_id}/deactivate              a       -       -      403 404a
POST /principals/{principal_id}/roles                   a       -       -      403 404a
POST /principals/{principal_id}/reactivate              a       -       -      403 404a
POST /principals/{principal_id}/sign-out                a       -       -      403 404a
POST /principals/{principal_id}/password                a       -       -      403 404a
POST /principals/{principal_id}/device-password         a       -       -      403 404a
POST /principals/{principal_id}/certificates            a       -       -      403 404a
POST /principals/{principal_id}/known-certificates      a       -       -      403 404a
POST /principals/{principal_id}/certificates/{certificate}/revoke a -   -      403 404a
POST /principals/{principal_id}/keys                    a       -       -      403 404a
POST /principals/{principal_id}/keys/{kid}/remove       a       -       -      403 404a
GET  /lives                                             aowu    aowu    aowu   403 403
GET  /things/{thing_id}/lifecycle                       aowu    -       -      403 403
POST /things/{thing_id}/lifecycle                       o       -       -      403 403
GET  /things/{thing_id}/meter-exchanges                 aowu    -       -      403 403
POST /things/{thing_id}/meter-exchanges                 o       -       -      403 403
GET  /things/{thing_id}/registers/{name}/used           aowu    -       -      403 403
GET  /things/{thing_id}/history                         aowu    -       -      403 403
POST /things/{thing_id}/history                         o       -       -      403 403
GET  /things/{thing_id}/commissioning                   aowu    -       -      403 403
POST /things/{thing_id}/commissioning                   o       -       -      403 403
GET  /things/{thing_id}/commissioning/{report_id}       aowu    -       -      403 403
GET  /things/{thing_id}/transactions                    aowu    -       -      403 403
GET  /things/{thing_id}/transactions/{transaction_id}/signed-values o - -       403 403
GET  /things/{thing_id}/attachments                     aowu    -       -      403 403
POST /things/{thing_id}/attachments                     aow     -       -      403 403
GET  /things/{thing_id}/attachments/{attachment_id}     aowu    -       -      403 403
POST /things/{thing_id}/attachments/{attachment_id}/remove aow  -       -      403 403
GET  /transfers                                         w       w       w      403 403
POST /things/{thing_id}/transfers                       w       -       -      403 403
POST /transfers/{transfer_id}/refuse                    w       w       -      403 404w
GET  /announcements                                     ao      ao      ao     403 403
POST /announcements                                     ao      ao      ao     403 403
POST /announcements/{announcement_id}/reject            ao      -       -      403 404ao
GET  /vouchers                                          ao      ao      ao     403 403
POST /vouchers                                          ao      ao      ao     403 403
POST /vouchers/{voucher_id}/revoke                      ao      -       -      403 404ao
GET  /decisions/{decision_id}                           au      -       -      403 403
GET  /receipts                                          aowcdu  aowcdu  -      403 404
GET  /receipts/{event_id}                               aowcdu  aowcdu  -      403 404
POST /node-keys/{key}/rotate                            a       -       -      403 403
POST /adapters/{adapter}/trace                         o       -       -      403 403
GET  /adapters/{adapter}/trace                          o       -       -      403 403
DELETE /adapters/{adapter}/trace                        o       -       -      403 403
GET  /status                                            aou     -       -      403 403
GET  /metrics                                           aou     -       -      403 403
"""

PUBLIC = (
    "GET /health", "GET /ready", "GET /ledger/checkpoint", "GET /ledger/key", "GET /ledger/handovers", "GET /authority",
    "POST /token", "POST /revoke", "GET /.well-known/oauth-authorization-server", "GET /jwks",
    "GET /.well-known/wot", "GET /.well-known/core",
    "POST /enrolment", "GET /enrolment", "GET /.well-known/est/cacerts", "POST /.well-known/est/simpleenroll",
    "POST /.well-known/est/simplereenroll",
    "GET /schema", "GET /schema/openapi.json", "GET /schema/{path}",
)  # fmt: skip
"""Endpoints that ask for nobody's name."""


def rows() -> list[Row]:
    """Return the table."""
    made = []
    for line in _TEXT.strip().splitlines():
        method, path, *may, inside, outside = line.split()
        let_in = {name: roles.replace(_NONE, "") for name, roles in zip(ORGANISATIONS, may, strict=True)}
        made.append(Row(method, path, let_in, inside, outside))
    return made
