// RabbitMQ, alone on the loopback interface, and a client of its own kind that reads back what it got.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Daemon, certified, folder, program } from './daemon.mjs';
import { freePort } from './server.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const PYTHON = path.join(HERE, '../../target/tools/bin/python');
const READER = path.join(HERE, 'amqp.py');
// Not Debian's wrapper, which insists on a user of its own.
const SERVER = '/usr/lib/rabbitmq/bin/rabbitmq-server';
const NAMES = program('epmd');
export const skip = existsSync(SERVER) && NAMES ? false : 'rabbitmq-server is not installed (make setup)';
/** It starts slowly, most of all beside others. */
const START_MS = 60_000;

export const USER = { username: 'tributary', password: 'the-password-of-rabbitmq' };
/** May read and not write. */
export const GUEST = { username: 'guest', password: 'the-password-of-a-guest' };
/** The name in the certificate. */
const CERTIFIED = '127.0.0.1';

const all = { configure: '.*', write: '.*', read: '.*' };
const queue = (name, vhost = '/', args = {}) => ({ name, vhost, durable: true, auto_delete: false, arguments: args });
/** Who may do what, and what there is: readings, a queue; rooms, a queue of the topic exchange plant; full, which takes nothing. */
const DEFINITIONS = {
  users: [
    { name: USER.username, password: USER.password, tags: '' }, { name: GUEST.username, password: GUEST.password, tags: '' },
    { name: CERTIFIED, password_hash: '', tags: '' },
  ],
  vhosts: [{ name: '/' }, { name: 'site' }],
  permissions: [
    { user: USER.username, vhost: '/', ...all }, { user: USER.username, vhost: 'site', ...all },
    { user: CERTIFIED, vhost: '/', ...all }, { user: GUEST.username, vhost: '/', ...all, write: '' },
  ],
  queues: [queue('readings'), queue('rooms'), queue('readings', 'site'), queue('full', '/', { 'x-max-length': 0, 'x-overflow': 'reject-publish' })],
  exchanges: [{ name: 'plant', vhost: '/', type: 'topic', durable: true, auto_delete: false, internal: false, arguments: {} }],
  bindings: [{ source: 'plant', vhost: '/', destination: 'rooms', destination_type: 'queue', routing_key: 'room.#', arguments: {} }],
};

export class RabbitMq {
  /**
   * A broker with these definitions. With `tls` it has another port, where clients must show the certificate `pem`, which is its
   * own too and which may be all that they show. `settings` are more lines of its configuration.
   */
  static async start(t, { tls = false, settings = [] } = {}) {
    const rabbit = new RabbitMq();
    const dir = await folder(t, 'rabbitmq');
    rabbit.port = await freePort();
    rabbit.url = `amqp://127.0.0.1:${rabbit.port}`;
    const file = (name) => path.join(dir, name);
    const lines = [
      `listeners.tcp.1 = 127.0.0.1:${rabbit.port}`, `load_definitions = ${file('definitions.json')}`, 'log.file = false', 'log.console = true',
      'auth_mechanisms.1 = PLAIN', 'auth_mechanisms.2 = EXTERNAL', 'ssl_cert_login_from = common_name', ...settings,
    ];
    if (tls) {
      const { cert, key, ca, pem } = certified(dir);
      const port = await freePort();
      Object.assign(rabbit, { pem, secure: `amqps://127.0.0.1:${port}` });
      lines.push(
        `listeners.ssl.1 = 127.0.0.1:${port}`, `ssl_options.cacertfile = ${ca}`, `ssl_options.certfile = ${cert}`,
        `ssl_options.keyfile = ${key}`, 'ssl_options.verify = verify_peer', 'ssl_options.fail_if_no_peer_cert = true',
      );
    }
    await writeFile(file('rabbitmq.conf'), `${lines.join('\n')}\n`);
    await writeFile(file('definitions.json'), JSON.stringify(DEFINITIONS));
    await writeFile(file('plugins'), '[rabbitmq_auth_mechanism_ssl].\n');
    await writeFile(file('environment'), '');
    const [names, distribution] = [await freePort(), await freePort()];
    // Erlang's name server would outlive the broker that starts it, so it gets one.
    await Daemon.start(t, NAMES, ['-port', `${names}`, '-address', '127.0.0.1'], { port: names, dir });
    const env = {
      PATH: process.env.PATH, HOME: dir, ERL_EPMD_PORT: `${names}`, ERL_EPMD_ADDRESS: '127.0.0.1', RABBITMQ_NODENAME: 'tributary@localhost',
      RABBITMQ_DIST_PORT: `${distribution}`, RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
      RABBITMQ_MNESIA_BASE: file('mnesia'), RABBITMQ_LOG_BASE: file('log'), RABBITMQ_PID_FILE: file('pid'),
      RABBITMQ_CONFIG_FILE: file('rabbitmq'), RABBITMQ_CONFIG_FILES: file('none'), RABBITMQ_ADVANCED_CONFIG_FILE: file('none.config'),
      RABBITMQ_CONF_ENV_FILE: file('environment'), RABBITMQ_ENABLED_PLUGINS_FILE: file('plugins'),
      // So that the child is Erlang itself, and no shell around it.
      RUNNING_UNDER_SYSTEMD: 'true',
    };
    rabbit.daemon = await Daemon.start(t, SERVER, [], { port: rabbit.port, dir, options: { env, cwd: dir }, within: START_MS });
    return rabbit;
  }

  /** Gathers the messages of a queue as they come. */
  listen(t, name, vhost = '/') {
    const messages = [];
    const url = `amqp://${USER.username}:${USER.password}@127.0.0.1:${this.port}/${encodeURIComponent(vhost)}`;
    const child = spawn(PYTHON, [READER, url, 'read', name], { stdio: ['ignore', 'pipe', 'ignore'] });
    t.after(() => child.kill());
    createInterface({ input: child.stdout }).on('line', (line) => messages.push(JSON.parse(line)));
    return messages;
  }
}
