// The services of AWS as moto plays them, in a process of a test's own, and Amazon's own library to look into it.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Daemon, folder } from './daemon.mjs';
import { freePort } from './server.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const TOOLS = path.join(HERE, '../../target/tools/bin');
const PYTHON = path.join(TOOLS, 'python');
const SCRIPT = path.join(HERE, 'aws.py');
export const skip = existsSync(path.join(TOOLS, 'moto_server')) ? false : 'moto is not installed (make setup)';

const environment = (key) => ({ ...process.env, AWS_ACCESS_KEY_ID: key.access_key_id, AWS_SECRET_ACCESS_KEY: key.secret_access_key });

export class Moto {
  /**
   * A server with two queues, a stream, and a bus whose events go to a third queue. With `checks` only keys of its users
   * count, and only for what they may do; that makes it three times as slow.
   */
  static async start(t, { checks = false } = {}) {
    const moto = new Moto();
    const dir = await folder(t, 'moto');
    const port = await freePort();
    moto.url = `http://127.0.0.1:${port}`;
    moto.daemon = await Daemon.start(t, PYTHON, [SCRIPT, moto.url, 'serve'], { port, dir, options: { cwd: dir } });
    const anybody = { access_key_id: 'anybody', secret_access_key: 'anything' };
    Object.assign(moto, moto.#python(['prepare'], anybody)[0]);
    if (checks) moto.#python(['check'], anybody);
    return moto;
  }

  /** The settings of a server that has AWS here. */
  get env() {
    return { TRIBUTARY_TARGETS__AWS__ENDPOINT: this.url };
  }

  /** Gathers the messages of a queue as they come. */
  listen(t, name) {
    const messages = [];
    const child = spawn(PYTHON, [SCRIPT, this.url, 'read-sqs', this.queues[name]], { env: environment(this.reader), stdio: ['ignore', 'pipe', 'ignore'] });
    t.after(() => child.kill());
    createInterface({ input: child.stdout }).on('line', (line) => messages.push(JSON.parse(line)));
    return messages;
  }

  /** All records of a stream. */
  readStream(name) {
    return this.#python(['read-kinesis', name], this.reader);
  }

  #python(args, key) {
    const env = environment(key);
    const out = execFileSync(PYTHON, [SCRIPT, this.url, ...args], { env, encoding: 'utf8', maxBuffer: 64 << 20 });
    return out.split('\n').filter(Boolean).map((line) => JSON.parse(line));
  }
}
