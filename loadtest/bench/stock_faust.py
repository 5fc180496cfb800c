"""Stock Faust to compare with: the only place outside `agents` that imports it, for here it is what is measured."""

from typing import Any

import faust

from loadtest.bench.held import tell_assigned


def stock_app(app_id: str, bootstrap: str, **settings: Any) -> Any:
    """A Faust app on Faust's own transport, with the settings that experience with it recommends."""
    return faust.App(
        app_id,
        broker=f"kafka://{bootstrap}",
        store="memory://",
        consumer_auto_offset_reset="earliest",
        topic_disable_leader=True,
        topic_allow_declare=False,
        stream_wait_empty=False,
        web_enabled=False,
        worker_redirect_stdouts=False,
        broker_commit_interval=1.0,
        broker_session_timeout=10.0,
        broker_heartbeat_interval=3.0,
        **settings,
    )


def raw_topic(app: Any, name: str) -> Any:
    """A topic read as bytes: decoding is not the transport's part."""
    return app.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")


def say_when_assigned(app: Any) -> None:
    """Tell the measuring process that reading can begin."""

    async def assigned(_app: Any, assigned: Any, **_: Any) -> None:
        if assigned:
            tell_assigned()

    app.on_partitions_assigned.connect(assigned, weak=False)
