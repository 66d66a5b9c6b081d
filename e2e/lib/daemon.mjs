// Somebody else's server as a child process: a real peer for a test, in a temporary folder, stopped at the test's end.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, open, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { eventually } from './wait.mjs';

const START_MS = 10_000;

/** Where Debian puts a program; `undefined` where it is not installed. */
export const program = (name) => ['/usr/sbin', '/usr/bin'].map((dir) => path.join(dir, name)).find((file) => existsSync(file));

/** By test, what it has begun that ends with it. */
const begun = new WeakMap();

/** Lets something end with the test, the last that was begun first: a server ends before its folder is removed, into which it writes. */
function atEnd(t, end) {
  if (!begun.has(t)) {
    begun.set(t, []);
    t.after(async () => {
      const wrong = [];
      for (const one of begun.get(t).reverse()) await one().catch((error) => wrong.push(error));
      if (wrong.length) throw wrong[0];
    });
  }
  begun.get(t).push(end);
}

/** A folder that lasts as long as the test. */
export async function folder(t, name) {
  const made = await mkdtemp(path.join(tmpdir(), `tributary-${name}-`));
  atEnd(t, () => rm(made, { recursive: true, force: true }));
  return made;
}

const made = (key, cert, ...more) => {
  const args = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', cert, '-days', '2', ...more];
  execFileSync('openssl', ['req', '-x509', ...args], { stdio: 'ignore' });
};
const LEAF = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1', '-addext', 'basicConstraints=critical,CA:FALSE'];

/** A certificate for 127.0.0.1 that signs itself: the two files, and the texts of both. */
export function certificate(dir) {
  const [key, cert] = [path.join(dir, 'key.pem'), path.join(dir, 'cert.pem')];
  made(key, cert, ...LEAF);
  return { key, cert, pem: { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') } };
}

/** The same, signed by an authority `ca`, for peers that take no others. */
export function certified(dir) {
  const [authority, ca] = [path.join(dir, 'ca-key.pem'), path.join(dir, 'ca.pem')];
  made(authority, ca, '-subj', '/CN=An authority', '-addext', 'basicConstraints=critical,CA:TRUE');
  const [key, cert] = [path.join(dir, 'key.pem'), path.join(dir, 'cert.pem')];
  made(key, cert, '-CA', ca, '-CAkey', authority, ...LEAF);
  return { key, cert, ca, pem: { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8'), ca: readFileSync(ca, 'utf8') } };
}

export class Daemon {
  #child = null;

  /** Starts `file` with `args` and waits until it listens on `port`, at most `within` milliseconds. */
  static async start(t, file, args, { port, dir, options = {}, ends = 'SIGTERM', within = START_MS }) {
    const daemon = new Daemon();
    Object.assign(daemon, { file, args, port, options, ends, within, log: path.join(dir, 'peer.log') });
    atEnd(t, () => daemon.stop());
    await daemon.start();
    return daemon;
  }

  async start() {
    const out = await open(this.log, 'a');
    this.#child = spawn(this.file, this.args, { ...this.options, stdio: ['ignore', out.fd, out.fd] });
    this.#child.once('error', () => {});
    await out.close();
    await eventually(async () => {
      if (this.#child.exitCode !== null) throw new Error(`${this.file} has ended:\n${readFileSync(this.log, 'utf8').slice(-2_000)}`);
      const socket = net.connect(this.port, '127.0.0.1');
      try {
        await once(socket, 'connect');
      } finally {
        socket.destroy();
      }
    }, { within: this.within, every: 50 });
  }

  /** Sends it a signal: SIGSTOP lets it hang until SIGCONT. */
  signal(name) {
    this.#child.kill(name);
  }

  /** Asks it to end and waits for that. */
  async stop() {
    const child = this.#child;
    this.#child = null;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGCONT');
    child.kill(this.ends);
    await ended;
  }
}
