"""Run procedures of CACTUS against a node, each as its command line does; print what came of each as a line of JSON.

python judge.py JOB PROCEDURE…        JOB: a JSON file, written by test_cactus.py
"""

import asyncio
import json
import sys
from importlib.metadata import version
from pathlib import Path

from cactus_client.admin import get_plugin_manager
from cactus_client.execution.build import build_execution_context
from cactus_client.execution.execute import execute_for_context, setup_and_teardown
from cactus_client.model.config import ClientConfig, GlobalConfig, RunConfig, ServerConfig
from cactus_client.results.common import ResultsEvaluation
from cactus_test_definitions.server.test_procedures import ClientType, get_test_procedure
from plugin import NodePlugin
from webhooks import Webhooks


def configuration(job, notifications):
    clients = [
        ClientConfig(
            id=name, type=ClientType(one["type"]), certificate_file=one["certificate"], key_file=one["key"],
            lfdi=one["lfdi"], sfdi=one["sfdi"], pen=one["pen"], pin=111115, max_watts=5000,
        )
        for name, one in job["clients"].items()
    ]  # fmt: skip
    server = ServerConfig(
        device_capability_uri=job["dcap"], verify_ssl=True, serca_pem_file=job["ca"], pen=job["pen"],
        notification_uri=notifications,
    )  # fmt: skip
    return GlobalConfig(output_dir=Path(job["output"]), server=server, clients=clients)


def chosen(job, procedure):
    """Return which clients a procedure is run with: the first of each type, none twice."""
    found = []
    for wanted in procedure.preconditions.required_clients:
        kinds = {wanted.client_type} if wanted.client_type else set(ClientType)
        free = (name for name, one in job["clients"].items() if ClientType(one["type"]) in kinds and name not in found)
        found.append(next(free))
    return found


async def judged(job, name, notifications, timeout_s):
    procedure = get_test_procedure(name)
    config = RunConfig(
        test_procedure_id=name, client_ids=chosen(job, procedure), csip_aus_version="v1.2", headless=True, strict=True
    )  # fmt: skip
    async with build_execution_context(configuration(job, notifications), config) as context:
        failure = ""
        try:
            async with asyncio.timeout(timeout_s), setup_and_teardown(context) as ready:
                assert ready.completed, ready.description
                result = await execute_for_context(context)
        except TimeoutError:
            failure = f"not over after {timeout_s} s"
        if failure:
            last = context.progress.current_step_execution
            why = [failure, f"at {last.source.id if last else '-'}"]
            return {"procedure": name, "passed": False, "why": why, "warnings": []}
        evaluation = ResultsEvaluation(context, result)
        why = [_reason(one) for one in context.progress.all_results if not one.is_passed()]
        why += [str(one.xsd_errors) for one in context.responses.responses if one.xsd_errors]
        warnings = [f"{one.source_id()}: {one.message}" for one in context.warnings.warnings]
        return {
            "procedure": name, "passed": evaluation.has_passed(), "why": why[:20], "warnings": warnings[:20],
            "steps": f"{evaluation.total_steps_passed}/{evaluation.total_steps}",
        }  # fmt: skip


def _reason(result):
    failed = result.failure_result.description if result.failure_result is not None else ""
    return f"{result.step.id}: {failed or repr(result.exc)}"


async def main():
    job = json.loads(Path(sys.argv[1]).read_text())
    get_plugin_manager().register(NodePlugin(job))
    webhooks = Webhooks()
    await webhooks.start()
    said = {"judge": "cactus-client", "version": version("cactus-client")}
    said["definitions"] = version("cactus-test-definitions")
    print(json.dumps(said), flush=True)
    try:
        for name in sys.argv[2:]:
            print(json.dumps(await judged(job, name, webhooks.url, job["timeout_s"])), flush=True)
    finally:
        await webhooks.stop()


if __name__ == "__main__":
    asyncio.run(main())
