"""The HTTP application: every route of the API and the portal, with the same doors before them.

::

    request ─► allowed hosts ─► authentication ─► route ─► authority ─► work
                  421   └► fast lane    401                 403, with the decision's id
"""

from collections.abc import Sequence

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from litestar.types import ASGIApp, ControllerRouterHandler

from gridspine import __version__
from gridspine.apps.api import (
    action,
    adapter,
    alarm,
    announcement,
    attachment,
    behaviour,
    bid,
    channel,
    command,
    commissioning,
    control,
    credential,
    decision,
    directory,
    directory_event,
    edge,
    emulated_order,
    enrolment,
    ensemble,
    envelope,
    event,
    form,
    grant,
    history,
    incident,
    interaction,
    introduction,
    keyring,
    ledger,
    lifecycle,
    mapping,
    meter_exchange,
    metrics,
    model,
    observe,
    principal,
    product,
    programme,
    programme_enrolment,
    programme_event,
    programme_report,
    query,
    readings,
    register,
    registration,
    search,
    site,
    sparql,
    standing,
    status,
    stream,
    template,
    thing,
    ticket,
    transaction,
    transfer,
    writing,
)
from gridspine.apps.api.authenticate import PUBLIC, authentication
from gridspine.apps.api.command_lane import CommandLane
from gridspine.apps.api.described import DescribedPlugin
from gridspine.apps.api.head import HeadAsGet
from gridspine.apps.api.hosts import AllowedHosts
from gridspine.apps.api.lane import ReadingsLane
from gridspine.apps.api.problems import HANDLERS
from gridspine.apps.api.safe import SafeHeaders
from gridspine.apps.api.taking import RegistrationLane
from gridspine.apps.api.token import token_routes
from gridspine.apps.api.traced import Traced
from gridspine.apps.node.node import Node
from gridspine.apps.policies.entities import ROLES

ROUTES: Sequence[ControllerRouterHandler] = (
    readings.send_readings,
    directory.list_things,
    directory.register_thing,
    registration.register_things,
    directory.read_thing,
    directory.read_report,
    directory.put_thing,
    directory.patch_thing,
    directory.remove_thing,
    directory_event.follow_directory,
    directory_event.follow_directory_kind,
    model.list_models,
    model.register_model,
    model.fill_model,
    template.list_templates,
    template.read_template,
    template.register_by_template,
    thing.read_properties,
    thing.read_property,
    mapping.read_mapping,
    interaction.read_value,
    interaction.write_value,
    interaction.read_values,
    writing.write_values,
    observe.observe_property,
    observe.next_value,
    observe.can_be_observed,
    observe.observe_values,
    observe.socket_values,
    event.follow_event,
    event.follow_events,
    event.next_event,
    event.can_be_heard,
    action.invoke_action,
    action.query_action,
    action.cancel_action,
    action.query_actions,
    ticket.issue_ticket,
    introduction.introduce,
    introduction.introduce_by_link,
    channel.read_channels,
    form.read_form,
    form.change_form,
    form.change_forms,
    emulated_order.read_emulated_orders,
    command.list_commands,
    command.list_awaiting,
    command.send_command,
    command.send_commands,
    command.read_command,
    command.approve_command,
    command.cancel_command,
    control.read_control,
    control.take_local,
    control.give_remote,
    control.hang_tag,
    control.take_tag_down,
    command.all_stop,
    edge.follow_orders,
    edge.report_edge,
    edge.list_edges,
    edge.read_edge,
    edge.list_rules,
    edge.publish_rule,
    edge.roll_back_rule,
    edge.remove_rule,
    search.search_jsonpath,
    sparql.search_sparql,
    sparql.post_sparql,
    ensemble.gather_things,
    ensemble.list_ensembles,
    ensemble.save_ensemble,
    ensemble.read_ensemble,
    ensemble.remove_ensemble,
    ensemble.follow_ensemble,
    ensemble.list_orders,
    site.list_sites,
    site.register_site,
    site.read_site,
    site.change_site,
    site.remove_site,
    site.read_limits,
    envelope.list_envelopes,
    envelope.set_envelope,
    envelope.change_envelope,
    envelope.lift_envelope,
    programme.list_programmes,
    programme.create_programme,
    programme.read_programme,
    programme.change_programme,
    programme.retire_programme,
    programme_event.list_programme_events,
    programme_event.publish_event,
    programme_event.read_programme_event,
    programme_event.cancel_event,
    programme_event.list_responses,
    programme_enrolment.list_enrolments,
    programme_enrolment.ask_enrolment,
    programme_enrolment.decide_enrolment,
    programme_enrolment.withdraw_enrolment,
    programme_enrolment.opt_out,
    programme_enrolment.opt_in,
    programme_report.list_programme_reports,
    programme_report.deliver_report,
    programme_report.read_programme_report,
    bid.list_bids,
    bid.offer_bid,
    bid.read_bid,
    bid.decide_bid,
    bid.withdraw_bid,
    bid.read_settlement,
    product.list_products,
    product.publish_product,
    product.read_product,
    product.sample_product,
    product.pull_readings,
    stream.stream_readings,
    stream.socket_readings,
    grant.list_grants,
    grant.ask_grant,
    grant.read_grant,
    grant.decide_grant,
    behaviour.list_behaviours,
    behaviour.publish_behaviour,
    behaviour.read_behaviour,
    behaviour.read_deployment,
    behaviour.deploy_behaviour,
    behaviour.change_deployment,
    alarm.list_alarms,
    alarm.acknowledge_alarm,
    incident.list_incidents,
    incident.open_incident,
    incident.work_on_incident,
    incident.list_quarantine,
    incident.release_source,
    query.query,
    query.query_product,
    principal.list_organisations,
    principal.admit_organisation,
    principal.list_principals,
    principal.add_principal,
    principal.deactivate_principal,
    standing.set_roles,
    standing.reactivate_principal,
    standing.sign_out_everywhere,
    standing.set_password,
    standing.new_device_password,
    credential.issue_certificate,
    credential.know_certificate,
    credential.revoke_certificate,
    credential.add_key,
    credential.remove_key,
    lifecycle.list_lives,
    lifecycle.read_lifecycle,
    lifecycle.take_step,
    meter_exchange.list_exchanges,
    meter_exchange.exchange_meter,
    register.read_used,
    history.read_history,
    history.note_history,
    commissioning.examine_thing,
    commissioning.list_reports,
    commissioning.read_report,
    transaction.list_transactions,
    transaction.get_signed_values,
    attachment.list_attachments,
    attachment.attach,
    attachment.read_attachment,
    attachment.remove_attachment,
    transfer.list_transfers,
    transfer.offer_transfer,
    transfer.answer_transfer,
    announcement.list_announcements,
    announcement.make_announcement,
    announcement.decide_announcement,
    enrolment.make_voucher,
    enrolment.list_vouchers,
    enrolment.revoke_voucher,
    enrolment.announce_device,
    enrolment.read_enrolment,
    enrolment.read_cacerts,
    enrolment.simple_enroll,
    enrolment.simple_reenroll,
    decision.read_decision,
    ledger.find_receipts,
    ledger.read_receipt,
    ledger.read_checkpoint,
    ledger.read_ledger_key,
    keyring.read_handovers,
    keyring.read_authority,
    keyring.rotate_key,
    adapter.trace_adapter,
    adapter.read_trace,
    adapter.end_trace,
    status.health,
    status.ready,
    status.status,
    metrics.metrics,
)


def create_app(node: Node, extra: Sequence[ControllerRouterHandler] = ()) -> AllowedHosts:
    """Return the ASGI application of ``node``; ``extra`` routes are the portal's."""
    safe = SafeHeaders(HeadAsGet(framework(node, extra)))
    return allowed_hosts(node, Traced(CommandLane(node, RegistrationLane(node, ReadingsLane(node, safe))), node.trace))


def allowed_hosts(node: Node, app: ASGIApp) -> AllowedHosts:
    """Return ``app`` behind the check of the host name."""
    return AllowedHosts(app, [*node.settings.http.allowed_hosts, *node.settings.tls.names])


class Framework(Litestar):
    """Litestar without its plugins for models that are not ours.

    It makes them whenever their libraries can be imported, and imports these: a quarter of the start, and 12 MB.
    """

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


def framework(node: Node, extra: Sequence[ControllerRouterHandler] = ()) -> Litestar:
    """Return the application of every route, without the fast lane."""
    return Framework(
        route_handlers=[*ROUTES, *token_routes(node.identity, scopes=ROLES), *extra],
        middleware=[authentication(node.identity)],
        dependencies={"node": Provide(lambda: node, sync_to_thread=False)},
        exception_handlers=HANDLERS,
        openapi_config=openapi_config(),
        request_max_body_size=node.settings.http.max_body_bytes,
        debug=False,
        logging_config=None,
        pdb_on_exception=False,
    )


def openapi_config() -> OpenAPIConfig:
    """Return how the API describes itself; at ``/schema/openapi.json``."""
    return OpenAPIConfig(
        title="gridspine",
        version=__version__,
        use_handler_docstrings=True,
        render_plugins=[DescribedPlugin()],
        openapi_router=Router("/schema", route_handlers=[], opt=PUBLIC),
    )
