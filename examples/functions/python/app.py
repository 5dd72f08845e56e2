"""A Lambda function in Python, as it would run in AWS: it writes the invoice of an order.

Started by AWS's own runtime client (`python3 -m awslambdaric app.handler`), it gets one event for each call and a context
that tells the request's id and how much time is left. What it prints is its log; what it raises is its failure.
"""

from decimal import ROUND_HALF_UP, Decimal

VAT = {"DE": Decimal("0.19"), "FR": Decimal("0.20"), "GB": Decimal("0.20")}
CENT = Decimal("0.01")

# Done once for each process, not once for each event: this is what a warm start saves.
WRITTEN = {}


class UnknownCountry(Exception):
    """An order that cannot be invoiced, however often it is tried."""


def invoice(order):
    country = order.get("country", "DE")
    if country not in VAT:
        raise UnknownCountry(f"no VAT rate for {country!r}")
    net = sum((Decimal(str(line["price"])) * line["quantity"] for line in order["lines"]), Decimal(0))
    tax = (net * VAT[country]).quantize(CENT, ROUND_HALF_UP)
    return {"invoice": f"I-{order['id']}", "net": str(net), "tax": str(tax), "gross": str(net + tax)}


def handler(event, context):
    """`event` is a CloudEvent in JSON. The same order is invoiced once, even if it is delivered twice."""
    order = event["data"]
    if order["id"] not in WRITTEN:
        WRITTEN[order["id"]] = invoice(order)
    written = WRITTEN[order["id"]]
    print(f"{written['invoice']}: {written['gross']} gross, {context.get_remaining_time_in_millis()} ms left")
    return written
