"""What the node and the process of its emulators say to each other, in frames; each request has one answer."""

import msgspec

MAX_FRAME_BYTES = 256 << 20


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """Emulate ``count`` devices of ``model`` as ``cohort`` from ``start_us`` [µs since 1970] on; 0 forgets it.

    They go on from what they were when they were ``kept``, as if no time had passed.
    """

    cohort: str
    model: str
    count: int
    seed: int
    start_us: int
    kept: bytes = b""


class Begun(msgspec.Struct, frozen=True, tag="begun"):
    """The points each device reports and the settings it takes; or why there is no such emulator.

    ``lost`` says why what was kept could not be used.
    """

    points: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    problem: str = ""
    lost: str = ""


class Instruct(msgspec.Struct, frozen=True, tag="instruct"):
    """Device ``place`` is to hold ``value`` on ``point`` until ``until_us`` [µs since 1970]; None ends it."""

    cohort: str
    place: int
    point: str
    value: float | None
    until_us: int


class Instructed(msgspec.Struct, frozen=True, tag="instructed"):
    """Whether the emulator has such a setting."""

    taken: bool


class Step(msgspec.Struct, frozen=True, tag="step"):
    """Move ``cohort`` on by ``step_s`` [s]."""

    cohort: str
    step_s: float


class Stepped(msgspec.Struct, frozen=True, tag="stepped"):
    """What every point reads now, device by device: little-endian float64."""

    values: bytes


class Keep(msgspec.Struct, frozen=True, tag="keep"):
    """Say what ``cohort`` has become."""

    cohort: str


class Kept(msgspec.Struct, frozen=True, tag="kept"):
    """What a cohort has become, to be given back when it goes on."""

    state: bytes


Request = Begin | Instruct | Step | Keep
Reply = Begun | Instructed | Stepped | Kept
