"""Checks a signed request with the reference library. Standard input is {"secret", "headers", "body"}; answers `valid` or why not."""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

request = json.load(sys.stdin)
try:
    Webhook(request["secret"]).verify(request["body"], request["headers"])
    print("valid")
except WebhookVerificationError as error:
    print(error)
