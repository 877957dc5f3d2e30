"""How generated requests authenticate: by HTTP Basic at the endpoints for applications, and with a
fresh access token at those for administrators."""

import base64
import json
import os
import urllib.request

import schemathesis

BASE = os.environ["TOKENWARD_BASE"]
CLIENT = f"{os.environ['TOKENWARD_CLIENT']}:{os.environ['TOKENWARD_SECRET']}"
BASIC = "Basic " + base64.b64encode(CLIENT.encode()).decode()


@schemathesis.auth(refresh_interval=None).apply_to(path_regex="^/auth/")
class Basic:
    def get(self, case, context):
        return BASIC

    def set(self, case, data, context):
        case.headers["Authorization"] = data


@schemathesis.auth(refresh_interval=None).apply_to(path_regex="^/admin/")
class Bearer:
    def get(self, case, context):
        request = urllib.request.Request(
            BASE + "/auth/token",
            data=b"grant_type=client_credentials",
            headers={
                "Authorization": BASIC,
                "Content-Type": "application/x-www-form-urlencoded",
            },
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return "Bearer " + json.load(answer)["access_token"]

    def set(self, case, data, context):
        case.headers["Authorization"] = data
