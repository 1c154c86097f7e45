"""What is said with a charge point is shown when somebody looks, without what it proves itself or anybody by."""

from ocpp_bench import BOOT_16, PASSWORD, binding, make_node, raw, serving


async def test_messages_are_shown_and_no_password_nor_card() -> None:
    node = make_node(binding())
    node.traced.turn_on(60)
    async with serving(node), raw(node) as point:
        await point.call("BootNotification", BOOT_16)
        await point.call("Authorize", {"idTag": "04A2B3C4"})
    said = "\n".join(f"{line.direction} {line.peer} {line.text}" for line in node.traced.lines())
    assert '"BootNotification"' in said and "in /" in said and "out /" in said
    assert '"idTag":"(hidden)"' in said or '"idTag": "(hidden)"' in said
    assert "04A2B3C4" not in said
    assert PASSWORD not in said
