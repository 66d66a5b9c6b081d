// Google Cloud Pub/Sub as `pubsub.py` plays it from Google's own definition, in a process of a test's own, and Google's own library to
// look into it.
import { execFileSync, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Daemon, folder } from './daemon.mjs';
import { Gate } from './gate.mjs';
import { freePort } from './server.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const PYTHON = path.join(HERE, '../../target/tools/bin/python');
const SCRIPT = path.join(HERE, 'pubsub.py');
export const skip = existsSync(PYTHON) ? false : 'the Python packages are not installed (make setup)';

const EMAIL = 'robot@p1.iam.gserviceaccount.com';
const topic = (name) => `projects/p1/topics/${name}`;
const keys = () => generateKeyPairSync('rsa', {
  modulusLength: 2048, publicKeyEncoding: { type: 'spki', format: 'pem' }, privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
});

export class PubSub {
  /** A service with these topics and with `denied`, to which nobody may publish. Only the account `robot` counts there, if it is `guarded`. */
  static async start(t, topics, { guarded = true } = {}) {
    const pubsub = new PubSub();
    const dir = await folder(t, 'pubsub');
    const [rest, grpc] = [await freePort(), await freePort()];
    const { publicKey, privateKey } = keys();
    const rules = { accounts: guarded ? { [EMAIL]: publicKey } : {}, denied: [topic('denied')] };
    await Daemon.start(t, PYTHON, [SCRIPT, 'serve', rest, grpc, JSON.stringify(rules)], { port: rest, dir, options: { cwd: dir } });
    pubsub.grpc = grpc;
    pubsub.direct = `http://127.0.0.1:${rest}`;
    pubsub.gate = await Gate.start(t, rest);
    pubsub.robot = pubsub.#keyFile(privateKey);
    pubsub.impostor = pubsub.#keyFile(keys().privateKey);
    execFileSync(PYTHON, [SCRIPT, 'create', grpc, ...[...topics, 'denied'].map(topic)]);
    return pubsub;
  }

  /** The settings of a server that has the service here, behind the gate. */
  get env() {
    return { TRIBUTARY_TARGETS__GOOGLE_PUBSUB__ENDPOINT: `127.0.0.1:${this.gate.port}` };
  }

  /** A key file as Google's console gives it, whose tokens come from here. */
  #keyFile(key) {
    return {
      type: 'service_account', project_id: 'p1', private_key_id: '1f2e3d', private_key: key, client_email: EMAIL, client_id: '1234',
      auth_uri: 'https://accounts.google.com/o/oauth2/auth', token_uri: `http://127.0.0.1:${this.gate.port}/token`, universe_domain: 'googleapis.com',
    };
  }

  /** Gathers the messages of a topic as they come. */
  listen(t, name) {
    const messages = [];
    const child = spawn(PYTHON, [SCRIPT, 'read', this.grpc, topic(name)], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => child.kill());
    createInterface({ input: child.stdout }).on('line', (line) => messages.push(JSON.parse(line)));
    return messages;
  }

  /** The publish requests that were taken (`{topic, messages, account}`), and how many tokens there are. */
  async seen() {
    return (await fetch(`${this.direct}/test/requests`)).json();
  }

  /** Lets the next publish requests fail, each so: `[status, code, text]`. */
  async fail(...faults) {
    await fetch(`${this.direct}/test/faults`, { method: 'POST', body: JSON.stringify(faults) });
  }
}
