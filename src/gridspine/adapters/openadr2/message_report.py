"""What the two sides of OpenADR 2.0b say of reports; see `gridspine.adapters.openadr2.message`. Pure; no I/O."""

from gridspine.adapters.openadr2.message import Available, Item, Response, Said, Target


class Sampling(Said, frozen=True, kw_only=True):
    """How often values can be had."""

    min_us: int
    max_us: int
    on_change: bool = False


class Description(Said, frozen=True, kw_only=True):
    """What ``rid`` of a report is."""

    rid: str
    subject: Target | None = None
    source: Target | None = None
    type: str
    item: Item | None = None
    reading_type: str
    market_context: str = ""
    sampling: Sampling | None = None


class ReportPayload(Said, frozen=True, kw_only=True):
    """A value of ``rid``: a number, or (``online``, ``override``) how a resource stands."""

    rid: str
    value: float | None = None
    online: bool | None = None
    override: bool | None = None
    quality: str = ""


class ReportInterval(Said, frozen=True, kw_only=True):
    """Values of a time."""

    start_us: int | None = None
    duration_us: int | None = None
    uid: str = ""
    payloads: tuple[ReportPayload, ...]


class Report(Said, frozen=True, kw_only=True):
    """What can be reported (``descriptions``), or what is (``intervals``)."""

    start_us: int | None = None
    duration_us: int | None = None
    intervals: tuple[ReportInterval, ...] = ()
    id: str = ""
    descriptions: tuple[Description, ...] = ()
    request_id: str
    specifier_id: str
    name: str = ""
    created_us: int


class Wanted(Said, frozen=True, kw_only=True):
    """A value that is asked for."""

    rid: str
    item: Item | None = None
    reading_type: str = "x-notApplicable"


class Specifier(Said, frozen=True, kw_only=True):
    """What of a report is asked for: every ``granularity_us``, sent every ``back_us``; 0 of both is once."""

    specifier_id: str
    granularity_us: int
    back_us: int
    interval: Available | None = None
    wanted: tuple[Wanted, ...]


class ReportRequest(Said, frozen=True, kw_only=True):
    """A report that is asked for."""

    request_id: str
    specifier: Specifier


class RegisterReport(Said, frozen=True, kw_only=True):
    """What one can report."""

    request_id: str
    reports: tuple[Report, ...] = ()
    ven_id: str = ""
    report_request_id: str = ""


class RegisteredReport(Said, frozen=True, kw_only=True):
    """What of it is asked for."""

    response: Response
    requests: tuple[ReportRequest, ...] = ()
    ven_id: str = ""


class CreateReport(Said, frozen=True, kw_only=True):
    """Reports are asked for."""

    request_id: str
    requests: tuple[ReportRequest, ...]
    ven_id: str = ""


class CreatedReport(Said, frozen=True, kw_only=True):
    """They will come; ``pending`` are all that do."""

    response: Response
    pending: tuple[str, ...] = ()
    ven_id: str = ""


class UpdateReport(Said, frozen=True, kw_only=True):
    """Reports."""

    request_id: str
    reports: tuple[Report, ...] = ()
    ven_id: str = ""


class CancelReport(Said, frozen=True, kw_only=True):
    """Reports are asked for no more."""

    request_id: str
    report_request_ids: tuple[str, ...]
    to_follow: bool = False
    ven_id: str = ""


class UpdatedReport(Said, frozen=True, kw_only=True):
    """They were taken."""

    response: Response
    cancel: CancelReport | None = None
    ven_id: str = ""


class CanceledReport(Said, frozen=True, kw_only=True):
    """They come no more."""

    response: Response
    pending: tuple[str, ...] = ()
    ven_id: str = ""
