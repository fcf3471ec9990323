"""The workflow and the activity that carry out the programs of scenarios.json, written with the reference's SDK."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RawValue, RetryPolicy, SearchAttributeKey, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, TemporalError

LABEL = SearchAttributeKey.for_keyword("Label")
CANCELLATION = {
    "try": workflow.ActivityCancellationType.TRY_CANCEL,
    "wait": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    "abandon": workflow.ActivityCancellationType.ABANDON,
}
CHILD_CANCELLATION = {
    "try": workflow.ChildWorkflowCancellationType.TRY_CANCEL,
    "wait": workflow.ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
    "abandon": workflow.ChildWorkflowCancellationType.ABANDON,
}
PARENT_CLOSE = {
    "terminate": workflow.ParentClosePolicy.TERMINATE,
    "request_cancel": workflow.ParentClosePolicy.REQUEST_CANCEL,
    "abandon": workflow.ParentClosePolicy.ABANDON,
}


class Gates:
    """Places where activities and steps wait until the client lets them go on, by name."""

    def __init__(self):
        self.open = defaultdict(asyncio.Event)
        self.reached = Counter()
        self.panics = Counter()
        self.passes = Counter()


GATES: dict[str, Gates] = defaultdict(Gates)


def unit(count) -> timedelta:
    """Times in scenarios are counted in units, of one second here."""
    return timedelta(seconds=count)


def retry(options: dict) -> RetryPolicy:
    return RetryPolicy(
        initial_interval=unit(options.get("backoff", 1)), maximum_attempts=options.get("max_attempts", 0)
    )


@activity.defn(name="act")
async def act(options: dict) -> None:
    info = activity.info()
    gates = GATES[info.workflow_id.split("/")[0]]
    how = options.get("activity") or options.get("step")
    if how == "fail":
        raise ApplicationError("as asked", type="Boom")
    if how == "fatal":
        raise ApplicationError("as asked", type="Boom", non_retryable=True)
    if how == "flaky" and info.attempt <= options["fails"]:
        raise ApplicationError("as asked", type="Boom")
    if how == "wait":
        gates.reached[options["gate"]] += 1
        await gates.open[options["gate"]].wait()
    if how == "hang":
        await asyncio.Event().wait()
    if how in ("until_canceled", "deaf"):
        gates.reached[options["gate"]] += 1
        try:
            while True:
                activity.heartbeat()
                await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            if how == "until_canceled":
                raise


@workflow.defn(name="Program")
class Program:
    def __init__(self) -> None:
        self.signals = Counter()
        self.cancel_requested = False
        self.started = {}

    @workflow.signal(dynamic=True)
    def any_signal(self, name: str, _args: Sequence[RawValue]) -> None:
        self.signals[name] += 1

    @workflow.query
    def state(self) -> str:
        return "running"

    @workflow.update(name="Act")
    async def act(self, how: str) -> None:
        if how == "fail":
            raise ApplicationError("as asked", type="Boom")
        if how == "timer":
            await asyncio.sleep(1)
        if how == "signal":
            await self.signal("proceed")
        if how == "activity":
            await (await self.begin({"activity": "ok"}))

    @act.validator
    def may_act(self, how: str) -> None:
        if how == "bad":
            raise ApplicationError("as asked", type="Bad")

    @workflow.run
    async def run(self, program: list) -> None:
        # A request to cancel is for the program to look at: it interrupts nothing by itself.
        task = asyncio.create_task(self.execute(program))
        while True:
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                if task.done():
                    raise
                self.cancel_requested = True

    async def signal(self, name: str) -> None:
        await workflow.wait_condition(lambda: self.signals[name] > 0)
        self.signals[name] -= 1

    def named(self, workflow_id: str) -> str:
        return workflow.info().workflow_id.split("/")[0] + "/" + workflow_id

    async def begin(self, what: dict):
        """Starts an activity, a step, a timer or a child."""
        if "activity" in what:
            times = {
                field + "_timeout": unit(what[field])
                for field in ("schedule_to_close", "schedule_to_start", "start_to_close", "heartbeat")
                if field in what
            }
            if "start_to_close" not in what and "schedule_to_close" not in what:
                times["start_to_close_timeout"] = unit(60)
            return workflow.start_activity(
                act,
                what,
                retry_policy=retry(what),
                task_queue=what.get("queue"),
                cancellation_type=CANCELLATION[what.get("cancellation", "wait")],
                **times,
            )
        if "step" in what:
            return workflow.start_local_activity(
                act, what, retry_policy=retry(what), start_to_close_timeout=unit(60)
            )
        if "timer" in what:
            timer = asyncio.create_task(asyncio.sleep(what["timer"]))
            # The task's own turn, in which the timer starts.
            await asyncio.sleep(0)
            return timer
        child = what["child"]
        return await workflow.start_child_workflow(
            Program.run,
            child["program"],
            id=self.named(child["id"]),
            parent_close_policy=PARENT_CLOSE[child.get("parent_close", "terminate")],
            cancellation_type=CHILD_CANCELLATION[child.get("cancellation", "wait")],
            run_timeout=unit(child["run_timeout"]) if "run_timeout" in child else None,
            retry_policy=retry(child) if "max_attempts" in child else None,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE
            if child.get("reuse") == "reject"
            else WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        )

    async def execute(self, program: list) -> None:
        for op in program:
            try:
                await self.operation(op)
            except (TemporalError, asyncio.CancelledError):
                if not op.get("catch"):
                    raise

    async def operation(self, op: dict) -> None:
        if "run" in op:
            handle = await self.begin(op["run"])
            await handle
        elif "start" in op:
            self.started[op["as"]] = await self.begin(op["start"])
        elif "await" in op:
            await self.started[op["await"]]
        elif "cancel" in op:
            self.started[op["cancel"]].cancel()
            await asyncio.sleep(0)
        elif "wait" in op and "within" in op:
            try:
                await workflow.wait_condition(lambda: self.signals[op["wait"]] > 0, timeout=unit(op["within"]))
                self.signals[op["wait"]] -= 1
            except asyncio.TimeoutError:
                pass
        elif "wait" in op:
            await self.signal(op["wait"])
        elif "until_cancelled" in op:
            await workflow.wait_condition(lambda: self.cancel_requested)
        elif "end_canceled" in op:
            raise asyncio.CancelledError()
        elif "fail" in op:
            if workflow.info().attempt <= op.get("attempts", 1_000):
                raise ApplicationError("as asked", type=op["fail"], non_retryable=op.get("non_retryable", False))
        elif "patched" in op:
            await self.execute(op.get("then", []) if workflow.patched(op["patched"]) else op.get("else", []))
        elif "deprecate_patch" in op:
            workflow.deprecate_patch(op["deprecate_patch"])
        elif "upsert" in op:
            workflow.upsert_search_attributes([LABEL.value_set(op["upsert"])])
        elif "memo" in op:
            workflow.upsert_memo({op["memo"]: True})
        elif "signal" in op and "child" in op:
            await self.started[op["child"]].signal(op["signal"])
        elif "signal" in op:
            await workflow.get_external_workflow_handle(self.named(op["workflow"])).signal(op["signal"])
        elif "request_cancel" in op:
            await workflow.get_external_workflow_handle(self.named(op["request_cancel"])).cancel()
        elif "continue_as_new" in op:
            workflow.continue_as_new(op["continue_as_new"])
        elif "second_time" in op:
            gates = GATES[workflow.info().workflow_id.split("/")[0]]
            gates.passes["all"] += 1
            if gates.passes["all"] == 2:
                await self.execute(op["second_time"])
        elif "panic" in op:
            gates = GATES[workflow.info().workflow_id.split("/")[0]]
            gates.panics["all"] += 1
            if gates.panics["all"] <= op["panic"]:
                raise RuntimeError("as asked")
        elif "handlers_finished" in op:
            await workflow.wait_condition(workflow.all_handlers_finished)
        else:
            raise RuntimeError(f"no such operation: {op}")
