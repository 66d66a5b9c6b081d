"""The clients that the makers of each service give to its users, sending messages as fast as the service confirms them.

own_clients.py JOB    JOB is JSON: {"kind", "count", "body", …}; prints {"client", "in_flight", "seconds", "cpu_seconds"}

What a kind needs besides stands at its function. Each is set as its documentation says for throughput where confirmations
matter, and has at least as many messages under way as tributary has. What tributary sends with an event, they send too.
"""
import concurrent.futures
import importlib.metadata
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import uuid

ABOUT = {"device_id": "api", "event": "reading-0123456789ab", "published_at": "2026-11-26T12:00:00.000Z", "product_id": "1"}
# Requests at once of the clients that block for each, as tributary has.
REQUESTS = 8
# Messages without a confirmation, where the documentation leaves it to its readers.
WINDOW = 256


def version(package):
    return f"{package} {importlib.metadata.version(package)}"


def run(command, text=None, **environment):
    done = subprocess.run(command, input=text, text=True, capture_output=True, env={**os.environ, **environment}, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} ended with status {done.returncode}: {done.stderr[-500:]}")
    return done


def mqtt(count, body, port, username, password, program):
    """Eclipse's own, on libmosquitto: a message for each line of its input."""
    assert count < 1 << 16, "it ends at the first confirmation of its last message's number, which by then comes twice"
    said = subprocess.run([program, "--help"], text=True, capture_output=True, check=False).stdout
    name = f"mosquitto_pub {said.split('mosquitto_pub version ')[1].split()[0]}"
    where = ["-h", "127.0.0.1", "-p", str(port), "-u", username, "-P", password, "-t", "readings/api"]
    yield name, f"{WINDOW} (`-M`), 1 connection"
    run([program, *where, "-q", "1", "-M", str(WINDOW), "-l"], f"{body}\n" * count)


def nats(count, body, url, username, password):
    import asyncio

    from nats.aio.client import Client

    most = 4_000
    yield version("nats-py"), f"{most:,} (its default of `publish_async`), 1 connection"

    async def main():
        client = Client()
        await client.connect(url, user=username, password=password)
        stream = client.jetstream(publish_async_max_pending=most)
        payload = body.encode()
        told = []
        for _ in range(count):
            told.append(await stream.publish_async("readings.api", payload, wait_stall=60, headers={"Nats-Msg-Id": str(uuid.uuid4())}))
        await asyncio.gather(*told)
        await client.close()

    asyncio.run(main())


def postgres(count, body, port, username, password, database, program, rows):
    """PostgreSQL's own, with so many rows in a transaction: of one, each is a statement; several go down a pipeline."""
    note = body.replace("'", "''")
    insert = f"INSERT INTO public.readings (event_id, device, note) VALUES (gen_random_uuid()::text, 'api', '{note}') ON CONFLICT DO NOTHING;\n"
    many = f"\\startpipeline\nBEGIN;\n{insert * rows}COMMIT;\n\\endpipeline\n"
    name = run([program, "--version"]).stdout.split(" (")
    yield f"{name[0]} {name[1].split(') ')[-1]}".strip(), f"{REQUESTS} connections, {rows} row{'s' * (rows > 1)} a transaction"
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(insert if rows == 1 else many)
        script.flush()
        where = ["-h", "127.0.0.1", "-p", str(port), "-U", username, database]
        how = ["-n", "-f", script.name, "-M", "prepared", "-c", str(REQUESTS), "-j", "2", "-t", str(count // rows // REQUESTS)]
        run([program, *how, *where], PGPASSWORD=password, PGSSLMODE="disable")


def amqp(count, body, url):
    import pika

    window, sent, waiting = WINDOW, 0, {}
    yield version("pika"), f"{window} (SelectConnection, confirms), 1 connection"
    properties = dict(delivery_mode=2, app_id="tributary", timestamp=int(time.time()), headers={name: ABOUT[name] for name in ABOUT})

    def more(channel):
        nonlocal sent
        while sent < count and len(waiting) < window:
            sent += 1
            waiting[sent] = True
            channel.basic_publish("", "readings", body.encode(), pika.BasicProperties(message_id=str(uuid.uuid4()), **properties), mandatory=True)
        if not waiting:
            connection.close()

    def confirmed(channel, frame):
        assert frame.method.NAME == "Basic.Ack", frame
        tag = frame.method.delivery_tag
        for one in list(itertools.takewhile(lambda one: one <= tag, waiting)) if frame.method.multiple else [tag]:
            del waiting[one]
        more(channel)

    def opened(channel):
        channel.confirm_delivery(lambda frame: confirmed(channel, frame))
        more(channel)

    connection = pika.SelectConnection(
        pika.URLParameters(url),
        on_open_callback=lambda made: made.channel(on_open_callback=opened),
        on_close_callback=lambda made, _why: made.ioloop.stop(),
    )
    connection.ioloop.start()
    assert sent == count and not waiting, f"{sent} sent, {len(waiting)} not confirmed"


def kafka(count, body, brokers):
    import confluent_kafka

    yield version("confluent-kafka"), "100,000 (its default), 1 connection a broker"
    stored = 0

    def told(error, _message):
        nonlocal stored
        assert error is None, error
        stored += 1

    producer = confluent_kafka.Producer({"bootstrap.servers": brokers, "acks": "all"})
    headers = {**ABOUT, "delivery_id": str(uuid.uuid4())}
    for n in range(count):
        producer.produce("readings", key=f"device-{n}", value=body, headers=headers, on_delivery=told)
        producer.poll(0)
    producer.flush(60)
    assert stored == count, f"{stored} stored"


def pubsub(count, body, grpc, topic):
    os.environ["PUBSUB_EMULATOR_HOST"] = f"127.0.0.1:{grpc}"
    from google.cloud import pubsub_v1

    yield version("google-cloud-pubsub"), "requests of up to 100 messages (its default), 1 connection (gRPC)"
    publisher = pubsub_v1.PublisherClient()
    for future in [publisher.publish(topic, body.encode(), **ABOUT) for _ in range(count)]:
        future.result(60)


def aws(service, most, send):
    """Amazon's own, with requests of as many entries as the service takes."""

    def measured(count, body, endpoint, region, key, secret, **more):
        import boto3
        from botocore.config import Config

        login = {"region_name": region, "aws_access_key_id": key, "aws_secret_access_key": secret}
        client = boto3.client(service, endpoint_url=endpoint, config=Config(max_pool_connections=REQUESTS), **login)
        yield version("boto3"), f"{REQUESTS} requests of {most} events"

        def one(first):
            refused = send(client, range(first, min(first + most, count)), body, **more)
            assert not refused, refused

        with concurrent.futures.ThreadPoolExecutor(REQUESTS) as pool:
            list(pool.map(one, range(0, count, most)))

    return measured


def sqs(client, numbers, body, queue):
    about = {name: {"DataType": "String", "StringValue": value} for name, value in ABOUT.items()}
    entries = [{"Id": str(n), "MessageBody": body, "MessageAttributes": about} for n in numbers]
    return client.send_message_batch(QueueUrl=queue, Entries=entries).get("Failed")


def kinesis(client, numbers, body, stream):
    return client.put_records(StreamName=stream, Records=[{"Data": body, "PartitionKey": "api"} for _ in numbers])["FailedRecordCount"]


def event_bridge(client, numbers, body, bus):
    entry = {"Source": "tributary", "DetailType": ABOUT["event"], "Detail": body, "EventBusName": bus}
    return client.put_events(Entries=[entry for _ in numbers])["FailedEntryCount"]


KINDS = {
    "Mqtt": mqtt, "Nats": nats, "Postgres": postgres, "Amqp": amqp, "Kafka": kafka, "GoogleCloudPubSub": pubsub,
    "AwsSqs": aws("sqs", 10, sqs), "AwsKinesis": aws("kinesis", 500, kinesis), "AwsEventBridge": aws("events", 10, event_bridge),
}


def cpu_seconds():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main():
    job = json.loads(sys.argv[1])
    # A client first says what it is; importing it is not measured, connecting is.
    measured = KINDS[job.pop("kind")](**job)
    client, in_flight = next(measured)
    started, used = time.monotonic(), cpu_seconds()
    assert next(measured, None) is None
    taken = {"seconds": time.monotonic() - started, "cpu_seconds": cpu_seconds() - used}
    print(json.dumps({"client": client, "in_flight": in_flight, **taken}))


main()
