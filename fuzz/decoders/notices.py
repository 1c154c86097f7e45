"""What clients that are told of changes by MQTT name: topics, as they subscribe; and where others say their brokers are."""

from target import Target, target

from gridspine.adapters.openadr3.mqtt_place import read_mqtt_place
from gridspine.kernel.errors import Invalid
from gridspine.things.adapter_notices import read_notice_topic


@target
def notice_topics() -> Target:
    """A topic, or a filter: of one client alone, and word for word as it is written."""

    def run(data: bytes) -> str:
        text = data.decode("utf-8", "replace")
        found = read_notice_topic(text)
        if found is None:
            return "-"
        if str(found) != text or "#" in text or "+" in text.rpartition("/")[0]:
            raise AssertionError("a topic is of more clients than one")
        return found.verb if found.verb in {"+", "create", "update", "delete"} else "other"

    seeds = [
        b"openadr3/ven-1/programs/p1/events/create", b"openadr3/urn%3Auuid%3A1/vens/v/+", b"openadr3/+/programs/+",
        b"openadr3/a%2Fb/programs/#", b"$share/g/openadr3/a/programs/+", b"openadr3/a//create",
    ]  # fmt: skip
    words = [b"%2F", b"%2B", b"/+/", b"#", b"%"]
    return Target("notice-topics", "topics that clients subscribe to", run, (), seeds, words, shape=str)


@target
def mqtt_places() -> Target:
    """Where a broker is said to be: a host, a port that there is, and nothing else."""

    def run(data: bytes) -> str:
        found = read_mqtt_place(data.decode("utf-8", "replace"))
        if not found.host or not 0 < found.port < 65_536 or set(found.host) & set("/@?# "):
            raise AssertionError("that is no place")
        return f"{found.tls}"

    seeds = [b"mqtt://broker.example.org:1883", b"mqtts://[::1]/", b"MQTTS://127.0.0.1:8883", b"mqtt://u:p@host/x?y#z"]
    words = [b"mqtts://", b"[::", b"@", b":99999", b":0", b"%00", b"\\", b"\t"]
    return Target("mqtt-places", "addresses of MQTT brokers", run, (Invalid,), seeds, words)
