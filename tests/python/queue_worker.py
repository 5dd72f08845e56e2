"""A function as it is written for SQS, with AWS's own batch processor and nothing of Eventail: orders whose data say
`"fail": true` raise, and the processor names them in its answer."""

import json

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

processor = BatchProcessor(event_type=EventType.SQS)


def record_handler(record: SQSRecord):
    order = json.loads(record.body)
    print(f"order {order['id']}, receive count {record.attributes.approximate_receive_count}")
    if order.get("fail"):
        raise ValueError("this order cannot be taken")


def handler(event, context):
    return process_partial_response(
        event=event, record_handler=record_handler, processor=processor, context=context
    )
