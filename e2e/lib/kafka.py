"""A cluster of Kafka as librdkafka's mock plays it (a test broker inside a client library: no disk, no TLS, no SASL), and
librdkafka's own clients for the tests to read what it has.

kafka.py serve COUNT           plays so many brokers: prints their addresses, then does what each line of its input says
                               (a JSON list: a name of COMMANDS and its arguments) and prints "done"
kafka.py read BROKERS TOPIC    prints a JSON line for each record of the topic, also of those that come
kafka.py place BROKERS TOPIC   stores a record for each key of its input (a JSON list) where producers of Java would, and
                               prints a JSON object with their partitions
"""
import ctypes
import glob
import json
import os
import sys

import confluent_kafka

PARTITIONS = 7


def mock(count):
    folder = os.path.join(os.path.dirname(os.path.dirname(confluent_kafka.__file__)), "confluent_kafka.libs")
    library = ctypes.CDLL(glob.glob(os.path.join(folder, "librdkafka-*.so*"))[0])
    for name in ["rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"]:
        getattr(library, name).restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    error = ctypes.create_string_buffer(512)
    settings = ctypes.c_void_p(library.rd_kafka_conf_new())
    # It would warn that it knows of no other cluster, and of what is not its protocol.
    library.rd_kafka_conf_set(settings, b"log_level", b"0", error, ctypes.c_size_t(512))
    client = library.rd_kafka_new(0, settings, error, ctypes.c_size_t(512))
    cluster = library.rd_kafka_mock_cluster_new(ctypes.c_void_p(client), count)
    return library, ctypes.c_void_p(cluster)


def serve(count):
    library, cluster = mock(int(count))

    def call(name, *arguments):
        typed = [a.encode() if isinstance(a, str) else ctypes.c_int(a) for a in arguments]
        wrong = getattr(library, f"rd_kafka_mock_{name}")(cluster, *typed)
        assert not wrong, f"{name}: {wrong}"

    def each(name):
        for broker in range(1, int(count) + 1):
            call(name, broker)

    def fail(topic, code):
        library.rd_kafka_mock_topic_set_error(cluster, topic.encode(), ctypes.c_int(code))

    def fail_next(request, *codes):
        errors = (ctypes.c_int * len(codes))(*codes)
        library.rd_kafka_mock_push_request_errors_array(cluster, ctypes.c_int16(request), ctypes.c_size_t(len(codes)), errors)

    commands = {
        "create": lambda topic: call("topic_create", topic, PARTITIONS, 1),
        "down": lambda: each("broker_set_down"),
        "up": lambda: each("broker_set_up"),
        "lead": lambda topic, broker: [call("partition_set_leader", topic, n, broker) for n in range(PARTITIONS)],
        "fail": fail,
        "fail_next": fail_next,
    }
    print(library.rd_kafka_mock_cluster_bootstraps(cluster).decode(), flush=True)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        commands[name](*arguments)
        print("done", flush=True)


def read(brokers, topic):
    settings = {"group.id": "reader", "enable.auto.commit": False, "check.crcs": True, "reconnect.backoff.max.ms": 500}
    consumer = confluent_kafka.Consumer({"bootstrap.servers": brokers, **settings})
    beginning = confluent_kafka.OFFSET_BEGINNING
    consumer.assign([confluent_kafka.TopicPartition(topic, n, beginning) for n in range(PARTITIONS)])
    while True:
        message = consumer.poll(1)
        if message is None or message.error():
            continue
        text = lambda value: None if value is None else value.decode()
        record = {"partition": message.partition(), "offset": message.offset(), "timestamp": message.timestamp()[1]}
        record["key"], record["value"] = text(message.key()), text(message.value())
        record["headers"] = {name: text(value) for name, value in message.headers() or []}
        print(json.dumps(record), flush=True)


def place(brokers, topic):
    placed = {}

    def stored(error, message):
        assert error is None, error
        placed[message.key().decode()] = message.partition()

    producer = confluent_kafka.Producer({"bootstrap.servers": brokers, "partitioner": "murmur2_random"})
    for key in json.load(sys.stdin):
        producer.produce(topic, key=key, value="", on_delivery=stored)
    producer.flush(20)
    print(json.dumps(placed))


COMMANDS = {"serve": serve, "read": read, "place": place}
COMMANDS[sys.argv[1]](*sys.argv[2:])
