"""Small functions on AWS's runtime client, for what differs between runtimes: how errors look and how memory runs out."""


def echo(event, context):
    return {"event": event, "request_id": context.aws_request_id, "memory": context.memory_limit_in_mb}


def fail(event, context):
    raise KeyError("total")


def allocate(event, context):
    hoard = [bytearray(1 << 20) for _ in range(event.get("data", event)["mb"])]
    return len(hoard)
