"""Google Cloud Pub/Sub in one process, made of the definition that Google's own library carries, and that library to read it back.

pubsub.py serve REST_PORT GRPC_PORT RULES   plays the service; RULES is JSON:
                                            {"accounts": {EMAIL: PUBLIC_KEY_PEM}} - if there are any, only their tokens count
                                            {"denied": [TOPIC]} - nobody may publish to these
pubsub.py create GRPC_PORT TOPIC...         makes topics, each with a subscription that keeps the order of keys
pubsub.py read GRPC_PORT TOPIC              prints a JSON line for each message that comes, and acknowledges it

REST and gRPC share what is kept: publishing is REST, as the `google.api.http` rules say, and all else is gRPC. Over gRPC anybody
may publish too: that is for measuring Google's own client. What a test wants to know of the requests is at GET /test/requests, what
it wants to have wrong with them is POSTed to /test/faults.
"""
import json
import os
import re
import secrets
import sys
import threading
import urllib.parse
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from google.auth import exceptions, jwt
from google.protobuf import json_format
from google.pubsub_v1.services.publisher.transports.rest_base import _BasePublisherRestTransport
from google.pubsub_v1.types import pubsub

SCOPES = {"https://www.googleapis.com/auth/pubsub", "https://www.googleapis.com/auth/cloud-platform"}
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_S = 3600
PULL_S = 1
# "Quotas and limits": of a publish request, and of each of its messages.
REQUEST_BYTES, REQUEST_MESSAGES = 10_000_000, 1_000
ATTRIBUTES, NAME_BYTES, VALUE_BYTES, KEY_BYTES = 100, 256, 1_024, 1_024


class Refused(Exception):
    """An error of the service: the HTTP status, the name of the gRPC code, and what it says."""

    def __init__(self, status, code, text):
        super().__init__(text)
        self.status, self.code, self.text = status, code, text


class Service:
    """What REST and gRPC share."""

    def __init__(self, rules):
        self.accounts, self.denied = rules.get("accounts", {}), set(rules.get("denied", []))
        self.topics, self.subscriptions, self.tokens = {}, {}, {}
        self.requests, self.faults, self.last_id = [], [], 0
        self.changed = threading.Condition()

    def publish(self, request, account):
        with self.changed:
            waiting = self.topics.get(request.topic)
            if request.topic in self.denied:
                raise Refused(403, "PERMISSION_DENIED", "User not authorized to perform this action.")
            if waiting is None:
                raise Refused(404, "NOT_FOUND", f"Resource not found (resource={request.topic.split('/')[-1]}).")
            check(request)
            ids = []
            for message in request.messages:
                self.last_id += 1
                message.message_id = str(self.last_id)
                ids.append(message.message_id)
                for queue in waiting:
                    queue.append(message)
            self.requests.append({"topic": request.topic, "messages": len(ids), "account": account})
            self.changed.notify_all()
            return ids

    def publish_by_grpc(self, request, _context):
        return pubsub.PublishResponse(message_ids=self.publish(request, None))

    def create_topic(self, topic, _context):
        with self.changed:
            self.topics.setdefault(topic.name, [])
        return topic

    def create_subscription(self, subscription, _context):
        with self.changed:
            queue = self.subscriptions.setdefault(subscription.name, [])
            self.topics[subscription.topic].append(queue)
        return subscription

    def pull(self, request, _context):
        with self.changed:
            queue = self.subscriptions[request.subscription]
            self.changed.wait_for(lambda: queue, PULL_S)
            taken = queue[: request.max_messages]
            del queue[: request.max_messages]
        received = [pubsub.ReceivedMessage(ack_id=message.message_id, message=message) for message in taken]
        return pubsub.PullResponse(received_messages=received)

    def acknowledge(self, _request, _context):
        return pubsub.AcknowledgeRequest.pb()()  # empty on the wire, as google.protobuf.Empty is

    def token(self, form, audience):
        """A token for a statement that one of the accounts has signed; or what is wrong with it."""
        statement = form.get("assertion", [""])[0]
        if form.get("grant_type") != [GRANT]:
            return 400, {"error": "unsupported_grant_type", "error_description": "Invalid grant_type"}
        try:
            account = jwt.decode(statement, verify=False).get("iss")
            if account not in self.accounts:
                return 400, {"error": "invalid_grant", "error_description": "Invalid grant: account not found"}
            claims = jwt.decode(statement, certs=self.accounts[account], audience=audience, clock_skew_in_seconds=10)
        except (exceptions.InvalidValue, exceptions.MalformedError) as error:
            text = "Invalid JWT Signature." if "signature" in str(error) else str(error)
            return 400, {"error": "invalid_grant", "error_description": text}
        if not SCOPES & set(claims.get("scope", "").split()) or claims["exp"] - claims["iat"] > TOKEN_S:
            return 400, {"error": "invalid_scope", "error_description": "Invalid scope, or a lifetime that is too long"}
        token = f"ya29.{secrets.token_urlsafe(32)}"
        self.tokens[token] = account
        return 200, {"access_token": token, "expires_in": TOKEN_S, "token_type": "Bearer"}

    def account_of(self, header):
        if not self.accounts:
            return None
        if not header:
            raise Refused(401, "UNAUTHENTICATED", "Request is missing required authentication credential.")
        account = self.tokens.get(header.removeprefix("Bearer "))
        if account is None:
            raise Refused(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        return account


def check(request):
    """What a request must keep to beyond its form."""

    def need(holds, text):
        if not holds:
            raise Refused(400, "INVALID_ARGUMENT", text)

    need(0 < len(request.messages) <= REQUEST_MESSAGES, "The value for message_count is out of range.")
    need(len({message.ordering_key for message in request.messages}) == 1, "All messages must have the same ordering key.")
    for message in request.messages:
        need(message.data or message.attributes, "A message must have data or at least one attribute.")
        need(len(message.attributes) <= ATTRIBUTES, "A message has too many attributes.")
        need(len(message.ordering_key.encode()) <= KEY_BYTES, "The ordering key is too long.")
        need(not message.message_id and not message.publish_time, "Only the server gives ids and times.")
        for name, value in message.attributes.items():
            need(name and not name.startswith("goog") and len(name.encode()) <= NAME_BYTES, "The name of an attribute is invalid.")
            need(len(value.encode()) <= VALUE_BYTES, "The value of an attribute is too long.")


def route(rule):
    """A rule's template as an expression with its fields as groups: {topic=projects/*/topics/*} is one."""
    text = re.escape(rule["uri"]).replace(r"\*", "[^/]+")
    return re.compile(re.sub(r"\\\{([a-z_]+)=(.*?)\\\}", r"(?P<\1>\2)", text))


[PUBLISH] = _BasePublisherRestTransport._BasePublish._get_http_options()
PUBLISH_PATH = route(PUBLISH)


class Rest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one piece
    service = None

    def do_GET(self):
        known = self.path == "/test/requests"
        self.answer(200 if known else 404, {"requests": self.service.requests, "tokens": len(self.service.tokens)} if known else {})

    def do_POST(self):
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        if self.path == "/token":
            form = urllib.parse.parse_qs(body.decode(), strict_parsing=True)
            return self.answer(*self.service.token(form, f"http://{self.headers['host']}/token"))
        if self.path == "/test/faults":
            self.service.faults.extend(json.loads(body))
            return self.answer(200, {})
        try:
            self.answer(200, self.publish(body))
        except Refused as refused:
            error = {"code": refused.status, "message": refused.text, "status": refused.code}
            self.answer(refused.status, {"error": error})

    def publish(self, body):
        path = PUBLISH_PATH.fullmatch(self.path)
        if PUBLISH["method"] != "post" or PUBLISH["body"] != "*" or not path:
            raise Refused(404, "NOT_FOUND", "The requested URL was not found on this server.")
        if self.service.faults:
            status, code, text = self.service.faults.pop(0)
            raise Refused(status, code, text)
        account = self.service.account_of(self.headers["authorization"])
        if len(body) > REQUEST_BYTES or self.headers.get_content_type() != "application/json":
            raise Refused(400, "INVALID_ARGUMENT", "The request is too large or is not JSON.")
        request = pubsub.PublishRequest.pb()()
        try:
            json_format.Parse(body.decode(), request)  # what the definition does not know is an error
        except (json_format.ParseError, UnicodeDecodeError) as error:
            raise Refused(400, "INVALID_ARGUMENT", f"Invalid JSON payload received. {error}") from error
        for field, value in path.groupdict().items():
            setattr(request, field, urllib.parse.unquote(value))
        request = pubsub.PublishRequest.wrap(request)
        ids = self.service.publish(request, account)
        return json.loads(json_format.MessageToJson(pubsub.PublishResponse.pb(pubsub.PublishResponse(message_ids=ids))))

    def answer(self, status, body):
        body = json.dumps(body, indent=2).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json; charset=UTF-8")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class RestServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def handlers(service, methods):
    """A service of the definition: of each method the type that it takes, and what it does."""

    def handler(takes, does):
        def serialize(answer):
            return answer.SerializeToString() if hasattr(answer, "SerializeToString") else type(answer).serialize(answer)

        return grpc.unary_unary_rpc_method_handler(does, takes.deserialize, serialize)

    return grpc.method_handlers_generic_handler(service, {name: handler(*method) for name, method in methods.items()})


def serve(rest_port, grpc_port, rules):
    service = Service(json.loads(rules))
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((
        handlers("google.pubsub.v1.Publisher", {
            "CreateTopic": (pubsub.Topic, service.create_topic),
            "Publish": (pubsub.PublishRequest, service.publish_by_grpc),
        }),
        handlers("google.pubsub.v1.Subscriber", {
            "CreateSubscription": (pubsub.Subscription, service.create_subscription),
            "Pull": (pubsub.PullRequest, service.pull),
            "Acknowledge": (pubsub.AcknowledgeRequest, service.acknowledge),
        }),
    ))
    server.add_insecure_port(f"127.0.0.1:{grpc_port}")
    server.start()
    Rest.service = service
    RestServer(("127.0.0.1", int(rest_port)), Rest).serve_forever()


def subscription_of(topic):
    return topic.replace("/topics/", "/subscriptions/") + "-reader"


def create(grpc_port, *topics):
    from google.cloud import pubsub_v1

    os.environ["PUBSUB_EMULATOR_HOST"] = f"127.0.0.1:{grpc_port}"
    publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
    for topic in topics:
        publisher.create_topic(name=topic)
        request = {"name": subscription_of(topic), "topic": topic, "enable_message_ordering": True}
        subscriber.create_subscription(request=request)


def read(grpc_port, topic):
    from google.cloud import pubsub_v1

    os.environ["PUBSUB_EMULATOR_HOST"] = f"127.0.0.1:{grpc_port}"
    subscriber, subscription = pubsub_v1.SubscriberClient(), subscription_of(topic)
    while True:
        pulled = subscriber.pull(subscription=subscription, max_messages=1_000)
        for received in pulled.received_messages:
            message = received.message
            shown = {"data": message.data.decode(), "attributes": dict(message.attributes)}
            print(json.dumps({**shown, "id": message.message_id, "key": message.ordering_key}), flush=True)
        if pulled.received_messages:
            acks = [received.ack_id for received in pulled.received_messages]
            subscriber.acknowledge(subscription=subscription, ack_ids=acks)


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    {"serve": serve, "create": create, "read": read}[command](*arguments)
