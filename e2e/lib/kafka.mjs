// A cluster of Kafka as librdkafka's mock plays it, in a process of a test's own, and librdkafka's clients to look into it.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const TOOLS = path.join(HERE, '../../target/tools');
const PYTHON = path.join(TOOLS, 'bin/python');
const SCRIPT = path.join(HERE, 'kafka.py');
const BROKERS = 3;
const installed = () => execFileSync(PYTHON, ['-c', 'import confluent_kafka'], { stdio: 'ignore' });

function missing() {
  if (!existsSync(PYTHON)) return true;
  try {
    installed();
    return false;
  } catch {
    return true;
  }
}
export const skip = missing() ? 'confluent-kafka is not installed (make setup)' : false;

/** Numbers of errors and requests, as the protocol has them. */
export const UNKNOWN_TOPIC = 3;
export const TOO_LARGE = 10;
export const NOT_ALLOWED = 29;
export const PRODUCE = 0;

export class Kafka {
  #child = null;
  #lines = null;

  /** Three brokers, and a topic `readings` of seven partitions. */
  static async start(t) {
    const kafka = new Kafka();
    kafka.#child = spawn(PYTHON, [SCRIPT, 'serve', `${BROKERS}`], { stdio: ['pipe', 'pipe', 'inherit'] });
    t.after(() => kafka.#stop());
    kafka.#lines = createInterface({ input: kafka.#child.stdout })[Symbol.asyncIterator]();
    kafka.brokers = await kafka.#line();
    await kafka.do('create', 'readings');
    return kafka;
  }

  async #line() {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('the cluster has ended');
    return value;
  }

  /** Lets the cluster do something: `create`, `down`, `up`, `lead`, `fail` or `fail_next` (kafka.py). */
  async do(...command) {
    this.#child.stdin.write(`${JSON.stringify(command)}\n`);
    await this.#line();
  }

  /** Sends it a signal: SIGSTOP lets it hang until SIGCONT. */
  signal(name) {
    this.#child.kill(name);
  }

  /** Gathers the records of a topic as they come. */
  read(t, topic) {
    const records = [];
    const child = spawn(PYTHON, [SCRIPT, 'read', this.brokers, topic], { stdio: ['ignore', 'pipe', 'ignore'] });
    t.after(() => child.kill());
    createInterface({ input: child.stdout }).on('line', (line) => records.push(JSON.parse(line)));
    return records;
  }

  /** The partitions in which producers of Java would put records with these keys. */
  place(topic, keys) {
    return JSON.parse(execFileSync(PYTHON, [SCRIPT, 'place', this.brokers, topic], { input: JSON.stringify(keys), encoding: 'utf8' }));
  }

  async #stop() {
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGCONT');
    this.#child.kill('SIGKILL');
    await ended;
  }
}
