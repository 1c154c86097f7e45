"""How the owner's consent to what a server asks for becomes an enrolment."""

from types import SimpleNamespace

from gridspine.energy.upstream.consent import Consent, enrolled
from gridspine.energy.upstream.record import KnownProgramme
from gridspine.kernel.errors import NotFound


async def test_another_consent_is_asked_for_though_the_enrolment_before_was_let_go():
    asked = []

    def get(*given):
        raise NotFound("there is no such enrolment")

    async def ask(enrolment):
        asked.append(enrolment)
        return SimpleNamespace(id="urn:second")

    port = SimpleNamespace(enrolments=SimpleNamespace(get=get, ask=ask))
    consent = Consent(site="urn:site", modes=("targetW",))
    before = KnownProgramme("urn:programme", "urn:first", "another")
    after = await enrolled(port, before, consent, 1)
    assert after == KnownProgramme("urn:programme", "urn:second", consent.words)
    assert [(one.programme, one.subject, one.from_us) for one in asked] == [("urn:programme", "urn:site", 1)]
    assert await enrolled(port, after, consent, 2) == after
    assert len(asked) == 1
