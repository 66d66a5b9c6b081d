"""Reads back what a broker of AMQP has got, with pika.

amqp.py URL read QUEUE    prints a JSON line for each message that comes, and takes it out of the queue
"""
import json
import sys

import pika

url, _command, queue = sys.argv[1:]
channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
channel.basic_qos(prefetch_count=1_000)


def shown(_channel, how, properties, body):
    names = ["content_type", "headers", "delivery_mode", "message_id", "timestamp", "app_id"]
    known = {name: getattr(properties, name) for name in names}
    print(json.dumps({"body": body.decode(), "exchange": how.exchange, "routing_key": how.routing_key, **known}), flush=True)
    channel.basic_ack(how.delivery_tag)


channel.basic_consume(queue, shown)
channel.start_consuming()
