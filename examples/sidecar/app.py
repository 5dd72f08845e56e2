#!/usr/bin/env python3
"""An application with Eventail beside it, written with nothing but Python's standard library.

It takes orders (POST /orders), publishes each as an event to the broker on loopback, and is called back by the broker
(POST /events/ship) to ship them. An order is confirmed to its customer only when the broker has it on disk.

At SIGTERM, which both processes may get at the same moment, it ends in order:
  1. it takes no more orders (503), and waits for those under way;
  2. it goes on shipping while the broker finishes what it has under way;
  3. when the broker calls no more and nothing is under way, it ends with exit code 0.
"""

import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EVENTAIL = os.environ.get("EVENTAIL_URL", "http://127.0.0.1:4080")
PORT = int(os.environ.get("APP_PORT", "9000"))
GRACE_SECONDS = float(os.environ.get("APP_GRACE_SECONDS", "30"))


def log(message):
    print(f"app: {message}", flush=True)


def publish(topic, event_type, subject, key, data):
    """Publishes one CloudEvent (binary mode) and returns its offset. It is on disk when this returns."""
    request = urllib.request.Request(
        f"{EVENTAIL}/v1/topics/{topic}/events",
        data=json.dumps(data).encode(),
        method="POST",
        headers={
            "content-type": "application/json",
            "ce-specversion": "1.0",
            "ce-id": f"{event_type}-{subject}",  # the same order is never taken twice
            "ce-source": "/sidecar/app",
            "ce-type": event_type,
            "ce-subject": subject,
            "ce-partitionkey": key,
        },
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)["results"][0]["offset"]


class Shop:
    """What the application knows. The broker delivers at least once, so it remembers what it has done."""

    def __init__(self):
        self.lock = threading.Lock()
        self.shipped = {}  # webhook-id -> order
        self.orders_under_way = 0
        self.shipments_under_way = 0
        self.closing = False

    def begin_order(self):
        with self.lock:
            if self.closing:
                return False
            self.orders_under_way += 1
            return True

    def end_order(self):
        with self.lock:
            self.orders_under_way -= 1

    def ship(self, delivery_id, order):
        with self.lock:
            self.shipments_under_way += 1
        time.sleep(order.get("work_seconds", 0))
        with self.lock:
            self.shipments_under_way -= 1
            first = delivery_id not in self.shipped
            self.shipped[delivery_id] = order
            if first:
                log(f"shipped {order['id']} for {order['customer']}")


SHOP = Shop()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass  # the application's own lines are enough

    def answer(self, status, body=None):
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path == "/shipped":
            with SHOP.lock:
                self.answer(200, list(SHOP.shipped.values()))
        else:
            self.answer(404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            data = json.loads(body)
        except ValueError:
            self.answer(400, {"error": "the body is not JSON"})
            return
        if self.path == "/orders":
            self.take_order(data)
        elif self.path == "/events/ship":
            SHOP.ship(self.headers["webhook-id"], data)
            self.answer(200)
        else:
            self.answer(404)

    def take_order(self, order):
        if not SHOP.begin_order():
            self.answer(503, {"error": "closing"})
            return
        try:
            order.setdefault("id", str(uuid.uuid4()))
            offset = publish("orders", "order.created", order["id"], order["customer"], order)
            self.answer(202, {"id": order["id"], "offset": offset})
        except (urllib.error.URLError, OSError) as error:
            self.answer(503, {"error": f"not taken, try again: {error}"})
        except KeyError as error:
            self.answer(400, {"error": f"an order needs {error}"})
        finally:
            SHOP.end_order()


def broker_lives():
    try:
        with urllib.request.urlopen(f"{EVENTAIL}/healthz", timeout=1):
            return True
    except urllib.error.HTTPError:
        return True  # it answers, so it is there
    except (urllib.error.URLError, OSError):
        return False


def close_in_order(server):
    with SHOP.lock:
        SHOP.closing = True
    log("closing: no more orders")
    deadline = time.monotonic() + GRACE_SECONDS
    while SHOP.orders_under_way and time.monotonic() < deadline:
        time.sleep(0.02)
    log("waiting for the broker to finish")
    while (broker_lives() or SHOP.shipments_under_way) and time.monotonic() < deadline:
        time.sleep(0.05)
    log("the broker calls no more and nothing is under way")
    server.shutdown()


def main():
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
    server.daemon_threads = False  # what has begun is finished
    closing = threading.Event()

    def on_signal(*_):
        if not closing.is_set():
            closing.set()
            threading.Thread(target=close_in_order, args=(server,)).start()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    log(f"ready on 127.0.0.1:{server.server_address[1]}")
    server.serve_forever(poll_interval=0.05)
    server.server_close()
    log(f"done, {len(SHOP.shipped)} shipped")


if __name__ == "__main__":
    sys.exit(main())
