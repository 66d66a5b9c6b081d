// What bench-kinds.mjs measures against: of each kind a peer, an integration that sends there, and what the peer's own client is told.
import path from 'node:path';
import { program } from './daemon.mjs';
import { IotHub, skip as noHub } from './iothub.mjs';
import { Kafka, skip as noKafka } from './kafka.mjs';
import { Mosquitto, USER as MQTT_USER, skip as noMosquitto } from './mosquitto.mjs';
import { Moto, skip as noMoto } from './moto.mjs';
import { Nats, USER as NATS_USER, skip as noNats } from './nats.mjs';
import { BIN as POSTGRES, DATABASE, Postgres, USER as POSTGRES_USER, skip as noPostgres } from './postgres.mjs';
import { PubSub, skip as noPubSub } from './pubsub.mjs';
import { RabbitMq, USER as RABBIT_USER, skip as noRabbit } from './rabbitmq.mjs';
import { Receiver } from './receiver.mjs';

const REGION = 'eu-west-1';
const DATA = '{{{PARTICLE_EVENT_VALUE}}}';
/** So many times the events where 10,000 would be done in a fifth of a second. */
export const MANY = 5;

/** A reading of about 100 bytes, the whole of a message where the kind leaves that to its users. */
export const reading = (n) => ({ n, at: '2026-11-26T12:00:00.000Z', temperature: 22.5, humidity: 48.25, note: 'x'.repeat(16) });
export const BODY = JSON.stringify(reading(1_000));

const aws = (config, more) => ({
  skip: noMoto,
  async start(t) {
    const moto = await Moto.start(t);
    const job = { endpoint: moto.url, region: REGION, key: moto.writer.access_key_id, secret: moto.writer.secret_access_key, ...more(moto) };
    return { env: moto.env, config: { region: REGION, ...moto.writer, ...config(moto) }, jobs: [job] };
  },
});

/** Services that are spoken to with single requests are played in this process; their client says again what tributary said. */
const http = (config, data = reading, endpoint = () => ({})) => ({
  async start(t) {
    const receiver = await Receiver.start(t);
    receiver.on(PLACE, { body: PLACED });
    const again = () => {
      const { path: at, method, headers, text } = receiver.requests[0];
      return { url: receiver.url(at), method, headers, body: text };
    };
    return { env: endpoint(receiver), config: config(receiver), data, again };
  },
});
const PLACE = '/geolocation/v1/geolocate';
const PLACED = '{"location":{"lat":51.5,"lng":-0.12},"accuracy":1200.4}';
const networks = (n) => ({ w: { a: [{ m: '00:11:22:33:44:55', s: -60 - (n % 20), c: 11 }, { m: '00:11:22:33:44:66', s: -71, c: 6 }] } });

/**
 * By kind: why it cannot be measured, how many times the events, and `start`, which gives the integration's configuration, the
 * server's settings, and what the clients are told (own_clients.py, or own_client.mjs for those that say `again` what arrived).
 */
export const KINDS = {
  Webhook: http((receiver) => ({ url: receiver.url('/webhook'), json: { id: '{{PARTICLE_EVENT_ID}}', device: '{{{PARTICLE_DEVICE_ID}}}', data: DATA }, noDefaults: true })),
  GoogleMaps: http(() => ({ api_key: 'a-key' }), networks, (receiver) => ({ TRIBUTARY_TARGETS__GOOGLE_MAPS__ENDPOINT: receiver.url('') })),
  AzureIotHub: {
    skip: noHub,
    async start(t) {
      const hub = await IotHub.start(t);
      const url = `${hub.url}/devices/api/messages/events?api-version=2020-03-13`;
      const again = () => {
        const [authorization] = hub.signatures;
        return { url, headers: { authorization, 'content-type': 'application/json' }, body: JSON.stringify(hub.messages[0].body) };
      };
      const config = { hub_name: 'my-hub', policy_name: 'iothubowner', policy_key: hub.policies.iothubowner.key };
      return { env: { TRIBUTARY_TARGETS__AZURE_IOT_HUB__ENDPOINT: hub.url }, config, again };
    },
  },
  GoogleCloudPubSub: {
    skip: noPubSub,
    async start(t) {
      const pubsub = await PubSub.start(t, ['readings'], { guarded: false });
      const topic = 'projects/p1/topics/readings';
      return { env: { TRIBUTARY_TARGETS__GOOGLE_PUBSUB__ENDPOINT: pubsub.direct.slice('http://'.length) }, config: { topic }, jobs: [{ grpc: pubsub.grpc, topic }] };
    },
  },
  Mqtt: {
    skip: noMosquitto,
    times: MANY,
    async start(t) {
      const { url, port } = await Mosquitto.start(t);
      return { config: { url, topic: 'readings/{{{PARTICLE_DEVICE_ID}}}', ...MQTT_USER }, jobs: [{ port, program: program('mosquitto_pub'), ...MQTT_USER }] };
    },
  },
  Nats: {
    skip: noNats,
    times: MANY,
    async start(t) {
      const nats = await Nats.start(t);
      await (await nats.client(t)).ask('STREAM.CREATE.READINGS', { name: 'READINGS', subjects: ['readings.>'], storage: 'file', retention: 'limits', discard: 'old', num_replicas: 1 });
      return { config: { url: nats.url, subject: 'readings.{{{PARTICLE_DEVICE_ID}}}', jetstream: true, ...NATS_USER }, jobs: [{ url: nats.url, ...NATS_USER }] };
    },
  },
  Postgres: {
    skip: noPostgres,
    times: MANY,
    async start(t) {
      const { url, port } = await Postgres.start(t, { fsync: 'on' });
      const columns = { event_id: '{{PARTICLE_EVENT_ID}}', device: '{{{PARTICLE_DEVICE_ID}}}', note: DATA };
      const job = { port, database: DATABASE, program: path.join(POSTGRES, 'pgbench'), ...POSTGRES_USER };
      return {
        config: { url, database: DATABASE, table: 'public.readings', columns, ssl: false, ...POSTGRES_USER },
        jobs: [{ ...job, rows: 1 }, { ...job, rows: 8 }],
      };
    },
  },
  Amqp: {
    skip: noRabbit,
    async start(t) {
      const { url, port } = await RabbitMq.start(t);
      const login = `${RABBIT_USER.username}:${RABBIT_USER.password}`;
      return { config: { url, routing_key: 'readings', ...RABBIT_USER }, jobs: [{ url: `amqp://${login}@127.0.0.1:${port}/%2F` }] };
    },
  },
  Kafka: {
    skip: noKafka,
    times: MANY,
    async start(t) {
      const { brokers } = await Kafka.start(t);
      return { config: { brokers, topic: 'readings', key: 'device-{{n}}', ssl: false }, jobs: [{ brokers }] };
    },
  },
  AwsSqs: aws((moto) => ({ queue_url: moto.queues.readings }), (moto) => ({ queue: moto.queues.readings })),
  AwsKinesis: aws(() => ({ stream: 'readings', payload: DATA }), () => ({ stream: 'readings' })),
  AwsEventBridge: aws(() => ({ event_bus: 'plant', detail: DATA }), () => ({ bus: 'plant' })),
};
