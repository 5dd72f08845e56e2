"""Invokes a function with boto3 as any program would, and prints what came back as one JSON object.

    invoke.py ENDPOINT FUNCTION PAYLOAD [invocation type]

Credentials come from the environment. An error of the API is printed as its code, status and message.
"""

import base64
import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint, function, payload, *rest = sys.argv[1:]
invocation = rest[0] if rest else "RequestResponse"
client = boto3.client(
    "lambda", endpoint_url=endpoint, region_name="eu-west-1", config=Config(retries={"total_max_attempts": 1})
)
options = {"LogType": "Tail"} if invocation == "RequestResponse" else {}
try:
    answer = client.invoke(FunctionName=function, Payload=payload.encode(), InvocationType=invocation, **options)
except ClientError as error:
    print(
        json.dumps(
            {
                "code": error.response["Error"]["Code"],
                "status": error.response["ResponseMetadata"]["HTTPStatusCode"],
                "message": error.response["Error"]["Message"],
                "kind": type(error).__name__,
            }
        )
    )
    sys.exit(0)
body = answer["Payload"].read()
print(
    json.dumps(
        {
            "status": answer["StatusCode"],
            "function_error": answer.get("FunctionError"),
            "version": answer.get("ExecutedVersion"),
            "request_id": answer["ResponseMetadata"].get("RequestId"),
            "log": base64.b64decode(answer.get("LogResult", "")).decode(),
            "payload": json.loads(body) if body else None,
        }
    )
)
