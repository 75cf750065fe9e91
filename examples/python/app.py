"""A small app in Python with OpenFeature's own SDK and providers.

It prints what the flag welcome-banner serves, again whenever flags change:

    pip install -r requirements.txt
    PLIMSOLL_SERVER=127.0.0.1:8013 PLIMSOLL_MODE=in-process python app.py

PLIMSOLL_MODE is rpc, in-process or ofrep. With --json it answers lines of
standard input instead, as examples/interop describes.
"""

import json
import os
import sys
import threading

from openfeature import api
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEvent

server = os.environ.get("PLIMSOLL_SERVER", "127.0.0.1:8013")
mode = os.environ.get("PLIMSOLL_MODE", "rpc")


def new_provider():
    if mode == "ofrep":
        return OFREPProvider(f"http://{server}")
    host, port = server.split(":")
    return FlagdProvider(host=host, port=int(port), tls=False, resolver_type=ResolverType(mode), deadline_ms=5000)


changed = threading.Event()
api.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, lambda details: changed.set())
api.set_provider_and_wait(new_provider())
client = api.get_client()

evaluate = {
    "bool": client.get_boolean_details,
    "string": client.get_string_details,
    "int": client.get_integer_details,
    "float": client.get_float_details,
    "object": client.get_object_details,
}


def answer(line):
    if "wait" in line:
        if mode == "ofrep":  # a provider without events
            return {"event": "none"}
        changed.wait()
        changed.clear()
        return {"event": "change"}
    attributes = dict(line.get("context") or {})
    context = EvaluationContext(attributes.pop("targetingKey", None), attributes)
    found = evaluate[line["type"]](line["flag"], line["default"], context)
    return {
        "flag": found.flag_key,
        "value": found.value,
        "variant": found.variant,
        "reason": found.reason,
        "errorCode": found.error_code,
    }


if "--json" in sys.argv:
    for text in sys.stdin:
        print(json.dumps(answer(json.loads(text))), flush=True)
else:
    while True:
        print(client.get_string_value("welcome-banner", "none", EvaluationContext("visitor-1")), flush=True)
        changed.wait(1 if mode == "ofrep" else None)
        changed.clear()
api.shutdown()
