"""Drives python-socketio's AsyncClient, with the line protocol that README.md lists."""

import asyncio
import json
import os
import sys
from urllib.parse import urlencode

import socketio

sockets = {}
tasks = set()


def report(on, **fields):
    print(json.dumps({"on": on, **fields}), flush=True)


def open_socket(id, url, options):
    """Takes the JavaScript client's option names and gives them to python-socketio as its own."""
    client = socketio.AsyncClient(
        reconnection=options.get("reconnection", True),
        reconnection_delay=options.get("reconnectionDelay", 1000) / 1000,
        reconnection_delay_max=options.get("reconnectionDelayMax", 5000) / 1000,
        randomization_factor=options.get("randomizationFactor", 0.5),
    )

    async def on_connect():
        report("connect", id=id, transport=client.transport())

    async def on_connect_error(data):
        # A refusal by the server is an object with a message, a failed transport a text.
        message = data.get("message") if isinstance(data, dict) else str(data)
        report("connect_error", id=id, message=message)

    async def on_disconnect(reason):
        report("disconnect", id=id, reason=reason)

    async def on_event(name, *args):
        if delay := options.get("handlerDelay"):
            await asyncio.sleep(delay / 1000)
        report("event", id=id, name=name, args=json.dumps(args, separators=(",", ":")))

    client.on("connect", on_connect)
    client.on("connect_error", on_connect_error)
    client.on("disconnect", on_disconnect)
    client.on("*", on_event)

    query = options.get("query")
    connecting = client.connect(
        f"{url}?{urlencode(query)}" if query else url,
        headers=options.get("extraHeaders", {}),
        auth=options.get("auth"),
        transports=options.get("transports"),
        wait_timeout=options.get("timeout", 20000) / 1000,
    )

    async def connect():
        try:
            await connecting
        except socketio.exceptions.ConnectionError as error:
            # The handler above has told the cause; this is how a caller of connect() learns it.
            report("connect_failed", id=id, message=str(error))

    keep(connect())
    return client


async def disconnect(id):
    await sockets[id].disconnect()
    report("disconnected", id=id)


def keep(coroutine):
    task = asyncio.ensure_future(coroutine)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def run(command):
    name, id = command["do"], command["id"]
    if name == "connect":
        sockets[id] = open_socket(id, command["url"], command.get("options", {}))
    elif name == "emit":
        await sockets[id].emit(command["event"], tuple(command.get("args", [])))
    elif name == "disconnect":
        # Over polling this takes until the server answers the last poll; others must not wait.
        keep(disconnect(id))
    else:
        raise ValueError("no such command")


async def main():
    report("ready", client="python-socketio")
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        try:
            await run(command)
        except Exception as error:
            report("driver_error", id=command.get("id"), message=f"{command.get('do')}: {error!r}")

    # Sockets that still try to reconnect would keep the process, and none is asked to say goodbye.
    os._exit(0)


asyncio.run(main())
