// The built binary as a child process: started on a free loopback port, stopped and checked at the end of the test.
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually } from './wait.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const READY_MS = 20_000;
/** The contract gives SIGTERM 10 s (section 5); the rest is the slack of a busy machine. */
const STOP_MS = 15_000;
const LOG_TAIL_CHARS = 4_000;

/** Settings under which a test can deliver to its own receiver and need not wait long for a retry. */
export const LOOPBACK = {
  TRIBUTARY_ACCOUNTS__SIGNUP: 'open',
  TRIBUTARY_DELIVERY__ALLOW_PRIVATE_TARGETS: 'true',
  TRIBUTARY_DELIVERY__RETRY_DELAYS: '1s,2s',
};

/** The binary under test: TRIBUTARY_BIN, or the one of the dev profile. */
export function binary() {
  const file = process.env.TRIBUTARY_BIN ?? path.join(ROOT, 'target/debug/tributary');
  if (!existsSync(file)) throw new Error(`${file} is missing: run \`cargo build\` first, or set TRIBUTARY_BIN`);
  return file;
}

export class Server {
  #child = null;
  #exit = null;

  /** Starts a server that lasts as long as the test `t`, which fails if the process panics or will not stop. */
  static async start(t, env = LOOPBACK) {
    const server = await Server.launch(env);
    t.after(() => server.close());
    return server;
  }

  /** As `start`, for callers that call `close` themselves. The data may lie elsewhere than in the server's own folder. */
  static async launch(env = LOOPBACK, { dataDir } = {}) {
    const server = new Server();
    server.env = env;
    server.bin = binary();
    server.dir = await mkdtemp(path.join(tmpdir(), 'tributary-e2e-'));
    server.dataDir = dataDir ?? path.join(server.dir, 'data');
    server.logFile = path.join(server.dir, 'server.log');
    server.port = await freePort();
    server.base = `http://127.0.0.1:${server.port}`;
    try {
      await server.#run();
    } catch (error) {
      await server.close().catch(() => {});
      throw error;
    }
    return server;
  }

  get pid() { return this.#child?.pid; }
  get running() { return this.#child !== null; }

  /** Everything that the process has written so far, over all its restarts. */
  log() { return readFileSync(this.logFile, 'utf8'); }

  /** Sends a signal and waits for the end of the process: `{code, signal, ms}`. */
  async kill(signal) {
    if (!this.running) throw new Error('the server is not running');
    const started = Date.now();
    const exit = this.#exit;
    this.#child.kill(signal);
    let timer;
    const limit = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`the server was still there ${STOP_MS} ms after ${signal}`)), STOP_MS);
    });
    try {
      return { ...(await Promise.race([exit, limit])), ms: Date.now() - started };
    } finally {
      clearTimeout(timer);
    }
  }

  /** Starts the process again on the same data directory and port. */
  async restart() {
    if (this.running) throw new Error('the server is still running: kill it first');
    await this.#run();
  }

  /** As `restart`, without waiting: the process may be killed before it serves. */
  begin() {
    if (this.running) throw new Error('the server is still running: kill it first');
    this.#spawn();
  }

  /** Stops the process, removes its files, and throws if it ever panicked or did not stop when asked to. */
  async close() {
    let problem;
    if (this.running) {
      try {
        const { code } = await this.kill('SIGTERM');
        if (code !== 0) problem = `the server ended with status ${code} after SIGTERM`;
      } catch (error) {
        problem = error.message;
        this.#child?.kill('SIGKILL');
        await this.#exit;
      }
    }
    const log = this.log();
    await rm(this.dir, { recursive: true, force: true });
    if (/panicked at/.test(log)) problem = 'the server panicked';
    if (problem) throw new Error(`${problem}\n${around(log)}`);
  }

  async #run() {
    this.#spawn();
    await this.ready();
  }

  #spawn() {
    const out = openSync(this.logFile, 'a');
    const inherited = Object.entries(process.env).filter(([key]) => !key.startsWith('TRIBUTARY_'));
    const args = ['serve', '--listen', `127.0.0.1:${this.port}`, '--data-dir', this.dataDir];
    const child = spawn(this.bin, args, {
      cwd: this.dir,
      env: { ...Object.fromEntries(inherited), ...this.env },
      stdio: ['ignore', out, out],
    });
    closeSync(out);
    this.#child = child;
    this.#exit = new Promise((resolve) => {
      const ended = (code, signal) => { this.#child = null; resolve({ code, signal }); };
      child.once('exit', ended);
      child.once('error', (error) => ended(error.message, null));
    });
  }

  /** Waits until the server serves; throws if it ends before. */
  async ready() {
    const exit = this.#exit;
    await eventually(async () => {
      if (!this.running) return; // told below, at once
      const answer = await fetch(`${this.base}/ready`, { signal: AbortSignal.timeout(2_000) });
      await answer.arrayBuffer();
      if (answer.status !== 200) throw new Error(`GET /ready answers ${answer.status}\n${around(this.log())}`);
    }, { within: READY_MS, every: 50 });
    if (!this.running) {
      const { code, signal } = await exit;
      throw new Error(`the server ended with ${signal ?? `status ${code}`} before it was ready\n${around(this.log())}`);
    }
  }
}

/** The part of a log worth showing: from the panic on, or the end. */
function around(log) {
  const panic = log.search(/^.*panicked at/m);
  return panic >= 0 ? log.slice(panic, panic + LOG_TAIL_CHARS) : log.slice(-LOG_TAIL_CHARS);
}

/** A port that nobody listens on. It must be known before the start, because a restart uses it again. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const probe = net.createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}
