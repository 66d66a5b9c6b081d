"""The services of AWS as moto plays them, and Amazon's own library for the tests to make what they need there and to read it back.

aws.py ENDPOINT serve                  runs moto at this address
aws.py ENDPOINT prepare                prints {"queues": {...}, "writer": {...}, ...}: addresses of queues, and keys of users
aws.py ENDPOINT check                  lets moto check from now on who signs, and what they may do
aws.py ENDPOINT read-sqs QUEUE_URL     prints a JSON line for each message that comes, and takes it out of the queue
aws.py ENDPOINT read-kinesis STREAM    prints a JSON line for each record
"""
import functools
import itertools
import json
import sys
import time
import urllib.parse
import urllib.request

import boto3

REGION = "eu-west-1"
PAUSE_S = 0.05
endpoint, command, *arguments = sys.argv[1:]


def client(service):
    return boto3.client(service, endpoint_url=endpoint, region_name=REGION)


def serve():
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    quicken()
    at = urllib.parse.urlsplit(endpoint)
    # One request at a time: two that write to one stream at once would lose each other's records in moto.
    run_simple(at.hostname, at.port, DomainDispatcherApplication(create_backend_app), threaded=False)


def quicken():
    """Moto goes through all messages of a queue at each call, and parses its paths anew for each event of a bus."""
    import jsonpath_ng.ext
    from moto.sqs.models import Queue

    def first(queue):
        return list(itertools.islice((m for m in queue._messages if m.visible and not m.delayed), 20))

    def delete_message(queue, handle):
        at = next(n for n, message in enumerate(queue._messages) if message.had_receipt_handle(handle))
        queue.pending_messages.discard(queue._messages.pop(at))

    Queue.messages = property(first)
    Queue.delete_message = delete_message
    Queue.approximate_number_of_messages_delayed = Queue.approximate_number_of_messages_not_visible = 0
    jsonpath_ng.ext.parse = functools.cache(jsonpath_ng.ext.parse)


def check():
    headers = {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset-auth", b"0", headers, method="POST"))


def key_of(user, actions):
    iam = client("iam")
    iam.create_user(UserName=user)
    statement = [{"Effect": "Allow", "Action": action, "Resource": resource} for action, resource in actions]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statement})
    iam.put_user_policy(UserName=user, PolicyName="tests", PolicyDocument=policy)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    return {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}


def prepare():
    sqs, kinesis, events = client("sqs"), client("kinesis"), client("events")
    queues = {}
    for name, attributes in [("readings", {}), ("ordered.fifo", {"FifoQueue": "true"}), ("bus", {})]:
        queues[name] = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    kinesis.create_stream(StreamName="readings", ShardCount=2)
    events.create_event_bus(Name="plant")
    events.put_rule(Name="all", EventBusName="plant", EventPattern=json.dumps({"source": ["tributary"]}))
    arn = sqs.get_queue_attributes(QueueUrl=queues["bus"], AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_targets(Rule="all", EventBusName="plant", Targets=[{"Id": "queue", "Arn": arn}])
    writes = [("sqs:SendMessage", "*"), ("sqs:SendMessageBatch", "*"), ("kinesis:PutRecords", "*"), ("events:PutEvents", "*")]
    users = {"writer": key_of("writer", writes), "reader": key_of("reader", [("*", "*")]), "nobody": key_of("nobody", [("s3:GetObject", "*")])}
    print(json.dumps({"queues": queues, **users}))


def read_sqs(queue):
    sqs = client("sqs")
    while True:
        messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"], AttributeNames=["All"]).get("Messages")
        if not messages:
            time.sleep(PAUSE_S)
            continue
        for message in messages:
            attributes = {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()}
            print(json.dumps({"body": message["Body"], "attributes": attributes, "system": message.get("Attributes", {})}), flush=True)
        entries = [{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(messages)]
        sqs.delete_message_batch(QueueUrl=queue, Entries=entries)


def read_kinesis(stream):
    kinesis = client("kinesis")
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        kind = {"ShardIteratorType": "TRIM_HORIZON"}
        at = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard["ShardId"], **kind)["ShardIterator"]
        while at:
            answer = kinesis.get_records(ShardIterator=at, Limit=10_000)
            for record in answer["Records"]:
                print(json.dumps({"body": record["Data"].decode(), "key": record["PartitionKey"]}))
            at = answer["NextShardIterator"] if answer["Records"] else None


COMMANDS = {"serve": serve, "check": check, "prepare": prepare, "read-sqs": read_sqs, "read-kinesis": read_kinesis}
COMMANDS[command](*arguments)
