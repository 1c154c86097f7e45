"""People: signing in, sessions, tickets, and the first administrator."""

import threading
from collections.abc import Callable

import pytest

from gridspine.infra.identity import user as user_module
from gridspine.infra.identity.first import LIFE_S
from gridspine.infra.identity.principal import Organisation
from gridspine.infra.identity.session import ABSOLUTE_S, IDLE_S, MAX_SESSIONS_EACH, PortalSession
from gridspine.infra.identity.throttle import Throttle
from gridspine.infra.identity.ticket import LIFE_S as TICKET_LIFE_S
from gridspine.infra.identity.ticket import MAX_TICKETS_EACH
from gridspine.infra.identity.user import Cost, UserPassword
from gridspine.infra.runtime.clock import VirtualClock
from gridspine.kernel.errors import Conflict, Invalid, Overloaded, Unauthenticated

PASSWORD = "correct horse battery"
Reason = Callable[..., str]


@pytest.fixture
def alice(world):
    world.identity.directory.add_organisation("acme", "Acme")
    return world.identity.users.add("acme", "Alice", PASSWORD, ("operator",))


def test_the_right_password_signs_in_and_others_do_not(world, alice, reason_of: Reason) -> None:
    users = world.identity.users
    assert users.sign_in("ALICE", PASSWORD, "192.0.2.1") == alice
    assert users.sign_in("alice", PASSWORD, "192.0.2.1") == alice
    for name, password in [
        ("alice", "wrong horse battery"),
        ("bob", PASSWORD),
        ("", ""),
        ("alice", "x" * 5000),
        ("bob", "nobody's password"),
    ]:
        assert reason_of(users.sign_in, name, password, f"192.0.2.{len(password) % 200}") == "wrong-password"
    world.identity.directory.deactivate(alice.id)
    assert reason_of(users.sign_in, "alice", PASSWORD, "192.0.2.1") == "wrong-password"


def test_passwords_are_normalised_and_kept_as_costly_hashes(world, alice) -> None:
    users = world.identity.users
    users.set_password(alice, "Pa\u0308ssword ﬁne")
    assert users.sign_in("alice", "P\u00e4ssword fine", "a") == alice
    record = world.registry.read(lambda tx: tx.get(UserPassword, alice.id))
    assert len(bytes.fromhex(record.salt)) == 16
    assert "fine" not in str(record)
    assert Cost() == Cost(n=32768, r=8, p=3)
    with pytest.raises(Unauthenticated):
        users.sign_in("alice", PASSWORD, "a")


def test_names_are_taken_once_and_short_passwords_refused(world, alice) -> None:
    users = world.identity.users
    with pytest.raises(Conflict, match="taken"):
        users.add("acme", "aLiCe", PASSWORD, ())
    assert len(world.identity.directory.principals()) == 1
    for name, password in [("bob", "short"), ("bob", "x" * 300), ("b ob", PASSWORD), ("", PASSWORD), ("b\n", PASSWORD)]:
        with pytest.raises(Invalid):
            users.add("acme", name, password, ())
    with pytest.raises(Conflict, match="does not sign in"):
        users.set_password(world.principal(), PASSWORD)


def test_sign_ins_never_take_more_threads_than_their_share(world, alice, monkeypatch: pytest.MonkeyPatch) -> None:
    users, scrypt, go = world.identity.users, user_module.hashlib.scrypt, threading.Event()
    begun = threading.Semaphore(0)

    def slow(*given, **more):
        begun.release()
        assert go.wait(20)
        return scrypt(*given, **more)

    monkeypatch.setattr(user_module.hashlib, "scrypt", slow)
    monkeypatch.setattr(users, "_waiting", threading.BoundedSemaphore(2))
    waiting = [threading.Thread(target=users.sign_in, args=("alice", PASSWORD, f"192.0.2.{at}")) for at in range(2)]
    for thread in waiting:
        thread.start()
        assert begun.acquire(timeout=60)
    with pytest.raises(Overloaded, match="at once"):
        users.sign_in("alice", PASSWORD, "192.0.2.9")
    go.set()
    for thread in waiting:
        thread.join(20)
    assert users.sign_in("alice", PASSWORD, "192.0.2.9") == alice


def test_guessing_is_slowed_by_name_and_by_address(world, alice, reason_of: Reason) -> None:
    users = world.identity.users
    for number in range(5):
        assert reason_of(users.sign_in, "alice", "wrong horse battery", f"192.0.2.{number}") == "wrong-password"
    with pytest.raises(Overloaded) as caught:
        users.sign_in("alice", PASSWORD, "192.0.2.99")
    assert 1 <= caught.value.retry_after_s <= 30
    world.clock._move_to(world.clock.monotonic_us() + 31_000_000)
    assert users.sign_in("alice", PASSWORD, "192.0.2.99") == alice
    for number in range(20):
        assert reason_of(users.sign_in, f"user{number}", "wrong horse battery", "198.51.100.1") == "wrong-password"
    with pytest.raises(Overloaded):
        users.sign_in("bob", PASSWORD, "198.51.100.1")


def test_an_ipv6_network_counts_as_one(world, alice, reason_of: Reason) -> None:
    users = world.identity.users
    for number in range(20):
        assert (
            reason_of(users.sign_in, f"user{number}", "wrong horse battery", f"2001:db8::{number}") == "wrong-password"
        )
    with pytest.raises(Overloaded):
        users.sign_in("bob", PASSWORD, "2001:db8::ffff")
    cookie = world.identity.sign_in("alice", PASSWORD, "2001:db8:0:1::1")
    assert world.identity.by_cookie(cookie)[0].principal == alice.id


def test_taking_a_device_password_leaves_the_sign_in_name(world, alice) -> None:
    world.identity.devices.set_new(alice)
    world.identity.devices.clear(alice.id)
    assert world.identity.users.sign_in("alice", PASSWORD, "192.0.2.1") == alice


def test_signing_in_rightly_uses_nothing_up(world, alice) -> None:
    for _ in range(30):
        assert world.identity.users.sign_in("alice", PASSWORD, "192.0.2.1") == alice


def test_the_table_of_attempts_does_not_grow() -> None:
    throttle = Throttle(VirtualClock(), burst=1, refill_s=10, slots=4)
    refused = 0
    for number in range(50):
        try:
            throttle.attempt(str(number))
        except Overloaded:
            refused += 1
    assert refused == 46
    assert len(throttle._full_at) == 4


def test_only_so_many_hashes_at_once(world, alice, monkeypatch: pytest.MonkeyPatch) -> None:
    users, running, most, lock = world.identity.users, [], [], threading.Lock()
    real = user_module.hashlib.scrypt

    def watched(*args, **kwargs):
        with lock:
            running.append(1)
            most.append(len(running))
        result = real(*args, **kwargs)
        with lock:
            running.pop()
        return result

    monkeypatch.setattr(user_module.hashlib, "scrypt", watched)
    users._cost = Cost(n=1 << 12)
    threads = [threading.Thread(target=users.prepare, args=("x", PASSWORD)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 8
    assert max(most) <= user_module.CONCURRENT_HASHES


def test_a_session_ends_when_idle_and_when_old(world, alice, reason_of: Reason) -> None:
    identity = world.identity
    cookie = identity.sessions.open(alice, 0)
    caller, session = identity.by_cookie(cookie)
    assert (caller.principal, caller.how, caller.roles) == (alice.id, "cookie", {"operator"})
    assert cookie not in str(session)
    for _ in range(ABSOLUTE_S // (IDLE_S - 1)):
        world.clock.step_wall(IDLE_S - 1)
        assert identity.by_cookie(cookie)[0] == caller
    world.clock.step_wall(IDLE_S - 1)
    assert reason_of(identity.by_cookie, cookie) == "session-ended"
    idle = identity.sessions.open(alice, 0)
    caller = identity.by_cookie(idle)[0]
    assert identity.holds(caller)
    world.clock.step_wall(IDLE_S)
    assert not identity.holds(caller)
    assert reason_of(identity.by_cookie, idle) == "session-ended"
    assert reason_of(identity.by_cookie, "never seen") == "session-ended"


def test_a_session_survives_a_restart_with_its_last_sign_of_life(world, alice, reason_of: Reason) -> None:
    cookie = world.identity.sessions.open(alice, 0)
    csrf = world.identity.sessions.csrf_token(world.identity.sessions.find(cookie))
    world.clock.step_wall(IDLE_S - 10)
    session = world.identity.sessions.find(cookie)
    assert world.identity.sessions.is_due(session)
    world.identity.sessions.note(session, "acme")
    assert not world.identity.sessions.is_due(world.identity.sessions.find(cookie))
    world.clock.step_wall(IDLE_S - 10)
    identity = world.start()
    session = identity.by_cookie(cookie)[1]
    assert identity.sessions.csrf_fits(session, csrf)
    assert not identity.sessions.csrf_fits(session, csrf[::-1])
    identity.sessions.close(cookie)
    assert reason_of(identity.by_cookie, cookie) == "session-ended"
    identity.sessions.note(session, "acme")
    assert reason_of(world.start().by_cookie, cookie) == "session-ended", "noting cannot bring it back"


def test_sessions_are_bounded_and_swept(world, alice, reason_of: Reason) -> None:
    cookies = []
    for _ in range(MAX_SESSIONS_EACH + 1):
        world.clock.step_wall(1)
        cookies.append(world.identity.sessions.open(alice, 0))
    assert reason_of(world.identity.by_cookie, cookies[0]) == "session-ended"
    assert all(world.identity.by_cookie(cookie) for cookie in cookies[1:])
    assert len(world.registry.read(lambda tx: tx.list(PortalSession))) == MAX_SESSIONS_EACH
    world.clock.step_wall(IDLE_S)
    world.start()
    assert world.registry.read(lambda tx: tx.list(PortalSession)) == []


def test_signing_out_everywhere_ends_everything(world, alice, reason_of: Reason) -> None:
    identity = world.identity
    cookie = identity.sessions.open(alice, identity.directory.epoch(alice.id))
    caller = identity.by_cookie(cookie)[0]
    ticket = identity.tickets.issue(caller, "/events")
    identity.sign_out_everywhere(alice.id)
    assert reason_of(identity.by_cookie, cookie) == "session-ended"
    assert reason_of(identity.by_ticket, ticket, "/events") == "revoked"
    assert not identity.holds(caller)


def test_tickets_work_once_soon_and_for_one_path(world, alice, reason_of: Reason) -> None:
    identity = world.identity
    caller = identity.by_cookie(identity.sessions.open(alice, 0))[0].narrowed({"auditor"})
    assert caller.roles == frozenset(), "narrowing cannot add a role"
    ticket = identity.tickets.issue(caller, "/events")
    assert identity.by_ticket(ticket, "/events") == caller
    for wrong in (ticket, "x", identity.tickets.issue(caller, "/other")):
        assert reason_of(identity.by_ticket, wrong, "/events") == "bad-ticket"
    late = identity.tickets.issue(caller, "/events")
    world.clock._move_to(world.clock.monotonic_us() + TICKET_LIFE_S * 1_000_000)
    assert reason_of(identity.by_ticket, late, "/events") == "bad-ticket"
    for _ in range(MAX_TICKETS_EACH):
        identity.tickets.issue(caller, "/events")
    with pytest.raises(Overloaded):
        identity.tickets.issue(caller, "/events")


def test_the_first_code_makes_one_administrator(world, reason_of: Reason) -> None:
    first, acme = world.identity.first, Organisation("acme", "Acme")
    assert reason_of(first.redeem, "anything", acme, "root", PASSWORD) == "wrong-code"
    void = first.new_code()
    code = first.new_code()
    assert reason_of(first.redeem, void, acme, "root", PASSWORD) == "wrong-code"
    with pytest.raises(Invalid):
        first.redeem(code, acme, "root", "short")
    administrator = first.redeem(f" {code.upper()} ", acme, "root", PASSWORD)
    assert (administrator.roles, administrator.organisation) == (("administrator",), "acme")
    assert world.identity.users.sign_in("root", PASSWORD, "a") == administrator
    for identity in (world.identity, world.start()):
        with pytest.raises(Conflict, match="administrator already"):
            identity.first.redeem(code, acme, "root2", PASSWORD)
        with pytest.raises(Conflict, match="administrator already"):
            identity.first.new_code()
    assert len(world.identity.directory.principals()) == 1
    assert [known.id for known in world.identity.directory.organisations()] == ["acme"]


def test_the_first_code_runs_out(world, reason_of: Reason) -> None:
    code = world.identity.first.new_code()
    world.clock.step_wall(LIFE_S)
    assert reason_of(world.identity.first.redeem, code, Organisation("acme", "Acme"), "root", PASSWORD) == "wrong-code"


def test_a_race_for_the_first_code_has_one_winner(world) -> None:
    code, won, lost = world.identity.first.new_code(), [], []

    def run(name: str) -> None:
        try:
            won.append(world.identity.first.redeem(code, Organisation(name, name), name, PASSWORD))
        except (Conflict, Unauthenticated) as error:
            lost.append(error)

    threads = [threading.Thread(target=run, args=(f"user{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 3)
    assert len(world.identity.directory.organisations()) == 1


def test_device_passwords(world, reason_of: Reason) -> None:
    identity = world.identity
    device = world.principal("device", kind="device")
    assert reason_of(identity.by_password, device.id, "") == "wrong-password"
    password = identity.devices.set_new(device)
    assert len(password) == 22
    caller = identity.by_password(device.id, password)
    assert (caller.how, caller.session) == ("password", f"password:{device.id}/{world.clock.now_us()}")
    for name, wrong in [(device.id, password[:-1]), (device.id, ""), ("urn:x:other", password), (device.id, "\ud800")]:
        assert reason_of(identity.by_password, name, wrong) == "wrong-password"
    assert world.start().by_password(device.id, password) == caller
    identity = world.identity
    newer = identity.devices.set_new(device)
    assert reason_of(identity.by_password, device.id, password) == "wrong-password"
    again = identity.by_password(device.id, newer)
    assert (again.principal, again.session != caller.session) == (device.id, True)
    assert not identity.holds(caller), "what was opened with the old password ends"
    assert identity.holds(again)
    identity.directory.deactivate(device.id)
    assert reason_of(identity.by_password, device.id, newer) == "inactive"
    identity.directory.reactivate(device.id)
    identity.devices.clear(device.id)
    assert not identity.holds(caller)
    assert reason_of(world.start().by_password, device.id, newer) == "wrong-password"
